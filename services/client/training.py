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
    from services.training.config import CatalogueData, Config, MixtureData
    from services.training.examples import Source
    from services.training.sides import Sides

err = Console(stderr=True, highlight=False)


def train(
    ctx: typer.Context,
    configuration: Annotated[
        str,
        typer.Argument(help="A YAML file, or a configuration of the project: catalogue, bundled, open, ..."),
    ],
    run: Annotated[
        str | None,
        typer.Option(
            help="The run's name; the same name continues it. Default: the model's name and the date."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the version. Default: a folder in the home directory.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Keeps snapshot and checkpoints here and not in the bucket.")
    ] = None,
    data: Annotated[
        Path,
        typer.Option(help="Where relative paths of the configuration begin. Default: the working directory."),
    ] = Path(),
    seed: Annotated[int | None, typer.Option(help="Default: the configuration's.")] = None,
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
        from services.shared.catalogue_files import CatalogueFileError
        from services.shared.clothing_dataset import ClothingError
        from services.training.catalogue import DatasetError
        from services.training.folder import FolderObjects
        from services.training.mixture import MixtureError
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
    told_first = configurations.CatalogueData | configurations.MixtureData
    if isinstance(config.data, told_first) and not stands(objects, f"{root}/snapshot"):
        # TensorFlow takes many seconds to import: whether there is anything to learn is told before.
        try:
            counted = _source(config, options, name, data)
            config.check_heads(counted.heads, counted.several)
        except (
            configurations.ConfigError,
            CatalogueFileError,
            ClothingError,
            MixtureError,
            DatasetError,
        ) as error:
            raise ClientError(str(error)) from error
    try:
        from services.model.hierarchy import HierarchyError
        from services.training.deepfashion import FormatError
        from services.training.exports import ExportError
        from services.training.fitting import FittingError
        from services.training.job import train as run_job
    except ImportError as error:
        raise _missing(error) from error
    try:
        manifest = run_job(
            config,
            lambda: counted or _source(config, options, name, data),
            objects,
            root,
            directory,
            lambda line: err.print(f"[dim]{_elapsed(started)}[/] {line}", soft_wrap=True),
            command=shlex.join(["vitrine", "train", configuration, "--seed", str(config.seed)]),
            revision=_revision(),
        )
    except (
        configurations.ConfigError,
        CatalogueFileError,
        ClothingError,
        MixtureError,
        FormatError,
        DatasetError,
        HierarchyError,
        SnapshotError,
        FittingError,
        ExportError,
    ) as error:
        raise ClientError(str(error)) from error
    if publish:
        from services.model.registry import Registry

        vitrine = options.connect()
        Registry(vitrine.objects, vitrine.bucket, config.name).publish(directory)
    print(manifest.version)


def _source(config: "Config", options: Options, run: str, folder: Path) -> "Source":
    """The data that the configuration names; a catalogue's labels are counted already.

    Raises:
        CatalogueFileError, ClothingError, MixtureError, FormatError, DatasetError: nothing can be learnt from
            it.

    """
    from services.training.config import CatalogueData, DeepFashionData, DemoData

    data = config.data
    if isinstance(data, DemoData):
        from services.training.demo import DemoSource

        return DemoSource(data.validate_photos, data.tinted, data.drawings, data.tested)
    if isinstance(data, DeepFashionData):
        from services.training.deepfashion import DeepFashionSource  # imports TensorFlow

        return DeepFashionSource(folder / data.folder)
    if isinstance(data, CatalogueData):
        return _catalogue_source(data, options, run, folder)
    return _mixture(data, options, run, folder)


def _mixture(data: "MixtureData", options: Options, run: str, folder: Path) -> "Source":
    from services.shared.clothing_dataset import label_map
    from services.training.clothing import ClothingSource
    from services.training.config import CatalogueData, ClothingData
    from services.training.fashion_mnist import FashionMnistSource
    from services.training.mixture import Mixture, Part
    from services.training.sides import Sides

    sides = Sides()
    parts = []
    for name, part in data.parts.items():
        if isinstance(part, CatalogueData):
            parts.append(Part(name, _catalogue_source(part, options, f"{run}-{name}", folder, sides)))
        elif isinstance(part, ClothingData):
            source = ClothingSource(
                folder / part.folder,
                label_map("clothing-dataset"),
                official_split=part.official_split and folder / part.official_split,
                validate_share=part.validate_share,
                new_sender_share=part.new_sender_share,
                sides=sides,
            )
            parts.append(Part(name, source))
        else:
            adds = frozenset((head, label) for head, labels in part.adds.items() for label in labels)
            grey = FashionMnistSource(label_map("fashion-mnist"), part.validate_photos)
            parts.append(Part(name, grey, adds))
    catalogues = frozenset(name for name, part in data.parts.items() if isinstance(part, CatalogueData))
    return Mixture(parts, same_taxonomy=catalogues)


def _catalogue_source(
    data: "CatalogueData", options: Options, run: str, folder: Path, sides: "Sides | None" = None
) -> "Source":
    from services.training.catalogue import CatalogueSource, TestSide
    from services.training.fashion_products import folder_source

    test = TestSide(data.test_from, data.test_years == "odd", data.test_share)
    if data.folder is not None:
        return folder_source(
            folder / data.folder,
            data.filters,
            minimum_photos=data.minimum_photos,
            validate_share=data.validate_share,
            test=test,
            origin=data.origin,
            sides=sides,
        )
    from services.shared.google_bigquery import BigQueryCatalogue

    target, vitrine = options.target(), options.connect()
    return CatalogueSource(
        BigQueryCatalogue(target.project, target.dataset, target.catalogue),
        vitrine.objects,
        target.bucket,
        data.filters,
        selection_id=f"training-{run}-{uuid.uuid4().hex[:8]}",
        minimum_photos=data.minimum_photos,
        validate_share=data.validate_share,
        test=test,
        read_from={
            "table": target.catalogue.table or f"{target.project}.{target.dataset}.products",
            "bucket": target.bucket,
        },
        # What people said is nearer to the truth than what sellers typed.
        judged=truths(vitrine.tables.labels(None, None)),
        origin=data.origin,
        sides=sides,
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
