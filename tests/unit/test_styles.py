import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.errors import ObjectNotFoundError
from services.shared.events import MAX_PRODUCT_ID, PRODUCT_ID
from services.shared.styles import COLUMNS, Catalogue, StylesError, parse_line, read_catalogue

HEADER = ",".join(COLUMNS)
LINE = "1163,Men,Apparel,Topwear,Tshirts,Blue,Summer,2011,Sports,Nike Sahara Team India, Fanwear, Round Neck"

# What a column may hold: no comma, no line break, nothing that stripping would change, and not "not known".
words = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters=","), min_size=1
).filter(lambda text: text != "NA")
ids = words.filter(lambda text: len(text) <= MAX_PRODUCT_ID)
names = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1).filter(
    lambda text: not text.startswith('"')
)


@given(
    product_id=ids,
    columns=st.lists(st.none() | words, min_size=6, max_size=6),
    year=st.none() | st.integers(1900, 2100),
    usage=st.none() | words,
    name=st.none() | st.lists(names, min_size=1).map(", ".join),
)
def test_a_line_means_its_columns_and_everything_after_the_ninth_comma_is_the_name(
    product_id: str, columns: list[str | None], year: int | None, usage: str | None, name: str | None
) -> None:
    fields = [product_id, *columns, year, usage, name]
    line = ",".join("" if field is None else str(field) for field in fields).encode()

    product = parse_line(line + b"\r\n")

    assert list(product.model_dump().values()) == fields
    assert list(product.model_dump()) == list(COLUMNS.values())


@given(st.binary() | st.lists(st.binary(max_size=6), min_size=9, max_size=12).map(b",".join))
def test_any_line_is_a_product_or_a_reason(line: bytes) -> None:
    reason = ""
    try:
        product = parse_line(line)
    except ValueError as error:
        reason = str(error)
    assert reason or re.fullmatch(PRODUCT_ID, product.product_id)


def test_unquoted_commas_belong_to_the_name() -> None:
    product = parse_line(LINE.encode())
    assert product.display_name == "Nike Sahara Team India, Fanwear, Round Neck"
    assert product.usage == "Sports"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('"Shirt, Oxford"', "Shirt, Oxford"),
        ('"Shirt, ""Oxford"""', 'Shirt, "Oxford"'),
        ('"A" and "B"', '"A" and "B"'),
        ('7" tie', '7" tie'),
        ('"', '"'),
        ("NA", "NA"),
    ],
)
def test_a_name_may_be_quoted_as_spreadsheets_do(written: str, name: str) -> None:
    assert parse_line(f"1,,,,,,,,,{written}".encode()).display_name == name


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,Men,Apparel", "3 columns instead of 10"),
        (b",,,,,,,,,", "id: expected 1 to 200 characters on one line (got '')"),
        (b" \t ,,,,,,,,,", "id: expected 1 to 200 characters on one line (got '')"),
        (b"a\tb,,,,,,,,,", "id: expected 1 to 200 characters on one line (got 'a\\tb')"),
        (b"a\x00,,,,,,,,,", "id: expected 1 to 200 characters on one line (got 'a\\x00')"),
        (b"1" * 201 + b",,,,,,,,,", "id: expected 1 to 200 characters on one line (got '111"),
        (b"1,,,,,,,20x1,,", "year: must be a whole number from 1900 to 2100 (got '20x1')"),
        (b"1,,,,,,,2011.0,,", "year: must be a whole number"),
        (b"1,,,,,,,20111,,", "year: must be a whole number"),
        (b"1,\xff,,,,,,,,", "not UTF-8 at byte 2"),
    ],
)
def test_a_bad_line_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the message is what is checked
        parse_line(line)
    assert reason in str(refusal.value)


def write_catalogue(folder: Path, *lines: str, photos: dict[str, bytes] | None = None) -> Catalogue:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "styles.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    for product_id, data in (photos or {}).items():
        (folder / "images" / f"{product_id}.jpg").write_bytes(data)
    return read_catalogue(folder)


def test_bad_lines_are_left_out_with_their_number(tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path, LINE, "oops", "", LINE, LINE.replace("1163", "1164"))
    assert [product.product_id for product in catalogue.products] == ["1163", "1164"]
    assert [(row.line, row.reason) for row in catalogue.bad_rows] == [
        (3, "1 columns instead of 10"),
        (5, "id: '1163' is in line 2 already"),
    ]


def test_an_id_is_text_and_keeps_its_zeros_and_its_case(tmp_path: Path) -> None:
    lines = [
        f"{product_id},,,,,,,,,Shirt" for product_id in (" 0090230 ", "90230", "-1", "sku", "SKU", "a b")
    ]
    catalogue = write_catalogue(tmp_path, *lines, "SKU ,,,,,,,,,Tie")
    assert [product.product_id for product in catalogue.products] == [
        "0090230",
        "90230",
        "-1",
        "sku",
        "SKU",
        "a b",
    ]
    assert [(row.line, row.reason) for row in catalogue.bad_rows] == [(8, "id: 'SKU' is in line 6 already")]


def test_a_photo_is_found_below_the_folder_and_not_outside_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    lines = [f"{product_id},,,,,,,,,Shirt" for product_id in ("a/b", "..", "../../secret", "x" * 200)]
    catalogue = write_catalogue(tmp_path / "shop", *lines)
    (tmp_path / "shop" / "images" / "a").mkdir()
    for name in ("a/b.jpg", "...jpg", f"{'x' * 200}.jpg"):
        (tmp_path / "shop" / "images" / name).write_bytes(name.encode())
    inside, dots, outside, long = catalogue.products
    assert catalogue.photo(inside) == b"a/b.jpg"
    assert catalogue.photo(dots) == b"...jpg"
    assert catalogue.photo(long) == f"{'x' * 200}.jpg".encode()
    with pytest.raises(ObjectNotFoundError):
        catalogue.photo(outside)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{LINE}\r\n".encode())
    assert len(read_catalogue(tmp_path).products) == 1


def test_a_folder_without_styles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StylesError, match=r"has no styles\.csv"):
        read_catalogue(tmp_path)


def test_another_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text("id,name\n1,Shirt\n")
    with pytest.raises(StylesError, match="the first line must be id,gender"):
        read_catalogue(tmp_path)
