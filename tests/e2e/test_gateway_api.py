"""The API over HTTP, on the real gateway and the local cloud."""

import json
import os
import time
from collections.abc import Iterator

import httpx
import pytest

from services.local.cloud import LocalCloud
from services.model.manifest import DEFAULT_DIRECTORY, load_manifest
from services.shared.events import BATCH_IMAGES
from tests.e2e.gateways import client, ended
from tests.e2e.plain import Outsider, new_job, until
from tests.unit.photos import jpeg

CANCELLED_WITHIN = 5.0  # seconds


@pytest.fixture
def api(cloud: LocalCloud) -> Iterator[httpx.Client]:
    with client(cloud) as connected:
        yield connected


def asked(answer: httpx.Response) -> str:
    """The id of the job that was asked for."""
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["job_id"]
    assert answer.headers["Location"] == f"/v1/jobs/{job_id}"
    return job_id


def test_photos_are_prepared_and_classified_later_and_both_are_followed(
    api: httpx.Client, outsider: Outsider
) -> None:
    usage, ids = outsider.add_products([jpeg(level, 60, 80) for level in (30, 120, 220)])
    augmentation = {"resize": {"width": 64, "height": 48}, "rotation": {"degrees": 5}, "copies": 2}
    request = {"usage": usage, "augmentation": augmentation, "classify": "none"}
    estimate = api.post("/v1/estimates", json=request).json()
    assert (estimate["images"], estimate["variants"], estimate["predictions"]) == (3, 6, 0)

    once = {"Idempotency-Key": new_job()}
    job_id = asked(api.post("/v1/jobs", json=request, headers=once))
    assert asked(api.post("/v1/jobs", json=request, headers=once)) == job_id
    other = api.post("/v1/jobs", json=request | {"limit": 1}, headers=once)
    assert other.json()["type"] == "urn:vitrine:problem:idempotency-key-reused"
    prepared = ended(api, job_id)
    assert (prepared["images"], prepared["predictions"]) == (3, 0)
    variant = api.get(f"/v1/jobs/{job_id}/photos/{ids[0]}", params={"variant": "augmented-1", "side": 32})
    assert variant.headers["Content-Type"] == "image/jpeg"

    classified = asked(api.post(f"/v1/jobs/{job_id}/classify", json={"classify": "both"}))
    assert asked(api.post(f"/v1/jobs/{job_id}/classify", json={"classify": "both"})) == classified
    done = ended(api, classified)
    assert (done["state"], done["predictions"], done["errors"]) == ("completed", 9, {})
    assert {stage["name"]: stage["done"] == stage["total"] for stage in done["stages"]} == {
        "selected": True,
        "staged": True,
        "classified": True,
        "recorded": True,
    }
    listed = [job["job_id"] for job in api.get("/v1/jobs", params={"limit": 2}).json()["jobs"]]
    assert listed == [classified, job_id]

    path = f"/v1/jobs/{classified}/results"
    rows = []
    question: dict[str, str | int] = {"limit": 4}
    while True:
        page = api.get(path, params=question).json()
        rows += page["results"]
        if page["next"] is None:
            break
        question["after"] = page["next"]
    with api.stream("GET", path, headers={"Accept": "application/x-ndjson"}) as stream:
        streamed = [json.loads(line) for line in stream.iter_lines()]
    assert len(streamed) == len(rows)
    assert all(row in rows for row in streamed)
    variants = ("original", "augmented-0", "augmented-1")
    assert {(row["product_id"], row["variant"]) for row in rows} == {(i, v) for i in ids for v in variants}
    assert len(rows) == 9
    for row in rows:
        assert api.get(row["photo"]).status_code == 200


def test_a_job_that_runs_is_cancelled_soon_and_what_it_has_is_whole(
    api: httpx.Client, outsider: Outsider
) -> None:
    # The second batch is the rest, and small: it is recorded long before the first one can be.
    usage, ids = outsider.add_products([jpeg(level % 250) for level in range(BATCH_IMAGES + 20)])
    augmentation = {"flip": {"horizontal": 0.5}, "copies": 8}
    job_id = asked(
        api.post("/v1/jobs", json={"usage": usage, "augmentation": augmentation, "classify": "both"})
    )

    def rows_of_the_small_batch() -> int:
        seen = api.get(f"/v1/jobs/{job_id}").json()
        return int(seen["predictions"])

    until(rows_of_the_small_batch, "the small batch")
    started = time.monotonic()
    assert asked(api.post(f"/v1/jobs/{job_id}/cancel")) == job_id
    seen = ended(api, job_id)
    # Others may be at work on this machine: then it takes as much longer.
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert time.monotonic() - started < CANCELLED_WITHIN * busy
    assert seen["state"] == "cancelled"
    assert 0 < seen["predictions"] < 9 * len(ids)
    rows = outsider.predictions(job_id)
    assert len({(row["product_id"], row["variant"]) for row in rows}) == len(rows) == seen["predictions"]
    # To ask again changes nothing.
    assert asked(api.post(f"/v1/jobs/{job_id}/cancel")) == job_id
    assert ended(api, job_id) == seen


