"""Turns untrusted bytes into upright sRGB pixels, or says why it cannot."""

import io
import struct
import warnings
from contextlib import AbstractContextManager, nullcontext

from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as Pillow

from services.shared import image_damage, image_formats
from services.shared.errors import MAX_BYTES as MAX_BYTES
from services.shared.errors import ImageError
from services.shared.image_colours import Conversion, conversion

PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")
FORMATS = (*PILLOW_FORMATS, "HEIC")
MAX_PIXELS = 100_000_000
LARGE_PIXELS = 4_000_000
BAND_PIXELS = 1_000_000  # that are worked on at once

# Pillow warns between one and two times its own limit; we check ours below, before decoding. The filter is
# set once for the process, because warnings.catch_warnings is not safe while other threads decode.
warnings.filterwarnings("ignore", category=Pillow.DecompressionBombWarning)


def decode(
    data: bytes, *, about: int | None = None, large: AbstractContextManager[object] | None = None
) -> Pillow.Image:
    """Decodes a photo: sRGB, upright, transparency on white.

    Damage that browsers ignore does not matter: PNG chunks that carry no pixels, and a JPEG without its end
    if all but the last rows are there. Missing rows are cut off, so that the photo is shorter than it says.

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
    turn = nullcontext() if large is None else large
    try:
        try:
            return _whole(data, about, turn)
        except (ImageError, MemoryError, Pillow.DecompressionBombError):
            raise
        except Exception as error:
            return _mended(data, about, turn, error)
    except Pillow.DecompressionBombError as error:
        raise ImageError("photo-too-many-pixels") from error


class _CutShortError(Exception):
    """A JPEG may be cut short: it has no end, ends in grey, or has only the first of several scans."""


def _whole(data: bytes, about: int | None, large: AbstractContextManager[object]) -> Pillow.Image:
    if data.startswith(image_damage.JPEG) and not image_damage.has_end(data):
        raise _CutShortError
    with _open(data) as image:
        if image.info.get("progressive") and image_damage.has_one_scan(data):
            raise _CutShortError
        return _pixels(image, about, large)


def _mended(
    data: bytes, about: int | None, large: AbstractContextManager[object], error: Exception
) -> Pillow.Image:
    """Decodes a photo that is damaged, or of a rare kind that Pillow does not decode at once."""
    try:
        if data.startswith(image_damage.PNG):
            with _open(image_damage.without_damaged_chunks(data)) as image:
                return _pixels(image, about, large)
        if data.startswith(image_damage.JPEG):
            return _mended_jpeg(data, about, large)
    except (ImageError, MemoryError, Pillow.DecompressionBombError):
        raise
    except Exception as still:
        # Decoders raise nearly anything on damaged files, RuntimeError and struct.error included.
        raise ImageError("photo-corrupt") from still
    raise ImageError("photo-corrupt") from error


def _mended_jpeg(data: bytes, about: int | None, large: AbstractContextManager[object]) -> Pillow.Image:
    jpeg = image_damage.read_markers(data)
    if jpeg.unsupported:
        raise ImageError("photo-format-unsupported", jpeg.unsupported)
    if jpeg.lossless:
        try:
            # Pillow asks libjpeg for a smaller picture, which it does not have for this kind.
            with _open(data) as image:
                return _pixels(image, about, large, draft=False)
        except OSError as error:
            raise ImageError("photo-format-unsupported", "lossless JPEG") from error
    if jpeg.width * jpeg.height > MAX_PIXELS:
        raise ImageError("photo-too-many-pixels")
    with large if jpeg.width * jpeg.height > LARGE_PIXELS else nullcontext():
        rows = image_damage.rows_there(data, jpeg)
    if not rows:
        raise ImageError("photo-corrupt")
    with _open(image_damage.with_end(data, jpeg)) as image:
        return _pixels(image, about, large, rows=rows)


def _open(data: bytes) -> Pillow.Image:
    if image_formats.is_heif(data):
        return _open_heif(data)
    try:
        return Pillow.open(io.BytesIO(data), formats=PILLOW_FORMATS)
    except UnidentifiedImageError:
        ours = any(_begins_as(data, kind) for kind in PILLOW_FORMATS)
        if ours and not data.startswith(image_formats.JPEG_LS):
            raise
        if name := image_formats.name_of(data):
            raise ImageError("photo-format-unsupported", name) from None
        raise ImageError("photo-not-an-image") from None


def _open_heif(data: bytes) -> Pillow.Image:
    """Opens a HEIC, or a HEIF with another codec.

    A file that libheif cannot open may be damaged or have a codec that libheif does not know, such as AVC.
    There is no telling, and to convert it helps in both cases: the format is not supported. Damaged pixels
    are found when they are decoded, and are corrupt.
    """
    if image_formats.has_a_track(data):
        raise ImageError("photo-animated")
    if image_formats.largest_picture(data) > MAX_PIXELS:
        raise ImageError("photo-too-many-pixels")
    try:
        # Imported here, because libheif and its codecs are 27 MB that few processes ever need.
        from pillow_heif import HeifImageFile

        return HeifImageFile(io.BytesIO(data))
    except (ImportError, SyntaxError) as error:
        raise ImageError("photo-format-unsupported", image_formats.name_of(data)) from error


def _begins_as(data: bytes, kind: str) -> bool:
    accepts = Pillow.OPEN[kind][1]
    return accepts is not None and accepts(data[:16]) is True


def _pixels(
    image: Pillow.Image,
    about: int | None,
    large: AbstractContextManager[object],
    *,
    draft: bool = True,
    rows: int | None = None,
) -> Pillow.Image:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError("photo-too-many-pixels")
    if _frames(image) > 1:
        raise ImageError("photo-animated")
    share = None if rows is None else (rows, image.height)
    jpeg = image.format in ("JPEG", "MPO")
    # For a HEIC, this would decode the thumbnail that the camera made.
    if about is not None and jpeg and draft:
        image.draft(None, (2 * about, 2 * about))
    # A JPEG says by now how small it will be.
    huge = image.width * image.height > LARGE_PIXELS
    with large if huge else nullcontext():
        turn = _turn(image)
        image.load()
        if jpeg and share is None and image_damage.ends_grey(image):
            raise _CutShortError
        if share is not None:
            image = _top(image, *share)
        factor = min(image.size) // (2 * about) if about and huge else 1
        rgb = _reduced(image, max(1, factor))
        return rgb if turn is None else rgb.transpose(turn)


def _top(image: Pillow.Image, rows: int, of: int) -> Pillow.Image:
    """The picture without the missing rows at its bottom."""
    if rows == of:
        return image
    return image.crop((0, 0, image.width, max(1, image.height * rows // of)))


def _frames(image: Pillow.Image) -> int:
    if image.format in ("JPEG", "MPO"):
        # A phone's may have a second picture (a preview, a depth map) behind the photo.
        return 1
    frames = int(getattr(image, "n_frames", 1))
    # A HEIC may have other pictures in one group with the photo: for HDR screens, or for the other eye.
    beside = {
        number
        for group in image.info.get("entity_groups", ())
        if image.tell() in group["images"]
        for number in group["images"]
    }
    return frames - len(beside - {None, image.tell()})


_TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}


def _turn(image: Pillow.Image) -> Pillow.Transpose | None:
    """How to turn the picture upright, as EXIF says; None if it is, or if its EXIF is damaged.

    Pillow's own exif_transpose writes the other tags back, and fails on careless ones.
    """
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, ValueError, struct.error):
        return None


def _reduced(image: Pillow.Image, factor: int) -> Pillow.Image:
    """RGB, made smaller by a whole factor. In bands, so that a large photo is in memory once."""
    to_srgb = conversion(image)
    if image.width * image.height <= LARGE_PIXELS:
        return _to_rgb(image, to_srgb)
    if factor == 1 and image.mode == "RGB" and not image.has_transparency_data and to_srgb is None:
        return image
    width, height = image.size
    rgb = Pillow.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = factor * -(-BAND_PIXELS // (width * factor))
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        if band.mode in ("RGB", "L", "CMYK") and not band.has_transparency_data:
            # Made smaller first, because to convert colours takes as long as to decode them.
            band = _to_rgb(band.reduce(factor), to_srgb)
        else:
            band = _to_rgb(band, to_srgb).reduce(factor)
        rgb.paste(band, (0, top // factor))
    return rgb


def _to_rgb(image: Pillow.Image, to_srgb: Conversion | None) -> Pillow.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # Pillow clips deeper greys instead of scaling them.
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if not image.has_transparency_data:
        return to_srgb(image) if to_srgb else image.convert("RGB")
    picture = image.convert("RGBA")
    if to_srgb:
        colours = to_srgb(picture)
        colours.putalpha(picture.getchannel("A"))
        picture = colours
    white = Pillow.new("RGBA", image.size, "white")
    return Pillow.alpha_composite(white, picture).convert("RGB")
