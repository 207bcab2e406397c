"""`vitrine erase` as its user runs it: two products that everything was done with, of which one is erased."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from services.local.cloud import LocalCloud
from services.shared.wiring import SCHEMAS
from tests.conftest import running_cloud
from tests.e2e.command_line import CommandLine
from tests.e2e.plain import Outsider, new_job
from tests.e2e.test_cli import write_catalogue
from tests.unit.audit_world import COLOURS, photo

AUGMENTATION = '{"flip": {"horizontal": 0.5}, "copies": 2}'
TABLES = sorted(path.stem for path in (SCHEMAS / "tables").glob("*.json"))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """One of its own: nothing is erased while a job of another test is open."""
    with running_cloud(tmp_path_factory) as local:
        yield local


@pytest.fixture
def vitrine(cloud: LocalCloud) -> CommandLine:
    return CommandLine(cloud)


def objects_of(outsider: Outsider) -> Mapping[str, bytes]:
    """All objects of both buckets; of an .npz its arrays as text."""
    found = {}
    for bucket in (outsider.bucket, outsider.uploads):
        for blob in outsider.storage.list_blobs(bucket):
            data = blob.download_as_bytes(raw_download=True)
            if blob.name.endswith(".npz"):
                with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                    data = repr({name: arrays[name] for name in arrays}).encode()
            found[f"{bucket.name}/{blob.name}"] = data
    return found


def rows_of(outsider: Outsider, table: str) -> list[dict[str, Any]]:
    return outsider.query(f"SELECT * FROM `{{dataset}}.{table}`")


def holding(objects: Mapping[str, bytes], product_id: str, other: str = "/") -> dict[str, list[bytes]]:
    """The objects whose names or lines have an id, where it does not begin the other one, and the lines."""
    found = {}
    for name, data in objects.items():
        held = [
            line for line in data.splitlines() if product_id.encode() in line.replace(other.encode(), b"/")
        ]
        if held or product_id in name.replace(other, "/"):
            found[name] = held
    return found


def test_a_product_is_erased_everywhere_and_the_other_one_is_untouched(
    vitrine: CommandLine, outsider: Outsider, tmp_path: Path
) -> None:
    # One id begins with the other. The shorter one is erased, and so is all that holds it but the longer one.
    stem = uuid4().hex[:12]
    erased, left = f"{stem}a", f"{stem}a-x"
    usage, job, run = f"test-{stem}", new_job(), f"audit-{stem}"
    labels = [*COLOURS]
    others = [f"other{number}-{stem}" for number in range(10)]
    photos = {each: photo(labels[number % 2], number) for number, each in enumerate([erased, left, *others])}
    rows = [
        {"id": each, "usage": usage, "articleType": labels[number % 2]} for number, each in enumerate(photos)
    ]
    vitrine("import", str(write_catalogue(tmp_path / "catalogue", rows, photos)))
    asked = ("--usage", usage, "--job-id", job, "--classify", "both", "--augmentation", AUGMENTATION)
    vitrine("request", *asked, "--wait")
    for each in (erased, left):
        vitrine("label", "dismiss", job, each, "article_type")
    vitrine("audit", "--run", run, "--attribute", "article_type", "--usage", usage)
    uploaded = tmp_path / f"{erased}.jpg"
    uploaded.write_bytes(photos[erased])
    vitrine("upload", str(uploaded))

    before = {table: rows_of(outsider, table) for table in TABLES}
    # The product, three predictions and that of the upload, the review, the audited label.
    mine = [row for rows in before.values() for row in rows if row.get("product_id") == erased]
    assert len(mine) == 7
    kept = holding(objects_of(outsider), left)
    # Photo, upload, copy, two variants, metadata, predictions, two files of the audit.
    assert len(holding(objects_of(outsider), erased, left)) == 9

    dry = vitrine("erase", erased, "--dry-run")
    assert [erased, "2", "3", "6", "7", "0"] in [line.split() for line in dry.splitlines()]
    assert {table: rows_of(outsider, table) for table in TABLES} == before
    refused = vitrine.refused("erase", erased, f"{stem}b", "--yes")
    assert f"nothing was erased: there is no product '{stem}b'; the nearest is " in refused
    assert {table: rows_of(outsider, table) for table in TABLES} == before

    # Nobody is there to confirm.
    assert vitrine.run("erase", erased).returncode == 1
    assert {table: rows_of(outsider, table) for table in TABLES} == before

    done = vitrine.run("erase", erased, "--yes", "--by", "ann")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"erased {erased}"

    objects = objects_of(outsider)
    assert holding(objects, erased, left) == {}
    assert holding(objects, left) == kept
    (record,) = [row for row in rows_of(outsider, "erased") if row["product_id"] == erased]
    assert (record["erased_by"], record["kept_in"]) == ("ann", [])
    for table in set(TABLES) - {"erased"}:
        after = rows_of(outsider, table)
        assert [row for row in after if erased in str(row).replace(left, "")] == []
        expected = [row for row in before[table] if row.get("product_id") != erased]
        assert sorted(map(str, after)) == sorted(map(str, expected))

    again = vitrine("erase", erased, "--yes")
    assert f"{erased} was erased on" in again
    assert len([row for row in rows_of(outsider, "erased") if row["product_id"] == erased]) == 1
    # Nothing is left of it for a job to find.
    later = new_job()
    vitrine("request", "--usage", usage, "--job-id", later, "--wait")
    assert {row["product_id"] for row in outsider.predictions(later)} == {left, *others}
