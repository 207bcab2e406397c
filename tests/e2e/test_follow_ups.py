"""What one asks of jobs that are there: failures retried, what was prepared classified, a list of them."""

import json

import pytest

from services.local.cloud import LocalCloud
from tests.e2e.command_line import CommandLine
from tests.e2e.plain import Outsider, new_job
from tests.unit.photos import jpeg

TRUNCATED = jpeg(90, 300, 400)[:1500]


@pytest.fixture
def vitrine(cloud: LocalCloud) -> CommandLine:
    return CommandLine(cloud)


def errors(outsider: Outsider, job: str) -> dict[tuple[str, str], str | None]:
    """A job's rows: (product_id, variant) -> error."""
    rows = outsider.predictions(job)
    keyed = {(row["product_id"], row["variant"]): row["error"] for row in rows}
    assert len(keyed) == len(rows)
    return keyed


def objects(outsider: Outsider, prefix: str) -> set[str]:
    return {blob.name for blob in outsider.storage.list_blobs(outsider.bucket, prefix=prefix)}


def test_a_retry_classifies_what_failed_and_only_that(outsider: Outsider, vitrine: CommandLine) -> None:
    usage, ids = outsider.add_products([jpeg(30), None, TRUNCATED, b"no photo", jpeg(200)])
    job = new_job()
    outsider.publish({"job_id": job, "usage": usage})
    assert outsider.completed(job)["errors"] == 3
    mended = jpeg(120)
    for product_id in ids[1:3]:
        outsider.bucket.blob(f"images/{product_id}.jpg").upload_from_string(mended, content_type="image/jpeg")

    assert vitrine("retry", job, "--wait") == f"{job}-r1\n"
    expected = {
        (ids[1], "original"): None,
        (ids[2], "original"): None,
        (ids[3], "original"): "photo-not-an-image",
    }
    assert errors(outsider, f"{job}-r1") == expected
    row = outsider.completed(f"{job}-r1")
    assert (row["images"], row["predictions"], row["errors"]) == (3, 2, 1)
    assert json.loads(row["request"]) == {"job_id": f"{job}-r1", "retry_of": job}
    assert outsider.bucket.blob(f"jobs/{job}-r1/images/{ids[2]}.jpg").download_as_bytes() == mended

    # Whoever asks once more has the same job, and it is done.
    assert vitrine("retry", job, "--wait") == f"{job}-r1\n"
    assert outsider.completed(f"{job}-r1") == row
    assert errors(outsider, f"{job}-r1") == expected
    # What failed again can be mended again.
    outsider.bucket.blob(f"images/{ids[3]}.jpg").upload_from_string(mended, content_type="image/jpeg")
    assert vitrine("retry", f"{job}-r1", "--wait") == f"{job}-r2\n"
    assert errors(outsider, f"{job}-r2") == {(ids[3], "original"): None}
    assert f"nothing failed in job '{job}-r2'" in vitrine.refused("retry", f"{job}-r2")
    assert "there is no job 'nobodys'" in vitrine.refused("retry", "nobodys")


def test_what_a_job_prepared_is_classified_later_and_nothing_is_copied(
    outsider: Outsider, vitrine: CommandLine
) -> None:
    usage, ids = outsider.add_products([jpeg(30, 60, 80), None, b"no photo", jpeg(200, 60, 80)])
    job = new_job()
    augmentation = {"resize": {"width": 64, "height": 64}, "rotation": {"degrees": 9}, "copies": 2}
    outsider.publish({"job_id": job, "usage": usage, "augmentation": augmentation, "classify": "none"})
    row = outsider.completed(job)
    assert (row["predictions"], row["errors"]) == (0, 2)
    prepared = objects(outsider, f"jobs/{job}/")
    failed = {(ids[1], "original"): "photo-missing", (ids[2], "original"): "photo-not-an-image"}
    root = f"gs://{outsider.bucket.name}/jobs/{job}"
    originals = {
        (product_id, "original"): f"{root}/images/{product_id}.jpg" for product_id in (ids[0], ids[3])
    }
    augmented = {
        (product_id, f"augmented-{copy}"): f"{root}/augmented/{product_id}-{copy}.jpg"
        for product_id in (ids[0], ids[3])
        for copy in (0, 1)
    }

    # As a message that its author wrote by hand.
    by_hand = new_job()
    outsider.publish({"job_id": by_hand, "prepared_by": job})
    outsider.completed(by_hand)
    assert vitrine("classify", job, "--classify", "augmented", "--wait") == f"{job}-augmented\n"
    assert vitrine("classify", job, "--classify", "both", "--wait") == f"{job}-both\n"
    assert vitrine("classify", job, "--classify", "both", "--wait") == f"{job}-both\n"

    for later, classified in (
        (by_hand, originals),
        (f"{job}-augmented", augmented),
        (f"{job}-both", originals | augmented),
    ):
        assert errors(outsider, later) == dict.fromkeys(classified) | failed
        rows = [row for row in outsider.predictions(later) if row["error"] is None]
        assert {(row["product_id"], row["variant"]): row["image_uri"] for row in rows} == classified
        assert all(row["heads"] and row["generation"] for row in rows)
        row = outsider.completed(later)
        assert (row["images"], row["predictions"], row["errors"]) == (4, len(classified), 2)
        copies = objects(outsider, f"jobs/{later}/images/") | objects(outsider, f"jobs/{later}/augmented/")
        assert copies == set()
    assert objects(outsider, f"jobs/{job}/") == prepared


def test_what_another_job_cannot_serve_for_is_refused(outsider: Outsider, vitrine: CommandLine) -> None:
    usage, _ = outsider.add_products([jpeg()])
    job = new_job()
    outsider.publish({"job_id": job, "usage": usage, "classify": "none"})
    outsider.completed(job)
    for request, reason in (
        ({"retry_of": "nobodys"}, "retry_of: there is no job 'nobodys'"),
        ({"prepared_by": "nobodys"}, "prepared_by: there is no job 'nobodys'"),
        ({"prepared_by": job, "limit": 1}, "limit: must not be given with prepared_by"),
        (
            {"prepared_by": job, "classify": "both"},
            f"classify: \"both\" needs variants, and job '{job}' made none",
        ),
    ):
        assert outsider.rejected(outsider.publish(request))["reason"].startswith(reason)
    complaint = vitrine.refused("classify", job, "--classify", "both")
    assert f"job '{job}' made none" in complaint


def test_the_jobs_are_listed_newest_first_in_pages(outsider: Outsider, vitrine: CommandLine) -> None:
    jobs = [new_job() for _ in range(3)]
    for job in jobs:
        outsider.publish({"job_id": job, "start_year": 2100})
        outsider.completed(job)
    first = vitrine.json("jobs", "--limit", "2")
    assert [listed["job"]["job_id"] for listed in first["jobs"]] == [jobs[2], jobs[1]]
    assert [listed["status"] for listed in first["jobs"]] == ["empty"] * 2
    second = vitrine.json("jobs", "--limit", "1", "--after", first["after"])
    assert [listed["job"]["job_id"] for listed in second["jobs"]] == [jobs[0]]
    done = vitrine.run("jobs", "--limit", "1")
    assert jobs[2] in done.stdout
    assert jobs[1] not in done.stdout
    assert "vitrine jobs --after " in done.stderr
