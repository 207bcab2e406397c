"""Undoes the compression that an object's metadata declares, if its bytes really are compressed."""

import zlib

from services.shared.errors import ObjectTooLargeError

_GZIP = b"\x1f\x8b"


def plain(uri: str, data: bytes, encoding: str | None, max_bytes: int | None) -> bytes:
    """An object's content, whatever its `Content-Encoding` says.

    Upload tools set `gzip` for whole folders, on photos that they did not compress. What is no gzip, or a damaged
    one, is taken as it is: whoever reads it says what is wrong with it.

    Args:
        uri: for messages.
        data: all bytes as they are stored.
        encoding: what the object's metadata declare.
        max_bytes: how many the content may have; more are not decompressed.

    Raises:
        ObjectTooLargeError: it has more.

    """
    if encoding is not None and encoding.strip().lower() == "gzip" and data.startswith(_GZIP):
        try:
            data = _gunzipped(data, max_bytes)
        except zlib.error:
            pass
    if max_bytes is not None and len(data) > max_bytes:
        raise ObjectTooLargeError(f"{uri} has more than {max_bytes} bytes")
    return data


def _gunzipped(data: bytes, max_bytes: int | None) -> bytes:
    """Up to one byte more than may be; a file may be of several parts, each compressed for itself."""
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
