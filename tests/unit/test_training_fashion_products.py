from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.shared.events import Filters
from services.shared.styles import COLUMNS as STYLES_COLUMNS
from services.shared.styles import StylesError
from services.training.examples import UNKNOWN
from services.training.fashion_products import Dataset, DatasetError, LeftOut, read

type Row = Mapping[str, Any]

SHIRT: dict[str, Any] = {
    "gender": "Men",
    "masterCategory": "Apparel",
    "subCategory": "Topwear",
    "articleType": "Shirts",
    "baseColour": "Blue",
    "season": "Summer",
    "year": 2012,
    "usage": "Casual",
    "productDisplayName": "Turtle Check Men, Navy Blue, Shirt",
}
BAG = SHIRT | {"gender": "Women", "articleType": "Handbags", "masterCategory": "Accessories"}


def _write(
    folder: Path,
    products: Mapping[int, Row],
    without_photo: Iterable[int] = (),
    extra: str = "",
) -> Path:
    lines = [
        ",".join(str(({"id": product_id} | dict(product))[column]) for column in STYLES_COLUMNS)
        for product_id, product in products.items()
    ]
    folder.joinpath("styles.csv").write_text("\n".join([",".join(STYLES_COLUMNS), *lines]) + f"\n{extra}")
    folder.joinpath("images").mkdir()
    for product_id in products.keys() - set(without_photo):
        folder.joinpath("images", f"{product_id}.jpg").write_bytes(b"a photo")
    return folder


def _read(folder: Path, minimum_photos: int = 1) -> Dataset:
    return read(folder, test_from=2016, minimum_photos=minimum_photos)


def _reasons(dataset: Dataset) -> dict[str, str]:
    return {left_out.what: left_out.why for left_out in dataset.left_out}


NEW = {"year": 2016}
FOUR = {1: SHIRT, 2: BAG, 3: SHIRT | NEW, 4: BAG | NEW}


def test_heads_and_classes_come_from_the_data(tmp_path: Path) -> None:
    dataset = _read(_write(tmp_path, FOUR))

    assert dataset.heads == {
        "gender": ["Men", "Women"],
        "master_category": ["Accessories", "Apparel"],
        "article_type": ["Handbags", "Shirts"],
    }
    assert [(each.image_id, each.labels) for each in dataset.train] == [
        (1, {"gender": 0, "master_category": 1, "article_type": 1}),
        (2, {"gender": 1, "master_category": 0, "article_type": 0}),
    ]
    assert [each.image_id for each in dataset.test] == [3, 4]
    assert dataset.test[0].photo == tmp_path / "images" / "3.jpg"


def test_columns_of_one_class_are_no_heads(tmp_path: Path) -> None:
    reasons = _reasons(_read(_write(tmp_path, FOUR)))

    assert reasons.keys() == {"sub_category", "base_colour", "season", "usage"}
    assert set(reasons.values()) == {"to learn needs two classes, it has 1"}


def test_classes_with_too_few_photos_are_unknown_labels(tmp_path: Path) -> None:
    products = {**FOUR, 5: SHIRT, 6: BAG, 7: SHIRT | {"articleType": "Ties"}, 8: SHIRT | NEW}
    products[9] = products[7] | NEW

    dataset = _read(_write(tmp_path, products), minimum_photos=2)

    assert dataset.heads["article_type"] == ["Handbags", "Shirts"]
    labels = {each.image_id: each.labels["article_type"] for each in (*dataset.train, *dataset.test)}
    assert {labels[7], labels[9]} == {UNKNOWN}
    assert {labels[1], labels[5], labels[8]} == {1}
    left_out = LeftOut("article_type 'Ties'", 2, "1 photos before 2016, 2 are needed")
    assert left_out in dataset.left_out


