"""`vitrine train`: a catalogue in BigQuery and photos in Cloud Storage become a version in the registry."""

import json
import os
import re
from pathlib import Path
from uuid import uuid4

import pytest

from services.local.cloud import LocalCloud
from tests.e2e.command_line import Shell
from tests.e2e.plain import SMALL_TRAINING
from tests.e2e.test_cli import write_catalogue
from tests.unit.training_photos import photo

CONFIG = (
    """
name: {name}
data:
  kind: catalogue
  filters: {{usage: {usage}}}
  minimum_photos: 5
  validate_share: 0.2
held_out: The newest products.
about: Mosaics.
"""
    + SMALL_TRAINING
)


@pytest.mark.timeout(1_200)
def test_a_catalogue_becomes_a_published_version(cloud: LocalCloud, tmp_path: Path) -> None:
    vitrine = Shell(cloud)
    usage, name, first = f"test-{uuid4().hex[:12]}", f"test-{uuid4().hex[:12]}", uuid4().int % 10**12
    rows = [
        {
            "id": first + number,
            "usage": usage,
            "year": 2010 + number // 10,
            "season": ("Fall", "Summer", "Winter")[number % 3] if number != 7 else "Spring",
        }
        for number in range(100)
    ]
    photos = {str(first + number): photo(number) for number in range(100) if number != 11}
    photos[str(first + 12)] = b"no photo"
    photos[str(first + 99)] = photo(3, quality=80)  # the newest is the same picture as an old one
    vitrine("import", str(write_catalogue(tmp_path / "catalogue", rows, photos)))
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG.format(name=name, usage=usage))

    done = vitrine.run("train", str(config), "--run", name, "--out", str(tmp_path / "out"), "--publish")

    version = done.stdout.strip()
    said = " ".join(done.stderr.split())
    assert f"left out: products {first + 11} (1): photo-missing, of 100 products" in said
    assert f"left out: products {first + 12} (1): photo-not-an-image" in said
    # Which old products validate, their ids decide.
    assert re.search(r"left out: season 'Spring' \(1\): [01] photos that train, 5 are needed", said)
    assert f"products {first + 99} (1): would test, but are near-duplicates of photos that" in said
    assert version in vitrine("models", "--model", name, "list")
    manifest = json.loads(vitrine("models", "--model", name, "show", version))
    assert manifest["heads"] == {"season": ["Fall", "Summer", "Winter"]}
    evaluation = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    years = evaluation["heads"]["season"]["origins"]["photo"]["years"]
    assert [*years["tested"]] == ["2018", "2019"] or [*years["tested"]] == ["2019"]

    # Begun again it goes on from what stands in the bucket.
    again = vitrine.run("train", str(config), "--run", name, "--out", str(tmp_path / "again"))
    assert "goes on with the snapshot" in again.stderr
    assert again.stdout.strip() == version


def test_a_configuration_that_is_wrong_is_one_line(cloud: LocalCloud, tmp_path: Path) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text(CONFIG.format(name="x", usage="y").replace("epochs: 1", "epochs: 0"))

    complaint = Shell(cloud).refused("train", str(config))

    assert complaint.count("error:") == len(complaint.splitlines()) == 1
    assert "fitting.epochs: Input should be greater than or equal to 1 (got 0)" in complaint


def test_a_catalogue_without_matching_products_is_one_line_and_tensorflow_is_not_waited_for(
    cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "tensorflow.py").write_text("raise AssertionError('was imported')")
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'modules'}{os.pathsep}{before}")
    config = tmp_path / "nobody.yaml"
    config.write_text(CONFIG.format(name="x", usage="nobody"))

    complaint = Shell(cloud).refused("train", str(config), "--run", f"run-{uuid4().hex[:8]}")

    assert "0 products match the filters" in complaint.splitlines()[-1]
