"""A damaged photo is what browsers show of it if all but its last rows are there; else it is corrupt."""

import struct
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from services.shared.errors import ImageError, ImageErrorCode
from services.shared.image_damage import MISSING_SHARE
from services.shared.images import LARGE_PIXELS, MAX_PIXELS, decode
from tests.unit.icc_profiles import PROPHOTO, in_space, rgb_profile
from tests.unit.photos import PNG, encoded, grey, png_chunk, png_chunks, png_with
from tests.unit.test_images import code_of, difference, pixels, scene

ORIENTATION = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def outcome(data: bytes, about: int | None = None) -> Image.Image | ImageErrorCode:
    try:
        return decode(data, about=about)
    except ImageError as error:
        return error.code


def half_clear() -> Image.Image:
    """Transparent on the left, dark on the right."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((20, 20, 20, 255), (4, 0, 8, 8))
    return image


# ------------------------------------------------------------------------------------- PNG: without pixels

# Chunks without pixels, of the standard and of its extensions -> a good one's content.
ANCILLARY: Mapping[bytes, bytes] = {
    b"tEXt": b"Software\0scanner",
    b"zTXt": b"Comment\0\0" + zlib.compress(b"text"),
    b"iTXt": b"Title\0\0\0en\0Title\0text",
    b"tIME": struct.pack(">HBBBBB", 2026, 11, 28, 12, 0, 0),
    b"pHYs": struct.pack(">IIB", 2835, 2835, 1),
    b"eXIf": ORIENTATION.replace(b"\0\x06\0\0", b"\0\x01\0\0"),
    b"iCCP": b"name\0\0" + zlib.compress(b"no profile"),
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    b"sRGB": b"\0",
    b"cICP": b"\1\15\0\1",
    b"sBIT": b"\x08\x08\x08",
    b"bKGD": bytes(6),
    b"hIST": bytes(2),
    b"sPLT": b"few\0\x08" + bytes(6),
    b"acTL": struct.pack(">II", 1, 0),
    b"fcTL": struct.pack(">5I2H2B", 0, 64, 48, 0, 0, 1, 10, 0, 0),
    b"fdAT": bytes(8),
    b"tRNS": bytes(5),
    b"vpAg": b"private",
}


def damaged(kind: bytes, damage: str) -> bytes:
    body = ANCILLARY[kind]
    match damage:
        case "wrong_checksum":
            return png_chunk(kind, body, checksum=zlib.crc32(kind + body) ^ 1)
        case "cut":
            return png_chunk(kind, body[: len(body) // 2])
        case "one_byte":
            return png_chunk(kind, body[:1])
        case "garbage":
            return png_chunk(kind, np.random.default_rng(3).bytes(3000))
        case _:
            return png_chunk(kind, b"")


DAMAGES = ("wrong_checksum", "cut", "one_byte", "garbage", "empty")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged metadata
@pytest.mark.parametrize("place", [b"IDAT", b"IEND"], ids=["before", "behind"])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ANCILLARY, ids=lambda kind: kind.decode())
def test_damage_in_a_chunk_without_pixels_changes_no_pixel(kind: bytes, damage: str, place: bytes) -> None:
    data = png_with(encoded(scene(), "PNG"), damaged(kind, damage), before=place)
    assert difference(decode(data), scene()) == 0


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    chunks=st.lists(
        st.tuples(
            st.from_regex(rb"[a-z][A-Za-z]{3}", fullmatch=True) | st.sampled_from(list(ANCILLARY)),
            st.binary(max_size=60),
            st.none() | st.integers(0, 0xFFFFFFFF),
        ),
        min_size=1,
        max_size=4,
    ),
    place=st.sampled_from([b"IDAT", b"IEND"]),
)
def test_whatever_stands_beside_the_pixels_the_photo_is_shown(
    chunks: list[tuple[bytes, bytes, int | None]], place: bytes
) -> None:
    # Whole chunks that change how the picture looks, or that there are more, are no damage.
    extra = [chunk for chunk in chunks if chunk[0] not in (b"acTL", b"eXIf", b"tRNS", b"fdAT", b"fcTL")]
    data = png_with(encoded(scene(), "PNG"), *(png_chunk(*chunk) for chunk in extra), before=place)
    assert difference(decode(data), scene()) == 0


@pytest.mark.parametrize("megabytes", [2, 100])
@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_a_text_or_profile_that_unfolds_to_megabytes_is_left_out(kind: bytes, megabytes: int) -> None:
    chunk = png_chunk(kind, b"name\0\0" + zlib.compress(bytes(megabytes << 20)))
    assert difference(decode(png_with(encoded(scene(), "PNG"), chunk)), scene()) == 0


TEXT = damaged(b"tEXt", "wrong_checksum")


def test_a_good_orientation_beside_damage_is_honoured() -> None:
    stored = encoded(scene().transpose(Image.Transpose.ROTATE_90), "PNG")
    for extra in ([TEXT, png_chunk(b"eXIf", ORIENTATION)], [png_chunk(b"eXIf", ORIENTATION), TEXT]):
        assert difference(decode(png_with(stored, *extra)), scene()) == 0


def test_a_damaged_orientation_is_not() -> None:
    chunk = png_chunk(b"eXIf", ORIENTATION, checksum=1)
    assert difference(decode(png_with(encoded(scene(), "PNG"), chunk)), scene()) == 0


def test_a_good_profile_beside_damage_is_honoured() -> None:
    profile = rgb_profile(PROPHOTO)
    data = encoded(in_space(scene(), profile), "PNG", icc_profile=profile)
    assert difference(decode(png_with(data, TEXT)), scene()) <= 1


def test_transparency_beside_damage_is_white() -> None:
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 0, 20, 20, 20])
    palette.paste(1, (4, 0, 8, 8))
    for data in (encoded(half_clear(), "PNG"), encoded(palette, "PNG", transparency=0)):
        image = decode(png_with(data, TEXT))
        assert [image.getpixel((x, 4)) for x in (1, 6)] == [(255, 255, 255), (20, 20, 20)]


def test_transparency_that_is_damaged_is_left_out() -> None:
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([90, 80, 70])
    data = encoded(palette, "PNG")
    for chunk in (png_chunk(b"tRNS", b"\0", checksum=1), png_chunk(b"tRNS", bytes(300))):
        assert decode(png_with(data, chunk)).getpixel((0, 0)) == (90, 80, 70)


def test_an_animation_beside_damage_is_refused_as_one() -> None:
    data = encoded(scene(), "PNG", save_all=True, append_images=[grey(0, 64, 48)])
    assert code_of(png_with(data, TEXT)) == "photo-animated"


# ------------------------------------------------------------------------------------- PNG: pixels


def changed(data: bytes, kind: bytes, change: bytes) -> bytes:
    """A PNG with other content in its first chunk of a kind; its checksum is as it was."""
    chunks = []
    for name, chunk in png_chunks(data):
        body = chunk[8:-4]
        middle = len(body) // 2
        damage = body[:middle] + change + body[middle + len(change) :]
        chunks.append(chunk[:8] + damage + chunk[-4:] if name == kind else chunk)
    return PNG + b"".join(chunks)


INDEXED = encoded(scene().quantize(16), "PNG")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (encoded(scene(), "PNG"), b"IHDR"),
        (encoded(scene(), "PNG"), b"IDAT"),
        (INDEXED, b"IHDR"),
        (INDEXED, b"PLTE"),
        (INDEXED, b"IDAT"),
    ],
    ids=["header", "pixels", "header_of_indices", "palette", "indices"],
)
def test_damage_in_what_carries_pixels_is_corrupt(data: bytes, kind: bytes) -> None:
    assert code_of(changed(data, kind, b"\x5a\xa5\x5a")) == "photo-corrupt"
    assert code_of(png_with(changed(data, kind, b"\x5a\xa5\x5a"), TEXT)) == "photo-corrupt"


def test_a_palette_where_pixels_are_colours_may_be_damaged() -> None:
    """It only says which colours a screen of few should have."""
    for chunk in (png_chunk(b"PLTE", b"\1\2\3", checksum=1), png_chunk(b"PLTE", b"\1\2\3\4\5")):
        assert difference(decode(png_with(encoded(scene(), "PNG"), chunk)), scene()) == 0


@pytest.mark.parametrize("kind", [b"PLTE", b"IDAT", b"IHDR"])
def test_a_png_without_what_carries_pixels_is_corrupt(kind: bytes) -> None:
    left = b"".join(chunk for name, chunk in png_chunks(INDEXED) if name != kind)
    assert code_of(PNG + left) == "photo-corrupt"


def test_a_png_without_its_end_is_whole_if_its_pixels_are() -> None:
    whole = encoded(scene(), "PNG")
    without_end = whole[:-12]
    for data in (without_end, without_end[:-4], without_end + b"\0\0\0\x08tEX", without_end + bytes(100)):
        assert difference(decode(data), scene()) == 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_png_whose_pixels_end_early_is_corrupt(share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8))
    data = encoded(noise, "PNG")
    assert code_of(data[: int(len(data) * share)]) == "photo-corrupt"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_damaged_png_of_too_many_pixels_is_not_decoded() -> None:
    header = struct.pack(">IIBBBBB", MAX_PIXELS // 1000 + 1, 1000, 8, 2, 0, 0, 0)
    data = PNG + png_chunk(b"IHDR", header) + TEXT + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    assert code_of(data) == "photo-too-many-pixels"


# ------------------------------------------------------------------------------------- JPEG: cut short


def textured(width: int = 64, height: int = 96) -> Image.Image:
    """A picture with something in each block, down to its last row, and no grey."""
    levels = np.random.default_rng(5).integers(60, 256, (height // 6 + 2, width // 6 + 2, 3), np.uint8)
    return Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)


JPEGS: Mapping[str, Mapping[str, object]] = {
    "baseline": {},
    "full_colour": {"subsampling": 0, "quality": 92},
    "half_colour": {"subsampling": 1},
    "parts_of_a_block": {"restart_marker_blocks": 1},
    "parts_of_a_row": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
    "progressive_in_parts": {"progressive": True, "restart_marker_rows": 1},
}
MODES = ("RGB", "L", "CMYK")


@cache
def jpeg_of(kind: str, mode: str) -> bytes:
    return encoded(textured().convert(mode), "JPEG", **JPEGS[kind])


@cache
def whole_of(kind: str, mode: str) -> Image.Image:
    return decode(jpeg_of(kind, mode))


def first_pixels(data: bytes) -> int:
    """Where a JPEG's first pass begins."""
    start = data.index(b"\xff\xda") + 2
    return start + int.from_bytes(data[start : start + 2])


