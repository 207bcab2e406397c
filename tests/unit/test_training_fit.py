"""The whole training job, on a handful of photos: what it writes, not how good it is."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.inference.predictors import load_predictor
from services.model.manifest import load_manifest
from services.training import __main__ as job
from services.training import evaluation, fashion_mnist
from services.training.samples import HEADS


def _write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


@pytest.fixture
def few_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fashion-MNIST in small: bright bars of ten heights on black, as negatives are published."""
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for prefix, count in (("train", 100), ("t10k", 20)):
        classes = (np.arange(count) % 10).astype(np.uint8)
        negatives = np.zeros((count, 28, 28), np.uint8)
        for negative, kind in zip(negatives, classes, strict=True):
            negative[26 - 2 * kind : 27, 8:20] = 150
        _write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", negatives)
        _write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", classes)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", folder)
    for module, name, value in (
        (job, "VALIDATION_PHOTOS", 20),
        (job, "DRAWINGS", 20),
        (job, "WARM_UP_STEPS", 1),
        (job, "RANGE_BATCHES", 2),
        (evaluation, "TINTED", 10),
        (evaluation, "DRAWINGS", 10),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("few_photos")
def test_fit_writes_a_model_that_loads_and_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.fit(tmp_path / "model", seed=0, epochs=1)
    job.export_saved_model(tmp_path / "model", tmp_path / "exported")

    manifest = load_manifest(tmp_path / "model")
    assert manifest.heads == {head: tuple(labels) for head, labels in HEADS.items()}
    assert manifest.figures.keys() >= {"real", "real_as_jpeg", "drawn_article_type"}

    card = (tmp_path / "model" / "CARD.md").read_text()
    assert "python -m services.training fit --seed 0 --epochs 1" in card
    assert f"**{manifest.figures['real']:.2%}**" in card
    assert "not accuracy on photos" in card

    progress = capsys.readouterr().out
    assert "80 photos to train on, 20 to choose by, 20 drawings" in progress
    assert "accuracy on held photos" in progress

    for directory in (tmp_path / "model", tmp_path / "exported"):
        predictor = load_predictor(directory)
        assert predictor.version == manifest.version
        assert predictor.predict(np.zeros((1, 112, 112, 3), np.uint8))["base_colour"].shape == (1, 14)
