"""Photos that training can tell apart, and copies of them that it cannot."""

import io

import numpy as np
from PIL import Image

from tests.unit.photos import encoded


def picture(number: int, side: int = 64) -> Image.Image:
    """A picture of its own for each number: a mosaic of coloured fields on white."""
    fields = np.random.default_rng(number).integers(0, 200, (8, 8, 3), dtype=np.uint8)
    garment = Image.fromarray(fields).resize((side, side), Image.Resampling.BICUBIC)
    photo = Image.new("RGB", (side * 3 // 2, side * 2), "white")
    photo.paste(garment, (side // 4, side // 2))
    return photo


def photo(number: int, side: int = 64, quality: int = 90) -> bytes:
    """The picture as a JPEG file."""
    return encoded(picture(number, side), "JPEG", quality=quality)


def saved_again(image: Image.Image, quality: int) -> Image.Image:
    """What is left of a picture after it was saved as a JPEG file."""
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality))).convert("RGB")
