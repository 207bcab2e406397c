"""Clothing-dataset as training data: people's photos of their own clothes, in the terms of a catalogue."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.model.duplicates import Signature, signature
from services.model.learnt import photo_digest
from services.model.preprocessing import to_array
from services.shared.clothing_dataset import ClothingError, LabelMap, SentPhoto, read_photos
from services.shared.errors import ImageError, ObjectNotFoundError, ObjectTooLargeError
from services.shared.folders import FolderError
from services.shared.images import MAX_BYTES, decode
from services.shared.layout import digest
from services.shared.parallel import in_parallel
from services.training.examples import UNKNOWN, Example, LeftOut, Side
from services.training.sides import Sides

PHOTO = "snapshot"
NEW_SENDER = "snapshot_new_sender"
UNSURE = "snapshot_unsure"
PHOTOS_AT_ONCE = 128  # in memory, decoded


class ClothingSource:
    """A `services.training.examples.Source` of images.csv, with what each label means in the catalogue.

    The test side has three origins, none of which is ever trained on:

        snapshot             the official test photos of clothing-dataset-small
        snapshot_new_sender  photos of senders of whom nothing is trained on
        snapshot_unsure      photos whose label names no garment: what a model should not be sure of

    Photos validate by a digest of their sender, so that no sender is on both sides.

    Args:
        path: the folder or zip.
        labels: what its labels mean.
        official_split: clothing-dataset-small's, as a CSV file with the columns image and split; without it
            the test side has no photo of the origin `snapshot`.
        validate_share: of the senders.
        new_sender_share: of the senders.
        sides: where the pictures of other sources are.

    Raises:
        ClothingError: a file is missing or malformed.

    """

    def __init__(
        self,
        path: Path,
        labels: LabelMap,
        *,
        official_split: Path | None,
        validate_share: float,
        new_sender_share: float,
        sides: Sides | None = None,
    ) -> None:
        self._folder, self._photos = read_photos(path, labels)
        self._labels = labels
        sent = {photo.label for photo in self._photos}
        if unused := [label for label in labels if label not in sent]:
            raise ClothingError(f"{path}: the label map names {unused[0]!r}, which no photo has")
        self._official = _official_test(official_split) if official_split else frozenset[str]()
        self._validate_share, self._new_sender_share = validate_share, new_sender_share
        self._sides = sides
        known: dict[str, dict[str, None]] = {}
        for photo in self._photos:
            for column, value in labels[photo.label].items():
                known.setdefault(column, {})[value] = None
        self.heads: Mapping[str, Sequence[str]] = {column: sorted(values) for column, values in known.items()}
        self.several: Mapping[str, Sequence[str]] = {}
        self.applies_to: Mapping[str, Mapping[str, Sequence[str]]] = {}
        self._left_out: Counter[str] = Counter()
        self.description = {
            "folder": path.name,
            "photos": str(len(self._photos)),
            "official test photos": str(sum(photo.image in self._official for photo in self._photos)),
            "senders that validate": f"{validate_share:.0%}",
            "senders that test": f"{new_sender_share:.0%}",
        }

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What takes no part; complete when `examples` has been read to its end."""
        return [LeftOut("photos", count, why) for why, count in sorted(self._left_out.items())]

    def examples(self, image_size: int) -> Iterator[tuple[Side, Example]]:
        """Streams first the photos that train, then those that validate, then those that test."""
        sides = self._sides if self._sides is not None else Sides()
        self._left_out.clear()
        order: Sequence[Side] = ("train", "validate", "test")
        placed = sorted(
            ((*self._place(photo), photo) for photo in self._photos), key=lambda each: order.index(each[0])
        )
        for batch in batched(placed, PHOTOS_AT_ONCE, strict=False):
            read = in_parallel(lambda each: self._read(each[2], image_size), batch)
            for (own, origin, photo), found in zip(batch, read, strict=True):
                if isinstance(found, str):
                    self._left_out[found] += 1
                    continue
                side = sides.place(found.signature, own)
                if side != own:
                    where = f"that {side}" if side else "on two sides"
                    self._left_out[f"would {own}, but are near-duplicates of photos {where}"] += 1
                    continue
                targets = self._targets(photo)
                yield side, Example(photo.image, found.pixels, targets, origin, None, found.digest)

    def _place(self, photo: SentPhoto) -> tuple[Side, str]:
        drawn = int(digest("sender", photo.sender)[:8], 16) / 2**32
        if photo.image in self._official:
            return "test", PHOTO
        if not self._labels[photo.label]:
            return "test", UNSURE
        if drawn < self._new_sender_share:
            return "test", NEW_SENDER
        return ("validate" if drawn < self._new_sender_share + self._validate_share else "train"), PHOTO

    def _targets(self, photo: SentPhoto) -> Mapping[str, int]:
        meaning = self._labels[photo.label]
        return {
            head: labels.index(meaning[head]) if head in meaning else UNKNOWN
            for head, labels in self.heads.items()
        }

    def _read(self, photo: SentPhoto, image_size: int) -> "_Photo | str":
        try:
            data = self._folder.read(photo.photo, MAX_BYTES)
            image = decode(data, about=image_size)
        except ObjectNotFoundError:
            return "photo-missing"
        except ObjectTooLargeError:
            return "photo-too-large"
        except FolderError:
            return "photo-corrupt"
        except ImageError as unusable:
            return unusable.code
        return _Photo(to_array(image, image_size), signature(image), photo_digest(data))


@dataclass(frozen=True)
class _Photo:
    pixels: NDArray[np.uint8]
    signature: Signature
    digest: int


def _official_test(path: Path) -> frozenset[str]:
    expected = "expected a CSV file with the columns image and split"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not {"image", "split"} <= set(rows.fieldnames or ()):
                raise ClothingError(f"{path}: {expected}")
            tested = frozenset(row["image"] for row in rows if row["split"] == "test")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ClothingError(f"{path}: {expected}: {error}") from error
    if not tested:
        raise ClothingError(f"{path}: no image has the split test")
    return tested
