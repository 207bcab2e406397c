"""Fits, exports and evaluates the model.

    python -m services.training fit                        writes services/model/default
    python -m services.training export --savedmodel DIR    writes its TensorFlow SavedModel, for the GPU
    python -m services.training evaluate                   measures its LiteRT file on held-out photos

`fit` as above takes about 20 minutes on two cores and ends at 93.2 % on the test split of
Fashion-MNIST. It reads from top to bottom: input, model, update, quantise, export, evaluate.
"""

import argparse
import math
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

from services.model import network
from services.model.calibration import fit_temperature
from services.model.manifest import DEFAULT_DIRECTORY, Manifest, digest, digests, load_manifest, save_manifest
from services.model.weights import Weights, pretrained_checkpoint, quantize
from services.training import fashion_mnist, litert, samples
from services.training.card import card
from services.training.evaluation import evaluate
from services.training.packshots import Seed
from services.training.samples import HEADS, IMAGE_SIZE, UNKNOWN, Samples

MODEL_NAME = "fashion-lite0"
MODEL_FILE = "model.tflite"
WEIGHTS_FILE = "weights.npz"
CARD_FILE = "CARD.md"
SAVED_MODEL = "saved_model"

VALIDATION_PHOTOS = 5_000
DRAWINGS = 6_000
TINTED = 0.4
BATCH = 64
PEAK_LEARNING_RATE = 5e-4
ROUNDED_LEARNING_RATE = 5e-5
WARM_UP_STEPS = 200
DROPOUT = 0.4
# Of ten photos each, on which the ranges of activations are observed.
RANGE_BATCHES = 40

# The blocks before keep their ImageNet weights: edges and colours are the same in every photo, and more than
# half of a step's time would go into them.
FIRST_TUNED_LAYER = "block5_expand"


def main() -> None:
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m services.training", description="The model's training job."
    )
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="the model's directory")
    commands = parser.add_subparsers(dest="command", required=True)

    fitting = commands.add_parser("fit", help="train, quantise, evaluate; write the model and its card")
    fitting.add_argument("--seed", type=int, default=0)
    fitting.add_argument("--epochs", type=int, default=2, help="before the one in 8 bits")

    exporting = commands.add_parser("export", help="write the SavedModel of the model's weights")
    exporting.add_argument("--savedmodel", type=Path, required=True, metavar="DIR")

    commands.add_parser("evaluate", help="measure the LiteRT file on held-out photos")

    arguments = parser.parse_args()
    match arguments.command:
        case "fit":
            fit(arguments.directory, arguments.seed, arguments.epochs)
        case "export":
            export_saved_model(arguments.directory, arguments.savedmodel)
        case "evaluate":
            manifest = load_manifest(arguments.directory)
            model = (arguments.directory / MODEL_FILE).read_bytes()
            for name, value in evaluate(model, manifest.temperatures).figures().items():
                print(f"{name:32} {value:.4f}")


