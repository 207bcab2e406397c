"""What is an image of a kind that we do not decode is refused by its name; HEIC is decoded."""

import base64
import io
import struct
import subprocess
import sys
from contextlib import suppress
from functools import cache
from typing import Literal

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.shared.errors import ImageError
from services.shared.images import MAX_PIXELS, decode
from tests.unit.icc_profiles import DISPLAY_P3, in_space, rgb_profile
from tests.unit.photos import encoded, grey
from tests.unit.test_images import STORED_AS, code_of, difference, scene


def format_of(data: bytes, about: int | None = None) -> str | None:
    """The name that a refusal gives."""
    with pytest.raises(ImageError) as error:
        decode(data, about=about)
    assert error.value.code == "photo-format-unsupported"
    assert error.value.detail is not None
    assert str(error.value) == f"photo-format-unsupported: {error.value.detail}"
    return error.value.detail


def media(*brands: bytes, rest: bytes = b"") -> bytes:
    """A file of boxes, as films, HEIC and AVIF are, with its brands."""
    body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (len(body) + 4).to_bytes(4) + body + rest


def tiff(*tags: int, order: Literal["<", ">"] = "<") -> bytes:
    """A TIFF with these tags, and no picture."""
    entries = b"".join(struct.pack(order + "HHII", tag, 1, 1, 0) for tag in tags)
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "IH", 8, len(tags)) + entries + bytes(4)


# 24x16 pixels: red on the left, blue on the right.
TWELVE_BITS = base64.b85decode(
    "|JeWF01!$>Nk#wx0RR9200961|JwjV00IF40RaI50RaI50s;a81OoyB0s;jD1Oo&H1qKEN1qKEN2MGuU2MGrT1_%oX2?`1d3JL}Y3k(Yi3"
    "<(Mf3jf;xLjeK;0s;a81p@;G3I_%U3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JU+h01*rT5C9kh0U"
    "`hb5di}c0sq7R761VO0RR910000000000000R94FALc7!Uyf0|5X400000000000000AM~21!!~hln0RaI30000000000000004G9eY!~h"
    "%-009I80RR91000000000000#*>hYJk1xc}M!3<CiG0ucid06zf8W*_BoLh5-206)s&h1BvBlL5@LZO?A-g*@F)u<H*ym{UH1N<sZ3NX#("
    "M|Je"
)
LOSSLESS = base64.b85decode(
    "|JeWT01iQ9Z(?NtWB>pF0095P01*fP5C9khQV{@05dcCF0RO}Q7XSeP0RaF20000000000000081qc7y01N|C07n2q00961=^S^CfB*mhC"
    "H?Av000000000068`l-000000000034eN^00000000001i!sd00000000000$<*!00000000000Wa@V00000000000GIcw000000000008"
    "9JT0000000000044qEfB*mh00000022Q7KmY&$00000011D3pa1{>0000000h6iPyhe`0000000Lj$r~m)}0000000A%WQ~&?~00000005"
    "WwssI2000000002w-)c^nh00aNo"
)
ARITHMETIC = base64.b85decode(
    "|JeWF01!$>Nk#wx0RR9200961|JwjV00RO70|EjA0|NsD0|NvF2n7WM1O*BQ2L=cX3JeSj3JVJj4iXRz4iOFu3lJ6%5fc;@6%`B*7Z?^47"
    "!ni}6#v@*LjeN>1O)^I2?YfS6b%av6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6cqo-01*fP5C9kh0U"
    "`hb5di}c0sqVZ3IGrg1pyEd1^?Or3<CiG0ucid06zf#0LUib&awOusCHx?2U6t_&XU5((VYv@)c}DX8=}l^Yr2=A#UPE>9oK;W*#"
)
JPEG_LS = base64.b85decode(
    "|JeWc01*fP5C9kh0TBQK5dZ@b0RP$m3<CiG0ssR500IC200C}z@>l<V|9AiZ4e$UI000LLq9P(9A|fIpA|gp7l1U`5><~fxAcQ(X5a|d<N"
    "QmT!jgb+uA~r-#l1-9Ll1-9Ll1-9K|Je"
)
TWO_COLOURS = Image.new("RGB", (24, 16), (200, 30, 30))
TWO_COLOURS.paste((40, 60, 190), (12, 0, 24, 16))


