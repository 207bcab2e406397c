"""The layout of clothing-dataset on disk: images.csv, images/<image>.jpg, and what its labels mean here.

https://github.com/alexeygrigorev/clothing-dataset, CC0: photos that people took of their own clothes.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from services.shared.events import MAX_PRODUCT_ID, Filters, Product
from services.shared.folders import Folder, FolderError, open_folder, read_index
from services.shared.nearest import did_you_mean, nearest
from services.shared.styles import Catalogue

IMAGES = "images.csv"
COLUMNS = ("image", "sender_id", "label", "kids")
LABEL_MAPS = Path(__file__).parent / "label_maps"

type LabelMap = Mapping[str, Mapping[str, str]]
"""A data set's label -> column of the catalogue -> its value there, for the columns that the label tells."""


class ClothingError(FolderError):
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
        ClothingError: there is none, or a column is missing, or a row cannot be used.

    """
    try:
        folder = open_folder(path, (IMAGES,))
        return folder, photos_of(folder, labels)
    except FolderError as error:
        raise ClothingError(str(error)) from error


def catalogue_of(folder: Folder, labels: LabelMap) -> Catalogue:
    """The photos of a folder that is open, as products: with the values of the columns that a label gives.

    Raises:
        ClothingError: a column is missing, or a row cannot be used; the message names its line.
        FolderError: images.csv cannot be read.

    """
    photos = photos_of(folder, labels)
    products = (_product(photo, labels[photo.label]) for photo in photos)
    return Catalogue(folder, tuple(products), photos={photo.image: photo.photo for photo in photos})


def _product(photo: SentPhoto, meaning: Mapping[str, str]) -> Product:
    columns = {column: value for column, value in meaning.items() if column in Filters.COLUMNS}
    own = {"product_id": photo.image, "display_name": f"{photo.label} {photo.image}"}
    return Product.model_validate(columns | own)


def photos_of(folder: Folder, labels: LabelMap) -> Sequence[SentPhoto]:
    """Read images.csv of a folder that is open.

    Raises:
        ClothingError: a column is missing, or a row cannot be used; the message names its line.
        FolderError: it cannot be read.

    """
    where = f"{folder.where}: {IMAGES}"
    try:
        text = read_index(folder).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClothingError(f"{where} is not UTF-8 at byte {error.start}") from error
    rows = csv.reader(io.StringIO(text, newline=""))
    photos: dict[str, SentPhoto] = {}
    first_lines: dict[str, int] = {}
    try:
        header = [column.strip() for column in next(rows, [])]
        if missing := [column for column in COLUMNS if column not in header]:
            raise ClothingError(
                f"{where}: the column {missing[0]!r} is missing; the first line must have {','.join(COLUMNS)}"
            )
        for fields in rows:
            if not any(map(str.strip, fields)):
                continue
            try:
                photo = _photo(header, fields, labels)
                first = first_lines.setdefault(photo.image, rows.line_num)
                if first != rows.line_num:
                    raise ValueError(f"image: {photo.image!r} is in line {first} already")
            except ValueError as error:
                raise ClothingError(f"{where}, line {rows.line_num}: {error}") from error
            photos[photo.image] = photo
    except csv.Error as error:
        raise ClothingError(f"{where}, line {rows.line_num}: {error}") from error
    return tuple(photos.values())


def _photo(header: Sequence[str], fields: Sequence[str], labels: LabelMap) -> SentPhoto:
    """A row of images.csv.

    Raises:
        ValueError: it is none; says why.

    """
    if len(fields) != len(header):
        raise ValueError(f"{len(fields)} columns instead of {len(header)}")
    row = {column: field.strip() for column, field in zip(header, fields, strict=True)}
    image, label, kids = row["image"], row["label"], row["kids"].casefold()
    usable = image.isprintable() and 1 <= len(image) <= MAX_PRODUCT_ID
    if not usable or "/" in image or "\\" in image:
        raise ValueError(f"image: must be the name of a photo in images/ without .jpg (got {image[:80]!r})")
    if label not in labels:
        raise ValueError(f"label: unknown label {label[:80]!r}{did_you_mean(label, sorted(labels))}")
    if kids not in ("true", "false"):
        raise ValueError(f"kids: must be True or False (got {row['kids'][:80]!r})")
    return SentPhoto(image, row["sender_id"], label, kids == "true")


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
        raise ClothingError(
            f"{path}: expected a label map in YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(content, dict) or not content:
        raise ClothingError(f"{path}: expected `label: {{column: value}}` for each label")
    for label, values in content.items():
        if not isinstance(label, str) or not isinstance(values, dict):
            raise ClothingError(f"{path}: {label}: expected {{column: value}}")
        for column, value in values.items():
            if not isinstance(column, str) or not isinstance(value, str) or not value:
                raise ClothingError(f"{path}: {label}: {column}: expected a text, not {value!r}")
            # A set may tell attributes of its own; one that nearly has a column's name is misspelt.
            if column not in Filters.COLUMNS and nearest(column, Filters.COLUMNS):
                hint = did_you_mean(column, Filters.COLUMNS)
                raise ClothingError(f"{path}: {label}: the catalogue has no column {column!r}{hint}")
    return content
