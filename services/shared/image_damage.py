"""Finds out what is left of a damaged photo, as browsers do: PNG chunks without pixels, JPEGs cut short.

Pillow can be told to load whatever there is, but for the whole process at once (LOAD_TRUNCATED_IMAGES), and then
fills what is missing with grey and does not say how much it is.
"""

import io
import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image as Pillow

# ------------------------------------------------------------------------------------- PNG

PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PROFILE = 1 << 20  # bytes; Pillow fails on a PNG with a larger one
_PALETTE = 3  # the colour type of a PNG whose pixels are indices
# Bytes of transparency by colour type; a palette's has one for each of its colours. Other types have none.
_TRANSPARENCY = {0: (2,), 2: (6,), _PALETTE: range(1, 257)}


def without_damaged_chunks(data: bytes) -> bytes:
    """A PNG with only the chunks that its picture needs: the critical ones as they are, and the few others that
    change how it looks if they are whole.

    libpng, and so each browser, drops a chunk without pixels that has a wrong checksum or content, and needs no
    end marker. It needs a palette only where pixels are indices.
    """
    kept: list[bytes] = []
    colour_type = None
    for kind, body, chunk in _chunks(data):
        if kind == b"IHDR" and len(body) == 13:
            colour_type = body[9]
        if kind[0] & 0x20 or (kind == b"PLTE" and colour_type != _PALETTE):
            whole = len(chunk) == len(body) + 12 and int.from_bytes(chunk[-4:]) == zlib.crc32(chunk[4:-4])
            if not whole or not _matters(kind, body, colour_type):
                continue
        kept.append(chunk)
    return PNG + b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, content, and all of it, of each chunk up to the end, or to what is no chunk behind the pixels."""
    start, pixels = len(PNG), False
    while start + 8 <= len(data):
        length, kind = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        if pixels and not (kind.isalpha() and kind.isascii()):
            return
        pixels = pixels or kind == b"IDAT"
        end = start + 12 + length
        yield kind, data[start + 8 : end - 4], data[start:end]
        if kind == b"IEND":
            return
        start = end


def _matters(kind: bytes, body: bytes, colour_type: int | None) -> bool:
    match kind:
        case b"tRNS":
            return len(body) in _TRANSPARENCY.get(colour_type or 0, ())
        case b"iCCP":
            return _holds_a_profile(body)
        case b"acTL":
            # Its frames are dropped, so that the photo is either refused as animated, or its only picture.
            return len(body) == 8 and int.from_bytes(body[:4]) > 1
        case _:
            return kind == b"eXIf"


def _holds_a_profile(body: bytes) -> bool:
    _, _, rest = body.partition(b"\0")
    stream = zlib.decompressobj()
    try:
        return rest[:1] == b"\0" and bool(stream.decompress(rest[1:], _PNG_PROFILE)) and not stream.unconsumed_tail
    except zlib.error:
        return False


# ------------------------------------------------------------------------------------- JPEG

JPEG = b"\xff\xd8\xff"
END = b"\xff\xd9"
MISSING_SHARE = 32  # of so many rows one may be missing, at least a row of the blocks that are coded together
_FILL = 16  # bytes of nothing, from which on they are no photo's but of the disk or the download

_MARKER = re.compile(rb"\xff+([\x01-\xfe])")
_MARKER_BEHIND_PIXELS = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_BARE = {0x01, *range(0xD0, 0xDA)}  # markers without a segment
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
_PARTS = tuple(bytes((0xFF, kind)) for kind in range(0xD0, 0xD8))
_DECODED = {0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA}  # by libjpeg-turbo, if of 8 bits


@dataclass(frozen=True)
class Scan:
    """A pass over a JPEG's pixels."""

    components: bytes
    first: int  # coefficient of each block
    last: int
    refines: bool  # it only adds a bit to what earlier passes brought
    low_bit: int  # the lowest that it brings
    start: int  # of its data in the file


@dataclass(frozen=True)
class Jpeg:
    """What the markers of a JPEG say, up to the end of its first picture or to where it is cut."""

    process: int  # the marker of its frame
    bits: int
    width: int
    height: int
    components: bytes
    block_rows: int  # rows of pixels that are coded together
    scans: tuple[Scan, ...]

    @property
    def unsupported(self) -> str | None:
        """The name of a kind of JPEG that neither we nor browsers decode."""
        if self.bits != 8:
            return f"{self.bits}-bit JPEG"
        if self.process in _DECODED:
            return None
        return "lossless JPEG" if self.process == 0xCB else "hierarchical JPEG"

    @property
    def lossless(self) -> bool:
        """Whether it is coded without loss, as medical scans are."""
        return self.process == 0xC3

    @property
    def all_begun(self) -> bool:
        """Whether each coefficient of each component has had its last pass, or has it now."""
        if self.lossless:
            return True
        done = {
            (component, coefficient)
            for scan in self.scans
            if scan.low_bit == 0
            for component in scan.components
            for coefficient in range(scan.first, scan.last + 1)
        }
        return all((component, each) in done for component in self.components for each in range(64))


