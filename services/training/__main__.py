"""Fits, exports and evaluates the model: `python -m services.training fit` made what stands in services/model/default.

    fit                          writes model.tflite, weights.npz, model.json and CARD.md
    export --savedmodel DIR      writes the TensorFlow SavedModel of the shipped weights, for the GPU
    evaluate                     measures the shipped file on the official test split

`fit` with its defaults takes about MINUTES minutes on two cores and ends with ACCURACY % on the test split of
Fashion-MNIST. It reads from top to bottom: input, model, update, export, evaluate.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from services.model import calibration, network, weights
from services.model.manifest import DEFAULT_MODEL, Manifest, digest, digests, load_manifest, save_manifest
from services.training import fashion_mnist, litert, samples
from services.training.evaluation import MODEL_FILE, evaluate
from services.training.samples import HEADS, IMAGE_SIZE, UNKNOWN, Samples

MODEL_NAME = "fashion-lite0"
VALIDATION_PHOTOS = 5_000
DRAWINGS = 12_000

# Blocks before this one keep their ImageNet weights: edges and colours are the same in every photo, and most of
# a step's time would go into them.
FIRST_TUNED_BLOCK = 5
BATCH=256
HEAD_EPOCHS=20
WEIGHTS_FILE="weights.npz"
SAVED_MODEL="saved_model"

# Seeds of drawings: no drawing of one purpose is drawn for another.
TRAINING_DRAWINGS, VALIDATION_DRAWINGS = 1, 2


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.training", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("fit", help="train, quantise, evaluate and write the artifact")
    command.add_argument("--directory", type=Path, default=DEFAULT_MODEL)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--epochs", type=int, default=4, help="of tuning the trunk; 0 leaves it as pretrained")
    command.set_defaults(run=lambda given: fit(given.directory, given.seed, given.epochs))

    command = commands.add_parser("export", help="write the SavedModel of a model's weights")
    command.add_argument("--directory", type=Path, default=DEFAULT_MODEL)
    command.add_argument("--savedmodel", type=Path, required=True, metavar="DIR")
    command.set_defaults(run=lambda given: export_saved_model(given.directory, given.savedmodel))

    command = commands.add_parser("evaluate", help="measure the LiteRT file on held-out photos")
    command.add_argument("--directory", type=Path, default=DEFAULT_MODEL)
    command.set_defaults(run=lambda given: print(evaluate(given.directory).report()))

    given = parser.parse_args()
    given.run(given)


def fit(directory: Path, seed: int, epochs: int) -> None:
    """Train on Fashion-MNIST's training split and on drawings; write the artifact and its card to `directory`."""
    tf_keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()

    # ---- input -----------------------------------------------------------------------------------------------
    # The test split is not touched before the evaluation; every choice is made on a part of the training split.
    photos, classes = fashion_mnist.load("train")
    order = np.random.default_rng(seed).permutation(len(photos))
    held, used = order[:VALIDATION_PHOTOS], order[VALIDATION_PHOTOS:]
    _say(f"{len(used)} photos to train on, {len(held)} to choose by; drawing {DRAWINGS} packshots")
    real = samples.real_photos(photos[used], classes[used])
    drawn = samples.drawn_packshots(DRAWINGS, TRAINING_DRAWINGS)
    validation = samples.real_photos(photos[held], classes[held])
    coloured = samples.concatenate(
        [
            samples.varied_photos(photos[held], classes[held], seed, tinted=1.0),
            samples.drawn_packshots(1_000, VALIDATION_DRAWINGS),
        ]
    )

    # ---- model -----------------------------------------------------------------------------------------------
    trunk = network.build_trunk(IMAGE_SIZE, folded=False)
    network.load_pretrained(trunk, weights.pretrained_checkpoint())

    # ---- update: the trunk -----------------------------------------------------------------------------------
    def varied(epoch: int) -> Samples:
        return samples.varied_photos(photos[used], classes[used], seed + epoch, tinted=0.5)

    # ---- update: the heads, on what the trunk says in 8 bits -------------------------------------------------
    # Rounding the trunk moves its features; heads that are fitted on the moved features do not mind.
    layers = weights.quantize(network.folded_weights(trunk))
    folded = network.build_trunk(IMAGE_SIZE, folded=True)
    network.set_folded_weights(folded, _dequantized(layers))
    training = samples.concatenate([real, varied(0), drawn])
    calibration_photos = training.pixels[np.random.default_rng(seed).permutation(len(training))[:400]]
    quantized_trunk = litert.convert(folded, calibration_photos)
    _say(f"features of {len(training)} photos")
    head = network.build_head(HEADS, trunk.output_shape[1], dropout=0.4)
    _fit_head(head, _features(quantized_trunk, training), training, _features(quantized_trunk, validation), validation)
    layers |= weights.quantize(network.folded_weights(head))

    # ---- export ----------------------------------------------------------------------------------------------
    directory.mkdir(parents=True, exist_ok=True)
    weights.save(directory / WEIGHTS_FILE, layers)
    classifier = network.build_classifier(HEADS, _dequantized(layers), IMAGE_SIZE)
    model = litert.convert(classifier, calibration_photos)
    (directory / MODEL_FILE).write_bytes(model)
    manifest = Manifest(
        name=MODEL_NAME,
        version=digest(directory / WEIGHTS_FILE)[:12],
        created=datetime.now(UTC).date(),
        image_size=IMAGE_SIZE,
        heads={head: tuple(labels) for head, labels in HEADS.items()},
        temperatures={
            "article_type": calibration.fit_temperature(
                litert.run(model, validation.pixels)["article_type"], validation.targets["article_type"]
            ),
            "base_colour": calibration.fit_temperature(
                litert.run(model, coloured.pixels)["base_colour"], coloured.targets["base_colour"]
            ),
        },
        figures={},
        files=digests(directory, (MODEL_FILE, WEIGHTS_FILE)),
    )

    # ---- evaluate --------------------------------------------------------------------------------------------
    evaluation = evaluate(directory, manifest)
    manifest = manifest.model_copy(update={"figures": evaluation.figures()})
    save_manifest(directory, manifest)
    _say(str(evaluation))


