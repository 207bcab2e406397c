"""Turns untrusted bytes into upright RGB pixels, or says why it cannot."""

import io
import warnings

from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as Pillow

from services.shared.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")
MAX_BYTES = 50 * 1024 * 1024
MAX_PIXELS = 100_000_000


def decode(data: bytes, *, about: int | None = None) -> Pillow.Image:
    """Decodes a photo: RGB, upright, transparency on white.

    Args:
        data: a whole file.
        about: pixels; where given, a JPEG may be decoded smaller, but not below twice this on its
            shorter side, which is several times faster and differs by 0.2 of 255 on average.

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
                return _to_rgb(_upright(image))
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


def _upright(image: Pillow.Image) -> Pillow.Image:
    """As EXIF says. Pillow's own exif_transpose writes the other tags back, and fails on careless ones."""
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Pillow.Image) -> Pillow.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # Pillow clips deeper greys instead of scaling them.
        return image.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if image.has_transparency_data:
        white = Pillow.new("RGBA", image.size, "white")
        return Pillow.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