def read_markers(data: bytes) -> Jpeg:
    """What kind of JPEG it is, and which passes it has.

    Raises:
        ValueError: it has no whole header.

    """
    frame: tuple[int, bytes] | None = None
    scans: list[Scan] = []
    marker = _MARKER.search(data, 2)
    while marker is not None:
        kind, start = marker[1][0], marker.end()
        if kind == 0xD9:
            break
        if kind not in _BARE:
            end = start + max(2, int.from_bytes(data[start : start + 2]))
            segment = data[start + 2 : end]
            if end > len(data):
                break
            if kind in _FRAMES and frame is None:
                frame = kind, segment
            if kind == _SCAN:
                scans.append(_scan(segment, end))
            start = end
        behind = _MARKER_BEHIND_PIXELS if kind == _SCAN else _MARKER
        marker = behind.search(data, start)
    if frame is None or len(frame[1]) < 9 or not scans:
        raise ValueError("no whole header")
    process, segment = frame
    parts = [segment[at : at + 3] for at in range(6, 6 + 3 * segment[5], 3)]
    return Jpeg(
        process=process,
        bits=segment[0],
        width=int.from_bytes(segment[3:5]),
        height=int.from_bytes(segment[1:3]),
        components=bytes(part[0] for part in parts),
        block_rows=8 * max(part[1] & 15 for part in parts),
        scans=tuple(scans),
    )


def _scan(segment: bytes, start: int) -> Scan:
    count = segment[0]
    first, last, bits = segment[1 + 2 * count : 4 + 2 * count]
    return Scan(
        components=segment[1 : 1 + 2 * count : 2],
        first=first,
        last=last,
        refines=bits >> 4 > 0,
        low_bit=bits & 15,
        start=start,
    )


def has_end(data: bytes) -> bool:
    """Whether a JPEG's first picture has its end marker, behind which anything may follow."""
    if data.endswith(END):
        return True
    pixels = _first_pixels(data)
    # Pixels never look like a marker.
    return pixels is None or data.find(END, pixels) >= 0


def has_one_scan(data: bytes) -> bool:
    """Whether a JPEG has its pixels in one pass. A progressive one has a few, and was cut in the first."""
    pixels = _first_pixels(data)
    return pixels is not None and data.find(bytes((0xFF, _SCAN)), pixels) < 0


def _first_pixels(data: bytes) -> int | None:
    marker = _MARKER.search(data, 2)
    while marker is not None and marker[1][0] != _SCAN:
        start = marker.end()
        skipped = 0 if marker[1][0] in _BARE else int.from_bytes(data[start : start + 2])
        marker = _MARKER.search(data, start + skipped)
    return marker and marker.end()


def with_end(data: bytes, jpeg: Jpeg) -> bytes:
    """A JPEG's first picture, up to where its data end, with the end marker."""
    return _picture(data, jpeg) + END


def _picture(data: bytes, jpeg: Jpeg) -> bytes:
    end = data.find(END, jpeg.scans[-1].start)
    if end < 0:
        end = len(data.rstrip(b"\0\xff"))
        if len(data) - end < _FILL:
            end = len(data)
    # Half a marker would make one with what follows.
    return data[:end].rstrip(b"\xff")


def _noise(picture: bytes, jpeg: Jpeg) -> bytes:
    """What continues a picture with pixels that it has not, be it within a part or at the end of one.

    A picture may be coded in parts that can be decoded each for itself, with the markers RST0 to RST7 in turn between
    them; at the end of a part nothing but the next marker is looked for.
    """
    last = max((picture.rfind(part, jpeg.scans[-1].start), number) for number, part in enumerate(_PARTS))
    following = (last[1] + 1) % len(_PARTS) if last[0] >= 0 else 0
    # No byte of it begins a marker.
    noise = random.Random(7).randbytes(4096).replace(b"\xff", b"\x5a")  # noqa: S311
    return noise + _PARTS[following] + noise


def rows_there(data: bytes, jpeg: Jpeg) -> int:
    """How many rows of a JPEG that may be cut short are there; 0 if too many are missing.

    A row is there if nothing of it is missing, but for the lowest bit of its coefficients: a pass that only adds that
    one changes no level by much. Rows are counted by the blocks that are coded together. One such row of blocks, or
    one row of pixels in MISSING_SHARE, may be missing at the bottom.

    The data end there where other data behind them would change the picture: it is decoded with nothing and with
    noise behind them, and each in turn, so that one of the two is in memory. Both cost a full decode, and only photos
    pay it that have no end, or end in exactly the grey that libjpeg fills with.
    """
    if not jpeg.all_begun:
        return 0
    if jpeg.scans[-1].refines:
        return jpeg.height
    picture = _picture(data, jpeg)
    left = _prints(picture + END, jpeg)
    changed = _prints(picture + _noise(picture, jpeg) + END, jpeg)
    same = next((row for row, (one, other) in enumerate(zip(left, changed, strict=True)) if one != other), None)
    if same is None:
        return jpeg.height
    there = same * jpeg.block_rows
    missing = jpeg.height - there
    return there if missing <= max(jpeg.block_rows, jpeg.height // MISSING_SHARE) else 0


def _prints(data: bytes, jpeg: Jpeg) -> list[int]:
    """A checksum of each row of blocks, without its last row of pixels: that one takes colour from the next."""
    with Pillow.open(io.BytesIO(data), formats=("JPEG",)) as image:
        image.load()
        (width, height), rows = image.size, jpeg.block_rows
        bands = (
            image.crop((0, top, width, height if top + rows >= height else top + rows - 1))
            for top in range(0, height, rows)
        )
        return [zlib.crc32(band.tobytes()) for band in bands]


def ends_grey(image: Pillow.Image) -> bool:
    """Whether a loaded picture's last pixel is exactly the grey of missing ones (inverted if it is CMYK)."""
    width, height = image.size
    # Pillow's own getpixel sees to it each time that the file is loaded.
    return image.im.getpixel((width - 1, height - 1)) in _GREYS


_GREYS = (128, (128, 128, 128), (127, 127, 127, 127))  # libjpeg's
