"""The events of the pipeline, one class a topic; schemas/events/*.proto say the same to the broker.

An event is a fact, named in the past tense. On the wire it is JSON. What must be read without opening the
body (a subscription's filter) stands in `attributes()` too.
"""

import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from json import JSONDecodeError
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails

from services.shared.errors import ImageErrorCode, Reject
from services.shared.labels import join
from services.shared.layout import digest
from services.shared.nearest import did_you_mean
from services.shared.wiring import load_wiring

BATCH_IMAGES = 256
MAX_SIDE = 2048  # pixels: the longest side that an augmentation may ask for
MAX_COPIES = 10
EVENT_ID = "event_id"  # an attribute: derives from the input's event id and the stage


@dataclass(frozen=True)
class Message:
    """A Pub/Sub message as a push delivers it."""

    data: bytes
    attributes: Mapping[str, str]
    message_id: str
    publish_time: str
    subscription: str  # the bare name
    delivery_attempt: int = 1

    @property
    def event_id(self) -> str:
        """What stays the same when the same event is published again; outsiders set no id of their own."""
        return self.attributes.get(EVENT_ID, self.message_id)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# JSON Schema: no value of a field, and no values.
NULL: JsonDict = {"type": "null"}
NONE: JsonDict = {"type": "array", "maxItems": 0}


def given(name: str, **others: JsonValue) -> JsonDict:
    """JSON Schema of an object that has the field, not null; of others, what they are if they are there."""
    return {"required": [name], "properties": {name: {"not": NULL}, **others}}


# A quote inside a text is escaped, so that only a field has this name. A number that no id can be stays.
_OLD_ID = re.compile(rb'(?<!\\)"image_id":\s*(?:(null)|(\d+)(?=\s*[,}]))')


def with_text_ids(data: bytes) -> bytes:
    """JSON of release 0.1, where a product's id was a number, `image_id`, as this release has it."""
    if b'"image_id"' not in data:
        return data
    return _OLD_ID.sub(lambda old: b'"product_id":' + (old[1] or b'"%b"' % old[2]), data)


class Event(_Strict):
    """What all events can do: come out of a message, and go into one."""

    def attributes(self) -> dict[str, str]:
        """Message attributes, for filters and for finding a message without opening it."""
        return {}

    @classmethod
    def id_of(cls, message: Message) -> str:
        """What names the event that a message carries, for ever."""
        return message.event_id

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """Decodes a pushed message.

        Raises:
            Reject: names every field that is wrong, and what was expected.

        """
        try:
            return cls.model_validate_json(with_text_ids(message.data))
        except ValidationError as error:
            raise Reject(describe(error)) from error


def _walk(
    loc: tuple[int | str, ...], model: type[BaseModel] | None
) -> tuple[list[int | str], list[type[BaseModel]]]:
    """A place without the tags of unions, which are no fields, and the models that it may be in."""
    place: list[int | str] = []
    models = [model] if model else []
    for name in loc:
        if len(models) > 1 and (tagged := [each for each in models if _tag(each) == name]):
            models = tagged
            continue
        place.append(name)
        fields = [each.model_fields[name] for each in models if name in each.model_fields]
        if fields:
            models = [each for field in fields for each in _models(field.annotation)]
    return place, models


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in get_args(annotation) for model in _models(each)]


def _tag(model: type[BaseModel]) -> str | None:
    """The value of `kind` by which a model is chosen among others."""
    field = model.model_fields.get("kind")
    return next(iter(get_args(field.annotation)), None) if field else None


type Handlers = Mapping[type[Event], Callable[..., Sequence[Event]]]
"""What a stage does with each event that it is pushed: `(event, ports) -> events to publish`."""


