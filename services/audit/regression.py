"""Heads of an audit: softmax regression on embeddings, once for each fold, on all the other folds.

Embeddings are half whitened before: directions in which they vary little count more than they did, but those
in which they hardly vary, which are noise, do not count as much as the others. L-BFGS then needs some dozens
of steps. Products go through in blocks, so that beside the embeddings memory does not grow with their number.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from services.audit.labels import NONE
from services.model.calibration import softmax

# Found on a public catalogue with planted errors: `python -m tests.bench.planted`.
SHRINKAGE = 0.1  # of the mean variance, that is added to the variance of each direction
PENALTY = 10.0  # of the weights' squares, halved, beside the sum of the products' losses
STEPS = 40

_BLOCK = 4096  # products that are worked on at once
_CALIBRATED = 20_000  # products that a temperature is fitted to
_TINY = 1e-30


@dataclass(frozen=True)
class Heads:
    """The heads of all labels of an attribute.

    Args:
        weights: [D, labels].
        bias: [labels].
        temperature: what logits are divided by.

    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float = 1.0

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Logits [N, labels] of inputs [N, D], before the temperature."""
        logits = inputs.astype(np.float32) @ self.weights
        logits += self.bias
        return logits

    def probabilities(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Probabilities [N, labels] of inputs [N, D]."""
        return softmax(self.logits(inputs), self.temperature)


def whitened(embeddings: NDArray[np.float16]) -> NDArray[np.float16]:
    """Embeddings [N, E] as [N, E] uncorrelated values of mean 0 and of variances below 1.

    No label takes part, so that the embeddings of products that are to be judged may.
    """
    count, width = embeddings.shape
    if not count:
        return embeddings
    mean = (
        sum(_directions(embeddings[block]).sum(axis=0, dtype=np.float64) for block in _blocks(count)) / count
    )
    covariance = np.zeros((width, width))
    for block in _blocks(count):
        centred = _directions(embeddings[block]) - mean.astype(np.float32)
        covariance += centred.T @ centred
    variances, axes = np.linalg.eigh(covariance / count)
    # Rounding may leave a variance of nothing below 0.
    spread = np.maximum(variances, 0) + SHRINKAGE * max(float(variances.mean()), _TINY)
    transform = (axes / np.sqrt(spread)).astype(np.float32)
    values = np.empty((count, width), np.float16)
    for block in _blocks(count):
        values[block] = (_directions(embeddings[block]) - mean.astype(np.float32)) @ transform
    return values


def fit(inputs: NDArray[Any], targets: NDArray[np.int32], labels: int) -> Heads:
    """Fits the heads of all labels to products.

    Args:
        inputs: [N, D], whitened.
        targets: [N], the label of each product; there is at least one of each label.
        labels: how many there are.

    """
    count, width = inputs.shape
    shape = (width, labels)
    strength = PENALTY / count

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = values[:-labels].reshape(shape).astype(np.float32)
        heads = Heads(weights, values[-labels:].astype(np.float32))
        total = 0.0
        slope, slope_of_bias = np.zeros(shape, np.float32), np.zeros(labels)
        for block in _blocks(count):
            x, own = inputs[block].astype(np.float32), targets[block]
            # In place: for many labels this is the largest array by far.
            p = heads.logits(x)
            p -= p.max(axis=1, keepdims=True)
            np.exp(p, out=p)
            p /= p.sum(axis=1, keepdims=True)
            rows = np.arange(len(own))
            total -= float(np.log(np.maximum(p[rows, own], _TINY)).sum(dtype=np.float64))
            p[rows, own] -= 1
            slope += x.T @ p
            slope_of_bias += p.sum(axis=0, dtype=np.float64)
        penalty = strength / 2 * float(np.square(weights, dtype=np.float64).sum())
        slope = slope / np.float32(count) + np.float32(strength) * weights
        return total / count + penalty, np.concatenate([slope.ravel(), slope_of_bias / count])

    frequencies = np.bincount(targets, minlength=labels) / count
    start = np.concatenate([np.zeros(width * labels), np.log(frequencies)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x
    return Heads(found[:-labels].reshape(shape).astype(np.float32), found[-labels:].astype(np.float32))


def cross_fit(
    inputs: NDArray[Any],
    targets: NDArray[np.int32],
    folds: NDArray[np.int8],
    labels: int,
    done: Callable[[], object] = lambda: None,
) -> Sequence[Heads]:
    """The heads of each fold: fitted to, and calibrated with, products of the other folds alone.

    Args:
        inputs: [N, D], whitened.
        targets: [N], the label of each product, or NONE; each label is in at least two folds.
        folds: [N], from 0 on.
        labels: how many there are.
        done: is called when the heads of a fold are fitted.

    """
    heads = []
    for fold in range(int(folds.max(initial=-1)) + 1):
        others = np.flatnonzero((folds != fold) & (targets != NONE))
        heads.append(fit(inputs[others], targets[others], labels))
        done()
    # A temperature needs logits of products that heads were not fitted to: those of the other folds, by the
    # heads of these folds.
    sampled = _sample(np.flatnonzero(targets != NONE))
    logits = np.empty((len(sampled), labels), np.float32)
    for fold, each in enumerate(heads):
        own = folds[sampled] == fold
        logits[own] = each.logits(inputs[sampled[own]])
    elsewhere = [folds[sampled] != fold for fold in range(len(heads))]
    return [
        replace(each, temperature=_temperature(logits[of], targets[sampled[of]]))
        for each, of in zip(heads, elsewhere, strict=True)
    ]


def out_of_sample(
    heads: Sequence[Heads], inputs: NDArray[Any], folds: NDArray[np.int8]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Places of products and their probabilities [n, labels], each by its own fold's heads; in blocks."""
    for fold, each in enumerate(heads):
        places = np.flatnonzero(folds == fold)
        for block in _blocks(len(places)):
            yield places[block], each.probabilities(inputs[places[block]])


def _directions(embeddings: NDArray[np.float16]) -> NDArray[np.float32]:
    """Unit vectors: how long an embedding is says more of the photo's contrast than of the product."""
    values = embeddings.astype(np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True).astype(np.float32)
    return np.asarray(values / np.maximum(lengths, _TINY), np.float32)


def _temperature(logits: NDArray[np.float32], targets: NDArray[np.int32]) -> float:
    """The temperature, from 0.2 to 5, at which the labels are likeliest (Guo et al., ICML 2017)."""
    rows = np.arange(len(targets))

    def loss(exponent: float) -> float:
        likelihoods = softmax(logits, float(np.exp(exponent)))[rows, targets]
        return float(-np.log(np.maximum(likelihoods, _TINY)).mean())

    if not len(targets):
        return 1.0
    found = minimize_scalar(loss, bounds=(np.log(0.2), np.log(5)), method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x))


def _sample(places: NDArray[np.intp]) -> NDArray[np.intp]:
    return places[:: -(-len(places) // _CALIBRATED) or 1]


def _blocks(count: int) -> Iterator[slice]:
    return (slice(first, min(count, first + _BLOCK)) for first in range(0, count, _BLOCK))
