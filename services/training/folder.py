"""Cloud Storage in a folder, to train without a cloud: gs://<bucket>/<name> is <folder>/<bucket>/<name>.

For one process: of two at once, one could overwrite what the other has just written.
"""

from collections.abc import Sequence
from pathlib import Path

from services.shared.errors import ObjectNotFoundError, ObjectTooLargeError
from services.shared.ports import Stored


class FolderObjects:
    """`services.shared.ports.Objects`; a generation is the time of a file's last change, in nanoseconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, uri: str, data: bytes, content_type: str) -> bool:  # noqa: D102
        return self.replace(uri, data, content_type, 0)

    def replace(self, uri: str, data: bytes, content_type: str, generation: int) -> bool:  # noqa: D102
        path = self._path(uri)
        if generation != (path.stat().st_mtime_ns if path.is_file() else 0):
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when it is whole: a reader, or a run after a crash, never sees half of it.
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(data)
        partial.replace(path)
        return True

    def read(self, uri: str, *, generation: int | None = None, max_bytes: int | None = None) -> Stored:  # noqa: D102
        path = self._path(uri)
        try:
            stands = path.stat()
            if generation not in (None, stands.st_mtime_ns):
                raise ObjectNotFoundError(uri)
            if max_bytes is not None and stands.st_size > max_bytes:
                raise ObjectTooLargeError(f"{uri} has more than {max_bytes} bytes")
            return Stored(path.read_bytes(), stands.st_mtime_ns)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise ObjectNotFoundError(uri) from error

    def generation(self, uri: str) -> int:  # noqa: D102
        return self.read(uri).generation

    def exists(self, uri: str) -> bool:  # noqa: D102
        return self._path(uri).is_file()

    def copy(self, source: str, target: str) -> bool:  # noqa: D102
        return self.create(target, self.read(source).data, "")

    def count(self, prefix: str) -> int:  # noqa: D102
        return len(self.names(prefix))

    def names(self, prefix: str) -> Sequence[str]:  # noqa: D102
        files = (path for path in self._folder.rglob("*") if path.is_file() and path.suffix != ".partial")
        uris = (f"gs://{path.relative_to(self._folder).as_posix()}" for path in files)
        return sorted(uri for uri in uris if uri.startswith(prefix))

    def _path(self, uri: str) -> Path:
        return self._folder / uri.removeprefix("gs://")
