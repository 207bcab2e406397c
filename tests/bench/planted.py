"""How well `vitrine audit` finds wrong labels that are planted in a real catalogue, beside cleanlab.

    python -m tests.bench.planted CATALOGUE VERSION

CATALOGUE is a folder or zip in the layout of Fashion Product Images. VERSION is the folder of a model
version. Products that the version was trained on are left out, because it has seen their true labels.

The benchmark plants wrong article types: uniform (any other label, 2 % of the products) or similar (another
label of the same sub category, 2 or 8 %). All rankings rank the same probabilities. Out of sample, these come
from heads that were trained on other products, as in `vitrine audit`; in sample, from heads that were trained
on all products, planted labels included. The tables show the mean and standard deviation over five seeds.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path

import numpy as np
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from services.audit.embedder import LiteRTEmbedder
from services.audit.embeddings import PART_PRODUCTS, Part, embed
from services.audit.folds import folds, pictures
from services.audit.labels import NONE, classes
from services.audit.regression import cross_fit, fit, out_of_sample, whitened
from services.shared.catalogue_files import read_catalogue
from services.shared.errors import ObjectNotFoundError
from services.shared.events import Product
from services.shared.folders import FolderError
from services.shared.layout import photo_uri
from services.shared.memory import MemoryObjects

SEEDS = 5
FOLDS = 5
OURS = "1 - P(declared), vitrine"
# name -> method, adjust_pred_probs; see cleanlab.rank.get_label_quality_scores
CLEANLAB = {
    "self confidence": ("self_confidence", False),
    "self confidence, adjusted": ("self_confidence", True),
    "normalized margin": ("normalized_margin", False),
    "normalized margin, adjusted": ("normalized_margin", True),
    "confidence-weighted entropy": ("confidence_weighted_entropy", False),
}

type Plant = Callable[[np.random.Generator], NDArray[np.int32]]


@dataclass(frozen=True)
class Catalogue:
    """Products that the version was not trained on, with a usable photo and an article type.

    Args:
        inputs: [N, E], whitened embeddings.
        folds: [N].
        targets: [N], indices of article types.
        similar: of each article type, the others of its sub category.

    """

    inputs: NDArray[np.float16]
    folds: NDArray[np.int8]
    targets: NDArray[np.int32]
    similar: Sequence[NDArray[np.int32]]

    @property
    def labels(self) -> int:
        return len(self.similar)

    def uniform(self, share: float, chance: np.random.Generator) -> NDArray[np.int32]:
        """Plants wrong labels in a share of the products; each is any other label."""
        planted = self.targets.copy()
        places = chance.choice(len(planted), round(share * len(planted)), replace=False)
        planted[places] = (planted[places] + chance.integers(1, self.labels, len(places))) % self.labels
        return planted

    def confused(self, share: float, chance: np.random.Generator) -> NDArray[np.int32]:
        """Plants wrong labels in a share of the products; each is of the same sub category."""
        planted = self.targets.copy()
        can = np.flatnonzero([len(self.similar[target]) > 0 for target in planted])
        places = chance.choice(can, round(share * len(planted)), replace=False)
        planted[places] = [chance.choice(self.similar[target]) for target in planted[places]]
        return planted


def load(path: Path, embedder: LiteRTEmbedder) -> Catalogue:
    """Embeds a catalogue and keeps the products that the version was not trained on."""
    source = read_catalogue(path)
    chosen: list[Product] = []
    parts: list[Part] = []
    asked = [product for product in source.products if product.value("article_type")]
    for some in track(
        batched(asked, PART_PRODUCTS, strict=False),
        "embedding",
        total=-(-len(asked) // PART_PRODUCTS),
        console=console,
    ):
        objects = MemoryObjects()
        for product in some:
            try:
                objects.put(photo_uri("bench", product.product_id), source.photo(product))
            except (FolderError, ObjectNotFoundError):
                continue  # `embed` reports the missing photo
        part = embed(some, objects, "bench", embedder)
        new = part.usable()
        if embedder.learnt is not None:
            new = new[~part.learnt_by(embedder.learnt)[new]]
        parts.append(part.take(new))
        chosen += [some[place] for place in new.tolist()]
    photos = Part.concatenate(parts)
    shown = pictures(photos.signatures(), len(chosen))
    cut = folds([product.product_id for product in chosen], shown, FOLDS)
    # Five more than an audit needs: planting takes products away from a label.
    found = classes([product.value("article_type") for product in chosen], shown, cut, FOLDS + 5)
    above: dict[int, str | None] = {}
    for product, target in zip(chosen, found.targets.tolist(), strict=True):
        above.setdefault(target, product.value("sub_category"))
    kept = found.targets != NONE
    console.print(
        f"{len(asked)} products with an article type; {len(chosen)} have a usable photo that the version was "
        f"not trained on; {kept.sum()} of these have one of {len(found.labels)} frequent article types"
    )
    similar = [
        np.array([other for other in range(len(found.labels)) if other != own and above[other] == above[own]])
        for own in range(len(found.labels))
    ]
    return Catalogue(whitened(photos.embeddings[kept]), cut[kept], found.targets[kept], similar)


def outside(catalogue: Catalogue, planted: NDArray[np.int32]) -> NDArray[np.float32]:
    """Probabilities [N, labels] by heads that were trained on other products."""
    heads = cross_fit(catalogue.inputs, planted, catalogue.folds, catalogue.labels)
    probabilities = np.empty((len(planted), catalogue.labels), np.float32)
    for places, some in out_of_sample(heads, catalogue.inputs, catalogue.folds):
        probabilities[places] = some
    return probabilities


def inside(catalogue: Catalogue, planted: NDArray[np.int32]) -> NDArray[np.float32]:
    """Probabilities [N, labels] by heads that were trained on all products, planted labels included."""
    heads = fit(catalogue.inputs, planted, catalogue.labels)
    together = zip(*out_of_sample([heads], catalogue.inputs, np.zeros(len(planted), np.int8)), strict=True)
    _places, probabilities = together
    return np.concatenate(probabilities)


def rankings(
    planted: NDArray[np.int32], probabilities: NDArray[np.float32]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Name and label quality [N] of each ranking; the lowest quality comes first."""
    yield OURS, probabilities[np.arange(len(planted)), planted].astype(np.float64)
    # cleanlab wants rows that sum to 1 in double precision.
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    for name, (method, adjusted) in CLEANLAB.items():
        yield (
            f"{name}, cleanlab",
            get_label_quality_scores(planted, exact, method=method, adjust_pred_probs=adjusted),
        )


