"""styles.csv as people really have it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.errors import ObjectNotFoundError
from services.shared.styles import COLUMNS, UNKNOWN, Catalogue, StylesError, read_catalogue

HEADER = ",".join(COLUMNS)
LINE = "1163,Men,Apparel,Topwear,Tshirts,Blue,Summer,2011,Sports,Nike Sahara Team India, Fanwear, Round Neck"


def write_catalogue(
    folder: Path, *lines: str, header: str = HEADER, photos: Mapping[str, bytes] | None = None
) -> Catalogue:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "styles.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    for name, data in (photos or {}).items():
        (folder / "images" / (name if "." in name else f"{name}.jpg")).write_bytes(data)
    return read_catalogue(folder)


words = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters=',"'), min_size=1, max_size=20
).filter(lambda text: text.casefold() not in UNKNOWN)


@given(
    product_id=words,
    columns=st.lists(st.none() | words, min_size=6, max_size=6),
    year=st.none() | st.integers(1900, 2100),
    usage=st.none() | words,
    name=st.none() | st.lists(words, min_size=1).map(", ".join),
)
def test_a_row_means_its_columns_and_unquoted_commas_belong_to_the_name(
    tmp_path_factory: pytest.TempPathFactory,
    product_id: str,
    columns: list[str | None],
    year: int | None,
    usage: str | None,
    name: str | None,
) -> None:
    fields = [product_id, *columns, year, usage, name]
    line = ",".join("" if field is None else str(field) for field in fields)
    catalogue = write_catalogue(tmp_path_factory.mktemp("catalogue"), line)
    assert [list(product.model_dump().values()) for product in catalogue.products] == [fields]
    assert list(catalogue.products[0].model_dump()) == list(COLUMNS.values())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,Men,Apparel", "3 columns instead of 10"),
        (",,,,,,,,,x", "id: expected 1 to 200 characters on one line (got '')"),
        (f"{'x' * 201},,,,,,,,,x", "id: expected 1 to 200 characters on one line (got 'xxx"),
        ("a\x07b,,,,,,,,,x", "id: expected 1 to 200 characters on one line"),
        ("9.00241E+05,,,,,,,,,x", "id: '9.00241E+05' is a number that a spreadsheet has shortened"),
    ],
)
def test_a_bad_row_says_why(tmp_path: Path, line: str, reason: str) -> None:
    (bad,) = write_catalogue(tmp_path, LINE, line).bad_rows
    assert bad.line == 3
    assert reason in bad.reason


@pytest.mark.parametrize(
    "marker", ["", "nan", "NaN", "null", "NULL", "None", "N/A", "n/a", "#N/A", "-", "NA"]
)
def test_a_value_that_says_unknown_is_none(tmp_path: Path, marker: str) -> None:
    (product,) = write_catalogue(tmp_path, f"1,{marker},{marker},,,,,{marker},{marker},Name").products
    assert product.model_dump(exclude_none=True) == {"product_id": "1", "display_name": "Name"}


@pytest.mark.parametrize(
    ("written", "year"), [("2014", 2014), ("2014.0", 2014), (" 2014 ", 2014), ("2014.", 2014)]
)
def test_a_year_may_be_written_as_a_decimal(tmp_path: Path, written: str, year: int) -> None:
    catalogue = write_catalogue(tmp_path, f"1,,,,,,,{written},,Name")
    assert catalogue.products[0].year == year
    assert not catalogue.notes


def test_what_is_no_year_stays_empty_and_is_told_once(tmp_path: Path) -> None:
    years = ("20x1", "20111", "1850", "2014.5", "soon")
    catalogue = write_catalogue(tmp_path, *(f"{number},,,,,,,{year},,N" for number, year in enumerate(years)))
    assert [product.year for product in catalogue.products] == [None] * 5
    (note,) = catalogue.notes
    assert note == "5 rows have no year in the column year ('20x1', '20111', '1850', ...); it stays empty"


def test_ids_are_text_and_never_merged(tmp_path: Path) -> None:
    ids = ["0090230", "90230", "SKU-1001-BLU", "sku-1001-blu", "6f9619ff-8b86", "900240.0"]
    catalogue = write_catalogue(tmp_path, *(f"{each},,,,,,,,,N" for each in ids))
    assert [product.product_id for product in catalogue.products] == ids
    assert catalogue.notes == (
        "1 ids look like numbers that a program wrote as decimals ('900240.0'); they are kept as they are",
    )


def test_an_id_that_comes_again_is_left_out_with_its_line(tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path, LINE, "oops", "", LINE, LINE.replace("1163", "1164"))
    assert [product.product_id for product in catalogue.products] == ["1163", "1164"]
    assert [(bad.line, bad.reason) for bad in catalogue.bad_rows] == [
        (3, "1 columns instead of 10"),
        (5, "id: '1163' is in line 2 already"),
    ]


@pytest.mark.parametrize(
    "header",
    [HEADER.lower(), HEADER.upper(), HEADER.replace(",", ", "), HEADER + ",", "\ufeff" + HEADER],
)
def test_a_header_is_read_in_another_form(tmp_path: Path, header: str) -> None:
    (product,) = write_catalogue(tmp_path, LINE, header=header).products
    assert (product.article_type, product.display_name) == (
        "Tshirts",
        "Nike Sahara Team India, Fanwear, Round Neck",
    )


def test_columns_may_be_missing_added_and_in_another_order(tmp_path: Path) -> None:
    catalogue = write_catalogue(
        tmp_path, "Tshirts,7,Shirt, blue,12.5", header="articleType,id,productDisplayName,price"
    )
    (product,) = catalogue.products
    assert product.model_dump(exclude_none=True) == {
        "product_id": "7",
        "article_type": "Tshirts",
        "display_name": "Shirt, blue",
    }
    assert "styles.csv has no column usage; it stays empty" in catalogue.notes


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("ids,articleType", "has no column 'id', only 'ids', 'articleType'; is it 'ids'?"),
        ("id,name", "has no attribute: expected at least one of the columns gender, masterCategory"),
    ],
)
def test_a_header_without_an_id_or_an_attribute_is_refused(tmp_path: Path, header: str, reason: str) -> None:
    with pytest.raises(StylesError) as refusal:
        write_catalogue(tmp_path, "1,Shirt", header=header)
    assert reason in str(refusal.value)


def test_a_folder_without_styles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StylesError, match=r"has no styles\.csv"):
        read_catalogue(tmp_path)


def test_a_photo_is_found_whatever_its_extension(tmp_path: Path) -> None:
    names = ["1.jpg", "2.JPG", "3.jpeg", "4.png", "5.WebP", "6.txt", "7.png", "7.jpg"]
    catalogue = write_catalogue(
        tmp_path,
        *(f"{number},,,,,,,,,N" for number in range(1, 9)),
        photos={name: name.encode() for name in names},
    )
    found = []
    for product in catalogue.products:
        try:
            found.append(catalogue.photo(product).decode())
        except ObjectNotFoundError:
            found.append("")
    assert found == ["1.jpg", "2.JPG", "3.jpeg", "4.png", "5.WebP", "", "7.jpg", ""]
