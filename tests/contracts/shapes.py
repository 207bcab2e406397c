"""What a pydantic model says of its fields, in the terms that a proto and a BigQuery table have too."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel


@dataclass(frozen=True)
class Shape:
    """One field."""

    type: type[Any]  # of its values; a model where they are nested
    repeated: bool
    nullable: bool
    required: bool  # it has no default


def shapes(model: type[BaseModel]) -> dict[str, Shape]:
    """Field name -> shape.

    Raises:
        TypeError: an annotation that neither a proto nor a table can express.

    """
    return {
        field.alias or name: _shape(field.annotation, field.is_required())
        for name, field in model.model_fields.items()
    }


def _shape(annotation: Any, required: bool) -> Shape:
    members = [annotation]
    if get_origin(annotation) in (Union, UnionType):
        members = list(get_args(annotation))
    types = [member for member in members if member is not NoneType]
    if len(types) != 1:
        raise TypeError(f"more than one type: {annotation}")
    bare = _bare(types[0])
    # A map repeats its entries.
    repeated = get_origin(bare) in (tuple, Mapping)
    if repeated:
        bare = _bare(get_args(bare)[-1 if get_origin(bare) is Mapping else 0])
    return Shape(_scalar(bare), repeated, nullable=NoneType in members, required=required)


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _scalar(annotation: Any) -> type[Any]:
    if get_origin(annotation) is Literal:
        (kind,) = {type(value) for value in get_args(annotation)}
        return kind
    if annotation is AwareDatetime:
        return datetime
    if not isinstance(annotation, type):
        raise TypeError(f"no plain type: {annotation}")
    return annotation
