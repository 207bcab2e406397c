"""The layout of clothing-dataset on disk: images.csv, images/<image>.jpg, and what its labels mean here.

https://github.com/alexeygrigorev/clothing-dataset, CC0: photos that people took of their own clothes.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import yaml

from services.shared.errors import ObjectNotFoundError
from services.shared.folders import Folder, FolderError, open_folder

IMAGES = "images.csv"
COLUMNS = ("image", "sender_id", "label", "kids")
LABEL_MAPS = Path(__file__).parent / "label_maps"

type LabelMap = Mapping[str, Mapping[str, str]]
"""A data set's label -> column of the catalogue -> its value; columns that it says nothing of are absent."""


class ClothingError(Exception):
    """The folder has no usable images.csv; the message says what is wrong in one line."""


@dataclass(frozen=True)
class SentPhoto:
    """A row of images.csv."""

    image: str  # a UUID; the photo is images/<image>.jpg
    sender: str
    label: str
    kids: bool

    @property
    def photo(self) -> str:
        """The path of the photo in the folder."""
        return f"images/{self.image}.jpg"


def read_photos(path: Path, labels: LabelMap) -> tuple[Folder, Sequence[SentPhoto]]:
    """Read images.csv of a folder, or of a zip as it was downloaded.

    Args:
        path: the folder or zip.
        labels: what its labels mean.

    Raises:
        ClothingError: there is none, a column is missing, or a row has a label that is not in the map.

    """
    try:
        folder = open_folder(path, (IMAGES,))
        text = folder.read(IMAGES).decode("utf-8-sig")
    except (FolderError, ObjectNotFoundError) as error:
        raise ClothingError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ClothingError(f"{path}: {IMAGES} is not UTF-8 at byte {error.start}") from error
    where = f"{folder.where}: {IMAGES}"
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [column for column in COLUMNS if column not in (rows.fieldnames or ())]:
        raise ClothingError(f"{where}: the column {missing[0]} is missing; expected {','.join(COLUMNS)}")
    photos: dict[str, SentPhoto] = {}
    for row in rows:
        image, label = (row["image"] or "").strip(), row["label"]
        if label not in labels:
            raise ClothingError(
                f"{where}, line {rows.line_num}: unknown label {label!r}{nearest(label, labels)}"
            )
        if not image or "/" in image or image in photos:
            raise ClothingError(
                f"{where}, line {rows.line_num}: image {image!r} is empty, a path, or there twice"
            )
        photos[image] = SentPhoto(image, row["sender_id"] or "", label, row["kids"] == "True")
    return folder, tuple(photos.values())


@cache
def label_map(name: str) -> LabelMap:
    """The label map of this name in LABEL_MAPS."""
    return read_label_map(LABEL_MAPS / f"{name}.yaml")


def read_label_map(path: Path) -> LabelMap:
    """Read a file that maps a data set's labels to columns and values of the catalogue.

    Raises:
        ClothingError: it is not such a file.

    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClothingError(f"{path}: expected a label map in YAML: {error}") from error
    if not isinstance(content, dict) or not content:
        raise ClothingError(f"{path}: expected `label: {{column: value}}` for each label")
    for label, values in content.items():
        if not isinstance(label, str) or not isinstance(values, dict):
            raise ClothingError(f"{path}: {label}: expected {{column: value}}")
        for column, value in values.items():
            if not isinstance(column, str) or not isinstance(value, str) or not value:
                raise ClothingError(f"{path}: {label}: {column}: expected a text, not {value!r}")
    return content


def nearest(text: str | None, known: Iterable[str]) -> str:
    """`; did you mean ...?`, where one of the known texts is near, else what is expected."""
    close = get_close_matches(text or "", list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(sorted(known))}"
