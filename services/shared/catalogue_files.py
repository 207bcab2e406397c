"""A catalogue on disk: a table file that a catalogue.yaml explains, and the photos beside it.

The bundled catalogue.yaml is that of "Fashion Product Images": styles.csv and images/<id>.<any extension>.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from services.shared.catalogue import PHOTO_SUFFIXES, decimal, is_date
from services.shared.catalogue_config import ID, Attribute, CatalogueConfig, Photos, bundled_config
from services.shared.events import MAX_PRODUCT_ID, PRODUCT_ID, AttributeValue, Product
from services.shared.folders import Folder, FolderError, open_folder, read_index, table_names
from services.shared.jobs import is_web_address
from services.shared.layout import catalogue_photo
from services.shared.nearest import did_you_mean, nearest
from services.shared.table_files import SUFFIXES, BadRow, Row, TableError, Value, find_column, read_table

STYLES = "styles.csv"
YEARS = range(1900, 2101)

# What people, spreadsheets and pandas write where a value is not known; compared without regard to case.
UNKNOWN = frozenset(
    ("", "-", "--", "?", "#n/a", "<na>", "n/a", "na", "nan", "nil", "none", "null", "unknown")
)
EXAMPLES = 3  # in a note


class CatalogueFileError(FolderError):
    """A folder has no table, or one that its catalogue.yaml does not fit; the message says why."""


@dataclass(frozen=True)
class Catalogue:
    """The products of a folder or zip, each id once.

    Args:
        folder: has the photos.
        products: in the order of the table.
        bad_rows: the rows that were left out.
        photos: id of a product -> the path of its photo in the folder; products without a photo, or with one
            elsewhere, are missing.
        further: id of a product -> the paths of its second photo in the folder, and so on.
        notes: what was assumed or ignored, in sentences for people.

    """

    folder: Folder
    products: tuple[Product, ...]
    bad_rows: tuple[BadRow, ...] = ()
    photos: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    further: Mapping[str, Sequence[str]] = MappingProxyType({})

    def numbers(self, product: Product) -> Sequence[int]:
        """The numbers that `photo` takes of a product."""
        return range(1, 2 + len(self.further.get(product.product_id, ())))

    def photo(self, product: Product, max_bytes: int | None = None, number: int = 1) -> bytes:
        """The photo of a product; of several in the folder, the one of this number, from 1.

        Raises:
            ObjectNotFoundError: there is none.
            ObjectTooLargeError: it has more than max_bytes.
            FolderError: it cannot be read.

        """
        name = self.photos.get(product.product_id, f"images/{product.product_id}.jpg")
        if number > 1:
            name = self.further[product.product_id][number - 2]
        return self.folder.read(name, max_bytes)


def open_table(path: Path) -> Folder:
    """Open the folder of a table: the table itself, or a folder or zip that has one.

    Raises:
        CatalogueFileError: there is none, or there are several.

    """
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return open_folder(path.parent, (path.name,))
    names = table_names(path, SUFFIXES)
    if len(names) != 1:
        found = f"several tables: {', '.join(names)}; name the one to read" if names else "no table"
        raise CatalogueFileError(f"{path} has {found}; expected a file that ends with {', '.join(SUFFIXES)}")
    return open_folder(path, names)


def read_catalogue(path: Path, config: CatalogueConfig | None = None) -> Catalogue:
    """Read a catalogue.

    Args:
        path: a table file, or a folder or zip with one.
        config: what its columns mean. Default: the bundled catalogue, whose table is styles.csv.

    Raises:
        CatalogueFileError: there is no table, or it cannot be read.

    """
    try:
        if config is None:
            return catalogue_of(open_folder(path, (STYLES,)), bundled_config())
        return catalogue_of(open_table(path), config)
    except FolderError as error:
        raise CatalogueFileError(str(error)) from error


def catalogue_of(folder: Folder, config: CatalogueConfig) -> Catalogue:
    """Read the table of a folder that is open.

    Raises:
        CatalogueFileError: it has not the columns that the configuration names. Of the bundled catalogue, the
            id and one attribute are enough.
        FolderError: it cannot be read.

    """
    try:
        table = read_table(folder.index, read_index(folder), free_text=config.display_name)
    except TableError as error:
        raise CatalogueFileError(f"{folder.where}: {error}") from error
    columns, notes = _columns(folder, table.columns, config)
    reader = _Reader(config, columns)
    products: dict[str, Product] = {}
    named: dict[str, Sequence[str]] = {}
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
            named[product.product_id] = reader.photos(row)
        else:
            bad_rows.append(
                BadRow(row.line, f"{config.id}: {product.product_id!r} is in line {first} already")
            )
    photos: Mapping[str, str]
    further: Mapping[str, Sequence[str]] = {}
    if config.photos.column:
        found = _named_photos(folder, named)
        photos = {product: paths[0] for product, paths in found.items()}
        further = {product: paths[1:] for product, paths in found.items() if len(paths) > 1}
        notes = [*notes, *_absent(named, found)]
    else:
        photos = photos_of(folder, products, config.photos)
    return Catalogue(
        folder,
        tuple(_with_photos(each, photos, further) for each in products.values()),
        tuple(sorted(bad_rows, key=lambda bad: bad.line)),
        photos,
        (*table.notes, *notes, *reader.notes()),
        further,
    )


def _with_photos(
    product: Product, photos: Mapping[str, str], further: Mapping[str, Sequence[str]]
) -> Product:
    """The product with the names that its photos have in the bucket, if it has several.

    Those of the folder come first. An only photo has the place that a product's photo has anyway. If there
    is one in the folder, none needs to be fetched.
    """
    product_id = product.product_id
    if product_id not in photos:
        return product
    at_hand = 1 + len(further.get(product_id, ()))
    elsewhere = [photo for photo in product.photos if not is_web_address(photo)]
    names = [catalogue_photo(product_id, number) for number in range(1, at_hand + 1)]
    several = at_hand + len(elsewhere) > 1
    return product.model_copy(update={"photos": (*names, *elsewhere) if several else ()})


def _absent(named: Mapping[str, Sequence[str]], found: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """A note on products of which some photos are not in the folder; those without any are counted anyway."""
    missing = {
        product: len(names) - len(paths)
        for product, paths in found.items()
        if len(names := {*named[product]}) > len(paths)
    }
    if missing:
        yield (
            f"{sum(missing.values())} further photos are not in the folder, of the products "
            f"{_examples(Counter([*missing]))}"
        )


def photos_of(folder: Folder, ids: Iterable[str], photos: Photos) -> Mapping[str, str]:
    """The path of each product's photo: as the pattern names it, with any extension of an image."""
    before, _, after = (photos.pattern or "").partition(ID)
    after = after.removesuffix(_suffix(f"x{after}"))
    found = _by_stem(folder, before.rpartition("/")[0])
    return {product: name for product in ids if (name := found.get(f"{before}{product}{after}"))}


