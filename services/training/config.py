"""A training run's configuration: a YAML file, of which services/training/configs has those that we ran."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.model.manifest import Identifier
from services.shared.events import Filters, describe
from services.training.fitting import Fitting

CONFIGS = Path(__file__).parent / "configs"


class ConfigError(ValueError):
    """The file is no configuration; the message names the field and what was expected."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DemoData(_Settings):
    """`services.training.demo.DemoSource`."""

    kind: Literal["demo"]
    validate_photos: int = Field(default=3_000, ge=1)
    tinted: int = Field(default=6_000, ge=0)
    drawings: int = Field(default=3_000, ge=0)
    tested: int = Field(default=2_000, ge=0)


class CatalogueData(_Settings):
    """`services.training.catalogue.CatalogueSource`."""

    kind: Literal["catalogue"]
    # A folder in the layout of Fashion Product Images; not given: the table `products` and the bucket.
    folder: Path | None = None
    # As a request's: which products. Not given: all.
    filters: Filters = Filters()
    # Products from this year on are the test side. Not given: about the newest 15 %.
    test_from: int | None = None
    # A label with fewer photos in the training span is not learnt.
    minimum_photos: int = Field(default=20, ge=1)
    # Of the training span: what is chosen and calibrated by.
    validate_share: float = Field(default=0.1, gt=0, lt=1)


class Config(_Settings):
    """What to train on, how, and what the result has to hold."""

    name: Identifier
    data: Annotated[DemoData | CatalogueData, Field(discriminator="kind")]
    # Pixels of a side of the square that the network is given.
    image_size: int = Field(default=112, ge=32, le=512)
    # As `services.model.network.build`: for photos of few pixels.
    small_photos: bool = False
    seed: int = 0
    fitting: Fitting
    # The epochs with the activations rounded to 8 bits, from the fitted weights on.
    rounding: Fitting
    # Accuracy that answers shall have; the less sure ones abstain.
    answered_accuracy: float = Field(default=0.98, gt=0, lt=1)
    # Least shares of held photos to which an export gives the same label as the network it was made of: the
    # 8-bit network beside the fitted one, and the files beside their network.
    rounded_agreement: float = Field(default=0.95, ge=0, le=1)
    file_agreement: float = Field(default=0.99, ge=0, le=1)
    # Exports that are published beside the 8-bit file.
    ships: tuple[Literal["model_float16.tflite", "saved_model"], ...] = (
        "model_float16.tflite",
        "saved_model",
    )
    # For the report: which photos the figures are of, and why training has not seen them.
    held_out: str
    # For the card, in Markdown: what the data are, whose they are, and what the model cannot do.
    about: str


def read(name: str) -> Config:
    """Read a configuration: a path, or the name of one of CONFIGS.

    Raises:
        ConfigError: there is none, or it is malformed.

    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else CONFIGS / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: expected a configuration; {', '.join(names())} ship") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: no YAML: {error}") from error
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error


def names() -> Sequence[str]:
    """The configurations that ship."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))
