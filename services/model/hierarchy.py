"""Heads that form a tree, decoded jointly, so that answers never contradict it.

An article type has one sub category, and a sub category one master category. Three heads that answer apart
may call a photo a handbag of the sub category Shoes. Here each label of the narrowest head is a path through
the tree; a path is as likely as all its labels together (a product of experts: Hinton, Neural Computation
2002), and a label of a broader head as its paths together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.model.calibration import softmax
from services.model.combining import combine


class HierarchyError(ValueError):
    """The labels form no tree; the message names the label and its parents."""


@dataclass(frozen=True)
class Hierarchy:
    """A tree over the labels of some heads.

    Args:
        heads: the broadest first.
        labels: head -> its labels, in the order of the logits.
        parents: head, but not of the broadest -> its label -> the label of the head before.

    Raises:
        HierarchyError: a label of the narrowest head has no path to the broadest.

    """

    heads: tuple[str, ...]
    labels: Mapping[str, Sequence[str]]
    parents: Mapping[str, Mapping[str, str]]
    _paths: Mapping[str, NDArray[np.int64]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_paths", self._found_paths())

    def _found_paths(self) -> Mapping[str, NDArray[np.int64]]:
        """Head -> [paths], the index of the head's label on each path."""
        narrowest = self.heads[-1]
        path = [*self.labels[narrowest]]
        paths = {narrowest: np.arange(len(path))}
        for broader, head in reversed([*pairwise(self.heads)]):
            known = {label: index for index, label in enumerate(self.labels[broader])}
            for place, label in enumerate(path):
                parent = self.parents.get(head, {}).get(label)
                if parent not in known:
                    raise HierarchyError(
                        f"{head}: {label!r} has the {broader} {parent!r}, which is not learnt"
                        if parent
                        else f"{head}: {label!r} has no {broader}"
                    )
                path[place] = parent
            paths[broader] = np.array([known[label] for label in path])
        return paths

    def decode(
        self, logits: Mapping[str, NDArray[np.float32]], temperature: float
    ) -> dict[str, NDArray[np.float32]]:
        """Probabilities [N, labels] of each head; a parent's is the sum of its children's.

        Args:
            logits: head -> [N, labels].
            temperature: what the paths' logits are divided by.

        """
        return self._of_paths(softmax(self.path_logits(logits), temperature))

    def combine(self, probabilities: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Probabilities [1, labels] of each head for one product, of those for its photos, [photos, labels].

        The narrowest head has a label for each path; the other heads follow from it.
        """
        return self._of_paths(combine(probabilities[self.heads[-1]])[np.newaxis])

    def _of_paths(self, paths: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Probabilities [N, labels] of each head, of those of the paths, [N, paths]."""
        return self._consistent({head: paths @ self._members[head] for head in self.heads})

    def path_logits(self, logits: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Logits [N, paths] of the paths, which are in the order of the narrowest head's labels."""
        parts = [_log_softmax(logits[head])[:, self._paths[head]] for head in self.heads]
        return np.sum(parts, axis=0).astype(np.float32)

    def _consistent(self, probabilities: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """With the likeliest labels on one path.

        A broad label may be the likeliest because many of its children are a little likely, while the
        likeliest child is another's. Then its own likeliest child changes places with that one.
        """
        for broader, head in pairwise(self.heads):
            chosen = probabilities[broader].argmax(axis=1)
            prefer(
                probabilities[head],
                np.where(self._children[head][chosen], probabilities[head], -1).argmax(axis=1),
            )
        return probabilities

    @cached_property
    def _members(self) -> Mapping[str, NDArray[np.float32]]:
        """Head -> [paths, labels], 1 where a path has a label."""
        return {
            head: np.eye(len(self.labels[head]), dtype=np.float32)[paths]
            for head, paths in self._paths.items()
        }

    @cached_property
    def _children(self) -> Mapping[str, NDArray[np.bool_]]:
        """Head -> [labels of the broader head, labels], whether one is a child of the other."""
        return {
            head: (self._members[broader].T @ self._members[head]) > 0
            for broader, head in pairwise(self.heads)
        }


def prefer(probabilities: NDArray[np.float32], labels: NDArray[np.intp]) -> None:
    """Make labels the likeliest ones, in place: each changes places with the one that was.

    Args:
        probabilities: [N, labels].
        labels: [N], the label that each photo is to have.

    """
    rows, best = np.arange(len(probabilities)), probabilities.argmax(axis=1)
    probabilities[rows, best], probabilities[rows, labels] = (
        probabilities[rows, labels],
        probabilities[rows, best],
    )
    # Of equal ones the first would count as the likeliest.
    tied = rows[probabilities.argmax(axis=1) != labels]
    probabilities[tied, labels[tied]] = np.nextafter(probabilities[tied, labels[tied]], np.float32(2))


def parents_of(
    labels: Sequence[str], broader: Sequence[str], pairs: NDArray[np.int64], names: tuple[str, str]
) -> Mapping[str, str]:
    """Each label's parent: the one that most examples with the label have.

    Args:
        labels: of the narrower head.
        broader: labels of the broader head.
        pairs: [labels, broader], how many examples have both.
        names: of the narrower and of the broader head.

    Raises:
        HierarchyError: a label has no example with a parent, or no parent with more than half of them.

    """
    parents = {}
    for label, counts in zip(labels, pairs, strict=True):
        if not counts.sum():
            raise HierarchyError(f"{names[0]}: no example of {label!r} has a {names[1]}")
        first, second, *_ = [*np.argsort(-counts, kind="stable"), None]
        if counts[first] * 2 <= counts.sum():
            raise HierarchyError(
                f"{names[0]}: {label!r} has two parents: {counts[first]} examples have the {names[1]} "
                f"{broader[first]!r}, {counts[second]} have {broader[second]!r}; correct the catalogue, or "
                f"take {names[0]} out of `hierarchy`"
            )
        parents[label] = broader[first]
    return parents


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
