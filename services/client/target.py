"""Where the client connects: the local cloud, other emulators, or a project on Google Cloud."""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from services.client.errors import ClientError
from services.shared.catalogue_config import (
    CatalogueConfig,
    ConfigError,
    bundled_config,
    parse_config,
    read_config,
)

# What Google's clients read to find an emulator; the last one is the local cloud's own.
EMULATORS = ("PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST")
EMULATOR_VARIABLES = (*EMULATORS, "BIGQUERY_STORAGE_EMULATOR_HOST")
CATALOGUE = "VITRINE_CATALOGUE"  # the text of a catalogue.yaml
CONNECT_TIMEOUT = 2.0  # seconds


@dataclass(frozen=True)
class Names:
    """What a user may say about where to connect; None where nothing was said."""

    project: str | None = None
    bucket: str | None = None
    upload_bucket: str | None = None
    dataset: str | None = None
    catalogue: Path | None = None  # a catalogue.yaml


@dataclass(frozen=True)
class Target:
    """A project, its buckets, dataset and catalogue; with `emulators`, one that runs on this machine."""

    project: str
    bucket: str
    upload_bucket: str
    dataset: str
    emulators: Mapping[str, str] = field(default_factory=dict)
    catalogue: CatalogueConfig = field(default_factory=bundled_config)

    def activate(self) -> None:
        """Makes Google's clients of this process connect here; they read nothing but the environment.

        Raises:
            ClientError: nothing answers where an emulator should.

        """
        for name, address in self.emulators.items():
            _check_answers(name, address)
        for name in EMULATOR_VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(self.emulators)
        os.environ["GOOGLE_CLOUD_PROJECT"] = self.project


def resolve(
    names: Names, environment: Mapping[str, str], running: Callable[[], Mapping[str, str] | None]
) -> Target:
    """Decides where to connect.

    Args:
        names: a project given here is one on Google Cloud, whatever emulators the environment knows of.
        environment: the process's variables.
        running: the variables of the local cloud, if one runs; asked only where no project is given.

    Raises:
        ClientError: neither a project, nor a local cloud, nor emulators; or the catalogue.yaml is not valid,
            or not the one that the local cloud runs with.

    """
    emulated = {name: environment[name] for name in EMULATOR_VARIABLES if environment.get(name)}
    if names.project is not None:
        # What `vitrine env` exported names the local cloud's buckets, not this project's.
        return _named(names, names.project, {} if emulated else environment, {})
    local = running()
    if local is not None:
        emulators = {name: local[name] for name in EMULATOR_VARIABLES if name in local}
        target = _named(names, local["GOOGLE_CLOUD_PROJECT"], local, emulators)
        if target.catalogue != catalogue_of(None, local):
            raise ClientError(
                f"the local cloud runs with another catalogue than {names.catalogue}: `vitrine down`, then "
                f"`vitrine up --catalogue {names.catalogue}`"
            )
        return target
    if not emulated:
        raise ClientError(
            "no local cloud runs here: start one with `vitrine up`, or name a project with --project"
        )
    if missing := [name for name in EMULATORS if name not in emulated]:
        raise ClientError(f"the environment names emulators, but not {' and '.join(missing)}")
    return _named(names, environment.get("GOOGLE_CLOUD_PROJECT", "vitrine-local"), environment, emulated)


def _named(
    names: Names, project: str, environment: Mapping[str, str], emulators: Mapping[str, str]
) -> Target:
    return Target(
        project=project,
        bucket=names.bucket or environment.get("VITRINE_BUCKET") or f"{project}-vitrine",
        upload_bucket=(
            names.upload_bucket or environment.get("VITRINE_UPLOAD_BUCKET") or f"{project}-vitrine-uploads"
        ),
        dataset=names.dataset or environment.get("VITRINE_DATASET") or "vitrine",
        emulators=emulators,
        catalogue=catalogue_of(names.catalogue, environment),
    )


def catalogue_of(file: Path | None, environment: Mapping[str, str]) -> CatalogueConfig:
    """What the catalogue's columns mean: as the file says, else the text in VITRINE_CATALOGUE.

    Raises:
        ClientError: it is not valid; names all fields that are wrong.

    """
    try:
        if file is not None:
            return read_config(file)
        if text := environment.get(CATALOGUE):
            return parse_config(text, CATALOGUE)
    except ConfigError as error:
        raise ClientError(str(error)) from error
    return bundled_config()


def _check_answers(name: str, address: str) -> None:
    url = urlsplit(address if "://" in address else f"//{address}")
    try:
        socket.create_connection((url.hostname or "", url.port or 80), CONNECT_TIMEOUT).close()
    except OSError as error:
        raise ClientError(f"nothing answers at {address}, where {name} points: is it running?") from error