def _named_photos(folder: Folder, named: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """The paths of each product's photos that are there, in the folder or in its folder `images`."""
    names = frozenset(folder.names(""))
    stems = _by_stem(folder, "")

    def path(photo: str) -> str | None:
        places = (photo.lstrip("./"), f"images/{photo.lstrip('./')}")
        exact = (place for place in places if place in names)
        # Named without an extension, or with another one than it has.
        alike = (stems[stem] for place in places if (stem := place.removesuffix(_suffix(place))) in stems)
        return next(exact, None) or next(alike, None)

    found = {
        product: [*dict.fromkeys(each for photo in photos if (each := path(photo)))]
        for product, photos in named.items()
    }
    return {product: paths for product, paths in found.items() if paths}


def _by_stem(folder: Folder, under: str) -> Mapping[str, str]:
    """The path of a photo by its path without the extension: of 1.jpg and 1.png, the more common one."""
    found: dict[str, str] = {}
    for name in folder.names(under):
        if suffix := _suffix(name):
            stem = name.removesuffix(suffix)
            found[stem] = min(name, found.get(stem, name), key=_rank)
    return found


def _suffix(name: str) -> str:
    """The extension of a photo's name, with its dot; "" where it has none."""
    suffix = PurePosixPath(name).suffix
    return suffix if suffix.lower() in PHOTO_SUFFIXES else ""


def _rank(name: str) -> tuple[int, str]:
    return PHOTO_SUFFIXES.index(_suffix(name).lower()), name


def _columns(
    folder: Folder, header: Sequence[str], config: CatalogueConfig
) -> tuple[Mapping[str, str], Sequence[str]]:
    """Field of the configuration -> the file's column, and notes on those that are missing.

    Raises:
        CatalogueFileError: a column is missing without which nothing can be read.

    """
    wanted = config.columns
    columns = {field: found for field, column in wanted.items() if (found := find_column(column, header))}
    missing = {field: column for field, column in wanted.items() if field not in columns}
    if config != bundled_config():
        if missing:
            complaints = [
                f"{field}: {folder.index} has no column {column!r}{did_you_mean(column, header)}"
                for field, column in missing.items()
            ]
            raise CatalogueFileError(f"{folder.where}: {'; '.join(complaints)}")
        return columns, ()
    if "id" in missing:
        close = nearest("id", header)
        hint = f"; is it {close!r}?" if close else ""
        raise CatalogueFileError(
            f"{folder.where}: {folder.index} has no column 'id', only {', '.join(map(repr, header))}{hint}"
        )
    if not any(field.startswith("attributes.") for field in columns):
        names = [column for field, column in wanted.items() if field.startswith("attributes.")]
        raise CatalogueFileError(
            f"{folder.where}: {folder.index} has no attribute: expected at least one of the columns "
            f"{', '.join(names)}; for other columns, `vitrine catalogue init` writes a catalogue.yaml"
        )
    return columns, [f"{folder.index} has no column {column}; it stays empty" for column in missing.values()]


class _Reader:
    """Makes products of rows, and counts what it could not use."""

    def __init__(self, config: CatalogueConfig, columns: Mapping[str, str]) -> None:
        self._config, self._columns = config, columns
        self._unusable: dict[str, Counter[str]] = {name: Counter() for name in config.attributes}
        self._decimals: Counter[str] = Counter()

    def product(self, row: Row) -> Product:
        """The product of a row.

        Raises:
            ValueError: its id cannot be one; says why.

        """
        attributes = {
            name: self._value(name, attribute, self._cell(row, f"attributes.{name}"))
            for name, attribute in self._config.attributes.items()
        }
        name, own = self._cell(row, "display_name"), self._cell(row, "id")
        elsewhere = [photo for photo in self._listed(row) if "://" in photo]
        return Product.of(
            self._id("" if own is None else str(own)),
            str(name or "").strip() or None,
            elsewhere,
        ).with_values(attributes)

    def photos(self, row: Row) -> Sequence[str]:
        """The names of photos that a row has, which are to be found in the folder."""
        return [photo for photo in self._listed(row) if "://" not in photo]

    def notes(self) -> Sequence[str]:
        """What was ignored or looks wrong, once for each kind."""
        notes = []
        for name, texts in self._unusable.items():
            if texts:
                column = self._columns[f"attributes.{name}"]
                notes.append(
                    f"{texts.total()} rows have no {self._kind(name)} in the column {column} "
                    f"({_examples(texts)}); it stays empty"
                )
        if self._decimals:
            notes.append(
                f"{self._decimals.total()} ids look like numbers that a program wrote as decimals "
                f"({_examples(self._decimals)}); they are kept as they are"
            )
        return notes

    def _cell(self, row: Row, field: str) -> Value:
        return row.values.get(self._columns[field]) if field in self._columns else None

    def _listed(self, row: Row) -> Sequence[str]:
        cell = self._cell(row, "photos.column")
        separator = self._config.photos.separator
        texts = cell if isinstance(cell, (list, tuple)) else [cell]
        if separator is not None and isinstance(cell, str):
            texts = cell.split(separator)
        return [text for each in texts if not isinstance(each, (list, tuple)) and (text := known(each))]

    def _kind(self, name: str) -> str:
        """What the values of a number or date are: the time and `year` are years where they are numbers."""
        type_ = self._config.attributes[name].type
        return "year" if type_ == "number" and name in (self._config.time, "year") else type_

    def _value(self, name: str, attribute: Attribute, cell: Value) -> AttributeValue:
        if attribute.type == "values":
            cells = cell if isinstance(cell, (list, tuple)) else str(cell or "").split(attribute.separator)
            return tuple(dict.fromkeys(text for each in cells if (text := known(each))))
        text = known(cell)
        if text is None or attribute.type == "value":
            return text
        match self._kind(name):
            case "year":
                year = re.fullmatch(r"([0-9]{4})(\.0*)?", text)
                found = year[1] if year and int(year[1]) in YEARS else None
            case "number":
                found = decimal(text)
            case _:
                found = text if is_date(text) else None
        if found is None:
            self._unusable[name][text] += 1
        return found

    def _id(self, text: str) -> str:
        column = self._config.id
        product_id = to_product_id(column, text)
        if re.fullmatch(r"[0-9]+\.[0-9]*E[+-]?[0-9]+", product_id, re.IGNORECASE):
            raise ValueError(
                f"{column}: {product_id!r} is a number that a spreadsheet has shortened; format the column "
                "as text"
            )
        if re.fullmatch(r"[0-9]+\.0+", product_id):
            self._decimals[product_id] += 1
        return product_id


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
