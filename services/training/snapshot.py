"""The data of a training run, frozen: shards of examples in Cloud Storage, and a manifest that names them.

<root>/snapshot.json        what was read, the heads, the shards, what was left out; written last
<root>/shards/<digest>.npz  examples of one side, in the order of the source

A run trains on a snapshot and never on a catalogue that changes meanwhile: the same snapshot and seed give
the same model. Shards are named by their content, so that a writer that was cut off begins again over what it
wrote.
"""

import io
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.shared.errors import ObjectNotFoundError
from services.shared.events import describe
from services.shared.ports import Objects
from services.training.examples import UNKNOWN, Example, LeftOut, Side, Source

SHARD_EXAMPLES = 256
MANIFEST = "snapshot.json"


class SnapshotError(ValueError):
    """There is no usable snapshot; the message says what is wrong with it."""


@dataclass(frozen=True)
class Shard:
    """Up to SHARD_EXAMPLES examples of one side, as arrays."""

    keys: NDArray[np.str_]  # [N]
    pixels: NDArray[np.uint8]  # [N, S, S, 3]
    targets: NDArray[
        np.int16
    ]  # [N, heads]: index of the label, UNKNOWN or UNLEARNT, heads in the manifest's order
    origins: NDArray[np.str_]  # [N]
    years: NDArray[np.int16]  # [N]: 0 where it is not known
    # [N, labels of all heads of several]: 1, 0 or UNKNOWN, in the manifest's order
    several: NDArray[np.int8]
    photos: NDArray[np.uint64]  # [N]: services.model.learnt.photo_digest of the file; 0 where there is none

    def __len__(self) -> int:
        return len(self.keys)

    def to_bytes(self) -> bytes:
        """A compressed .npz; equal shards give equal bytes."""
        file = io.BytesIO()
        arrays = {name: array for name, array in vars(self).items() if name != "several" or array.size}
        np.savez_compressed(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(**{"several": np.empty((len(arrays["keys"]), 0), np.int8), **arrays})

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        heads: Sequence[str],
        several: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> Self:
        """The examples, in order."""
        return cls(
            keys=np.array([example.key for example in examples]),
            pixels=np.stack([example.pixels for example in examples]),
            targets=np.array(
                [[example.labels.get(head, UNKNOWN) for head in heads] for example in examples], np.int16
            ),
            origins=np.array([example.origin for example in examples]),
            years=np.array([example.year or 0 for example in examples], np.int16),
            several=np.array(
                [
                    [
                        target
                        for head, labels in several.items()
                        for target in example.several.get(head, [UNKNOWN] * len(labels))
                    ]
                    for example in examples
                ],
                np.int8,
            ),
            photos=np.array([example.photo for example in examples], np.uint64),
        )

    @classmethod
    def concatenate(cls, shards: Sequence[Self]) -> Self:
        """All examples of all shards, in order."""
        return cls(
            **{name: np.concatenate([vars(shard)[name] for shard in shards]) for name in vars(shards[0])}
        )

    def take(self, indices: NDArray[np.int64]) -> Self:
        """The examples at these places."""
        return type(self)(**{name: array[indices] for name, array in vars(self).items()})


class Manifest(BaseModel):
    """What a snapshot holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Of everything below: two snapshots with one digest hold the same examples.
    source: dict[str, str]
    image_size: int = Field(ge=1)
    heads: dict[str, tuple[str, ...]] = Field(min_length=1)
    # As `Source.several`.
    several: dict[str, tuple[str, ...]] = Field(default={}, exclude_if=operator.not_)
    # As `Source.applies_to`.
    applies_to: dict[str, dict[str, tuple[str, ...]]] = Field(default={}, exclude_if=operator.not_)
    # Side -> names of its shards, in order, and how many examples they hold.
    shards: dict[Side, tuple[str, ...]]
    examples: dict[Side, int]
    # Origin -> examples of the training side.
    origins: dict[str, int]
    # Head -> label -> examples of the training side.
    labels: dict[str, dict[str, int]]
    left_out: tuple[LeftOut, ...]

    @property
    def all_heads(self) -> dict[str, tuple[str, ...]]:
        """Head -> its labels, those of which a photo may have several last."""
        return self.heads | self.several

    @property
    def places(self) -> dict[str, slice]:
        """Head of several labels -> its columns of `Shard.several`."""
        ends = dict(zip(self.several, accumulate(map(len, self.several.values())), strict=True))
        return {head: slice(end - len(self.several[head]), end) for head, end in ends.items()}

    @property
    def digest(self) -> str:
        """Names the snapshot's content."""
        return sha256(self.model_dump_json().encode()).hexdigest()[:32]


class Snapshot:
    """A snapshot that stands whole.

    Args:
        objects: Cloud Storage, or a folder.
        root: where it stands, a gs:// URI without a slash at its end.

    Raises:
        SnapshotError: it is not there, or is malformed.

    """

    def __init__(self, objects: Objects, root: str) -> None:
        self._objects, self._root = objects, root
        uri = f"{root}/{MANIFEST}"
        try:
            self.manifest = Manifest.model_validate_json(objects.read(uri).data)
        except ObjectNotFoundError as error:
            raise SnapshotError(
                f"{uri} is missing: no snapshot was written there, or not to its end"
            ) from error
        except ValidationError as error:
            raise SnapshotError(f"{uri}: {describe(error)}") from error

    def shard(self, name: str) -> Shard:
        """One shard.

        Raises:
            SnapshotError: it is missing or damaged.

        """
        return Shard.from_bytes(self._data(name))

    def shards(self, side: Side) -> Iterator[Shard]:
        """The shards of a side, in order, one at a time in memory."""
        return (self.shard(name) for name in self.manifest.shards[side])

    def column(
        self, side: Side, name: Literal["keys", "targets", "several", "origins", "years", "photos"]
    ) -> NDArray[Any]:
        """One array of `Shard` over all examples of a side; pixels are not read into memory."""
        parts = []
        for shard in self.manifest.shards[side]:
            with np.load(io.BytesIO(self._data(shard)), allow_pickle=False) as arrays:
                empty = np.empty((len(arrays["keys"]), 0), np.int8)
                parts.append(empty if name == "several" and name not in arrays else arrays[name])
        return np.concatenate(parts)

    def _data(self, name: str) -> bytes:
        uri = f"{self._root}/shards/{name}.npz"
        try:
            data = self._objects.read(uri).data
        except ObjectNotFoundError as error:
            raise SnapshotError(f"{uri} is missing") from error
        if _digest(data) != name:
            raise SnapshotError(f"{uri} is damaged: its content is not the one that it is named by")
        return data


def keys_and_photos(shard: bytes) -> tuple[NDArray[np.str_], NDArray[np.uint64]]:
    """The arrays `keys` and `photos` of a shard's file; pixels are not read into memory."""
    with np.load(io.BytesIO(shard), allow_pickle=False) as arrays:
        return arrays["keys"], arrays["photos"]


def stands(objects: Objects, root: str) -> bool:
    """Whether a snapshot was written there, to its end."""
    return objects.exists(f"{root}/{MANIFEST}")


def write(
    objects: Objects, root: str, source: Source, image_size: int, progress: Callable[[int], None]
) -> Snapshot:
    """Read a source to its end and freeze it.

    Args:
        objects: Cloud Storage, or a folder.
        root: where it is to stand, a gs:// URI without a slash at its end.
        source: where the examples come from.
        image_size: pixels of a side.
        progress: is told the number of examples so far, once a shard.

    """
    heads = {head: tuple(labels) for head, labels in source.heads.items()}
    several = {head: tuple(labels) for head, labels in source.several.items()}
    waiting: dict[Side, list[Example]] = {"train": [], "validate": [], "test": []}
    shards: dict[Side, list[str]] = {side: [] for side in waiting}
    examples: Counter[Side] = Counter(dict.fromkeys(waiting, 0))
    origins = Counter[str]()
    labels: dict[str, Counter[str]] = {
        head: Counter(dict.fromkeys(names, 0)) for head, names in (heads | several).items()
    }

    def flush(side: Side) -> None:
        if waiting[side]:
            data = Shard.of(waiting[side], list(heads), several).to_bytes()
            shards[side].append(_digest(data))
            # One that stands already is the same: its name is its content's.
            objects.create(f"{root}/shards/{_digest(data)}.npz", data, "application/octet-stream")
            waiting[side].clear()
            progress(examples.total())

    for side, example in source.examples(image_size):
        waiting[side].append(example)
        examples[side] += 1
        if side == "train":
            origins[example.origin] += 1
            for head, index in example.labels.items():
                if index >= 0:
                    labels[head][heads[head][index]] += 1
            for head, given in example.several.items():
                labels[head].update(
                    label for label, target in zip(several[head], given, strict=True) if target == 1
                )
        if len(waiting[side]) == SHARD_EXAMPLES:
            flush(side)
    for side in waiting:
        flush(side)
    manifest = Manifest(
        source=dict(source.description),
        image_size=image_size,
        heads=heads,
        several=several,
        applies_to={
            head: {other: tuple(values) for other, values in rules.items()}
            for head, rules in source.applies_to.items()
        },
        shards={side: tuple(names) for side, names in shards.items()},
        examples=dict(examples),
        origins=dict(origins),
        labels={head: dict(counts) for head, counts in labels.items()},
        left_out=tuple(source.left_out),
    )
    data = manifest.model_dump_json(indent=2).encode()
    if not objects.create(f"{root}/{MANIFEST}", data, "application/json"):
        stands = Snapshot(objects, root)
        if stands.manifest != manifest:
            raise SnapshotError(
                f"{root} holds another snapshot, of {dict(stands.manifest.source)}: name a new one"
            )
        return stands
    return Snapshot(objects, root)


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:32]
