"""Training photos as other photographers might have delivered them, and mixed with each other; in TensorFlow.

Every draw derives from a seed and the number of the step, so that an interrupted run goes on with the very
photos that it would have seen. Colours stay: they may be what is learnt.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from services.training.config import Augmentation

# Of the photo's sides: as far as a frame is moved, and how it is scaled.
SHIFT = 0.08
ZOOM = (0.88, 1.1)
TURN = 0.1  # radians
ERASED = (0.1, 0.4)  # of each side
WHITE = 255.0


def vary(pixels: tf.Tensor, settings: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Mirror, move, scale, turn and partly erase photos.

    Args:
        pixels: [N, S, S, 3], values 0 to 255; what moves in from outside is white.
        settings: how far.
        seed: int32 [2], names the draws.

    Returns:
        float32 [N, S, S, 3].

    """
    pixels = tf.cast(pixels, tf.float32)
    count, size = tf.shape(pixels)[0], pixels.shape[1]
    draws = tf.random.stateless_uniform((11, count), seed)
    mirror = tf.where(draws[0] < settings.mirrored, -1.0, 1.0)
    zoom = _between(draws[1], *ZOOM)
    turn = _between(draws[2], -TURN, TURN)
    right, down = (_between(draws[index], -SHIFT, SHIFT) * size for index in (3, 4))
    cosine, sine, centre = zoom * tf.cos(turn), zoom * tf.sin(turn), (size - 1) / 2
    a, b, c, d = cosine * mirror, -sine, sine * mirror, cosine
    nothing = tf.zeros_like(zoom)
    transforms = tf.stack(
        [a, b, centre * (1 - a - b) + right, c, d, centre * (1 - c - d) + down, nothing, nothing], axis=1
    )
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=transforms,
        output_shape=[size, size],
        fill_value=WHITE,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    grid = tf.range(size, dtype=tf.float32)
    erased = (draws[5] < settings.erased)[:, tf.newaxis, tf.newaxis]
    for axis, (extent, middle) in enumerate(((draws[6], draws[7]), (draws[8], draws[9]))):
        half = _between(extent, *ERASED)[:, tf.newaxis] * size / 2
        inside = tf.abs(grid - middle[:, tf.newaxis] * size) <= half
        erased &= tf.expand_dims(inside, 2 - axis)
    return tf.where(erased[..., tf.newaxis], draws[10][:, tf.newaxis, tf.newaxis, tf.newaxis] * WHITE, moved)


def mix(
    pixels: tf.Tensor, targets: Mapping[str, tf.Tensor], settings: Augmentation, seed: tf.Tensor
) -> tuple[tf.Tensor, dict[str, Any]]:
    """Blend a batch with itself in reverse order.

    Args:
        pixels: float32 [N, S, S, 3].
        targets: head -> the wanted probabilities [N, labels]; a row of zeros is not known, and neither is
            what it is blended with.
        settings: how often and how much.
        seed: int32 [2], names the draws.

    Returns:
        Both, blended.

    """
    drawn, share = tf.unstack(tf.random.stateless_uniform((2,), seed))
    share = tf.where(drawn < settings.mixed, share * settings.mixed_share, 0.0)

    def blend(values: tf.Tensor) -> tf.Tensor:
        return (1 - share) * values + share * tf.reverse(values, [0])

    def blend_known(values: tf.Tensor) -> tf.Tensor:
        known = tf.reduce_sum(values, axis=1, keepdims=True)
        both = tf.where(share > 0, known * tf.reverse(known, [0]), known)
        return blend(values) * tf.cast(both > 0, values.dtype)

    return blend(pixels), {head: blend_known(values) for head, values in targets.items()}


def _between(draws: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return low + draws * (high - low)
