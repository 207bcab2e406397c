"""Catalogues as people really have them, kept outside the repository: VITRINE_CASES names their folder."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.client.importer import read
from services.shared.catalogue_files import Catalogue
from services.shared.errors import ObjectNotFoundError
from services.shared.folders import FolderError

CASES = os.environ.get("VITRINE_CASES")

pytestmark = pytest.mark.skipif(CASES is None, reason="VITRINE_CASES names no folder with collected files")


@dataclass(frozen=True)
class Outcome:
    """What an import of a folder comes to.

    Args:
        products: how many.
        photos: how many of them have one.
        bad_rows: a part of the reason of each row that is left out.
        notes: a part of each note.

    """

    products: int
    photos: int
    bad_rows: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


OUTCOMES: Mapping[str, Outcome | str] = {
    "all-quoted": Outcome(3, 3),
    "bom-crlf": Outcome(3, 3),
    "control-and-long": Outcome(3, 3),
    "cr-only": Outcome(3, 3),
    "duplicates": Outcome(1, 1, ("id: '900310' is in line 2 already",)),
    "empty-file": "styles.csv is empty",
    "excel-padded": Outcome(2, 2),
    "float-ids": Outcome(
        1,
        0,
        ("id: '9.00241E+05' is a number that a spreadsheet has shortened",),
        ("1 ids look like numbers",),
    ),
    "header-case": Outcome(1, 1),
    "header-only": "styles.csv has no products: it has no lines below the header",
    "header-spaces": Outcome(1, 1),
    "leading-zeros": Outcome(3, 3),
    "newline-in-quotes": Outcome(2, 2),
    "no-usage-column": Outcome(1, 1, (), ("styles.csv has no column usage",)),
    "optionally-enclosed": Outcome(6, 6),
    "pandas-index": Outcome(3, 3),
    "photo-extensions": Outcome(5, 5),
    "quoted-attribute-with-comma": Outcome(3, 3),
    "right-label-other-case": Outcome(6, 6),
    "sku-ids": Outcome(4, 4),
    "tabs": Outcome(3, 3),
    "unknown-markers": Outcome(4, 4),
    "value-case": Outcome(4, 4),
    "windows-1252": Outcome(3, 3, (), ("was read as cp1252",)),
    "wrong-label-mixed": Outcome(8, 8),
    "wrong-label-other-case": Outcome(8, 8),
    "year-as-float": Outcome(4, 4),
}


def catalogue(name: str) -> Catalogue:
    return read(Path(CASES or "") / "catalogues" / name)


def has_photo(read: Catalogue, place: int) -> bool:
    try:
        return bool(read.photo(read.products[place]))
    except ObjectNotFoundError:
        return False


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_catalogue_has_its_outcome(name: str) -> None:
    expected = OUTCOMES[name]
    if isinstance(expected, str):
        with pytest.raises(FolderError) as refusal:
            catalogue(name)
        assert expected in str(refusal.value)
        return
    read = catalogue(name)
    assert len(read.products) == expected.products
    assert sum(has_photo(read, place) for place in range(len(read.products))) == expected.photos
    assert len(read.bad_rows) == len(expected.bad_rows)
    assert all(part in bad.reason for bad, part in zip(read.bad_rows, expected.bad_rows, strict=True))
    assert len(read.notes) == len(expected.notes)
    assert all(part in note for note, part in zip(read.notes, expected.notes, strict=True))


@pytest.mark.parametrize(
    ("name", "place", "column", "value"),
    [
        ("all-quoted", 0, "display_name", "Linen shirt, pale 0"),
        ("optionally-enclosed", 0, "article_type", "Caps"),
        ("quoted-attribute-with-comma", 0, "sub_category", "Tops, Tees & Shirts"),
        ("quoted-attribute-with-comma", 1, "base_colour", "Navy, Blue"),
        ("newline-in-quotes", 0, "display_name", "Linen shirt\nwith a second line"),
        ("excel-padded", 0, "display_name", "Shirt, pale"),
        ("pandas-index", 0, "display_name", "Linen shirt, pale 0"),
        ("windows-1252", 0, "display_name", "Café crème shirt 0"),
        ("year-as-float", 0, "year", "2014"),
        ("year-as-float", 3, "year", None),
        ("unknown-markers", 0, "gender", None),
        ("unknown-markers", 1, "season", None),
        ("unknown-markers", 2, "base_colour", None),
        ("unknown-markers", 3, "base_colour", None),
        ("leading-zeros", 0, "product_id", "0090230"),
        ("leading-zeros", 1, "product_id", "90230"),
        ("value-case", 0, "article_type", "shirts"),
        ("value-case", 1, "article_type", "SHIRTS"),
    ],
)
def test_a_value_is_stored_as_the_catalogue_has_it(name: str, place: int, column: str, value: object) -> None:
    product = catalogue(name).products[place]
    own = {"product_id": product.product_id, "display_name": product.display_name}
    assert own.get(column, product.value(column)) == value