def fit(directory: Path, seed: int, epochs: int) -> None:
    """Train on Fashion-MNIST's training split and on drawings; write the model and its card."""
    tf_keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()

    # ---- input -------------------------------------------------------------------------------------------
    # The test split is not looked at before the model is finished: what is chosen, is chosen on held photos.
    photos, classes = fashion_mnist.load("train")
    order = np.random.default_rng(seed).permutation(len(photos))
    held, used = order[:VALIDATION_PHOTOS], order[VALIDATION_PHOTOS:]
    _say(f"{len(used)} photos to train on, {len(held)} to choose by, {DRAWINGS} drawings")
    drawn = samples.drawn_packshots(DRAWINGS, Seed.TRAINING)
    real = samples.delivered_photos(photos[held], classes[held])
    epoch_steps = math.ceil((len(used) + len(drawn)) / BATCH)

    def sample(epoch: int) -> Samples:
        varied = samples.varied_photos(photos[used], classes[used], 100 * seed + epoch, tinted=TINTED)
        return samples.concatenate([varied, drawn])

    # ---- model -------------------------------------------------------------------------------------------
    model = network.build(HEADS, IMAGE_SIZE, dropout=DROPOUT)
    network.load_pretrained(model, pretrained_checkpoint())

    # ---- update ------------------------------------------------------------------------------------------
    _tune(model, (sample(epoch) for epoch in range(epochs)), epochs * epoch_steps, PEAK_LEARNING_RATE, real)

    # ---- quantise ----------------------------------------------------------------------------------------
    # Rounding to 8 bits moves the features. A last epoch with the rounding in place moves them back.
    last = sample(epochs)
    typical = np.random.default_rng(seed).choice(last.pixels, 10 * RANGE_BATCHES, replace=False)
    ranges = network.observed_ranges(model, np.split(typical.astype(np.float32), RANGE_BATCHES))
    rounded = network.build_served(HEADS, IMAGE_SIZE, Weights(quantize(network.layers_of(model)), ranges))
    _tune(rounded, [last], epoch_steps, ROUNDED_LEARNING_RATE, real)
    weights = Weights(quantize(network.layers_of(rounded)), ranges)

    # ---- export ------------------------------------------------------------------------------------------
    directory.mkdir(parents=True, exist_ok=True)
    weights.save(directory / WEIGHTS_FILE)
    served = litert.convert(network.build_served(HEADS, IMAGE_SIZE, weights))
    (directory / MODEL_FILE).write_bytes(served)
    temperatures = {
        "article_type": fit_temperature(
            litert.run(served, real.pixels)["article_type"], real.targets["article_type"]
        ),
        # That tinted and drawn colours are hardly ever mistaken does not say how sure to be of photos.
        "base_colour": 1.0,
    }

    # ---- evaluate ----------------------------------------------------------------------------------------
    evaluation = evaluate(served, temperatures)
    manifest = Manifest(
        name=MODEL_NAME,
        version=digest(directory / WEIGHTS_FILE)[:12],
        created=datetime.now(UTC).date(),
        image_size=IMAGE_SIZE,
        heads={head: tuple(labels) for head, labels in HEADS.items()},
        temperatures=temperatures,
        figures=evaluation.figures(),
        files=digests(directory, [MODEL_FILE, WEIGHTS_FILE]),
    )
    save_manifest(directory, manifest)
    command = f"python -m services.training fit --seed {seed} --epochs {epochs}"
    (directory / CARD_FILE).write_text(card(manifest, evaluation, command), encoding="utf-8")
    _say(f"test split: {evaluation.real:.4f}; written to {directory}")


def _tune(
    model: tf_keras.Model, epochs: Iterable[Samples], steps: int, peak_learning_rate: float, held: Samples
) -> None:
    """Train for epochs of `steps` in all; the learning rate rises for a while, then falls to nothing."""
    for layer in model.layers[: model.layers.index(model.get_layer(FIRST_TUNED_LAYER))]:
        layer.trainable = False
    learning_rate = tf_keras.optimizers.schedules.CosineDecay(
        0.0, steps - WARM_UP_STEPS, warmup_target=peak_learning_rate, warmup_steps=WARM_UP_STEPS
    )
    unknown_is_free = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=UNKNOWN)
    model.compile(tf_keras.optimizers.Adam(learning_rate), dict.fromkeys(HEADS, unknown_is_free))
    for number, epoch in enumerate(epochs, start=1):
        losses = model.fit(epoch.pixels, dict(epoch.targets), BATCH, verbose=0).history["loss"]
        answers = model.predict(held.pixels, BATCH, verbose=0)["article_type"].argmax(axis=1)
        accuracy = np.mean(answers == held.targets["article_type"])
        _say(f"epoch {number}: loss {losses[0]:.4f}, accuracy on held photos {accuracy:.4f}")


def export_saved_model(directory: Path, target: Path) -> None:
    """Write `saved_model/` and `model.json` to `target`: the same weights and ranges, for TensorFlow."""
    manifest = load_manifest(directory)
    size = manifest.image_size
    model = network.build_served(manifest.heads, size, Weights.load(directory / WEIGHTS_FILE))

    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        logits: dict[str, tf.Tensor] = model(tf.cast(pixels, tf.float32), training=False)
        return logits

    signature = [tf.TensorSpec((None, size, size, 3), tf.uint8, "pixels")]
    tf.saved_model.save(model, str(target / SAVED_MODEL), tf.function(serve, input_signature=signature))
    files = [str(path.relative_to(target)) for path in (target / SAVED_MODEL).rglob("*") if path.is_file()]
    save_manifest(target, manifest.model_copy(update={"files": digests(target, sorted(files))}))


def _say(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", flush=True)


if __name__ == "__main__":
    main()