def with_frame(kind: int, bits: int = 8) -> bytes:
    """A JPEG that says that it is of another process."""
    data = encoded(scene(), "JPEG")
    at = data.index(b"\xff\xc0")
    return data[: at + 1] + bytes((kind,)) + data[at + 2 : at + 4] + bytes((bits,)) + data[at + 5 :]


DRAWING = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><rect width="30" height="30"/></svg>'
)

UNSUPPORTED = {
    "bmp": (encoded(grey(9), "BMP"), "BMP"),
    "tiff": (encoded(grey(9), "TIFF"), "TIFF"),
    "broken_tiff": (tiff(), "TIFF, or a camera's raw such as DNG"),
    "big_tiff": (b"II+\0\x08\0\0\0" + bytes(20), "TIFF, or a camera's raw such as DNG"),
    "dng": (tiff(256, 257, 50706), "DNG"),
    "dng_big_endian": (tiff(254, 50706, order=">"), "DNG"),
    "cr2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(20), "CR2"),
    "cr3": (media(b"crx ", b"isom"), "CR3"),
    "raf": (b"FUJIFILMCCD-RAW 0201" + bytes(20), "RAF"),
    "ico": (encoded(grey(9), "ICO"), "ICO"),
    "icns": (encoded(grey(9, 16, 16), "ICNS"), "ICNS"),
    "tga": (encoded(grey(9), "TGA"), "TGA"),
    "ppm": (encoded(grey(9), "PPM"), "PPM"),
    "psd": (b"8BPS\0\1" + bytes(40), "PSD"),
    "jpeg_2000": (encoded(grey(9, 64, 64), "JPEG2000"), "JPEG 2000"),
    "jpeg_2000_stream": (encoded(grey(9, 64, 64), "JPEG2000", no_jp2=True), "JPEG 2000"),
    "jpeg_xl": (b"\xff\x0a\xfa\x1f\x41\x91\x08", "JPEG XL"),
    "jpeg_xl_box": (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ", "JPEG XL"),
    "jpeg_xr": (b"II\xbc\x01 \0\0\0", "JPEG XR"),
    "jpeg_ls": (JPEG_LS, "JPEG-LS"),
    "pdf": (b"%PDF-1.4\n1 0 obj", "PDF"),
    "svg": (DRAWING, "SVG"),
    "svg_with_prologue": (
        b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- made <svg> by hand -->\n'
        b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd" [<!ENTITY red "#f00">]>\n' + DRAWING,
        "SVG",
    ),
    "svg_with_namespace": (b"  <svg:svg xmlns:svg='http://www.w3.org/2000/svg'/>", "SVG"),
    "svg_of_16_bits": (DRAWING.decode().encode("utf-16"), "SVG"),
    "heic_that_is_none": (media(b"heic", b"mif1", rest=b"\0\0\0\x08meta" + bytes(300)), "HEIC"),
    "heic_of_avc": (encoded(grey(9, 64, 64), "HEIC").replace(b"hvc1", b"avc1"), "HEIC"),
    "heif": (media(b"mif1", b"miaf", rest=bytes(300)), "HEIF"),
    "12_bits": (TWELVE_BITS, "12-bit JPEG"),
    "12_bits_by_header": (with_frame(0xC1, bits=12), "12-bit JPEG"),
    "lossless_that_is_none": (with_frame(0xC3), "lossless JPEG"),
    "lossless_of_16_bits": (with_frame(0xC3, bits=16), "16-bit JPEG"),
    "lossless_arithmetic": (with_frame(0xCB), "lossless JPEG"),
    "hierarchical": (with_frame(0xC5), "hierarchical JPEG"),
    "hierarchical_arithmetic": (with_frame(0xCD), "hierarchical JPEG"),
}


@pytest.mark.parametrize(("data", "name"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_an_image_that_is_not_decoded_is_refused_by_its_name(data: bytes, name: str) -> None:
    assert format_of(data) == name
    assert format_of(data, about=8) == name


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "ICO", "JPEG2000", "PPM"])
def test_a_file_of_which_only_the_beginning_is_there_has_its_name_too(kind: str) -> None:
    data = encoded(grey(9, 64, 64), kind)
    assert format_of(data[: max(60, len(data) // 2)])


NO_IMAGES = {
    "text": b"Dear shop, my photo is below.",
    "text_that_begins_as_a_bmp": b"BMW 320i, red, 1999, and a very long description of it",
    "page": b"<!DOCTYPE html><html><body><p>Not found</p></body></html>",
    "page_with_a_drawing": b"<!DOCTYPE html><html><body><svg></svg></body></html>",
    "page_without_a_root": b"<div><svg></svg></div>",
    "feed": b"<?xml version='1.0'?><rss><svg/></rss>",
    "comment_without_end": b"<!-- <svg>",
    "film": media(b"mp42", b"mp42", b"isom", rest=bytes(200)),
    "film_of_a_phone": media(b"qt  ", rest=bytes(200)),
    "sound": b"ID3\x04\0\0\0\0\0\0" + bytes(100),
    "archive": b"PK\x03\x04" + bytes(100),
    "gzip": b"\x1f\x8b\x08\0" + bytes(60),
    "base64": base64.b64encode(encoded(scene(), "JPEG")),
    "data_uri": b"data:image/jpeg;base64," + base64.b64encode(encoded(scene(), "JPEG")),
    "line_before": b"\r\n" + encoded(scene(), "JPEG"),
    "font": b"\0\1\0\0\0\x0c\0\x80\0\3\0\x40" + bytes(60),
}


@pytest.mark.parametrize("data", NO_IMAGES.values(), ids=NO_IMAGES)
def test_what_is_no_image_is_not_called_one(data: bytes) -> None:
    assert code_of(data) == "photo-not-an-image"


STARTS = [data[:24] for data, _ in UNSUPPORTED.values()] + [data[:24] for data in NO_IMAGES.values()]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged metadata
@given(st.sampled_from(STARTS), st.binary(max_size=300), st.sampled_from([None, 8]))
def test_a_file_that_only_begins_like_one_has_a_code(start: bytes, rest: bytes, about: int | None) -> None:
    try:
        image = decode(start + rest, about=about)
    except ImageError as error:
        named, refused = error.detail is not None, error.code == "photo-format-unsupported"
    else:
        named, refused = False, image.mode != "RGB"
    assert named == refused


@pytest.mark.parametrize("about", [None, 4])
@pytest.mark.parametrize("data", [LOSSLESS, ARITHMETIC], ids=["lossless", "arithmetic"])
def test_rare_kinds_of_jpeg_are_decoded_where_libjpeg_does(data: bytes, about: int | None) -> None:
    image = decode(data, about=about)
    assert difference(image, TWO_COLOURS.resize(image.size)) <= 12


# ------------------------------------------------------------------------------------- HEIC


@cache
def heic(width: int = 64, height: int = 48) -> bytes:
    return encoded(scene(width, height), "HEIC", quality=95, chroma=444)


@pytest.mark.parametrize("size", [(64, 48), (65, 47), (1, 1), (300, 20)])
def test_a_heic_is_decoded(size: tuple[int, int]) -> None:
    image = decode(heic(*size))
    assert image.mode == "RGB"
    assert difference(image, scene(*size)) <= 3


def test_a_heic_of_tiles_is_decoded() -> None:
    """As phones store it: a grid of squares."""
    data = encoded(scene(1100, 700), "HEIC", tile_size=256, quality=95)
    assert data.count(b"grid") >= 1
    assert difference(decode(data), scene(1100, 700)) <= 3


@pytest.mark.parametrize("orientation", STORED_AS)
def test_a_heic_comes_out_upright(orientation: int) -> None:
    turn = STORED_AS[orientation]
    stored = scene() if turn is None else scene().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "HEIC", exif=exif.tobytes(), quality=95, chroma=444)
    assert difference(decode(data), scene()) <= 3


def test_a_heic_of_a_phones_colours_is_converted() -> None:
    profile = rgb_profile(DISPLAY_P3)
    image = in_space(scene(), profile)
    image.info["icc_profile"] = profile
    assert difference(decode(encoded(image, "HEIC", quality=95, chroma=444)), scene()) <= 3


def test_what_is_transparent_in_a_heic_is_white() -> None:
    image = scene().convert("RGBA")
    image.paste((10, 20, 30, 0), (0, 0, 32, 48))
    decoded = decode(encoded(image, "HEIC", quality=-1, chroma=444))
    assert decoded.getpixel((4, 24)) == (255, 255, 255)


def test_a_large_heic_is_made_smaller_in_bands() -> None:
    data = encoded(grey(90, 2400, 1800), "HEIC", enc_params={"preset": "ultrafast"})
    assert decode(data, about=100).size == (267, 200)


def two_pictures() -> bytes:
    both = pillow_heif.from_pillow(scene())
    both.add_from_pillow(grey(9, 64, 48))
    buffer = io.BytesIO()
    both.save(buffer)
    return buffer.getvalue()


def test_a_heic_of_some_pictures_is_animated() -> None:
    assert code_of(two_pictures()) == "photo-animated"


@pytest.mark.parametrize("kind", [b"ster", b"altr"], ids=["for_the_other_eye", "for_another_screen"])
def test_a_heic_with_another_picture_that_belongs_to_the_photo_is_the_photo(kind: bytes) -> None:
    """What a phone stores as one photo (ISO/IEC 23008-12, 6.8)."""
    assert difference(decode(grouped(two_pictures(), kind)), scene()) <= 6


def grouped(data: bytes, kind: bytes) -> bytes:
    """A HEIC whose items 1 and 2 are a group of this kind."""
    group = kind + bytes(4) + b"".join(number.to_bytes(4) for number in (9, 2, 1, 2))
    box = b"grpl" + (len(group) + 4).to_bytes(4) + group
    box = (len(box) + 4).to_bytes(4) + box
    meta = data.index(b"meta") - 4
    end = meta + int.from_bytes(data[meta : meta + 4])
    header = bytearray(data[:end])
    header[meta : meta + 4] = (end - meta + len(box)).to_bytes(4)
    # Where each item's data are, which now come later: the base's and the extent's offset, both of 4 bytes.
    items = header.index(b"iloc") + 8
    assert header[items : items + 4] == b"\x44\x40\0\2"
    for item in (items + 4, items + 4 + 18):
        offset = slice(item + 10, item + 14)
        header[offset] = (int.from_bytes(header[offset]) + len(box)).to_bytes(4)
    return bytes(header) + box + data[end:]


def test_a_heic_with_a_track_is_animated() -> None:
    track = b"\0\0\0\x10moov" + bytes(8)
    assert code_of(heic() + track) == "photo-animated"
    assert code_of(media(b"msf1", b"hevc", b"heic", rest=track)) == "photo-animated"


@pytest.mark.parametrize("size", [(64, 64), (50, 50)], ids=["whole", "cropped"])
def test_a_heic_of_too_many_pixels_is_not_decoded(size: tuple[int, int]) -> None:
    data = heic(*size)
    assert (b"clap" in data) == (size == (50, 50))
    at = data.index(b"ispe") + 8
    vast = (MAX_PIXELS // 1000 + 1).to_bytes(4) + (1000).to_bytes(4)
    assert code_of(data[:at] + vast + data[at + 8 :]) == "photo-too-many-pixels"


@pytest.mark.parametrize("share", [0.9, 0.97])
def test_a_heic_whose_pixels_end_early_is_corrupt(share: float) -> None:
    data = encoded(
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)), "HEIC", quality=90
    )
    assert code_of(data[: int(len(data) * share)]) == "photo-corrupt"


@given(st.data())
def test_a_damaged_heic_never_raises_anything_else(data: st.DataObject) -> None:
    damaged = bytearray(heic())
    spots = st.integers(0, len(damaged) - 1)
    for spot, value in data.draw(st.lists(st.tuples(spots, st.integers(0, 255)), min_size=1, max_size=6)):
        damaged[spot] = value
    cut = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))
    with suppress(ImageError):
        assert decode(bytes(damaged[:cut]), about=data.draw(st.sampled_from([None, 8]))).mode == "RGB"


WITHOUT_LIBRARY = """
import sys
sys.modules["pillow_heif"] = None
from services.shared.errors import ImageError
from services.shared.images import decode
try:
    decode(sys.stdin.buffer.read())
except ImageError as error:
    print(error)
"""


def test_where_the_library_is_left_out_a_heic_is_refused_by_its_name() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARY], input=heic(), capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "photo-format-unsupported: HEIC"


def test_who_decodes_other_photos_does_not_load_the_library() -> None:
    script = "import sys; from services.shared.images import decode; decode(sys.stdin.buffer.read());"
    script += "print('pillow_heif' in sys.modules)"
    data = encoded(scene(), "JPEG")
    done = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "False"