def describe(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """All errors of a validation in one line: `limit: must be ... (got 0); colour: ...`.

    Args:
        error: what pydantic says.
        model: what was validated; with it, an unknown field is named with the nearest one that exists.

    """
    return "; ".join(_complaint(detail, model) for detail in error.errors(include_url=False))


def _complaint(detail: ErrorDetails, model: type[BaseModel] | None) -> str:
    place, models = _walk(detail["loc"], model)
    field = ".".join(str(name) for name in place if name != "[key]")
    if detail["type"] == "extra_forbidden":
        known = {each.alias or name: None for model in models for name, each in model.model_fields.items()}
        return f"{field}: no such field{did_you_mean(str(detail['loc'][-1]), known)}"
    if detail["type"] == "union_tag_invalid":
        tags = [tag for each in models if (tag := _tag(each))]
        wrong = str(detail["ctx"]["tag"])
        return f"{field}.kind: no such kind {wrong!r}{did_you_mean(wrong, tags)}"
    if detail["type"] == "value_error":
        # Our own validators see several fields at once and name the one to change themselves.
        return f"{field}.".lstrip(".") + detail["msg"].removeprefix("Value error, ")
    got = json.dumps(detail["input"], default=str)[:80]
    return f"{field or 'message'}: {detail['msg']}" + ("" if detail["type"] == "missing" else f" (got {got})")


# ------------------------------------------------------------------------------------- the request


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = Counter(name for name, _ in pairs)
    if twice := [name for name, count in names.items() if count > 1]:
        raise Reject(f"{twice[0]}: given {names[twice[0]]} times in one object; give it once")
    return dict(pairs)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _as_int(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# JSON knows one kind of number: 1.0 is a whole one, as JSON Schema and proto have it too.
WHOLE = BeforeValidator(_as_int)

Value = Annotated[str, Field(min_length=1, max_length=200)]
SeveralValues = Annotated[tuple[Value, ...], Field(max_length=200)]
Values = Annotated[SeveralValues, BeforeValidator(_as_tuple, json_schema_input_type=SeveralValues | Value)]
Year = Annotated[int, Field(ge=1900, le=2100), WHOLE]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE), WHOLE]
JobId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,62}$")]
# Any text on one line, without blanks around it: what catalogues use as an id, such as a SKU or a UUID.
PRODUCT_ID = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"
MAX_PRODUCT_ID = 200  # characters
ProductId = Annotated[str, Field(max_length=MAX_PRODUCT_ID, pattern=PRODUCT_ID)]
# As BigQuery names columns; an attribute of a model, of a catalogue and of a request has the same name.
AttributeName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]


class HeightRange(_Strict):
    """Heights in pixels, both ends included."""

    min: Side
    max: Side

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max: must be at least min, which is {self.min}")
        return self


class Cropping(_Strict):
    """A window of random height and position; its proportions are those of `resize`, else the photo's."""

    height: HeightRange


class Resize(_Strict):
    """The size in pixels that every variant ends with."""

    width: Side
    height: Side


class Flip(_Strict):
    """Mirrors with a probability each."""

    horizontal: Annotated[float, Field(ge=0, le=1)] = 0.0
    vertical: Annotated[float, Field(ge=0, le=1)] = 0.0


class Rotation(_Strict):
    """An angle drawn from [-degrees, degrees]; the corners take the photo's border colour."""

    degrees: Annotated[float, Field(gt=0, le=180)]


class ColourJitter(_Strict):
    """Factors drawn from [1 - x, 1 + x]; hue is a shift of at most that share of the colour circle."""

    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0


class Blur(_Strict):
    """A Gaussian blur of a radius in pixels drawn from [0, radius]."""

    radius: Annotated[float, Field(gt=0, le=20)]


