"""A promotion is picked up, a version that does not load changes nothing, and what nobody uses is let go."""

import gc
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.inference.models import HELD, LOOK_INTERVAL, RegistryModels
from services.inference.predictors import Answers
from services.inference.stage import Answer
from services.model.learnt import Learnt
from services.model.manifest import ModelError, load_manifest
from services.model.registry import Registry, UnknownVersionError
from services.shared.memory import MemoryObjects
from tests.unit.models import NAME, write_model

BUCKET = "bucket"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
WAIT = 20.0  # seconds; generous, for a machine that is busy
IMAGE = np.zeros((2, 2, 3), np.uint8)


class FilePredictor:
    """Answers with the length of its file, which it reads each time, as an interpreter maps its file."""

    image_size = 2
    max_batch = 4

    def __init__(self, directory: Path) -> None:
        manifest = load_manifest(directory)
        self.name, self.version = manifest.name, manifest.version
        self.labels: Mapping[str, Sequence[str]] = manifest.heads
        self.thresholds = manifest.thresholds
        self.learnt: Learnt | None = None
        self._file = directory / "model.tflite"

    def predict(self, images: NDArray[np.uint8]) -> Answers:
        size = len(self._file.read_bytes())
        return Answers({"article_type": np.full((len(images), 2), size, np.float32)})

    def combine(self, answers: Sequence[Answer]) -> Answer:
        return answers[0]


class Service:
    """A registry, and the models of one process; its clock stands still until it is moved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = MemoryObjects()
        self.registry = Registry(self.objects, BUCKET, NAME)
        self.now = 0.0
        self.loads: list[str] = []
        self.problem: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        embedded = write_model(folder / "embedded", "embedded")
        self.models = RegistryModels(self.objects, BUCKET, embedded, self.load, 1, lambda: self.now)
        self.loads.clear()

    def load(self, directory: Path) -> FilePredictor:
        predictor = FilePredictor(directory)
        self.loads.append(predictor.version)
        assert self.gate.wait(WAIT)
        if self.problem:
            raise self.problem
        return predictor

    def publish(self, *versions: str) -> None:
        for version in versions:
            self.registry.publish(write_model(self.folder / version, version))

    def promote(self, version: str) -> None:
        self.registry.promote(version, "me", "better", NOON)

    def corrupt(self, version: str) -> None:
        self.objects.put(f"gs://{BUCKET}/models/{NAME}/{version}/model.tflite", b"no network")

    def later(self) -> str:
        """The version that answers an upload after the next look."""
        self.now += LOOK_INTERVAL
        return self.models.current().version


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return Service(tmp_path)


def downloads(service: Service) -> int:
    return len(list((service.folder / "temporary").iterdir()))


def test_without_a_registry_the_embedded_version_serves_without_a_download(service: Service) -> None:
    assert service.models.current() is service.models.pinned("embedded")
    assert service.models.current().version == "embedded"
    assert service.loads == []
    assert downloads(service) == 0


def test_a_promotion_is_picked_up_at_the_next_look(service: Service) -> None:
    service.publish("v1")
    assert service.models.current().version == "embedded"
    service.promote("v1")
    assert service.models.current().version == "embedded"
    assert service.later() == "v1"
    model = service.models.current()
    assert (model.name, model.image_size, model.labels) == (NAME, 2, {"article_type": ("Shirts", "Boots")})
    assert model.predict(IMAGE).probabilities["article_type"].tolist() == [len(b"the network of v1")] * 2
    assert service.loads == ["v1"]
    service.registry.rollback("me", "worse", NOON)
    assert service.later() == "embedded"


def test_a_job_keeps_its_version_whatever_is_in_production(service: Service) -> None:
    service.publish("v1", "v2")
    service.promote("v2")
    assert service.models.pinned("v1").version == "v1"
    assert service.later() == "v2"
    assert service.models.pinned("v1").version == "v1"
    assert service.loads == ["v1", "v2"]


def test_a_corrupted_version_is_refused_once_and_the_old_one_serves_on(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.publish("v1", "v2", "v3")
    service.promote("v1")
    assert service.later() == "v1"
    service.promote("v2")
    service.corrupt("v2")
    assert [service.later() for _ in range(3)] == ["v1"] * 3
    assert caplog.text.count("cannot be loaded, v1 serves on") == 1
    assert "v2/model.tflite has SHA-256" in caplog.text
    assert service.loads == ["v1"]
    with pytest.raises(ModelError, match="SHA-256"):
        service.models.pinned("v2")
    service.promote("v3")
    assert service.later() == "v3"
    assert downloads(service) == 2


def test_a_refused_pointer_is_named_and_the_old_one_serves_on(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.objects.put(f"gs://{BUCKET}/models/{NAME}/production.json", b"nonsense")
    assert service.later() == "embedded"
    assert "production.json" in caplog.text


def test_what_may_pass_is_tried_again(service: Service) -> None:
    service.publish("v1")
    service.promote("v1")
    service.problem = ConnectionError("try again")
    assert service.later() == "embedded"
    with pytest.raises(ConnectionError):
        service.models.pinned("v1")
    assert downloads(service) == 0
    service.problem = None
    assert service.later() == "v1"


def test_a_version_that_is_not_published_is_unknown_until_it_is(service: Service) -> None:
    with pytest.raises(UnknownVersionError):
        service.models.pinned("v1")
    service.publish("v1")
    assert service.models.pinned("v1").version == "v1"


def test_many_threads_that_ask_for_a_version_load_it_once(service: Service) -> None:
    service.publish("v1")
    with ThreadPoolExecutor(8) as threads:
        models = list(threads.map(service.models.pinned, ["v1"] * 32))
    assert len(set(map(id, models))) == 1
    assert service.loads == ["v1"]


def test_nobody_waits_for_a_version_that_somebody_else_loads(service: Service) -> None:
    service.publish("v1", "v2")
    service.models.pinned("v1")
    service.promote("v2")
    service.gate.clear()
    with ThreadPoolExecutor(1) as threads:
        looking = threads.submit(service.later)
        deadline = time.monotonic() + WAIT
        while service.loads != ["v1", "v2"]:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        # These would hang, as the load does.
        assert service.models.current().version == "embedded"
        assert service.models.pinned("v1").version == "v1"
        service.gate.set()
        assert looking.result(WAIT) == "v2"


def test_what_is_in_production_stays_whatever_jobs_ask_for(service: Service) -> None:
    versions = [f"v{number}" for number in range(HELD + 1)]
    service.publish("production", *versions)
    service.promote("production")
    assert service.later() == "production"
    for version in versions:
        service.models.pinned(version)
    assert service.models.pinned("production") is service.models.current()
    assert service.loads.count("production") == 1


def test_versions_beyond_those_held_are_let_go_with_their_files_and_threads(service: Service) -> None:
    versions = [f"v{number}" for number in range(HELD + 3)]
    service.publish(*versions)
    used = service.models.pinned("v0")
    threads = threading.active_count()
    for version in versions:
        service.models.pinned(version)
    # Who still predicts with a version that was let go has its files.
    assert used.predict(IMAGE).probabilities["article_type"].tolist() == [len(b"the network of v0")] * 2
    assert downloads(service) == HELD + 1
    del used
    gc.collect()
    assert downloads(service) == HELD
    deadline = time.monotonic() + WAIT
    while threading.active_count() > threads + HELD - 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert service.models.pinned("v0").version == "v0"
    assert service.loads.count("v0") == 2
