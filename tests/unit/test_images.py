"""Untrusted bytes become upright RGB pixels, or one code that says why not."""

import struct
import subprocess
import sys
import zlib
from contextlib import nullcontext
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from services.shared.errors import ImageError, ImageErrorCode
from services.shared.images import FORMATS, LARGE_PIXELS, MAX_BYTES, MAX_PIXELS, decode
from tests.unit.photos import encoded, grey

Transpose = Image.Transpose

# EXIF orientation -> how an upright picture is stored under it (EXIF 2.32, tag 0x0112).
STORED_AS = {
    1: None,
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}


@cache
def scene(width: int = 64, height: int = 48) -> Image.Image:
    """A picture with four different corners, so that no turn of it looks like another."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width // 2, height // 2), fill=(200, 30, 30))
    draw.rectangle((width // 2, 0, width, height // 2), fill=(30, 160, 60))
    draw.rectangle((0, height // 2, width // 2, height), fill=(40, 60, 190))
    draw.ellipse((width // 4, height // 4, 3 * width // 4, 3 * height // 4), fill=(230, 200, 90))
    return image


def pixels(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image, np.int16)


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures' levels, of 255."""
    assert one.size == other.size
    return float(np.abs(pixels(one) - pixels(other)).mean())


def code_of(data: bytes, about: int | None = None) -> ImageErrorCode:
    with pytest.raises(ImageError) as error:
        decode(data, about=about)
    return error.value.code


def animated(kind: str) -> bytes:
    frames = [scene().transpose(Transpose.ROTATE_180)]
    return encoded(scene(), kind, save_all=True, append_images=frames)