def figures(quality: NDArray[np.float64], wrong: NDArray[np.bool_]) -> Mapping[str, float]:
    """Precision, average precision, and how many products to review per error to find 80, 90 and 95 %."""
    count = int(wrong.sum())
    found = wrong[np.argsort(quality, kind="stable")].cumsum()
    precision = found / np.arange(1, len(found) + 1)
    hits = np.flatnonzero(np.diff(found, prepend=0))
    looked = {share: int(np.searchsorted(found, share * count)) + 1 for share in (0.8, 0.9, 0.95)}
    return {
        "P@50": precision[49],
        "P@k": precision[count - 1],
        "AP": precision[hits].mean(),
        **{f"{share:.0%} in": looked[share] / count for share in looked},
    }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("catalogue", type=Path)
    asked.add_argument("version", type=Path)
    given = asked.parse_args()
    embedder = LiteRTEmbedder(given.version)
    console.print(f"{embedder.name} {embedder.version}, {embedder.image_size} pixels")
    catalogue = load(given.catalogue, embedder)
    plants: dict[str, Plant] = {
        "uniform 2 %": lambda chance: catalogue.uniform(0.02, chance),
        "similar 2 %": lambda chance: catalogue.confused(0.02, chance),
        "similar 8 %": lambda chance: catalogue.confused(0.08, chance),
    }
    for name, plant in plants.items():
        found: dict[tuple[str, str], list[Mapping[str, float]]] = {}
        for seed in track(range(SEEDS), name, console=console):
            planted = plant(np.random.default_rng(seed))
            for judged, probabilities in (("out of", outside), ("in", inside)):
                for ranking, quality in rankings(planted, probabilities(catalogue, planted)):
                    measured = figures(quality, planted != catalogue.targets)
                    found.setdefault((judged, ranking), []).append(measured)
        _print(name, found)


def _print(name: str, found: Mapping[tuple[str, str], Sequence[Mapping[str, float]]]) -> None:
    columns = [*next(iter(found.values()))[0]]
    table = Table(
        "sample",
        "ranking",
        *columns,
        title=f"{name}, {SEEDS} seeds; `in`: products reviewed per planted error",
    )
    for (judged, ranking), runs in found.items():
        values = np.array([[run[column] for column in columns] for run in runs])
        spread = zip(values.mean(axis=0), values.std(axis=0, ddof=1), strict=True)
        table.add_row(judged, ranking, *(f"{mean:.3f} ±{deviation:.3f}" for mean, deviation in spread))
    console.print(table)


console = Console(width=150)

if __name__ == "__main__":
    main()
