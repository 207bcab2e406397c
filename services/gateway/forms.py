"""The form of a new job: what was written into it becomes a request, or words beside each wrong field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.datastructures import FormData
from pydantic import ValidationError

from services.gateway.problems import Problem
from services.shared.catalogue import decimal, is_date
from services.shared.catalogue_config import AttributeType, CatalogueConfig
from services.shared.events import MAX_COPIES, MAX_SIDE, ClassificationRequested, Filters

type Errors = dict[str, str]  # field of the form -> what is wrong with it

# The fields that say what a variant is.
AUGMENTATION = (
    *("copies", "crop_min", "crop_max", "resize_width", "resize_height"),
    *("flip", "rotation", "brightness", "contrast", "blur"),
)

# Where the request's own rules find something, what the form calls it, and how it is said there. All else was
# looked at before, field by field.
_RULES: Mapping[str, tuple[str, str]] = {
    "end_year": ("end_year", "This year is before the first one."),
    "classify": (
        "classify",
        "There are no variants to classify: say below what they are, or choose another.",
    ),
    "augmentation.cropping": (
        "augmentation",
        "Say what a variant is: crop, resize, mirror, turn, or change something.",
    ),
    "augmentation.cropping.height.max": ("crop_max", "The second height must not be below the first."),
    "job_id": (
        "job_id",
        "Use 2 to 63 lower-case letters, digits and hyphens, with a letter or a digit first.",
    ),
    "model": ("model", "Choose one of the list."),
}


@dataclass(frozen=True)
class Choice:
    """An attribute whose values can be chosen."""

    field: str  # of the form
    attribute: str


@dataclass(frozen=True)
class Range:
    """An attribute with a number or a date, of which the ends can be written."""

    first: str  # fields of the form
    last: str
    attribute: str
    type: AttributeType


def choices(config: CatalogueConfig) -> Sequence[Choice]:
    """The attributes whose values can be chosen; a request's own fields keep their names."""
    names = config.named("value", "values")
    return [Choice(name if name in Filters.COLUMNS else f"filters.{name}", name) for name in names]


def ranges(config: CatalogueConfig) -> Sequence[Range]:
    """The attributes of which the ends of a range can be written."""
    return [
        Range("start_year", "end_year", name, "number")
        if _is_year(name, config)
        else Range(f"filters.{name}.from", f"filters.{name}.to", name, config.attributes[name].type)
        for name in config.named("number", "date")
    ]


def _is_year(name: str, config: CatalogueConfig) -> bool:
    return name == Filters.YEAR and config.attributes[name].type == "number"


def request_of(form: FormData, config: CatalogueConfig) -> tuple[ClassificationRequested | None, Errors]:
    """What the form asks for; None where something is wrong with it.

    Args:
        form: what was written into it.
        config: of the catalogue, whose attributes the form has.

    """
    reader = _Reader(form)
    document: dict[str, Any] = {}
    filters: dict[str, Any] = {}
    for choice in choices(config):
        if values := tuple(str(value) for value in form.getlist(choice.field) if value):
            (document if choice.field == choice.attribute else filters)[choice.attribute] = values
    for each in ranges(config):
        if _is_year(each.attribute, config):
            document |= {name: reader.whole(name, 1900, 2100) for name in (each.first, each.last)}
            continue
        bounds = {"from": reader.bound(each.first, each.type), "to": reader.bound(each.last, each.type)}
        if found := {name: value for name, value in bounds.items() if value is not None}:
            filters[each.attribute] = found
    document |= {
        "filters": filters or None,
        "limit": reader.whole("limit", 1, 1_000_000_000),
        "classify": reader.text("classify") or "originals",
        "model": reader.text("model"),
        "job_id": reader.text("job_id"),
        "augmentation": _augmentation(reader),
    }
    if reader.errors:
        return None, reader.errors
    try:
        return ClassificationRequested.model_validate(
            {name: value for name, value in document.items() if value is not None}
        ), {}
    except ValidationError as error:
        return None, _in_words(error)


