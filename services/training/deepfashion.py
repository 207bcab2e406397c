"""DeepFashion's Category and Attribute Prediction Benchmark: 289,222 photos with all that FashionNet learns.

https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/AttributePrediction.html, as published:

    Anno_coarse/ (or Anno/)
        list_category_cloth.txt     category name, clothes type
        list_category_img.txt       photo, number of its category, from 1
        list_attr_cloth.txt         attribute name (may have spaces), attribute type
        list_attr_img.txt           photo, per attribute 1 has it, -1 has it not, 0 unknown
        list_bbox.txt               photo, x and y of the garment's upper left and lower right corner
        list_landmarks.txt          photo, clothes type, variation type, per landmark visibility, x and y
    Eval/list_eval_partition.txt    photo, train, val or test
    Img/img/...                     the photos; also found without the folder Img

The first line of each file counts its rows, the second names its columns. The files about photos name them in
the same order, so that they are read side by side and memory does not grow with the number of photos.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import zip_longest
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.model.fashionnet import LANDMARKS, UNKNOWN, Category, ClothesType
from services.model.preprocessing import to_array
from services.shared.errors import ImageError
from services.shared.images import decode
from services.training import examples as training
from services.training.examples import LeftOut, Side

type Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
LISTED = 5  # photos that are left out

# Clothes type -> where its landmarks, as they are listed, stand among LANDMARKS.
POSITIONS = {
    ClothesType.UPPER: (0, 1, 2, 3, 6, 7),
    ClothesType.LOWER: (4, 5, 6, 7),
    ClothesType.FULL: (0, 1, 2, 3, 4, 5, 6, 7),
}


class FormatError(ValueError):
    """A file is not as published; the message names it, the line, and what was expected."""


class Visibility(IntEnum):
    """How a landmark is seen, by the numbers of list_landmarks.txt."""

    VISIBLE = 0
    OCCLUDED = 1
    CUT_OFF = 2


class Landmark(NamedTuple):
    """A place in the photo, in pixels from its left and top."""

    visibility: Visibility
    x: int
    y: int


class Box(NamedTuple):
    """A part of a photo, in pixels from its left and top."""

    left: int
    top: int
    right: int
    bottom: int


class Attribute(NamedTuple):
    """A class of the attribute head; types: 1 texture, 2 fabric, 3 shape, 4 part, 5 style."""

    name: str
    type: int


@dataclass(frozen=True)
class Annotation:
    """What is known of a photo."""

    photo: Path
    split: Split
    category: int  # index into the benchmark's categories
    attributes: NDArray[np.int8]  # [attributes]: 1, 0 or UNKNOWN
    box: Box
    clothes_type: ClothesType
    landmarks: tuple[Landmark | None, ...]  # by the order of LANDMARKS; None: such clothes have none there


@dataclass(frozen=True)
class Example:
    """A garment cut out of its photo, as FashionNet learns from it."""

    pixels: NDArray[np.uint8]  # [size, size, 3]
    landmarks: NDArray[np.float32]  # [8, 2]: x and y in sides of `pixels`; 0.5 where there is none
    visibility: NDArray[np.int8]  # [8]: 1 seen, 0 not


class Benchmark:
    """A folder of DeepFashion, with its categories and attributes.

    Raises:
        FormatError: a list of names is missing or not as published.

    """

    def __init__(self, folder: Path) -> None:
        coarse = folder / "Anno_coarse"
        self._lists = coarse if coarse.is_dir() else folder / "Anno"
        self._partition = folder / "Eval" / "list_eval_partition.txt"
        self.photos = folder / "Img" if (folder / "Img").is_dir() else folder
        self.categories = tuple(
            Category(row.name, ClothesType(row.integer(-1, "a clothes type", 1, 3)))
            for row in _rows(self._lists / "list_category_cloth.txt", "category_name")
        )
        self.attributes = tuple(
            Attribute(row.name, row.integer(-1, "an attribute type", 1, 5))
            for row in _rows(self._lists / "list_attr_cloth.txt", "attribute_name")
        )

    def annotations(self) -> Iterator[Annotation]:
        """All photos' annotations, in the order of the files. No photo is opened.

        Raises:
            FormatError: a file is missing or not as published, or names another photo than the others.

        """
        landmarks_list = self._lists / "list_landmarks.txt"
        first_landmark = _first_landmark(landmarks_list)
        files = (
            self._lists / "list_category_img.txt",
            self._lists / "list_attr_img.txt",
            self._lists / "list_bbox.txt",
            landmarks_list,
            self._partition,
        )
        for number, found in enumerate(zip_longest(*(_rows(file, "image_name") for file in files))):
            category, attributes, box, landmarks, partition = _of_one_photo(files, number, found)
            clothes_type, places = _landmarks(landmarks, first_landmark)
            yield Annotation(
                photo=self.photos / category.fields[0],
                split=_split(partition),
                category=category.integer(1, "the number of a category", 1, len(self.categories)) - 1,
                attributes=_attributes(attributes, len(self.attributes)),
                box=_box(box),
                clothes_type=clothes_type,
                landmarks=places,
            )


def example(annotation: Annotation, size: int) -> Example:
    """Open a photo, cut the garment's box out of it and fit it into a square of `size` pixels.

    A box that reaches outside of the photo is cut off at its edge. A landmark counts as seen where it is
    annotated as visible and lies in the box.

    Raises:
        FormatError: the box lies outside of the photo.
        OSError: there is no such photo.
        services.shared.errors.ImageError: the photo cannot be used.

    """
    image = decode(annotation.photo.read_bytes())
    left, top, right, bottom = annotation.box
    box = Box(max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    width, height = box.right - box.left, box.bottom - box.top
    if width <= 0 or height <= 0:
        raise FormatError(
            f"{annotation.photo}: expected a box in {image.width}x{image.height} pixels and not {left} {top} "
            f"{right} {bottom}"
        )
    # As `to_array` does it: the longer side fills the square, the shorter one is in its middle.
    side = max(width, height)
    origin = np.array([box.left - (side - width) / 2, box.top - (side - height) / 2])
    landmarks = np.full((len(LANDMARKS), 2), 0.5, np.float32)
    visibility = np.zeros(len(LANDMARKS), np.int8)
    for position, landmark in enumerate(annotation.landmarks):
        if landmark and _lies_in(box, landmark):
            landmarks[position] = ((landmark.x, landmark.y) - origin) / side
            visibility[position] = landmark.visibility is Visibility.VISIBLE
    return Example(to_array(image.crop(box), size), landmarks, visibility)


class DeepFashionSource:
    """As `services.training.examples.Source`: category and clothes type, on the published split.

    The attributes are a thousand questions of yes and no, which no head answers: FashionNet has them.
    """

    def __init__(self, folder: Path) -> None:
        """Read the names of the categories; no photo is opened.

        Raises:
            FormatError: a list of names is missing or not as published.

        """
        self._benchmark = Benchmark(folder)
        self._unusable: dict[str, list[str]] = {}
        self.heads: Mapping[str, Sequence[str]] = {
            "category": [category.name for category in self._benchmark.categories],
            "clothes_type": [clothes_type.name.lower() for clothes_type in ClothesType],
        }
        self.description: Mapping[str, str] = {"kind": "deepfashion"}
        self.several: Mapping[str, Sequence[str]] = {}
        self.applies_to: Mapping[str, Mapping[str, Sequence[str]]] = {}

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """Photos that cannot be used; complete when `examples` has been read to its end."""
        return [
            LeftOut(f"{', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''}", len(names), why)
            for why, names in sorted(self._unusable.items())
        ]

    def examples(self, image_size: int) -> Iterator[tuple[Side, training.Example]]:
        """Streams the garments, cut out of their photos, in the order of the files.

        Raises:
            FormatError: a file is missing or not as published.

        """
        self._unusable = {}
        for annotation in self._benchmark.annotations():
            key = annotation.photo.relative_to(self._benchmark.photos).as_posix()
            try:
                pixels = example(annotation, image_size).pixels
            except FileNotFoundError:
                self._unusable.setdefault("photo-missing", []).append(key)
                continue
            except ImageError as unusable:
                self._unusable.setdefault(unusable.code, []).append(key)
                continue
            labels = {"category": annotation.category, "clothes_type": annotation.clothes_type - 1}
            yield _SIDES[annotation.split], training.Example(key, pixels, labels, "photo", None)


_SIDES: Mapping[Split, Side] = {"train": "train", "val": "validate", "test": "test"}
_FIRST_ROW = 3  # the line behind count and header
_ATTRIBUTE_LABELS = {"1": 1, "-1": 0, "0": UNKNOWN}


class _Row(NamedTuple):
    """A line of a file, split at white space."""

    file: Path
    line: int
    fields: Sequence[str]

    @property
    def name(self) -> str:
        """All but the last field, which is a type: names may have spaces."""
        return " ".join(self.fields[:-1])

    def error(self, expected: str, found: object) -> FormatError:
        """Says what this line should have."""
        return FormatError(f"{self.file}:{self.line}: expected {expected} and not {found}")

    def integer(self, index: int, expected: str, least: int, most: int) -> int:
        """A field as a whole number between `least` and `most`, both included."""
        if not -len(self.fields) <= index < len(self.fields):
            raise self.error(expected, "the end of the line")
        try:
            value = int(self.fields[index])
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise self.error(f"{expected} ({least} to {most})", repr(self.fields[index]))
        return value


def _rows(file: Path, first_column: str) -> Iterator[_Row]:
    """The rows of a file, as many as its first line says."""
    try:
        lines = file.open(encoding="utf-8")
    except FileNotFoundError as error:
        raise FormatError(f"{file}: expected this file, it is missing") from error
    with lines:
        count = _Row(file, 1, next(lines, "").split()).integer(0, "the number of rows", 0, 10**9)
        header = _Row(file, 2, next(lines, "").split())
        if header.fields[:1] != [first_column]:
            raise header.error(
                f"the names of the columns, of which the first is {first_column}", header.fields
            )
        found = 0
        for line, text in enumerate(lines, start=_FIRST_ROW):
            if fields := text.split():
                found += 1
                if len(fields) < 2:
                    raise _Row(file, line, fields).error("at least 2 columns", len(fields))
                yield _Row(file, line, fields)
        if found != count:
            raise FormatError(f"{file}:1: expected {count} rows, as the first line says, and not {found}")


def _of_one_photo(files: Sequence[Path], number: int, rows: Sequence[_Row | None]) -> list[_Row]:
    """Rows of several files, of which each is there and begins with the same photo."""
    first = rows[0]
    present = []
    for file, row in zip(files, rows, strict=True):
        if row is None or first is None:
            shorter, longer = (file, files[0]) if row is None else (files[0], file)
            raise FormatError(f"{shorter}: expected more than {number} rows, as {longer.name} has")
        if row.fields[0] != first.fields[0]:
            raise row.error(f"{first.fields[0]}, as in {first.file.name}:{first.line},", row.fields[0])
        present.append(row)
    return present


def _split(row: _Row) -> Split:
    for split in SPLITS:
        if row.fields[1:] == [split]:
            return split
    raise row.error("train, val or test", " ".join(row.fields[1:]))


def _attributes(row: _Row, count: int) -> NDArray[np.int8]:
    labels = row.fields[1:]
    if len(labels) != count:
        raise row.error(f"{count} attribute labels", len(labels))
    try:
        return np.fromiter((_ATTRIBUTE_LABELS[label] for label in labels), np.int8, count)
    except KeyError as error:
        raise row.error("attribute labels that are 1, -1 or 0", error.args[0]) from error


def _box(row: _Row) -> Box:
    if len(row.fields) != 5:
        raise row.error("4 coordinates of a box", len(row.fields) - 1)
    box = Box(*(_coordinate(row, index) for index in range(1, 5)))
    if box.left >= box.right or box.top >= box.bottom:
        raise row.error("the upper left corner of a box, then the lower right one,", " ".join(row.fields[1:]))
    return box


def _first_landmark(file: Path) -> int:
    """The column of the first landmark, behind clothes type and, where there is one, variation type."""
    try:
        with file.open(encoding="utf-8") as lines:
            next(lines, "")
            columns = next(lines, "").split()
    except FileNotFoundError as error:
        raise FormatError(f"{file}: expected this file, it is missing") from error
    if "landmark_visibility_1" not in columns:
        raise FormatError(f"{file}:2: expected a column landmark_visibility_1 and not {columns}")
    return columns.index("landmark_visibility_1")


def _landmarks(row: _Row, first: int) -> tuple[ClothesType, tuple[Landmark | None, ...]]:
    clothes_type = ClothesType(row.integer(1, "a clothes type", 1, 3))
    positions = POSITIONS[clothes_type]
    if len(row.fields) != first + 3 * len(positions):
        raise row.error(
            f"{len(positions)} landmarks of 3 columns for clothes type {clothes_type}",
            f"{len(row.fields) - first} columns",
        )
    places: list[Landmark | None] = [None] * len(LANDMARKS)
    for column, position in zip(range(first, len(row.fields), 3), positions, strict=True):
        visibility = Visibility(row.integer(column, "a landmark's visibility", 0, 2))
        places[position] = Landmark(visibility, _coordinate(row, column + 1), _coordinate(row, column + 2))
    return clothes_type, tuple(places)


def _coordinate(row: _Row, index: int) -> int:
    return row.integer(index, "a coordinate in pixels", -100_000, 100_000)


def _lies_in(box: Box, landmark: Landmark) -> bool:
    return box.left <= landmark.x <= box.right and box.top <= landmark.y <= box.bottom
