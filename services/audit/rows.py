"""The rows of `audited_labels`: what the heads say of each declared label, or why they say nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from services.audit.labels import NONE, Classes
from services.audit.regression import Heads, out_of_sample
from services.shared.audits import AttributeAudit, AuditedLabel, AuditManifest, Unjudged
from services.shared.errors import ImageErrorCode

DIGITS = 6  # significant ones of a probability: labels are ranked by the smallest


@dataclass(frozen=True)
class Judged:
    """The products of an audit, and the folds that those with a usable photo are in."""

    ids: Sequence[str]  # [N]
    errors: Sequence[ImageErrorCode | None]  # [N]: why its photos cannot be used; None if one can
    learnt: NDArray[np.bool_] | None  # [N]; None where it is not known
    usable: NDArray[np.int64]  # [M]: the places, among the N, of products with a usable photo
    pictures: NDArray[np.int64]  # [M]
    folds: NDArray[np.int8]  # [M]

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """[N]: the place of each product among the M; -1 where it has no usable photo."""
        places = np.full(len(self.ids), -1)
        places[self.usable] = np.arange(len(self.usable))
        return places


@dataclass(frozen=True)
class Opinion:
    """What the heads of an attribute say of the products that they did not learn."""

    probabilities: NDArray[np.float32]  # [M]: of the product's own label; NaN where that is no class
    best: NDArray[np.int32]  # [M]: the most likely class
    best_probabilities: NDArray[np.float32]  # [M]
    temperature: float  # mean over the folds

    @classmethod
    def of(cls, heads: Sequence[Heads], inputs: NDArray[Any], judged: Judged, classes: Classes) -> Self:
        """Asks the heads of each fold for the products of it."""
        count, targets = len(judged.usable), classes.targets
        own = np.full(count, np.nan, np.float32)
        best, best_probabilities = np.zeros(count, np.int32), np.zeros(count, np.float32)
        for places, probabilities in out_of_sample(heads, inputs, judged.folds):
            best[places], best_probabilities[places] = probabilities.argmax(axis=1), probabilities.max(axis=1)
            known = targets[places] != NONE
            own[places[known]] = probabilities[known, targets[places[known]]]
        return cls(own, best, best_probabilities, float(np.mean([each.temperature for each in heads])))


@dataclass(frozen=True)
class Rows:
    """The rows of one attribute.

    Args:
        judged: the products.
        attribute: which.
        declared: [N], the label of each product; None where the catalogue says nothing.
        classes: of the M usable photos.
        opinion: what the heads say of them; None where there are fewer than two classes.
        manifest: the audit's.

    """

    judged: Judged
    attribute: str
    declared: Sequence[str | None]
    classes: Classes
    opinion: Opinion | None
    manifest: AuditManifest

    def of(self, places: range) -> Iterator[AuditedLabel]:
        """The rows of the products at these places, in order; none for a label that is not declared."""
        for number in places:
            label = self.declared[number]
            if label is not None:
                yield self._row(number, label)

    def figures(self) -> AttributeAudit:
        """What came out of the attribute."""
        unjudged = Counter(
            reason
            for number, label in enumerate(self.declared)
            if label is not None and (reason := self._unjudged(number))
        )
        undeclared = sum(1 for label in self.declared if label is None)
        targets, opinion = self.classes.targets, self.opinion
        return AttributeAudit(
            labels=len(self.classes.labels),
            judged=len(self.declared) - undeclared - unjudged.total(),
            unjudged=unjudged,
            undeclared=undeclared,
            doubted=0 if opinion is None else int(((opinion.best != targets) & (targets != NONE)).sum()),
            temperature=None if opinion is None else opinion.temperature,
        )

    def _unjudged(self, number: int) -> Unjudged | None:
        if error := self.judged.errors[number]:
            return error
        if self.opinion is None:
            return "only-one-label"
        target = self.classes.targets[self.judged.place[number]]
        return "label-too-rare" if target == NONE else None

    def _row(self, number: int, label: str) -> AuditedLabel:
        place, unjudged = self.judged.place[number], self._unjudged(number)
        opinion = self.opinion if place >= 0 else None
        target = NONE if unjudged else int(self.classes.targets[place])
        return AuditedLabel(
            audit_id=self.manifest.request.audit_id,
            product_id=self.judged.ids[number],
            head=self.attribute,
            declared=label,
            known=None if target == NONE else self.classes.labels[target],
            probability=_rounded(opinion.probabilities[place]) if opinion and target != NONE else None,
            best=self.classes.labels[opinion.best[place]] if opinion else None,
            best_probability=_rounded(opinion.best_probabilities[place]) if opinion else None,
            unjudged=unjudged,
            fold=int(self.judged.folds[place]) if place >= 0 else None,
            learnt=None if self.judged.learnt is None or place < 0 else bool(self.judged.learnt[number]),
            model_version=self.manifest.model_version,
            audited_at=self.manifest.audited_at,
        )


def _rounded(probability: float) -> float:
    return min(1.0, float(f"{probability:.{DIGITS}g}"))
