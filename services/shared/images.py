"""Turns untrusted bytes into upright RGB pixels, or says why it cannot."""

import io
import warnings
from contextlib import AbstractContextManager, nullcontext

from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as Pillow

from services.shared.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")
MAX_BYTES = 50 * 1024 * 1024
MAX_PIXELS = 100_000_000
LARGE_PIXELS = 4_000_000
BAND_PIXELS = 1_000_000  # that are worked on at once


def decode(
    data: bytes, *, about: int | None = None, large: AbstractContextManager[object] | None = None
) -> Pillow.Image:
    """Decodes a photo: RGB, upright, transparency on white.

    Args:
        data: a whole file.
        about: pixels; where given, a JPEG, and anything of more than LARGE_PIXELS, may come out smaller, but
            not below twice this on its shorter side. That is several times faster for a JPEG, takes less
            memory, and differs by 0.2 of 255 on average.
        large: entered while more than LARGE_PIXELS are decoded. They take up to 23 bytes each.

    Raises:
        ImageError: with the code that says what is wrong with it.

    """
    if not data:
        raise ImageError("photo-empty")
    if len(data) > MAX_BYTES:
        raise ImageError("photo-too-large")
    with warnings.catch_warnings():
        # Pillow only warns between one and two times its own limit; ours is checked below, before decoding.
        warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
        try:
            with _open(data) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ImageError("photo-too-many-pixels")
                # A phone's JPEG may have a second picture (a preview, a depth map) behind the photo: an MPO.
                if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                    raise ImageError("photo-animated")
                if about is not None:
                    image.draft(None, (2 * about, 2 * about))
                # A JPEG says by now how small it will be.
                huge = image.width * image.height > LARGE_PIXELS
                with large if large is not None and huge else nullcontext():
                    return _decoded(image, min(image.size) // (2 * about) if about and huge else 1)
        except Pillow.DecompressionBombError as error:
            raise ImageError("photo-too-many-pixels") from error
        except (ImageError, MemoryError):
            raise
        except Exception as error:
            # Decoders raise nearly anything on damaged files, RuntimeError and struct.error included.
            raise ImageError("photo-corrupt") from error


def _open(data: bytes) -> Pillow.Image:
    try:
        return Pillow.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if any(_begins_as(data, kind) for kind in FORMATS):
            raise ImageError("photo-corrupt") from None
        try:
            Pillow.open(io.BytesIO(data)).close()
        except UnidentifiedImageError as error:
            raise ImageError("photo-not-an-image") from error
        raise ImageError("photo-format-unsupported") from None


def _begins_as(data: bytes, kind: str) -> bool:
    accepts = Pillow.OPEN[kind][1]
    return accepts is not None and accepts(data[:16]) is True


_TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}


def _decoded(image: Pillow.Image, factor: int) -> Pillow.Image:
    """Its pixels, made smaller by a whole factor.

    Upright as EXIF says: Pillow's own exif_transpose writes the other tags back, and fails on careless ones.
    """
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    image.load()
    rgb = _reduced(image, max(1, factor))
    return rgb if turn is None else rgb.transpose(turn)


def _reduced(image: Pillow.Image, factor: int) -> Pillow.Image:
    """RGB, made smaller. In bands: a large photo is there once, and not at each step on the way."""
    if image.width * image.height <= LARGE_PIXELS:
        return _to_rgb(image)
    if factor == 1 and image.mode == "RGB" and not image.has_transparency_data:
        return image
    width, height = image.size
    rgb = Pillow.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = factor * -(-BAND_PIXELS // (width * factor))
    for top in range(0, height, rows):
        band = _to_rgb(image.crop((0, top, width, min(top + rows, height))))
        rgb.paste(band.reduce(factor), (0, top // factor))
    return rgb


def _to_rgb(image: Pillow.Image) -> Pillow.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # Pillow clips deeper greys instead of scaling them.
        return image.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if image.has_transparency_data:
        white = Pillow.new("RGBA", image.size, "white")
        return Pillow.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
