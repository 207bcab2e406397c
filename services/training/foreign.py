"""Images that show no product, to measure whether a model notices; scikit-learn carries them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from services.model.preprocessing import to_array

CROPS = 500
CROP_SIDES = (64, 256)  # pixels


def foreign_images(size: int) -> dict[str, NDArray[np.uint8]]:
    """Kind -> images [N, size, size, 3].

    Handwritten digits, dark on white, of the UCI repository; and square parts of two photos, of a temple and
    of a flower.
    """
    digits = (255 - load_digits().images * (255 / 16)).astype(np.uint8)
    return {
        "digits": np.stack([to_array(Image.fromarray(digit).convert("RGB"), size) for digit in digits]),
        "photo_crops": np.stack([to_array(crop, size) for crop in _crops()]),
    }


def _crops() -> Iterator[Image.Image]:
    draw = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for index in range(CROPS):
        photo = photos[index % len(photos)]
        side = int(draw.integers(*CROP_SIDES))
        left, top = int(draw.integers(photo.width - side)), int(draw.integers(photo.height - side))
        yield photo.crop((left, top, left + side, top + side))