class Augmentation(_Strict):
    """What is done to each photo, in this order; every drawing is seeded by (job, image, copy)."""

    cropping: Cropping | None = None
    resize: Resize | None = None
    flip: Flip | None = None
    rotation: Rotation | None = None
    colour_jitter: ColourJitter | None = None
    blur: Blur | None = None
    copies: Annotated[int, Field(ge=1, le=MAX_COPIES), WHOLE] = 1

    TRANSFORMS: ClassVar[tuple[str, ...]] = (
        "cropping",
        "resize",
        "flip",
        "rotation",
        "colour_jitter",
        "blur",
    )

    # As `_does_something` has it.
    model_config = ConfigDict(json_schema_extra={"anyOf": [given(name) for name in TRANSFORMS]})

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if all(getattr(self, name) is None for name in self.TRANSFORMS):
            raise ValueError(f"cropping: name at least one of {', '.join(self.TRANSFORMS)}")
        return self


def _as_text(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return str(int(value)) if isinstance(value, int) or value.is_integer() else str(value)


def _as_texts(value: Any) -> Any:
    return tuple(map(_as_text, _as_tuple(value)))


def _condition_schema(schema: JsonDict) -> None:
    """JSON Schema of a condition in each of its forms."""
    scalar: JsonDict = {"type": ["string", "number"], "minLength": 1, "maxLength": 200}
    several: JsonDict = {"type": "array", "items": scalar, "minItems": 1, "maxItems": 200}
    described = {"title": schema["title"], "description": schema["description"]}
    schema.clear()
    schema |= described | {
        "anyOf": [
            {"title": "A value", **scalar},
            {"title": "One of several values", **several},
            {
                "title": "One of several values, as events have it",
                **_object({"values": several}, "values"),
            },
            {"title": "A range", **_object({"from": scalar, "to": scalar}), "minProperties": 1},
        ]
    }


def _object(properties: JsonDict, *required: str) -> JsonDict:
    return {
        "type": "object",
        "properties": properties,
        "required": [*required],
        "additionalProperties": False,
    }


class Condition(_Strict):
    """What is asked of one attribute: one of several values, or a range with both ends included.

    Args:
        values: one of these.
        from_: the least number, or the first date, such as 2026-03-31; kept as text.
        to: the largest number, or the last date.

    """

    # What is not asked is not written: the forms of a condition have no place for null.
    values: Annotated[SeveralValues, BeforeValidator(_as_texts)] = Field(default=(), exclude_if=operator.not_)
    from_: Annotated[Value, BeforeValidator(_as_text)] | None = Field(
        default=None, alias="from", exclude_if=operator.not_
    )
    to: Annotated[Value, BeforeValidator(_as_text)] | None = Field(default=None, exclude_if=operator.not_)

    model_config = ConfigDict(
        validate_by_name=True, serialize_by_alias=True, json_schema_extra=_condition_schema
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return value if isinstance(value, (dict, cls)) else {"values": value}

    @model_validator(mode="after")
    def _values_or_range(self) -> Self:
        if bool(self.values) == self.ranged:
            raise ValueError("from: expected `from`, `to` or both, else a value or a list of values")
        return self

    @property
    def ranged(self) -> bool:
        """Whether it asks for a range."""
        return self.from_ is not None or self.to is not None

    def __str__(self) -> str:
        return f"{self.from_ or ''}\N{EN DASH}{self.to or ''}" if self.ranged else ", ".join(self.values)


class Filters(_Strict):
    """Which products of the catalogue are meant. An attribute without a condition is not filtered by.

    The bundled catalogue's attributes have fields of their own, which mean the same as `filters`.
    """

    gender: Values = ()
    master_category: Values = ()
    sub_category: Values = ()
    article_type: Values = ()
    base_colour: Values = ()
    season: Values = ()
    usage: Values = ()
    start_year: Year | None = None
    end_year: Year | None = None
    limit: Annotated[int, Field(ge=1, le=1_000_000_000), WHOLE] | None = None
    retry_of: JobId | None = None  # products that have a row with an error in that job
    filters: (
        Annotated[
            Mapping[AttributeName, Condition],
            Field(max_length=100, json_schema_extra={"additionalProperties": False}),
        ]
        | None
    ) = None

    # The fields that are conditions on an attribute of their name.
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "gender",
        "master_category",
        "sub_category",
        "article_type",
        "base_colour",
        "season",
        "usage",
    )
    YEAR: ClassVar[str] = "year"  # the attribute that start_year and end_year are about

    @model_validator(mode="after")
    def _years_ordered(self) -> Self:
        if self.start_year is not None and self.end_year is not None and self.end_year < self.start_year:
            raise ValueError(f"end_year: must not be before start_year, which is {self.start_year}")
        return self

    @model_validator(mode="after")
    def _once_an_attribute(self) -> Self:
        for name in self.filters or ():
            if name in self._own_conditions:
                raise ValueError(f"filters.{name}: {self._own_field(name)} says it, too; give it once")
        return self

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """What is asked of each attribute, by its name."""
        return {**self._own_conditions, **(self.filters or {})}

    @property
    def _own_conditions(self) -> Mapping[str, Condition]:
        found = {name: Condition(values=values) for name in self.COLUMNS if (values := getattr(self, name))}
        if self.start_year is not None or self.end_year is not None:
            first, last = (None if year is None else str(year) for year in (self.start_year, self.end_year))
            found[self.YEAR] = Condition.model_validate({"from": first, "to": last})
        return found

    def field_of(self, attribute: str) -> str:
        """The field of the request that has the condition on an attribute."""
        return f"filters.{attribute}" if attribute in (self.filters or {}) else self._own_field(attribute)

    def _own_field(self, attribute: str) -> str:
        if attribute == self.YEAR:
            return "end_year" if self.start_year is None else "start_year"
        return attribute


Classified = Literal["originals", "augmented", "both"]
Classify = Literal[Classified, "none"]


class ClassificationRequested(Filters, Event):
    """Somebody wants the matching photos prepared, augmented, classified, as it says."""

    job_id: JobId | None = None
    augmentation: Augmentation | None = None
    classify: Classify = "originals"
    model: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    prepared_by: JobId | None = None  # its products, photos and variants, as that job left them

    # As the validators have it.
    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {
                    "title": "Originals",
                    "properties": {"prepared_by": NULL, "classify": {"enum": ["originals", "none"]}},
                },
                {"title": "Originals and variants", **given("augmentation", prepared_by=NULL)},
                {
                    "title": "What another job prepared",
                    **given(
                        "prepared_by",
                        classify={"enum": [*get_args(Classified)]},
                        augmentation=NULL,
                        **dict.fromkeys(Filters.COLUMNS, NONE),
                        **{name: NULL for name in Filters.model_fields if name not in Filters.COLUMNS},
                    ),
                },
            ]
        }
    )

    @model_validator(mode="after")
    def _prepared_is_taken_as_it_is(self) -> Self:
        if self.prepared_by is None:
            return self
        for name in (*Filters.model_fields, "augmentation"):
            if getattr(self, name) not in ((), None):
                raise ValueError(f"{name}: must not be given with prepared_by, which says what is classified")
        if self.classify == "none":
            raise ValueError('classify: "none" would leave nothing to do for what is prepared already')
        return self

    @model_validator(mode="after")
    def _augmented_needs_augmentation(self) -> Self:
        # What another job prepared may have variants; selection knows.
        without = self.augmentation is None and self.prepared_by is None
        if self.classify in ("augmented", "both") and without:
            raise ValueError(f'classify: "{self.classify}" needs an augmentation')
        return self

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parses a request that people write by hand; a byte order mark before it is ignored.

        Raises:
            Reject: names every field that is wrong, and what was expected.

        """
        data = data.removeprefix(b"\xef\xbb\xbf")
        # What is no JSON at all, the model says.
        with suppress(UnicodeDecodeError, JSONDecodeError):
            json.loads(data, object_pairs_hook=_unique)
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise Reject(describe(error, cls)) from error

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """As `Event.from_message`; a request without a job_id is known by its message's id."""
        request = cls.parse(message.data)
        if request.job_id is not None:
            return request
        return request.model_copy(update={"job_id": f"job-{message.message_id}"})


