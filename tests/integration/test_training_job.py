"""The whole training job, on a handful of photos: what it writes, not how good it is."""

import html.parser
from pathlib import Path

import numpy as np
import pytest

from services.inference.predictors import load_predictor
from services.model.manifest import SAVED_MODEL, load_manifest
from services.model.registry import Registry
from services.shared.memory import MemoryObjects
from services.training import demo, job
from services.training.config import Config
from services.training.exports import ExportError, export_saved_model
from services.training.measures import Evaluation
from services.training.snapshot import SnapshotError
from tests.unit.test_training_demo import few_photos

__all__ = ["few_photos"]

CONFIG = Config.model_validate(
    {
        "name": "small",
        "data": {"kind": "demo"},
        "image_size": 40,
        "small_photos": True,
        "coarse": {"image_size": 32, "epochs": 1, "batch": 16},
        "fitting": {"epochs": 1, "batch": 16},
        "rounding": {"epochs": 1, "batch": 16},
        "rounding_loss": 1,  # ten steps teach nothing that would survive rounding
        "file_agreement": 0,
        "photos_in_report": False,
        "held_out": "The test split.",
        "about": "Bars of ten heights.",
    }
)
SOURCE = demo.DemoSource(validate=30, tinted=20, drawings=20, tested=10)


def run(config: Config, objects: MemoryObjects, out: Path, source: demo.DemoSource = SOURCE) -> list[str]:
    lines: list[str] = []
    job.train(
        config,
        lambda: source,
        objects,
        "gs://bucket/training/run",
        out,
        lines.append,
        command="vitrine train small.yaml",
        revision="abc",
    )
    return lines


@pytest.mark.usefixtures("few_photos")
def test_a_version_is_written_that_loads_describes_itself_and_can_be_published(tmp_path: Path) -> None:
    objects, out = MemoryObjects(), tmp_path / "out"

    lines = run(CONFIG, objects, out)

    manifest = load_manifest(out)
    assert manifest.heads == {head: tuple(labels) for head, labels in demo.HEADS.items()}
    assert manifest.temperatures["base_colour"] == 1  # no photo says how sure to be of colours
    assert manifest.thresholds.keys() == {"article_type"}
    assert manifest.files.keys() > {
        "model.tflite",
        "model_float16.tflite",
        "weights.npz",
        "familiarity.npz",
        "learnt.npz",
    }
    assert manifest.figures.keys() >= {"article_type.accuracy", "base_colour.drawn.accuracy"}
    assert any("left out: article_type Jackets" in line for line in lines)

    evaluation = Evaluation.model_validate_json((out / "evaluation.json").read_text())
    assert evaluation.heads["article_type"].origins["photo"].accuracy.whole == 40
    assert {each.kind for each in evaluation.unfamiliar} == {
        "digits",
        "faces",
        "landscapes",
        "textures",
        "things",
    }
    assert evaluation.origins["drawn"].abstained.keys() == manifest.heads.keys()
    assert {(each.one, each.other) for each in evaluation.agreements} == {
        ("rounded", "model.tflite"),
        ("rounded", "saved_model"),
        ("fitted", "model_float16.tflite"),
    }
    card = (out / "CARD.md").read_text()
    assert "    vitrine train small.yaml" in card
    assert f"**{manifest.figures['article_type.accuracy']:.1%}** (" in card
    assert "not accuracy on photos" in " ".join(card.split())
    page = (out / "evaluation.html").read_text()
    html.parser.HTMLParser().feed(page)
    assert "data:image" not in page
    assert sum("a trial export" in line for line in lines) == 1

    photos = np.zeros((2, 40, 40, 3), np.uint8)
    (tmp_path / "gpu").mkdir()
    export_saved_model(out, tmp_path / "gpu")
    for directory in (out, tmp_path / "gpu"):
        predictor = load_predictor(directory)
        assert predictor.version == manifest.version
        assert predictor.predict(photos).probabilities["base_colour"].shape == (2, 14)

    registry = Registry(objects, "bucket", "small")
    published = registry.publish(out)
    assert published.files.keys() >= {"evaluation.html", f"{SAVED_MODEL}/saved_model.pb"}
    registry.fetch(manifest.version, tmp_path / "fetched")

    # Begun again, a finished run trains nothing and writes the same version.
    again = run(CONFIG, objects, tmp_path / "again")
    assert any("goes on with the snapshot" in line for line in again)
    assert not any(line.startswith("epoch") for line in again)
    assert load_manifest(tmp_path / "again").version == manifest.version

    strict = CONFIG.model_copy(update={"rounding_loss": -1.0})
    with pytest.raises(
        ExportError, match=r"article_type: rounded to 8 bits the network is right on .* allows"
    ):
        run(strict, objects, tmp_path / "strict")


@pytest.mark.usefixtures("few_photos")
def test_a_side_without_examples_is_named(tmp_path: Path) -> None:
    nothing_held = demo.DemoSource(validate=0, tinted=0, drawings=0, tested=0)

    with pytest.raises(SnapshotError, match="no example is to validate"):
        run(CONFIG, MemoryObjects(), tmp_path, nothing_held)
