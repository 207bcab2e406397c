"""What a publisher is told when a schema or a message is wrong."""

import pytest
from google.pubsub_v1.types import Encoding

from services.local.pubsub.errors import FailedPreconditionError, InvalidArgumentError
from services.local.pubsub.messages import Proto, Schema
from services.local.pubsub.schemas import MAX_REVISIONS, Schemas, compile_schema
from services.local.pubsub.storage import Storage

PROTOBUF = """
syntax = "proto3";
package vitrine;
message Request {
  message Augmentation { int32 copies = 1; }
  int32 limit = 1;
  repeated string gender = 2;
  Augmentation augmentation = 3;
}
"""
AVRO = """
{"type": "record", "name": "Request", "fields": [
  {"name": "limit", "type": "int", "default": 10},
  {"name": "gender", "type": {"type": "array", "items": "string"}},
  {"name": "price", "type": "double"},
  {"name": "sent", "type": {"type": "long", "logicalType": "timestamp-millis"}}
]}
"""
AVRO_MESSAGE = b'{"limit": 1, "gender": ["Men"], "price": 1, "sent": 1700000000000}'


def proto(definition: str) -> Proto:
    return Schema(type_="PROTOCOL_BUFFER", definition=definition)


def avro(definition: str) -> Proto:
    return Schema(type_="AVRO", definition=definition)


@pytest.mark.parametrize(
    ("schema", "message", "problems"),
    [
        (proto(PROTOBUF), b'{"limits": 1}', ["limits", "limit", "gender"]),
        (proto(PROTOBUF), b'{"limit": "many"}', ["limit", "many"]),
        (proto(PROTOBUF), b'{"limit": 99999999999}', ["limit", "99999999999"]),
        (proto(PROTOBUF), b'{"gender": "Men"}', ["gender", "repeated"]),
        (proto(PROTOBUF), b'{"augmentation": {"copy": 1}}', ["augmentation", "copy", "copies"]),
        (proto(PROTOBUF), b'{"limit": 1, "limit": 2}', ["duplicate", "limit"]),
        (proto(PROTOBUF), b"[]", ["object"]),
        (avro(AVRO), AVRO_MESSAGE.replace(b'"limit": 1, ', b""), ["limit"]),
        (avro(AVRO), AVRO_MESSAGE.replace(b'["Men"]', b"[7]"), ["gender", "7"]),
        (avro(AVRO), AVRO_MESSAGE.replace(b'"price": 1', b'"price": "cheap"'), ["price", "cheap"]),
        (avro(AVRO), b"[]", ["structure"]),
    ],
)
def test_a_refused_json_message_is_told_the_field_and_the_reason(
    schema: Proto, message: bytes, problems: list[str]
) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        compile_schema(schema).check(message, Encoding.JSON)
    text = str(error.value)
    assert "\n" not in text
    for problem in problems:
        assert problem in text


def test_avro_messages_of_every_kind_conform() -> None:
    compile_schema(avro(AVRO)).check(AVRO_MESSAGE, Encoding.JSON)


@pytest.mark.parametrize(
    ("schema", "message", "problem"),
    [
        (proto(PROTOBUF), b"\x48\x01", "no field of number 9"),
        (avro('"string"'), b"\x02ab", "goes on"),
        (avro('{"type": "enum", "name": "E", "symbols": ["A"]}'), b"\x04", "not of the schema"),
        (
            avro('{"type": "array", "items": "string"}'),
            b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "not",
        ),
        (avro('"string"'), b"\x02\xff", "decode"),
    ],
)
def test_a_refused_binary_message_is_told_the_reason(schema: Proto, message: bytes, problem: str) -> None:
    with pytest.raises(InvalidArgumentError, match=problem):
        compile_schema(schema).check(message, Encoding.BINARY)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (
            proto('syntax = "proto3";\nmessage A {\n  strin a = 1;\n}'),
            'schema.proto:3:3: "strin" is not defined',
        ),
        (proto('syntax = "proto3"; import "other.proto"; message A {}'), "other.proto"),
        (proto('syntax = "proto3";'), "exactly one top-level message"),
        (avro("{"), "Expecting property name"),
        (avro('{"type": "record", "name": "A", "fields": [{"name": "b", "type": "strin"}]}'), "strin"),
        (avro("x" * 300_001), "longer than 300000 bytes"),
    ],
)
def test_a_refused_definition_is_told_the_reason(schema: Proto, problem: str) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        compile_schema(schema)
    assert problem in str(error.value)


def test_nothing_else_reaches_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidArgumentError):
        compile_schema(proto("nonsense"))
    assert capfd.readouterr().err == ""


def test_a_schema_has_at_most_twenty_revisions() -> None:
    schemas = Schemas(Storage(None))
    name = "projects/test/schemas/request"
    schemas.create(name, avro(AVRO))
    for _ in range(MAX_REVISIONS - 1):
        schemas.commit(name, avro(AVRO))
    with pytest.raises(FailedPreconditionError):
        schemas.commit(name, avro(AVRO))
