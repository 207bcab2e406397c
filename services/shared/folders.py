"""The files of a catalogue: in a folder, or in a zip as it was downloaded."""

import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol
from zipfile import BadZipFile, ZipFile

from services.shared.errors import ObjectNotFoundError, ObjectTooLargeError

MAX_FILES = 5_000_000


class FolderError(Exception):
    """There is no such folder or zip, or it cannot be used; the message says why in one line."""


class Folder(Protocol):
    """Files by their path below the folder, with `/` between its parts."""

    @property
    def where(self) -> str:
        """Names the folder in messages."""
        ...

    def names(self, under: str) -> Sequence[str]:
        """The paths of all files in a folder below this one, in order."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """A file's content; from any number of threads at once.

        Raises:
            ObjectNotFoundError: there is no such file.
            ObjectTooLargeError: it has more than max_bytes.
            FolderError: it is damaged.

        """
        ...


def open_folder(path: Path, index: Sequence[str]) -> Folder:
    """Open a folder or a zip, at the place where one of the index files is.

    Archives often hold everything in one folder of their own, so the index may be one or two folders down.

    Args:
        path: a folder or a zip file.
        index: names of files of which there must be one, such as styles.csv.

    Raises:
        FolderError: there is no such path, no index file, or the zip is damaged or leaves its folder.

    """
    if path.is_dir():
        names = [str(each.relative_to(path).as_posix()) for name in index for each in _shallow(path, name)]
        return _Directory(path / _root(path, names, index))
    if not path.exists():
        raise FolderError(f"{path} does not exist")
    try:
        archive = ZipFile(path)
    except (BadZipFile, OSError) as error:
        raise FolderError(f"{path} is neither a folder nor a zip file: {error}") from error
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    if len(names) > MAX_FILES:
        raise FolderError(f"{path} has {len(names)} files; at most {MAX_FILES} are read")
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or name[1:3] in (":\\", ":/"):
            raise FolderError(f"{path}: the file {name!r} would lie outside of the archive")
    return _Zip(path, archive, _root(path, names, index))


def _shallow(path: Path, name: str) -> list[Path]:
    return [*path.glob(name), *path.glob(f"*/{name}"), *path.glob(f"*/*/{name}")]


def _root(path: Path, names: Sequence[str], index: Sequence[str]) -> str:
    """The folder of the index file that is the least deep."""
    found = sorted(
        (len(parts.parts), str(parts.parent))
        for name in names
        if (parts := PurePosixPath(name)).name in index and "__MACOSX" not in parts.parts
    )
    if not found:
        raise FolderError(f"{path} has no {' or '.join(index)}")
    return "" if found[0][1] == "." else found[0][1] + "/"


class _Directory:
    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def where(self) -> str:
        return str(self._path)

    def names(self, under: str) -> Sequence[str]:
        files = (path for path in (self._path / under).rglob("*") if path.is_file())
        return sorted(path.relative_to(self._path).as_posix() for path in files)

    def has(self, name: str) -> bool:
        return (self._path / name).is_file()

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        path = self._path / name
        try:
            if max_bytes is not None and path.stat().st_size > max_bytes:
                raise ObjectTooLargeError(f"{path} has more than {max_bytes} bytes")
            return path.read_bytes()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise ObjectNotFoundError(str(path)) from error


class _Zip:
    def __init__(self, path: Path, archive: ZipFile, root: str) -> None:
        self._path, self._archive, self._root = path, archive, root
        self._infos = {
            info.filename.removeprefix(root): info
            for info in archive.infolist()
            if info.filename.startswith(root) and not info.is_dir()
        }

    @property
    def where(self) -> str:
        return str(self._path)

    def names(self, under: str) -> Sequence[str]:
        return sorted(name for name in self._infos if name.startswith(f"{under}/"))

    def has(self, name: str) -> bool:
        return name in self._infos

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        info = self._infos.get(name)
        if info is None:
            raise ObjectNotFoundError(f"{self._path}: {name}")
        if max_bytes is not None and info.file_size > max_bytes:
            raise ObjectTooLargeError(f"{self._path}: {name} has more than {max_bytes} bytes")
        try:
            # It never reads beyond the size that the archive gives, and then checks the content's sum: a file
            # that is larger than it says is damaged, whatever it would have grown to.
            return self._archive.read(info)
        except (BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error) as error:
            raise FolderError(f"{self._path}: {name} is damaged: {error}") from error
