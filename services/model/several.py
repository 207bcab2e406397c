"""Attributes of several values: a sigmoid a label, calibrated, and what makes an answer of them.

An answer is a set of labels: those whose probability reaches their threshold. It is never empty, because no
photo was learnt as one of nothing: where no label reaches its threshold, the likeliest one is the answer, and
the model abstains.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.model.calibration import softmax
from services.shared.labels import NOT_APPLICABLE


@dataclass(frozen=True)
class Sets:
    """Of N photos, how likely each label is, and which ones are the answer."""

    probabilities: NDArray[np.float32]  # [N, labels], each between 0 and 1 by itself
    chosen: NDArray[np.bool_]  # [N, labels], at least one a photo
    sure: NDArray[np.bool_]  # [N]: whether all that are chosen reach their thresholds

    @property
    def confidence(self) -> NDArray[np.float32]:
        """[N]: the probability of the answer as a whole."""
        return probability_of(self.chosen, self.probabilities)


def probability_of(chosen: NDArray[np.bool_], probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """How likely exactly the chosen labels are, [...], were the labels independent of each other.

    Args:
        chosen: [..., labels].
        probabilities: [..., labels], each between 0 and 1 by itself.

    """
    return np.asarray(np.where(chosen, probabilities, 1 - probabilities).prod(axis=-1))


def decisions(
    logits: NDArray[np.float32], targets: NDArray[np.integer]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Each label of each photo as a decision between no and yes, where it is known.

    Args:
        logits: [N, labels].
        targets: [N, labels], 1 or 0; below 0 where it is not known.

    Returns:
        Logits [M, 2] and targets [M], of which a softmax is the sigmoid of the logits.

    """
    known = targets >= 0
    yes = logits[known]
    return np.stack([np.zeros_like(yes), yes], axis=1), targets[known].astype(np.int64)


def sigmoid(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float32]:
    """Probabilities [N, labels] of logits [N, labels]."""
    pairs = np.stack([np.zeros_like(logits), logits], axis=-1).reshape(-1, 2)
    return softmax(pairs, temperature)[:, 1].reshape(logits.shape)


def fit_label_threshold(probabilities: NDArray[np.float32], targets: NDArray[np.integer]) -> float:
    """The probability from which on to say a label, so that its F1 is highest.

    F1 weighs what is missed as much as what is said wrongly: each corrupts a set alike. How sure a whole
    answer must be to be given at all, the head's own threshold says.

    Args:
        probabilities: [N], of held-out photos.
        targets: [N], 1 or 0.

    Returns:
        The middle between the last probability that is said and the next one; 0.5 where nothing tells.

    """
    if not (targets == 1).any() or not (targets == 0).any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    sorted_, right = probabilities[order], np.cumsum(targets[order] == 1)
    f1 = 2 * right / (np.arange(1, len(order) + 1) + right[-1])
    # Photos of the same probability are said all or none.
    ends = np.flatnonzero(np.append(np.diff(sorted_) < 0, True))
    best = ends[np.argmax(f1[ends])]
    following = sorted_[best + 1] if best + 1 < len(sorted_) else 0.0
    return float((sorted_[best] + following) / 2)


def choose(
    labels: Sequence[str],
    probabilities: NDArray[np.float32],
    thresholds: Sequence[float],
    applies: NDArray[np.bool_] | None = None,
    does_not: NDArray[np.bool_] | None = None,
) -> Sets:
    """The answers: NOT_APPLICABLE stands alone.

    Args:
        labels: in the order of the probabilities.
        probabilities: [N, labels].
        thresholds: of each label.
        applies: [N], of which photos it is known that the attribute applies.
        does_not: [N], of which photos it is known that it does not.

    """
    reach = probabilities >= np.array(thresholds, np.float32)
    allowed = np.ones_like(reach)
    if NOT_APPLICABLE in labels and len(labels) > 1:
        special = labels.index(NOT_APPLICABLE)
        likeliest = probabilities.argmax(axis=1) == special
        alone = reach[:, special] & likeliest
        if applies is not None and does_not is not None:
            alone = (alone & ~applies) | does_not
        allowed[:, special] = alone
        allowed[alone] = np.arange(len(labels)) == special
    chosen = reach & allowed
    sure = chosen.any(axis=1)
    best = np.where(allowed, probabilities, -1).argmax(axis=1)
    chosen[np.arange(len(chosen)), best] |= ~sure
    return Sets(probabilities, chosen, sure)
