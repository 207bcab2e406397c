"""Recognises the format of a file by its first bytes, to name the formats that we do not decode."""

import io
import re
from collections.abc import Iterator, Mapping
from typing import Literal

from PIL import Image as Pillow

AVIF_BRANDS = frozenset((b"avif", b"avis"))
HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
# Also containers of pictures whose codec another brand names.
HEIF_BRANDS = HEIC_BRANDS | {b"mif1", b"mif2", b"msf1", b"miaf"}
MAX_BRANDS_BYTES = 512
TEXT_BYTES = 65_536  # within which an SVG's root is looked for

JPEG_LS = b"\xff\xd8\xff\xf7"

_SIGNATURES = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (JPEG_LS, "JPEG-LS"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"8BPS\0", "PSD"),
    (b"%PDF-", "PDF"),
    (b"%!PS-", "PostScript"),
    (b"II*\0\x10\0\0\0CR", "CR2"),
    (b"FUJIFILMCCD-RAW", "RAF"),
    (b"IIRO", "ORF"),
    (b"IIRS", "ORF"),
    (b"MMOR", "ORF"),
    (b"IIU\0", "RW2"),
)
# The order of a number's bytes; for a BigTIFF, which no camera writes, it does not matter.
_TIFF: Mapping[bytes, Literal["little", "big"] | None] = {
    **{b"II*\0": "little", b"MM\0*": "big"},
    **{b"II+\0": None, b"MM\0+": None},
}
_SIZE = re.compile(rb"ispe.{4}(.{4})(.{4})", re.DOTALL)
_DNG_VERSION = 50706  # a tag that only a DNG has
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes

# What may stand before the root of an SVG -> how it ends.
_ENDS = {b"<?": b"?>", b"<!--": b"-->", b"<!doctype svg": b">"}
_PROLOGUE = re.compile(rb"\s*(<\?|<!--|<!doctype svg)")
_SUBSET = re.compile(rb"\s*<!doctype svg[^>\[]*\[")
_ROOT = re.compile(rb"\s*<(?:[a-z][\w.-]*:)?svg[\s/>]")


def name_of(data: bytes) -> str | None:
    """The format of an image that we do not decode; None if the file is not an image.

    Raises:
        PIL.Image.DecompressionBombError: an image of another format that Pillow knows, with too many pixels.

    """
    if named := next((name for signature, name in _SIGNATURES if data.startswith(signature)), None):
        return named
    if declared := brands(data):
        return _of_brands(declared)
    if data[:4] in _TIFF:
        return "DNG" if _is_dng(data) else _of_pillow(data) or "TIFF, or a camera's raw such as DNG"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    # A directory of pictures follows, whose first entry has a byte that is always zero.
    if data[:4] in (b"\0\0\1\0", b"\0\0\2\0") and data[4:6] != b"\0\0" and data[9:10] == b"\0":
        return "ICO"
    return "SVG" if _is_svg(data) else _of_pillow(data)


def brands(data: bytes) -> frozenset[bytes]:
    """The brands that an ISO media file (AVIF, HEIC, MP4) declares; none for other files."""
    if data[4:8] != b"ftyp":
        return frozenset()
    size = min(max(int.from_bytes(data[:4]), 12), MAX_BRANDS_BYTES)
    # The four bytes behind the major brand are its version.
    return frozenset((data[8:12], *(data[start : start + 4] for start in range(16, size - 3, 4))))


def is_heif(data: bytes) -> bool:
    """Whether it declares to be a HEIC, or a HEIF with another codec than AVIF's."""
    if data[4:8] != b"ftyp":
        return False
    declared = brands(data)
    return bool(declared & HEIF_BRANDS) and not declared & AVIF_BRANDS


def has_a_track(data: bytes) -> bool:
    """Whether an ISO media file has a sequence, as films have, beside or instead of its pictures."""
    return any(kind == b"moov" for kind, _ in _boxes(data))


def largest_picture(data: bytes) -> int:
    """The pixels of the largest picture in a HEIF, as it is coded: it may be cropped when it is shown."""
    header = next((body for kind, body in _boxes(data) if kind == b"meta"), b"")
    sizes = (found.groups() for found in _SIZE.finditer(header))
    return max((int.from_bytes(width) * int.from_bytes(height) for width, height in sizes), default=0)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box of the outermost level."""
    start = 0
    while start + 8 <= len(data):
        size, kind = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16])
        elif size == 0:
            size = len(data) - start
        if size < 8:
            return
        yield kind, data[start + 8 : start + size]
        start += size


def _of_brands(declared: frozenset[bytes]) -> str | None:
    if b"crx " in declared:
        return "CR3"
    if declared & AVIF_BRANDS:
        return "AVIF"
    if declared & HEIC_BRANDS:
        return "HEIC"
    return "HEIF" if declared & HEIF_BRANDS else None


def _is_dng(data: bytes) -> bool:
    if (order := _TIFF[data[:4]]) is None:
        return False
    start = int.from_bytes(data[4:8], order)
    entries = int.from_bytes(data[start : start + 2], order)
    tags = (start + 2 + 12 * entry for entry in range(entries))
    return any(int.from_bytes(data[tag : tag + 2], order) == _DNG_VERSION for tag in tags)


def _is_svg(data: bytes) -> bool:
    """Whether the root of the document is `svg`: a web page that contains a drawing is not an image."""
    text = data[:TEXT_BYTES]
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = text.decode("utf-16", "ignore").encode()
    text = text.removeprefix(b"\xef\xbb\xbf").lower()
    start = 0
    while prologue := _PROLOGUE.match(text, start):
        end = b"]>" if prologue[1] == b"<!doctype svg" and _SUBSET.match(text, start) else _ENDS[prologue[1]]
        if (start := text.find(end, prologue.end())) < 0:
            return False
        start += len(end)
    return _ROOT.match(text, start) is not None


def _of_pillow(data: bytes) -> str | None:
    try:
        with Pillow.open(io.BytesIO(data)) as image:
            return image.format
    except Pillow.DecompressionBombError:
        raise
    except Exception:
        # Plugins raise nearly anything on files that only begin like one of theirs.
        return None
