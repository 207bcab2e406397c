"""What a notebook wants: tables as pandas has them, and pictures; quickstart.ipynb shows all of it in use.

pandas, matplotlib and IPython come with the extra `notebook`, and are imported by what uses them: a client
without it can read this module.
"""

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.client.client import Stage, Status, Vitrine
from services.client.errors import ClientError
from services.client.options import Options
from services.client.ports import Disagreement, Result
from services.client.report import misfits_of, percent, thumbnail, words
from services.client.review import Quality
from services.client.target import Names
from services.shared.events import JobCompleted, Product
from services.shared.jobs import Manifest, find_manifest, numbered_photos, photos_of, read_products
from services.shared.layout import JobLayout
from services.shared.parallel import in_parallel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from PIL.Image import Image

SIDE = 1.6  # inches, of a photo in a figure


def connect(project: str | None = None, home: str | Path | None = None) -> Vitrine:
    """A client of a project on Google Cloud, or of the local cloud.

    Args:
        project: on Google Cloud; None: the local cloud.
        home: the folder of the local cloud's state; None: VITRINE_HOME, else the .vitrine that is nearest
            above this folder, for a notebook runs in its own.

    Raises:
        ClientError: there is nowhere to connect to, or nothing answers there.

    """
    return Options(
        Names(project), Path(home or os.environ.get("VITRINE_HOME") or _home()).resolve()
    ).connect()


def _home() -> Path:
    here = Path.cwd()
    homes = (folder / ".vitrine" for folder in (here, *here.parents))
    return next((home for home in homes if home.is_dir()), here / ".vitrine")


# ------------------------------------------------------------------------------------- jobs


