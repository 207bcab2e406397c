"""Photos of every kind, made in memory."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache

import pillow_heif
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file of this kind."""
    buffer = io.BytesIO()
    if kind == "HEIC":
        pillow_heif.from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    """A piece of a PNG; with a wrong checksum where one is given."""
    return (
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", zlib.crc32(kind + body) if checksum is None else checksum)
    )


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The kinds of a PNG's chunks, and all bytes of each."""
    found, start = [], len(PNG)
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        found.append((data[start + 4 : start + 8], data[start:end]))
        start = end
    return found


def png_with(data: bytes, *extra: bytes, before: bytes = b"IDAT") -> bytes:
    """A PNG with more chunks before the first of this kind."""
    parts, added = [PNG], False
    for kind, chunk in png_chunks(data):
        if kind == before and not added:
            parts += extra
            added = True
        parts.append(chunk)
    return b"".join(parts)


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
