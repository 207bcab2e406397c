"""What a fitted network is served as: LiteRT files and a SavedModel, each held against the network itself."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from tensorflow.types.experimental import ConcreteFunction

from services.model.familiarity import FAMILIARITY_FILE
from services.model.learnt import LEARNT_FILE
from services.model.manifest import MODEL_FILE, SAVED_MODEL, digests, load_manifest, save_manifest
from services.model.network import build_served
from services.model.weights import Weights

type Pixels = NDArray[np.uint8]
type Logits = dict[str, NDArray[np.float32]]
type Run = Callable[[Pixels], Logits]

FLOAT16_FILE = "model_float16.tflite"
EXPORTS = (MODEL_FILE, FLOAT16_FILE, SAVED_MODEL)
WEIGHTS_FILE = "weights.npz"
# What goes with each form of a model.
BESIDE = (FAMILIARITY_FILE, LEARNT_FILE)

AT_ONCE = 256


class ExportError(RuntimeError):
    """An export answers otherwise than the network that it was made of."""


def integers(network: tf_keras.Model) -> bytes:
    """The LiteRT file, in 8-bit integers, of a network of `services.model.network.build_served`.

    No photos are needed to calibrate it: the network says itself what the 8 bits of each activation mean.
    Takes uint8 and returns float32.
    """
    converter = _converter(network)
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.float32
    model: bytes = converter.convert()
    return model


def halves(network: tf_keras.Model) -> bytes:
    """The LiteRT file of a trainable network, with weights in 16-bit floats; takes and returns float32."""
    converter = _converter(network)
    converter.target_spec.supported_types = [tf.float16]
    model: bytes = converter.convert()
    return model


def save(network: tf_keras.Model, folder: Path) -> None:
    """The SavedModel of a served network: uint8 pixels [N, size, size, 3] -> its outputs."""
    serve, variables = _serving(network, tf.uint8)
    tf.saved_model.save(variables, str(folder), serve)


def _converter(network: tf_keras.Model) -> tf.lite.TFLiteConverter:
    serve, variables = _serving(network, tf.float32)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve], variables)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter


def _serving(network: tf_keras.Model, kind: tf.DType) -> tuple[ConcreteFunction, tf.Module]:
    """A network as one function, of pixels of this kind, and what holds its variables.

    Saved as a Keras model, each of its hundreds of layers would be traced by itself, several times over. That
    takes longer than all else of an export, and nobody who loads the file needs the layers.
    """

    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs: dict[str, tf.Tensor] = network(tf.cast(pixels, tf.float32), training=False)
        return outputs

    signature = [tf.TensorSpec(network.input_shape, kind, "pixels")]
    variables = tf.Module()
    variables.all = network.weights
    return tf.function(serve, input_signature=signature).get_concrete_function(), variables


def export_saved_model(directory: Path, target: Path) -> None:
    """Write `saved_model/` and `model.json` to `target`, of a version's weights and ranges.

    Raises:
        ModelError: `directory` does not hold the model that its manifest describes.

    """
    manifest = load_manifest(directory)
    weights = Weights.load(directory / WEIGHTS_FILE)
    served = build_served(manifest.labels, manifest.image_size, weights, small_photos=manifest.small_photos)
    save(served, target / SAVED_MODEL)
    kept = [name for name in BESIDE if name in manifest.files]
    for name in kept:
        shutil.copyfile(directory / name, target / name)
    files = [str(path.relative_to(target)) for path in (target / SAVED_MODEL).rglob("*") if path.is_file()]
    save_manifest(target, manifest.model_copy(update={"files": digests(target, sorted([*files, *kept]))}))


def of_network(network: tf_keras.Model) -> Run:
    """Runs a network."""
    return _batched(tf.function(lambda pixels: network(tf.cast(pixels, tf.float32), training=False)))


def of_saved_model(folder: Path) -> Run:
    """Runs a SavedModel."""
    loaded = tf.saved_model.load(str(folder))

    # What was loaded lives as long as it is referred to.
    return _batched(lambda pixels: loaded.signatures["serving_default"](pixels=pixels))


def _batched(run: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]) -> Run:
    def in_batches(pixels: Pixels) -> Logits:
        starts = range(0, len(pixels), AT_ONCE)
        parts = [run(tf.constant(pixels[start : start + AT_ONCE])) for start in starts]
        return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}

    return in_batches


def of_litert(path: Path) -> Run:
    """Runs a LiteRT file, one photo at a time as it is served."""
    interpreter = Interpreter(model_path=str(path), num_threads=2)
    serve = interpreter.get_signature_runner()
    kind = serve.get_input_details()["pixels"]["dtype"]

    def run(pixels: Pixels) -> Logits:
        outputs = [serve(pixels=photo[np.newaxis].astype(kind)) for photo in pixels]
        return {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}

    return run
