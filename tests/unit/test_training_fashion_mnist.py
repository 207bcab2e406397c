import gzip
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.shared.clothing_dataset import label_map
from services.training import fashion_mnist
from services.training.examples import UNKNOWN
from services.training.fashion_mnist import FashionMnistSource

installed = pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)


def _write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path)
    return tmp_path


def test_polarity_is_turned_back_and_the_splits_are_kept_apart(folder: Path) -> None:
    for prefix, value in (("train", 10), ("t10k", 20)):
        _write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", np.full((3, 28, 28), value, np.uint8))
        _write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.array([7, 8, 9], np.uint8))

    train, classes = fashion_mnist.load("train")
    test, _ = fashion_mnist.load("test")

    assert train.shape == (3, 28, 28)
    assert (train == 245).all()
    assert (test == 235).all()
    assert classes.tolist() == [7, 8, 9]


@pytest.mark.parametrize("content", [b"", b"\0\0\x0d\1\0\0\0\1\0\0\0\0", b"text"])
def test_what_is_no_idx_file_of_bytes_is_refused(folder: Path, content: bytes) -> None:
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))

    with pytest.raises(ValueError, match="train-images"):
        fashion_mnist.load("train")


TRAINING, TESTING = 40, 20


@pytest.fixture
def small(folder: Path) -> Path:
    """Photos that each have a shade of their own; the class of each is its number modulo ten."""
    for prefix, count, first in (("train", TRAINING, 0), ("t10k", TESTING, 100)):
        shades = np.arange(first, first + count, dtype=np.uint8)
        _write_idx(
            folder / f"{prefix}-images-idx3-ubyte.gz",
            np.ascontiguousarray(np.broadcast_to(shades[:, None, None], (count, 28, 28))),
        )
        _write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 10)
    return folder


def source(validate: int = 8) -> FashionMnistSource:
    return FashionMnistSource(label_map("fashion-mnist"), validate)


@pytest.mark.usefixtures("small")
def test_the_official_test_photos_test_and_so_many_of_the_others_validate() -> None:
    examples = list(source().examples(16))

    assert [side for side, _ in examples].count("test") == TESTING
    for side, example in examples:
        assert example.key.startswith("fashion-mnist-test-" if side == "test" else "fashion-mnist-train-")
    assert Counter(side for side, _ in examples) == {"train": TRAINING - 8, "validate": 8, "test": TESTING}
    assert len({example.key for _, example in examples}) == TRAINING + TESTING


@pytest.mark.usefixtures("small")
def test_a_photo_keeps_its_pixels_and_its_class() -> None:
    made, means = source(), label_map("fashion-mnist")
    for _side, example in made.examples(16):
        split, _, number = example.key.removeprefix("fashion-mnist-").partition("-")
        shade = 255 - (int(number) + (100 if split == "test" else 0))
        assert example.pixels.shape == (16, 16, 3)
        assert (example.pixels == shade).all()
        told = {head: made.heads[head][index] for head, index in example.labels.items() if index != UNKNOWN}
        assert told == means[fashion_mnist.CLASSES[int(number) % 10]]
        assert (example.origin, example.year) == ("grey_photo", None)
    assert len({example.photo for _, example in made.examples(16)}) == TRAINING + TESTING


@pytest.mark.usefixtures("small")
def test_the_order_is_the_same_each_time_and_not_the_files() -> None:
    made = source()
    keys = [example.key for _, example in made.examples(16)]
    assert keys == [example.key for _, example in made.examples(16)]
    assert keys != sorted(keys)


@pytest.mark.usefixtures("small")
def test_more_photos_that_validate_are_those_before_and_others() -> None:
    few, more = (
        {example.key for side, example in source(validate).examples(16) if side == "validate"}
        for validate in (3, 8)
    )
    assert len(few) == 3
    assert few < more


def test_heads_are_what_the_label_map_tells() -> None:
    made = source()
    assert made.heads["article_type"] == sorted(fashion_mnist.ARTICLE_TYPES)
    assert made.heads["master_category"] == ["Accessories", "Apparel", "Footwear"]
    assert made.description == {"data set": "Fashion-MNIST", "validate": "8"}
    assert made.left_out == ()


def test_the_label_map_has_the_classes_under_their_article_types() -> None:
    means = label_map("fashion-mnist")
    assert [*means] == [*fashion_mnist.CLASSES]
    assert [means[name]["article_type"] for name in fashion_mnist.CLASSES] == [*fashion_mnist.ARTICLE_TYPES]


@installed
def test_the_official_splits() -> None:
    for split, count in (("train", 60_000), ("test", 10_000)):
        photos, classes = fashion_mnist.load(split)  # type: ignore[arg-type]

        assert photos.shape == (count, 28, 28)
        assert np.bincount(classes).tolist() == [count // 10] * 10
        # Garments on white: the corners are background.
        assert np.median(photos[:, 0, 0]) == 255
        assert (photos[:, 0, 0] == 255).mean() > 0.9
