"""EfficientNet-Lite0 in tf-keras, with features tapped along its depth and a head per attribute.

EfficientNet-Lite (https://github.com/tensorflow/tpu, models/official/efficientnet/lite) is EfficientNet without
squeeze-and-excitation and with ReLU6 for swish, so that it keeps its accuracy in 8-bit integers. Photos of
products need more than the top layer, which is trained for ImageNet's classes: texture and cut are told by the
ends of earlier stages, so the features are the averages of blocks 4, 7, 10, 14 and the top, concatenated.

A network has one of two forms with the same layer names: `trainable` with batch normalisation, and folded, in
which each convolution carries its normalisation in its own kernel and bias. Only folded networks are served.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tf_keras
from numpy.typing import NDArray
from tf_keras import layers

from services.model.weights import Layer


class Stage(NamedTuple):
    """A run of inverted residual blocks; only the first one strides."""

    blocks: int
    kernel_size: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
TAPPED_BLOCKS = (4, 7, 10, 14)
HIDDEN_UNITS = 512

BATCH_NORM_EPSILON = 1e-3
# Keras' own 0.99 forgets ImageNet's statistics too slowly for a run of a few thousand steps.
BATCH_NORM_MOMENTUM = 0.9


def build_trunk(image_size: int, *, folded: bool) -> tf_keras.Model:
    """Pixels [N, image_size, image_size, 3], values 0 to 255 -> features [N, 1704]."""
    pixels = layers.Input((image_size, image_size, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalise")(pixels)
    x = _relu6(_convolve(x, layers.Conv2D(32, 3, 2, "same", use_bias=folded, name="stem")))
    taps = []
    strides = [(stage, stage.stride if first else 1) for stage in STAGES for first in [True] + [False] * (stage.blocks - 1)]
    for index, (stage, stride) in enumerate(strides):
        x = _inverted_residual(x, stage, stride, f"block{index}", folded)
        if index in TAPPED_BLOCKS:
            taps.append(layers.GlobalAveragePooling2D(name=f"tap{index}")(x))
    x = _relu6(_convolve(x, layers.Conv2D(1280, 1, use_bias=folded, name="top")))
    taps.append(layers.GlobalAveragePooling2D(name="tap_top")(x))
    return tf_keras.Model(pixels, layers.Concatenate(name="features")(taps), name="trunk")


def build_head(heads: Mapping[str, Sequence[str]], features: int, dropout: float = 0.0) -> tf_keras.Model:
    """Features [N, features] -> {head: logits [N, labels]}; the heads share one hidden layer."""
    inputs = layers.Input((features,), name="features")
    x = layers.Dense(HIDDEN_UNITS, activation="relu", name="hidden")(inputs)
    x = layers.Dropout(dropout)(x)
    logits = {head: layers.Dense(len(labels), name=head)(x) for head, labels in heads.items()}
    return tf_keras.Model(inputs, logits, name="head")


def build_classifier(
    heads: Mapping[str, Sequence[str]], weights: Mapping[str, Layer], image_size: int
) -> tf_keras.Model:
    """The network as it is served: pixels as in `build_trunk` -> {head: logits}, with the given folded weights."""
    trunk = build_trunk(image_size, folded=True)
    head = build_head(heads, trunk.output_shape[1])
    set_folded_weights(trunk, weights)
    set_folded_weights(head, weights)
    return tf_keras.Model(trunk.input, head(trunk.output), name="classifier")


def load_pretrained(trunk: tf_keras.Model, checkpoint: Mapping[str, NDArray[Any]]) -> None:
    """Put the checkpoint of `services.model.weights.pretrained_checkpoint` into a trunk that is not folded."""
    for layer in trunk.layers:
        source = _checkpoint_name(layer.name)
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([checkpoint[f"{source}.{part}"] for part in _BATCH_NORM_PARTS])
        elif isinstance(layer, layers.DepthwiseConv2D):
            layer.set_weights([checkpoint[f"{source}.weight"].transpose(2, 3, 0, 1)])
        elif isinstance(layer, layers.Conv2D):
            layer.set_weights([checkpoint[f"{source}.weight"].transpose(2, 3, 1, 0)])


def folded_weights(network: tf_keras.Model) -> dict[str, Layer]:
    """Layer -> (kernel, bias), output channels last, each batch normalisation folded into its convolution."""
    weights: dict[str, Layer] = {}
    for layer in network.layers:
        if isinstance(layer, layers.Dense):
            weights[layer.name] = tuple(layer.get_weights())
        elif isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            kernel = _channels_last(layer, layer.get_weights()[0])
            gamma, beta, mean, variance = network.get_layer(f"{layer.name}_bn").get_weights()
            gain = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
            weights[layer.name] = (kernel * gain, beta - mean * gain)
    return weights


def set_folded_weights(network: tf_keras.Model, weights: Mapping[str, Layer]) -> None:
    """Put what `folded_weights` returned into a folded trunk or a head."""
    for layer in network.layers:
        if layer.weights:
            kernel, bias = weights[layer.name]
            layer.set_weights([kernel[..., np.newaxis] if _is_depthwise(layer) else kernel, bias])


_BATCH_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
_CHECKPOINT_NAMES = {
    "stem": "_conv_stem",
    "stem_bn": "_bn0",
    "top": "_conv_head",
    "top_bn": "_bn1",
    "expand": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project": "_project_conv",
    "project_bn": "_bn2",
}


def _checkpoint_name(layer: str) -> str:
    """`block3_expand_bn` is `_blocks.3._bn0` in the checkpoint."""
    if not layer.startswith("block"):
        return _CHECKPOINT_NAMES.get(layer, "")
    block, _, part = layer.partition("_")
    return f"_blocks.{block.removeprefix('block')}.{_CHECKPOINT_NAMES.get(part, '')}"


def _inverted_residual(x: Any, stage: Stage, stride: int, name: str, folded: bool) -> Any:  # noqa: ANN401
    """Expand, filter each channel by itself, project; add the input where the shape allows it."""
    entry = x
    if stage.expansion > 1:
        channels = x.shape[-1] * stage.expansion
        x = _relu6(_convolve(x, layers.Conv2D(channels, 1, use_bias=folded, name=f"{name}_expand")))
    depthwise = layers.DepthwiseConv2D(
        stage.kernel_size, stride, "same", use_bias=folded, name=f"{name}_depthwise"
    )
    x = _relu6(_convolve(x, depthwise))
    x = _convolve(x, layers.Conv2D(stage.channels, 1, use_bias=folded, name=f"{name}_project"))
    return layers.Add(name=f"{name}_add")([entry, x]) if x.shape == entry.shape else x


def _convolve(x: Any, convolution: layers.Layer) -> Any:  # noqa: ANN401
    x = convolution(x)
    if convolution.use_bias:
        return x
    return layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=f"{convolution.name}_bn"
    )(x)


def _relu6(x: Any) -> Any:  # noqa: ANN401
    return layers.ReLU(6.0)(x)


def _is_depthwise(layer: layers.Layer) -> bool:
    return isinstance(layer, layers.DepthwiseConv2D)


def _channels_last(layer: layers.Layer, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return kernel[..., 0] if _is_depthwise(layer) else kernel
