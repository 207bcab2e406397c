"""The published versions of a model, in Cloud Storage, and which of them is in production.

models/<name>/<version>/<file>      immutable; `model.json` is written last, so a version is seen only whole
models/<name>/production.json       the pointer, moved by compare-and-swap

Nothing that is fetched can run code when it is loaded: the manifest names every file, and only the names of
FILES are taken, none of which is a pickle, a Keras archive or a script.
"""

import re
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from services.model.manifest import (
    MANIFEST,
    Identifier,
    Manifest,
    ModelError,
    digests,
    is_identifier,
    load_manifest,
    parse_manifest,
)
from services.shared.errors import ObjectNotFoundError, ObjectTooLargeError
from services.shared.ports import Objects

# What stands beside a model and is published with it, where it is there.
DOCUMENTS = ("CARD.md", "evaluation.json", "evaluation.html")
FILES = re.compile(
    r"model(_float16)?\.tflite|weights\.npz|(familiarity|learnt)\.npz|CARD\.md|evaluation\.(json|html)"
    r"|saved_model/(saved_model\.pb|fingerprint\.pb|variables/variables\.(index|data-\d{5}-of-\d{5}))"
)
MAX_MANIFEST_BYTES = 1_000_000
MAX_FILE_BYTES = 1_000_000_000  # FashionNet's largest is half of it


class UnknownVersionError(ModelError):
    """No such version is published."""


