from pathlib import Path

import pytest

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
        ("data: {kind: kaggle}", "data.*'demo', 'catalogue'"),
        ("data: {kind: catalogue, test_from: soon}", r"data\.catalogue\.test_from"),
        ("data: {kind: catalogue, filters: {gendre: Men}}", r"filters\.gendre: no such field"),
        ("fitting: {epochs: 0}", r"fitting\.epochs.*greater than or equal to 1"),
        (
            "fitting: {augmentation: {mirrored: 2}}",
            r"fitting\.augmentation\.mirrored.*less than or equal to 1",
        ),
        ("learning_rat: 1", "learning_rat: no such field"),
        ("image_size: 20", "image_size.*greater than or equal to 32"),
        ("[", "no YAML"),
    ],
)
def test_what_is_wrong_is_named(content: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content)

    with pytest.raises(ConfigError, match=complaint):
        read(str(path))


def test_an_unknown_name_is_answered_with_those_that_ship() -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: expected a configuration; .*demo.* ship"):
        read("nothing")


def test_what_is_not_said_has_a_default() -> None:
    config = Config.model_validate(SHORTEST)

    assert config.seed == 0
    assert config.ships == ("model_float16.tflite", "saved_model")
