import io
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
from fastavro.validation import ValidationError, validate
from google.protobuf import descriptor_pool, json_format, message_factory, unknown_fields
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage
from google.pubsub_v1.types import Encoding
from google.pubsub_v1.types import Schema as SchemaType

from services.local.pubsub.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from services.local.pubsub.messages import Proto, Schema
from services.local.pubsub.storage import Storage

# https://cloud.google.com/pubsub/quotas#resource_limits
MAX_REVISIONS = 20
MAX_DEFINITION_BYTES = 300_000
DELETED_SCHEMA = "_deleted-schema_"

_KIND = "schema"

# Checks one message; raises ValueError with what is wrong where.
type _Check = Callable[[bytes], object]


@dataclass(frozen=True)
class Revision:
    """One revision of a schema, ready to validate."""

    proto: Proto
    checks: dict[int, _Check]

    def check(self, data: bytes, encoding: int) -> None:
        """Raises InvalidArgumentError with the field and the reason."""
        if encoding not in self.checks:
            raise InvalidArgumentError("Invalid encoding: JSON or BINARY must be set")
        try:
            self.checks[encoding](data)
        except ValueError as error:
            raise InvalidArgumentError(f"Invalid data in message: {' '.join(str(error).split())}") from error


def compile_schema(schema: Proto) -> Revision:
    """Read a schema's definition.

    Raises:
        InvalidArgumentError: the definition is empty, too long, or wrong.

    """
    if not schema.definition:
        raise InvalidArgumentError("Invalid schema: the definition is empty")
    if len(schema.definition.encode()) > MAX_DEFINITION_BYTES:
        raise InvalidArgumentError(f"Invalid schema: longer than {MAX_DEFINITION_BYTES} bytes")
    compilers = {SchemaType.Type.PROTOCOL_BUFFER: _protobuf_checks, SchemaType.Type.AVRO: _avro_checks}
    # proto-plus calls the field `type_`; raw messages follow.
    if schema.type_ not in compilers:
        raise InvalidArgumentError("Invalid schema: type must be PROTOCOL_BUFFER or AVRO")
    try:
        return Revision(schema, compilers[schema.type_](schema.definition))
    except ValueError as error:
        raise InvalidArgumentError(f"Invalid schema definition: {error}") from error


