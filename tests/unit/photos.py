"""Photos of every kind, made in memory."""

import io
from collections.abc import Callable, Mapping
from functools import cache

from PIL import Image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file of this kind."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey(level: int, width: int = 6, height: int = 8) -> Image.Image:
    """A plain photo."""
    return Image.new("RGB", (width, height), (level, level, level))


def jpeg(level: int = 200, width: int = 6, height: int = 8) -> bytes:
    """A plain JPEG."""
    return encoded(grey(level, width, height), "JPEG")


@cache
def huge() -> bytes:
    """A small file of a great many pixels."""
    buffer = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(buffer, "PNG")
    return buffer.getvalue()


# What is wrong with a photo -> the bytes of one.
BAD_PHOTOS: Mapping[str, Callable[[], bytes]] = {
    "photo-empty": lambda: b"",
    "photo-too-large": lambda: bytes(50 * 1024 * 1024 + 1),
    "photo-too-many-pixels": huge,
    "photo-not-an-image": lambda: b"this is not a photo",
    "photo-format-unsupported": lambda: encoded(grey(10), "BMP"),
    "photo-animated": lambda: encoded(grey(10), "GIF", save_all=True, append_images=[grey(200)]),
    "photo-corrupt": lambda: jpeg(90, 300, 400)[:1500],
}
