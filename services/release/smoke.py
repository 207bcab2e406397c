"""The test of a revision of inference: a photo, pushed as by Pub/Sub, and followed to its row in BigQuery."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from services.client.client import Upload, Vitrine
from services.shared.layout import digest

PHOTO = Path(__file__).parents[1] / "local" / "demo" / "images" / "10001.jpg"
SUBSCRIPTION = "image-uploaded-to-inference"
# A revision without traffic has no instance yet, and a GPU takes its time to start.
ANSWER_SECONDS = 300.0
ROW_SECONDS = 120.0
NOT_READY = (403, 404, 429)
READY_RETRIES = 7  # two minutes, with pauses of 1, 2, 4... seconds


class SmokeError(Exception):
    """The revision does not answer as it should; the message says what it did."""


def classify_photo(
    url: str, vitrine: Vitrine, project: str, token: Callable[[], str], patience: float = ROW_SECONDS
) -> str:
    """Sends a photo to one revision; what it was called.

    The photo is put into the pipeline's own bucket, where no notification tells of it, so that no other
    revision answers for this one.

    Args:
        url: the revision's.
        vitrine: the environment's client.
        project: the environment's.
        token: makes an OIDC token that the service accepts.
        patience: seconds that the row may take.

    Raises:
        SmokeError: the push was refused, or the photo was not classified.
        ClientError: the row did not arrive.

    """
    # A name that is no number: the row is of no product.
    name = f"smoke/{uuid4().hex}/photo.jpg"
    uri = f"gs://{vitrine.bucket}/{name}"
    generation = vitrine.objects.put(uri, PHOTO.read_bytes(), "image/jpeg")
    uploaded = {"bucket": vitrine.bucket, "name": name, "generation": str(generation)}
    push = {
        "message": {
            "data": base64.b64encode(json.dumps(uploaded).encode()).decode(),
            "attributes": {"eventType": "OBJECT_FINALIZE"},
            "messageId": uuid4().hex,
            "publishTime": datetime.now(UTC).isoformat(),
        },
        "subscription": f"projects/{project}/subscriptions/{SUBSCRIPTION}",
    }
    # Where a tag was just made, or a right was just granted, some seconds pass before it is known everywhere.
    with requests.Session() as session:
        retries = Retry(
            READY_RETRIES,
            backoff_factor=1,
            status_forcelist=NOT_READY,
            allowed_methods={"POST"},
            raise_on_status=False,
        )
        session.mount("https://", HTTPAdapter(max_retries=retries))
        answer = session.post(
            url, json=push, headers={"Authorization": f"Bearer {token()}"}, timeout=ANSWER_SECONDS
        )
    if not answer.ok:
        raise SmokeError(f"{url} answered {answer.status_code}: {answer.text[:200]}")
    row = vitrine.await_prediction(Upload(PHOTO, uri, digest(uri, generation)), timeout=patience)
    if row.error or not row.heads:
        raise SmokeError(f"{uri} was not classified: {row.error or 'the model has no heads'}")
    best = ", ".join(f"{label.head} {label.label}" for label in row.heads if label.rank == 1)
    return f"{best}, says {row.model} {row.model_version}"