# ------------------------------------------------------------------------------------- batches


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


type AttributeValue = str | int | float | Sequence[str] | None


class Attribute(_Strict):
    """What the catalogue says of one attribute of a product; numbers and dates are text, too."""

    name: AttributeName
    values: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_listed)]


class Product(_Strict):
    """A product of the catalogue, with the attributes that it has."""

    product_id: ProductId
    attributes: Annotated[tuple[Attribute, ...], BeforeValidator(_listed)] = ()
    display_name: str | None = None
    # gs:// or https:// URIs, or names in the bucket. Empty: the photo is where
    # `services.shared.layout.photo_uri` says.
    photos: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()

    @classmethod
    def of(
        cls,
        product_id: str,
        display_name: str | None = None,
        photos: Sequence[str] = (),
        **attributes: AttributeValue,
    ) -> Self:
        """A product of plain values; None and "" are no values."""
        return cls(
            product_id=product_id,
            attributes=_attributes(attributes),
            display_name=display_name,
            photos=tuple(photos),
        )

    @model_validator(mode="before")
    @classmethod
    def _has_attributes(cls, value: Any) -> Any:
        """Files and messages of release 0.1 have a field for each attribute."""
        if not isinstance(value, dict) or not (old := value.keys() & {*Filters.COLUMNS, Filters.YEAR}):
            return value
        found = {name: value[name] for name in (*Filters.COLUMNS, Filters.YEAR) if name in old}
        return {name: each for name, each in value.items() if name not in old} | {
            "attributes": _attributes(found)
        }

    @model_validator(mode="after")
    def _each_attribute_once(self) -> Self:
        names = [each.name for each in self.attributes]
        if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
            raise ValueError(f"attributes: {twice!r} is given twice")
        return self

    def values(self, name: str) -> tuple[str, ...]:
        """The values of an attribute; empty where the catalogue says nothing of it."""
        return next((each.values for each in self.attributes if each.name == name), ())

    def value(self, name: str) -> str | None:
        """The value of an attribute that has one; None where the catalogue says nothing of it."""
        return next(iter(self.values(name)), None)

    def label(self, name: str) -> str | None:
        """The value of an attribute, or all that it has as `services.shared.labels.join` writes them."""
        values = self.values(name)
        return join(values) if values else None

    def with_values(self, values: Mapping[str, AttributeValue]) -> Self:
        """The same product with other values of some attributes."""
        kept: dict[str, AttributeValue] = {each.name: each.values for each in self.attributes}
        return self.model_copy(update={"attributes": _attributes({**kept, **values})})


