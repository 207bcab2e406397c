"""The pipeline as an outsider sees it: Google's plain clients, the JSON of a request, the tables' columns."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, pubsub_v1
from google.cloud.storage import Client

from services.local.cloud import LocalCloud, down, up
from services.shared.wiring import SCHEMAS
from tests.conftest import free_ports

WAIT = 180.0  # seconds: generous, because the machines that run this are shared

# The end of a training configuration, for `str.format`: a run of a minute, whatever comes of it.
SMALL_TRAINING = """
image_size: 32
small_photos: true
fitting: {{epochs: 1, batch: 16}}
rounding: {{epochs: 1, batch: 16}}
rounding_loss: 1
file_agreement: 0
"""

_ids = count(1_000_000)


@contextmanager
def cloud_of(catalogue: Path, folder: Path) -> Iterator[LocalCloud]:
    """A local cloud that runs with a catalogue.yaml; an empty folder has its state."""
    home = folder / "cloud"
    home.mkdir()
    cloud = LocalCloud(home, free_ports(16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        cloud.use_catalogue(catalogue)
        up(cloud, progress=lambda line: None)
    try:
        yield cloud
    finally:
        down(home)


class Outsider:
    """A program that knows the environment's names and nothing of the code."""

    def __init__(self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        self.names = cloud.environment
        self.project = self.names["GOOGLE_CLOUD_PROJECT"]
        self.dataset = f"{self.project}.{self.names['VITRINE_DATASET']}"
        self.storage = Client(self.project)
        self.bucket = self.storage.bucket(self.names["VITRINE_BUCKET"])
        self.uploads = self.storage.bucket(self.names["VITRINE_UPLOAD_BUCKET"])
        self.publisher = pubsub_v1.PublisherClient()
        self.subscriber = pubsub_v1.SubscriberClient()
        self.bigquery = bigquery.Client(self.project, credentials=AnonymousCredentials())

    def add_products(self, photos: Sequence[bytes | None], **columns: object) -> tuple[str, list[str]]:
        """Adds a product a photo (None: it is missing); the `usage` that only they have, and their ids."""
        usage = f"test-{uuid4().hex[:12]}"
        ids = [str(next(_ids)) for _ in photos]
        rows = [{"product_id": product_id, "usage": usage, **columns} for product_id in ids]
        schema = self.bigquery.schema_from_json(str(SCHEMAS / "tables" / "products.json"))
        config = bigquery.LoadJobConfig(schema=schema, write_disposition="WRITE_APPEND")
        self.bigquery.load_table_from_json(rows, f"{self.dataset}.products", job_config=config).result()

        def put(item: tuple[str, bytes | None]) -> None:
            product_id, photo = item
            if photo is not None:
                self.bucket.blob(f"images/{product_id}.jpg").upload_from_string(
                    photo, content_type="image/jpeg"
                )

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(put, zip(ids, photos, strict=True)))
        return usage, ids

    def publish(self, request: Mapping[str, Any] | bytes, **attributes: str) -> str:
        """Publishes a request; the message's id."""
        data = request if isinstance(request, bytes) else json.dumps(request).encode()
        topic = self.publisher.topic_path(self.project, self.names["VITRINE_REQUEST_TOPIC"])
        message_id: str = self.publisher.publish(topic, data, **attributes).result(timeout=30)
        return message_id

    def upload(self, name: str, photo: bytes) -> str:
        """Drops a photo into the upload bucket; its URI."""
        self.uploads.blob(name).upload_from_string(photo, content_type="image/jpeg")
        return f"gs://{self.uploads.name}/{name}"

    def query(self, sql: str, **parameters: str) -> list[dict[str, Any]]:
        """Rows of a query; {dataset} in it is the dataset, @name a parameter."""
        config = bigquery.QueryJobConfig(
            query_parameters=[
                bigquery.ScalarQueryParameter(name, "STRING", value) for name, value in parameters.items()
            ]
        )
        rows = self.bigquery.query(sql.format(dataset=self.dataset), job_config=config).result()
        return [dict(row) for row in rows]

    def completed(self, job_id: str) -> dict[str, Any]:
        """Waits for a job; its row of `jobs`."""
        sql = "SELECT * FROM `{dataset}.jobs` WHERE job_id = @job"
        (row,) = until(lambda: self.query(sql, job=job_id), f"job {job_id} to complete")
        return row

    def predictions(self, job_id: str) -> list[dict[str, Any]]:
        """A job's rows of `predictions`."""
        return self.query("SELECT * FROM `{dataset}.predictions` WHERE job_id = @job", job=job_id)

    def rejected(self, message_id: str) -> dict[str, Any]:
        """Waits for a message's row of `rejected`."""
        sql = "SELECT * FROM `{dataset}.rejected` WHERE message_id = @id"
        return until(lambda: self.query(sql, id=message_id), f"message {message_id} to be rejected")[0]


def until[T](look: Callable[[], T], what: str, timeout: float = WAIT) -> T:
    """Looks until there is something to see."""
    deadline = time.monotonic() + timeout
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}"
        time.sleep(0.1)
    return seen


def new_job() -> str:
    """A job_id that nobody had."""
    return f"test-{uuid4().hex[:12]}"
