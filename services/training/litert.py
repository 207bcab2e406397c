"""Conversion of a served network to a LiteRT file that computes in 8-bit integers, and running it."""

import numpy as np
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray


def convert(network: tf_keras.Model) -> bytes:
    """The file of a network of `services.model.network.build_served`; takes uint8 and returns float32.

    No photos are needed to calibrate it: the network says itself what the 8 bits of each activation mean.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.float32
    model: bytes = converter.convert()
    return model


def run(model: bytes, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Head -> logits [N, labels] for pixels [N, size, size, 3]."""
    serve = Interpreter(model_content=model, num_threads=2).get_signature_runner()
    outputs = [serve(pixels=photo[np.newaxis]) for photo in pixels]
    return {head: np.concatenate([output[head] for output in outputs]) for head in outputs[0]}
