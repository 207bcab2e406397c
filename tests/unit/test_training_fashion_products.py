from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.shared.catalogue_files import CatalogueFileError
from services.shared.events import Filters
from services.training import catalogue
from services.training.catalogue import CatalogueSource, DatasetError
from services.training.examples import UNKNOWN, UNLEARNT, Example, LeftOut, Side
from services.training.fashion_products import folder_source
from tests.unit.test_catalogue_files import COLUMNS as STYLES_COLUMNS
from tests.unit.training_photos import photo

type Row = Mapping[str, Any]

SIZE = 32
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
NEW = {"year": 2016}
FOUR = {1: SHIRT, 2: BAG, 3: SHIRT | NEW, 4: BAG | NEW}


def write(
    folder: Path,
    products: Mapping[int, Row],
    photos: Mapping[int, bytes] | None = None,
    without_photo: Iterable[int] = (),
    extra: str = "",
) -> Path:
    """A folder whose products have photos of their own, but for those given."""
    lines = [
        ",".join(str(({"id": product_id} | dict(product))[column]) for column in STYLES_COLUMNS)
        for product_id, product in products.items()
    ]
    folder.joinpath("styles.csv").write_text("\n".join([",".join(STYLES_COLUMNS), *lines]) + f"\n{extra}")
    folder.joinpath("images").mkdir()
    for product_id in products.keys() - set(without_photo):
        content = (photos or {}).get(product_id, photo(product_id, side=32))
        folder.joinpath("images", f"{product_id}.jpg").write_bytes(content)
    return folder


def source(
    folder: Path, minimum_photos: int = 1, validate_share: float = 0.0, test_from: int | None = 2016
) -> CatalogueSource:
    return folder_source(
        folder,
        Filters(),
        minimum_photos=minimum_photos,
        validate_share=validate_share,
        test=catalogue.TestSide(test_from),
    )


def read(source: CatalogueSource) -> dict[int, tuple[Side, Example]]:
    return {int(example.key): (side, example) for side, example in source.examples(SIZE)}


def sides(source: CatalogueSource) -> dict[int, Side]:
    return {key: side for key, (side, _) in read(source).items()}


def reasons(source: CatalogueSource) -> dict[str, str]:
    return {left_out.what: left_out.why for left_out in source.left_out}


def test_heads_and_classes_come_from_the_data(tmp_path: Path) -> None:
    made = source(write(tmp_path, FOUR))
    examples = read(made)

    assert made.heads == {
        "gender": ["Men", "Women"],
        "master_category": ["Accessories", "Apparel"],
        "article_type": ["Handbags", "Shirts"],
    }
    assert examples[1][1].labels == {"gender": 0, "master_category": 1, "article_type": 1}
    assert examples[2][1].labels == {"gender": 1, "master_category": 0, "article_type": 0}
    assert {key: side for key, (side, _) in examples.items()} == {
        1: "train",
        2: "train",
        3: "test",
        4: "test",
    }
    assert examples[1][1].pixels.shape == (SIZE, SIZE, 3)
    assert (examples[3][1].origin, examples[3][1].year) == ("photo", 2016)


def test_columns_of_one_class_are_no_heads(tmp_path: Path) -> None:
    found = reasons(source(write(tmp_path, FOUR)))

    assert found.keys() == {"sub_category", "base_colour", "season", "usage"}
    assert set(found.values()) == {"to learn needs two classes, it has 1"}


def test_classes_with_too_few_photos_are_labels_that_are_not_learnt(tmp_path: Path) -> None:
    products = {**FOUR, 5: SHIRT, 6: BAG, 7: SHIRT | {"articleType": "Ties"}, 8: SHIRT | NEW}
    products[9] = products[7] | NEW

    made = source(write(tmp_path, products), minimum_photos=2)
    examples = read(made)

    assert made.heads["article_type"] == ["Handbags", "Shirts"]
    labels = {key: example.labels["article_type"] for key, (_, example) in examples.items()}
    assert {labels[7], labels[9]} == {UNLEARNT}
    assert {labels[1], labels[5], labels[8]} == {1}
    assert LeftOut("article_type 'Ties'", 2, "1 photos that train, 2 are needed") in made.left_out


