"""From an upright RGB photo to the pixels a network is given, in training and in serving alike."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def to_array(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Fit an RGB photo into a square of `size` pixels, shape [size, size, 3], values 0 to 255.

    The aspect ratio is kept, because the width of a garment tells its type: the shorter side is padded with
    the photo's own border colour, which on a product photo continues its plain background. Normalisation is
    not done here but inside the network, so that what is served is plain pixels.
    """
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    # A large photo is first reduced by a whole factor, which is many times faster and looks the same.
    resized = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.array(resized, dtype=np.uint8)
    if width == height:
        return pixels
    square = np.empty((size, size, 3), dtype=np.uint8)
    square[:] = _border_colour(pixels)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def _border_colour(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The median colour of the outermost pixels, so that a garment touching one edge does not tint it."""
    border = np.sort(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]), axis=0)
    # As np.median, which takes a small photo three times as long.
    middle = border[(len(border) - 1) // 2].astype(np.uint16) + border[len(border) // 2]
    return np.asarray(middle // 2, dtype=np.uint8)
