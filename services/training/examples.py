"""What a training run learns from: photos, what is known of them, and where they come from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

type Side = Literal["train", "validate", "test"]

# The target of a head of which nothing is known: it takes no part in the loss.
UNKNOWN = -1
# The label is known, but too few photos have it: nothing is learnt of it, and no answer is right.
UNLEARNT = -2


@dataclass(frozen=True)
class Example:
    """A photo as the network is given it, and what is known of it."""

    key: str  # the product's id, or what else names the photo
    pixels: NDArray[np.uint8]  # [S, S, 3], by services.model.preprocessing.to_array
    labels: Mapping[str, int]  # head -> index of its label, UNKNOWN or UNLEARNT
    origin: str  # "photo", "tinted", "drawn": figures are never mixed between them
    year: int | None  # of the collection
    photo: int = 0  # services.model.learnt.photo_digest of its file; 0 where it comes from none
    # Head of which a photo may have several labels -> of each of its labels 1, 0, or UNKNOWN.
    several: Mapping[str, Sequence[int]] = MappingProxyType({})


@dataclass(frozen=True)
class LeftOut:
    """Something that takes no part, or less part than it seems."""

    what: str
    count: int
    why: str


class Source(Protocol):
    """Where examples come from."""

    @property
    def heads(self) -> Mapping[str, Sequence[str]]:
        """Head -> its labels, in the order of their indices."""
        ...

    @property
    def several(self) -> Mapping[str, Sequence[str]]:
        """Head of which a photo may have several labels -> its labels; none of them is in `heads`."""
        ...

    @property
    def applies_to(self) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """Head -> other head -> the labels of that one with which the head applies.

        Heads that apply to all products are left out.
        """
        ...

    def examples(self, image_size: int) -> Iterator[tuple[Side, Example]]:
        """Streams all examples, in the same order each time."""
        ...

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """Complete when `examples` has been read to its end."""
        ...

    @property
    def description(self) -> Mapping[str, str]:
        """What it was read from; stands in the snapshot's manifest."""
        ...
