"""Every example of schemas/examples against its event, and against what the broker enforces."""

import json

import pytest
from google.pubsub_v1.types import Encoding, Schema

from services.local.provision import event_proto
from services.local.pubsub.errors import InvalidArgumentError
from services.local.pubsub.schemas import Revision, compile_schema
from services.shared.errors import Reject
from services.shared.events import ClassificationRequested, Event, MessageRejected
from services.shared.wiring import load_wiring
from tests.contracts.examples import (
    EVENTS,
    Bad,
    Good,
    bad_examples,
    example_id,
    good_examples,
    message_of,
)

ENFORCED = {topic.event for topic in load_wiring().topics.values() if topic.schema_kind == "proto"}
DESCRIBED = ENFORCED | {ClassificationRequested.__name__}


@pytest.fixture(scope="module")
def schemas() -> dict[str, Revision]:
    """Event name -> its schema, as the broker has it."""
    return {
        event: compile_schema(
            Schema.pb()(type_=Schema.Type.PROTOCOL_BUFFER, definition=event_proto(event).read_text())
        )
        for event in DESCRIBED
    }


@pytest.mark.parametrize("example", good_examples(), ids=example_id)
def test_a_good_example_is_its_event(example: Good) -> None:
    event = example.event.from_message(example.message)
    assert isinstance(event, example.event)


def wire_form(event: Event) -> bytes:
    """As the endpoint publishes an event."""
    return event.model_dump_json(exclude_none=True).encode()


@pytest.mark.parametrize(
    "example", [each for each in good_examples() if each.event is not MessageRejected], ids=example_id
)
def test_a_good_example_survives_the_wire(example: Good) -> None:
    event = example.event.from_message(example.message)
    assert example.event.from_message(message_of(wire_form(event))) == event


@pytest.mark.parametrize(
    "example", [each for each in good_examples() if each.event is MessageRejected], ids=example_id
)
def test_a_rejected_message_keeps_its_body(example: Good) -> None:
    rejected = MessageRejected.from_message(example.message)
    assert rejected.data == example.path.read_bytes()


@pytest.mark.parametrize(
    "example", [each for each in good_examples() if each.event.__name__ in ENFORCED], ids=example_id
)
def test_the_broker_takes_a_good_example(example: Good, schemas: dict[str, Revision]) -> None:
    schemas[example.event.__name__].check(example.path.read_bytes(), Encoding.JSON)


@pytest.mark.parametrize(
    "example", [each for each in good_examples() if each.event.__name__ in DESCRIBED], ids=example_id
)
def test_the_proto_describes_what_the_event_becomes_on_the_wire(
    example: Good, schemas: dict[str, Revision]
) -> None:
    event = example.event.from_message(example.message)
    schemas[example.event.__name__].check(wire_form(event), Encoding.JSON)


@pytest.mark.parametrize("example", bad_examples(), ids=example_id)
def test_a_bad_example_is_rejected_for_its_reason(example: Bad) -> None:
    with pytest.raises(Reject) as rejection:
        example.event.from_message(message_of(example.body))
    assert example.expected["reason"] in str(rejection.value)


@pytest.mark.parametrize("example", bad_examples(), ids=example_id)
def test_a_bad_example_says_what_the_broker_does_with_it(example: Bad, schemas: dict[str, Revision]) -> None:
    name = example.event.__name__
    if name not in ENFORCED:
        assert example.expected.keys() == {"message", "reason"}
        return
    assert example.expected.keys() == {"message", "reason", "broker"}
    try:
        schemas[name].check(example.body, Encoding.JSON)
        does = "takes"
    except InvalidArgumentError:
        does = "refuses"
    assert example.expected["broker"] == does


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_every_event_has_examples_of_both_kinds(event: type[Event]) -> None:
    assert [each for each in good_examples() if each.event is event]
    if event is not MessageRejected:  # any body may be rejected
        assert [each for each in bad_examples() if each.event is event]


def test_the_request_examples_name_every_field_at_least_once() -> None:
    requests = [each for each in good_examples() if each.event is ClassificationRequested]
    named = {field for each in requests for field in json.loads(each.path.read_text())}
    assert named == set(ClassificationRequested.model_fields)
