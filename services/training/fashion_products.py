"""Fashion Product Images as training data: what the catalogue's columns teach, split by time.

The set (https://www.kaggle.com/datasets/paramaggarwal/fashion-product-images-dataset) is a folder with
styles.csv and images/<id>.jpg. A team's own catalogue in the same layout does as well: the heads and their
classes come from the rows.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.shared.events import Filters, Product
from services.shared.styles import Catalogue, read_catalogue
from services.training.examples import UNKNOWN

LISTED = 5  # ids, of products that were left out


class DatasetError(ValueError):
    """Nothing can be learnt or tested from these rows; the message says why."""


@dataclass(frozen=True)
class Record:
    """A product's photo and, per head, the index of its class, or UNKNOWN; one at least is known."""

    image_id: int
    photo: Path
    labels: Mapping[str, int]


@dataclass(frozen=True)
class LeftOut:
    """Something that takes no part in training or test."""

    what: str
    count: int  # lines of styles.csv; of a class or a head, photos
    why: str


@dataclass(frozen=True)
class Dataset:
    """Each product on one side of the split, and what was left out."""

    heads: Mapping[str, Sequence[str]]  # head -> its classes, in the order of their indices
    train: Sequence[Record]
    test: Sequence[Record]
    left_out: Sequence[LeftOut]


def read(folder: Path, test_from: int, minimum_photos: int) -> Dataset:
    """Read a folder; products from the year `test_from` on are the test side, older ones train.

    A head has the classes with at least `minimum_photos` in the training span: the test span has no say in
    what is learnt. Labels of other classes are UNKNOWN, as are those that the catalogue does not give. A
    column that is left with fewer than two classes is no head, and a product without a known label of any
    head no record.

    Raises:
        services.shared.styles.StylesError: there is no styles.csv, or it has another header.
        DatasetError: no column has two classes, or one side no record.

    """
    catalogue = read_catalogue(folder)
    left_out = [LeftOut(f"line {row.line}", 1, row.reason) for row in catalogue.bad_rows]
    # One listing instead of a look at the disk per product.
    photos = {path.name for path in folder.joinpath("images").glob("*.jpg")}
    with_photo, without_photo = _parted(catalogue.products, lambda each: catalogue.photo(each).name in photos)
    dated, undated = _parted(with_photo, lambda each: each.year is not None)
    left_out += _products("no photo", without_photo)
    left_out += _products("no year: they belong to neither side", undated)
    train, test = _parted(dated, lambda each: each.year is not None and each.year < test_from)

    heads: dict[str, Sequence[str]] = {}
    # Each that a request may filter by becomes a head, where there is something to learn in it.
    for column in Filters.COLUMNS:
        classes, others = _classes(column, train, test, minimum_photos, test_from)
        left_out += others
        if len(classes) > 1:
            heads[column] = classes
        else:
            left_out.append(LeftOut(column, len(dated), f"to learn needs two classes, it has {len(classes)}"))

    train_records, train_unknown = _parted(_records(catalogue, train, heads), _has_labels)
    test_records, test_unknown = _parted(_records(catalogue, test, heads), _has_labels)
    left_out += _products("no known label of any head", [*train_unknown, *test_unknown])
    for span, products, records in (("before", train, train_records), ("from", test, test_records)):
        if not records:
            raise DatasetError(
                f"{folder}: of {len(catalogue.products)} products, {len(products)} have a photo and a year "
                f"{span} {test_from}, and none of these has a label that can be learnt: it takes a column "
                f"with two classes of at least {minimum_photos} photos before {test_from}"
            )
    return Dataset(heads, train_records, test_records, left_out)


def _parted[Item](
    items: Iterable[Item], belongs: Callable[[Item], bool]
) -> tuple[Sequence[Item], Sequence[Item]]:
    """Those that belong, and the others."""
    parts: tuple[list[Item], list[Item]] = ([], [])
    for item in items:
        parts[0 if belongs(item) else 1].append(item)
    return parts


def _classes(
    column: str, train: Iterable[Product], test: Iterable[Product], minimum_photos: int, test_from: int
) -> tuple[Sequence[str], Sequence[LeftOut]]:
    """The classes of a column that can be learnt, in alphabetical order, and the others."""
    trained, tested = (Counter(getattr(product, column) for product in side) for side in (train, test))
    labels = sorted(label for label in trained | tested if label is not None)
    classes = [label for label in labels if label in trained and trained[label] >= minimum_photos]
    others = [
        LeftOut(
            f"{column} {label!r}",
            trained[label] + tested[label],
            f"{trained[label]} photos before {test_from}, {minimum_photos} are needed"
            if trained[label]
            else f"only from {test_from} on: it cannot be learnt",
        )
        for label in labels
        if label not in classes
    ]
    return classes, others


def _records(
    catalogue: Catalogue, products: Iterable[Product], heads: Mapping[str, Sequence[str]]
) -> Iterable[Record]:
    indices = {head: {label: index for index, label in enumerate(labels)} for head, labels in heads.items()}
    for product in products:
        labels = {head: index.get(getattr(product, head), UNKNOWN) for head, index in indices.items()}
        yield Record(product.image_id, catalogue.photo(product), labels)


def _has_labels(record: Record) -> bool:
    return any(label != UNKNOWN for label in record.labels.values())


def _products(why: str, products: Sequence[Product | Record]) -> Sequence[LeftOut]:
    """One entry for all of these products, or none if there are none."""
    ids = [str(product.image_id) for product in products]
    more = ", ..." if len(ids) > LISTED else ""
    return [LeftOut(f"products {', '.join(ids[:LISTED])}{more}", len(ids), why)] if ids else []
