"""Images that show no product, of scikit-learn and scikit-image: to measure whether a model notices."""

from collections.abc import Iterator, Sequence

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from services.model.preprocessing import to_array

CROPS = 300
# Of the shorter side of the picture that a crop is taken from.
PARTS = (0.2, 0.7)
WHOLE = (0.7, 1.0)


def foreign_images(size: int) -> dict[str, NDArray[np.uint8]]:
    """Kind -> images [N, size, size, 3].

    digits: handwritten, dark on white, of the UCI repository. landscapes: parts of photos of a temple, a
    rocket and the night sky. textures: parts of brick, grass and gravel. faces: of Labeled Faces in the Wild,
    and an astronaut. things: most of a coffee cup, a cat, a motorcycle, coins and a flower.
    """
    temple, flower = (Image.fromarray(photo) for photo in load_sample_images().images)
    data = skimage.data
    landscapes = [temple, *map(_image, (data.rocket(), data.hubble_deep_field()))]
    textures = [*map(_image, (data.brick(), data.grass(), data.gravel()))]
    motorcycle, _, _ = data.stereo_motorcycle()
    things = [flower, *map(_image, (data.coffee(), data.chelsea(), motorcycle, data.coins()))]
    faces = [_image(255 * face) for face in data.lfw_subset()[:100]]
    digits = [_image(255 - digit * (255 / 16)) for digit in load_digits().images]
    kinds = {
        "digits": digits,
        "landscapes": _crops(landscapes, PARTS),
        "textures": _crops(textures, PARTS),
        "faces": [*faces, _image(data.astronaut())],
        "things": _crops(things, WHOLE),
    }
    return {kind: np.stack([to_array(image, size) for image in images]) for kind, images in kinds.items()}


def _image(pixels: NDArray[np.generic]) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint8)).convert("RGB")


def _crops(photos: Sequence[Image.Image], shares: tuple[float, float]) -> Iterator[Image.Image]:
    draw = np.random.default_rng(0)
    for index in range(CROPS):
        photo = photos[index % len(photos)]
        side = int(min(photo.size) * draw.uniform(*shares))
        left, top = (int(draw.integers(extent - side + 1)) for extent in photo.size)
        yield photo.crop((left, top, left + side, top + side))
