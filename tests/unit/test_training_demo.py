import gzip
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.training import fashion_mnist
from services.training.demo import HEADS, DemoSource
from services.training.examples import Example, Side
from services.training.packshots import BASE_COLOURS

SIZE = 28


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


@pytest.fixture
def few_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fashion-MNIST in small: bright bars of ten heights on black, as negatives are published."""
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for prefix, count in (("train", 200), ("t10k", 40)):
        classes = (np.arange(count) % 10).astype(np.uint8)
        negatives = np.zeros((count, 28, 28), np.uint8)
        for index, (negative, kind) in enumerate(zip(negatives, classes, strict=True)):
            negative[26 - 2 * kind : 27, 8:20] = 100 + index % 100
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", negatives)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", classes)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", folder)


@pytest.fixture
def examples(few_photos: None) -> list[tuple[Side, Example]]:
    return list(DemoSource(validate=30, tinted=50, drawings=20, tested=12).examples(SIZE))


def of(examples: list[tuple[Side, Example]], side: Side, origin: str) -> list[Example]:
    return [example for each, example in examples if (each, example.origin) == (side, origin)]


def test_the_labels_are_fashion_mnists_first_then_the_drawn_ones() -> None:
    types = HEADS["article_type"]

    assert tuple(types[:10]) == fashion_mnist.ARTICLE_TYPES
    assert len(types) == len(set(types)) == 20
    assert tuple(HEADS["base_colour"]) == tuple(BASE_COLOURS)


def test_each_side_has_what_was_asked_for(examples: list[tuple[Side, Example]]) -> None:
    assert Counter((side, example.origin) for side, example in examples) == {
        ("train", "photo"): 170,
        ("train", "tinted"): 50,
        ("train", "drawn"): 20,
        ("validate", "delivered"): 30,
        ("test", "photo"): 40,
        ("test", "delivered"): 40,
        ("test", "tinted"): 12,
        ("test", "drawn"): 12,
    }
    assert len({example.key for _, example in examples}) == len(examples)


def test_no_photo_is_on_two_sides(examples: list[tuple[Side, Example]]) -> None:
    def photos(side: Side) -> set[str]:
        keys = (example.key for each, example in examples if each == side and example.origin != "drawn")
        return {key.removesuffix("-tinted").removesuffix("-delivered") for key in keys}

    assert photos("train").isdisjoint(photos("validate"))
    assert all(key.startswith("fashion-mnist-train-") for key in photos("train") | photos("validate"))
    assert all(key.startswith("fashion-mnist-test-") for key in photos("test"))


def test_a_grey_photo_has_a_type_and_no_colour(examples: list[tuple[Side, Example]]) -> None:
    for example in of(examples, "test", "photo"):
        index = int(example.key.rpartition("-")[2])
        assert example.labels == {"article_type": index % 10}
        # What is bright in the data set is a dark garment, on white ground.
        assert example.pixels[0].min() == 255
        assert example.pixels[26, 13].max() == 255 - (100 + index % 100)


def test_a_tinted_photo_has_the_colour_that_it_is_said_to_have(examples: list[tuple[Side, Example]]) -> None:
    values = np.array(list(BASE_COLOURS.values()))
    for example in of(examples, "train", "tinted"):
        garment = example.pixels[26, 9:19].mean(axis=0)
        assert np.abs(garment - values[example.labels["base_colour"]]).mean() < 40
        assert example.pixels[0, 0].min() > 235  # the ground stays white


def test_kinds_are_mixed_and_the_same_each_time(
    few_photos: None, examples: list[tuple[Side, Example]]
) -> None:
    again = list(DemoSource(validate=30, tinted=50, drawings=20, tested=12).examples(SIZE))

    assert [example.key for _, example in examples] == [example.key for _, example in again]
    assert all(
        np.array_equal(one.pixels, other.pixels) for (_, one), (_, other) in zip(examples, again, strict=True)
    )
    assert len({example.origin for _, example in examples[:60]}) == 3


def test_it_says_what_was_never_photographed() -> None:
    (left_out,) = DemoSource(1, 0, 0, 0).left_out

    assert left_out.count == 10
    assert "Jackets" in left_out.what
    assert "Tshirts" not in left_out.what
