"""A catalogue as training data, and what people say of it; test_training_fashion_products.py has the rest."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client.review import judgement, truths
from services.shared.catalogue_config import CatalogueConfig
from services.shared.events import Filters, Product
from services.shared.layout import photo_uri
from services.shared.memory import MemoryCatalogue, MemoryObjects
from services.training import catalogue
from services.training.catalogue import CatalogueSource, Judged
from services.training.examples import UNKNOWN
from tests.unit.client_world import NOW, result
from tests.unit.training_photos import photo

SHOP = [
    Product.of("1", gender="Men", article_type="Shirts", year=2012),
    Product.of("2", gender="Women", article_type="Handbags", year=2012),
    Product.of("3", gender="Men", article_type="Shirts", year=2016),
    Product.of("4", gender="Women", article_type="Handbags", year=2016),
    Product.of("5", gender="Men", article_type="Shirts", year=2012),
]
YEARS = (2011, 2012, 2013, 2014, None)
COLLECTIONS = [
    Product.of(str(number), gender=("Men", "Women")[number // 5 % 2], year=YEARS[number % 5])
    for number in range(200)
]


def source(
    judged: Judged,
    filters: Filters | None = None,
    products: Sequence[Product] = SHOP,
    test: catalogue.TestSide | None = None,
    config: CatalogueConfig | None = None,
) -> CatalogueSource:
    objects = MemoryObjects()
    for product in products:
        objects.put(photo_uri("bucket", product.product_id), photo(int(product.product_id), side=32))
    return CatalogueSource(
        MemoryCatalogue(products, config=config),
        objects,
        "bucket",
        filters or Filters(),
        selection_id="all",
        minimum_photos=1,
        validate_share=0.0,
        test=test or catalogue.TestSide(2016),
        read_from={},
        judged=judged,
    )


def learnt(made: CatalogueSource, head: str) -> dict[str, str | None]:
    """The label of each product, by name."""
    return {
        example.key: None if (index := example.labels[head]) == UNKNOWN else made.heads[head][index]
        for _, example in made.examples(16)
    }


def test_an_own_catalogue_gives_heads_of_its_attributes_and_tests_by_its_time() -> None:
    config = CatalogueConfig.model_validate(
        {
            "id": "sku",
            "attributes": {"kind": {}, "price": {"type": "number"}, "listed": {"type": "date"}},
            "time": "listed",
        }
    )
    products = [
        Product.of(
            str(number), kind=("Shirt", "Tie")[number % 2], price=number, listed=f"20{10 + number}-03-31"
        )
        for number in range(8)
    ]
    made = source({"0": {"kind": "Tie", "colour": "Red"}}, products=products, config=config)
    assert made.heads == {"kind": ["Shirt", "Tie"]}
    assert {example.key for side, example in made.examples(16) if side == "test"} == {"6", "7"}
    assert learnt(made, "kind")["0"] == "Tie"
    assert made.description["labels by people"] == "1"


def test_what_people_say_takes_the_place_of_what_the_catalogue_declares() -> None:
    made = source({"1": {"article_type": "Ties"}, "4": {"article_type": "Shirts"}, "99": {"gender": "Boys"}})
    assert learnt(made, "article_type") == {
        "1": "Ties",
        "2": "Handbags",
        "3": "Shirts",
        "4": "Shirts",
        "5": "Shirts",
    }
    assert learnt(made, "gender") == {"1": "Men", "2": "Women", "3": "Men", "4": "Women", "5": "Men"}
    assert made.description["labels by people"] == "3"


def test_where_there_is_no_telling_nothing_is_learnt() -> None:
    made = source({"5": {"article_type": None}})
    assert learnt(made, "article_type") == {
        "1": "Shirts",
        "2": "Handbags",
        "3": "Shirts",
        "4": "Handbags",
        "5": None,
    }


def test_heads_that_are_no_columns_of_a_catalogue_are_left_alone() -> None:
    made = source({"1": {"category": "Dress", "product_id": "7"}})
    assert learnt(made, "article_type")["1"] == "Shirts"
    assert made.description["labels by people"] == "0"


def test_filters_see_what_the_catalogue_declares() -> None:
    made = source({"2": {"article_type": "Ties"}}, Filters(article_type=("Handbags", "Shirts")))
    assert learnt(made, "article_type")["2"] == "Ties"


def test_verdicts_become_what_people_say_of_products() -> None:
    shirt = result("1", {"article_type": [("Shirts", 0.9)], "gender": [("Men", 0.8)]}).prediction
    upload = result("2", {"article_type": [("Shirts", 0.9)]}).prediction.model_copy(
        update={"product_id": None}
    )
    verdicts = [
        judgement(shirt, "article_type", "accepted", by="ada@example.com", at=NOW),
        judgement(shirt, "gender", "dismissed", by="ada@example.com", at=NOW),
        judgement(upload, "article_type", "accepted", by="ada@example.com", at=NOW),
    ]
    assert truths(verdicts) == {"1": {"article_type": "Shirts", "gender": None}}


# ------------------------------------------------------------------------------------- which products test


def who_tests(test: catalogue.TestSide, products: Sequence[Product] = COLLECTIONS) -> set[str]:
    made = source({}, products=products, test=test)
    return {example.key for side, example in made.examples(16) if side == "test"}


def test_products_from_a_year_on_test() -> None:
    assert who_tests(catalogue.TestSide(from_year=2013)) == {
        product.product_id for product in COLLECTIONS if product.value("year") in ("2013", "2014")
    }


def test_products_of_odd_years_test() -> None:
    made = source({}, products=COLLECTIONS, test=catalogue.TestSide(odd_years=True))
    assert made.description["test"] == "odd years"
    assert who_tests(catalogue.TestSide(odd_years=True)) == {
        product.product_id for product in COLLECTIONS if product.value("year") in ("2011", "2013")
    }


def test_the_newest_test_where_nothing_is_said() -> None:
    made = source({}, products=COLLECTIONS, test=catalogue.TestSide())
    # A quarter of those that have a year are of each; of 15 % one year is the nearest.
    assert made.description["test"] == "from 2014 on, chosen"
    assert who_tests(catalogue.TestSide()) == {
        product.product_id for product in COLLECTIONS if product.value("year") == "2014"
    }


def test_a_random_share_tests_where_nothing_is_said_and_the_catalogue_has_no_time() -> None:
    config = CatalogueConfig.model_validate({"id": "sku", "attributes": {"gender": {}}})
    made = source({}, products=COLLECTIONS, test=catalogue.TestSide(), config=config)
    assert made.description["test"] == "a random 15% of the products, chosen"
    tests = {example.key for side, example in made.examples(16) if side == "test"}
    assert tests == who_tests(catalogue.TestSide(share=0.15))


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_a_share_of_all_products_tests_whatever_their_year(share: float) -> None:
    test = catalogue.TestSide(share=share)
    drawn = who_tests(test)

    made = source({}, products=COLLECTIONS, test=test)
    assert made.description["test"] == f"a random {share:.0%} of the products"
    assert abs(len(drawn) - share * len(COLLECTIONS)) < 0.1 * len(COLLECTIONS)
    years = {product.value("year") for product in COLLECTIONS if product.product_id in drawn}
    assert years == {None if year is None else str(year) for year in YEARS}
    # Who tests depends on the id alone: not on the year, and not on the other products.
    undated = [product.with_values({"year": None}) for product in COLLECTIONS[::2]]
    assert who_tests(test, undated) == {product_id for product_id in drawn if int(product_id) % 2 == 0}
    assert who_tests(catalogue.TestSide(share=share / 2)) < drawn


def test_products_without_a_year_are_left_out_only_where_the_year_decides() -> None:
    for test, expected in (
        (catalogue.TestSide(from_year=2013), 40),
        (catalogue.TestSide(odd_years=True), 40),
        (catalogue.TestSide(), 40),
        (catalogue.TestSide(share=0.3), 0),
    ):
        made = source({}, products=COLLECTIONS, test=test)
        assert (
            sum(each.count for each in made.left_out if each.why == "no year: they test nothing") == expected
        )


@given(year=st.none() | st.integers(1900, 2100), drawn=st.booleans(), first=st.integers(1900, 2100))
def test_one_thing_decides_who_tests(year: int | None, drawn: bool, first: int) -> None:
    side = catalogue.TestSide
    assert side(share=0.5).has(year, drawn) == drawn
    assert side(odd_years=True).has(year, drawn) == (year is not None and year % 2 == 1)
    assert side(from_year=first).has(year, drawn) == (year is not None and year >= first)
    assert not side().has(year, drawn)
    assert [each.by_newest for each in (side(), side(first), side(odd_years=True), side(share=0.5))] == [
        True,
        False,
        False,
        False,
    ]


SLEEVES = CatalogueConfig.model_validate(
    {"id": "sku", "attributes": {"kind": {}, "sleeve": {"applies_to": {"kind": ["Shirt", "Dress"]}}}}
)
WORN = [
    Product.of("0", kind="Shirt", sleeve="Long"),
    Product.of("1", kind="Shoes"),
    Product.of("2", kind="Dress", sleeve="Short"),
    Product.of("3", kind="Shoes", sleeve="Long"),
    Product.of("4", kind="Shirt"),
    Product.of("5", sleeve="Short"),
    Product.of("6", kind="Shoes"),
    Product.of("7", kind="Shoes", sleeve="Long"),
]


def test_what_does_not_apply_is_learnt_as_a_label_and_contradictions_are_not() -> None:
    judged = {"6": {"sleeve": "Short"}, "7": {"kind": "Shirt"}}
    made = source(judged, products=WORN, test=catalogue.TestSide(share=0.3), config=SLEEVES)

    assert made.heads["sleeve"] == ["Long", "Not applicable", "Short"]
    assert made.applies_to == {"sleeve": {"kind": ("Shirt", "Dress")}}
    assert learnt(made, "sleeve") == {
        "0": "Long",
        "1": "Not applicable",
        "2": "Short",
        "3": None,
        "4": None,
        "5": "Short",
        # What people say of it counts; it is for them to correct the kind.
        "6": "Short",
        "7": "Long",
    }
    assert ("products 3", 1, "a sleeve, which does not apply to them: not learnt") in {
        (each.what, each.count, each.why) for each in made.left_out
    }


def test_several_values_are_learnt_as_a_set_where_the_catalogue_lists_any() -> None:
    config = CatalogueConfig.model_validate(
        {
            "id": "sku",
            "attributes": {
                "kind": {},
                "parts": {"type": "values", "applies_to": {"kind": ["Shirt", "Dress"]}},
            },
        }
    )
    products = [
        Product.of("0", kind="Shirt", parts=("Collar", "Pocket")),
        Product.of("1", kind="Shoes"),
        Product.of("2", kind="Dress", parts=("Pocket",)),
        Product.of("3", kind="Shirt"),
        Product.of("4", kind="Shirt", parts=("Pocket", "Hood")),
        Product.of("5", kind="Dress", parts=("a|b",)),
        Product.of("6", kind="Dress"),
    ]
    judged: Judged = {"6": {"parts": "Pocket | Collar"}, "4": {"parts": None}}
    made = source(judged, products=products, test=catalogue.TestSide(share=0.5), config=config)

    assert made.several == {"parts": ["Collar", "Not applicable", "Pocket"]}
    assert made.applies_to == {"parts": {"kind": ("Shirt", "Dress")}}
    found = {example.key: example.several.get("parts") for _, example in made.examples(16)}
    assert found == {
        "0": [1, 0, 1],
        "1": [0, 1, 0],
        "2": [0, 0, 1],
        "3": None,  # nothing is stated, which is not the same as none
        "4": None,
        "5": None,
        "6": [1, 0, 1],
    }
    assert any("'a|b'" in each.what and each.why == "it has a |" for each in made.left_out)