def test_a_retry_classifies_just_what_failed(api: httpx.Client, outsider: Outsider) -> None:
    usage, (_good, missing) = outsider.add_products([jpeg(), None])
    job_id = asked(api.post("/v1/jobs", json={"usage": usage}))
    assert ended(api, job_id)["errors"] == {"photo-missing": 1}
    outsider.bucket.blob(f"images/{missing}.jpg").upload_from_string(jpeg(), content_type="image/jpeg")
    retried = asked(api.post(f"/v1/jobs/{job_id}/retry"))
    assert (ended(api, retried)["images"], ended(api, retried)["errors"]) == (1, {})
    assert [row["product_id"] for row in outsider.predictions(retried)] == [missing]


def test_of_a_photo_that_cannot_be_used_nothing_is_written(api: httpx.Client, outsider: Outsider) -> None:
    def uploads() -> set[str]:
        return {blob.name for blob in outsider.storage.list_blobs(outsider.uploads)}

    before = uploads()
    answer = api.post("/v1/images", files={"photo": ("1.jpg", b"this is not a photo")})
    assert answer.json()["type"] == "urn:vitrine:problem:photo-not-an-image"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.status_code == 415
    assert uploads() == before


def test_an_uploaded_photo_is_classified_in_the_answer(api: httpx.Client, outsider: Outsider) -> None:
    def ask(photo: bytes) -> httpx.Response:
        return api.post("/v1/images", files={"photo": ("1.jpg", photo)}, headers=once)

    once = {"Idempotency-Key": new_job()}
    answer = ask(jpeg(60, 60, 80))
    assert answer.status_code == 200, answer.text
    prediction = answer.json()
    assert {label["head"] for label in prediction["heads"]} == {*load_manifest(DEFAULT_DIRECTORY).heads}
    assert ask(jpeg(60, 60, 80)).json()["prediction_id"] == prediction["prediction_id"]
    assert ask(jpeg(61, 60, 80)).status_code == 409
    sql = "SELECT * FROM `{dataset}.unique_predictions` WHERE prediction_id = @id"
    (row,) = outsider.query(sql, id=prediction["prediction_id"])
    assert row["image_uri"].startswith(f"gs://{outsider.uploads.name}/")
    found = api.get(f"/v1/images/{prediction['prediction_id']}")
    assert found.json() == prediction


def test_a_verdict_is_found_in_bigquery(api: httpx.Client, outsider: Outsider) -> None:
    usage, (product_id,) = outsider.add_products([jpeg(level=60, width=60, height=80)])
    job_id = asked(api.post("/v1/jobs", json={"usage": usage}))
    ended(api, job_id)
    verdict = {
        "job_id": job_id,
        "product_id": product_id,
        "head": "article_type",
        "verdict": "corrected",
        "label": "Gloves",
        "comment": "a pair of them",
    }
    answer = api.post("/v1/labels", json=verdict)
    assert answer.status_code == 201, answer.text
    sql = "SELECT * FROM `{dataset}.latest_labels` WHERE job_id = @job"
    (row,) = until(lambda: outsider.query(sql, job=job_id), "the verdict")
    assert (row["product_id"], row["label"], row["judged_by"]) == (product_id, "Gloves", "key:local")
    assert [
        label["label_id"] for label in api.get("/v1/labels", params={"job": job_id}).json()["labels"]
    ] == [row["label_id"]]
    quality = api.get(
        "/v1/quality", params={"job": job_id, "head": "article_type", "against": "labels"}
    ).json()
    assert (quality["photos"], quality["accuracy"]) == (1, 0.0)


def test_a_rejected_message_is_shown_with_its_reason_and_replayed_once(
    api: httpx.Client, outsider: Outsider
) -> None:
    message_id = outsider.publish({"limit": 0})
    rejection_id = outsider.rejected(message_id)["rejection_id"]

    def listed() -> dict[str, object]:
        messages = api.get("/v1/rejected", params={"limit": 1000}).json()["messages"]
        found: dict[str, object] = next(each for each in messages if each["rejection_id"] == rejection_id)
        return found

    assert str(listed()["reason"]).startswith("limit: ")
    assert listed()["replayed"] is False
    answers = [api.post(f"/v1/rejected/{rejection_id}/replay") for _ in range(2)]
    assert {answer.status_code for answer in answers} == {202}
    (again,) = {answer.json()["message_id"] for answer in answers}
    assert listed()["replayed"] is True
    # It is as wrong as it was.
    assert outsider.rejected(again)["reason"] == listed()["reason"]
