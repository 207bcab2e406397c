"""styles.csv as people really have it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.catalogue_config import CatalogueConfig, bundled_config
from services.shared.catalogue_files import UNKNOWN, Catalogue, CatalogueFileError, read_catalogue
from services.shared.errors import ObjectNotFoundError
from services.shared.events import Product

# The columns of Fashion Product Images, in its order.
COLUMNS = (
    *("id", "gender", "masterCategory", "subCategory", "articleType", "baseColour", "season", "year"),
    *("usage", "productDisplayName"),
)
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
    (product,) = catalogue.products
    by_column = {
        column: name.removeprefix("attributes.") for name, column in bundled_config().columns.items()
    }
    attributes = [by_column[column] for column in COLUMNS[1:-1]]
    texts = [None if field is None else str(field) for field in fields]
    assert [
        product.product_id,
        *(product.value(attribute) for attribute in attributes),
        product.display_name,
    ] == texts


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
    assert product == Product.of("1", "Name")


@pytest.mark.parametrize(
    ("written", "year"), [("2014", "2014"), ("2014.0", "2014"), (" 2014 ", "2014"), ("2014.", "2014")]
)
def test_a_year_may_be_written_as_a_decimal(tmp_path: Path, written: str, year: str) -> None:
    catalogue = write_catalogue(tmp_path, f"1,,,,,,,{written},,Name")
    assert catalogue.products[0].value("year") == year
    assert not catalogue.notes


def test_what_is_no_year_stays_empty_and_is_told_once(tmp_path: Path) -> None:
    years = ("20x1", "20111", "1850", "2014.5", "soon")
    catalogue = write_catalogue(tmp_path, *(f"{number},,,,,,,{year},,N" for number, year in enumerate(years)))
    assert [product.value("year") for product in catalogue.products] == [None] * 5
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
    assert (product.value("article_type"), product.display_name) == (
        "Tshirts",
        "Nike Sahara Team India, Fanwear, Round Neck",
    )


def test_columns_may_be_missing_added_and_in_another_order(tmp_path: Path) -> None:
    catalogue = write_catalogue(
        tmp_path, "Tshirts,7,Shirt, blue,12.5", header="articleType,id,productDisplayName,price"
    )
    (product,) = catalogue.products
    assert product == Product.of("7", "Shirt, blue", article_type="Tshirts")
    assert "styles.csv has no column usage; it stays empty" in catalogue.notes


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("ids,articleType", "has no column 'id', only 'ids', 'articleType'; is it 'ids'?"),
        ("id,name", "has no attribute: expected at least one of the columns gender, masterCategory"),
    ],
)
def test_a_header_without_an_id_or_an_attribute_is_refused(tmp_path: Path, header: str, reason: str) -> None:
    with pytest.raises(CatalogueFileError) as refusal:
        write_catalogue(tmp_path, "1,Shirt", header=header)
    assert reason in str(refusal.value)


def test_a_folder_without_styles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueFileError, match=r"has no styles\.csv"):
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


# ------------------------------------------------------------------------------------- other columns

SHOP = CatalogueConfig.model_validate(
    {
        "id": "sku",
        "display_name": "title",
        "photos": {"pattern": "photos/{id}-front"},
        "attributes": {
            "colour": {"column": "Main Colour"},
            "sizes": {"type": "values"},
            "price": {"type": "number"},
            "listed": {"type": "date"},
        },
    }
)
TABLE = """sku;title;Main Colour;sizes;price;listed
A/1;Shirt;Red;S|M| ;19,90;2026-03-31
A/2;;n/a;;dear;yesterday
"""


def own_catalogue(
    folder: Path, table: str = TABLE, config: CatalogueConfig = SHOP, photos: Sequence[str] = ()
) -> Catalogue:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shop.csv").write_text(table, encoding="utf-8")
    for name in photos:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return read_catalogue(folder, config)


def test_own_columns_are_read_by_their_types(tmp_path: Path) -> None:
    catalogue = own_catalogue(tmp_path)
    assert catalogue.products == (
        Product.of("A/1", "Shirt", colour="Red", sizes=["S", "M"], price="19.90", listed="2026-03-31"),
        Product.of("A/2"),
    )
    assert catalogue.notes == (
        "1 rows have no number in the column price ('dear'); it stays empty",
        "1 rows have no date in the column listed ('yesterday'); it stays empty",
    )


def test_photos_are_found_by_the_pattern(tmp_path: Path) -> None:
    names = ["photos/A/1-front.PNG", "photos/A/1-back.png", "photos/A/2.jpg"]
    assert own_catalogue(tmp_path, photos=names).photos == {"A/1": "photos/A/1-front.PNG"}


def test_photos_are_found_by_a_column_of_names(tmp_path: Path) -> None:
    config = CatalogueConfig.model_validate(
        {"id": "sku", "photos": {"column": "photo"}, "attributes": {"kind": {}}}
    )
    photos = ("one.jpg", "two.jpg", "gs://shop/3.jpg", "https://shop.example/4.jpg", "")
    lines = (f"{number},a,{photo}\n" for number, photo in enumerate(photos, start=1))
    table = f"sku,kind,photo\n{''.join(lines)}"
    catalogue = own_catalogue(tmp_path, table, config, ["images/one.jpg", "images/two.webp"])
    assert catalogue.photos == {"1": "images/one.jpg", "2": "images/two.webp"}
    elsewhere = [(), (), ("gs://shop/3.jpg",), ("https://shop.example/4.jpg",), ()]
    assert [product.photos for product in catalogue.products] == elsewhere
    assert not catalogue.notes


def test_a_photo_at_hand_counts_before_those_at_web_addresses(tmp_path: Path) -> None:
    config = CatalogueConfig.model_validate(
        {"id": "sku", "photos": {"column": "photo"}, "attributes": {"kind": {}}}
    )
    web, bucket = "https://shop.example/1.jpg", "gs://shop/1.jpg"
    cells = ([web, "one.jpg"], [web, bucket, "one.jpg"], [web, "two.jpg"])
    rows = [{"sku": str(number), "kind": "a", "photo": cell} for number, cell in enumerate(cells, start=1)]
    (tmp_path / "shop.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "one.jpg").write_bytes(b"one")
    catalogue = read_catalogue(tmp_path / "shop.jsonl", config)
    assert [product.photos for product in catalogue.products] == [(), ("images/2.jpg", bucket), (web,)]
    assert catalogue.photos == {"1": "one.jpg", "2": "one.jpg"}


def test_a_table_file_is_read_with_the_photos_beside_it(tmp_path: Path) -> None:
    own_catalogue(tmp_path, photos=["photos/A/2-front.jpg"])
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert read_catalogue(tmp_path / "shop.csv", SHOP).photos == {"A/2": "photos/A/2-front.jpg"}
    with pytest.raises(CatalogueFileError, match=r"several tables: other\.csv, shop\.csv; name the one"):
        read_catalogue(tmp_path, SHOP)


def test_columns_that_are_missing_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueFileError) as refusal:
        own_catalogue(tmp_path, "skus;title;colours\n1;a;b\n")
    for complaint in (
        "id: shop.csv has no column 'sku'; did you mean 'skus'?",
        "attributes.colour: shop.csv has no column 'Main Colour'",
        "attributes.price: shop.csv has no column 'price'",
    ):
        assert complaint in str(refusal.value)


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueFileError, match="has no table; expected a file that ends with"):
        read_catalogue(tmp_path, SHOP)