ENDS = {"nothing": b"", "an_end": b"\xff\xd9", "zeros": bytes(500), "ones": b"\xff" * 500}


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from(list(JPEGS)),
    mode=st.sampled_from(MODES),
    share=st.floats(0, 1) | st.floats(0.85, 1),
    end=st.sampled_from(list(ENDS)),
)
def test_a_jpeg_that_is_cut_short_is_what_is_there_or_corrupt(
    kind: str, mode: str, share: float, end: str
) -> None:
    """At most a row of blocks, of up to 16 pixels, is missing at the bottom; and nothing grey is made up."""
    data = jpeg_of(kind, mode)
    start = first_pixels(data)
    cut = start + int(share * (len(data) - start))
    image = outcome(data[:cut] + ENDS[end])
    if isinstance(image, str):
        assert (image, cut < len(data) - 2) == ("photo-corrupt", True)
        return
    whole = whole_of(kind, mode)
    assert image.width == whole.width
    assert whole.height - 16 <= image.height <= whole.height
    rows = np.abs(pixels(image) - pixels(whole)[: image.height]).mean(axis=(1, 2))
    if "progressive" not in kind:
        # The last row has a quarter of its colour from the next. The cut may garble one block.
        assert rows[:-1].max() <= (4 if end != "an_end" or image.height < whole.height else 40)
    elif end != "an_end":
        # The lowest bit may be missing.
        assert rows.mean() <= 8


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("mode", MODES)
def test_a_jpeg_that_only_lacks_its_end_marker_is_whole(kind: str, mode: str) -> None:
    data, whole = jpeg_of(kind, mode), whole_of(kind, mode)
    for cut in (data[:-2], data[:-1]):
        assert difference(decode(cut), whole) == 0


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [kind for kind in JPEGS if "progressive" not in kind])
def test_half_a_jpeg_is_corrupt_whatever_follows(kind: str, mode: str, end: str) -> None:
    data = jpeg_of(kind, mode)
    start = first_pixels(data)
    for share in (0, 0.25, 0.5, 0.75):
        cut = data[: start + int(share * (len(data) - start))] + ENDS[end]
        for about in (None, 8):
            assert code_of(cut, about=about) == "photo-corrupt", share