def black_png(width: int, height: int) -> bytes:
    """A whole PNG of one bit a pixel: a few hundred kilobytes at most, whatever its size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    compressor = zlib.compressobj(1)
    row = bytes(1 + -(-width // 8))
    rows = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "photo-empty"),
        (b"Dear shop, my photo is below.", "photo-not-an-image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "photo-format-unsupported"),
        (b"\xff\xd8\xff", "photo-corrupt"),
        (encoded(grey(9), "BMP"), "photo-format-unsupported"),
        (encoded(grey(9), "TIFF"), "photo-format-unsupported"),
        (encoded(grey(9), "ICO"), "photo-format-unsupported"),
        (animated("GIF"), "photo-animated"),
        (animated("PNG"), "photo-animated"),
        (animated("WEBP"), "photo-animated"),
        (animated("AVIF"), "photo-animated"),
    ],
    ids=[
        *("nothing", "text", "svg", "jpeg_magic", "bmp", "tiff", "ico"),
        *("animated_gif", "apng", "animated_webp", "animated_avif"),
    ],
)
def test_what_is_no_photo_of_ours_has_its_code(data: bytes, code: ImageErrorCode) -> None:
    assert code_of(data) == code


def test_a_file_beyond_the_limit_is_not_opened() -> None:
    assert code_of(bytes(MAX_BYTES + 1)) == "photo-too-large"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("width", "height"),
    [(30_000, 30_000), (MAX_PIXELS // 10_000 + 1, 10_000)],
    ids=["bomb", "one_row_beyond"],
)
def test_a_photo_of_too_many_pixels_is_not_decoded(width: int, height: int) -> None:
    assert code_of(black_png(width, height)) == "photo-too-many-pixels"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "AVIF"])
def test_half_a_photo_is_corrupt(kind: str) -> None:
    data = encoded(scene(), kind)
    assert code_of(data[: len(data) // 2]) == "photo-corrupt"


@given(st.data())
def test_a_jpeg_that_ends_before_its_last_rows_is_corrupt_wherever_it_ends(data: st.DataObject) -> None:
    """The last rows are test_image_damage's."""
    whole = encoded(scene(), "JPEG")
    pixels_begin = whole.index(b"\xff\xda")
    # Fewer than three bytes are not yet recognisable as a JPEG.
    cut = data.draw(st.integers(3, (2 * pixels_begin + len(whole)) // 3))
    assert code_of(whole[:cut], about=data.draw(st.sampled_from([None, 8]))) == "photo-corrupt"


FILES = {
    **{kind: encoded(scene(), kind) for kind in FORMATS},
    "APNG": animated("PNG"),
    "exif": encoded(scene(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"),
}


def image_or_code(data: bytes, about: int | None = None) -> None:
    """Succeeds unless `decode` raises anything but its own error."""
    try:
        image = decode(data, about=about)
    except ImageError:
        return
    assert image.mode == "RGB"


@given(st.binary(max_size=200), st.sampled_from([b"", *(data[:16] for data in FILES.values())]))
def test_random_bytes_never_raise_anything_else(rest: bytes, beginning: bytes) -> None:
    image_or_code(beginning + rest)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged metadata
@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_photo_never_raises_anything_else(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(FILES[kind])
    spots = st.integers(0, len(damaged) - 1)
    for spot, value in data.draw(st.lists(st.tuples(spots, st.integers(0, 255)), min_size=1, max_size=8)):
        damaged[spot] = value
    image_or_code(bytes(damaged), about=data.draw(st.sampled_from([None, 8])))


# ------------------------------------------------------------------------------------- decoded


@pytest.mark.parametrize(("kind", "tolerance"), [("JPEG", 6.0), ("PNG", 0.0), ("WEBP", 6.0), ("AVIF", 6.0)])
def test_a_photo_keeps_its_size_and_colours(kind: str, tolerance: float) -> None:
    image = decode(encoded(scene(), kind))
    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert difference(image, scene()) <= tolerance


def test_a_gif_of_one_frame_is_a_photo() -> None:
    assert decode(encoded(grey(120), "GIF")).getpixel((0, 0)) == (120, 120, 120)


def test_a_photo_with_another_picture_behind_it_is_the_first() -> None:
    """Phones store a preview or a gain map behind the photo, in one JPEG file (CIPA DC-007)."""
    data = encoded(scene(), "MPO", save_all=True, append_images=[grey(0)])
    assert difference(decode(data), scene()) <= 6


@pytest.mark.parametrize(
    ("inks", "colour"),
    [((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0))],
    ids=["paper", "red", "black"],
)
def test_a_cmyk_jpeg_is_not_inverted(inks: tuple[int, ...], colour: tuple[int, int, int]) -> None:
    image = decode(encoded(Image.new("CMYK", (16, 16), inks), "JPEG"))
    assert np.abs(pixels(image) - np.array(colour)).max() <= 3


@pytest.mark.parametrize(
    ("level", "expected"), [(0, 0), (256, 1), (32_768, 128), (65_200, 254), (65_535, 255)]
)
def test_a_grey_of_16_bits_is_scaled_not_clipped(level: int, expected: int) -> None:
    image = decode(encoded(Image.fromarray(np.full((4, 4), level, np.uint16)), "PNG"))
    assert set(image.get_flattened_data()) == {(expected,) * 3}


@pytest.mark.parametrize("mode", ["1", "L"])
def test_greys_become_rgb(mode: str) -> None:
    image = decode(encoded(Image.new(mode, (4, 4), 255), "PNG"))
    assert (image.mode, image.getpixel((0, 0))) == ("RGB", (255, 255, 255))


def half_clear() -> Image.Image:
    """Transparent on the left, dark on the right."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((20, 20, 20, 255), (4, 0, 8, 8))
    return image


def half_clear_palette() -> Image.Image:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 20, 20, 20])
    image.paste(1, (4, 0, 8, 8))
    return image


@pytest.mark.parametrize(
    "data",
    [
        encoded(half_clear(), "PNG"),
        encoded(half_clear().convert("LA"), "PNG"),
        encoded(half_clear(), "WEBP", lossless=True),
        encoded(half_clear_palette(), "PNG", transparency=0),
        encoded(half_clear_palette(), "GIF", transparency=0),
    ],
    ids=["rgba_png", "grey_png", "webp", "palette_png", "gif"],
)
def test_what_is_transparent_is_white(data: bytes) -> None:
    image = decode(data)
    assert image.getpixel((1, 4)) == (255, 255, 255)
    assert image.getpixel((6, 4)) == (20, 20, 20)


def test_half_transparent_is_half_white() -> None:
    image = decode(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 128)), "PNG"))
    assert image.getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_a_photo_comes_out_upright(kind: str, orientation: int) -> None:
    turn = STORED_AS[orientation]
    stored = scene() if turn is None else scene().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(encoded(stored, kind, exif=exif))
    assert difference(image, scene()) <= 6


@pytest.mark.parametrize(
    ("tag", "kind", "value"),
    [(0x0100, 1, 6), (0x0102, 4, 0xFFFFFFFF), (0x010E, 11, 0)],
    ids=["width_as_byte", "depth_out_of_range", "description_as_float"],
)
def test_careless_metadata_beside_the_orientation_changes_nothing(tag: int, kind: int, value: int) -> None:
    """Tags of the wrong type, as some cameras and editors write them."""
    entries = sorted([(0x0112, 3, 1, 6 << 16), (tag, kind, 1, value)])
    body = b"".join(struct.pack(">HHII", *entry) for entry in entries)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + body + bytes(4)
    image = decode(encoded(scene().transpose(Transpose.ROTATE_90), "JPEG", exif=exif))
    assert difference(image, scene()) <= 6


# ------------------------------------------------------------------------------------- decoded smaller


@pytest.mark.parametrize("size", [(1600, 1200), (1200, 1600), (900, 900), (333, 2000), (100, 80)])
@pytest.mark.parametrize("about", [28, 112, 224])
def test_a_smaller_decode_has_twice_the_size_asked_for(size: tuple[int, int], about: int) -> None:
    data = encoded(scene(*size), "JPEG")
    small = decode(data, about=about)
    assert min(small.size) >= min(2 * about, *size)
    assert small.width / small.height == pytest.approx(size[0] / size[1], rel=0.03)


def test_a_large_photo_is_indeed_decoded_smaller() -> None:
    assert decode(encoded(scene(1600, 1200), "JPEG"), about=100).size == (400, 300)


def test_a_smaller_decode_is_close_to_the_whole_one() -> None:
    data = encoded(scene(1600, 1200), "JPEG", quality=90)
    target = (224, 224)
    whole, small = (decode(data, about=about).resize(target, Image.Resampling.BOX) for about in (None, 100))
    assert difference(whole, small) < 1


def test_a_smaller_decode_is_upright_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = scene(1600, 1200).transpose(Transpose.ROTATE_90)
    small = decode(encoded(stored, "JPEG", exif=exif), about=100)
    assert difference(small, scene(1600, 1200).resize(small.size)) <= 6


def test_other_kinds_are_decoded_smaller_where_they_are_large() -> None:
    assert decode(encoded(scene(640, 480), "PNG"), about=10).size == (640, 480)
    assert decode(encoded(scene(2400, 1800), "PNG"), about=100).size == (267, 200)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "I;16"])
def test_a_large_photo_is_the_same_in_bands(mode: str) -> None:
    """Beside another one just below the limit, which is its beginning."""
    levels = np.random.default_rng(1).integers(0, 256, (1001, 4000, 4), np.uint8)
    if mode == "I;16":
        large = Image.fromarray(levels[..., :2].copy().view(np.uint16)[..., 0])
    else:
        large = Image.fromarray(levels).convert(mode if mode != "P" else "RGB")
        large = large.quantize(16, dither=Image.Dither.NONE) if mode == "P" else large
    assert large.width * large.height > LARGE_PIXELS
    small = large.crop((0, 0, 4000, 1000))
    options = {"transparency": 3} if mode == "P" else {}
    whole, part = (decode(encoded(each, "PNG", compress_level=1, **options)) for each in (large, small))
    assert (whole.mode, whole.size) == ("RGB", (4000, 1001))
    assert np.array_equal(pixels(whole)[:1000], pixels(part))


MEASURED = """
import re, sys
from pathlib import Path
from services.shared.images import decode
decode(sys.stdin.buffer.read(), about=160)
print(int(re.search("VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def test_a_large_photo_with_transparency_is_in_memory_once() -> None:
    """100 million pixels of four bytes are 381 MiB."""
    data = encoded(Image.new("RGBA", (10_000, 10_000), (1, 2, 3, 128)), "PNG", compress_level=1)
    done = subprocess.run([sys.executable, "-c", MEASURED], input=data, capture_output=True, check=True)
    assert 381 < int(done.stdout) < 600


def test_whoever_decodes_something_large_may_have_to_wait_for_it() -> None:
    entered: list[str] = []

    class Turn(nullcontext[None]):
        def __enter__(self) -> None:
            entered.append("large")

    decode(encoded(scene(640, 480), "PNG"), large=Turn())
    decode(encoded(scene(2400, 1800), "JPEG"), about=100, large=Turn())
    assert entered == []
    decode(encoded(scene(2400, 1800), "PNG"), large=Turn())
    assert entered == ["large"]