def _attributes(values: Mapping[str, AttributeValue]) -> tuple[Attribute, ...]:
    texts = {name: tuple(map(str, _as_texts(value))) for name, value in values.items() if value is not None}
    return tuple(Attribute(name=name, values=given) for name, given in texts.items() if any(given))


# Which of a product's photos, from 1. A field of this type is left out where there is nothing to tell apart,
# so that readers of release 0.1 know all fields of products with one photo.
PhotoNumber = Annotated[int, Field(ge=1)]


class Image(_Strict):
    """One photo of a batch: `original`, or a variant of it; with `error`, why it cannot be used."""

    product_id: ProductId
    variant: str = "original"
    error: ImageErrorCode | None = None
    photo_number: PhotoNumber | None = Field(default=None, exclude_if=operator.not_)  # None: its only photo


class JobEvent(Event):
    """An event of a job."""

    job_id: JobId

    def attributes(self) -> dict[str, str]:  # noqa: D102
        return {"job_id": self.job_id}


class BatchEvent(JobEvent):
    """An event of one batch; batches of a job are numbered from 0."""

    batch: Annotated[int, Field(ge=0)]

    def attributes(self) -> dict[str, str]:  # noqa: D102
        return super().attributes() | {"batch": str(self.batch)}


class CancellationRequested(JobEvent):
    """Somebody wants a job to end: what is classified stays, and nothing else is begun."""


