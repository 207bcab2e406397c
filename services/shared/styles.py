"""The layout of "Fashion Product Images" on disk: styles.csv and images/<id>.<any image extension>."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from services.shared.events import MAX_PRODUCT_ID, PRODUCT_ID, Product
from services.shared.folders import Folder, FolderError, open_folder, read_index
from services.shared.nearest import nearest
from services.shared.table_files import BadRow, Row, TableError, Value, find_column, read_table

STYLES = "styles.csv"
YEARS = range(1900, 2101)

# The header of styles.csv, in order, and the columns of `products` that it means.
COLUMNS = {
    "id": "product_id",
    "gender": "gender",
    "masterCategory": "master_category",
    "subCategory": "sub_category",
    "articleType": "article_type",
    "baseColour": "base_colour",
    "season": "season",
    "year": "year",
    "usage": "usage",
    "productDisplayName": "display_name",
}
# What people, spreadsheets and pandas write where a value is not known; compared without regard to case.
UNKNOWN = frozenset(
    ("", "-", "--", "?", "#n/a", "<na>", "n/a", "na", "nan", "nil", "none", "null", "unknown")
)
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".heic", ".heif")
EXAMPLES = 3  # in a note


class StylesError(FolderError):
    """A folder has no styles.csv, or one of another layout; the message says which in one line."""


@dataclass(frozen=True)
class Catalogue:
    """The products of a folder or zip, each id once.

    Args:
        folder: has the photos.
        products: in the order of the index file.
        bad_rows: the rows that were left out.
        photos: id of a product -> the path of its photo in the folder; products without a photo are missing.
        notes: what was assumed or ignored, in sentences for people.

    """

    folder: Folder
    products: tuple[Product, ...]
    bad_rows: tuple[BadRow, ...] = ()
    photos: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()

    def photo(self, product: Product, max_bytes: int | None = None) -> bytes:
        """The photo of a product.

        Raises:
            ObjectNotFoundError: there is none.
            ObjectTooLargeError: it has more than max_bytes.
            FolderError: it cannot be read.

        """
        name = self.photos.get(product.product_id, f"images/{product.product_id}.jpg")
        return self.folder.read(name, max_bytes)


def read_catalogue(path: Path) -> Catalogue:
    """Read styles.csv of a folder, or of a zip as it was downloaded.

    Raises:
        StylesError: there is none, or it cannot be read.

    """
    try:
        return catalogue_of(open_folder(path, (STYLES,)))
    except FolderError as error:
        raise StylesError(str(error)) from error


def catalogue_of(folder: Folder) -> Catalogue:
    """Read styles.csv of a folder that is open.

    Raises:
        StylesError: it has no column for the id, or none for any attribute.
        FolderError: it cannot be read.

    """
    try:
        table = read_table(STYLES, read_index(folder), free_text="productDisplayName")
    except TableError as error:
        raise StylesError(f"{folder.where}: {error}") from error
    columns = _columns(folder, table.columns)
    reader = _Reader(columns)
    products: dict[str, Product] = {}
    first_lines: dict[str, int] = {}
    bad_rows = [*table.bad_rows]
    for row in table.rows:
        try:
            product = reader.product(row)
        except ValueError as error:
            bad_rows.append(BadRow(row.line, str(error)))
            continue
        first = first_lines.setdefault(product.product_id, row.line)
        if first == row.line:
            products[product.product_id] = product
        else:
            bad_rows.append(BadRow(row.line, f"id: {product.product_id!r} is in line {first} already"))
    missing = [column for column in COLUMNS if column not in columns]
    notes = [*table.notes, *(f"{STYLES} has no column {column}; it stays empty" for column in missing)]
    return Catalogue(
        folder,
        tuple(products.values()),
        tuple(sorted(bad_rows, key=lambda bad: bad.line)),
        photos_of(folder, products),
        (*notes, *reader.notes()),
    )


def photos_of(folder: Folder, ids: Iterable[str]) -> Mapping[str, str]:
    """The path of each product's photo: images/<id> with any extension of images, in either case."""
    found: dict[str, str] = {}
    for name in folder.names("images"):
        path = PurePosixPath(name)
        if path.suffix.lower() in PHOTO_SUFFIXES:
            # Of 1.jpg and 1.png, the one that is more common.
            found[str(path.relative_to("images").with_suffix(""))] = min(
                name, found.get(str(path.relative_to("images").with_suffix("")), name), key=_rank
            )
    return {product: found[product] for product in ids if product in found}


