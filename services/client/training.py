"""`vitrine train`: makes a version of the model as a configuration says; wants the extra `training`."""

import os
import shlex
import subprocess
import time
import uuid
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from services.client.errors import ClientError
from services.client.options import Options
from services.client.review import truths

if TYPE_CHECKING:
    # At run time they are imported where they are used: not everybody who has the client has TensorFlow.
    from services.shared.ports import Objects
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
    from services.training import config as configurations

    options: Options = ctx.obj
    try:
        config = configurations.read(configuration)
    except configurations.ConfigError as error:
        raise ClientError(str(error)) from error
    if seed is not None:
        config = config.model_copy(update={"seed": seed})
    try:
        from services.shared.styles import StylesError
        from services.training.catalogue import DatasetError
        from services.training.folder import FolderObjects
        from services.training.snapshot import SnapshotError, stands
    except ImportError as error:
        raise _missing(error) from error
    name = run or f"{config.name}-{date.today():%Y-%m-%d}"
    objects: Objects
    if folder is None:
        vitrine = options.connect()
        objects, bucket = vitrine.objects, vitrine.bucket
    else:
        objects, bucket = FolderObjects(folder), "local"
    root = f"gs://{bucket}/training/{name}"
    directory = out or options.home / "models" / name
    started = time.monotonic()
    counted = None
    if isinstance(config.data, configurations.CatalogueData) and not stands(objects, f"{root}/snapshot"):
        # TensorFlow takes many seconds to import: whether there is anything to learn is told before.
        try:
            counted = _source(config, options, name)
        except (StylesError, DatasetError) as error:
            raise ClientError(str(error)) from error
    try:
        from services.training.deepfashion import FormatError
        from services.training.exports import ExportError
        from services.training.fitting import FittingError
        from services.training.job import train as run_job
    except ImportError as error:
        raise _missing(error) from error
    try:
        manifest = run_job(
            config,
            lambda: counted or _source(config, options, name),
            objects,
            root,
            directory,
            lambda line: err.print(f"[dim]{_elapsed(started)}[/] {line}", soft_wrap=True),
            command=shlex.join(["vitrine", "train", configuration, "--seed", str(config.seed)]),
            revision=_revision(),
        )
    except (StylesError, FormatError, DatasetError, SnapshotError, FittingError, ExportError) as error:
        raise ClientError(str(error)) from error
    if publish:
        from services.model.registry import Registry

        vitrine = options.connect()
        Registry(vitrine.objects, vitrine.bucket, config.name).publish(directory)
    print(manifest.version)


def _source(config: "Config", options: Options, run: str) -> "Source":
    """The data that the configuration names; a catalogue's labels are counted already.

    Raises:
        StylesError, FormatError, DatasetError: nothing can be learnt from it.

    """
    from services.training.catalogue import CatalogueSource
    from services.training.config import DeepFashionData, DemoData
    from services.training.fashion_products import folder_source

    data = config.data
    if isinstance(data, DemoData):
        from services.training.demo import DemoSource

        return DemoSource(data.validate_photos, data.tinted, data.drawings, data.tested)
    if isinstance(data, DeepFashionData):
        from services.training.deepfashion import DeepFashionSource  # imports TensorFlow

        return DeepFashionSource(data.folder)
    if data.folder is not None:
        return folder_source(
            data.folder,
            data.filters,
            minimum_photos=data.minimum_photos,
            validate_share=data.validate_share,
            test_from=data.test_from,
        )
    from services.shared.google_bigquery import BigQueryCatalogue

    target, vitrine = options.target(), options.connect()
    return CatalogueSource(
        BigQueryCatalogue(target.project, target.dataset),
        vitrine.objects,
        target.bucket,
        data.filters,
        selection_id=f"training-{run}-{uuid.uuid4().hex[:8]}",
        minimum_photos=data.minimum_photos,
        validate_share=data.validate_share,
        test_from=data.test_from,
        read_from={"table": f"{target.project}.{target.dataset}.products", "bucket": target.bucket},
        # What people said is nearer to the truth than what sellers typed.
        judged=truths(vitrine.tables.labels(None, None)),
    )


def _missing(error: ImportError) -> ClientError:
    return ClientError(f"{error.name} is missing: this wants the extra `training`")


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
        raise _missing(error) from error
    export_saved_model(directory, target)
