"""EfficientNet-Lite0 in tf-keras, with features tapped along its depth and a head per attribute.

EfficientNet-Lite (https://github.com/tensorflow/tpu, models/official/efficientnet/lite) is EfficientNet
without squeeze-and-excitation and with ReLU6 for swish, so that it keeps its accuracy in 8-bit integers.
Photos of products need more than its top layer, which is made for ImageNet's classes: the ends of earlier
stages tell texture and cut. So the features are the averages of blocks 4, 7, 10, 14 and of the top,
concatenated.

Every network here has two forms with the same layers:

- trainable: float, with batch normalisation, its activations marked so that their ranges can be observed;
- served: each convolution carries its normalisation in its own kernel and bias, and each activation is
  rounded to the 8 bits of its range. It can be trained further, gradients pass through the rounding.
  LiteRT's converter takes weights and ranges over as they are, so that the LiteRT file computes in integers
  what the SavedModel computes in floats, and both give the same answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray
from tf_keras import layers

from services.model.familiarity import EMBEDDING
from services.model.weights import Layer, Range, Weights


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


def build(
    heads: Mapping[str, Sequence[str]],
    image_size: int,
    ranges: Mapping[str, Range] | None = None,
    *,
    small_photos: bool = False,
) -> tf_keras.Model:
    """Pixels [N, image_size, image_size, 3], values 0 to 255 -> {head: logits [N, labels]} and the embedding.

    Args:
        heads: head -> its labels, in the order of its logits.
        image_size: pixels of a side.
        ranges: activation -> its range. With them the network has its served form, else the trainable one.
        small_photos: whether the second stage does not stride. Photos that are smaller than the network would
            like then need not be enlarged as much, which only makes the first layers slower.

    Returns:
        Beside the heads, EMBEDDING is an output: what the heads see of a photo, [N, HIDDEN_UNITS].

    """
    form = _Form(ranges)
    pixels = layers.Input((image_size, image_size, 3), name="pixels")
    x = form.activation(pixels, "pixels")
    x = form.activation(layers.Rescaling(1, -127, name="centre")(x), "centred")
    x = form.activation(layers.Rescaling(1 / 128, name="scale")(x), "scaled")
    x = form.convolution(x, layers.Conv2D(32, 3, 2, "same", use_bias=form.served, name="stem"))
    taps = []
    stages = [*STAGES]
    if small_photos:
        stages[1] = stages[1]._replace(stride=1)
    strides = [
        (stage, 1 if position else stage.stride) for stage in stages for position in range(stage.blocks)
    ]
    for index, (stage, stride) in enumerate(strides):
        x = form.inverted_residual(x, stage, stride, f"block{index}")
        if index in TAPPED_BLOCKS:
            taps.append(layers.GlobalAveragePooling2D(name=f"tap{index}")(x))
    x = form.convolution(x, layers.Conv2D(1280, 1, use_bias=form.served, name="top"))
    taps.append(layers.GlobalAveragePooling2D(name="tap_top")(x))
    x = form.concatenation(taps, "features")
    x = layers.Dense(HIDDEN_UNITS, activation="relu", name="hidden")(x)
    x = form.activation(x, "hidden")
    logits = {
        head: form.activation(layers.Dense(len(labels), name=f"{head}_logits")(x), f"{head}_logits")
        for head, labels in heads.items()
    }
    # An exported file calls its outputs after the layers that they come from.
    ends = logits | {EMBEDDING: x}
    outputs = {name: layers.Activation("linear", name=name)(end) for name, end in ends.items()}
    return tf_keras.Model(pixels, outputs, name="efficientnet_lite0")


def build_served(
    heads: Mapping[str, Sequence[str]], image_size: int, weights: Weights, *, small_photos: bool = False
) -> tf_keras.Model:
    """`build` in its served form, with its weights.

    Raises:
        KeyError: the weights lack a layer or a range.
        ValueError: a layer's weights have another shape.

    """
    network = build(heads, image_size, weights.ranges, small_photos=small_photos)
    for layer in network.layers:
        if layer.weights:
            quantized = weights.layers[layer.name]
            kernel, bias = quantized.dequantized()
            # Integers can only add whole products of a step of the input and a step of the kernel. Unrounded,
            # small as the difference is, every layer of the SavedModel would drift from the LiteRT file.
            step = layer.inbound_nodes[0].inbound_layers.step * quantized.scale.astype(np.float64)
            bias = np.round(bias / step) * step
            layer.set_weights([kernel[..., np.newaxis] if _is_depthwise(layer) else kernel, bias])
    return network


def load_pretrained(network: tf_keras.Model, checkpoint: Mapping[str, NDArray[Any]]) -> None:
    """Put `services.model.weights.pretrained_checkpoint` under the heads of a trainable network."""
    for layer in network.layers:
        source = _checkpoint_name(layer.name)
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([checkpoint[f"{source}.{part}"] for part in _BATCH_NORM_PARTS])
        elif isinstance(layer, layers.DepthwiseConv2D):
            layer.set_weights([checkpoint[f"{source}.weight"].transpose(2, 3, 0, 1)])
        elif isinstance(layer, layers.Conv2D):
            layer.set_weights([checkpoint[f"{source}.weight"].transpose(2, 3, 1, 0)])


def fix_large_filters(network: tf_keras.Model) -> None:
    """Take the 5x5 filters of single channels out of training: 2 % of the weights, a fifth of a step's time.

    TensorFlow's gradient for them is slow on a CPU, and what ImageNet taught them serves any photo.
    """
    for layer in network.layers:
        if _is_depthwise(layer) and layer.kernel_size[0] > 3:
            layer.trainable = False


def layers_of(network: tf_keras.Model) -> dict[str, Layer]:
    """Layer -> (kernel, bias) of a network of either form, with batch normalisation folded into them."""
    found: dict[str, Layer] = {}
    for layer in network.layers:
        if isinstance(layer, layers.Dense | layers.Conv2D | layers.DepthwiseConv2D):
            kernel, *bias = layer.get_weights()
            kernel = kernel[..., 0] if _is_depthwise(layer) else kernel
            if not bias:
                gamma, beta, mean, variance = network.get_layer(f"{layer.name}_bn").get_weights()
                gain = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
                kernel, bias = kernel * gain, [beta - mean * gain]
            found[layer.name] = (kernel, bias[0])
    return found


def observed_ranges(network: tf_keras.Model, batches: Iterable[NDArray[Any]]) -> dict[str, Range]:
    """Of a trainable network: activation -> its range over batches of inputs.

    The ends are the means of the batches' least and greatest values, so that a single outlier does not make
    the 256 steps of a range coarser for everything else.
    """
    marks = [layer for layer in network.layers if layer.name.endswith(_MARK)]
    ends = [(tf.reduce_min(mark.output), tf.reduce_max(mark.output)) for mark in marks]
    observe = tf_keras.Model(network.input, ends)
    low, high = np.mean([observe(batch, training=False) for batch in batches], axis=0).T
    names = [mark.name.removesuffix(_MARK) for mark in marks]
    observed = {
        name: (min(float(a), 0), max(float(b), 0)) for name, a, b in zip(names, low, high, strict=True)
    }
    return {name: _EXACT_RANGES.get(name, ends) for name, ends in observed.items()}


_MARK = "_activation"

# The steps from pixels to (x - 127) / 128 are exact in 8 bits: each only renames the 256 values of a pixel.
_EXACT_RANGES = {"pixels": (0.0, 255.0), "centred": (-127.0, 128.0), "scaled": (-127 / 128, 1.0)}


@dataclass(frozen=True)
class _Form:
    """The parts of a network, in its trainable form or, with ranges, in the served one."""

    ranges: Mapping[str, Range] | None

    @property
    def served(self) -> bool:
        return self.ranges is not None

    def activation(self, x: Any, name: str) -> Any:
        if self.ranges is None:
            return layers.Activation("linear", name=name + _MARK)(x)
        return _RoundTo8Bits(self.ranges[name], name=name + _MARK)(x)

    def concatenation(self, parts: Sequence[Any], name: str) -> Any:
        if self.ranges is not None:
            # In integers, what is concatenated has one range.
            parts = [_RoundTo8Bits(self.ranges[name])(part) for part in parts]
        return self.activation(layers.Concatenate(name=name)(parts), name)

    def convolution(self, x: Any, convolution: layers.Layer, *, relu6: bool = True) -> Any:
        x = convolution(x)
        if not self.served:
            x = layers.BatchNormalization(
                momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=f"{convolution.name}_bn"
            )(x)
        return self.activation(layers.ReLU(6.0)(x) if relu6 else x, convolution.name)

    def inverted_residual(self, x: Any, stage: Stage, stride: int, name: str) -> Any:
        """Expand, filter each channel by itself, project; add the input where the shape allows it."""
        entry = x
        bias = self.served
        if stage.expansion > 1:
            channels = x.shape[-1] * stage.expansion
            x = self.convolution(x, layers.Conv2D(channels, 1, use_bias=bias, name=f"{name}_expand"))
        x = self.convolution(
            x,
            layers.DepthwiseConv2D(
                stage.kernel_size, stride, "same", use_bias=bias, name=f"{name}_depthwise"
            ),
        )
        x = self.convolution(
            x, layers.Conv2D(stage.channels, 1, use_bias=bias, name=f"{name}_project"), relu6=False
        )
        return self.activation(layers.Add()([entry, x]), f"{name}_sum") if x.shape == entry.shape else x


class _RoundTo8Bits(layers.Layer):  # type: ignore[misc]
    """Rounds to the nearest of 256 values between the ends of a range, of which one is 0."""

    def __init__(self, ends: Range, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._ends = ends

    @property
    def step(self) -> float:
        """The distance of two neighbouring values."""
        low, high = self._ends
        return (high - low) / 255

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.quantization.fake_quant_with_min_max_args(x, *self._ends)


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


def _is_depthwise(layer: layers.Layer) -> bool:
    return isinstance(layer, layers.DepthwiseConv2D)
