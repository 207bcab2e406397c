"""The catalogue's labels as classes: which of them can be judged, and why the others cannot."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.shared.events import Product
from services.shared.labels import normalised

NONE = -1  # no class: the catalogue does not say it, or it is too rare


def declared(product: Product, attribute: str) -> str | None:
    """The label of a product, exactly as the catalogue has it; None where it says nothing."""
    return product.value(attribute)


@dataclass(frozen=True)
class Classes:
    """The labels of one attribute that products are judged by.

    Args:
        labels: of each class, its most frequent spelling.
        targets: [N], the class of each product, or NONE.

    """

    labels: Sequence[str]
    targets: NDArray[np.int32]


def classes(
    declared: Sequence[str | None], pictures: NDArray[np.int64], folds: NDArray[np.int8], count: int
) -> Classes:
    """The classes of an attribute, in the order of their labels.

    A label is a class if at least `count` pictures have it, and these are in two folds at least. So each
    product of it is judged by heads that were trained on others of it.

    Args:
        declared: [N], the label of each product whose photo can be used.
        pictures: [N], which picture the photo shows.
        folds: [N].
        count: of the folds.

    """
    spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
    shown: defaultdict[str, set[int]] = defaultdict(set)
    placed: defaultdict[str, set[int]] = defaultdict(set)
    for label, picture, fold in zip(declared, pictures.tolist(), folds.tolist(), strict=True):
        if label is not None:
            key = normalised(label)
            spellings[key][label] += 1
            shown[key].add(picture)
            placed[key].add(fold)
    keys = sorted(key for key in shown if len(shown[key]) >= count and len(placed[key]) > 1)
    index = {key: number for number, key in enumerate(keys)}
    targets = [NONE if label is None else index.get(normalised(label), NONE) for label in declared]
    # Of spellings that are as frequent, the first in the alphabet.
    labels = [min(spellings[key], key=lambda label: (-spellings[key][label], label)) for key in keys]
    return Classes(labels, np.array(targets, np.int32))
