"""Which parts of a photo an answer rests on: parts are covered, and the answer's probability is watched.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014. It needs nothing of a
model but its answers, so that the 8-bit file that is served is what is explained.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COVERED = 4  # a cover is this part of a side,
STEPS = 13  # and stands at so many places along it
TINT = (214, 40, 40)


def occlusion(
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]], pixels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """How much of an answer's probability is lost where a part of the photo is covered.

    Args:
        predict: photos [N, S, S, 3] to the probabilities [N] of the answer.
        pixels: the photo [S, S, 3], by `services.model.preprocessing.to_array`.

    Returns:
        [S, S]: the mean loss over the covers that lie on a pixel; negative where the answer becomes surer.

    """
    size = len(pixels)
    side = max(1, size // COVERED)
    starts = np.linspace(0, size - side, STEPS).round().astype(int)
    # The colour of the photo's edge: a hole in the product, and not a new thing in front of it.
    ground = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]), axis=0)
    places = [(slice(top, top + side), slice(left, left + side)) for top in starts for left in starts]
    covered = np.repeat(pixels[np.newaxis], len(places) + 1, axis=0)
    for photo, place in zip(covered[1:], places, strict=True):
        photo[place] = ground
    whole, *others = predict(covered)
    lost, covers = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    for probability, place in zip(others, places, strict=True):
        lost[place] += whole - probability
        covers[place] += 1
    return lost / covers


def shown(pixels: NDArray[np.uint8], lost: NDArray[np.float32], side: int = 448) -> Image.Image:
    """The photo, in grey, with a tint where covering costs most.

    Args:
        pixels: the photo [S, S, 3].
        lost: [S, S], as `occlusion` returns it.
        side: pixels of the picture.

    """
    strength = np.clip(lost / max(float(lost.max()), 1e-6), 0, 1)[..., np.newaxis] * 0.75
    grey = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    mixed = grey * (1 - strength) + np.array(TINT) * strength
    return Image.fromarray(mixed.round().astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