def export_saved_model(directory: Path, target: Path) -> None:
    """Write `saved_model/` and `model.json` to `target`: the same weights as the LiteRT file's, for TensorFlow."""
    manifest = load_manifest(directory)
    layers = weights.load(directory / WEIGHTS_FILE)
    classifier = network.build_classifier(manifest.heads, _dequantized(layers), manifest.image_size)

    @tf.function(input_signature=[tf.TensorSpec((None, manifest.image_size, manifest.image_size, 3), tf.uint8, "pixels")])
    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        logits: dict[str, tf.Tensor] = classifier(tf.cast(pixels, tf.float32), training=False)
        return logits

    tf.saved_model.save(classifier, str(target / SAVED_MODEL), signatures=serve)
    files = [str(path.relative_to(target)) for path in sorted((target / SAVED_MODEL).rglob("*")) if path.is_file()]
    save_manifest(target, manifest.model_copy(update={"files": digests(target, files)}))


def _fit_head(head, features, training, validation_features, validation):
    head.compile(
        tf_keras.optimizers.Adam(tf_keras.optimizers.schedules.CosineDecay(1e-3, HEAD_EPOCHS * len(training) // BATCH)),
        {name: _loss() for name in HEADS}, metrics={"article_type":["accuracy"]}
    )
    h=head.fit(features, dict(training.targets), BATCH, HEAD_EPOCHS, validation_data=(validation_features, dict(validation.targets)), verbose=2)


def _loss() -> tf_keras.losses.Loss:
    return tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=UNKNOWN)


def _features(trunk: bytes, photos: Samples) -> NDArray[np.float32]:
    return litert.run(trunk, photos.pixels)["features"]


def _dequantized(layers: Mapping[str, weights.QuantizedLayer]) -> dict[str, weights.Layer]:
    return {name: layer.dequantized() for name, layer in layers.items()}


def _say(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", flush=True)


if __name__ == "__main__":
    main()
