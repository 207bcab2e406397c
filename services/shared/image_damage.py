"""Finds out what is left of a damaged photo, as browsers do: damaged PNG chunks, JPEGs that are cut short.

Pillow's LOAD_TRUNCATED_IMAGES does not serve: it is one switch for all threads of the process, and it fills
missing pixels with grey without saying how many they are.
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
# Colour type -> the bytes that its transparency may have: one for each colour of a palette.
_TRANSPARENCY = {0: (2,), 2: (6,), _PALETTE: range(1, 257)}


def without_damaged_chunks(data: bytes) -> bytes:
    """A PNG with only the chunks that its picture needs.

    Critical chunks stay as they are. Of the others, those stay that change how the picture looks and are
    whole. libpng, which browsers use, drops chunks without pixels if their checksum or content is wrong. It
    does not need the end marker, and needs a palette only if the pixels are indices.
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
    """Kind, content and all bytes of each chunk, up to the end marker or to garbage behind the pixels."""
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
            # The frames are dropped: a real animation is refused, and another file is its first picture.
            return len(body) == 8 and int.from_bytes(body[:4]) > 1
        case _:
            return kind == b"eXIf"


def _holds_a_profile(body: bytes) -> bool:
    _, _, rest = body.partition(b"\0")
    stream = zlib.decompressobj()
    try:
        return (
            rest[:1] == b"\0"
            and bool(stream.decompress(rest[1:], _PNG_PROFILE))
            and not stream.unconsumed_tail
        )
    except zlib.error:
        return False


# ------------------------------------------------------------------------------------- JPEG

JPEG = b"\xff\xd8\xff"
END = b"\xff\xd9"
MISSING_SHARE = 32  # one row in so many may be missing, or one row of blocks
_FILL = (
    16  # so many bytes of 0 or 255 at the end are not the photo's: a download that broke off was filled up
)

_MARKER = re.compile(rb"\xff+([\x01-\xfe])")
_MARKER_BEHIND_PIXELS = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_BARE = {0x01, *range(0xD0, 0xDA)}  # markers without a segment
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
# The markers RST0 to RST7, in turn between parts that can be decoded independently.
_PARTS = tuple(bytes((0xFF, kind)) for kind in range(0xD0, 0xD8))
_DECODED = {0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA}  # by libjpeg-turbo, with 8 bits


@dataclass(frozen=True)
class Scan:
    """A pass over the pixels of a JPEG."""

    components: bytes
    first: int  # coefficient of each block
    last: int
    refines: bool  # it adds one bit to the coefficients of an earlier scan
    low_bit: int  # the lowest bit of the coefficients that it has
    start: int  # of its data in the file


@dataclass(frozen=True)
class Jpeg:
    """What the markers of a JPEG say, up to the end of its first picture or to where the file is cut."""

    process: int  # the marker of its frame
    bits: int
    width: int
    height: int
    components: bytes
    block_rows: int  # rows of pixels that are coded together
    scans: tuple[Scan, ...]

    @property
    def unsupported(self) -> str | None:
        """The name of its kind, if neither we nor browsers decode it."""
        if self.bits != 8:
            return f"{self.bits}-bit JPEG"
        if self.process in _DECODED:
            return None
        return "lossless JPEG" if self.process == 0xCB else "hierarchical JPEG"

    @property
    def lossless(self) -> bool:
        """Whether it is compressed without loss, as medical scans are."""
        return self.process == 0xC3

    @property
    def all_begun(self) -> bool:
        """Whether the last scan of each coefficient of each component has begun."""
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
    """Reads which kind of JPEG it is, and which scans it has.

    Raises:
        ValueError: the header is not complete.

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
        raise ValueError("the header is not complete")
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
    """Whether the first picture of a JPEG has its end marker. Anything may follow behind it."""
    if data.endswith(END):
        return True
    pixels = _first_pixels(data)
    # Pixels never look like a marker.
    return pixels is None or data.find(END, pixels) >= 0


def has_one_scan(data: bytes) -> bool:
    """Whether a JPEG has one scan. A progressive one has several, unless it was cut in the first."""
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
    """The first picture of a JPEG, up to where its data end, with the end marker."""
    return _picture(data, jpeg) + END


def _picture(data: bytes, jpeg: Jpeg) -> bytes:
    end = data.find(END, jpeg.scans[-1].start)
    if end < 0:
        end = len(data.rstrip(b"\0\xff"))
        if len(data) - end < _FILL:
            end = len(data)
    # Half a marker would become one together with what follows.
    return data[:end].rstrip(b"\xff")


def _noise(picture: bytes, jpeg: Jpeg) -> bytes:
    """Data that continue a picture with other pixels, whether it ends within a part or between two.

    At the end of a part, decoders skip everything up to the next part's marker.
    """
    last = max((picture.rfind(part, jpeg.scans[-1].start), number) for number, part in enumerate(_PARTS))
    following = (last[1] + 1) % len(_PARTS) if last[0] >= 0 else 0
    # No byte of it begins a marker.
    noise = random.Random(7).randbytes(4096).replace(b"\xff", b"\x5a")  # noqa: S311
    return noise + _PARTS[following] + noise


def rows_there(data: bytes, jpeg: Jpeg) -> int:
    """How many rows of a JPEG that may be cut short are there; 0 if too many are missing.

    A row is there if at most the lowest bit of its coefficients is missing: a progressive JPEG sends that bit
    in a last scan of its own, and looks nearly the same without it. Rows are counted in blocks that are coded
    together, of 8 or 16 pixels. At the bottom one row of blocks may be missing, or one row of pixels in
    MISSING_SHARE.

    The picture ends where other data behind it would change the pixels. So it is decoded twice, with nothing
    and with noise behind it, and the checksums of the rows are compared. This costs two full decodes, with
    one picture in memory at a time. Only photos without an end pay it, and photos whose last pixel has
    exactly the grey of missing pixels.
    """
    if not jpeg.all_begun:
        return 0
    if jpeg.scans[-1].refines:
        return jpeg.height
    picture = _picture(data, jpeg)
    left = _prints(picture + END, jpeg)
    changed = _prints(picture + _noise(picture, jpeg) + END, jpeg)
    same = next(
        (row for row, (one, other) in enumerate(zip(left, changed, strict=True)) if one != other), None
    )
    if same is None:
        return jpeg.height
    there = same * jpeg.block_rows
    missing = jpeg.height - there
    return there if missing <= max(jpeg.block_rows, jpeg.height // MISSING_SHARE) else 0


def _prints(data: bytes, jpeg: Jpeg) -> list[int]:
    """A checksum of each row of blocks, without the last row of pixels, which takes colour from below."""
    with Pillow.open(io.BytesIO(data), formats=("JPEG",)) as image:
        image.load()
        (width, height), rows = image.size, jpeg.block_rows
        bands = (
            image.crop((0, top, width, height if top + rows >= height else top + rows - 1))
            for top in range(0, height, rows)
        )
        return [zlib.crc32(band.tobytes()) for band in bands]


def ends_grey(image: Pillow.Image) -> bool:
    """Whether the last pixel of a loaded picture has exactly the grey of missing pixels."""
    width, height = image.size
    # Not Image.getpixel, which checks each time whether the file is loaded.
    return image.im.getpixel((width - 1, height - 1)) in _GREYS


_GREYS = (128, (128, 128, 128), (127, 127, 127, 127))  # libjpeg's; Pillow inverts CMYK
