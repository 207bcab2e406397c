"""The layout of clothing-dataset on disk: images.csv, images/<image>.jpg, and what its labels mean here.

https://github.com/alexeygrigorev/clothing-dataset, CC0: photos that people took of their own clothes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from services.shared.catalogue_config import bundled_config
from services.shared.catalogue_files import Catalogue
from services.shared.events import MAX_PRODUCT_ID, Product
from services.shared.folders import Folder, FolderError, open_folder, read_index
from services.shared.labels import Vocabulary
from services.shared.nearest import did_you_mean, nearest
from services.shared.table_files import TableError, find_column, read_table

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
    known = {name: value for name, value in meaning.items() if name in bundled_config().attributes}
    return Product.of(photo.image, f"{photo.label} {photo.image}", **known)


def photos_of(folder: Folder, labels: LabelMap) -> Sequence[SentPhoto]:
    """Read images.csv of a folder that is open.

    Raises:
        ClothingError: a column is missing, or a row cannot be used; the message names its line.
        FolderError: it cannot be read.

    """
    where = f"{folder.where}: {IMAGES}"
    try:
        table = read_table(IMAGES, read_index(folder))
    except TableError as error:
        raise ClothingError(f"{folder.where}: {error}") from error
    columns = {name: find_column(name, table.columns) for name in COLUMNS}
    if missing := [name for name, column in columns.items() if column is None]:
        raise ClothingError(
            f"{where}: the column {missing[0]!r} is missing; expected {','.join(COLUMNS)}, "
            f"found {','.join(table.columns)}"
        )
    for bad in table.bad_rows:
        raise ClothingError(f"{where}, line {bad.line}: {bad.reason}")
    known = Vocabulary({"label": [*labels]})
    photos: dict[str, SentPhoto] = {}
    first_lines: dict[str, int] = {}
    for row in table.rows:
        cells = {name: str(row.values[column or ""]).strip() for name, column in columns.items()}
        try:
            photo = _photo(cells, labels, known)
            first = first_lines.setdefault(photo.image, row.line)
            if first != row.line:
                raise ValueError(f"image: {photo.image!r} is in line {first} already")
        except ValueError as error:
            raise ClothingError(f"{where}, line {row.line}: {error}") from error
        photos[photo.image] = photo
    return tuple(photos.values())


def _photo(row: Mapping[str, str], labels: LabelMap, known: Vocabulary) -> SentPhoto:
    """A row of images.csv.

    Raises:
        ValueError: a value cannot be used; says which and why.

    """
    image, label, kids = row["image"], row["label"], row["kids"].casefold()
    usable = image.isprintable() and 1 <= len(image) <= MAX_PRODUCT_ID
    if not usable or "/" in image or "\\" in image:
        raise ValueError(f"image: must be the name of a photo in images/ without .jpg (got {image[:80]!r})")
    place = known.find("label", label)
    if place is None:
        raise ValueError(f"label: unknown label {label[:80]!r}{did_you_mean(label, sorted(labels))}")
    if kids not in ("true", "false"):
        raise ValueError(f"kids: must be True or False (got {row['kids'][:80]!r})")
    return SentPhoto(image, row["sender_id"], [*labels][place], kids == "true")


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
            columns = bundled_config().named("value")
            if column not in columns and nearest(column, columns):
                hint = did_you_mean(column, columns)
                raise ClothingError(f"{path}: {label}: the catalogue has no column {column!r}{hint}")
    return content