@pytest.mark.parametrize("minimum_photos", [0, 1])
def test_the_test_span_has_no_say_in_what_is_learnt(tmp_path: Path, minimum_photos: int) -> None:
    products = {**FOUR, 5: SHIRT | NEW | {"articleType": "Ties"}, 6: BAG | NEW | {"articleType": "Ties"}}

    made = source(write(tmp_path, products), minimum_photos)

    assert made.heads["article_type"] == ["Handbags", "Shirts"]
    assert (
        LeftOut("article_type 'Ties'", 2, "only among those that test (from 2016 on): it cannot be learnt")
        in made.left_out
    )
    labels = {key: example.labels["article_type"] for key, (_, example) in read(made).items()}
    assert labels == {1: 1, 2: 0, 3: 1, 4: 0, 5: UNLEARNT, 6: UNLEARNT}


@pytest.mark.parametrize("written", ["", "NA"])
def test_what_the_catalogue_does_not_know_is_unknown(tmp_path: Path, written: str) -> None:
    made = source(write(tmp_path, {**FOUR, 5: SHIRT | {"gender": written}}))

    assert made.heads["gender"] == ["Men", "Women"]
    assert read(made)[5][1].labels == {"gender": UNKNOWN, "master_category": 1, "article_type": 1}


def test_products_that_cannot_be_used_are_counted_with_the_reason(tmp_path: Path) -> None:
    nothing = dict.fromkeys(SHIRT, "")
    products: dict[int, Row] = {
        **FOUR,
        **dict.fromkeys(range(10, 17), SHIRT),
        20: SHIRT | {"year": "NA"},
        21: nothing | {"year": 2012},
        22: SHIRT,
    }
    folder = write(
        tmp_path, products, {22: b"no photo"}, without_photo=range(10, 17), extra="1163,Men,Apparel\n"
    )

    made = source(folder)

    assert sides(made) == {1: "train", 2: "train", 20: "train", 3: "test", 4: "test"}
    assert [each for each in made.left_out if each.what not in Filters.COLUMNS] == [
        LeftOut("line 16", 1, "3 columns instead of 10"),
        LeftOut("products 10, 11, 12, 13, 14, ...", 7, "photo-missing, of 14 products"),
        LeftOut("products 20", 1, "no year: they test nothing"),
        LeftOut("products 21", 1, "no known label of any head"),
        LeftOut("products 22", 1, "photo-not-an-image"),
        LeftOut("validation", 0, "no photo is on this side"),
    ]


def test_a_picture_that_is_on_another_side_already_goes_there(tmp_path: Path) -> None:
    # The same picture, in other sizes and qualities.
    made = source(write(tmp_path, FOUR | {5: BAG | NEW}, {1: photo(1), 3: photo(1, side=96, quality=70)}))

    assert sides(made) == {1: "train", 2: "train", 3: "train", 4: "test", 5: "test"}
    moved = LeftOut("products 3", 1, "would test, but are near-duplicates of photos that train: they train")
    assert moved in made.left_out


def test_a_class_that_loses_its_photos_is_named(tmp_path: Path) -> None:
    products = {**FOUR, 5: SHIRT | {"gender": "Boys"}, 6: SHIRT | {"gender": "Boys"}, 7: SHIRT, 8: BAG}

    made = source(write(tmp_path, products, {5: b"", 6: b"GIF89a"}), minimum_photos=2)
    read(made)

    assert "Boys" in made.heads["gender"]
    assert LeftOut("gender 'Boys'", 0, "0 photos that can be used to train, 2 were expected") in made.left_out
    assert LeftOut("products 5", 1, "photo-empty") in made.left_out


