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
STRETCH = (0.75, 1.1)  # of the width: shops squeeze photos of 3:4 to a square
FEWEST_PIXELS = 28  # of a side
PLAIN = (244.0, 252.0)  # the darkest channel of what is no longer and what is surely a white background
WHITE = 255.0


def vary(pixels: tf.Tensor, settings: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Put photos before other backgrounds, mirror, move, scale, stretch, turn, blur and partly erase them.

    Args:
        pixels: [N, S, S, 3], values 0 to 255; what moves in from outside repeats the edge.
        settings: how far.
        seed: int32 [2], names the draws.

    Returns:
        float32 [N, S, S, 3].

    """
    pixels = tf.cast(pixels, tf.float32)
    count, size = tf.shape(pixels)[0], pixels.shape[1]
    draws = tf.random.stateless_uniform((18, count), seed)
    pixels = _resampled(_grounded(pixels, settings, draws[11:15]), settings, draws[16:18, 0])
    mirror = tf.where(draws[0] < settings.mirrored, -1.0, 1.0)
    zoom = _between(draws[1], *ZOOM)
    turn = _between(draws[2], -TURN, TURN)
    right, down = (_between(draws[index], -SHIFT, SHIFT) * size for index in (3, 4))
    # One draw serves twice: below the share it is uniform again.
    stretched = draws[15] / max(settings.stretched, 1e-6)
    wide = tf.where(stretched < 1, 1 / _between(stretched, *STRETCH), 1.0)
    cosine, sine, centre = zoom * tf.cos(turn), zoom * tf.sin(turn), (size - 1) / 2
    a, b, c, d = cosine * mirror * wide, -sine, sine * mirror * wide, cosine
    nothing = tf.zeros_like(zoom)
    transforms = tf.stack(
        [a, b, centre * (1 - a - b) + right, c, d, centre * (1 - c - d) + down, nothing, nothing], axis=1
    )
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=transforms,
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    grid = tf.range(size, dtype=tf.float32)
    erased = (draws[5] < settings.erased)[:, tf.newaxis, tf.newaxis]
    for axis, (extent, middle) in enumerate(((draws[6], draws[7]), (draws[8], draws[9]))):
        half = _between(extent, *ERASED)[:, tf.newaxis] * size / 2
        inside = tf.abs(grid - middle[:, tf.newaxis] * size) <= half
        erased &= tf.expand_dims(inside, 2 - axis)
    return tf.where(erased[..., tf.newaxis], draws[10][:, tf.newaxis, tf.newaxis, tf.newaxis] * WHITE, moved)


def _grounded(pixels: tf.Tensor, settings: Augmentation, draws: tf.Tensor) -> tf.Tensor:
    """Another colour in place of a white background; `draws` [4, N]: whether, and the colour."""
    changed = tf.cast(draws[0] < settings.grounded, tf.float32)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    low, high = PLAIN
    plain = (
        tf.clip_by_value((tf.reduce_min(pixels, axis=3, keepdims=True) - low) / (high - low), 0, 1) * changed
    )
    ground = tf.transpose(draws[1:])[:, tf.newaxis, tf.newaxis, :] * WHITE
    return pixels * (1 - plain) + ground * plain


def _resampled(pixels: tf.Tensor, settings: Augmentation, draws: tf.Tensor) -> tf.Tensor:
    """The batch as if its photos had had fewer pixels; `draws` [2]: whether, and how many."""
    size = pixels.shape[1]

    def fewer() -> tf.Tensor:
        side = tf.cast(tf.round(_between(draws[1], min(FEWEST_PIXELS, size), size)), tf.int32)
        small = tf.image.resize(pixels, (side, side), antialias=True)
        return tf.image.resize(small, (size, size), method="bicubic")

    return tf.cond(draws[0] < settings.resampled, fewer, lambda: pixels)


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
