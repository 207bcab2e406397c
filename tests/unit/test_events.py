"""What comes out of a message, what goes into one, and how a wrong one is told what is wrong."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.errors import Reject
from services.shared.events import (
    EVENT_ID,
    MAX_PRODUCT_ID,
    PRODUCT_ID,
    BatchAugmented,
    BatchClassified,
    BatchSelected,
    BatchStaged,
    ClassificationRequested,
    Event,
    Image,
    ImageClassified,
    ImageUploaded,
    JobCompleted,
    Label,
    Message,
    MessageRejected,
    Prediction,
    Product,
    SelectionContinued,
    with_text_ids,
)

DEAD_LETTER = {
    "CloudPubSubDeadLetterSourceSubscription": "batch-staged-to-inference",
    "CloudPubSubDeadLetterSourceSubscriptionProject": "a-project",
    "CloudPubSubDeadLetterSourceDeliveryCount": "12",
    "CloudPubSubDeadLetterSourceTopicPublishTime": "2026-11-22T09:00:00+00:00",
}


def message(
    body: object = None, data: bytes | None = None, attributes: Mapping[str, str] = MappingProxyType({})
) -> Message:
    return Message(
        data=json.dumps(body).encode() if data is None else data,
        attributes=attributes,
        message_id="4711",
        publish_time="2026-11-22T09:00:00.123Z",
        subscription="classification-requested-to-selection",
    )


def reason(event: type[Event], body: object = None, data: bytes | None = None) -> str:
    with pytest.raises(Reject) as rejection:
        event.from_message(message(body, data))
    return str(rejection.value)


def request(**fields: object) -> ClassificationRequested:
    return ClassificationRequested.from_message(message(fields))


# ------------------------------------------------------------------------------------- the wire

job_ids = st.from_regex(r"[a-z0-9][a-z0-9-]{1,62}", fullmatch=True)
numbers = st.integers(0, 2**63 - 1)
# Text as JSON can carry it: no half of a surrogate pair.
texts = st.text(st.characters(codec="utf-8"))
product_ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=MAX_PRODUCT_ID).filter(
    re.compile(PRODUCT_ID).fullmatch
)
times = st.datetimes(
    min_value=datetime(2000, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
errors = st.sampled_from([None, "photo-missing", "photo-corrupt"])
images = st.lists(
    st.builds(
        Image, product_id=product_ids, variant=st.sampled_from(["original", "augmented-3"]), error=errors
    )
).map(tuple)
maybe = st.none() | texts
products = st.builds(
    Product, product_id=product_ids, gender=maybe, display_name=maybe, year=st.none() | numbers
)
labels = st.builds(
    Label, head=texts, rank=st.integers(1, 3), label=texts, probability=st.floats(0, 1, allow_subnormal=False)
)
predictions = st.builds(
    Prediction,
    prediction_id=texts,
    job_id=maybe,
    product_id=st.none() | product_ids,
    image_uri=texts,
    generation=st.none() | numbers,
    variant=texts,
    model=maybe,
    model_version=maybe,
    heads=st.lists(labels, max_size=4).map(tuple),
    error=errors,
    predicted_at=times,
    latency_ms=st.none() | st.floats(0, 1e6),
)
batches = {"job_id": job_ids, "batch": numbers}
events = st.one_of(
    st.builds(SelectionContinued, **batches),
    st.builds(BatchSelected, products=st.lists(products, max_size=5).map(tuple), **batches),
    st.builds(BatchStaged, images=images, augment=st.booleans(), classify=st.booleans(), **batches),
    st.builds(BatchAugmented, images=images, classify=st.booleans(), **batches),
    st.builds(BatchClassified, **batches),
    st.builds(ImageClassified, prediction=predictions),
    st.builds(ImageUploaded, bucket=texts, name=texts, generation=numbers),
    st.builds(
        JobCompleted,
        job_id=job_ids,
        status=st.just("completed"),
        request=texts,
        model=texts,
        model_version=texts,
        images=numbers,
        batches=st.integers(1, 10**6),
        predictions=numbers,
        errors=numbers,
        requested_at=times,
        completed_at=times,
    ),
)


@given(events)
def test_an_event_survives_the_wire(event: Event) -> None:
    body = event.model_dump_json(exclude_none=True).encode()
    assert type(event).from_message(message(data=body)) == event


@given(events)
def test_attributes_are_what_pubsub_takes(event: Event) -> None:
    for name, value in event.attributes().items():
        assert 1 <= len(name.encode()) <= 256
        assert len(value.encode()) <= 1024


@pytest.mark.parametrize(
    "event",
    [
        SelectionContinued,
        BatchSelected,
        BatchClassified,
        ClassificationRequested,
        ImageClassified,
        JobCompleted,
    ],
)
@given(data=st.binary())
def test_bytes_of_any_kind_are_an_event_or_are_rejected(event: type[Event], data: bytes) -> None:
    with suppress(Reject):
        assert isinstance(event.from_message(message(data=data)), event)


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        BatchClassified(job_id="job", batch=1).batch = 2


def test_flags_travel_as_attributes_in_lower_case() -> None:
    staged = BatchStaged(job_id="job", batch=7, images=(), augment=True, classify=False)
    assert staged.attributes() == {"job_id": "job", "batch": "7", "augment": "true", "classify": "false"}
    augmented = BatchAugmented(job_id="job", batch=7, images=(), classify=True)
    assert augmented.attributes() == {"job_id": "job", "batch": "7", "classify": "true"}


# ------------------------------------------------------------------------------------- identity


def test_an_event_published_by_a_stage_is_known_by_the_id_it_was_given() -> None:
    assert message(attributes={EVENT_ID: "abc"}).event_id == "abc"
    assert BatchClassified.id_of(message(attributes={EVENT_ID: "abc"})) == "abc"


def test_an_event_of_an_outsider_is_known_by_its_message() -> None:
    assert message({}).event_id == "4711"


def test_a_rejected_message_is_known_by_its_own_id() -> None:
    """A message that was replayed, and is rejected again, has the same event id and another message id."""
    replayed = message(attributes={EVENT_ID: "abc", "vitrine_message_id": "17"})
    assert MessageRejected.id_of(replayed) == "17"
    assert MessageRejected.id_of(message(attributes={EVENT_ID: "abc"})) == "4711"


def test_an_upload_is_known_by_its_generation_however_often_it_is_told_of() -> None:
    def told(generation: int, event_id: str) -> str:
        body = {"bucket": "b", "name": "a.jpg", "generation": str(generation), "size": event_id}
        return ImageUploaded.id_of(message(body, attributes={EVENT_ID: event_id}))

    assert told(17, "1") == told(17, "2")
    assert told(17, "1") != told(18, "1")


# ------------------------------------------------------------------------------------- requests


def test_a_value_and_a_list_of_it_mean_the_same() -> None:
    assert request(gender="Women", job_id="job") == request(gender=["Women"], job_id="job")


def test_a_request_without_job_id_gets_its_messages() -> None:
    assert request().job_id == "job-4711"
    assert request(job_id="mine").job_id == "mine"


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 1},
        {"limit": 1_000_000_000},
        {"start_year": 1900, "end_year": 2100},
        {"start_year": 2012, "end_year": 2012},
        {"job_id": "a1"},
        {"job_id": "a" * 63},
        {"gender": []},
        {"usage": ["u" * 200] * 200},
        {"augmentation": {"resize": {"width": 1, "height": 2048}, "copies": 10}},
        {"augmentation": {"cropping": {"height": {"min": 5, "max": 5}}}},
        {"augmentation": {"colour_jitter": {"hue": 0.5, "brightness": 1}}},
    ],
)
def test_a_request_at_its_limits_is_taken(fields: dict[str, Any]) -> None:
    assert request(**fields).model_fields_set >= set(fields)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": -3}, "limit"),
        ({"limit": 1_000_000_001}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": "10"}, "limit"),
        ({"start_year": 1899}, "start_year"),
        ({"end_year": 2101}, "end_year"),
        ({"start_year": 2013, "end_year": 2012}, "end_year"),
        ({"job_id": "a"}, "job_id"),
        ({"job_id": "a" * 64}, "job_id"),
        ({"job_id": "-a"}, "job_id"),
        ({"job_id": "ab\n"}, "job_id"),
        ({"job_id": "../etc"}, "job_id"),
        ({"job_id": ""}, "job_id"),
        ({"model": ""}, "model"),
        ({"gender": ["u" * 201]}, "gender.0"),
        ({"gender": {"value": "Men"}}, "gender.0"),
        ({"classify": "both"}, "classify"),
        ({"augmentation": {"flip": {"horizontal": -0.1}}}, "augmentation.flip.horizontal"),
        ({"augmentation": {"rotation": {"degrees": 0}}}, "augmentation.rotation.degrees"),
        ({"augmentation": {"rotation": {"degrees": "15"}}}, "augmentation.rotation.degrees"),
        ({"augmentation": {"blur": {"radius": 21}}}, "augmentation.blur.radius"),
        ({"augmentation": {"blur": {"radius": 2}, "copies": 0}}, "augmentation.copies"),
        ({"augmentation": {"resize": {"width": 0, "height": 10}}}, "augmentation.resize.width"),
        ({"augmentation": {"sharpen": 1}}, "augmentation.sharpen"),
        ({"augmentation": {}}, "augmentation.cropping"),
    ],
)
def test_a_request_beyond_its_limits_is_rejected_with_the_field(fields: dict[str, Any], field: str) -> None:
    assert field in [
        complaint.partition(": ")[0] for complaint in reason(ClassificationRequested, fields).split("; ")
    ]


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400"])
@pytest.mark.parametrize(
    "step", [b'"rotation": {"degrees": %s}', b'"flip": {"horizontal": %s}', b'"blur": {"radius": %s}']
)
def test_what_is_no_number_is_no_strength(step: bytes, number: bytes) -> None:
    body = b'{"augmentation": {' + step % number + b"}}"
    assert "augmentation." in reason(ClassificationRequested, data=body)


def test_all_complaints_are_in_the_reason() -> None:
    complaints = reason(ClassificationRequested, {"limit": 0, "colour": "Red", "start_year": "x"})
    for field in ("limit: ", "colour: no such field", "start_year: "):
        assert field in complaints


def test_a_reason_shows_what_was_given_but_not_all_of_it() -> None:
    assert reason(ClassificationRequested, {"limit": "ten"}).endswith('(got "ten")')
    assert len(reason(ClassificationRequested, {"limit": "9" * 10_000})) < 300
    assert len(reason(ClassificationRequested, data=b"x" * 9_000_000)) < 300


@pytest.mark.parametrize("data", [b"not JSON", b'{"limit": 1', b"\xff\xfe", b"null", b"[]", b'"text"', b" "])
def test_what_is_no_object_is_rejected_as_the_message(data: bytes) -> None:
    assert reason(ClassificationRequested, data=data).startswith("message: ")


# ------------------------------------------------------------------------------------- uploads


def test_an_upload_is_read_from_the_object_resource() -> None:
    body = {"kind": "storage#object", "bucket": "b", "name": "a/1.jpg", "generation": "17", "size": "9"}
    assert ImageUploaded.from_message(message(body)) == ImageUploaded(
        bucket="b", name="a/1.jpg", generation=17
    )


# ------------------------------------------------------------------------------------- rejections


def test_a_rejection_by_a_service_says_who_and_why() -> None:
    own = {
        "job_id": "job",
        "vitrine_reason": "limit: must be at least 1",
        "vitrine_topic": "classification-requested",
        "vitrine_subscription": "classification-requested-to-selection",
        "vitrine_message_id": "17",
        "vitrine_delivery_attempt": "3",
    }
    rejected = MessageRejected.from_message(message(data=b"\xff\xfe", attributes=own))
    assert rejected == MessageRejected(
        data=b"\xff\xfe",
        original_attributes={"job_id": "job"},
        topic="classification-requested",
        subscription="classification-requested-to-selection",
        message_id="17",
        attempts=3,
        reason="limit: must be at least 1",
        published_at=datetime(2026, 11, 22, 9, 0, 0, 123_000, tzinfo=UTC),
    )


def test_a_dead_letter_of_the_brokers_names_its_topic_by_its_subscription() -> None:
    rejected = MessageRejected.from_message(message({}, attributes={"job_id": "job"} | DEAD_LETTER))
    assert (rejected.topic, rejected.subscription) == ("batch-staged", "batch-staged-to-inference")
    assert (rejected.message_id, rejected.attempts) == ("4711", 12)
    assert rejected.original_attributes == {"job_id": "job"}
    assert rejected.reason == "not handled in 12 deliveries; the service's log says why"


def test_a_rejection_without_any_attributes_is_kept_all_the_same() -> None:
    rejected = MessageRejected.from_message(message(data=b"?"))
    assert (rejected.topic, rejected.subscription, rejected.message_id) == ("", "", "4711")
    assert (rejected.attempts, rejected.data) == (1, b"?")


def test_a_byte_order_mark_before_a_request_is_ignored() -> None:
    assert ClassificationRequested.parse(b'\xef\xbb\xbf{"limit": 3}').limit == 3


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'{"limit": 1, "limit": 1}', "limit"),
        (b'{"augmentation": {"copies": 1, "flip": {}, "copies": 2}}', "copies"),
    ],
)
def test_a_key_twice_in_one_object_is_rejected_by_name(data: bytes, name: str) -> None:
    assert reason(ClassificationRequested, data=data) == f"{name}: given 2 times in one object; give it once"


def test_an_unknown_field_is_named_with_the_nearest() -> None:
    data = b'{"gendre": "Men", "augmentation": {"rotate": {}}}'
    found = reason(ClassificationRequested, data=data)
    assert "gendre: no such field; did you mean 'gender'?" in found
    assert "augmentation.rotate: no such field; did you mean 'rotation'?" in found


def test_ids_of_release_0_1_are_read_and_not_written() -> None:
    old = {"job_id": "spring", "batch": 0, "images": [{"image_id": 15970, "variant": "original"}]}
    event = BatchStaged.from_message(message({**old, "augment": False, "classify": True}))
    assert event.images == (Image(product_id="15970"),)
    assert json.loads(event.model_dump_json())["images"][0]["product_id"] == "15970"
    product = Product.model_validate_json(with_text_ids(b'{"image_id": 15970, "gender": "Men"}'))
    assert product == Product.of("15970", gender="Men")


@pytest.mark.parametrize(
    "line", [b'{"display_name": "the \\"image_id\\":5"}', b'{"image_id": 1.5}', b'{"image_id": "5"}']
)
def test_only_ids_of_release_0_1_are_changed(line: bytes) -> None:
    assert with_text_ids(line) == line