def test_the_first_year_that_tests_is_chosen_and_said(tmp_path: Path) -> None:
    products = {number: (SHIRT, BAG)[number % 2] | {"year": 2010 + number // 5} for number in range(40)}

    made = source(write(tmp_path, products), test_from=None)

    assert made.description["test"] == "from 2017 on, chosen"
    assert Counter(sides(made).values()) == {"train": 35, "test": 5}


@pytest.mark.parametrize(
    ("products", "reason"),
    [
        ({}, "0 products match the filters {}, none has a photo gs://folder/images/<product_id>.jpg"),
        ({1: SHIRT, 2: BAG}, "no product can test (from 2016 on); of those with a photo there are 2 of 2012"),
        (
            {3: SHIRT | NEW, 4: BAG | NEW},
            "no product can train: all of them validate or test (from 2016 on); "
            "of those with a photo there are 2 of 2016",
        ),
        ({1: SHIRT, 3: SHIRT | NEW}, "nothing can be learnt: it takes a column with two classes"),
    ],
)
def test_a_catalogue_that_nothing_can_be_learnt_from_is_refused(
    tmp_path: Path, products: Mapping[int, Row], reason: str
) -> None:
    with pytest.raises(DatasetError) as refused:
        source(write(tmp_path, products))
    assert reason in str(refused.value)


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"4 products match the filters \{\}, none has a photo"):
        source(write(tmp_path, FOUR, without_photo=FOUR))


def test_photos_of_which_none_can_be_used_are_refused(tmp_path: Path) -> None:
    made = source(write(tmp_path, FOUR, dict.fromkeys(FOUR, b"no photo")))

    with pytest.raises(
        DatasetError, match=r"no photo is left to train.*products 1, 2, 3, 4 \(4\): photo-not-an"
    ):
        read(made)


def test_a_folder_without_styles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueFileError, match=r"has no styles\.csv"):
        source(tmp_path)


labels = st.sampled_from(["", "NA", "A", "B", "C", "D"])


@settings(deadline=None, max_examples=30)
@given(
    rows=st.lists(st.tuples(labels, labels, st.sampled_from(["", 2014, 2015, 2016, 2018])), max_size=20),
    minimum_photos=st.integers(1, 4),
    copies=st.lists(st.tuples(st.integers(0, 27), st.integers(0, 27)), max_size=4),
)
def test_each_product_is_on_one_side_or_left_out_and_labelled_as_its_row_says(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, Any]],
    minimum_photos: int,
    copies: list[tuple[int, int]],
) -> None:
    products: dict[int, Row] = {
        number: SHIRT | {"gender": gender, "usage": usage, "year": year}
        for number, (gender, usage, year) in enumerate(rows)
    }
    products |= dict(zip(range(100, 120), [SHIRT, BAG] * 10, strict=True))
    products |= {200: SHIRT | NEW}
    ids = [*products]
    pictures = {number: number for number in ids}
    for one, other in copies:
        pictures[ids[one % len(ids)]] = pictures[ids[other % len(ids)]]
    photos = {number: photo(picture, side=32) for number, picture in pictures.items()}

    made = source(write(tmp_path_factory.mktemp("catalogue"), products, photos), minimum_photos, 0.3)
    try:
        examples = read(made)
    except DatasetError:
        return  # a copy moved the only photo that tests

    # No picture is on two sides.
    sides_of: dict[int, set[Side]] = {}
    for key, (side, _) in examples.items():
        sides_of.setdefault(pictures[key], set()).add(side)
    assert all(len(each) == 1 for each in sides_of.values())
    for key, (side, example) in examples.items():
        year = products[key]["year"]
        if pictures[key] == key and list(pictures.values()).count(key) == 1:
            assert (side == "test") == (year != "" and year >= 2016)
        for head, column in (("gender", "gender"), ("usage", "usage"), ("article_type", "articleType")):
            classes = made.heads.get(head, [])
            label = products[key][column]
            not_learnt = UNLEARNT if head in made.heads and label not in ("", "NA") else UNKNOWN
            expected = classes.index(label) if label in classes else not_learnt
            assert example.labels.get(head, UNKNOWN) == expected
            assert "NA" not in classes
