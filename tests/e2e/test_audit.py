"""`vitrine audit` as its user runs it: the demo catalogue's wrong labels, in the local cloud."""

import csv
import io
import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from services import local
from services.local.cloud import LocalCloud
from services.model.learnt import LEARNT_FILE, Learnt, photo_digest
from services.model.manifest import DEFAULT_DIRECTORY, digests, load_manifest, save_manifest
from services.shared.audits import AuditedLabel
from tests.e2e.command_line import CommandLine
from tests.e2e.plain import Outsider
from tests.e2e.test_cli import write_catalogue
from tests.unit.audit_world import photo

DEMO = Path(local.__file__).parent / "demo"
# Only the demo's products have a year.
OF_THE_DEMO = ("--start-year", "2008")


@pytest.fixture(scope="module")
def vitrine(cloud: LocalCloud) -> CommandLine:
    return CommandLine(cloud)


@pytest.fixture(scope="module")
def audited(vitrine: CommandLine) -> str:
    """An audit of the demo's article types and colours, done."""
    vitrine("import", str(DEMO))
    run = f"demo-{uuid4().hex[:8]}"
    done = vitrine.run(
        *("audit", "--run", run, "--attribute", "base_colour", "--attribute", "article_type", *OF_THE_DEMO)
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert f"{run} 360 of 365 products have a photo that can be used" in said
    assert "photo-missing 1" in said
    assert "was trained on none of these photos: its embeddings are impartial" in said
    return run


def wrong_labels() -> dict[tuple[str, str], str]:
    """(product, attribute) -> the right label, of the demo's wrong ones."""
    names = {"articleType": "article_type", "baseColour": "base_colour"}
    with (DEMO / "wrong_labels.csv").open() as file:
        return {(row["product_id"], names[row["column"]]): row["actual"] for row in csv.DictReader(file)}


def test_the_wrong_labels_of_the_demo_are_the_least_likely_ones(vitrine: CommandLine, audited: str) -> None:
    wrong = wrong_labels()
    listed = vitrine.json("audit", "show", audited, "--top", str(len(wrong)))["labels"]
    assert listed == sorted(listed, key=lambda row: row["probability"])
    found = {(row["product_id"], row["head"]): row for row in listed}
    # By chance it would be one in 16. The model has not learnt drawings, of which the demo has 120.
    assert len(found.keys() & wrong.keys()) >= 0.5 * len(wrong)
    right = [row["best"] == wrong[key] for key, row in found.items() if key in wrong]
    assert sum(right) >= 0.75 * len(right)
    assert {row["product"]["product_id"] for row in listed} == {row["product_id"] for row in listed}


def test_every_declared_label_has_one_row(vitrine: CommandLine, outsider: Outsider, audited: str) -> None:
    rows = [*csv.DictReader(io.StringIO(vitrine("audit", "show", audited, "--csv")))]
    assert list(rows[0]) == [*AuditedLabel.model_fields, "display_name"]
    stored = outsider.query("SELECT * FROM `{dataset}.audited_labels` WHERE audit_id = @audit", audit=audited)
    assert len(stored) == len(rows) == len({(row["product_id"], row["head"]) for row in stored})
    with (DEMO / "styles.csv").open() as file:
        declared = [row["articleType"] for row in csv.DictReader(file) if row["articleType"]]
    assert len([row for row in stored if row["head"] == "article_type"]) == len(declared)
    unusable = {row["unjudged"] for row in stored if row["fold"] is None}
    assert "photo-missing" in unusable
    assert {row["probability"] for row in stored if row["unjudged"]} == {None}


def test_an_audit_again_changes_nothing_and_another_one_of_its_name_is_refused(
    vitrine: CommandLine, outsider: Outsider, audited: str
) -> None:
    count = "SELECT COUNT(*) AS n FROM `{dataset}.audited_labels` WHERE audit_id = @audit"
    before = outsider.query(count, audit=audited)
    attributes = ("--attribute", "article_type", "--attribute", "base_colour")
    assert "article_type" in vitrine("audit", "--run", audited, *attributes, *OF_THE_DEMO)
    assert outsider.query(count, audit=audited) == before
    assert "exists with attributes" in vitrine.refused("audit", "--run", audited)


def test_what_is_not_there_is_told_in_a_line(vitrine: CommandLine, audited: str) -> None:
    assert "there is no audit 'never'" in vitrine.refused("audit", "show", "never")
    assert "has base_colour" not in vitrine.refused("audit", "show", audited, "--attribute", "season")
    assert "usage: no product has 'Nowhere'" in vitrine.refused(
        "audit", "--run", "none", "--usage", "Nowhere"
    )
    assert "0 products match" in vitrine.refused("audit", "--run", "none", "--start-year", "2099")
    assert "there is no audit 'none'" in vitrine.refused("audit", "show", "none")
    refused = vitrine.refused("audit", "--run", "x1", "--version", "never-trained")
    assert "'never-trained' is no published version" in refused


def test_photos_that_a_version_has_learnt_are_marked(
    vitrine: CommandLine, outsider: Outsider, tmp_path: Path
) -> None:
    usage, first = f"test-{uuid4().hex[:12]}", uuid4().hex[:12]
    photos = {f"{first}/{number}": photo(("Dresses", "Jeans")[number % 2], number) for number in range(24)}
    rows = [
        {"id": each, "usage": usage, "articleType": ("Jeans", "Dresses")[number % 2]}
        for number, each in enumerate(photos)
    ]
    vitrine("import", str(write_catalogue(tmp_path / "catalogue", rows, photos)))
    directory = shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "version")
    Learnt.of(map(photo_digest, [*photos.values()][:10])).save(directory / LEARNT_FILE)
    shipped = load_manifest(DEFAULT_DIRECTORY)
    files = shipped.files | digests(directory, [LEARNT_FILE])
    save_manifest(directory, shipped.model_copy(update={"version": "learnt", "files": files}))

    run = f"learnt-{uuid4().hex[:8]}"
    audited = ("--attribute", "article_type", "--usage", usage, "--version", str(directory))
    printed = " ".join(vitrine("audit", "--run", run, *audited).split())

    assert "Version learnt was trained on photos of 10 of these products." in printed
    labels = vitrine.json("audit", "show", run)["labels"]
    marked = {row["product_id"]: row["learnt"] for row in labels}
    assert marked == {product_id: number < 10 for number, product_id in enumerate(photos)}