def errors_of(problem: Problem) -> Errors | None:
    """Beside which fields of the form a problem belongs; None where it belongs to none."""
    match problem.type:
        case "job-id-taken":
            return {"job_id": "Another job has this name already: choose another one."}
        case "model-not-found":
            return {"model": "This version is not served: choose another one."}
        case "confirmation-needed":
            return {"confirm": "Tick the box to start it all the same, or choose fewer photos."}
        case "invalid-request":
            return {error["field"]: _sentence(error["expected"]) for error in problem.errors} or None
        case _:
            return None


class _Reader:
    """Reads fields, and keeps what is wrong with them."""

    def __init__(self, form: FormData) -> None:
        self.form = form
        self.errors: Errors = {}

    def text(self, name: str) -> str | None:
        return str(self.form.get(name, "")).strip() or None

    def whole(self, name: str, least: int, most: int) -> int | None:
        """A whole number, if one is given."""
        text = self.text(name)
        if text is None:
            return None
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not least <= number <= most:
            self.errors[name] = f"Write a whole number from {least:,} to {most:,}."
            if name.endswith("_year"):
                self.errors[name] = f"Write a year from {least} to {most}."
            return None
        return number

    def bound(self, name: str, type_: AttributeType) -> str | None:
        """A number or a date as text, if one is given."""
        text = self.text(name)
        if text is None:
            return None
        if type_ == "number" and (number := decimal(text)):
            return number
        if type_ == "date" and is_date(text):
            return text
        self.errors[name] = "Write a number." if type_ == "number" else "Write a date such as 2026-03-31."
        return None

    def number(self, name: str, most: float, *, divisor: float = 1) -> float | None:
        """A number above 0, if one is given; 0 is as good as none."""
        text = self.text(name)
        if text is None:
            return None
        try:
            number = float(text.replace(",", "."))
        except ValueError:
            number = -1.0
        if not 0 <= number <= most:
            self.errors[name] = f"Write a number from 0 to {most:g}."
            return None
        return number / divisor or None

    def both(self, names: tuple[str, str], most: int, missing: str) -> tuple[int, int] | None:
        """Two whole numbers that make sense together only."""
        first, second = (self.whole(name, 1, most) for name in names)
        if first is not None and second is not None:
            return first, second
        for name, other in (names, names[::-1]):
            if self.text(name) is None and self.text(other) is not None:
                self.errors[name] = missing
        return None


def _augmentation(reader: _Reader) -> dict[str, Any] | None:
    """What variants are made, if any field of theirs is filled."""
    found: dict[str, Any] = {}
    if heights := reader.both(("crop_min", "crop_max"), MAX_SIDE, "Write both heights, or none."):
        found["cropping"] = {"height": dict(zip(("min", "max"), heights, strict=True))}
    if size := reader.both(
        ("resize_width", "resize_height"), MAX_SIDE, "Write both width and height, or none."
    ):
        found["resize"] = dict(zip(("width", "height"), size, strict=True))
    if flip := reader.number("flip", 100, divisor=100):
        found["flip"] = {"horizontal": flip}
    if degrees := reader.number("rotation", 180):
        found["rotation"] = {"degrees": degrees}
    jitter = {name: reader.number(name, 100, divisor=100) for name in ("brightness", "contrast")}
    if any(jitter.values()):
        found["colour_jitter"] = {name: value for name, value in jitter.items() if value}
    if radius := reader.number("blur", 20):
        found["blur"] = {"radius": radius}
    if copies := reader.whole("copies", 1, MAX_COPIES):
        found["copies"] = copies
    return found or None


def _in_words(error: ValidationError) -> Errors:
    errors: Errors = {}
    for detail in error.errors(include_url=False):
        path, said = [str(part) for part in detail["loc"]], detail["msg"]
        if detail["type"] == "value_error":
            # Validators that see several fields name the one to change themselves.
            field, _, said = said.removeprefix("Value error, ").partition(": ")
            path.append(field)
        name = ".".join(path)
        column = ".".join(path[:2]) if path[0] == "filters" else path[0]
        field, words = _RULES.get(name, (column, _sentence(said)))
        if column in Filters.COLUMNS or column.startswith("filters."):
            words = "Choose at most 200 values, of at most 200 characters each."
        errors.setdefault(field, words)
    return errors


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
