"""Zip files as people download them, and as nobody should make them."""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

LOCAL_HEADER, DIRECTORY_ENTRY = b"PK\x03\x04", b"PK\x01\x02"
LINK_MODE = 0o120777


def zipped(path: Path, files: Mapping[str, bytes], method: int = ZIP_DEFLATED) -> Path:
    """A zip file with these files; names are written as they are, a name that ends in / is a folder."""
    with ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(ZipInfo(name), content, method)
    return path


def unzipped(path: Path, files: Mapping[str, bytes]) -> Path:
    """A folder with these files."""
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    path.mkdir(exist_ok=True)
    return path


def with_link(path: Path, name: str, target: str) -> Path:
    """Adds an entry that is a symbolic link."""
    info = ZipInfo(name)
    info.create_system, info.external_attr = 3, LINK_MODE << 16
    with ZipFile(path, "a") as archive:
        archive.writestr(info, target)
    return path


def with_size(path: Path, name: str, size: int) -> Path:
    """Makes an entry announce another size than its content has."""
    return _patched(path, name, local=22, directory=24, value=struct.pack("<I", size))


def with_flags(path: Path, name: str, flags: int) -> Path:
    """Sets an entry's flags; 1 is: encrypted."""
    return _patched(path, name, local=6, directory=8, value=struct.pack("<H", flags))


def damaged(path: Path, name: str) -> Path:
    """Flips the bits of a byte in the middle of an entry's content."""
    with ZipFile(path) as archive:
        info = archive.getinfo(name)
    data = bytearray(path.read_bytes())
    data[info.header_offset + zipfile.sizeFileHeader + len(name.encode()) + info.compress_size // 2] ^= 0xFF  # type: ignore[attr-defined]
    path.write_bytes(data)
    return path


def _patched(path: Path, name: str, *, local: int, directory: int, value: bytes) -> Path:
    """Writes a field of an entry's header, given by its offset there, and of its line in the directory."""
    data = bytearray(path.read_bytes())
    for signature, offset, fixed in ((LOCAL_HEADER, local, 30), (DIRECTORY_ENTRY, directory, 46)):
        start = data.index(signature)
        while data[start + fixed : start + fixed + len(name.encode())] != name.encode():
            start = data.index(signature, start + 1)
        data[start + offset : start + offset + len(value)] = value
    path.write_bytes(data)
    return path
