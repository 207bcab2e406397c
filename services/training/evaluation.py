"""What a LiteRT file is worth, on photos that no training has seen."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.model.calibration import expected_calibration_error, softmax
from services.model.manifest import Manifest, load_manifest
from services.training import fashion_mnist, litert, samples
from services.training.samples import HEADS, Samples

MODEL_FILE = "model.tflite"

DRAWINGS_SEED = 3
DRAWINGS = 2_000


@dataclass(frozen=True)
class ClassFigures:
    """How one article type fares on real photos."""

    label: str
    precision: float
    recall: float


@dataclass(frozen=True)
class Evaluation:
    """Accuracies are shares of 1, of the first answer among *all* labels of the head."""

    # On the official test split of Fashion-MNIST, real photos.
    article_type: float
    article_type_as_jpeg: float
    calibration_error_before: float
    calibration_error_after: float
    only_drawn: float
    classes: tuple[ClassFigures, ...]
    # On the same photos, mirrored, moved and coloured by the program.
    tinted_article_type: float
    tinted_base_colour: float
    # On drawings: says that drawings are told apart, and nothing about photos.
    drawn_article_type: float
    drawn_base_colour: float

    def figures(self) -> dict[str, float]:
        """Name -> value, for the manifest."""
        return {name: round(value, 4) for name, value in vars(self).items() if isinstance(value, float)}


def evaluate(directory: Path, manifest: Manifest | None = None) -> Evaluation:
    """Measure `model.tflite` on the test split, on tinted test photos and on fresh drawings."""
    manifest = manifest or load_manifest(directory)
    model = (directory / MODEL_FILE).read_bytes()
    temperature = manifest.temperatures["article_type"]

    photos, classes = fashion_mnist.load("test")
    real = samples.real_photos(photos, classes)
    logits = litert.run(model, real.pixels)["article_type"]
    answers, truth = logits.argmax(axis=1), real.targets["article_type"]

    tinted = _accuracies(model, samples.varied_photos(photos[:DRAWINGS], classes[:DRAWINGS], seed=0, tinted=1.0))
    drawn = _accuracies(model, samples.drawn_packshots(DRAWINGS, DRAWINGS_SEED))
    return Evaluation(
        article_type=float((answers == truth).mean()),
        article_type_as_jpeg=_accuracies(model, samples.delivered_photos(photos, classes))["article_type"],
        calibration_error_before=expected_calibration_error(softmax(logits), truth),
        calibration_error_after=expected_calibration_error(softmax(logits, temperature), truth),
        only_drawn=float((answers >= len(fashion_mnist.ARTICLE_TYPES)).mean()),
        classes=tuple(
            ClassFigures(
                label,
                precision=float((truth[answers == index] == index).mean()),
                recall=float((answers[truth == index] == index).mean()),
            )
            for index, label in enumerate(fashion_mnist.ARTICLE_TYPES)
        ),
        tinted_article_type=tinted["article_type"],
        tinted_base_colour=tinted["base_colour"],
        drawn_article_type=drawn["article_type"],
        drawn_base_colour=drawn["base_colour"],
    )


def _accuracies(model: bytes, photos: Samples) -> dict[str, float]:
    answers = litert.run(model, photos.pixels)
    return {head: float(np.mean(answers[head].argmax(axis=1) == photos.targets[head])) for head in HEADS}
