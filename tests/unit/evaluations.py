"""Answers that tests measure: small, and of whichever photos a test wants."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.training.measures import (
    PHOTO,
    AnsweredPhotos,
    Answers,
    Evaluation,
    Head,
    HeadFigures,
    Made,
    measure,
)

LABELS = ("Shirts", "Coats", "Boots", "Ties")

MADE = Made(
    command="vitrine train --seed 7",
    seed=7,
    snapshot="2026-11-01T00:00:00Z",
    revision="0123abc",
    machine="2 cores",
    held_out="Products from 2016 on.",
)


def probabilities(
    said: Sequence[int], confidence: Sequence[float] | float = 0.7, labels: int = len(LABELS)
) -> NDArray[np.float32]:
    """Rows that answer `said` with `confidence` and share the rest among the other labels."""
    sure = np.broadcast_to(np.asarray(confidence), len(said))
    rows = np.repeat(((1 - sure) / (labels - 1))[:, np.newaxis], labels, axis=1)
    rows[np.arange(len(said)), list(said)] = sure
    return rows.astype(np.float32)


def answers(
    declared: Sequence[int],
    said: Sequence[int],
    confidence: Sequence[float] | float = 0.7,
    labels: Sequence[str] = LABELS,
    threshold: float = 0.5,
    temperature: float = 1.0,
) -> Answers:
    return Answers(
        labels=labels,
        probabilities=probabilities(said, confidence, len(labels)),
        targets=np.array(declared, np.int64),
        temperature=temperature,
        threshold=threshold,
    )


def photos(
    heads: Mapping[str, Answers],
    origins: Sequence[str] | None = None,
    years: Sequence[int | None] | None = None,
    columns: Mapping[str, Sequence[str | None]] | None = None,
) -> AnsweredPhotos:
    """Photos with the keys 0000, 0001, ..."""
    count = len(next(iter(heads.values())).probabilities)
    return AnsweredPhotos(
        keys=[f"{number:04}" for number in range(count)],
        origins=origins or [PHOTO] * count,
        years=years or [None] * count,
        heads=heads,
        columns=columns or {},
    )


def head(test: AnsweredPhotos, validation: AnsweredPhotos | None = None) -> Head:
    """The only head."""
    (measured,) = measure(test, validation).values()
    return measured


def figures(test: AnsweredPhotos, validation: AnsweredPhotos | None = None) -> HeadFigures:
    """Those of the only head, of photos."""
    return head(test, validation).origins[PHOTO]


def evaluation(test: AnsweredPhotos) -> Evaluation:
    return Evaluation(made=MADE, heads=measure(test))