class Progress:
    """How far a job is, as a notebook shows it."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def __repr__(self) -> str:
        stages = ", ".join(f"{stage.name} {_so_far(stage)}" for stage in self._status.stages)
        return f"{self._status.job_id} {self._state}: {stages}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{stage.name}</td>"
            f"<td><progress value='{stage.done}' max='{stage.total or 1}'></progress></td>"
            f"<td>{_so_far(stage)}</td></tr>"
            for stage in self._status.stages
        )
        return f"<b>{html.escape(self._status.job_id)}</b> {self._state}<table>{rows}</table>"

    @property
    def _state(self) -> str:
        completed = self._status.completed
        if completed is None:
            return "running"
        return f"{completed.status}: {completed.predictions} predictions, {completed.errors} errors"


def _so_far(stage: Stage) -> str:
    total = "" if stage.total is None else f" of {stage.total}"
    return f"{stage.done}{total} {stage.unit}"


def follow(vitrine: Vitrine, job_id: str, *, timeout: float = 3600) -> JobCompleted:
    """Shows a job's progress in place until it is completed; its summary.

    Raises:
        JobStalledError: messages of the job were rejected and nothing goes on any more.
        ClientError: it is not completed after `timeout` seconds.

    """
    from IPython.display import display

    shown = None
    for status in vitrine.watch(job_id, timeout=timeout):
        if shown is None:
            shown = display(Progress(status), display_id=True)
        else:
            shown.update(Progress(status))
        if status.completed is not None:
            return status.completed
    raise ClientError(f"job {job_id!r} was not followed to its end")


def prepared(vitrine: Vitrine, job_id: str, limit: int) -> list[Product]:
    """The first products of a job whose photos are staged.

    Raises:
        ClientError: there is no such job.

    """
    layout, manifest = JobLayout(vitrine.bucket, job_id), _manifest(vitrine, job_id)
    batches = (read_products(vitrine.objects, layout, batch) for batch in range(manifest.batches))
    return list(islice(chain.from_iterable(batches), limit))


def _manifest(vitrine: Vitrine, job_id: str) -> Manifest:
    manifest = find_manifest(vitrine.objects, JobLayout(vitrine.bucket, job_id))
    if manifest is None:
        raise ClientError(f"there is no job {job_id!r}")
    return manifest


# ------------------------------------------------------------------------------------- pictures


def side_by_side(vitrine: Vitrine, job_id: str, limit: int = 4) -> "Figure":
    """A row a photo: the photo, the variants that augmentation made of it, and what the catalogue says.

    Raises:
        ClientError: there is no such job.

    """
    products = prepared(vitrine, job_id, limit)
    layout = photos_of(vitrine.bucket, job_id, _manifest(vitrine, job_id).request)
    manifest = find_manifest(vitrine.objects, layout)
    augmentation = manifest.request.augmentation if manifest else None
    copies = augmentation.copies if augmentation else 0
    variants = ["original", *(f"augmented-{copy}" for copy in range(copies))]
    photos = [
        (product, number) for product in products for number, _uri in numbered_photos(vitrine.bucket, product)
    ]
    uris = [
        layout.image(product.product_id, variant, number)
        for product, number in photos
        for variant in variants
    ]
    figure, grid = _figure(len(photos), len(variants) + 1)
    for place, photo in enumerate(_photos(vitrine, uris)):
        row, column = divmod(place, len(variants))
        _show(grid[row][column], photo, variants[column])
    for row, (product, number) in enumerate(photos):
        _write(grid[row][-1], (f"photo {number}\n" if number else "") + _described(product))
    return figure


def gallery(vitrine: Vitrine, results: Iterable[Result], head: str, columns: int = 6) -> "Figure":
    """The photos of results, each with its best label of a head; red where it contradicts the catalogue."""
    rows = list(results)
    figure, grid = _figure(-(-len(rows) // columns), columns)
    photos = _photos(vitrine, [row.prediction.image_uri for row in rows])
    for axes, row, photo in zip(chain.from_iterable(grid), rows, photos, strict=False):
        best = next(iter(row.labels(head)), None)
        title = f"{best.label} {percent(best.probability)}" if best else str(row.prediction.error)
        doubted = head in row.disagreements
        if doubted:
            title += f"\nnot {row.declared_label(head)}"
        _show(axes, photo, title, colour="firebrick" if doubted else "black")
    return figure


def calibration_plot(quality: Quality) -> "Figure":
    """How often the model is right against how sure it is, in bins; on the diagonal it is right as often."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    bins = [each for each in quality.bins if each.photos]
    axes.bar(
        [each.lower for each in bins],
        [each.accuracy for each in bins],
        [each.upper - each.lower for each in bins],
        align="edge",
        edgecolor="white",
    )
    axes.plot([0, 1], [0, 1], linestyle="--", color="black", linewidth=1)
    axes.plot([each.confidence for each in bins], [each.accuracy for each in bins], "o", color="black")
    for each in bins:
        # In a box: it is to be read in front of a bar and, where all are wrong, of none.
        box = {"boxstyle": "round", "facecolor": "white", "linewidth": 0}
        axes.annotate(str(each.photos), (each.confidence, 0.03), ha="center", fontsize="x-small", bbox=box)
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="confidence",
        ylabel="accuracy",
        title=f"{words(quality.head)} against {quality.against}: ECE {quality.ece:.3f}",
    )
    return figure


# ------------------------------------------------------------------------------------- tables


def to_frame(results: Iterable[Result]) -> "DataFrame":
    """A row a result: for each head its best label, what the catalogue says, and the probability of each."""
    from pandas import DataFrame

    rows = list(results)
    heads = sorted({label.head for row in rows for label in row.prediction.heads})
    several = any(row.prediction.combined or row.prediction.photo_number for row in rows)
    return DataFrame([{**_flat(row, heads), **(_of_several(row) if several else {})} for row in rows])


def _of_several(row: Result) -> Mapping[str, Any]:
    prediction = row.prediction
    return {"photo_number": prediction.photo_number, "misfits": "; ".join(misfits_of(prediction))}