class SelectionContinued(BatchEvent):
    """The selection goes on at this batch: one push publishes a page of batches, not a whole catalogue."""


class BatchSelected(BatchEvent):
    """Products that match a request, at most BATCH_IMAGES."""

    products: Annotated[tuple[Product, ...], Field(max_length=BATCH_IMAGES)]


class BatchStaged(BatchEvent):
    """The photos of a batch stand under the job's prefix."""

    images: tuple[Image, ...]
    augment: bool
    classify: bool

    def attributes(self) -> dict[str, str]:  # noqa: D102
        flags = {"augment": self.augment, "classify": self.classify}
        return super().attributes() | {name: str(value).lower() for name, value in flags.items()}


class BatchAugmented(BatchEvent):
    """The variants of a batch stand under the job's prefix; `images` are those to classify."""

    images: tuple[Image, ...]
    classify: bool

    def attributes(self) -> dict[str, str]:  # noqa: D102
        return super().attributes() | {"classify": str(self.classify).lower()}


class BatchClassified(BatchEvent):
    """The predictions of a batch stand in its file."""


class JobCompleted(JobEvent):
    """Every batch of a job is done, or was left out of one that is cancelled, and its rows are in BigQuery.

    Also a row of the table `jobs`.
    """

    status: Literal["completed", "cancelled", "empty"]  # empty: no product matched
    request: str  # the request as JSON
    model: str
    model_version: str
    images: Annotated[int, Field(ge=0)]
    batches: Annotated[int, Field(ge=1)]
    predictions: Annotated[int, Field(ge=0)]
    errors: Annotated[int, Field(ge=0)]
    requested_at: AwareDatetime
    completed_at: AwareDatetime


# ------------------------------------------------------------------------------------- predictions


class Label(_Strict):
    """One of a head's most probable labels; rank 1 is the best.

    A head of which a photo may have several labels has one answer, of rank 1: `label` is all of them, as
    `services.shared.labels.join` writes them, and `probability` that of exactly these.
    """

    head: str
    rank: Annotated[int, Field(ge=1)]
    label: str
    probability: Annotated[float, Field(ge=0, le=1)]


class HeadValue(_Strict):
    """One of the values in the answer of a head of which a photo may have several labels."""

    head: str
    value: str
    probability: Annotated[float, Field(ge=0, le=1)]


class Declared(_Strict):
    """What the catalogue declared of one attribute when the photo was classified, and how likely that is."""

    head: str
    label: str  # as the catalogue has it
    known: str | None = None  # the model's label that it is, as services/shared/labels.py compares them
    probability: Annotated[float, Field(ge=0, le=1)] | None = None  # of `known`


class HeadPhoto(_Strict):
    """One of a product's photos, with regard to one attribute."""

    head: str
    photo_number: PhotoNumber


