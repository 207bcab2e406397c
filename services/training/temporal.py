"""Attributes that photos of new collections do not tell, found by time.

A season or a gender may be told well on photos of the years that were learnt, and hardly at all on newer
ones: the shop changed how it uses the label. A random split hides that. So the attribute is learnt once more
from what the network sees of older photos alone, and tested on newer ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

NEWEST_SHARE = 0.15
MOST_PHOTOS = 8_192  # that a probe learns from
FEWEST_PHOTOS = 100  # newer ones, and older ones, without which nothing is said
# Older photos of a label, without which it takes no part: a label that is new says nothing of the attribute.
FEWEST_LEARNT, FEWEST_HELD = 20, 5
# An attribute is unreliable from this loss of accuracy on.
LOSS = 0.15


@dataclass(frozen=True)
class Photos:
    """What a network sees of photos, and what is known of them."""

    embeddings: NDArray[np.float32]  # [N, E]
    targets: NDArray[np.int16]  # [N, heads]; below 0 where the label is not known
    years: NDArray[np.int16]  # [N]; 0 where it is not known

    def joined(self, other: Self) -> Self:
        """These photos and those of another set."""
        return type(self)(*(np.concatenate([vars(self)[name], vars(other)[name]]) for name in vars(self)))


@dataclass(frozen=True)
class Aged:
    """How an attribute fares on photos that are newer than those it was learnt from."""

    from_year: int
    older: float  # accuracy on held photos before that year, in the mix of labels of the newer ones
    newer: float

    @property
    def unreliable(self) -> bool:
        """Whether too much is lost."""
        return self.older - self.newer >= LOSS

    def __str__(self) -> str:
        return (
            f"Learnt from photos before {self.from_year}, it is right on {self.newer:.0%} of those from "
            f"{self.from_year} on, and on {self.older:.0%} of earlier photos with the same labels."
        )


def probe(train: Photos, held: Photos, heads: Sequence[str], seed: int) -> Mapping[str, Aged]:
    """Learn each head from the older photos that train; test it on held photos.

    Args:
        train: photos that the network was trained on.
        held: photos that it was not trained on.
        heads: in the order of the targets.
        seed: of the photos that are drawn where there are more than MOST_PHOTOS.

    Returns:
        The heads of which there are photos enough. Labels that the older photos hardly have are left out.

    """
    cut = _newest_from(train.years)
    if cut is None:
        return {}
    aged: dict[str, Aged] = {}
    older, held_older = ((years > 0) & (years < cut) for years in (train.years, held.years))
    held_newer = held.years >= cut
    for column, head in enumerate(heads):
        rows = np.flatnonzero(older & (train.targets[:, column] >= 0))
        draw = np.random.default_rng([seed, column])
        rows = draw.permutation(rows)[:MOST_PHOTOS]
        labels = _frequent(train.targets[rows, column], FEWEST_LEARNT)
        labels = np.intersect1d(labels, _frequent(held.targets[held_older, column], FEWEST_HELD))
        rows = rows[np.isin(train.targets[rows, column], labels)]
        tested = [
            np.flatnonzero(part & np.isin(held.targets[:, column], labels))
            for part in (held_older, held_newer)
        ]
        if len(labels) < 2 or min(map(len, [rows, *tested])) < FEWEST_PHOTOS:
            continue
        scaler = StandardScaler().fit(train.embeddings[rows])
        model = LogisticRegression(C=0.01, max_iter=100)
        model.fit(scaler.transform(train.embeddings[rows]), train.targets[rows, column])
        right = [
            model.predict(scaler.transform(held.embeddings[part])) == held.targets[part, column]
            for part in tested
        ]
        truths = [held.targets[part, column] for part in tested]
        # A shop's mix of products changes, and rare labels are harder: both years are compared in one mix.
        of_label = {label: float(right[0][truths[0] == label].mean()) for label in labels}
        older_share = float(np.mean([of_label[label] for label in truths[1]]))
        aged[head] = Aged(cut, older_share, float(right[1].mean()))
    return aged


def _frequent(targets: NDArray[np.int16], fewest: int) -> NDArray[np.int16]:
    """The labels that so many photos have at least."""
    labels, counts = np.unique(targets[targets >= 0], return_counts=True)
    return np.asarray(labels[counts >= fewest], np.int16)


def _newest_from(years: NDArray[np.int16]) -> int | None:
    """The year from which on there are about NEWEST_SHARE of the photos that have one."""
    known = years[years > 0]
    candidates = np.unique(known)[1:]
    if not len(candidates):
        return None
    shares = [(known >= year).mean() for year in candidates]
    return int(candidates[np.argmin(np.abs(np.array(shares) - NEWEST_SHARE))])
