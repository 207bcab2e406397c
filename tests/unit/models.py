"""Small models to publish: a directory as training writes it."""

from datetime import date
from pathlib import Path

from services.model.manifest import Manifest, digests, save_manifest

NAME = "test"


def write_model(directory: Path, version: str, **files: bytes) -> Path:
    """A model's directory; the name of a file with `__` for a slash and `_dot_` for its dot."""
    contents = {name.replace("__", "/").replace("_dot_", "."): data for name, data in files.items()}
    contents = contents or {"model.tflite": f"the network of {version}".encode()}
    for name, data in contents.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    manifest = Manifest(
        name=NAME,
        version=version,
        created=date(2026, 11, 23),
        image_size=2,
        heads={"article_type": ("Shirts", "Boots")},
        temperatures={"article_type": 1.0},
        figures={"real": 0.9},
        files=digests(directory, contents),
    )
    save_manifest(directory, manifest)
    return directory
