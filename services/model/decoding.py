"""From a network's logits to the probabilities that are served, in training's measures and in inference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from services.model.calibration import softmax
from services.model.hierarchy import Hierarchy, HierarchyError
from services.model.manifest import Manifest


@dataclass(frozen=True)
class Decoder:
    """Turns a network's logits into calibrated probabilities, of which those of a hierarchy form a tree."""

    labels: Mapping[str, Sequence[str]]  # head -> its labels, in the order of the logits
    temperatures: Mapping[str, float]
    hierarchy: Hierarchy | None

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The decoder that a manifest describes.

        Raises:
            HierarchyError: the hierarchy is no tree, or its heads have different temperatures.

        """
        tree = None
        if manifest.hierarchy:
            if unknown := [head for head in manifest.hierarchy if head not in manifest.heads]:
                raise HierarchyError(f"hierarchy: {unknown[0]} is no head")
            if len({manifest.temperatures[head] for head in manifest.hierarchy}) > 1:
                raise HierarchyError("temperatures: the heads of the hierarchy have one temperature together")
            tree = Hierarchy(manifest.hierarchy, manifest.heads, manifest.parents)
        return cls(manifest.heads, manifest.temperatures, tree)

    def __call__(self, logits: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Head -> probabilities [N, labels] of logits [N, labels]."""
        tree = self.hierarchy
        joint = tree.decode(logits, self.temperatures[tree.heads[0]]) if tree else {}
        return {
            head: joint[head] if head in joint else softmax(logits[head], self.temperatures[head])
            for head in self.labels
        }
