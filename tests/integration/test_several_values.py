"""Attributes of several values from a training run to a row: what is written, not how good it is."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from services.inference.models import RegistryModels
from services.inference.predictors import load_predictor
from services.inference.stage import Ports, classify_upload
from services.model.manifest import load_manifest
from services.shared.events import ImageClassified, ImageUploaded
from services.shared.memory import MemoryObjects
from services.training import job
from services.training.config import Config
from services.training.measures import Evaluation
from tests.unit.photos import jpeg
from tests.unit.training_world import SEVERAL, Squares

CONFIG = Config.model_validate(
    {
        "name": "several",
        "data": {"kind": "demo"},  # the test gives another source
        "image_size": 32,
        "small_photos": True,
        "fitting": {"epochs": 1, "batch": 16, "learning_rate": 1e-4},
        "rounding": {"epochs": 1, "batch": 16, "learning_rate": 1e-4},
        "rounding_loss": 1,
        "file_agreement": 0,
        "photos_in_report": False,
        "ships": [],
        "held_out": "The test split.",
        "about": "Squares.",
    }
)


def test_a_head_of_several_labels_is_trained_exported_measured_and_answered(tmp_path: Path) -> None:
    job.train(
        CONFIG,
        lambda: Squares(train=32, validate=16, test=8, several=SEVERAL),
        MemoryObjects(),
        "gs://bucket/training/run",
        tmp_path,
        lambda line: None,
        command="vitrine train several.yaml",
        revision="abc",
    )

    manifest = load_manifest(tmp_path)
    assert manifest.heads.keys() == {"shade", "half"}
    marks = manifest.several["marks"]
    assert marks.labels == SEVERAL["marks"]
    assert all(0 <= threshold <= 1 for threshold in marks.thresholds)
    assert manifest.thresholds.keys() == {"shade", "half", "marks"}
    assert manifest.figures.keys() >= {"marks.accuracy", "marks.macro_f1", "marks.micro_f1"}
    evaluation = Evaluation.model_validate_json((tmp_path / "evaluation.json").read_text())
    # Of two photos it is not known whether they are light.
    assert evaluation.several["marks"]["photo"].accuracy.whole == 6
    assert {each.head for each in evaluation.agreements} == {"shade", "half", "marks"}
    assert "| marks | photo | 6 |" in (tmp_path / "CARD.md").read_text()
    assert ">right</th>" in (tmp_path / "evaluation.html").read_text()

    predictor = load_predictor(tmp_path)
    answers = predictor.predict(np.zeros((2, 32, 32, 3), np.uint8))
    assert answers.probabilities.keys() == {"shade", "half"}
    assert answers.sets["marks"].probabilities.shape == (2, 3)

    objects = MemoryObjects()
    objects.put("gs://uploads/7.jpg", jpeg())
    models = RegistryModels(objects, "bucket", tmp_path, load_predictor, 1)
    ports = Ports(objects, models, lambda: datetime.now(UTC), "bucket")
    uploaded = ImageUploaded(
        bucket="uploads", name="7.jpg", generation=objects.generation("gs://uploads/7.jpg")
    )
    (event,) = classify_upload(uploaded, ports)
    assert isinstance(event, ImageClassified)
    row = event.prediction
    (answer,) = [each for each in row.heads if each.head == "marks"]
    assert answer.rank == 1
    assert " | ".join(sorted(each.value for each in row.values_of("marks"))) == answer.label
    assert ImageClassified.model_validate_json(event.model_dump_json()) == event
