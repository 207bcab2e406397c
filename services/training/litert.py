"""Conversion of a network to a LiteRT file that computes in 8-bit integers, and running it."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray


def convert(network: tf_keras.Model, calibration: NDArray[np.uint8]) -> bytes:
    """Quantise to 8-bit integers; takes pixels as uint8 and returns float32.

    The ranges of the activations are those seen on `calibration` [N, size, size, 3]. Pure black and white are
    added to it, so that the input's range is 0 to 255, its scale 1, and pixels pass unchanged.
    """
    _, size, _, _ = calibration.shape
    chart = np.zeros((1, size, size, 3), np.uint8)
    chart[:, : size // 2] = 255

    def representative() -> Iterator[list[NDArray[np.float32]]]:
        for photo in np.concatenate([chart, calibration]):
            yield [photo[np.newaxis].astype(np.float32)]

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.float32
    model: bytes = converter.convert()
    return model


def run(model: bytes, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Output -> values [N, ...] for pixels [N, size, size, 3]."""
    serve = Interpreter(model_content=model, num_threads=2).get_signature_runner()
    outputs = [serve(pixels=photo[np.newaxis]) for photo in pixels]
    return {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}
