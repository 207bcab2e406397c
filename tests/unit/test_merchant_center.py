"""Feeds for Google Merchant Center, held against a validator that was written from Google's pages."""

import csv
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.client.corrections import Correction
from services.client.merchant_center import ATTRIBUTES, feed
from tests.unit.corrected import STATUSES, TEXTS, correction
from tests.unit.merchant_feed import problems

VALUES = TEXTS | st.sampled_from(
    ["Men", " girls", "Unisex", "Navy Blue", "Red/Blue", "adult", "Multi", "x" * 101]
)
IDS = TEXTS | st.text("aAbB1-_", min_size=1, max_size=60)
CORRECTIONS = st.lists(
    st.builds(
        lambda attribute, corrected, product_id, status: correction(
            attribute, corrected, product_id=product_id, status=status
        ),
        st.sampled_from([*ATTRIBUTES, "season"]),
        VALUES,
        IDS,
        st.sampled_from(STATUSES),
    ),
    max_size=8,
    unique_by=lambda each: (each.product_id, each.attribute),
)


def rows(found: list[Correction]) -> list[dict[str, str]]:
    made = feed(found)
    assert problems(made.text) == []
    return list(csv.DictReader(StringIO(made.text, newline=""), delimiter="\t"))


@settings(deadline=None)  # machines that run this are shared
@given(CORRECTIONS)
def test_every_feed_is_good_and_each_correction_is_in_it_or_left_out(found: list[Correction]) -> None:
    made = feed(found)
    assert problems(made.text) == []
    refused = [each.correction for each in made.left_out]
    exported = {row["id"] for row in csv.DictReader(StringIO(made.text, newline=""), delimiter="\t")}
    assert len(exported) == made.products
    for each in found:
        if each.outdated is None:
            assert (each in refused) or each.product_id in exported
        else:
            assert each not in refused
    assert exported <= {each.product_id for each in found if each.outdated is None and each not in refused}


@pytest.mark.parametrize(
    ("attribute", "corrected", "values"),
    [
        ("base_colour", "Navy Blue", {"color": "Navy Blue"}),
        ("base_colour", "Red / Off-White", {"color": "Red/Off-White"}),
        ("base_colour", "赤", {"color": "赤"}),
        ("gender", "Women", {"gender": "female", "age_group": "adult"}),
        ("gender", "men", {"gender": "male", "age_group": "adult"}),
        ("gender", "Boys", {"gender": "male", "age_group": "kids"}),
        ("gender", "Girls", {"gender": "female", "age_group": "kids"}),
        ("gender", "Unisex", {"gender": "unisex"}),
        ("age_group", "Kids", {"age_group": "kids"}),
        ("article_type", "Tshirts", {"product_type": "Tshirts"}),
        ("google_product_category", "212", {"google_product_category": "212"}),
        ("material", 'Cotton/12" Denim', {"material": 'Cotton/12" Denim'}),
        ("pattern", "Striped", {"pattern": "Striped"}),
        ("size", "XL", {"size": "XL"}),
    ],
)
def test_a_value_is_in_googles_words(attribute: str, corrected: str, values: dict[str, str]) -> None:
    assert rows([correction(attribute, corrected, product_id="A-1")]) == [{"id": "A-1", **values}]


def test_the_levels_of_a_product_type_go_from_the_widest_to_the_narrowest() -> None:
    found = [
        correction("article_type", "Tshirts"),
        correction("sub_category", "Topwear"),
        correction("base_colour", "Red", product_id="2"),
    ]
    assert rows(found) == [
        {"id": "1", "color": "", "product_type": "Topwear > Tshirts"},
        {"id": "2", "color": "Red", "product_type": ""},
    ]


@pytest.mark.parametrize(
    ("attribute", "corrected", "reason"),
    [
        ("season", "Fall", "Google Merchant Center has no such attribute"),
        ("gender", "Anybody", "gender: expected male, female or unisex (got 'Anybody')"),
        ("age_group", "old", "age_group: expected one of newborn, infant, toddler, kids, adult (got 'old')"),
        ("base_colour", "Multi", "color: 'Multi' is not a color"),
        ("base_colour", "Red/N/A", "color: one letter is not a color (got 'N')"),
        ("base_colour", "R", "color: one letter is not a color (got 'R')"),
        ("base_colour", "4", "color: a number is not a color (got '4')"),
        ("base_colour", "#fff000", "color: only letters and digits are allowed (got '#fff000')"),
        ("base_colour", "Red, Blue", "color: only letters and digits are allowed (got 'Red, Blue')"),
        ("base_colour", "Red/Blue/Green/Black", "color: expected at most 3 colors (got 4)"),
        ("base_colour", "Red//Blue", "color: each color: expected 1 to 40 characters (got 0)"),
        ("base_colour", "x" * 41, "color: each color: expected 1 to 40 characters (got 41)"),
        ("base_colour", "/".join(["x" * 40] * 3), "color: expected 1 to 100 characters (got 122)"),
        ("article_type", "Shirts, Tops", "product_type: a comma would separate two product types"),
        ("pattern", "x" * 101, "pattern: expected 1 to 100 characters (got 101)"),
        ("size", "X\tL", "size: the character U+0009 is not allowed"),
        ("material", "Cotton\u200d", "material: the character U+200D is not allowed"),
        ("material", "a/b/c/d", "material: expected at most 3 materials"),
        (
            "google_product_category",
            "Shirts",
            "google_product_category: expected the number of one of Google's categories (got 'Shirts')",
        ),
    ],
)
def test_what_google_would_refuse_is_left_out_with_the_reason(
    attribute: str, corrected: str, reason: str
) -> None:
    made = feed([correction(attribute, corrected), correction("size", "M", product_id="2")])
    assert [str(each) for each in made.left_out] == [f"1 {attribute}: {reason}"]
    assert made.text == "id\tsize\n2\tM\n"


@pytest.mark.parametrize(
    ("product_id", "reason"),
    [
        ("x" * 51, "id: expected 1 to 50 characters (got 51)"),
        ("a/b", "id: only letters, digits, underscores and dashes are allowed"),
        ("a b", "id: only letters, digits, underscores and dashes are allowed"),
        ("🧦", "id: the character U+1F9E6 is not allowed"),
    ],
)
def test_an_id_that_google_would_refuse_is_left_out(product_id: str, reason: str) -> None:
    (left_out,) = feed([correction(product_id=product_id)]).left_out
    assert left_out.reason == reason


def test_ids_that_differ_only_in_case_are_left_out() -> None:
    made = feed([correction(product_id=each) for each in ("abc", "ABC", "abd")])
    assert [each.correction.product_id for each in made.left_out] == ["ABC", "abc"]
    assert made.text == "id\tcolor\nabd\tBlue\n"


def test_a_feed_keeps_what_the_catalogue_has_already_and_nothing_that_is_out_of_date() -> None:
    found = [correction(product_id=status, status=status) for status in STATUSES]
    assert [row["id"] for row in rows(found)] == ["applied", "pending"]
