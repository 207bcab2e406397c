"""Files that people really had, kept outside the repository: VITRINE_CASES names their folder."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from services.shared.errors import ImageError
from services.shared.images import decode
from tests.unit.test_images import difference

CASES = os.environ.get("VITRINE_CASES")
DEMO = Path(__file__).parents[2] / "services" / "local" / "demo" / "images"
TOLERANCE = 4.0  # levels of 255 on average: the wide-gamut files are small JPEGs with halved colour

pytestmark = pytest.mark.skipif(CASES is None, reason="VITRINE_CASES names no folder with collected files")

USUAL = (60, 80)
# File of photos/ -> the size of what is decoded, or the code and the name of the format.
OUTCOMES: Mapping[str, tuple[int, int] | str] = {
    **dict.fromkeys(
        (
            *("00-plain.jpg", "01-upper.JPG", "02-png-named.jpg", "03-progressive.jpg", "04-cmyk-adobe.jpg"),
            *("05-cmyk-no-adobe-marker.jpg", "06-exif-empty.jpg", "07-exif-garbage.jpg", "08-exif-twice.jpg"),
            *("09-exif-ifd-cut.jpg", "10-exif-orientation-is-text.jpg", "11-no-eoi-baseline.jpg"),
            *("12-no-eoi-progressive.jpg", "14-trailing-garbage.jpg", "17-gray16.png"),
            *("18-rgba-black-below.png", "19-palette-transparent.png", "20-png-iccp-method-1.png"),
            *("21-png-iccp-garbage.png", "22-png-ztxt-2mb.png", "24-png-text-crc-wrong.png"),
            *("26-png-no-iend.png", "28-apng-one-frame.png", "40-avif.avif", "41-avif-named.jpg"),
            *("42-webp-lossless.webp", "44-gif.gif", "56-mpo.jpg", "57-mpo-stripped.jpg"),
            *("58-mpo-index-garbage.jpg", "60-icc-garbage.jpg", "61-xmp-500k.jpg", "65-exif-rotate.jpg"),
        ),
        USUAL,
    ),
    "52-1x1.png": (1, 1),
    "53-1x20000.png": (1, 20_000),
    "54-30000x3.jpg": (30_000, 3),
    **dict.fromkeys(
        (
            *("15-leading-newlines.jpg", "16-leading-bom.jpg", "43-html-named.jpg", "48-mp4.jpg"),
            *("62-base64-text.jpg", "63-data-uri.jpg", "64-gzip.jpg"),
        ),
        "photo-not-an-image",
    ),
    "30-bmp.bmp": "photo-format-unsupported: BMP",
    "31-bmp-named.jpg": "photo-format-unsupported: BMP",
    "32-tiff.tif": "photo-format-unsupported: TIFF",
    "33-ico.ico": "photo-format-unsupported: ICO",
    "34-jp2.jp2": "photo-format-unsupported: JPEG 2000",
    "35-svg.svg": "photo-format-unsupported: SVG",
    # It has the beginning of a HEIC, and no picture.
    "36-heic.jpg": "photo-format-unsupported: HEIC",
    "38-jxl.jxl": "photo-format-unsupported: JPEG XL",
    "45-pdf.pdf": "photo-format-unsupported: PDF",
    "46-psd.psd": "photo-format-unsupported: PSD",
    "47-dng-raw.dng": "photo-format-unsupported: TIFF, or a camera's raw such as DNG",
    "50-precision-12.jpg": "photo-format-unsupported: 12-bit JPEG",
    "51-lossless-sof3.jpg": "photo-format-unsupported: lossless JPEG",
    "55-zero-bytes.jpg": "photo-empty",
    "59-two-frame.gif": "photo-animated",
}
WIDE_GAMUT = ("10244-AdobeRGB.jpg", "10244-ProPhoto.jpg", "10245-DisplayP3.jpg", "10287-AdobeRGB.jpg")


def outcome(data: bytes, about: int | None = None) -> tuple[int, int] | str:
    try:
        return decode(data, about=about).size
    except ImageError as error:
        return str(error)


def cases(folder: str) -> Path:
    return Path(CASES or ".") / folder


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged metadata
@pytest.mark.parametrize("name", OUTCOMES)
def test_a_collected_photo_has_its_outcome(name: str) -> None:
    data = (cases("photos") / name).read_bytes()
    assert outcome(data) == OUTCOMES[name]
    # None of them is so large that it would come out smaller.
    assert outcome(data, about=224) == OUTCOMES[name]


def test_each_collected_photo_is_in_the_table() -> None:
    assert {path.name for path in cases("photos").iterdir()} <= OUTCOMES.keys()
    assert {path.name for path in cases("icc").iterdir()} <= set(WIDE_GAMUT)


@pytest.mark.parametrize("about", [None, 20])
@pytest.mark.parametrize("name", WIDE_GAMUT)
def test_a_collected_wide_gamut_photo_looks_as_the_same_one_in_srgb(name: str, about: int | None) -> None:
    """The same drawings, as the demo has them."""
    number = name.partition("-")[0]
    narrow = decode((DEMO / f"{number}.jpg").read_bytes(), about=about)
    assert difference(decode((cases("icc") / name).read_bytes(), about=about), narrow) <= TOLERANCE
