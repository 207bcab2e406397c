"""A request published with the plain client, knowing only the JSON, leads to exactly one row each."""

import base64
import io
import json
import urllib.request
from collections import Counter
from typing import Any

import pytest
from PIL import Image

from services.local.cloud import LocalCloud
from services.model.manifest import DEFAULT_DIRECTORY, load_manifest
from services.shared.wiring import load_wiring
from tests.e2e.command_line import CommandLine
from tests.e2e.plain import Outsider, new_job, until
from tests.unit.photos import encoded, grey, jpeg


def test_a_request_leads_to_one_row_a_photo(outsider: Outsider) -> None:
    usage, ids = outsider.add_products([jpeg(level, 60, 80) for level in range(0, 250, 10)])
    job = new_job()
    outsider.publish({"job_id": job, "usage": usage})
    row = outsider.completed(job)
    assert (row["images"], row["predictions"], row["errors"]) == (len(ids), len(ids), 0)
    predictions = outsider.predictions(job)
    assert Counter(row["product_id"] for row in predictions) == dict.fromkeys(ids, 1)
    for prediction in predictions:
        assert prediction["error"] is None
        for head in ("article_type", "base_colour"):
            labels = [label for label in prediction["heads"] if label["head"] == head]
            assert [label["rank"] for label in labels] == [1, 2, 3]
            assert 1.0 >= labels[0]["probability"] >= labels[1]["probability"] >= labels[2]["probability"]
    names = {blob.name for blob in outsider.storage.list_blobs(outsider.bucket, prefix=f"jobs/{job}/")}
    assert {f"jobs/{job}/images/{product_id}.jpg" for product_id in ids} <= names
    assert f"jobs/{job}/metadata/0000/00000000.ndjson" in names
    assert f"jobs/{job}/predictions/0000/00000000.ndjson" in names


def test_filters_reach_the_query(outsider: Outsider) -> None:
    photo = jpeg()
    usage, _ = outsider.add_products([photo] * 2, gender="Women", year=2011)
    with_year = [
        {"gender": "Women", "year": 2015},
        {"gender": "Men", "year": 2015},
        {"gender": "Women", "year": 2017},
    ]
    expected: list[str] = []
    for columns in with_year:
        other, ids = outsider.add_products([photo], **columns)
        usage += f" {other}"
        expected += ids if columns == {"gender": "Women", "year": 2015} else []
    job = new_job()
    outsider.publish(
        {"job_id": job, "usage": usage.split(), "gender": ["Women"], "start_year": 2012, "end_year": 2016}
    )
    assert outsider.completed(job)["images"] == 1
    assert [row["product_id"] for row in outsider.predictions(job)] == expected


def test_a_request_without_job_id_is_found_by_its_message_id(outsider: Outsider) -> None:
    usage, ids = outsider.add_products([jpeg()])
    message_id = outsider.publish({"usage": [usage]})
    assert outsider.completed(f"job-{message_id}")["images"] == len(ids)


def test_augmented_photos_are_really_classified(outsider: Outsider) -> None:
    usage, ids = outsider.add_products([jpeg(level, 60, 80) for level in (30, 120, 220)])
    job = new_job()
    augmentation = {
        "cropping": {"height": {"min": 10, "max": 70}},
        "resize": {"width": 256, "height": 256},
        "copies": 2,
    }
    outsider.publish({"job_id": job, "usage": usage, "augmentation": augmentation, "classify": "both"})
    assert outsider.completed(job)["predictions"] == 9
    variants = ("original", "augmented-0", "augmented-1")
    rows = outsider.predictions(job)
    assert {(row["product_id"], row["variant"]) for row in rows} == {(i, v) for i in ids for v in variants}
    augmented = outsider.bucket.blob(f"jobs/{job}/augmented/{ids[0]}-1.jpg").download_as_bytes()
    assert Image.open(io.BytesIO(augmented)).size == (256, 256)
    uris = {row["image_uri"] for row in rows if row["variant"] != "original"}
    assert f"gs://{outsider.bucket.name}/jobs/{job}/augmented/{ids[0]}-1.jpg" in uris


def test_the_same_request_twice_and_every_message_redelivered_twice(
    outsider: Outsider, cloud: LocalCloud
) -> None:
    usage, ids = outsider.add_products([jpeg(level % 250) for level in range(300)])
    job = new_job()
    witnesses = {
        topic: outsider.subscriber.subscription_path(outsider.project, f"witness-{topic}-{job}")
        for topic in load_wiring().topics
    }
    for topic, witness in witnesses.items():
        path = outsider.publisher.topic_path(outsider.project, topic)
        outsider.subscriber.create_subscription(name=witness, topic=path)
    request = {
        "job_id": job,
        "usage": usage,
        "augmentation": {"flip": {"horizontal": 0.5}},
        "classify": "both",
    }
    outsider.publish(request)
    outsider.publish(request)
    outsider.completed(job)
    expected = {(product_id, variant): 1 for product_id in ids for variant in ("original", "augmented-0")}

    def settled() -> Counter[tuple[str, str]]:
        return Counter((row["product_id"], row["variant"]) for row in outsider.predictions(job))

    assert settled() == expected
    redelivered = 0
    for topic, witness in witnesses.items():
        pull = {"subscription": witness, "max_messages": 1000, "return_immediately": True}
        for received in outsider.subscriber.pull(request=pull).received_messages:
            for name, (subscribed, service, options) in load_wiring().subscriptions().items():
                filtered = options.filter and any(
                    f'attributes.{key} = "{other}"' in options.filter
                    for key in ("augment", "classify")
                    for other in (
                        {"true": "false", "false": "true"}.get(received.message.attributes.get(key, ""), "-"),
                    )
                )
                if subscribed == topic and not options.pull and not filtered:
                    for _ in range(2):
                        _push(cloud, service, name, received.message)
                        redelivered += 1
        outsider.subscriber.delete_subscription(subscription=witness)
    assert redelivered >= 20
    assert settled() == expected
    jobs = outsider.query("SELECT * FROM `{dataset}.jobs` WHERE job_id = @job", job=job)
    assert len(jobs) == 1


