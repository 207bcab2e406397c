"""`vitrine models bundle`: another version in place of the bundled one."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.client import models
from services.client.cli import app
from services.model.manifest import DEFAULT_DIRECTORY, load_manifest, save_manifest


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation's bundled model."""
    directory = shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "model" / "default")
    monkeypatch.setattr(models, "DEFAULT_DIRECTORY", directory)
    return directory


def version(directory: Path, name: str) -> Path:
    """A version of another name."""
    shutil.copytree(DEFAULT_DIRECTORY, directory)
    save_manifest(directory, load_manifest(directory).model_copy(update={"version": name}))
    return directory


def test_a_version_becomes_the_bundled_one(bundled: Path, tmp_path: Path) -> None:
    other = version(tmp_path / "other", "abcdef012345")

    result = CliRunner().invoke(app, ["models", "bundle", str(other)])

    assert result.exit_code == 0, result.output
    assert "abcdef012345 is the bundled model" in result.output
    assert load_manifest(bundled).version == "abcdef012345"
    assert [path.name for path in bundled.parent.iterdir()] == ["default"]


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_version_that_is_not_whole_changes_nothing(bundled: Path, tmp_path: Path, damage: str) -> None:
    before = load_manifest(bundled).version
    other = version(tmp_path / "other", "abcdef012345")
    if damage == "missing":
        (other / "model.tflite").unlink()
    else:
        (other / "model.tflite").write_bytes(b"another file")

    result = CliRunner().invoke(app, ["models", "bundle", str(other)])

    assert result.exit_code != 0
    assert load_manifest(bundled).version == before


def test_the_bundled_model_itself_is_refused(bundled: Path) -> None:
    result = CliRunner().invoke(app, ["models", "bundle", str(bundled)])

    assert result.exit_code != 0
    assert load_manifest(bundled)