def _rank(name: str) -> tuple[int, str]:
    return PHOTO_SUFFIXES.index(PurePosixPath(name).suffix.lower()), name


def _columns(folder: Folder, header: Sequence[str]) -> Mapping[str, str]:
    """The file's column for each of COLUMNS that it has.

    Raises:
        StylesError: it has no id, or no attribute.

    """
    columns = {wanted: found for wanted in COLUMNS if (found := find_column(wanted, header))}
    if "id" not in columns:
        close = nearest("id", header)
        hint = f"; is it {close!r}?" if close else ""
        raise StylesError(
            f"{folder.where}: {STYLES} has no column 'id', only {', '.join(map(repr, header))}{hint}"
        )
    if not columns.keys() - {"id", "productDisplayName"}:
        raise StylesError(
            f"{folder.where}: {STYLES} has no attribute: expected at least one of the columns "
            f"{', '.join(column for column in COLUMNS if column not in ('id', 'productDisplayName'))}"
        )
    return columns


class _Reader:
    """Makes products of rows, and counts what it could not use."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._columns = columns
        self._no_year: Counter[str] = Counter()
        self._decimals: Counter[str] = Counter()

    def product(self, row: Row) -> Product:
        """The product of a row.

        Raises:
            ValueError: its id cannot be one; says why.

        """
        cells = {wanted: row.values.get(column) for wanted, column in self._columns.items()}
        values: dict[str, str | int | None] = {
            column: known(cells.get(wanted)) for wanted, column in COLUMNS.items()
        }
        values["product_id"] = self._id(str(cells["id"] if cells["id"] is not None else ""))
        values["year"] = self._year(known(cells.get("year")))
        values["display_name"] = str(cells.get("productDisplayName") or "").strip() or None
        return Product.model_validate(values)

    def notes(self) -> Sequence[str]:
        """What was ignored or looks wrong, once for each kind."""
        notes = []
        if count := self._no_year.total():
            notes.append(
                f"{count} rows have no year in the column year ({_examples(self._no_year)}); it stays empty"
            )
        if count := self._decimals.total():
            notes.append(
                f"{count} ids look like numbers that a program wrote as decimals "
                f"({_examples(self._decimals)}); they are kept as they are"
            )
        return notes

    def _id(self, text: str) -> str:
        product_id = to_product_id("id", text)
        if re.fullmatch(r"[0-9]+\.[0-9]*E[+-]?[0-9]+", product_id, re.IGNORECASE):
            raise ValueError(
                f"id: {product_id!r} is a number that a spreadsheet has shortened; format the column as text"
            )
        if re.fullmatch(r"[0-9]+\.0+", product_id):
            self._decimals[product_id] += 1
        return product_id

    def _year(self, text: str | None) -> int | None:
        if text is None:
            return None
        match = re.fullmatch(r"([0-9]{4})(\.0*)?", text)
        if match and int(match[1]) in YEARS:
            return int(match[1])
        self._no_year[text] += 1
        return None


def to_product_id(column: str, text: str) -> str:
    """Reads a product id, without the blanks around it.

    Raises:
        ValueError: it is empty, too long or has control characters; names the column.

    """
    product_id = text.strip()
    if len(product_id) > MAX_PRODUCT_ID or not re.fullmatch(PRODUCT_ID, product_id):
        raise ValueError(
            f"{column}: expected 1 to {MAX_PRODUCT_ID} characters on one line (got {product_id[:80]!r})"
        )
    return product_id


def known(value: Value) -> str | None:
    """A cell's value without the blanks around it; None where it says that the value is not known."""
    text = "" if value is None else str(value).strip()
    return None if text.casefold() in UNKNOWN else text


def _examples(texts: Counter[str]) -> str:
    return ", ".join(repr(text[:40]) for text in [*texts][:EXAMPLES]) + (
        ", ..." if len(texts) > EXAMPLES else ""
    )
