"""Promotions while the pipeline runs: a job keeps its version, and a bad version is refused."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from services.local.cloud import LocalCloud
from services.model.manifest import DEFAULT_DIRECTORY, load_manifest, save_manifest
from services.model.registry import Pointer, Registry
from services.shared.google_cloud import CloudObjects
from tests.e2e.command_line import CommandLine
from tests.e2e.plain import Outsider, new_job, until
from tests.unit.photos import jpeg

SHIPPED = load_manifest(DEFAULT_DIRECTORY)
PHOTOS = 600


@pytest.fixture
def vitrine(cloud: LocalCloud) -> CommandLine:
    return CommandLine(cloud)


@pytest.fixture
def version(vitrine: CommandLine, tmp_path: Path) -> str:
    """A published version: the shipped model under a name of its own."""
    name = f"test-{uuid4().hex[:12]}"
    directory = shutil.copytree(DEFAULT_DIRECTORY, tmp_path / name)
    figures = SHIPPED.figures | {"article_type.accuracy": 0.96}
    save_manifest(directory, SHIPPED.model_copy(update={"version": name, "figures": figures}))
    assert vitrine("models", "publish", str(directory)).strip() == name
    return name


@pytest.fixture(autouse=True)
def _shipped_again(outsider: Outsider) -> Iterator[None]:
    """Other tests are about the version that ships."""
    yield
    pointer = outsider.bucket.blob(f"models/{SHIPPED.name}/production.json")
    if pointer.exists():
        pointer.delete()
    await_uploads_by(outsider, SHIPPED.version)


def upload(outsider: Outsider) -> str:
    """The version that answers an upload; it is answered without an error."""
    uri = outsider.upload(f"{new_job()}/1.jpg", jpeg(60, 60, 80))
    sql = "SELECT * FROM `{dataset}.predictions` WHERE image_uri = @uri"
    (row,) = until(lambda: outsider.query(sql, uri=uri), "the upload's row")
    assert row["error"] is None
    return str(row["model_version"])


def await_uploads_by(outsider: Outsider, version: str) -> None:
    until(lambda: upload(outsider) == version, f"uploads to be answered by {version}")


def rejections(outsider: Outsider) -> int:
    return len(outsider.query("SELECT rejection_id FROM `{dataset}.rejected`"))


def test_a_promotion_during_a_job(outsider: Outsider, vitrine: CommandLine, version: str) -> None:
    rejected = rejections(outsider)
    usage, ids = outsider.add_products([jpeg(level % 250) for level in range(PHOTOS)])
    running, following, named = new_job(), new_job(), new_job()
    outsider.publish({"job_id": running, "usage": usage})
    until(lambda: outsider.bucket.blob(f"jobs/{running}/manifest.json").exists(), "the job to start")
    registry = Registry(CloudObjects(outsider.project), outsider.bucket.name, SHIPPED.name)
    registry.promote(version, "ann", "half a point better", datetime.now(UTC))
    assert outsider.query("SELECT * FROM `{dataset}.jobs` WHERE job_id = @job", job=running) == []
    outsider.publish({"job_id": following, "usage": usage, "limit": 300})
    outsider.publish({"job_id": named, "usage": usage, "limit": 5, "model": SHIPPED.version})
    for job, expected, photos in (
        (running, SHIPPED.version, len(ids)),
        (following, version, 300),
        (named, SHIPPED.version, 5),
    ):
        row = outsider.completed(job)
        assert (row["predictions"], row["errors"], row["model_version"]) == (photos, 0, expected)
        assert Counter(row["model_version"] for row in outsider.predictions(job)) == {expected: photos}
    await_uploads_by(outsider, version)
    assert rejections(outsider) == rejected


def test_a_corrupted_version_is_refused_and_the_old_one_serves_on(
    outsider: Outsider, cloud: LocalCloud, vitrine: CommandLine, version: str
) -> None:
    outsider.bucket.blob(f"models/{SHIPPED.name}/{version}/model.tflite").upload_from_string(b"no network")
    assert "model.tflite has SHA-256" in vitrine.refused("models", "promote", version, "--why", "a test")
    # Whoever can write the pointer by hand can promote it all the same.
    pointer = Pointer(
        name=SHIPPED.name, version=version, previous=None, by="me", why="a test", at=datetime.now(UTC)
    )
    document = outsider.bucket.blob(f"models/{SHIPPED.name}/production.json")
    document.upload_from_string(pointer.model_dump_json())
    log = cloud.logs / "inference.log"
    refusal = f"production cannot be loaded, {SHIPPED.version} serves on"
    # The uploads are what makes the service look.
    until(
        lambda: (
            upload(outsider) == SHIPPED.version and version in log.read_text() and refusal in log.read_text()
        ),
        "the version to be refused",
    )
    assert {upload(outsider) for _ in range(5)} == {SHIPPED.version}
    usage, _ = outsider.add_products([jpeg()])
    job = new_job()
    outsider.publish({"job_id": job, "usage": usage})
    sql = "SELECT * FROM `{dataset}.rejected` WHERE job_id = @job"
    (row,) = until(lambda: outsider.query(sql, job=job), "the job's batch to be rejected")
    assert "model.tflite has SHA-256" in row["reason"]
    vitrine("models", "rollback", "--why", "corrupt")
    following = new_job()
    outsider.publish({"job_id": following, "usage": usage})
    assert outsider.completed(following)["model_version"] == SHIPPED.version


def test_the_command_line_shows_compares_and_rolls_back(
    outsider: Outsider, vitrine: CommandLine, version: str, tmp_path: Path
) -> None:
    shipped = vitrine("models", "publish", str(DEFAULT_DIRECTORY)).strip()
    assert shipped == SHIPPED.version
    assert vitrine("models", "publish", str(DEFAULT_DIRECTORY)).strip() == shipped
    assert "nothing was promoted yet" in vitrine("models", "list")
    assert json.loads(vitrine("models", "show", version))["version"] == version
    compared = vitrine("models", "compare", shipped, version).splitlines()
    before = SHIPPED.figures["article_type.accuracy"]
    assert f"{before:.4f} 0.9600 {0.96 - before:+.4f}" in [" ".join(line.split()[1:]) for line in compared]
    said = vitrine("models", "promote", shipped, "--why", "the first", "--by", "ann")
    assert f"{shipped} is in production" in said
    assert "by ann: the first" in said
    vitrine("models", "promote", version, "--why", "second")
    listed = vitrine("models", "list")
    assert f"{version} ◀ production" in listed
    assert shipped in listed
    assert f"{shipped} is in production" in vitrine("models", "rollback", "--why", "worse on shoes")
    assert "worse on shoes" in vitrine("models", "list")
    assert "`vitrine models list`" in vitrine.refused("models", "show", "never-trained")
    assert "`vitrine models list`" in vitrine.refused("models", "promote", "never-trained", "--why", "x")
    assert "has no model.json" in vitrine.refused("models", "publish", str(tmp_path))
    changed = shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "changed")
    (changed / "model.tflite").write_bytes(b"another network")
    assert "has SHA-256" in vitrine.refused("models", "publish", str(changed))