def disagreements_frame(disagreements: Iterable[Disagreement]) -> "DataFrame":
    """A row a disagreement, in their order; where products have several photos, with the one that decided."""
    from pandas import DataFrame

    columns = ["job_id", "product_id", "head", "label", "probability", "declared", "declared_probability"]
    columns += ["unsure", "learnt", "name", "photo_number"]
    found = list(disagreements)
    frame = DataFrame(
        [
            (
                each.prediction.job_id,
                each.prediction.product_id,
                each.head,
                each.label,
                each.probability,
                each.declared_label,
                each.declared_probability,
                each.unsure,
                each.learnt,
                each.declared.display_name,
                each.decided_by,
            )
            for each in found
        ],
        columns=columns,
    )
    return frame if any(each.decided_by for each in found) else frame.drop(columns="photo_number")


def quality_frame(quality: Quality) -> "DataFrame":
    """A row a class, by support; a figure that has nothing to divide by is missing."""
    from pandas import DataFrame

    return DataFrame(
        {
            "support": [each.support for each in quality.classes],
            "predicted": [each.predicted for each in quality.classes],
            "precision": [None if "precision" in c.undefined else c.precision for c in quality.classes],
            "recall": [None if "recall" in c.undefined else c.recall for c in quality.classes],
            "f1": [each.f1 for each in quality.classes],
        },
        index=[each.label for each in quality.classes],
    )


def confusion_frame(quality: Quality) -> "DataFrame":
    """Truths down, predictions across, photos in the cells, in the order of the classes."""
    from pandas import DataFrame

    labels = [each.label for each in quality.classes]
    frame = DataFrame(0, index=labels, columns=labels).rename_axis(index="truth", columns="predicted")
    for cell in quality.confusion:
        frame.loc[cell.truth, cell.predicted] = cell.photos
    return frame


def _described(product: Product) -> str:
    """What the catalogue says of a product, a line a column."""
    known = [
        ("product id", product.product_id),
        *((words(each.name), ", ".join(each.values)) for each in product.attributes),
        ("display name", product.display_name),
    ]
    return "\n".join(f"{name}: {value}" for name, value in known if value is not None)


def _flat(row: Result, heads: Sequence[str]) -> Mapping[str, Any]:
    prediction = row.prediction
    flat: dict[str, Any] = {"product_id": prediction.product_id, "variant": prediction.variant}
    for head in heads:
        best = next(iter(row.labels(head)), None)
        flat[head] = best and best.label
        flat[f"{head}_probability"] = best and best.probability
        flat[f"{head}_declared"] = row.declared_label(head)
        flat[f"{head}_declared_probability"] = row.declared_probability(head)
    return flat | {
        "disagreements": " ".join(row.disagreements),
        "abstained": " ".join(prediction.abstained),
        "unfamiliar": prediction.unfamiliar,
        "learnt": prediction.learnt,
        "error": prediction.error,
        "image_uri": prediction.image_uri,
    }


def _figure(rows: int, columns: int) -> "tuple[Figure, list[list[Axes]]]":
    # Not pyplot's: that would keep each figure, and show it a second time.
    from matplotlib.figure import Figure

    size = (max(columns, 1) * SIDE, max(rows, 1) * SIDE)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(max(rows, 1), max(columns, 1), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, [list(line) for line in grid]


def _photos(vitrine: Vitrine, uris: Sequence[str]) -> "list[Image | None]":
    return in_parallel(lambda uri: thumbnail(vitrine.objects, uri), uris)


def _show(axes: "Axes", photo: "Image | None", title: str, colour: str = "black") -> None:
    axes.set_title(title, fontsize="x-small", color=colour)
    if photo is None:
        _write(axes, "no photo")
    else:
        axes.imshow(photo)


def _write(axes: "Axes", text: str) -> None:
    axes.text(0, 0.5, text, transform=axes.transAxes, va="center", fontsize="xx-small", wrap=True)
