"""A training run's configuration: a YAML file, of which services/training/configs has those that we ran."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from services.model.manifest import Identifier
from services.shared.events import Filters, describe
from services.shared.nearest import did_you_mean

ANSWERED_ACCURACY = 0.95
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


class _Data(_Settings):
    # How often an epoch shows each photo that trains: 0.2 shows another fifth of them each time.
    shown: float = Field(default=1.0, gt=0, le=10)


class CatalogueData(_Data):
    """`services.training.catalogue.CatalogueSource`."""

    kind: Literal["catalogue"]
    # A folder or zip in the layout of Fashion Product Images; not given: the table `products` and the bucket.
    folder: Path | None = None
    # As a request's: which products. Not given: all.
    filters: Filters = Filters()
    # Which products test: those from a year on, those of odd years, or a random share. Not given: about the
    # newest 15 %; of a catalogue without a column of time, a random 15 %.
    test_from: int | None = None
    test_years: Literal["odd"] | None = None
    test_share: float | None = Field(default=None, gt=0, lt=1)
    # A label with fewer photos in the training span is not learnt.
    minimum_photos: int = Field(default=20, ge=1)
    # Of the training span: what is chosen and calibrated by.
    validate_share: float = Field(default=0.1, gt=0, lt=1)
    # What its photos are called in figures, which are never of several origins mixed.
    origin: str = "photo"

    @model_validator(mode="after")
    def _one_test_side(self) -> Self:
        given = [
            name for name in ("test_from", "test_years", "test_share") if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"{given[1]}: must not be given with {given[0]}")
        return self


class ClothingData(_Data):
    """`services.training.clothing.ClothingSource`."""

    kind: Literal["clothing"]
    origin: ClassVar[str] = "snapshot"
    # A folder or zip in the layout of clothing-dataset.
    folder: Path
    # clothing-dataset-small's split: a CSV file with the columns image and split.
    official_split: Path | None = None
    # Shares of the senders.
    validate_share: float = Field(default=0.05, gt=0, lt=1)
    new_sender_share: float = Field(default=0.08, ge=0, lt=1)


class FashionMnistData(_Data):
    """`services.training.fashion_mnist.FashionMnistSource`."""

    kind: Literal["fashion_mnist"]
    origin: ClassVar[str] = "grey_photo"
    validate_photos: int = Field(default=1_000, ge=1)
    # Labels that the first part does not have: head -> labels.
    adds: dict[str, tuple[str, ...]] = {}


class MixtureData(_Settings):
    """`services.training.mixture.Mixture`: the first part has the labels that the others are told in."""

    kind: Literal["mixture"]
    parts: dict[
        Identifier, Annotated[CatalogueData | ClothingData | FashionMnistData, Field(discriminator="kind")]
    ] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_rate_an_origin(self) -> Self:
        first: dict[str, str] = {}
        for name, part in self.parts.items():
            other = first.setdefault(part.origin, name)
            if self.parts[other].shown != part.shown:
                raise ValueError(
                    f"{name}: must have the same `shown` as {other}, or another origin than {part.origin!r}"
                )
        return self

    def shown_by_origin(self) -> dict[str, float]:
        """Origin -> how often an epoch shows each of its photos."""
        return {part.origin: part.shown for part in self.parts.values()}


class DeepFashionData(_Settings):
    """`services.training.deepfashion.DeepFashionSource`."""

    kind: Literal["deepfashion"]
    folder: Path


class Augmentation(_Settings):
    """How far training photos are varied; each a share between 0 and 1."""

    mirrored: float = Field(default=0.5, ge=0, le=1)
    # Photos whose white background gets another colour.
    grounded: float = Field(default=0.0, ge=0, le=1)
    # Batches that are made as blurred as photos of fewer pixels are.
    resampled: float = Field(default=0.0, ge=0, le=1)
    # Photos that are made narrower or a little wider.
    stretched: float = Field(default=0.0, ge=0, le=1)
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


class Coarse(Fitting):
    """Epochs on photos of fewer pixels, before all others: there an epoch takes half the time or less.

    Tan and Le, "EfficientNetV2", ICML 2021, call it progressive learning.
    """

    image_size: int = Field(ge=32, le=512)


class Config(_Settings):
    """What to train on, how, and what the result has to hold."""

    name: Identifier
    data: Annotated[DemoData | CatalogueData | DeepFashionData | MixtureData, Field(discriminator="kind")]
    # Pixels of a side of the square that the network is given.
    image_size: int = Field(default=112, ge=32, le=512)
    # As `services.model.network.build`: for photos of few pixels.
    small_photos: bool = False
    seed: int = 0
    # Heads of which each label of the next has one parent, the broadest first: answers never contradict it.
    hierarchy: tuple[str, ...] = ()
    coarse: Coarse | None = None
    fitting: Fitting
    # The epochs with the activations rounded to 8 bits, from the fitted weights on.
    rounding: Fitting
    # Accuracy that answers shall have; the less sure ones abstain. By head where heads are named: what is
    # easy to tell of photos may be held to more than what is hard.
    answered_accuracy: float | dict[str, float] = ANSWERED_ACCURACY
    # How much of a head's accuracy on held photos rounding to 8 bits may lose. An export fails if the loss is
    # larger by more than chance explains: of few photos, a few differ anyhow.
    rounding_loss: float = Field(default=0.01, ge=0, le=1)
    # Least share of held photos to which an exported file gives the same label as the network it was made of,
    # or one that the network finds nearly as probable.
    file_agreement: float = Field(default=0.99, ge=0, le=1)
    # Exports that are published beside the 8-bit file.
    ships: tuple[Literal["model_float16.tflite", "saved_model"], ...] = (
        "model_float16.tflite",
        "saved_model",
    )
    # Whether the report shows photos. Where they may not be passed on, its figures stand alone.
    photos_in_report: bool = True
    # For the report: which photos the figures are of, and why training has not seen them.
    held_out: str
    # For the card, in Markdown: what the data are, whose they are, and what the model cannot do.
    about: str

    @field_validator("answered_accuracy")
    @classmethod
    def _accuracies_are_shares(cls, given: float | dict[str, float]) -> float | dict[str, float]:
        for head, accuracy in given.items() if isinstance(given, dict) else [("", given)]:
            if not 0 < accuracy < 1:
                raise ValueError(f"{head or 'accuracy'}: must be between 0 and 1, not {accuracy}")
        return given

    def accuracy_of(self, head: str) -> float:
        """The accuracy that a head's answers shall have."""
        if isinstance(self.answered_accuracy, float):
            return self.answered_accuracy
        return self.answered_accuracy.get(head, ANSWERED_ACCURACY)

    def check_heads(self, heads: Iterable[str], several: Iterable[str] = ()) -> None:
        """Checks that the data has the heads that the configuration names.

        Args:
            heads: of the data, of one label a photo.
            several: those of several labels a photo.

        Raises:
            ConfigError: it has not; names the field and the nearest head.

        """
        one = [*heads]
        known = [*one, *several]
        accuracies = self.answered_accuracy if isinstance(self.answered_accuracy, dict) else {}
        for field, named in (("hierarchy", self.hierarchy), ("answered_accuracy", accuracies)):
            if unknown := [head for head in named if head not in known]:
                raise ConfigError(
                    f"{field}: the data has no attribute {unknown[0]!r}{did_you_mean(unknown[0], known)}"
                )
        if strange := [head for head in self.hierarchy if head not in one]:
            raise ConfigError(f"hierarchy: {strange[0]} has several values; each label has one parent")

    def shown(self) -> dict[str, float]:
        """Origin -> how often an epoch shows each of its photos; origins that are not named: once."""
        return self.data.shown_by_origin() if isinstance(self.data, MixtureData) else {}


def read(name: str) -> Config:
    """Read a configuration: a path, or the name of one of CONFIGS.

    Raises:
        ConfigError: there is none, or it is malformed.

    """
    given = name.endswith((".yaml", ".yml"))
    if not given and name not in names():
        raise ConfigError(f"there is no configuration {name!r}{did_you_mean(name, names())}")
    path = Path(name) if given else CONFIGS / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected the fields {', '.join(Config.model_fields)}")
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error, Config)}") from error


def names() -> Sequence[str]:
    """The configurations that ship."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))
