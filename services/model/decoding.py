"""From a network's logits to the probabilities that are served, in training's measures and in inference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from services.model.calibration import softmax
from services.model.combining import combine
from services.model.hierarchy import Hierarchy, HierarchyError, prefer
from services.model.manifest import Manifest, SeveralValues
from services.model.several import Sets, choose, sigmoid
from services.shared.labels import NOT_APPLICABLE


@dataclass(frozen=True)
class Decoder:
    """Turns a network's logits into calibrated probabilities.

    Those of a hierarchy form a tree. A head that depends on others says NOT_APPLICABLE if and only if they
    say so, where these are sure enough to answer.
    """

    labels: Mapping[str, Sequence[str]]  # head -> its labels, in the order of the logits
    temperatures: Mapping[str, float]
    hierarchy: Hierarchy | None
    # Head -> other head -> the labels of that one with which it applies.
    applies_to: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    # Head -> the probability under which it abstains.
    thresholds: Mapping[str, float] = field(default_factory=dict)
    several: Mapping[str, SeveralValues] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The decoder that a manifest describes.

        Raises:
            HierarchyError: the hierarchy is no tree, its heads have different temperatures, or there is no
                head of a name.

        """
        tree = None
        deciding = [other for rules in manifest.applies_to.values() for other in rules]
        if strange := [head for head in (*manifest.applies_to, *deciding) if head not in manifest.labels]:
            raise HierarchyError(f"applies_to: {strange[0]} is no head")
        if manifest.hierarchy:
            if unknown := [head for head in manifest.hierarchy if head not in manifest.heads]:
                raise HierarchyError(f"hierarchy: {unknown[0]} is no head")
            if len({manifest.temperatures[head] for head in manifest.hierarchy}) > 1:
                raise HierarchyError("temperatures: the heads of the hierarchy have one temperature together")
            tree = Hierarchy(manifest.hierarchy, manifest.heads, manifest.parents)
        if strange := [head for head in deciding if head in manifest.several]:
            raise HierarchyError(f"applies_to: {strange[0]} has several values, and cannot decide")
        return cls(
            manifest.heads,
            manifest.temperatures,
            tree,
            manifest.applies_to,
            manifest.thresholds,
            manifest.several,
        )

    def __call__(self, logits: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Head -> probabilities [N, labels] of logits [N, labels]."""
        tree = self.hierarchy
        joint = tree.decode(logits, self.temperatures[tree.heads[0]]) if tree else {}
        probabilities = {
            head: joint[head] if head in joint else softmax(logits[head], self.temperatures[head])
            for head in self.labels
        }
        self._decide_all(probabilities)
        return probabilities

    def sets(
        self, logits: Mapping[str, NDArray[np.float32]], answers: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, Sets]:
        """Head of several labels -> its answers.

        Args:
            logits: head -> [N, labels].
            answers: what this decoder says of the other heads.

        """
        probabilities = {head: sigmoid(logits[head], each.temperature) for head, each in self.several.items()}
        return self._choose(probabilities, answers)

    def combine(
        self,
        answers: Mapping[str, NDArray[np.float32]],
        values: Mapping[str, NDArray[np.float32]] = MappingProxyType({}),
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, Sets]]:
        """The answer for one product, of those for its photos: it contradicts itself as little as they do.

        Args:
            answers: head of one label -> [photos, labels], as this decoder gives them.
            values: head of several labels -> [photos, labels], each label by itself.

        Returns:
            Head of one label -> probabilities [1, labels]; head of several -> its answer, N = 1.

        """
        tree = self.hierarchy
        joint = tree.combine(answers) if tree else {}
        probabilities = {
            head: joint[head] if head in joint else combine(answers[head])[np.newaxis] for head in self.labels
        }
        self._decide_all(probabilities)
        each_label = {head: combine(np.stack([1 - yes, yes], axis=-1)) for head, yes in values.items()}
        return probabilities, self._choose(
            {head: pairs[np.newaxis, :, 1] for head, pairs in each_label.items()}, probabilities
        )

    def _choose(
        self, probabilities: Mapping[str, NDArray[np.float32]], answers: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, Sets]:
        found = {}
        for head, each in self.several.items():
            known = self.applicability(head, answers) if head in self.applies_to else ()
            found[head] = choose(each.labels, probabilities[head], each.thresholds, *known)
        return found

    def _decide_all(self, probabilities: Mapping[str, NDArray[np.float32]]) -> None:
        for head in self.applies_to.keys() & self.labels.keys():
            self._decide(head, probabilities)

    def _decide(self, head: str, probabilities: Mapping[str, NDArray[np.float32]]) -> None:
        """Make NOT_APPLICABLE the likeliest label of a head, or another one, as the others have it."""
        if NOT_APPLICABLE not in self.labels[head]:
            return
        applies, does_not = self.applicability(head, probabilities)
        own, special = probabilities[head], self.labels[head].index(NOT_APPLICABLE)
        best, others = own.argmax(axis=1), own.copy()
        others[:, special] = -1
        wanted = np.where(does_not, special, best)
        prefer(own, np.where(applies & (best == special), others.argmax(axis=1), wanted))

    def applicability(
        self, head: str, probabilities: Mapping[str, NDArray[np.float32]]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """[N]: of which photos the other heads say that a head applies; and of which that it does not."""
        applies: list[NDArray[np.bool_]] = []
        does_not: list[NDArray[np.bool_]] = []
        for other, labels in self.applies_to[head].items():
            fits = np.array([label in labels for label in self.labels[other]])
            answered = probabilities[other].max(axis=1) >= self.thresholds.get(other, 0.0)
            says = fits[probabilities[other].argmax(axis=1)]
            applies.append(answered & says)
            does_not.append(answered & ~says)
        return np.all(applies, axis=0), np.any(does_not, axis=0)