class Schemas:
    """All schemas with their revisions, oldest first. Methods take and return raw Schema messages."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._schemas: dict[str, list[Revision]] = {}
        for body in storage.resources(_KIND):
            proto = Schema.FromString(body)
            self._schemas.setdefault(proto.name, []).append(compile_schema(proto))

    def create(self, name: str, schema: Proto) -> Proto:
        """Add a schema with its first revision."""
        if name in self._schemas:
            raise AlreadyExistsError(f"Schema already exists (resource={name})")
        revision = compile_schema(schema)
        self._schemas[name] = []
        return self._add(name, revision)

    def commit(self, name: str, schema: Proto) -> Proto:
        """Add a revision."""
        revisions = self._revisions(name)
        revision = compile_schema(schema)
        if revision.proto.type_ != revisions[-1].proto.type_:
            raise InvalidArgumentError("Invalid schema: a revision cannot change the type of the schema")
        return self._add(name, revision)

    def rollback(self, name: str, revision_id: str) -> Proto:
        """Add a revision with the definition of an earlier one."""
        return self._add(name, compile_schema(self._find(name, revision_id).proto))

    def _add(self, name: str, revision: Revision) -> Proto:
        revisions = self._schemas[name]
        if len(revisions) >= MAX_REVISIONS:
            raise FailedPreconditionError(f"Schema has {MAX_REVISIONS} revisions already (resource={name})")
        proto = Schema()
        proto.CopyFrom(revision.proto)
        proto.name, proto.revision_id = name, uuid.uuid4().hex[:8]
        proto.revision_create_time.GetCurrentTime()
        revisions.append(Revision(proto, revision.checks))
        self._storage.save(_KIND, f"{name}@{proto.revision_id}", proto.SerializeToString())
        return proto

    def get(self, name: str) -> Proto:
        """The latest revision, or the one named by `name@revision`."""
        name, _, revision_id = name.partition("@")
        return self._find(name, revision_id).proto if revision_id else self._revisions(name)[-1].proto

    def latest(self) -> list[Proto]:
        """Every schema, in its latest revision."""
        return [revisions[-1].proto for revisions in self._schemas.values()]

    def revisions(self, name: str) -> list[Proto]:
        """The revisions of a schema, the oldest first."""
        return [revision.proto for revision in self._revisions(name)]

    def delete(self, name: str) -> None:
        """Remove a schema with all revisions."""
        for revision in self._revisions(name):
            self._storage.delete(_KIND, f"{name}@{revision.proto.revision_id}")
        del self._schemas[name]

    def delete_revision(self, name: str, revision_id: str) -> Proto:
        """Remove one revision, which must not be the only one."""
        revisions = self._revisions(name)
        revision = self._find(name, revision_id)
        if len(revisions) == 1:
            raise FailedPreconditionError(f"Cannot delete the only revision of a schema (resource={name})")
        revisions.remove(revision)
        self._storage.delete(_KIND, f"{name}@{revision_id}")
        return self.get(name)

    def check(self, data: bytes, settings: Proto) -> Proto:
        """The latest revision, among those the topic's schema settings allow, that a message conforms to.

        Raises:
            InvalidArgumentError: it conforms to none; the reason is that of the latest.

        """
        revisions = self._revisions(settings.schema)
        ids = [revision.proto.revision_id for revision in revisions]
        first = ids.index(settings.first_revision_id) if settings.first_revision_id in ids else 0
        last = ids.index(settings.last_revision_id) if settings.last_revision_id in ids else len(ids) - 1
        problem = InvalidArgumentError("Invalid schema settings: no revision between the first and the last")
        for revision in reversed(revisions[first : last + 1]):
            try:
                revision.check(data, settings.encoding)
            except InvalidArgumentError as error:
                problem = error if revision is revisions[last] else problem
            else:
                return revision.proto
        raise problem

    def _revisions(self, name: str) -> "list[Revision]":
        if name not in self._schemas:
            raise NotFoundError(f"Schema not found (resource={name})")
        return self._schemas[name]

    def _find(self, name: str, revision_id: str) -> Revision:
        for revision in self._revisions(name):
            if revision.proto.revision_id == revision_id:
                return revision
        raise NotFoundError(f"Schema revision not found (resource={name}@{revision_id})")


# Protocol buffers


def _protobuf_checks(definition: str) -> dict[int, _Check]:
    file = compile_protobuf(definition)
    if len(file.message_type) != 1:
        raise ValueError(f"exactly one top-level message is allowed, {len(file.message_type)} are defined")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    name = ".".join(filter(None, [file.package, file.message_type[0].name]))
    message_class = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    return {
        Encoding.JSON: lambda data: _parse_protobuf_json(data, message_class()),
        Encoding.BINARY: lambda data: _parse_protobuf(data, message_class()),
    }


def compile_protobuf(definition: str) -> FileDescriptorProto:
    """The description of a proto file; without an include path it has no imports, which Pub/Sub forbids too.

    Raises:
        ValueError: what protoc complains of.
    """
    with tempfile.TemporaryDirectory() as directory:
        source, output = Path(directory, "schema.proto"), Path(directory, "schema.binpb")
        source.write_text(definition)
        # A process of its own: protoc's C++ crashes beside TensorFlow's, and writes its complaints to stderr.
        command = [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{directory}",
            f"--descriptor_set_out={output}",
        ]
        compiled = subprocess.run([*command, source], capture_output=True, text=True, check=False)  # noqa: S603
        if compiled.returncode:
            raise ValueError(compiled.stderr.replace(f"{directory}/", "").strip())
        return FileDescriptorSet.FromString(output.read_bytes()).file[0]


def _parse_protobuf_json(data: bytes, message: ProtobufMessage) -> None:
    text = data.decode()
    try:
        json_format.Parse(text, message)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error
    # An empty array parses too.
    if not text.lstrip().startswith("{"):
        raise ValueError("the message is not a JSON object")


def _parse_protobuf(data: bytes, message: ProtobufMessage) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    unknown = unknown_fields.UnknownFieldSet(message)
    if len(unknown):
        raise ValueError(f"{message.DESCRIPTOR.name} has no field of number {unknown[0].field_number}")


# Avro


def _avro_checks(definition: str) -> dict[int, _Check]:
    try:
        schema = fastavro.parse_schema(json.loads(definition))
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
        raise ValueError(str(error)) from error
    return {
        Encoding.JSON: lambda data: _parse_avro_json(data, schema),
        Encoding.BINARY: lambda data: _parse_avro(data, schema),
    }


def _parse_avro_json(data: bytes, schema: Any) -> None:
    """Avro's JSON leaves no field out, but the reader fills in defaults, and it converts types.

    So what is read is written again and must be in the message. Unknown fields are skipped, as by Google.
    """
    document = json.loads(data)
    try:
        record = next(fastavro.json_reader(io.StringIO(json.dumps(document)), schema))
        validate(record, schema)
        again = io.StringIO()
        fastavro.json_writer(again, schema, [record])
    except ValidationError as error:
        raise ValueError("; ".join(str(problem) for problem in error.errors)) from error
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"the message does not have the structure of the schema: {error!r}") from error
    _compare(json.loads(again.getvalue()), document, "message")


def _compare(expected: object, given: object, where: str) -> None:
    if isinstance(expected, dict) and isinstance(given, dict):
        for key, value in expected.items():
            if key not in given:
                raise ValueError(f"{where} lacks the field {key!r}")
            _compare(value, given[key], f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(given, list) and len(expected) == len(given):
        for index, (one, other) in enumerate(zip(expected, given, strict=True)):
            _compare(one, other, f"{where}[{index}]")
    elif expected != given:
        raise ValueError(f"{where} is {given!r}, read as {expected!r}")


def _parse_avro(data: bytes, schema: Any) -> None:
    stream = io.BytesIO(data)
    try:
        fastavro.schemaless_reader(stream, schema, None)
    except (EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"the message is not of the schema: {error!r}") from error
    if stream.read(1):
        raise ValueError("the message goes on after the end of the record")
