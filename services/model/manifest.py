"""`model.json`: what stands beside a model's files and says what they are."""

import hashlib
import operator
import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

MANIFEST = "model.json"
# The forms that are served: for LiteRT, in 8-bit integers; for TensorFlow.
MODEL_FILE = "model.tflite"
SAVED_MODEL = "saved_model"

# The model that ships with the repository.
DEFAULT_DIRECTORY = Path(__file__).parent / "default"


class ModelError(ValueError):
    """The directory does not hold the model that its manifest describes."""


# It becomes a part of paths and URIs.
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def is_identifier(text: str) -> bool:
    """Whether a model or a version may be called so: letters, digits, hyphens and underscores."""
    return _IDENTIFIER.fullmatch(text) is not None


def _identified(text: str) -> str:
    if not is_identifier(text):
        raise ValueError(f"{text!r} has other signs than letters, digits, hyphens and underscores")
    return text


Identifier = Annotated[str, AfterValidator(_identified)]


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name} lies outside of the model's directory")
    return name


class SeveralValues(BaseModel):
    """A head of which a photo may have several labels: see services/model/several.py."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...] = Field(min_length=1)  # in the order of the logits
    temperature: PositiveFloat  # what logits are divided by before the sigmoid
    thresholds: tuple[float, ...]  # of each label: the probability from which on it is said

    @model_validator(mode="after")
    def _one_threshold_a_label(self) -> Self:
        if len(self.thresholds) != len(self.labels):
            raise ValueError(f"thresholds: expected {len(self.labels)}, one a label")
        return self


class Manifest(BaseModel):
    """A model's identity, what it answers, and the digests of its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Identifier
    # Derived from the weights, so that two models never share a version and no one has to remember to raise
    # it.
    version: Identifier
    created: date
    # Pixels of a side of the square that the network is given.
    image_size: PositiveInt
    # As `services.model.network.build`.
    small_photos: bool = False
    # Head -> its labels, in the order of the logits.
    heads: dict[str, Annotated[tuple[str, ...], Field(min_length=2)]] = Field(min_length=1)
    # Heads of which a photo may have several labels. All fields below, but `thresholds`, are of the others.
    several: dict[str, SeveralValues] = Field(default={}, exclude_if=operator.not_)
    # Head -> what its logits are divided by before the softmax, fitted so that probabilities are calibrated.
    # The heads of the hierarchy share one.
    temperatures: dict[str, PositiveFloat]
    # Heads that form a tree, the broadest first: they are decoded jointly.
    hierarchy: tuple[str, ...] = ()
    # Head of the hierarchy, but not the broadest -> its label -> the label of the broader head.
    parents: dict[str, dict[str, str]] = {}
    # Head -> other head -> the labels of that one with which this head applies; see
    # `services.model.decoding.Decoder`.
    applies_to: dict[str, dict[str, tuple[str, ...]]] = Field(default={}, exclude_if=operator.not_)
    # Head -> the probability under which the model abstains; a head without one always answers. Of a head
    # with several labels it is that of the whole answer.
    thresholds: dict[str, PositiveFloat] = {}
    # Head -> why its answers are not to be relied on, in one sentence for people.
    unreliable: dict[str, str] = {}
    # Figure -> value, as measured by the run that made the model; the card explains them.
    figures: dict[str, float]
    # Path within the directory -> SHA-256.
    files: dict[Annotated[str, AfterValidator(_inside)], str] = Field(min_length=1)

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Head -> its labels, in the order of the logits: of all heads."""
        return self.heads | {head: each.labels for head, each in self.several.items()}


def load_manifest(directory: Path) -> Manifest:
    """Read `model.json` and check every file that it lists.

    Raises:
        ModelError: the manifest is missing or malformed, or a file is missing or has another digest.

    """
    try:
        manifest = parse_manifest((directory / MANIFEST).read_bytes(), str(directory / MANIFEST))
    except FileNotFoundError as error:
        raise ModelError(f"{directory} has no {MANIFEST}") from error
    for name, expected in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise ModelError(f"{path} is missing")
        if (actual := digest(path)) != expected:
            raise ModelError(
                f"{path} has SHA-256 {actual} and not {expected}: it is not the file of this model"
            )
    return manifest


def parse_manifest(data: bytes, where: str) -> Manifest:
    """A manifest of the bytes of a `model.json`.

    Args:
        data: the bytes.
        where: names their file in a complaint.

    Raises:
        ModelError: it is malformed.

    """
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ModelError(f"{where}: {error}") from error
    if manifest.temperatures.keys() != manifest.heads.keys():
        raise ModelError(f"{where}: heads and temperatures name different heads")
    if both := manifest.heads.keys() & manifest.several.keys():
        raise ModelError(f"{where}: several: {min(both)} is one of `heads` already")
    return manifest


def save_manifest(directory: Path, manifest: Manifest) -> None:
    """Write `model.json`."""
    (directory / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def digests(directory: Path, names: Iterable[str]) -> dict[str, str]:
    """Path within the directory -> SHA-256, as `Manifest.files` holds them."""
    return {name: digest(directory / name) for name in names}


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
