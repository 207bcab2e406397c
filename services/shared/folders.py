"""The files of a catalogue: in a folder, or in a zip as it was downloaded.

Archives come from strangers: nothing is unpacked to disk, and no entry takes more memory than the archive's
directory gives as its size.
"""

import os
import stat
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from posixpath import basename, dirname, normpath
from threading import Lock
from typing import Protocol
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from services.shared.errors import ObjectNotFoundError, ObjectTooLargeError

MAX_FILES = 5_000_000
MAX_INDEX_BYTES = 2**30  # of styles.csv or images.csv, which are read whole
# Photos hardly shrink; an entry that grows beyond this is made to fill memory and buckets.
MOST_EXPANSION = 100  # times the packed size, of entries of more than
MANY_PACKED_BYTES = 100_000
MAX_DEPTH = 2  # folders that an index file may be in

_RESOURCE_FORKS = "__MACOSX"  # what macOS adds to each zip: a shadow of all its files
_ENCRYPTED = 0x1
_UNIX = 3  # the system that makes entries with a Unix mode
# What zipfile raises of archives that are damaged or forged.
_DAMAGE = (
    BadZipFile,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)


class FolderError(Exception):
    """A folder, a zip, or a file in one of them cannot be used; the message says why in one line."""


class Folder(Protocol):
    """Files by their path below the folder, with `/` between its parts."""

    @property
    def where(self) -> str:
        """Names the folder in messages."""
        ...

    @property
    def index(self) -> str:
        """The index file that the folder was found by."""
        ...

    def names(self, under: str) -> Sequence[str]:
        """The paths of all files in a folder below this one, in order."""
        ...

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """A file's content; from any number of threads at once.

        Raises:
            ObjectNotFoundError: there is no such file.
            ObjectTooLargeError: it has more than max_bytes.
            FolderError: it is there, but cannot be read: it is damaged, encrypted, or not ours to read.

        """
        ...


def open_folder(path: Path, index: Sequence[str]) -> Folder:
    """Open a folder or a zip, at the place where one of the index files is.

    Archives often hold everything in one folder of their own, so the index may be up to MAX_DEPTH folders
    down. Downloads also hold copies of themselves, so the index that is the least deep counts.

    Args:
        path: a folder or a zip file. Links in a folder are followed: tools that version data make them.
        index: names of files of which there must be one, such as styles.csv; of several the first counts.

    Raises:
        FolderError: there is no such path, no index file, several folders with one, or the zip is damaged or
            names a file outside of itself.

    """
    if path.is_dir():
        root, name = _find(path, _shallow(path, index), index)
        return _Directory(path / root, name)
    if not path.exists():
        raise FolderError(f"{path} does not exist")
    if not path.is_file():
        raise FolderError(f"{path} is neither a folder nor a zip file")
    try:
        archive = ZipFile(path)
    except _DAMAGE as error:
        raise FolderError(f"{path} {_not_a_zip(path)}: {_line(error)}") from error
    try:
        return _opened(path, archive, index)
    except FolderError:
        archive.close()
        raise


