"""A data set whose photos are told apart at a glance, and a network small enough to learn it in seconds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import tf_keras
from tf_keras import layers

from services.shared.memory import MemoryObjects
from services.shared.ports import Objects
from services.training import snapshot
from services.training.examples import UNKNOWN, Example, LeftOut, Side
from services.training.snapshot import Snapshot

SIZE = 16
# What a photo has of its shade and its half, as far as that is known.
SEVERAL = {"marks": ("light", "left", "right")}
HEADS = {"shade": ("dark", "light"), "half": ("left", "right", "none")}


@dataclass
class Squares:
    """Dark and light photos of which one half is black. Of a quarter it is not known how light they are."""

    train: int = 96
    validate: int = 24
    test: int = 12
    seed: int = 0
    heads: Mapping[str, Sequence[str]] = field(default_factory=lambda: HEADS)
    several: Mapping[str, Sequence[str]] = field(default_factory=dict)  # SEVERAL, or none
    applies_to: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    left_out: Sequence[LeftOut] = (LeftOut("product 7", 1, "photo-missing"),)
    description: Mapping[str, str] = field(default_factory=lambda: {"kind": "squares"})

    def examples(self, image_size: int) -> Iterator[tuple[Side, Example]]:
        draw = np.random.default_rng(self.seed)
        sides: tuple[tuple[Side, int], ...] = (
            ("train", self.train),
            ("validate", self.validate),
            ("test", self.test),
        )
        for side, count in sides:
            for index in range(count):
                shade, half = index % 2, index // 2 % 2
                pixels = draw.integers(60, 80, (image_size, image_size, 3)) + 120 * shade
                half_side = slice(0, image_size // 2) if half == 0 else slice(image_size // 2, None)
                pixels[:, half_side] = 0
                labels = {"shade": shade if index % 4 < 3 else UNKNOWN, "half": half}
                marks = (shade if index % 4 < 3 else UNKNOWN, 1 - half, half)
                yield (
                    side,
                    Example(
                        f"{side}-{index}",
                        pixels.astype(np.uint8),
                        labels,
                        "photo",
                        2000 + half,
                        several={"marks": marks} if self.several else {},
                    ),
                )


def frozen(source: Squares | None = None, objects: Objects | None = None) -> Snapshot:
    """A snapshot of a source."""
    return snapshot.write(
        objects or MemoryObjects(), "gs://bucket/run/snapshot", source or Squares(), SIZE, lambda count: None
    )


def small_network(several: Mapping[str, Sequence[str]] = MappingProxyType({})) -> tf_keras.Model:
    """The same weights each time it is built."""
    tf_keras.utils.set_random_seed(0)
    pixels = layers.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 128, -1)(pixels)
    x = layers.Conv2D(8, 3, 2, use_bias=False, name="filter")(x)
    x = layers.BatchNormalization(momentum=0.9, name="filter_bn")(x)
    x = layers.Flatten()(layers.ReLU()(x))
    heads = {head: layers.Dense(len(labels), name=head)(x) for head, labels in {**HEADS, **several}.items()}
    return tf_keras.Model(pixels, heads)