class Prediction(_Strict):
    """A row of the table `predictions`: what the model says of one photo, or why it says nothing.

    A product with several photos has a row for each of them, with its `photo_number`, and a row without one:
    the answer for the product, combined from its photos as services/model/combining.py says. So the originals
    without a `photo_number` have each product once.
    """

    prediction_id: str
    job_id: str | None = None
    product_id: ProductId | None = None
    image_uri: str
    generation: int | None = None
    variant: str
    model: str | None = None
    model_version: str | None = None
    heads: tuple[Label, ...]
    # Heads whose best label is less sure than the model's threshold: not to be relied on.
    abstained: tuple[str, ...] = ()
    # Whether the photo is unlike all that the model was trained on; None where that is not known.
    unfamiliar: bool | None = None
    error: ImageErrorCode | None = None
    predicted_at: AwareDatetime
    latency_ms: float | None = None
    # A product's attributes that the model has a head for. An uploaded photo has none: no catalogue is at
    # hand; nor has a photo that cannot be used.
    declared: tuple[Declared, ...] = ()
    # Whether this version was trained on this very photo, so that its answer is no independent opinion; None
    # where that is not known, and of variants.
    learnt: bool | None = None
    photo_number: PhotoNumber | None = Field(default=None, exclude_if=operator.not_)
    # Only of an answer for several photos: which one decided each head, and which ones show something else
    # than the others and the catalogue.
    decided: tuple[HeadPhoto, ...] = Field(default=(), exclude_if=operator.not_)
    misfits: tuple[HeadPhoto, ...] = Field(default=(), exclude_if=operator.not_)

    # Left out where no head has several labels, so that readers of release 0.1 know all fields.
    head_values: Annotated[tuple[HeadValue, ...], BeforeValidator(_listed)] = Field(
        default=(), exclude_if=operator.not_
    )

    @property
    def combined(self) -> bool:
        """Whether it is the answer for a product's several photos, not of one photo."""
        return bool(self.decided)

    def decided_by(self, head: str) -> int | None:
        """Which of a product's photos decided a head; of a single photo's row, that photo."""
        return next((each.photo_number for each in self.decided if each.head == head), self.photo_number)

    def values_of(self, head: str) -> tuple[HeadValue, ...]:
        """The values in the answer of a head of which a photo may have several labels; else none."""
        return tuple(each for each in self.head_values if each.head == head)


class ImageClassified(Event):
    """A photo that was dropped into the upload bucket has its prediction."""

    prediction: Prediction


def id_of_upload(name: str) -> str | None:
    """The product id that an uploaded photo is named after; None if its name cannot be an id."""
    stem = PurePosixPath(name).stem
    return stem if len(stem) <= MAX_PRODUCT_ID and re.fullmatch(PRODUCT_ID, stem) else None


class ImageUploaded(Event):
    """An object was written to the upload bucket: the object resource as Cloud Storage sends it."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=False)

    bucket: str
    name: str
    generation: int

    @classmethod
    def id_of(cls, message: Message) -> str:
        """The object's generation: Cloud Storage may tell of it in two messages."""
        upload = cls.from_message(message)
        return digest(upload.bucket, upload.name, upload.generation)


# ------------------------------------------------------------------------------------- rejections

REASON = "vitrine_reason"
TOPIC = "vitrine_topic"
SUBSCRIPTION = "vitrine_subscription"
MESSAGE_ID = "vitrine_message_id"
ATTEMPT = "vitrine_delivery_attempt"


class MessageRejected(Event):
    """A message that a service rejected, or that the broker gave up on, with its bytes as they were."""

    data: bytes
    original_attributes: Mapping[str, str]
    topic: str
    subscription: str
    message_id: str
    attempts: int
    reason: str
    published_at: datetime

    @classmethod
    def id_of(cls, message: Message) -> str:
        """The rejected message's own id: one that was replayed and rejected again is another rejection."""
        return message.attributes.get(MESSAGE_ID, message.message_id)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """Reads a rejection by a service, or else a dead letter of the broker's, out of the attributes."""
        given = message.attributes
        subscription = given.get(SUBSCRIPTION) or given.get("CloudPubSubDeadLetterSourceSubscription", "")
        wired = load_wiring().subscriptions().get(subscription)
        counted = given.get(ATTEMPT) or given.get("CloudPubSubDeadLetterSourceDeliveryCount", "")
        attempts = int(counted) if counted.isdecimal() else 1  # anybody may publish here, any attribute
        return cls(
            data=message.data,
            original_attributes={
                name: value
                for name, value in given.items()
                if not name.startswith(("vitrine_", "CloudPubSubDeadLetter"))
            },
            topic=given.get(TOPIC) or (wired[0] if wired else ""),
            subscription=subscription,
            message_id=given.get(MESSAGE_ID) or message.message_id,
            attempts=attempts,
            reason=given.get(REASON) or f"not handled in {attempts} deliveries; the service's log says why",
            published_at=datetime.fromisoformat(message.publish_time),
        )