class Pointer(BaseModel):
    """What `production` says, as its last move wrote it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Identifier
    # None: the version that the services carry themselves, as before the first promotion.
    version: Identifier | None
    # What was in production before; a rollback returns to it.
    previous: Identifier | None
    by: str = Field(min_length=1)
    why: str = Field(min_length=1)
    at: AwareDatetime


class Registry:
    """One model's versions.

    Args:
        objects: Cloud Storage.
        bucket: where all models are.
        name: the model's, as its manifests carry it.

    Raises:
        ModelError: the name is not one that a model may have.

    """

    def __init__(self, objects: Objects, bucket: str, name: str) -> None:
        if not is_identifier(name):
            raise ModelError(f"{name!r} is no name of a model")
        self.name = name
        self._objects = objects
        self._root = f"gs://{bucket}/models/{name}"

    def publish(self, directory: Path) -> Manifest:
        """Uploads a version. A repeat goes on where one was cut off, and changes nothing that stands.

        Returns:
            The manifest as it was published: DOCUMENTS are in it too.

        Raises:
            ModelError: the directory's manifest does not describe it, a file is of a kind that is not
                taken, or another model was published under this version.

        """
        manifest = load_manifest(directory)
        if manifest.name != self.name:
            raise ModelError(
                f"{directory} holds {manifest.name!r}, and this is the registry of {self.name!r}"
            )
        documents = [name for name in DOCUMENTS if (directory / name).is_file()]
        manifest = manifest.model_copy(update={"files": manifest.files | digests(directory, documents)})
        _check_files(manifest)
        for name in manifest.files:
            self._write_once(manifest.version, name, (directory / name).read_bytes())
        self._write_once(manifest.version, MANIFEST, manifest.model_dump_json(indent=2).encode())
        return manifest

    def versions(self) -> list[str]:
        """All published versions, by name."""
        names = self._objects.names(f"{self._root}/")
        whole = re.compile(rf"{re.escape(self._root)}/([^/]+)/{re.escape(MANIFEST)}")
        return [match[1] for name in names if (match := whole.fullmatch(name))]

    def has(self, version: str) -> bool:
        """Whether this version is published."""
        return is_identifier(version) and self._objects.exists(self._uri(version, MANIFEST))

    def manifest(self, version: str) -> Manifest:
        """A version's manifest.

        Raises:
            UnknownVersionError: it is not published.
            ModelError: the manifest is malformed, of another model, or names a file that is not taken.

        """
        if not is_identifier(version):
            raise UnknownVersionError(f"{version!r} is no version of {self.name}")
        manifest = parse_manifest(
            self._read(version, MANIFEST, MAX_MANIFEST_BYTES), self._uri(version, MANIFEST)
        )
        if (manifest.name, manifest.version) != (self.name, version):
            raise ModelError(f"{self._uri(version, MANIFEST)} is that of {manifest.name} {manifest.version}")
        _check_files(manifest)
        return manifest

    def fetch(self, version: str, directory: Path) -> Manifest:
        """Downloads a version; `directory`, which must not stand yet, appears when all of it is checked.

        Raises:
            UnknownVersionError: it is not published.
            ModelError: as `manifest`, or a file is missing or is not the one that was published.

        """
        manifest = self.manifest(version)
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{version}-", dir=directory.parent))
        try:
            for name in manifest.files:
                target = partial / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._checked(manifest, name))
            (partial / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
            partial.rename(directory)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return manifest

    def production(self) -> Pointer | None:
        """What is in production; None where nothing ever was promoted.

        Raises:
            ModelError: the pointer is malformed.

        """
        return self._production()[0]

    def promote(self, version: str, by: str, why: str, at: AwareDatetime) -> Pointer:
        """Puts a version in production, once its files were found to be those that were published.

        Raises:
            ModelError: as `fetch`; or it is in production already, or somebody else moved the pointer.

        """
        stands, generation = self._production()
        if stands and stands.version == version:
            raise ModelError(f"{version} is in production already")
        manifest = self.manifest(version)
        for name in manifest.files:
            self._checked(manifest, name)
        return self._move(generation, version, stands.version if stands else None, by, why, at)

    def rollback(self, by: str, why: str, at: AwareDatetime) -> Pointer:
        """Puts back in production what was there before; a second rollback undoes the first.

        Raises:
            ModelError: nothing was ever promoted, or somebody else moved the pointer.

        """
        stands, generation = self._production()
        if stands is None:
            raise ModelError(f"no version of {self.name} was ever promoted")
        return self._move(generation, stands.previous, stands.version, by, why, at)

    def _production(self) -> tuple[Pointer | None, int]:
        try:
            stored = self._objects.read(self._pointer, max_bytes=MAX_MANIFEST_BYTES)
            return Pointer.model_validate_json(stored.data), stored.generation
        except ObjectNotFoundError:
            return None, 0
        except (ObjectTooLargeError, ValidationError) as error:
            raise ModelError(f"{self._pointer}: {error}") from error

    def _move(
        self, generation: int, version: str | None, previous: str | None, by: str, why: str, at: AwareDatetime
    ) -> Pointer:
        pointer = _pointer(name=self.name, version=version, previous=previous, by=by, why=why, at=at)
        data = pointer.model_dump_json(indent=2).encode()
        if not self._objects.replace(self._pointer, data, "application/json", generation):
            stands = self.production()
            # A write whose answer was lost is repeated by the client, and then finds itself.
            if stands != pointer:
                raise ModelError(f"production was moved meanwhile: {stands}")
        return pointer

    @property
    def _pointer(self) -> str:
        return f"{self._root}/production.json"

    def _uri(self, version: str, name: str) -> str:
        return f"{self._root}/{version}/{name}"

    def _write_once(self, version: str, name: str, data: bytes) -> None:
        uri = self._uri(version, name)
        if not self._objects.create(uri, data, "application/octet-stream"):
            try:
                same = self._objects.read(uri, max_bytes=len(data)).data == data
            except ObjectTooLargeError:
                same = False
            if not same:
                raise ModelError(f"{uri} stands already, with other content: a version never changes")

    def _checked(self, manifest: Manifest, name: str) -> bytes:
        data = self._read(manifest.version, name, MAX_FILE_BYTES)
        if (actual := sha256(data).hexdigest()) != manifest.files[name]:
            raise ModelError(
                f"{self._uri(manifest.version, name)} has SHA-256 {actual} and not {manifest.files[name]}: "
                "it is not the file that was published"
            )
        return data

    def _read(self, version: str, name: str, max_bytes: int) -> bytes:
        uri = self._uri(version, name)
        try:
            return self._objects.read(uri, max_bytes=max_bytes).data
        except ObjectTooLargeError as error:
            raise ModelError(str(error)) from error
        except ObjectNotFoundError as error:
            if name == MANIFEST:
                raise UnknownVersionError(f"{version!r} is no published version of {self.name}") from error
            raise ModelError(f"{uri} is missing") from error


def _pointer(**fields: object) -> Pointer:
    try:
        return Pointer.model_validate(fields)
    except ValidationError as error:
        raise ModelError(f"the pointer would be malformed: {error}") from error


def _check_files(manifest: Manifest) -> None:
    refused = sorted(name for name in manifest.files if not FILES.fullmatch(name))
    if refused:
        raise ModelError(
            f"{manifest.name} {manifest.version}: {', '.join(refused)}: not a file that a model may have; "
            "what could execute code when it is loaded is not taken"
        )
