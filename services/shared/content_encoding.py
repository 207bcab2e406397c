"""Decompresses an object whose metadata declare gzip, if its bytes really are gzip."""

import zlib
from contextlib import suppress

from services.shared.errors import ObjectTooLargeError

_GZIP = b"\x1f\x8b"


def plain(uri: str, data: bytes, encoding: str | None, max_bytes: int | None) -> bytes:
    """An object's content, whatever its `Content-Encoding` declares.

    Upload tools set `gzip` for whole folders, also on photos that they did not compress. Bytes that are not
    gzip, or damaged gzip, are returned as they are: the caller finds out what they are.

    Args:
        uri: for messages.
        data: all bytes as they are stored.
        encoding: as the object's metadata declare it.
        max_bytes: the most that the content may have; nothing beyond is decompressed.

    Raises:
        ObjectTooLargeError: it has more.

    """
    if encoding is not None and encoding.strip().lower() == "gzip" and data.startswith(_GZIP):
        with suppress(zlib.error):
            data = _gunzipped(data, max_bytes)
    if max_bytes is not None and len(data) > max_bytes:
        raise ObjectTooLargeError(f"{uri} has more than {max_bytes} bytes")
    return data


def _gunzipped(data: bytes, max_bytes: int | None) -> bytes:
    """At most one byte more than allowed. A gzip file may consist of several members."""
    parts: list[bytes] = []
    room = -1 if max_bytes is None else max_bytes + 1
    while data.startswith(_GZIP) and room != 0:
        stream = zlib.decompressobj(wbits=31)
        parts.append(stream.decompress(data, max(room, 0)))
        room -= len(parts[-1]) if room > 0 else 0
        if room and not stream.eof:
            raise zlib.error("it ends early")
        data = stream.unused_data
    return b"".join(parts)