@pytest.mark.parametrize("end", ["nothing", "zeros", "ones"])
@pytest.mark.parametrize("kind", ["progressive", "progressive_in_parts"])
def test_a_progressive_jpeg_whose_last_pass_has_not_begun_is_corrupt(kind: str, end: str) -> None:
    data = jpeg_of(kind, "RGB")
    last = data.rindex(b"\xff\xda")
    for cut in (first_pixels(data) + 10, len(data) // 2, last, last + 5):
        assert code_of(data[:cut] + ENDS[end]) == "photo-corrupt"


def test_a_progressive_jpeg_that_ends_in_its_first_pass_is_corrupt() -> None:
    data = jpeg_of("progressive", "RGB")
    first = first_pixels(data)
    passed = data.index(b"\xff\xc4", first)
    for cut in (first + 5, (first + passed) // 2, passed):
        assert code_of(data[:cut] + b"\xff\xd9") == "photo-corrupt"


def test_a_progressive_jpeg_that_lacks_a_part_of_its_last_bit_is_nearly_the_same() -> None:
    data = jpeg_of("progressive", "RGB")
    last = data.rindex(b"\xff\xda")
    image = decode(data[: (last + len(data)) // 2])
    assert image.size == (64, 96)
    assert difference(image, whole_of("progressive", "RGB")) <= 3


@pytest.mark.parametrize("height", [480, 960])
def test_of_a_tall_jpeg_a_small_share_of_the_rows_may_be_missing(height: int) -> None:
    data = encoded(textured(320, height), "JPEG")
    start = first_pixels(data)
    allowed = max(16, height // MISSING_SHARE)
    heights = set()
    for lost in np.linspace(0.001, 0.2, 40):
        cut = data[: start + int((1 - lost) * (len(data) - start))]
        image = outcome(cut)
        if isinstance(image, str):
            assert image == "photo-corrupt"
            assert lost > allowed / height / 3
        else:
            heights.add(image.height)
            assert lost < allowed / height * 3
    assert min(heights) == height - allowed // 16 * 16


@given(cut=st.integers(1, 3000), about=st.sampled_from([8, 16, 40, 300]))
@settings(deadline=None)
def test_the_outcome_is_the_same_at_each_size(cut: int, about: int) -> None:
    data = encoded(textured(320, 480), "JPEG")[:-cut]
    whole, small = outcome(data), outcome(data, about)
    if isinstance(whole, str) or isinstance(small, str):
        assert whole == small
    else:
        assert small.height / small.width == pytest.approx(whole.height / whole.width, rel=0.02)


def test_a_turned_jpeg_loses_the_rows_that_it_was_stored_with_last() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(textured(96, 64), "JPEG", exif=exif)
    assert decode(data).size == (64, 96)
    for cut in range(3, 400):
        image = outcome(data[:-cut])
        if isinstance(image, Image.Image) and image.size != (64, 96):
            assert image.size == (48, 96)
            return
    pytest.fail("it was never shorter")


@pytest.mark.parametrize("trailer", [b"\0", b"SEFT" + bytes(4000), b"\r\n--boundary--\r\n", b"\xff" * 64])
def test_what_follows_the_end_of_a_jpeg_changes_nothing(trailer: bytes) -> None:
    for kind in ("baseline", "progressive"):
        assert difference(decode(jpeg_of(kind, "RGB") + trailer), whole_of(kind, "RGB")) == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_grey_photo_is_not_taken_for_a_missing_one(mode: str) -> None:
    """Exactly the grey that stands for missing pixels."""
    image = Image.new("RGB", (64, 96), (128, 128, 128)).convert(mode)
    for options in JPEGS.values():
        decoded = decode(encoded(image, "JPEG", **options))
        assert (decoded.size, decoded.getpixel((63, 95))) == ((64, 96), decoded.getpixel((0, 0)))


def test_a_photo_with_another_picture_behind_it_that_is_cut_is_the_first() -> None:
    data = encoded(scene(), "MPO", save_all=True, append_images=[textured()])
    for cut in (10, 200, 500):
        assert difference(decode(data[:-cut]), scene()) <= 6


def test_a_large_jpeg_that_is_cut_waits_for_its_turn() -> None:
    entered: list[str] = []

    class Turn:
        def __enter__(self) -> None:
            entered.append("in")

        def __exit__(self, *_: object) -> None:
            entered.append("out")

    size = (2400, 1800)
    data = encoded(scene(*size), "JPEG")
    assert size[0] * size[1] > LARGE_PIXELS
    assert decode(data[:-2], about=100, large=Turn()).size == (300, 225)
    assert entered == ["in", "out"]


def test_threads_that_decode_cut_photos_do_not_change_what_others_see() -> None:
    whole, half = jpeg_of("baseline", "RGB"), jpeg_of("baseline", "RGB")[:-1000]

    with ThreadPoolExecutor(8) as threads:
        outcomes = threads.map(outcome, [whole, half, whole[:-2]] * 60)
        seen = {each if isinstance(each, str) else each.tobytes() for each in outcomes}
    assert seen == {"photo-corrupt", decode(whole).tobytes()}
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
