import json
from datetime import date
from pathlib import Path

import pytest

from services.model.manifest import (
    DEFAULT_DIRECTORY,
    Manifest,
    ModelError,
    digests,
    load_manifest,
    save_manifest,
)
from services.shared.events import Filters


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "model.tflite").write_bytes(b"a network")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "part").write_bytes(b"a part")
    save_manifest(
        tmp_path,
        Manifest(
            name="test",
            version="1",
            created=date(2026, 11, 23),
            image_size=112,
            heads={"article_type": ("Shirts", "Boots")},
            temperatures={"article_type": 1.2},
            figures={"real": 0.9},
            files=digests(tmp_path, ["model.tflite", "saved/part"]),
        ),
    )
    return tmp_path


def _edit(directory: Path, **changes: object) -> None:
    path = directory / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_was_saved_is_loaded(directory: Path) -> None:
    manifest = load_manifest(directory)

    assert manifest.heads == {"article_type": ("Shirts", "Boots")}
    assert manifest.temperatures == {"article_type": 1.2}
    assert manifest.created == date(2026, 11, 23)


def test_the_shipped_model_is_what_its_manifest_says() -> None:
    manifest = load_manifest(DEFAULT_DIRECTORY)

    assert set(manifest.heads) == {*Filters.COLUMNS, "garment"}
    assert len(manifest.heads["article_type"]) == 105
    assert manifest.hierarchy == ("master_category", "sub_category", "article_type")
    assert set(manifest.files) == {"familiarity.npz", "learnt.npz", "model.tflite", "weights.npz"}
    assert all((DEFAULT_DIRECTORY / name).stat().st_size < 6_000_000 for name in manifest.files)


@pytest.mark.parametrize("name", ["model.tflite", "saved/part"])
def test_a_changed_file_is_refused_by_name(directory: Path, name: str) -> None:
    (directory / name).write_bytes(b"another network")

    with pytest.raises(ModelError, match=f"{name} has SHA-256"):
        load_manifest(directory)


def test_a_missing_file_is_refused_by_name(directory: Path) -> None:
    (directory / "model.tflite").unlink()

    with pytest.raises(ModelError, match=r"model\.tflite is missing"):
        load_manifest(directory)


def test_a_directory_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no model\.json"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"heads": {}}, "heads"),
        ({"heads": {"article_type": ["Shirts"]}}, "heads"),
        ({"heads": {"colour": ["Red", "Blue"]}}, "different heads"),
        ({"temperatures": {"article_type": 0}}, "temperatures"),
        ({"image_size": "large"}, "image_size"),
        ({"files": {}}, "files"),
        ({"files": {"../model.tflite": "0"}}, "outside"),
        ({"files": {"/etc/hostname": "0"}}, "outside"),
        ({"author": "unknown"}, "author"),
    ],
)
def test_a_malformed_manifest_is_refused_naming_the_field(
    directory: Path, changes: dict[str, object], complaint: str
) -> None:
    _edit(directory, **changes)

    with pytest.raises(ModelError, match=complaint):
        load_manifest(directory)


def test_a_manifest_that_is_not_json_is_refused(directory: Path) -> None:
    (directory / "model.json").write_text("name: test")

    with pytest.raises(ModelError, match="JSON"):
        load_manifest(directory)
