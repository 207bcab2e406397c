"""Each proto against the pydantic event of its topic: the same fields, of the same types."""

from datetime import datetime
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from pydantic import BaseModel

from services.local.provision import event_proto
from services.local.pubsub.schemas import compile_protobuf
from tests.contracts.examples import EVENTS
from tests.contracts.shapes import Shape, shapes
from tests.contracts.test_examples import DESCRIBED

Field = FieldDescriptorProto

# How JSON that BigQuery and pydantic write is read by proto's JSON form; times are text on the wire.
PROTO_TYPES: dict[type[Any], set[Any]] = {
    bool: {Field.TYPE_BOOL},
    datetime: {Field.TYPE_STRING},
    float: {Field.TYPE_DOUBLE},
    int: {Field.TYPE_INT32, Field.TYPE_INT64},
    str: {Field.TYPE_STRING},
}


def fields(message: DescriptorProto) -> dict[str, Field]:
    return {field.name: field for field in message.field}


def without_maps(file: FileDescriptorProto) -> dict[str, DescriptorProto]:
    """The messages of a file by name; a map is a list of messages of its values."""
    (top,) = file.message_type
    entries = {each.name: fields(each)["value"] for each in top.nested_type if each.options.map_entry}
    for field in top.field:
        if value := entries.get(field.type_name.rpartition(".")[2]):
            field.type, field.type_name = value.type, value.type_name
    return {each.name: each for each in (top, *top.nested_type) if each.name not in entries}


def agrees(field: Field, shape: Shape) -> bool:
    """Whether a proto's field is what the model's is, its nested messages left aside."""
    if (field.label == Field.LABEL_REPEATED) != shape.repeated:
        return False
    # `optional` tells a field that was left out from one that has its type's zero; a list cannot tell.
    if field.proto3_optional != (not shape.required and not shape.repeated):
        return False
    if issubclass(shape.type, BaseModel):
        return field.type == Field.TYPE_MESSAGE and field.type_name.rpartition(".")[2] == shape.type.__name__
    return field.type in PROTO_TYPES[shape.type]


def models_within(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The model and all that it is made of, by name."""
    found = {model.__name__: model}
    for shape in shapes(model).values():
        if issubclass(shape.type, BaseModel):
            found |= models_within(shape.type)
    return found


@pytest.mark.parametrize("name", sorted(DESCRIBED))
def test_a_proto_has_the_fields_of_its_event(name: str) -> None:
    messages = without_maps(compile_protobuf(event_proto(name).read_text()))
    models = models_within(EVENTS[name])
    assert next(iter(messages)) == name
    assert messages.keys() == models.keys()
    for message_name, model in models.items():
        described, expected = fields(messages[message_name]), shapes(model)
        assert described.keys() == expected.keys(), message_name
        differing = [field for field in expected if not agrees(described[field], expected[field])]
        assert differing == [], message_name


@pytest.mark.parametrize("name", sorted(DESCRIBED))
def test_a_narrow_number_has_the_bounds_of_one(name: str) -> None:
    """An int32 holds no more than 2^31 - 1, which the broker would refuse and the event would not."""
    messages = without_maps(compile_protobuf(event_proto(name).read_text()))
    for message_name, model in models_within(EVENTS[name]).items():
        narrow = [f.name for f in messages[message_name].field if f.type == Field.TYPE_INT32]
        schema = model.model_json_schema()
        for field in narrow:
            options = schema["properties"][field].get("anyOf", [schema["properties"][field]])
            assert any(option.get("maximum", 2**31) < 2**31 for option in options), (message_name, field)
