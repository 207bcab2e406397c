"""A model's evaluation as one page of HTML that needs nothing beside itself."""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from services.model.manifest import Manifest
from services.shared.errors import ImageError
from services.shared.images import decode
from services.training.measures import MADE_BY_A_PROGRAM, PHOTO, ClassFigures, Evaluation, HeadFigures, Share

SIDE = 160  # pixels, the longest side of a photo in the page
QUALITY = 80
MATRIX_CLASSES = 20
OPEN_ROWS = 20  # of a table; the others are folded away
LISTED = 500  # of what was left out of the data


def render(
    evaluation: Evaluation, manifest: Manifest, photos: Mapping[str, bytes | NDArray[np.uint8]]
) -> str:
    """Render the page.

    Args:
        evaluation: of the model of `manifest`.
        manifest: says which model it is.
        photos: those of `evaluation.shown()`, as files or as pixels [height, width, 3]; one that is missing
            or cannot be decoded leaves a gap.

    Raises:
        ValueError: the evaluation is of other heads or labels than the manifest's.

    """
    measured = {name: head.labels for name, head in evaluation.heads.items()}
    if measured != manifest.heads or evaluation.several.keys() != manifest.several.keys():
        raise ValueError("heads: the evaluation and the manifest have other heads or labels")
    uris = {key: _data_uri(photos[key]) for key in evaluation.shown() if key in photos}
    return (
        _environment()
        .get_template("report.html.j2")
        .render(evaluation=evaluation, manifest=manifest, photos=uris)
    )


def _data_uri(photo: bytes | NDArray[np.uint8]) -> str | None:
    """The photo, small; None where there is nothing to show."""
    try:
        image = decode(photo, about=SIDE) if isinstance(photo, bytes) else Image.fromarray(photo)
    except ImageError:
        return None
    image.thumbnail((SIDE, SIDE))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()


@dataclass(frozen=True)
class _Axis:
    """Shares from `steps` times `step` below 1 up to 1, drawn from `start` to `end`."""

    start: float
    end: float
    step: float
    steps: int

    @property
    def low(self) -> float:
        return 1 - self.step * self.steps

    @property
    def ticks(self) -> Sequence[float]:
        return [1 - self.step * index for index in range(self.steps, -1, -1)]

    def at(self, share: float) -> float:
        return round(self.start + (share - self.low) / (1 - self.low) * (self.end - self.start), 1)


def _axis(start: float, end: float, shares: Iterable[float] = (0.0,)) -> _Axis:
    """An axis with room for these shares, of five round steps at most."""
    span = max(0.05, 1 - min(shares))
    # Not one step more because of the last bit.
    steps = {step: math.ceil(span / step - 1e-9) for step in (0.01, 0.02, 0.05, 0.1, 0.2)}
    return next(_Axis(start, end, step, count) for step, count in steps.items() if count <= 5)


@dataclass(frozen=True)
class _Cell:
    photos: int
    share: float  # of its row's photos
    right: bool

    @property
    def depth(self) -> int:
        """Percent of its colour; the root shows what is rare, and below 50 % text stays readable on it."""
        return round(48 * math.cbrt(self.share))


@dataclass(frozen=True)
class _Matrix:
    """A confusion matrix of some classes, and what they are taken for beside each other."""

    said: Sequence[str]
    rows: Sequence[
        tuple[str, int, Sequence[_Cell]]
    ]  # declared, its photos, a cell per said label and one for others
    left_out: int  # classes with photos or answers that are not shown


def _matrix(figures: HeadFigures) -> _Matrix:
    """That of all classes with photos or answers, or of those that are most often confused."""
    present = [each.label for each in figures.classes if each.photos or each.said]
    shown = present if len(present) <= MATRIX_CLASSES else _most_confused(figures.confusion)
    labels = [label for label in present if label in set(shown)]
    rows = []
    for declared in labels:
        said = figures.confusion.get(declared, {})
        total = sum(said.values())
        if not total:
            continue  # a class without a photo, with which others were answered
        counts = [said.get(label, 0) for label in labels]
        cells = [
            _Cell(count, count / total, label == declared)
            for label, count in zip(labels, counts, strict=True)
        ]
        others = total - sum(counts)
        rows.append((declared, total, [*cells, _Cell(others, others / total, False)]))
    return _Matrix(labels, rows, len(present) - len(labels))


def _most_confused(confusion: Mapping[str, Mapping[str, int]]) -> set[str]:
    pairs = sorted(
        (
            (count, declared, said)
            for declared, row in confusion.items()
            for said, count in row.items()
            if said != declared
        ),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    chosen: set[str] = set()
    for _, *pair in pairs:
        if len(chosen | set(pair)) > MATRIX_CLASSES:
            break
        chosen |= set(pair)
    return chosen


@dataclass(frozen=True)
class _ClassRow:
    figures: ClassFigures
    taken_for: tuple[str, float] | None  # what its photos are most often mistaken for, and how often


def _class_rows(figures: HeadFigures) -> Sequence[_ClassRow]:
    """The surely worst classes first, not those with a few photos; those without any last."""

    def taken_for(each: ClassFigures) -> tuple[str, float] | None:
        wrong = [
            (count, said)
            for said, count in figures.confusion.get(each.label, {}).items()
            if said != each.label
        ]
        count, said = max(wrong, default=(0, ""))
        return (said, count / each.photos) if count else None

    def best_recall(each: ClassFigures) -> float:
        right = figures.confusion.get(each.label, {}).get(each.label, 0)
        return Share.of(right, each.photos).high if each.photos else math.inf

    ordered = sorted(figures.classes, key=lambda each: (best_recall(each), each.label))
    return [_ClassRow(each, taken_for(each)) for each in ordered]


def _words(name: str) -> str:
    """`article_type` as people write it."""
    return name.replace("_", " ")


def _hundredths(share: float) -> str:
    """A share in percent, without the sign; only what has no exception is 100, and only nothing 0."""
    rounded = round(100 * share, 1)
    if rounded in (0, 100):
        return {0.0: "0", 1.0: "100"}.get(share, "<0.1" if rounded == 0 else ">99.9")
    return f"{rounded:.1f}"


def _percent(share: float) -> str:
    return _hundredths(share) + "\N{NO-BREAK SPACE}%"


def _number(count: int) -> str:
    return f"{count:,}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "words": _words,
        "percent": _percent,
        "hundredths": _hundredths,
        "number": _number,
    }
    environment.globals |= {
        "MADE_BY_A_PROGRAM": MADE_BY_A_PROGRAM,
        "PHOTO": PHOTO,
        "OPEN_ROWS": OPEN_ROWS,
        "LISTED": LISTED,
        "axis": _axis,
        "matrix": _matrix,
        "class_rows": _class_rows,
    }
    return environment
