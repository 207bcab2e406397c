"""A shop behind a gateway in this process, and how its answers are read."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.model.manifest import DEFAULT_DIRECTORY, load_manifest
from services.model.registry import Registry
from services.shared.errors import ObjectNotFoundError
from services.shared.events import Message, Product
from services.shared.layout import photo_uri
from services.shared.ports import Stored
from tests.unit.client_world import OwnedObjects, World
from tests.unit.gateway_world import Gateway
from tests.unit.memory_pipeline import BUCKET, MemoryPipeline
from tests.unit.photos import encoded, grey

URN = "urn:vitrine:problem:"
LIGHT, DARK = grey(240), grey(15)


class Bucket(OwnedObjects):
    """Objects; what is dropped into the upload bucket is told to the pipeline, as Cloud Storage does."""

    def __init__(self, pipeline: MemoryPipeline) -> None:
        super().__init__(pipeline.objects)
        self.uploads: list[str] = []
        self.notifies = True
        self._pipeline = pipeline
        self.create, self.read = self._create, self._read
        self.lost: set[str] = set()  # what was cleared away
        self.read_back: list[str] = []  # by whoever asks the client's port

    def _read(self, uri: str, **options: Any) -> Stored:
        if uri.startswith("gs://uploads/"):
            self.read_back.append(uri)
        if uri in self.lost:
            raise ObjectNotFoundError(uri)
        return self.memory.read(uri, **options)

    def _create(self, uri: str, data: bytes, content_type: str) -> bool:
        created = self.memory.create(uri, data, content_type)
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        if created and bucket == "uploads":
            self.uploads.append(uri)
            if self.notifies:
                resource = {"bucket": bucket, "name": name, "generation": self.memory.read(uri).generation}
                self._pipeline.publish(
                    "image-uploaded", json.dumps(resource).encode(), {"eventType": "OBJECT_FINALIZE"}
                )
                self._pipeline.run()
        return created


class Shop:
    """Six products behind a gateway, all declared Light: 1 to 4 are, 5 is dark, 6 has no photo."""

    def __init__(self, folder: Path, **environment: Any) -> None:
        products = [Product.of(number, gender="Men", article_type="Light") for number in "123456"]
        self.world = World(products)
        self.bucket = Bucket(self.world.pipeline)
        self.world.objects = self.world.vitrine.objects = self.bucket
        self.world.tables.merge_products(products)
        for number in "12345":
            photo = encoded(DARK if number == "5" else LIGHT, "JPEG")
            self.bucket.put(photo_uri(BUCKET, number), photo, "image/jpeg")
        self.gateway = Gateway(folder, self.world, **environment)

    @property
    def admin(self) -> TestClient:
        return self.gateway.client("admin")

    def delivered(self) -> list[str]:
        """Runs the pipeline; the services that had something to do."""
        services: list[str] = []
        self.world.pipeline.run(lambda service, message: services.append(service))
        return services

    def run(self) -> None:
        self.world.pipeline.run()

    def job(self, **request: Any) -> str:
        """A job that is done."""
        answer = self.admin.post("/v1/jobs", json=request, params={"confirm_cost": True})
        assert answer.status_code == 202, answer.text
        self.run()
        job_id: str = answer.json()["job_id"]
        return job_id

    def begun(self) -> str:
        """A job that has begun, and will not go on."""
        job_id: str = self.admin.post("/v1/jobs", json={}).json()["job_id"]

        def stop(service: str, message: Message) -> None:
            if service == "staging":
                raise InterruptedError

        with pytest.raises(InterruptedError):
            self.world.pipeline.run(stop)
        return job_id

    def publish_model(self) -> str:
        """Publishes the model that ships under the registry's name; its version."""
        model = load_manifest(DEFAULT_DIRECTORY)
        registry = Registry(self.bucket, BUCKET, "fashion")
        manifest = model.model_copy(update={"name": "fashion"})
        for name in manifest.files:
            uri = f"gs://{BUCKET}/models/fashion/{manifest.version}/{name}"
            self.bucket.memory.create(uri, (DEFAULT_DIRECTORY / name).read_bytes(), "")
        uri = f"gs://{BUCKET}/models/fashion/{manifest.version}/model.json"
        self.bucket.memory.create(uri, manifest.model_dump_json().encode(), "")
        assert registry.versions() == [manifest.version]
        return manifest.version

    def reject(self) -> str:
        """Has a message rejected; the rejection's id."""
        self.world.pipeline.publish("classification-requested", b'{"limit": 0}')
        self.run()
        return self.world.vitrine.rejected()[0].rejection.rejection_id


def kind(answer: Any) -> str:
    """The problem that an answer is."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["type"].startswith(URN)
    return str(document["type"].removeprefix(URN))