@pytest.mark.parametrize("minimum_photos", [0, 1])
def test_the_test_span_has_no_say_in_what_is_learnt(tmp_path: Path, minimum_photos: int) -> None:
    products = {**FOUR, 5: SHIRT | NEW | {"articleType": "Ties"}, 6: BAG | NEW | {"articleType": "Ties"}}

    dataset = _read(_write(tmp_path, products), minimum_photos)

    assert dataset.heads["article_type"] == ["Handbags", "Shirts"]
    assert LeftOut("article_type 'Ties'", 2, "only from 2016 on: it cannot be learnt") in dataset.left_out
    assert [each.labels["article_type"] for each in dataset.test] == [1, 0, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("written", ["", "NA"])
def test_what_the_catalogue_does_not_know_is_unknown(tmp_path: Path, written: str) -> None:
    dataset = _read(_write(tmp_path, {**FOUR, 5: SHIRT | {"gender": written}}))

    assert dataset.heads["gender"] == ["Men", "Women"]
    assert dataset.train[2].labels == {"gender": UNKNOWN, "master_category": 1, "article_type": 1}


def test_products_that_cannot_be_used_are_counted_with_the_reason(tmp_path: Path) -> None:
    nothing = dict.fromkeys(SHIRT, "")
    products: dict[int, Row] = {
        **FOUR,
        **dict.fromkeys(range(10, 17), SHIRT),
        20: SHIRT | {"year": "NA"},
        21: nothing | {"year": 2012},
    }

    dataset = _read(_write(tmp_path, products, without_photo=range(10, 17), extra="1163,Men,Apparel\n"))

    assert [each.image_id for each in (*dataset.train, *dataset.test)] == [1, 2, 3, 4]
    assert [each for each in dataset.left_out if each.what not in Filters.COLUMNS] == [
        LeftOut("line 15", 1, "3 columns instead of 10"),
        LeftOut("products 10, 11, 12, 13, 14, ...", 7, "no photo"),
        LeftOut("products 20", 1, "no year: they belong to neither side"),
        LeftOut("products 21", 1, "no known label of any head"),
    ]


@pytest.mark.parametrize(
    ("products", "reason"),
    [
        ({}, "of 0 products, 0 have a photo and a year before 2016"),
        ({1: SHIRT, 2: BAG}, "of 2 products, 0 have a photo and a year from 2016"),
        ({3: SHIRT | NEW, 4: BAG | NEW}, "of 2 products, 0 have a photo and a year before 2016"),
        ({1: SHIRT, 3: SHIRT | NEW}, "none of these has a label that can be learnt"),
    ],
)
def test_a_catalogue_that_nothing_can_be_learnt_from_is_refused(
    tmp_path: Path, products: Mapping[int, Row], reason: str
) -> None:
    with pytest.raises(DatasetError, match=reason):
        _read(_write(tmp_path, products))


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="of 4 products, 0 have a photo"):
        _read(_write(tmp_path, FOUR, without_photo=FOUR))


def test_a_folder_without_styles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StylesError, match=r"has no styles\.csv"):
        _read(tmp_path)


labels = st.sampled_from(["", "NA", "A", "B", "C", "D"])


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.tuples(labels, labels, st.sampled_from(["", 2014, 2015, 2016, 2018])), max_size=30),
    minimum_photos=st.integers(1, 4),
)
def test_each_product_is_on_one_side_or_left_out_and_labelled_as_its_row_says(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, Any]], minimum_photos: int
) -> None:
    products: dict[int, Row] = {
        number: SHIRT | {"gender": gender, "usage": usage, "year": year}
        for number, (gender, usage, year) in enumerate(rows)
    }
    products |= dict(zip(range(100, 108), [SHIRT, BAG] * 4, strict=True))
    products |= {200: SHIRT | NEW}

    dataset = _read(_write(tmp_path_factory.mktemp("catalogue"), products), minimum_photos)

    ids = [each.image_id for each in (*dataset.train, *dataset.test)]
    left_out = sum(each.count for each in dataset.left_out if each.what.startswith("products"))
    assert len(set(ids)) == len(ids) == len(products) - left_out
    assert all(products[each.image_id]["year"] < 2016 for each in dataset.train)
    assert all(products[each.image_id]["year"] >= 2016 for each in dataset.test)
    for head, column in (("gender", "gender"), ("usage", "usage"), ("article_type", "articleType")):
        trained = Counter(products[each.image_id][column] for each in dataset.train)
        classes = dataset.heads.get(head, [])
        assert all(trained[label] >= minimum_photos and label not in ("", "NA") for label in classes)
        for each in (*dataset.train, *dataset.test):
            label = products[each.image_id][column]
            expected = classes.index(label) if label in classes else UNKNOWN
            assert each.labels.get(head, UNKNOWN) == expected
