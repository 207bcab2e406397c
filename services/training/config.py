"""A training run's configuration: a YAML file, of which services/training/configs has those that we ran."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.model.manifest import Identifier
from services.shared.events import Filters, describe

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


class DeepFashionData(_Settings):
    """`services.training.deepfashion.DeepFashionSource`."""

    kind: Literal["deepfashion"]
    folder: Path


class Augmentation(_Settings):
    """How far training photos are varied; each a share between 0 and 1."""

    mirrored: float = Field(default=0.5, ge=0, le=1)
    # Photos of which a rectangle is painted over (Zhong et al., Random Erasing, AAAI 2020).
    erased: float = Field(default=0.3, ge=0, le=1)
    # Batches that are blended with themselves in another order (Zhang et al., mixup, ICLR 2018), and the
    # largest share of the fainter photo.
    mixed: float = Field(default=0.5, ge=0, le=1)
    mixed_share: float = Field(default=0.2, ge=0, le=0.5)


class Fitting(_Settings):
    """How a network is fitted."""

    epochs: int = Field(ge=1)
    batch: int = Field(default=64, ge=1)
    # Rises for the first steps, then falls to nothing along a cosine.
    learning_rate: float = Field(default=1e-3, gt=0)
    warm_up_steps: int = Field(default=300, ge=0)
    weight_decay: float = Field(default=0.02, ge=0)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    # Of the running average of the weights, which is what is kept (Polyak averaging).
    averaging: float = Field(default=0.998, ge=0, lt=1)
    # An example counts (1 / the number of examples of its label) to this power: 0 all examples alike, 1 all
    # labels alike.
    class_balance: float = Field(default=0.0, ge=0, le=1)
    # Epochs without a better result on the validation side, after which the best is kept.
    patience: int = Field(default=5, ge=1)
    augmentation: Augmentation = Augmentation()


class Config(_Settings):
    """What to train on, how, and what the result has to hold."""

    name: Identifier
    data: Annotated[DemoData | CatalogueData | DeepFashionData, Field(discriminator="kind")]
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
