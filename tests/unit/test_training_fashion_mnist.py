import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.training import fashion_mnist

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


@installed
def test_the_official_splits() -> None:
    for split, count in (("train", 60_000), ("test", 10_000)):
        photos, classes = fashion_mnist.load(split)  # type: ignore[arg-type]

        assert photos.shape == (count, 28, 28)
        assert np.bincount(classes).tolist() == [count // 10] * 10
        # Garments on white: the corners are background.
        assert np.median(photos[:, 0, 0]) == 255
        assert (photos[:, 0, 0] == 255).mean() > 0.9