def _push(cloud: LocalCloud, service: str, subscription: str, message: Any) -> None:
    """Delivers a message as the broker would, the same one again."""
    body = {
        "subscription": f"projects/{cloud.environment['GOOGLE_CLOUD_PROJECT']}/subscriptions/{subscription}",
        "message": {
            "data": base64.b64encode(message.data).decode(),
            "attributes": dict(message.attributes),
            "messageId": message.message_id,
            "publishTime": message.publish_time.isoformat(),
        },
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{cloud.port(service)}/",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status in (200, 204)


WRONG: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "colour": ({"colour": "Red"}, "colour"),
    "wrong type": ({"start_year": "2015"}, "start_year"),
    "end before start": ({"start_year": 2016, "end_year": 2012}, "end_year"),
    "limit of 0": ({"limit": 0}, "limit"),
    "too large": ({"augmentation": {"resize": {"width": 9000, "height": 9}}}, "augmentation.resize.width"),
    "too many": ({"augmentation": {"blur": {"radius": 1}, "copies": 1000}}, "augmentation.copies"),
    "unknown model": ({"model": "never-trained"}, "model"),
    "9 MB of text": (b"all work and no play " * 430_000, "message"),
    "not JSON": (b"{'limit': 3}", "message"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_rejected_with_its_field(outsider: Outsider, case: str) -> None:
    request, field = WRONG[case]
    row = outsider.rejected(outsider.publish(request))
    assert row["reason"].startswith(f"{field}: ")
    assert row["attempts"] == 1
    uri = row["payload_uri"].removeprefix(f"gs://{outsider.bucket.name}/")
    sent = request if isinstance(request, bytes) else json.dumps(request).encode()
    assert outsider.bucket.blob(uri).download_as_bytes() == sent


def test_the_service_stays_up_after_wrong_requests(outsider: Outsider) -> None:
    usage, _ = outsider.add_products([jpeg()])
    wrong = [outsider.publish(b"nonsense") for _ in range(20)]
    job = new_job()
    outsider.publish({"job_id": job, "usage": usage})
    assert outsider.completed(job)["predictions"] == 1
    for message_id in wrong:
        outsider.rejected(message_id)


def test_broken_photos_have_codes_and_unusual_ones_are_classified(outsider: Outsider) -> None:
    rotated = Image.new("RGB", (80, 60), "white")
    exif = rotated.getexif()
    exif[0x0112] = 6
    huge = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(huge, "PNG")
    photos: dict[str, tuple[bytes | None, str | None]] = {
        "missing": (None, "photo-missing"),
        "empty": (b"", "photo-empty"),
        "truncated": (jpeg(90, 300, 400)[:1500], "photo-corrupt"),
        "text": (b"this is not a photo", "photo-not-an-image"),
        "huge": (huge.getvalue(), "photo-too-many-pixels"),
        "animated": (
            encoded(grey(10), "GIF", save_all=True, append_images=[grey(200)]),
            "photo-animated",
        ),
        "bitmap": (encoded(grey(10), "BMP"), "photo-format-unsupported"),
        "cmyk": (encoded(grey(99, 60, 80).convert("CMYK"), "JPEG"), None),
        "16 bits": (encoded(Image.new("I;16", (60, 80), 40_000), "PNG"), None),
        "webp": (encoded(grey(99, 60, 80), "WEBP"), None),
        "rotated": (encoded(rotated, "JPEG", exif=exif), None),
        "heic": (encoded(grey(99, 60, 80), "HEIC"), None),
        "without its end": (jpeg(90, 60, 80)[:-2], None),
    }
    usage, ids = outsider.add_products([photo for photo, _ in photos.values()])
    job = new_job()
    outsider.publish({"job_id": job, "usage": usage})
    row = outsider.completed(job)
    assert (row["predictions"], row["errors"]) == (6, 7)
    codes = {row["product_id"]: row["error"] for row in outsider.predictions(job)}
    assert {name: codes[product_id] for name, product_id in zip(photos, ids, strict=True)} == {
        name: code for name, (_, code) in photos.items()
    }


def test_an_uploaded_photo_has_its_row_soon(outsider: Outsider) -> None:
    uri = outsider.upload(f"{new_job()}/4711.jpg", jpeg(60, 60, 80))
    sql = "SELECT * FROM `{dataset}.predictions` WHERE image_uri = @uri"
    (row,) = until(lambda: outsider.query(sql, uri=uri), "the upload's row")
    assert (row["product_id"], row["job_id"], row["error"], row["variant"]) == (
        "4711",
        None,
        None,
        "original",
    )
    assert {label["head"] for label in row["heads"]} == {*load_manifest(DEFAULT_DIRECTORY).heads}
    assert (
        len(outsider.query("SELECT * FROM `{dataset}.unique_predictions` WHERE image_uri = @uri", uri=uri))
        == 1
    )


def test_an_upload_that_is_falsely_declared_as_compressed_has_its_row_soon(outsider: Outsider) -> None:
    name = f"{new_job()}/4712.jpg"
    blob = outsider.uploads.blob(name)
    blob.content_encoding = "gzip"
    blob.upload_from_string(jpeg(60, 60, 80))
    sql = "SELECT * FROM `{dataset}.predictions` WHERE image_uri = @uri"
    (row,) = until(
        lambda: outsider.query(sql, uri=f"gs://{outsider.uploads.name}/{name}"), "the upload's row"
    )
    assert (row["product_id"], row["error"]) == ("4712", None)


def test_an_upload_that_is_no_photo_has_a_row_with_its_code(outsider: Outsider) -> None:
    uri = outsider.upload(f"{new_job()}/readme.txt", b"hello")
    sql = "SELECT * FROM `{dataset}.predictions` WHERE image_uri = @uri"
    (row,) = until(lambda: outsider.query(sql, uri=uri), "the upload's row")
    assert (row["error"], row["product_id"], row["heads"]) == ("photo-not-an-image", "readme", [])


def test_only_preparing_a_job_wakes_no_model(outsider: Outsider) -> None:
    usage, ids = outsider.add_products([jpeg(), None])
    job = new_job()
    outsider.publish({"job_id": job, "usage": usage, "classify": "none"})
    row = outsider.completed(job)
    assert (row["images"], row["predictions"], row["errors"]) == (2, 0, 1)
    assert outsider.bucket.blob(f"jobs/{job}/images/{ids[0]}.jpg").exists()


def test_a_request_that_matches_nothing_is_an_empty_job(outsider: Outsider, cloud: LocalCloud) -> None:
    job = new_job()
    outsider.publish({"job_id": job, "start_year": 2100})
    row = outsider.completed(job)
    assert (row["images"], row["status"]) == (0, "empty")
    done = CommandLine(cloud).run("request", "--start-year", "2100", "--wait")
    assert done.returncode == 1
    assert "is empty: no product of the catalogue matches the request" in done.stderr


def test_a_value_that_no_product_has_is_rejected_and_refused_with_the_nearest(
    outsider: Outsider, cloud: LocalCloud
) -> None:
    usage, _ = outsider.add_products([jpeg()])
    reason = f"usage: no product has '{usage}x'; did you mean '{usage}'?"
    assert outsider.rejected(outsider.publish({"usage": f"{usage}x"}))["reason"] == reason
    assert reason in CommandLine(cloud).refused("request", "--usage", f"{usage}x")


def test_a_request_written_by_an_editor_is_read_and_a_key_twice_is_named(outsider: Outsider) -> None:
    usage, _ = outsider.add_products([jpeg()])
    job = new_job()
    outsider.publish(b"\xef\xbb\xbf" + json.dumps({"job_id": job, "usage": usage}).encode())
    assert outsider.completed(job)["predictions"] == 1
    twice = outsider.publish(b'{"limit": 1, "limit": 2}')
    assert outsider.rejected(twice)["reason"] == "limit: given 2 times in one object; give it once"


def test_a_job_that_is_cancelled_ends_at_once_and_keeps_what_it_has(
    outsider: Outsider, cloud: LocalCloud
) -> None:
    usage, ids = outsider.add_products([jpeg(level % 250) for level in range(600)])
    job = new_job()
    outsider.publish({"job_id": job, "usage": usage})
    # As soon as it has begun, so that there is something left to leave out.
    until(outsider.bucket.blob(f"jobs/{job}/manifest.json").exists, "the job to begin")
    topic = outsider.publisher.topic_path(outsider.project, "cancellation-requested")
    outsider.publisher.publish(topic, json.dumps({"job_id": job}).encode()).result()
    row = outsider.completed(job)
    assert row["status"] == "cancelled"
    assert row["images"] == len(ids) > row["predictions"]
    counted = Counter(each["product_id"] for each in outsider.predictions(job))
    assert len(counted) == row["predictions"]
    assert set(counted.values()) <= {1}
    # To ask again changes nothing.
    done = CommandLine(cloud).run("cancel", job)
    assert done.returncode == 0, done.stderr
    assert f"job {job} is cancelled: {len(ids)} products, {row['predictions']} predictions" in done.stderr
    assert outsider.completed(job) == row
    assert "there is no job 'nobodys' to cancel" in CommandLine(cloud).refused("cancel", "nobodys")
