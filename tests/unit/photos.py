"""Photos of every kind, made in memory."""

import io

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
