from itertools import combinations
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.training.config import CONFIGS, Config, ConfigError, names, read

SHORTEST = {
    "name": "mine",
    "data": {"kind": "catalogue"},
    "fitting": {"epochs": 1},
    "rounding": {"epochs": 1},
    "held_out": "the newest",
    "about": "mine",
}


@pytest.mark.parametrize("name", names())
def test_what_ships_is_read_and_says_what_to_expect(name: str) -> None:
    assert read(name).fitting.epochs > 0
    assert (CONFIGS / f"{name}.yaml").read_text().startswith("# ")


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ndata: {kind: demo}\nfitting: {epochs: 2}\nrounding: {epochs: 1}\nheld_out: a\nabout: b\n"
    )

    assert read(str(path)).fitting.epochs == 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("name: mine", "data: Field required"),
        ("name: ../up", "name.*other signs than"),
        ("data: {kind: kaggle}", r"data\.kind: no such kind 'kaggle'; expected one of demo, catalogue"),
        ("data: {kind: catalogue, test_from: soon}", r"data\.test_from"),
        ("data: {kind: catalogue, test_years: even}", r"data\.test_years.*'odd'"),
        ("data: {kind: catalogue, test_share: 1}", r"data\.test_share.*less than 1"),
        ("data: {kind: catalogue, test_share: 0}", r"data\.test_share.*greater than 0"),
        ("data: {kind: mixture, parts: {}}", r"data\.parts.*at least 1 item"),
        (
            "data: {kind: mixture, parts: {a: {kind: demo}}}",
            r"parts\.a\.kind: no such kind 'demo'; expected one of catalogue, clothing, fashion_mnist",
        ),
        (
            "data: {kind: mixture, parts: {a: {kind: clothing}}}",
            r"parts\.a\.folder: Field required",
        ),
        ("data: {kind: catalogue, filters: {gendre: Men}}", r"filters\.gendre: no such field"),
        ("fitting: {epochs: 0}", r"fitting\.epochs.*greater than or equal to 1"),
        (
            "fitting: {augmentation: {mirrored: 2}}",
            r"fitting\.augmentation\.mirrored.*less than or equal to 1",
        ),
        (
            "data: {kind: catalogue, test_from: 2017, test_share: 0.1}",
            "test_share: must not be given with test_from",
        ),
        ("data: {kind: mixture, parts: {}}", r"data\.parts.*at least 1"),
        (
            "data: {kind: mixture, parts: {a: {kind: demo}}}",
            r"parts\.a\.kind: no such kind 'demo'; expected one of catalogue, clothing",
        ),
        ("answered_accuracy: {season: 1.5}", "season: must be between 0 and 1, not 1.5"),
        ("learning_rat: 1", "learning_rat: no such field"),
        ("image_size: 20", "image_size.*greater than or equal to 32"),
        ("[", "is not YAML"),
    ],
)
def test_what_is_wrong_is_named(content: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content)

    with pytest.raises(ConfigError, match=complaint):
        read(str(path))


def test_the_accuracy_of_answers_is_asked_for_by_attribute() -> None:
    same = Config.model_validate(SHORTEST | {"answered_accuracy": 0.9})
    each = Config.model_validate(SHORTEST | {"answered_accuracy": {"season": 0.8}})

    assert (same.accuracy_of("season"), same.accuracy_of("gender")) == (0.9, 0.9)
    assert (each.accuracy_of("season"), each.accuracy_of("gender")) == (0.8, 0.95)


def test_parts_of_a_mixture_say_how_often_their_photos_are_shown() -> None:
    assert read("bundled").shown() == {"photo": 1, "photo_224": 0.4, "snapshot": 1.5, "grey_photo": 0.25}


def test_an_unknown_name_is_answered_with_those_that_ship() -> None:
    with pytest.raises(ConfigError, match=r"there is no configuration 'nothing'; expected one of .*demo"):
        read("nothing")


def test_what_is_not_said_has_a_default() -> None:
    config = Config.model_validate(SHORTEST)

    assert config.seed == 0
    assert config.ships == ("model_float16.tflite", "saved_model")


SIDES = {"test_from": 2016, "test_years": "odd", "test_share": 0.1}


@pytest.mark.parametrize("given", [names for count in range(4) for names in combinations(SIDES, count)])
def test_one_thing_at_most_says_which_products_test(given: tuple[str, ...]) -> None:
    data = {"kind": "catalogue"} | {name: SIDES[name] for name in given}
    if len(given) < 2:
        assert Config.model_validate(SHORTEST | {"data": data}).data.model_dump().items() >= data.items()
        return
    with pytest.raises(ValidationError, match=f"{given[1]}: must not be given with {given[0]}"):
        Config.model_validate(SHORTEST | {"data": data})


def mixture(**parts: dict[str, object]) -> Config:
    return Config.model_validate(SHORTEST | {"data": {"kind": "mixture", "parts": parts}})


def test_each_origin_is_shown_as_often_as_its_part_says() -> None:
    mixed = mixture(
        small={"kind": "catalogue"},
        large={"kind": "catalogue", "origin": "photo_224", "shown": 0.4},
        worn={"kind": "clothing", "folder": "clothing-dataset.zip", "shown": 1.5},
        grey={"kind": "fashion_mnist", "shown": 0.2},
    )
    assert mixed.shown() == {"photo": 1.0, "photo_224": 0.4, "snapshot": 1.5, "grey_photo": 0.2}
    assert Config.model_validate(SHORTEST).shown() == {}


def test_parts_of_one_origin_are_shown_equally_often() -> None:
    shop: dict[str, object] = {"kind": "catalogue", "shown": 0.5}
    assert mixture(one=shop, two=shop).shown() == {"photo": 0.5}
    with pytest.raises(
        ValidationError, match="two: must have the same `shown` as one, or another origin than 'photo'"
    ):
        mixture(one={"kind": "catalogue"}, two=shop)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (
            {"hierarchy": ("sub_categry",)},
            "hierarchy: the data has no attribute 'sub_categry'; did you mean 'sub_category'?",
        ),
        (
            {"answered_accuracy": {"base_color": 0.9}},
            "answered_accuracy: the data has no attribute 'base_color'; did you mean 'base_colour'?",
        ),
    ],
)
def test_a_head_that_the_data_does_not_have_is_named_with_the_nearest(
    fields: dict[str, object], complaint: str
) -> None:
    config = Config.model_validate(SHORTEST | fields)
    with pytest.raises(ConfigError) as refusal:
        config.check_heads(["sub_category", "base_colour"])
    assert str(refusal.value) == complaint
    Config.model_validate(SHORTEST).check_heads(["base_colour"])
