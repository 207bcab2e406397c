"""What a LiteRT file is worth on photos that no training and no choice has seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.model.calibration import expected_calibration_error, softmax
from services.training import fashion_mnist, litert, samples
from services.training.packshots import Seed
from services.training.samples import Samples

TINTED = 2_000
DRAWINGS = 2_000


@dataclass(frozen=True)
class TypeFigures:
    """How one article type fares on real photos: shares of its answers and of its photos that are right."""

    article_type: str
    precision: float
    recall: float


@dataclass(frozen=True)
class Evaluation:
    """Accuracies are shares of 1; right is only the first answer among *all* labels of a head."""

    # Article type on the 10,000 photos of Fashion-MNIST's official test split, as published.
    real: float
    types: tuple[TypeFigures, ...]
    # Share of them that is answered with a type of which there were only drawings.
    real_as_only_drawn: float
    # The same photos by the way that a catalogue's photos take: saved as JPEG, read by the pipeline's
    # decoder.
    real_as_jpeg: float
    # Of these: expected calibration error of the probabilities, as the network gives them and as served.
    calibration_error_raw: float
    calibration_error: float
    # Test photos, mirrored, moved and coloured by the program.
    tinted_article_type: float
    tinted_base_colour: float
    # Drawings: says that drawings are told apart, and nothing about photos.
    drawn_article_type: float
    drawn_base_colour: float

    def figures(self) -> dict[str, float]:
        """Name -> value."""
        return {name: round(value, 4) for name, value in vars(self).items() if isinstance(value, float)}


def evaluate(model: bytes, temperatures: Mapping[str, float]) -> Evaluation:
    """Measure a LiteRT file on the test split, on tinted test photos, and on drawings of their own seed."""
    photos, classes = fashion_mnist.load("test")
    real = samples.real_photos(photos, classes)
    answers = litert.run(model, real.pixels)["article_type"].argmax(axis=1)
    truth = real.targets["article_type"]

    delivered = litert.run(model, samples.delivered_photos(photos, classes).pixels)["article_type"]
    raw, served = softmax(delivered), softmax(delivered, temperatures["article_type"])

    tinted = _accuracies(model, samples.varied_photos(photos[:TINTED], classes[:TINTED], seed=0, tinted=1.0))
    drawn = _accuracies(model, samples.drawn_packshots(DRAWINGS, Seed.TEST))
    return Evaluation(
        real=_share(answers == truth),
        types=tuple(
            TypeFigures(
                article_type,
                precision=_share(truth[answers == index] == index),
                recall=_share(answers[truth == index] == index),
            )
            for index, article_type in enumerate(fashion_mnist.ARTICLE_TYPES)
        ),
        real_as_only_drawn=_share(answers >= len(fashion_mnist.ARTICLE_TYPES)),
        real_as_jpeg=_share(delivered.argmax(axis=1) == truth),
        calibration_error_raw=expected_calibration_error(raw, truth),
        calibration_error=expected_calibration_error(served, truth),
        tinted_article_type=tinted["article_type"],
        tinted_base_colour=tinted["base_colour"],
        drawn_article_type=drawn["article_type"],
        drawn_base_colour=drawn["base_colour"],
    )


def _accuracies(model: bytes, photos: Samples) -> dict[str, float]:
    logits = litert.run(model, photos.pixels)
    return {head: _share(logits[head].argmax(axis=1) == target) for head, target in photos.targets.items()}


def _share(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if right.size else 0.0
