"""`vitrine train`: makes a version of the model as a configuration says; wants the extra `training`."""

import os
import shlex
import subprocess
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from services.client.errors import ClientError
from services.client.options import Options

if TYPE_CHECKING:
    # At run time they are imported where they are used: not everybody who has the client has TensorFlow.
    from services.training.config import Config
    from services.training.examples import Source

err = Console(stderr=True, highlight=False)


def train(
    ctx: typer.Context,
    configuration: Annotated[str, typer.Argument(help="A YAML file, or one that ships: demo, catalogue.")],
    run: Annotated[
        str | None, typer.Option(help="Names the run; the same name goes on where it ended. Else of today.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The version's directory; else in the home directory.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Keeps snapshot and checkpoints here and not in the bucket.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Else the configuration's.")] = None,
    publish: Annotated[bool, typer.Option(help="Uploads the version; it serves nobody yet.")] = False,
) -> None:
    """Train a version of the model, measure it, write it; prints its name."""
    try:
        from services.training import config as configurations
        from services.training.config import ConfigError
        from services.training.exports import ExportError
        from services.training.fitting import FittingError
        from services.training.folder import FolderObjects
        from services.training.job import train as run_job
        from services.training.snapshot import SnapshotError
    except ImportError as error:
        raise ClientError(f"{error.name} is missing: training wants the extra `training`") from error
    options: Options = ctx.obj
    try:
        config = configurations.read(configuration)
    except ConfigError as error:
        raise ClientError(str(error)) from error
    if seed is not None:
        config = config.model_copy(update={"seed": seed})
    name = run or f"{config.name}-{date.today():%Y-%m-%d}"
    if folder is None or config.data.kind == "catalogue":
        vitrine = options.connect()
    objects, bucket = (FolderObjects(folder), "local") if folder else (vitrine.objects, vitrine.bucket)
    directory = out or options.home / "models" / name
    started = time.monotonic()
    try:
        manifest = run_job(
            config,
            _source(config, options),
            objects,
            f"gs://{bucket}/training/{name}",
            directory,
            lambda line: err.print(f"[dim]{_elapsed(started)}[/] {line}", soft_wrap=True),
            command=shlex.join(["vitrine", "train", configuration, "--seed", str(config.seed)]),
            revision=_revision(),
        )
    except (SnapshotError, FittingError, ExportError) as error:
        raise ClientError(str(error)) from error
    if publish:
        from services.model.registry import Registry

        vitrine = options.connect()
        Registry(vitrine.objects, vitrine.bucket, config.name).publish(directory)
    print(manifest.version)


def _source(config: "Config", options: Options) -> "Source":
    from services.training.config import DemoData

    if isinstance(config.data, DemoData):
        from services.training.demo import DemoSource

        return DemoSource(
            config.data.validate_photos, config.data.tinted, config.data.drawings, config.data.tested
        )
    raise ClientError("data.kind: a catalogue cannot be trained on yet, only `demo` can")


def _revision() -> str:
    """The commit of the code, marked where it was changed since; containers have it in their environment."""
    if revision := os.environ.get("VITRINE_REVISION"):
        return revision
    command = ["git", "describe", "--always", "--dirty"]
    described = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)  # noqa: S603
    return described.stdout.strip() or "unknown"


def _elapsed(started: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    return f"{minutes:3}:{seconds:02}"


def saved_model(
    directory: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A version's directory.")],
    target: Annotated[Path, typer.Argument(help="The directory to write to.")],
) -> None:
    """Make the TensorFlow SavedModel, for the GPU, of a version that has only its weights."""
    try:
        from services.training.exports import export_saved_model
    except ImportError as error:
        raise ClientError(f"{error.name} is missing: this wants the extra `training`") from error
    export_saved_model(directory, target)
