"""Whether a probability means what it says: temperature scaling (Guo et al., ICML 2017) and its measure."""

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float32]:
    """Probabilities [N, labels] of logits [N, labels]."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


def fit_temperature(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """The temperature, to 1 %, at which the true labels of a held-out set are likeliest."""
    candidates = np.geomspace(0.2, 5.0, 324)
    rows = np.arange(len(targets))
    losses = [-np.log(softmax(logits, t)[rows, targets] + 1e-12).mean() for t in candidates]
    return round(float(candidates[np.argmin(losses)]), 3)


def fit_threshold(probabilities: NDArray[np.float32], targets: NDArray[np.int64], accuracy: float) -> float:
    """The confidence from which on answers are as accurate as asked for; as many as can be are answered.

    Args:
        probabilities: [N, labels].
        targets: [N].
        accuracy: the share of the answers that is to be right.

    Returns:
        A probability; above 1, so that every answer abstains, where no confidence reaches the accuracy.

    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = (probabilities.argmax(axis=1) == targets)[order]
    reached = np.cumsum(right) / np.arange(1, len(right) + 1) >= accuracy
    # Of photos with the same confidence all answer or none.
    last_of_its_confidence = np.append(np.diff(confidence[order]) < 0, True)
    ends = np.flatnonzero(reached & last_of_its_confidence)
    return float(confidence[order][ends[-1]]) if ends.size else 1.1


def expected_calibration_error(
    probabilities: NDArray[np.float32], targets: NDArray[np.int64], bins: int = 15
) -> float:
    """Mean distance between confidence and accuracy over bins of confidence, weighted by their photos."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == targets
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(
        sum(
            abs(confidence[bin_of == b].mean() - correct[bin_of == b].mean()) * (bin_of == b).mean()
            for b in np.unique(bin_of)
        )
    )
