"""The layout of "Fashion Product Images" on disk: styles.csv and images/<id>.jpg."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from services.shared.events import MAX_PRODUCT_ID, PRODUCT_ID, Product, describe
from services.shared.folders import Folder, FolderError, open_folder, read_index

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
UNKNOWN = ("", "NA")  # how the data set writes that a value is not known


class StylesError(FolderError):
    """A folder has no styles.csv, or one of another layout; the message says which in one line."""


@dataclass(frozen=True)
class BadRow:
    """A line of styles.csv that is no product."""

    line: int  # the header is line 1
    reason: str


@dataclass(frozen=True)
class Catalogue:
    """The products of a folder or zip, each id once, and the lines of its index that were left out."""

    folder: Folder
    products: tuple[Product, ...]
    bad_rows: tuple[BadRow, ...] = ()
    # Product's id -> the path of its photo in the folder, where that is not images/<id>.jpg.
    photos: Mapping[str, str] = MappingProxyType({})

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
        StylesError: there is none, or its header is another.

    """
    try:
        return catalogue_of(open_folder(path, (STYLES,)))
    except FolderError as error:
        raise StylesError(str(error)) from error


def catalogue_of(folder: Folder) -> Catalogue:
    """Read styles.csv of a folder that is open.

    Raises:
        StylesError: its header is another.
        FolderError: it cannot be read.

    """
    styles = f"{folder.where}: {STYLES}"
    content = read_index(folder)
    with io.BytesIO(content) as lines:
        header = next(lines, b"").decode("utf-8-sig", errors="replace").strip()
        if header != ",".join(COLUMNS):
            raise StylesError(f"{styles}: the first line must be {','.join(COLUMNS)}")
        products: dict[str, Product] = {}
        first_lines: dict[str, int] = {}
        bad_rows = []
        for number, line in enumerate(lines, start=2):
            if not line.strip():
                continue
            try:
                product = parse_line(line)
            except ValueError as error:
                bad_rows.append(BadRow(number, str(error)))
                continue
            first = first_lines.setdefault(product.product_id, number)
            if first == number:
                products[product.product_id] = product
            else:
                bad_rows.append(BadRow(number, f"id: {product.product_id!r} is in line {first} already"))
    return Catalogue(folder, tuple(products.values()), tuple(bad_rows))


def parse_line(line: bytes) -> Product:
    """Reads a line of styles.csv: whatever comes after the ninth comma is the name, commas included.

    Raises:
        ValueError: it is no product; says why.

    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    fields = text.rstrip("\r\n").split(",", len(COLUMNS) - 1)
    if len(fields) < len(COLUMNS):
        raise ValueError(f"{len(fields)} columns instead of {len(COLUMNS)}")
    values: dict[str, str | int | None] = {
        column: None if field.strip() in UNKNOWN else field.strip()
        for column, field in zip(COLUMNS.values(), fields, strict=True)
    }
    values["display_name"] = _unquoted(fields[-1].strip()) or None
    values["product_id"] = product_id("id", fields[0])
    if values["year"] is not None:
        values["year"] = _whole_number("year", str(values["year"]), YEARS)
    try:
        return Product.model_validate(values)
    except ValidationError as error:
        raise ValueError(describe(error)) from error


def product_id(column: str, field: str) -> str:
    """Reads a product id, without the blanks around it.

    Raises:
        ValueError: it is empty, too long or has control characters; names the column.

    """
    text = field.strip()
    if len(text) > MAX_PRODUCT_ID or not re.fullmatch(PRODUCT_ID, text):
        raise ValueError(
            f"{column}: expected 1 to {MAX_PRODUCT_ID} characters on one line (got {text[:80]!r})"
        )
    return text


def _whole_number(column: str, field: str, allowed: range) -> int:
    text = field.strip()
    # int() alone would take "1_000", "+1" and other digits than ours.
    if not (text.isascii() and text.isdigit()) or int(text) not in allowed:
        bounds = f"from {allowed[0]} to {allowed[-1]}"
        raise ValueError(f"{column}: must be a whole number {bounds} (got {text[:80]!r})")
    return int(text)


def _unquoted(name: str) -> str:
    # The data set quotes no name, but a spreadsheet that wrote the file does.
    inner = name[1:-1]
    if len(name) >= 2 and name[0] == name[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return name