def _not_a_zip(path: Path) -> str:
    """What a file is that could not be opened as a zip."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if not start:
        return "is empty"
    if start.startswith(b"pk\x03\x04"):
        return "begins as a zip file but its end is missing: the download was cut short"
    if start.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not a zip file: downloads of Kaggle need you to be signed in"
    return "is neither a folder nor a zip file"


def table_names(path: Path, suffixes: Sequence[str]) -> Sequence[str]:
    """The names of the files with one of these suffixes, at the level where the first ones are.

    Args:
        path: a folder or a zip file, as `open_folder` takes it.
        suffixes: in lower case, with their dots.

    Raises:
        FolderError: there is no such path, or the zip is damaged.

    """
    if path.is_dir():
        names = [
            each.relative_to(path).as_posix()
            for depth in range(MAX_DEPTH + 1)
            for each in path.glob("*/" * depth + "*")
            if each.suffix.lower() in suffixes and each.is_file()
        ]
    else:
        try:
            with ZipFile(path) as archive:
                names = [name.replace("\\", "/") for name in archive.namelist()]
        except FileNotFoundError as error:
            raise FolderError(f"{path} does not exist") from error
        except _DAMAGE as error:
            raise FolderError(f"{path} {_not_a_zip(path)}: {_line(error)}") from error
    tables = [name for name in names if name.lower().endswith(tuple(suffixes)) and not _is_shadow(name)]
    first = min((name.count("/") for name in tables), default=0)
    return sorted({basename(name) for name in tables if name.count("/") == first <= MAX_DEPTH})


def read_index(folder: Folder) -> bytes:
    """The content of the folder's index file.

    Raises:
        FolderError: it is damaged, or has more than MAX_INDEX_BYTES.

    """
    try:
        return folder.read(folder.index, MAX_INDEX_BYTES)
    except (ObjectNotFoundError, ObjectTooLargeError) as error:
        raise FolderError(str(error)) from error


def _shallow(path: Path, index: Sequence[str]) -> Sequence[str]:
    """The index files of the first level that has any: further down a folder may have very many files."""
    for depth in range(MAX_DEPTH + 1):
        files = [each for name in index for each in path.glob("*/" * depth + name) if each.is_file()]
        found = [each.relative_to(path).as_posix() for each in files]
        if found := [name for name in found if not _is_shadow(name)]:
            return found
    return []


def _is_shadow(name: str) -> bool:
    return _RESOURCE_FORKS in name.split("/")


def _find(path: Path, names: Iterable[str], index: Sequence[str]) -> tuple[str, str]:
    """The least deep folder with an index file, "" for the outermost one, and which file it is."""
    folders: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        if basename(name) in index and name.count("/") <= MAX_DEPTH and not _is_shadow(name):
            folders[dirname(name)].add(basename(name))
    if not folders:
        raise FolderError(f"{path} has no {' or '.join(index)}")
    depth = min(map(_depth, folders))
    shallow = sorted(folder for folder in folders if _depth(folder) == depth)
    if len(shallow) > 1:
        listed = ", ".join(map(repr, shallow[:3]))
        raise FolderError(
            f"{path} has {' or '.join(index)} in {len(shallow)} folders, expected one: {listed}"
        )
    return shallow[0], next(name for name in index if name in folders[shallow[0]])


def _depth(folder: str) -> int:
    return len(folder.split("/")) if folder else 0


class _Directory:
    def __init__(self, path: Path, index: str) -> None:
        self._path, self._index = path, index

    @property
    def where(self) -> str:
        return str(self._path)

    @property
    def index(self) -> str:
        return self._index

    def names(self, under: str) -> Sequence[str]:
        return sorted(
            Path(folder, name).relative_to(self._path).as_posix()
            for folder, _folders, files in os.walk(self._path / under, followlinks=False)
            for name in files
        )

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        path = self._path / name
        try:
            # Product ids are any text: none leads out of the folder.
            if ".." in name.split("/") or not path.is_file():
                raise ObjectNotFoundError(str(path))
            if max_bytes is not None and path.stat().st_size > max_bytes:
                raise ObjectTooLargeError(f"{path} has more than {max_bytes} bytes")
            return path.read_bytes()
        except OSError as error:
            raise FolderError(f"{path} cannot be read: {error.strerror}") from error


def _opened(path: Path, archive: ZipFile, index: Sequence[str]) -> "_Zip":
    entries = archive.infolist()
    if len(entries) > MAX_FILES:
        raise FolderError(f"{path} has {len(entries)} files; at most {MAX_FILES} are read")
    files: dict[str, ZipInfo] = {}
    twice = []
    for info in entries:
        # Archives made on Windows may have backslashes between folders.
        name = info.filename.replace("\\", "/")
        if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
            raise FolderError(f"{path}: the file {info.filename!r} would be outside of the archive")
        if not name.endswith("/") and files.setdefault(normpath(name), info) is not info:
            twice.append(normpath(name))
    root, found = _find(path, files, index)
    below = f"{root}/" if root else ""
    if twice := [name for name in twice if name.startswith(below)]:
        raise FolderError(f"{path} has the file {twice[0]!r} twice")
    infos = {name.removeprefix(below): info for name, info in files.items() if name.startswith(below)}
    return _Zip(path / root, archive, infos, found)


class _Zip:
    def __init__(self, where: Path, archive: ZipFile, infos: Mapping[str, ZipInfo], index: str) -> None:
        self._where, self._archive, self._infos, self._index = where, archive, infos, index
        # ZipFile reads from many threads, but counts its open files without a lock and closes itself at zero.
        self._lock = Lock()

    @property
    def where(self) -> str:
        return str(self._where)

    @property
    def index(self) -> str:
        return self._index

    def names(self, under: str) -> Sequence[str]:
        return sorted(name for name in self._infos if not under or name.startswith(f"{under}/"))

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        info = self._infos.get(name)
        if info is None:
            raise ObjectNotFoundError(f"{self._where}: {name}")
        if max_bytes is not None and info.file_size > max_bytes:
            raise ObjectTooLargeError(f"{self._where}: {name} has more than {max_bytes} bytes")
        if unreadable := _unreadable(info):
            raise FolderError(f"{self._where}: {name} {unreadable}")
        try:
            data = self._unpacked(info)
        except _DAMAGE as error:
            # zipfile calls it a bad checksum, too, where an entry goes on after the size that it announces.
            hint = f", or has more than the announced {info.file_size} bytes" if "CRC" in str(error) else ""
            raise FolderError(f"{self._where}: {name} is damaged{hint}: {_line(error)}") from error
        if len(data) != info.file_size:
            raise FolderError(f"{self._where}: {name} is damaged: it ends after {len(data)} bytes")
        return data

    def _unpacked(self, info: ZipInfo) -> bytes:
        with self._lock:
            file = self._archive.open(info)
        try:
            # Without a size zipfile unpacks up to 2 GB before it looks at how much was announced. With it, an
            # entry that holds more fails: the checksum is of all of it. Without any read nothing is checked.
            return file.read(max(1, info.file_size))
        finally:
            with self._lock:
                file.close()


def _unreadable(info: ZipInfo) -> str | None:
    """Why an entry cannot be read, before anything of it is."""
    if info.create_system == _UNIX and stat.S_ISLNK(info.external_attr >> 16):
        return "is a link, not a file"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if info.file_size > MOST_EXPANSION * max(info.compress_size, MANY_PACKED_BYTES):
        return f"would be unpacked to {info.file_size} bytes, from {info.compress_size}"
    # The others of zipfile's methods unpack a block however large it becomes.
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return f"is compressed with method {info.compress_type}; only deflate is read"
    return None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
