"""What Google documents of Pub/Sub, asked of the project's broker and, where installed, of Google's emulator.

Sources: https://cloud.google.com/pubsub/docs and the comments of google.pubsub.v1.
"""

import io
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import grpc
import pytest
from google.api_core.exceptions import (
    AlreadyExists,
    BadRequest,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from google.cloud.pubsub_v1.subscriber.exceptions import AcknowledgeStatus
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.pubsub_v1 import types

from tests.conftest import free_ports
from tests.integration.pubsub_servers import (
    WAIT_SECONDS,
    Endpoint,
    Pubsub,
    Push,
    broker_command,
    connected,
    google_emulator,
    new_name,
    opened_stream,
    running,
)

# Where Google's emulator does not do what Google documents: the test, or one case of it, and what it does.
GOOGLE_EMULATOR_DIFFERS = {
    "test_a_request_beyond_the_limits_is_refused_whole[ten_megabytes]": "it is accepted",
    "test_a_request_beyond_the_limits_is_refused_whole[101_attributes]": "it is accepted",
    "test_a_request_beyond_the_limits_is_refused_whole[long_key]": "it is accepted",
    "test_a_request_beyond_the_limits_is_refused_whole[long_value]": "it is accepted",
    "test_a_request_beyond_the_limits_is_refused_whole[long_ordering_key]": "it is accepted",
    "test_what_does_not_exist_is_not_found[list]": "an unknown topic has an empty list of subscriptions",
    "test_a_subscription_expires_after_31_days_by_default": "no expiration policy is set",
    "test_settings_out_of_range_are_refused[deadline_9_s]": "it is accepted",
    "test_an_update_reaches_into_a_policy": "only whole policies can be updated",
    "test_labels_can_be_updated": "labels are not a known field",
    "test_a_detached_subscription_drops_its_backlog_and_refuses_pulls": "the method is not implemented",
    "test_bad_pull_and_ack_requests_are_refused[deadline_601_s]": "it is accepted",
    "test_a_retry_policy_holds_refused_messages_back": "pulled messages come again at once",
    "test_a_push_carries_the_ordering_key": "`orderingKey` is missing",
    "test_an_unwrapped_push_is_the_data_alone": "pushes are always wrapped",
    "test_an_unwrapped_push_carries_metadata_as_headers": "pushes are always wrapped",
    "test_a_push_is_acknowledged_by[202]": "202 is a nack",
    "test_a_push_is_refused_by[203]": "203 acknowledges",
    "test_pushes_carry_the_delivery_attempt": "`deliveryAttempt` is missing",
    "test_a_slow_endpoint_gets_many_messages_at_once": "two pushes of a subscription are in flight",
    "test_only_matching_messages_are_delivered": "filters are ignored",
    "test_an_invalid_filter_is_refused": "filters are not read",
    "test_a_refused_message_brings_its_followers_again": "the key waits for the ack deadline",
    "test_a_stream_sends_no_more_than_may_be_outstanding": "flow control is ignored",
    "test_a_stream_sends_no_more_bytes_than_may_be_outstanding": "flow control is ignored",
    "test_a_topic_that_retains_messages_brings_them_again": "topics retain nothing",
    "test_a_conforming_protobuf_message_is_published": "proto schemas are not implemented",
    "test_a_violating_protobuf_message_is_refused": "proto schemas are not implemented",
    "test_a_bad_definition_is_refused[proto_type]": "proto schemas are not implemented",
    "test_a_bad_definition_is_refused[proto_two_messages]": "proto schemas are not implemented",
    "test_a_revision_keeps_the_type_of_its_schema": "proto schemas are not implemented",
    "test_a_list_of_schemas_leaves_the_definitions_out": "lists always carry the definitions",
}


pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")


@pytest.fixture(scope="session", params=["broker", "google"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pubsub]:
    port, directory = free_ports(1), tmp_path_factory.mktemp("pubsub")
    command: list[str] | None = broker_command(port, directory / "data")
    if request.param == "google" and (command := google_emulator()):
        command = [*command, f"--port={port}"]
    if not command:
        pytest.skip("the gcloud SDK's Pub/Sub emulator and Java are not installed")
    with running(command, port, directory / "log"), connected(port) as pubsub:
        yield pubsub


@pytest.fixture
def pubsub(server: Pubsub, request: pytest.FixtureRequest) -> Pubsub:
    if "google" in request.node.callspec.id.split("-"):
        name = request.node.originalname
        case = request.node.callspec.id.replace("google-", "").replace("-google", "")
        reason = GOOGLE_EMULATOR_DIFFERS.get(name) or GOOGLE_EMULATOR_DIFFERS.get(f"{name}[{case}]")
        if reason:
            request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    return server


@pytest.fixture
def endpoint() -> Iterator[Callable[..., Endpoint]]:
    opened: list[Endpoint] = []

    def open_endpoint(answer: Callable[[Push], int] = lambda push: 200) -> Endpoint:
        opened.append(Endpoint(answer))
        return opened[-1]

    yield open_endpoint
    for one in opened:
        one.close()


def seconds(value: float) -> Duration:
    return Duration(seconds=int(value), nanos=round(value % 1 * 1e9))


def data(received: list[types.ReceivedMessage]) -> list[bytes]:
    return [item.message.data for item in received]


def after(delay: float = 0.0) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromNanoseconds(time.time_ns() + int(delay * 1e9))
    return timestamp


# Publishing


def test_a_message_arrives_with_its_attributes_id_and_publish_time(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    before = time.time()
    (message_id,) = pubsub.publish(topic, b"hello \xff", colour="blue", size="")
    (received,) = pubsub.receive(subscription, 1)
    assert received.message.data == b"hello \xff"
    assert dict(received.message.attributes) == {"colour": "blue", "size": ""}
    assert received.message.message_id == message_id
    published: Any = received.message.publish_time  # proto-plus makes it a datetime
    assert before - 1 < published.timestamp() < time.time() + 1


def test_every_subscription_gets_every_message(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscriptions = [pubsub.subscription(topic) for _ in range(3)]
    ids = pubsub.publish(topic, b"1", b"2", b"3")
    assert len(set(ids)) == 3
    for subscription in subscriptions:
        assert {item.message.message_id for item in pubsub.receive(subscription, 3)} == set(ids)


def test_messages_from_before_the_subscription_do_not_come(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    pubsub.publish(topic, b"early")
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, b"late")
    assert data(pubsub.receive(subscription, 1)) == [b"late"]
    assert pubsub.is_empty(subscription)


def test_the_clients_own_publisher_batches(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    futures = [pubsub.publisher.publish(topic, b"%d" % number) for number in range(200)]
    ids = {future.result(timeout=WAIT_SECONDS) for future in futures}
    assert {item.message.message_id for item in pubsub.receive(subscription, 200)} == ids


def test_nine_megabytes_are_accepted(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, b"x" * 9_000_000)
    assert len(pubsub.receive(subscription, 1)[0].message.data) == 9_000_000


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([], id="none"),
        pytest.param([{"data": b""}], id="empty"),
        pytest.param([{"ordering_key": "key"}], id="ordering_key_only"),
        pytest.param([{"data": b"x"}, {"data": b""}], id="one_of_two_empty"),
        pytest.param([{"data": b"x"}] * 1001, id="1001_messages"),
        pytest.param([{"data": b"x" * 10_500_000}], id="ten_megabytes"),
        pytest.param([{"attributes": {f"key{i}": "" for i in range(101)}}], id="101_attributes"),
        pytest.param([{"attributes": {"k" * 257: ""}}], id="long_key"),
        pytest.param([{"attributes": {"key": "v" * 1025}}], id="long_value"),
        pytest.param([{"data": b"x", "ordering_key": "k" * 1025}], id="long_ordering_key"),
    ],
)
def test_a_request_beyond_the_limits_is_refused_whole(pubsub: Pubsub, messages: list[dict[str, Any]]) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    with pytest.raises(InvalidArgument):
        pubsub.publish_all(topic, messages)
    assert pubsub.is_empty(subscription)


def test_publishing_to_an_unknown_topic_is_refused(pubsub: Pubsub) -> None:
    with pytest.raises(NotFound):
        pubsub.publish(new_name("topics"), b"x")


# Topics and subscriptions


@pytest.mark.parametrize("name", ["ab", "1abc", "googabc", "with space", "a" * 256, "ü" * 3])
def test_bad_names_are_refused(pubsub: Pubsub, name: str) -> None:
    with pytest.raises(InvalidArgument):
        pubsub.publisher.create_topic(name=f"projects/contract/topics/{name}")
    with pytest.raises(InvalidArgument):
        pubsub.subscriber.create_subscription(
            name=f"projects/contract/subscriptions/{name}", topic=pubsub.topic()
        )


def test_names_are_unique(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    with pytest.raises(AlreadyExists):
        pubsub.publisher.create_topic(name=topic)
    with pytest.raises(AlreadyExists):
        pubsub.subscriber.create_subscription(name=subscription, topic=topic)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda p, name: p.publisher.get_topic(topic=name("topics")), id="get_topic"),
        pytest.param(lambda p, name: p.publisher.delete_topic(topic=name("topics")), id="delete_topic"),
        pytest.param(lambda p, name: p.publisher.list_topic_subscriptions(topic=name("topics")), id="list"),
        pytest.param(lambda p, name: p.subscription(name("topics")), id="create_subscription"),
        pytest.param(
            lambda p, name: p.subscriber.get_subscription(subscription=name("subscriptions")),
            id="get_subscription",
        ),
        pytest.param(
            lambda p, name: p.subscriber.delete_subscription(subscription=name("subscriptions")),
            id="delete_subscription",
        ),
        pytest.param(lambda p, name: p.pull(name("subscriptions")), id="pull"),
        pytest.param(
            lambda p, name: p.subscriber.get_snapshot(snapshot=name("snapshots")), id="get_snapshot"
        ),
        pytest.param(lambda p, name: p.schemas.get_schema(name=name("schemas")), id="get_schema"),
    ],
)
def test_what_does_not_exist_is_not_found(
    pubsub: Pubsub, call: Callable[[Pubsub, Callable[[str], str]], object]
) -> None:
    with pytest.raises(NotFound):
        call(pubsub, new_name)


def test_a_subscription_has_the_documented_defaults(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    name = pubsub.subscription(topic, retry_policy={}, dead_letter_policy={"dead_letter_topic": topic})
    subscription: Any = pubsub.subscriber.get_subscription(subscription=name)
    assert subscription.topic == topic
    assert subscription.ack_deadline_seconds == 10
    assert subscription.message_retention_duration.total_seconds() == 7 * 86_400
    assert subscription.retry_policy.minimum_backoff.total_seconds() == 10
    assert subscription.retry_policy.maximum_backoff.total_seconds() == 600
    assert subscription.dead_letter_policy.max_delivery_attempts == 5


def test_a_subscription_expires_after_31_days_by_default(pubsub: Pubsub) -> None:
    name = pubsub.subscription(pubsub.topic())
    subscription: Any = pubsub.subscriber.get_subscription(subscription=name)
    assert subscription.expiration_policy.ttl.total_seconds() == 31 * 86_400


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"ack_deadline_seconds": 9}, id="deadline_9_s"),
        pytest.param({"ack_deadline_seconds": 601}, id="deadline_601_s"),
        pytest.param({"message_retention_duration": seconds(599)}, id="retention_599_s"),
        pytest.param({"message_retention_duration": seconds(32 * 86_400)}, id="retention_32_days"),
        pytest.param({"retry_policy": {"minimum_backoff": seconds(601)}}, id="backoff_601_s"),
        pytest.param(
            {"retry_policy": {"minimum_backoff": seconds(20), "maximum_backoff": seconds(10)}},
            id="backoff_reversed",
        ),
        pytest.param({"push_config": {"push_endpoint": "nowhere"}}, id="endpoint"),
    ],
)
def test_settings_out_of_range_are_refused(pubsub: Pubsub, config: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        pubsub.subscription(pubsub.topic(), **config)


@pytest.mark.parametrize("attempts", [4, 101])
def test_delivery_attempts_are_from_5_to_100(pubsub: Pubsub, attempts: int) -> None:
    topic = pubsub.topic()
    policy = {"dead_letter_topic": topic, "max_delivery_attempts": attempts}
    with pytest.raises(BadRequest):
        pubsub.subscription(topic, dead_letter_policy=policy)


def test_a_dead_letter_topic_must_exist(pubsub: Pubsub) -> None:
    with pytest.raises(NotFound):
        pubsub.subscription(pubsub.topic(), dead_letter_policy={"dead_letter_topic": new_name("topics")})


def update(pubsub: Pubsub, subscription: str, *paths: str, **config: Any) -> Any:
    return pubsub.subscriber.update_subscription(
        subscription={"name": subscription, **config}, update_mask=FieldMask(paths=paths)
    )


def test_an_update_changes_what_its_mask_names(pubsub: Pubsub) -> None:
    subscription = pubsub.subscription(pubsub.topic(), retry_policy={"minimum_backoff": seconds(1)})
    updated = update(
        pubsub,
        subscription,
        "ack_deadline_seconds",
        "retry_policy",
        ack_deadline_seconds=20,
        retain_acked_messages=True,
    )
    assert updated == pubsub.subscriber.get_subscription(subscription=subscription)
    assert updated.ack_deadline_seconds == 20
    assert not updated.retain_acked_messages
    assert not updated.retry_policy


def test_an_update_reaches_into_a_policy(pubsub: Pubsub) -> None:
    policy = {"minimum_backoff": seconds(1), "maximum_backoff": seconds(2)}
    subscription = pubsub.subscription(pubsub.topic(), retry_policy=policy)
    change = {"minimum_backoff": seconds(2)}
    updated = update(pubsub, subscription, "retry_policy.minimum_backoff", retry_policy=change)
    assert updated.retry_policy.minimum_backoff.total_seconds() == 2
    assert updated.retry_policy.maximum_backoff.total_seconds() == 2


def test_labels_can_be_updated(pubsub: Pubsub) -> None:
    topic = pubsub.topic(labels={"team": "a", "stage": "b"})
    updated = pubsub.publisher.update_topic(
        topic={"name": topic, "labels": {"team": "c"}}, update_mask=FieldMask(paths=["labels"])
    )
    assert dict(updated.labels) == dict(pubsub.publisher.get_topic(topic=topic).labels) == {"team": "c"}
    subscription = pubsub.subscription(topic)
    assert dict(update(pubsub, subscription, "labels", labels={"x": "y"}).labels) == {"x": "y"}


@pytest.mark.parametrize("path", ["", "nonsense", "name", "topic", "filter", "enable_message_ordering"])
def test_what_cannot_be_changed_is_refused(pubsub: Pubsub, path: str) -> None:
    subscription = pubsub.subscription(pubsub.topic())
    other = pubsub.topic()
    with pytest.raises(InvalidArgument):
        update(
            pubsub,
            subscription,
            *filter(None, [path]),
            topic=other,
            filter="attributes:x",
            enable_message_ordering=True,
            ack_deadline_seconds=20,
        )
    assert pubsub.subscriber.get_subscription(subscription=subscription).ack_deadline_seconds == 10


def test_lists_come_in_pages(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscriptions = {pubsub.subscription(topic) for _ in range(5)}
    request = {"topic": topic, "page_size": 2}
    pages = [
        list(page.subscriptions) for page in pubsub.publisher.list_topic_subscriptions(request=request).pages
    ]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {name for page in pages for name in page} == subscriptions
    assert topic in {item.name for item in pubsub.publisher.list_topics(project="projects/contract")}
    listed = pubsub.subscriber.list_subscriptions(project="projects/contract")
    assert subscriptions <= {item.name for item in listed}
    assert not list(pubsub.publisher.list_topics(project="projects/other"))


def test_a_deleted_topic_leaves_its_subscriptions_and_their_backlog(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, b"kept")
    pubsub.publisher.delete_topic(topic=topic)
    assert pubsub.subscriber.get_subscription(subscription=subscription).topic == "_deleted-topic_"
    assert data(pubsub.receive(subscription, 1)) == [b"kept"]


def test_a_topic_of_the_same_name_is_another_topic(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publisher.delete_topic(topic=topic)
    pubsub.publisher.create_topic(name=topic)
    pubsub.publish(topic, b"new")
    assert pubsub.is_empty(subscription)


def test_a_deleted_subscription_starts_empty_when_made_again(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, b"old")
    pubsub.subscriber.delete_subscription(subscription=subscription)
    assert not list(pubsub.publisher.list_topic_subscriptions(topic=topic))
    pubsub.subscriber.create_subscription(name=subscription, topic=topic)
    assert pubsub.is_empty(subscription)


def test_a_detached_subscription_drops_its_backlog_and_refuses_pulls(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, b"x")
    pubsub.publisher.detach_subscription(request={"subscription": subscription})
    assert pubsub.subscriber.get_subscription(subscription=subscription).detached
    assert not list(pubsub.publisher.list_topic_subscriptions(topic=topic))
    with pytest.raises(FailedPrecondition):
        pubsub.pull(subscription)


# Pull


def test_an_acknowledged_message_does_not_come_again(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, b"x")
    (received,) = pubsub.receive(subscription, 1)
    pubsub.ack(subscription, received)
    pubsub.ack(subscription, received)  # once more is not an error
    assert pubsub.is_empty(subscription)


def test_an_outstanding_message_does_not_come_again_before_its_deadline(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, b"x")
    pubsub.receive(subscription, 1)
    assert pubsub.is_empty(subscription)


def test_a_refused_message_comes_again_at_once(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    (message_id,) = pubsub.publish(topic, b"x")
    for _ in range(3):
        (received,) = pubsub.receive(subscription, 1)
        assert received.message.message_id == message_id
        pubsub.nack(subscription, received)


def test_an_expired_message_comes_again(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, b"x")
    pubsub.deadline(subscription, 1, *pubsub.receive(subscription, 1))
    assert data(pubsub.receive(subscription, 1)) == [b"x"]


def test_a_deadline_can_be_extended(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, b"x")
    received = pubsub.receive(subscription, 1)
    pubsub.deadline(subscription, 1, *received)
    pubsub.deadline(subscription, 60, *received)
    time.sleep(1)
    assert pubsub.is_empty(subscription)


def test_deliveries_are_counted_where_there_is_a_dead_letter_policy(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    policy = {"dead_letter_topic": pubsub.topic(), "max_delivery_attempts": 10}
    counting, plain = pubsub.subscription(topic, dead_letter_policy=policy), pubsub.subscription(topic)
    pubsub.publish(topic, b"x")
    for attempt in (1, 2, 3):
        (received,) = pubsub.receive(counting, 1)
        assert received.delivery_attempt == attempt
        pubsub.deadline(counting, attempt % 2, received)  # an expired deadline counts like a nack
        (received,) = pubsub.receive(plain, 1)
        assert received.delivery_attempt == 0
        pubsub.nack(plain, received)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(
            lambda p, name, _: p.subscriber.acknowledge(subscription=name, ack_ids=["x"]), id="ack_x"
        ),
        pytest.param(
            lambda p, name, _: p.subscriber.acknowledge(subscription=name, ack_ids=[]), id="ack_none"
        ),
        pytest.param(lambda p, name, item: p.deadline(name, 601, item), id="deadline_601_s"),
        pytest.param(lambda p, name, item: p.deadline(name, -1, item), id="deadline_negative"),
        pytest.param(lambda p, name, _: p.pull(name, 0), id="pull_nothing"),
    ],
)
def test_bad_pull_and_ack_requests_are_refused(
    pubsub: Pubsub, call: Callable[[Pubsub, str, types.ReceivedMessage], object]
) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, b"x")
    (received,) = pubsub.receive(subscription, 1)
    with pytest.raises(InvalidArgument):
        call(pubsub, subscription, received)


def test_a_pull_waits_for_a_message(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    timer = threading.Timer(0.5, pubsub.publish, (topic, b"x"))
    timer.start()
    response = pubsub.subscriber.pull(subscription=subscription, max_messages=1, timeout=WAIT_SECONDS)
    timer.join()
    assert data(list(response.received_messages)) == [b"x"]


def test_a_retry_policy_holds_refused_messages_back(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    policy = {"minimum_backoff": seconds(1), "maximum_backoff": seconds(10)}
    subscription = pubsub.subscription(topic, retry_policy=policy)
    pubsub.publish(topic, b"refused")
    received = pubsub.receive(subscription, 1)
    refused_at = time.monotonic()
    pubsub.nack(subscription, *received)
    pubsub.publish(topic, b"other")
    assert data(pubsub.receive(subscription, 1)) == [b"other"]
    assert data(pubsub.receive(subscription, 1)) == [b"refused"]
    assert time.monotonic() - refused_at >= 0.9


# Push


def test_a_push_carries_the_wrapped_message(pubsub: Pubsub, endpoint: Callable[..., Endpoint]) -> None:
    topic, target = pubsub.topic(), endpoint()
    subscription = pubsub.subscription(topic, push_config={"push_endpoint": target.url})
    (message_id,) = pubsub.publish(topic, b"hello", colour="blue")
    push = target.next()
    assert push.headers["content-type"] == "application/json"
    body = push.json
    published = body["message"]["publishTime"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", published)
    assert body == {
        "message": {
            "data": "aGVsbG8=",
            "attributes": {"colour": "blue"},
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": published,
            "publish_time": published,
        },
        "subscription": subscription,
    }


def test_a_push_carries_the_ordering_key(pubsub: Pubsub, endpoint: Callable[..., Endpoint]) -> None:
    topic, target = pubsub.topic(), endpoint()
    pubsub.subscription(topic, push_config={"push_endpoint": target.url})
    pubsub.publish(topic, b"x", key="photo-7")
    assert target.next().json["message"]["orderingKey"] == "photo-7"


def test_an_unwrapped_push_is_the_data_alone(pubsub: Pubsub, endpoint: Callable[..., Endpoint]) -> None:
    topic, target = pubsub.topic(), endpoint()
    pubsub.subscription(topic, push_config={"push_endpoint": target.url, "no_wrapper": {}})
    pubsub.publish(topic, b"raw \xff", colour="blue")
    push = target.next()
    assert push.body == b"raw \xff"
    assert "colour" not in push.headers
    assert not any(name.startswith("x-goog-pubsub") for name in push.headers)


def test_an_unwrapped_push_carries_metadata_as_headers(
    pubsub: Pubsub, endpoint: Callable[..., Endpoint]
) -> None:
    topic, target = pubsub.topic(), endpoint()
    config = {"push_endpoint": target.url, "no_wrapper": {"write_metadata": True}}
    subscription = pubsub.subscription(topic, push_config=config)
    (message_id,) = pubsub.publish(topic, b"raw", key="photo-7", colour="blue")
    push = target.next()
    assert push.body == b"raw"
    assert push.headers["colour"] == "blue"
    assert push.headers["x-goog-pubsub-subscription-name"] == subscription
    assert push.headers["x-goog-pubsub-message-id"] == message_id
    assert push.headers["x-goog-pubsub-ordering-key"] == "photo-7"
    assert push.headers["x-goog-pubsub-publish-time"]


ACKNOWLEDGING = [102, 200, 201, 202, 204]
REFUSING = [203, 301, 400, 404, 429, 500, 503]


@pytest.fixture(scope="session")
def pushes_by_status(server: Pubsub) -> dict[int, int]:
    """How often one message was pushed to an endpoint that always gives that status, all at the same time.

    Google's emulator repeats a refused push after a good second, so any shorter look would prove nothing.
    """
    topic = server.topic()
    endpoints = {status: Endpoint(lambda push, status=status: status) for status in ACKNOWLEDGING + REFUSING}  # type: ignore[misc]
    for endpoint in endpoints.values():
        server.subscription(topic, push_config={"push_endpoint": endpoint.url})
    server.publish(topic, b"x")
    time.sleep(3)
    for endpoint in endpoints.values():
        endpoint.close()
    return {status: endpoint.waiting for status, endpoint in endpoints.items()}


@pytest.mark.parametrize("status", ACKNOWLEDGING)
def test_a_push_is_acknowledged_by(pubsub: Pubsub, pushes_by_status: dict[int, int], status: int) -> None:
    assert pushes_by_status[status] == 1


@pytest.mark.parametrize("status", REFUSING)
def test_a_push_is_refused_by(pubsub: Pubsub, pushes_by_status: dict[int, int], status: int) -> None:
    assert pushes_by_status[status] > 1


def test_a_push_waits_for_its_endpoint_to_come_up(pubsub: Pubsub, endpoint: Callable[..., Endpoint]) -> None:
    topic, target = pubsub.topic(), endpoint()
    down = f"http://127.0.0.1:{free_ports(1)}/"
    subscription = pubsub.subscription(topic, push_config={"push_endpoint": down})
    pubsub.publish(topic, b"x")
    time.sleep(0.3)
    pubsub.subscriber.modify_push_config(subscription=subscription, push_config={"push_endpoint": target.url})
    assert target.next().data == b"x"


def test_pushes_back_off_exponentially(pubsub: Pubsub, endpoint: Callable[..., Endpoint]) -> None:
    topic, target = pubsub.topic(), endpoint(lambda push: 500)
    policy = {"minimum_backoff": seconds(0.2), "maximum_backoff": seconds(10)}
    pubsub.subscription(topic, push_config={"push_endpoint": target.url}, retry_policy=policy)
    pubsub.publish(topic, b"x")
    times = [push.at for push in target.take(3)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] >= 0.15
    assert gaps[1] >= 0.3


def test_pushes_carry_the_delivery_attempt(pubsub: Pubsub, endpoint: Callable[..., Endpoint]) -> None:
    topic, target = pubsub.topic(), endpoint(lambda push: 500)
    pubsub.subscription(
        topic,
        push_config={"push_endpoint": target.url},
        dead_letter_policy={"dead_letter_topic": pubsub.topic()},
        retry_policy={"minimum_backoff": seconds(0), "maximum_backoff": seconds(0)},
    )
    pubsub.publish(topic, b"x")
    for attempt in range(1, 6):
        assert target.next().json["deliveryAttempt"] == attempt


def test_a_slow_endpoint_gets_many_messages_at_once(
    pubsub: Pubsub, endpoint: Callable[..., Endpoint]
) -> None:
    everyone = threading.Barrier(16)

    def answer(push: Push) -> int:
        try:
            everyone.wait(3)
        except threading.BrokenBarrierError:
            return 500
        return 200

    topic, target = pubsub.topic(), endpoint(answer)
    pubsub.subscription(topic, push_config={"push_endpoint": target.url})
    pubsub.publish(topic, *[b"x"] * 16)
    target.take(16)
    assert not everyone.broken


@pytest.mark.parametrize("method", ["modify_push_config", "update_subscription"])
def test_a_subscription_can_change_between_pull_and_push(
    pubsub: Pubsub, endpoint: Callable[..., Endpoint], method: str
) -> None:
    topic, target = pubsub.topic(), endpoint()
    subscription = pubsub.subscription(topic)

    def configure(push_config: dict[str, str]) -> None:
        if method == "modify_push_config":
            pubsub.subscriber.modify_push_config(subscription=subscription, push_config=push_config)
        else:
            update(pubsub, subscription, "push_config", push_config=push_config)

    pubsub.publish(topic, b"1")
    configure({"push_endpoint": target.url})
    assert target.next().data == b"1"
    configure({})
    pubsub.publish(topic, b"2")
    received = pubsub.receive(subscription, 1)
    assert data(received) == [b"2"]
    pubsub.ack(subscription, *received)
    configure({"push_endpoint": target.url})
    pubsub.publish(topic, b"3")
    assert target.next().data == b"3"


# Dead letters


def assert_is_dead_letter(letter: types.PubsubMessage, subscription: str) -> None:
    assert letter.data == b"poison"
    attributes = dict(letter.attributes)
    published = attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert re.match(r"\d{4}-\d\d-\d\dT", published)
    assert attributes == {
        "colour": "blue",
        "CloudPubSubDeadLetterSourceSubscription": subscription.split("/")[-1],
        "CloudPubSubDeadLetterSourceSubscriptionProject": "contract",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
    }


def test_a_pulled_message_goes_to_the_dead_letter_topic(pubsub: Pubsub) -> None:
    topic, dead = pubsub.topic(), pubsub.topic()
    letters = pubsub.subscription(dead)
    subscription = pubsub.subscription(
        topic, dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5}
    )
    pubsub.publish(topic, b"poison", colour="blue")
    for attempt in range(1, 6):
        (received,) = pubsub.receive(subscription, 1)
        assert received.delivery_attempt == attempt
        pubsub.nack(subscription, received)
    assert pubsub.is_empty(subscription)
    (letter,) = pubsub.receive(letters, 1)
    assert_is_dead_letter(letter.message, subscription)


def test_a_pushed_message_goes_to_the_dead_letter_topic(
    pubsub: Pubsub, endpoint: Callable[..., Endpoint]
) -> None:
    topic, dead, target = pubsub.topic(), pubsub.topic(), endpoint(lambda push: 500)
    letters = pubsub.subscription(dead)
    subscription = pubsub.subscription(
        topic,
        push_config={"push_endpoint": target.url},
        dead_letter_policy={"dead_letter_topic": dead},
        retry_policy={"minimum_backoff": seconds(0), "maximum_backoff": seconds(0)},
    )
    pubsub.publish(topic, b"poison", colour="blue")
    (letter,) = pubsub.receive(letters, 1)
    assert_is_dead_letter(letter.message, subscription)
    target.take(5)
    assert target.quiet(0.5)


def test_a_message_stays_while_there_is_no_dead_letter_topic(pubsub: Pubsub) -> None:
    topic, dead = pubsub.topic(), pubsub.topic()
    subscription = pubsub.subscription(topic, dead_letter_policy={"dead_letter_topic": dead})
    pubsub.publisher.delete_topic(topic=dead)
    pubsub.publish(topic, b"x")
    for _ in range(7):
        pubsub.nack(subscription, *pubsub.receive(subscription, 1))
    assert data(pubsub.receive(subscription, 1)) == [b"x"]


# Filters: https://cloud.google.com/pubsub/docs/subscription-message-filter

FILTERED = {
    "com": {"domain": "com", "iana.org/language_tag": "en"},
    "org": {"domain": "org", "count": "1"},
    "coop": {"domain": "coop", "quoted": 'say "hi"'},
    "none": {},
}


@pytest.mark.parametrize(
    ("expression", "passing"),
    [
        ("attributes:domain", {"com", "org", "coop"}),
        ('attributes:"iana.org/language_tag"', {"com"}),
        ('attributes.domain = "com"', {"com"}),
        ('attributes.domain != "com"', {"org", "coop", "none"}),
        ('hasPrefix(attributes.domain, "co")', {"com", "coop"}),
        ("NOT attributes:domain", {"none"}),
        ("-attributes:domain", {"none"}),
        ('attributes:domain AND NOT attributes.domain = "com"', {"org", "coop"}),
        ('attributes.domain = "com" OR attributes.domain = "org"', {"com", "org"}),
        ('attributes:domain AND (attributes.domain = "com" OR attributes:count)', {"com", "org"}),
        (r'attributes.quoted = "say \"hi\""', {"coop"}),
        (r'attributes.domain = "\x63o\u006d"', {"com"}),
    ],
)
def test_only_matching_messages_are_delivered(pubsub: Pubsub, expression: str, passing: set[str]) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic, filter=expression)
    for name, attributes in FILTERED.items():
        pubsub.publish(topic, name.encode(), **attributes)
    pubsub.publish(topic, b"last", domain="com", count="1", quoted='say "hi"')
    received = {item.decode() for item in data(pubsub.receive(subscription, len(passing)))}
    while more := pubsub.pull(subscription):
        received |= {item.decode() for item in data(more)}
    assert received - {"last"} == passing


@pytest.mark.parametrize(
    "expression",
    [
        "domain",
        "attributes",
        'attributes.domain == "com"',
        "attributes.domain = com",
        '"com" = attributes.domain',
        "attributes.domain = attributes.website",
        "attributes:a and attributes:b",
        "attributes:a AND",
        "(attributes:a",
        "attributes:a attributes:b",
        "attributes:a AND attributes:b OR attributes:c",
        'hasPrefix(attributes.domain, "co"',
        'attributes.domain = "com',
        "attributes:" + "x" * 250,
    ],
)
def test_an_invalid_filter_is_refused(pubsub: Pubsub, expression: str) -> None:
    with pytest.raises(InvalidArgument):
        pubsub.subscription(pubsub.topic(), filter=expression)


# Ordering


def test_messages_of_a_key_come_in_order(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic, enable_message_ordering=True)
    for number in range(10):
        for key in ("a", "b"):
            pubsub.publish(topic, b"%d" % number, key=key)
    order: dict[str, list[bytes]] = {"a": [], "b": []}
    while sum(map(len, order.values())) < 20:
        received = pubsub.receive(subscription, 1)
        order[received[0].message.ordering_key] += data(received)
        pubsub.ack(subscription, *received)
    assert order["a"] == order["b"] == [b"%d" % number for number in range(10)]


def test_a_refused_message_brings_its_followers_again(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic, enable_message_ordering=True)
    pubsub.publish(topic, b"1", b"2", b"3", key="a")
    first, second, third = pubsub.receive(subscription, 3)
    assert data([first, second, third]) == [b"1", b"2", b"3"]
    pubsub.ack(subscription, first, third)
    pubsub.nack(subscription, second)
    for expected in (b"2", b"3"):
        received = pubsub.receive(subscription, 1, timeout=5)
        assert data(received) == [expected]
        pubsub.ack(subscription, *received)
    assert pubsub.is_empty(subscription)


def test_keys_do_not_wait_for_each_other(pubsub: Pubsub, endpoint: Callable[..., Endpoint]) -> None:
    release = threading.Event()

    def answer(push: Push) -> int:
        if push.data == b"blocked":
            release.wait(WAIT_SECONDS)
        return 200

    topic, target = pubsub.topic(), endpoint(answer)
    pubsub.subscription(topic, push_config={"push_endpoint": target.url}, enable_message_ordering=True)
    pubsub.publish(topic, b"blocked", b"behind", key="a")
    pubsub.publish(topic, b"1", b"2", b"3", key="b")
    assert [push.data for push in target.take(4) if push.data != b"blocked"] == [b"1", b"2", b"3"]
    release.set()
    assert target.next().data == b"behind"


def test_pushes_of_a_key_come_in_order_through_failures(
    pubsub: Pubsub, endpoint: Callable[..., Endpoint]
) -> None:
    accepted: list[bytes] = []
    failures = {b"2": 2, b"4": 1}

    def answer(push: Push) -> int:
        if failures.get(push.data, 0):
            failures[push.data] -= 1
            return 500
        accepted.append(push.data)
        return 200

    topic, target = pubsub.topic(), endpoint(answer)
    pubsub.subscription(topic, push_config={"push_endpoint": target.url}, enable_message_ordering=True)
    expected = [b"1", b"2", b"3", b"4", b"5"]
    pubsub.publish(topic, *expected, key="a")
    target.take(len(expected) + 3)
    assert accepted == expected


# Streaming pull


def test_the_clients_subscriber_receives_and_acknowledges(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    seen: list[bytes] = []
    done = threading.Event()

    def callback(message: Any) -> None:
        seen.append(message.data)
        if seen.count(b"again") == 1 and message.data == b"again":
            message.nack()
        else:
            message.ack()
        if len(seen) == 102:
            done.set()

    future = pubsub.subscriber.subscribe(subscription, callback)
    pubsub.publish(topic, *[b"%d" % number for number in range(100)], b"again")
    assert done.wait(WAIT_SECONDS)
    future.cancel()
    future.result(timeout=WAIT_SECONDS)
    assert sorted(seen) == sorted([b"%d" % number for number in range(100)] + [b"again"] * 2)
    assert pubsub.is_empty(subscription)


def test_a_stream_sends_no_more_than_may_be_outstanding(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, *[b"x"] * 10)
    with opened_stream(pubsub, subscription=subscription, max_outstanding_messages=3) as stream:
        outstanding = stream.receive(3)
        assert stream.is_quiet(0.5)
        stream.send(ack_ids=[outstanding[0].ack_id])
        outstanding += stream.receive(1)
        stream.send(modify_deadline_ack_ids=[outstanding[1].ack_id], modify_deadline_seconds=[0])
        stream.receive(1)
        assert stream.is_quiet(0.5)


def test_a_stream_sends_no_more_bytes_than_may_be_outstanding(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, *[b"x" * 1000] * 10)
    with opened_stream(pubsub, subscription=subscription, max_outstanding_bytes=2500) as stream:
        received = stream.receive(3)
        assert stream.is_quiet(0.5)
        stream.send(ack_ids=[item.ack_id for item in received])
        stream.receive(3)


@pytest.mark.parametrize(
    ("first", "code"),
    [
        pytest.param(
            {"subscription": "projects/contract/subscriptions/unknown"},
            grpc.StatusCode.NOT_FOUND,
            id="unknown",
        ),
        pytest.param(
            {"stream_ack_deadline_seconds": 9}, grpc.StatusCode.INVALID_ARGUMENT, id="short_deadline"
        ),
        pytest.param({"ack_ids": ["nonsense"]}, grpc.StatusCode.INVALID_ARGUMENT, id="bad_ack_id"),
        pytest.param(
            {"modify_deadline_ack_ids": ["nonsense"]}, grpc.StatusCode.INVALID_ARGUMENT, id="no_deadline"
        ),
    ],
)
def test_a_bad_stream_is_refused(pubsub: Pubsub, first: dict[str, Any], code: grpc.StatusCode) -> None:
    subscription = pubsub.subscription(pubsub.topic())
    with opened_stream(pubsub, **({"subscription": subscription} | first)) as stream:
        assert stream.code() == code


def test_a_stream_of_a_deleted_subscription_ends(pubsub: Pubsub) -> None:
    subscription = pubsub.subscription(pubsub.topic())
    with opened_stream(pubsub, subscription=subscription) as stream:
        assert stream.is_quiet(0.3)
        pubsub.subscriber.delete_subscription(subscription=subscription)
        assert stream.code() == grpc.StatusCode.NOT_FOUND


def test_exactly_once_delivery_confirms_acknowledgements(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic, enable_exactly_once_delivery=True)
    outcomes: list[AcknowledgeStatus] = []
    done = threading.Event()

    def callback(message: Any) -> None:
        outcomes.append(message.ack_with_response().result(timeout=WAIT_SECONDS))
        done.set()

    future = pubsub.subscriber.subscribe(subscription, callback)
    pubsub.publish(topic, b"x")
    assert done.wait(WAIT_SECONDS)
    future.cancel()
    future.result(timeout=WAIT_SECONDS)
    assert outcomes == [AcknowledgeStatus.SUCCESS]


def test_exactly_once_delivery_refuses_a_late_acknowledgement(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic, enable_exactly_once_delivery=True)
    pubsub.publish(topic, b"x")
    (late,) = pubsub.receive(subscription, 1)
    pubsub.nack(subscription, late)
    pubsub.receive(subscription, 1)
    with pytest.raises(InvalidArgument) as refused:
        pubsub.ack(subscription, late)
    (info,) = refused.value.details
    assert info.reason == "EXACTLY_ONCE_ACKID_FAILURE"
    assert dict(info.metadata) == {late.ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID"}


# Seek


def test_seeking_back_brings_retained_messages_again(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic, retain_acked_messages=True)
    pubsub.publish(topic, b"1")
    time.sleep(0.05)
    between = after()
    time.sleep(0.05)
    pubsub.publish(topic, b"2")
    pubsub.ack(subscription, *pubsub.receive(subscription, 2))
    pubsub.subscriber.seek(request={"subscription": subscription, "time": between})
    assert data(pubsub.receive(subscription, 1)) == [b"2"]
    assert pubsub.is_empty(subscription)
    pubsub.subscriber.seek(request={"subscription": subscription, "time": after(-60)})
    assert sorted(data(pubsub.receive(subscription, 2))) == [b"1", b"2"]


def test_acknowledged_messages_are_gone_unless_retained(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, b"1")
    pubsub.ack(subscription, *pubsub.receive(subscription, 1))
    pubsub.subscriber.seek(request={"subscription": subscription, "time": after(-60)})
    assert pubsub.is_empty(subscription)


def test_seeking_forward_purges(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, b"1", b"2")
    pubsub.receive(subscription, 1)  # purged as well
    pubsub.subscriber.seek(request={"subscription": subscription, "time": after(60)})
    assert pubsub.is_empty(subscription)


def test_a_topic_that_retains_messages_brings_them_again(pubsub: Pubsub) -> None:
    topic = pubsub.topic(message_retention_duration=seconds(3600))
    pubsub.publish(topic, b"before the subscription")
    subscription = pubsub.subscription(topic)
    assert pubsub.is_empty(subscription)
    pubsub.subscriber.seek(request={"subscription": subscription, "time": after(-60)})
    assert data(pubsub.receive(subscription, 1)) == [b"before the subscription"]


def test_a_snapshot_restores_the_state_of_its_moment(pubsub: Pubsub) -> None:
    topic, snapshot = pubsub.topic(), new_name("snapshots")
    subscription, other = pubsub.subscription(topic), pubsub.subscription(topic)
    pubsub.publish(topic, b"done")
    pubsub.ack(subscription, *pubsub.receive(subscription, 1))
    pubsub.publish(topic, b"open")
    created = pubsub.subscriber.create_snapshot(name=snapshot, subscription=subscription)
    assert created.topic == topic
    pubsub.publish(topic, b"later")
    pubsub.ack(subscription, *pubsub.receive(subscription, 2))
    assert pubsub.is_empty(subscription)
    for name in (subscription, other):
        pubsub.subscriber.seek(request={"subscription": name, "snapshot": snapshot})
        assert sorted(data(pubsub.receive(name, 2))) == [b"later", b"open"]
        assert pubsub.is_empty(name)


def test_snapshots_are_listed_and_deleted(pubsub: Pubsub) -> None:
    topic, snapshot = pubsub.topic(), new_name("snapshots")
    subscription = pubsub.subscription(topic)
    pubsub.subscriber.create_snapshot(name=snapshot, subscription=subscription)
    with pytest.raises(AlreadyExists):
        pubsub.subscriber.create_snapshot(name=snapshot, subscription=subscription)
    assert list(pubsub.publisher.list_topic_snapshots(topic=topic)) == [snapshot]
    assert snapshot in {item.name for item in pubsub.subscriber.list_snapshots(project="projects/contract")}
    pubsub.subscriber.delete_snapshot(snapshot=snapshot)
    assert not list(pubsub.publisher.list_topic_snapshots(topic=topic))
    with pytest.raises(NotFound):
        pubsub.subscriber.seek(request={"subscription": subscription, "snapshot": snapshot})


def test_a_snapshot_of_another_topic_is_refused(pubsub: Pubsub) -> None:
    snapshot = new_name("snapshots")
    pubsub.subscriber.create_snapshot(name=snapshot, subscription=pubsub.subscription(pubsub.topic()))
    with pytest.raises(FailedPrecondition):
        pubsub.subscriber.seek(
            request={"subscription": pubsub.subscription(pubsub.topic()), "snapshot": snapshot}
        )


# Schemas

PROTOBUF = """
syntax = "proto3";
message Request {
  enum Classify { CLASSIFY_UNSPECIFIED = 0; ORIGINALS = 1; }
  message Augmentation { int32 copies = 1; }
  int32 limit = 1;
  repeated string gender = 2;
  Classify classify = 3;
  optional Augmentation augmentation = 4;
}
"""
AVRO = """
{"type": "record", "name": "Request", "fields": [
  {"name": "limit", "type": "int"},
  {"name": "gender", "type": ["null", "string"], "default": null}
]}
"""
AVRO_RENAMED = AVRO.replace("limit", "maximum")


def schema(pubsub: Pubsub, kind: str, definition: str) -> Any:
    name = new_name("schemas").split("/")[-1]
    body = {"type_": kind, "definition": definition}
    return pubsub.schemas.create_schema(parent="projects/contract", schema=body, schema_id=name)


def typed_topic(pubsub: Pubsub, name: str, encoding: str, **settings: str) -> str:
    return pubsub.topic(schema_settings={"schema": name, "encoding": encoding, **settings})


def avro_binary(record: dict[str, Any]) -> bytes:
    output = io.BytesIO()
    fastavro.schemaless_writer(output, fastavro.parse_schema(json.loads(AVRO)), record)
    return output.getvalue()


def check(pubsub: Pubsub, message: bytes, encoding: str, **schema_spec: Any) -> None:
    request = {"parent": "projects/contract", "message": message, "encoding": encoding, **schema_spec}
    pubsub.schemas.validate_message(request=request)


def assert_accepted(pubsub: Pubsub, kind: str, definition: str, encoding: str, message: bytes) -> None:
    created = schema(pubsub, kind, definition)
    topic = typed_topic(pubsub, created.name, encoding)
    subscription = pubsub.subscription(topic)
    pubsub.publish(topic, message, colour="blue")
    (received,) = pubsub.receive(subscription, 1)
    assert received.message.data == message
    assert dict(received.message.attributes) == {
        "colour": "blue",
        "googclient_schemaname": created.name,
        "googclient_schemaencoding": encoding,
        "googclient_schemarevisionid": created.revision_id,
    }
    check(pubsub, message, encoding, name=created.name)


def assert_refused(pubsub: Pubsub, kind: str, definition: str, encoding: str, message: bytes) -> None:
    topic = typed_topic(pubsub, schema(pubsub, kind, definition).name, encoding)
    with pytest.raises(InvalidArgument):
        pubsub.publish(topic, message)
    with pytest.raises(InvalidArgument):
        check(pubsub, message, encoding, schema={"type_": kind, "definition": definition})


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        pytest.param("JSON", b'{"limit": 3, "gender": ["Men"]}', id="json"),
        pytest.param("JSON", b"{}", id="json_nothing_set"),
        pytest.param("JSON", b'{"classify": "ORIGINALS", "augmentation": {"copies": 2}}', id="json_nested"),
        pytest.param("BINARY", b"\x08\x03\x12\x03Men", id="binary"),
    ],
)
def test_a_conforming_protobuf_message_is_published(pubsub: Pubsub, encoding: str, message: bytes) -> None:
    assert_accepted(pubsub, "PROTOCOL_BUFFER", PROTOBUF, encoding, message)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        pytest.param("JSON", b'{"limits": 3}', id="json_unknown_field"),
        pytest.param("JSON", b'{"limit": "many"}', id="json_wrong_type"),
        pytest.param("JSON", b'{"classify": "ALL"}', id="json_unknown_value"),
        pytest.param("JSON", b"limit: 3", id="json_malformed"),
        pytest.param("JSON", b"[]", id="json_array"),
        pytest.param("JSON", b"\xff", id="json_no_text"),
        pytest.param("BINARY", b"\x08", id="binary_cut_off"),
    ],
)
def test_a_violating_protobuf_message_is_refused(pubsub: Pubsub, encoding: str, message: bytes) -> None:
    assert_refused(pubsub, "PROTOCOL_BUFFER", PROTOBUF, encoding, message)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        pytest.param("JSON", b'{"limit": 3, "gender": {"string": "Men"}}', id="json"),
        pytest.param("JSON", b'{"limit": 3, "gender": null}', id="json_null"),
        pytest.param("BINARY", avro_binary({"limit": 3, "gender": "Men"}), id="binary"),
    ],
)
def test_a_conforming_avro_message_is_published(pubsub: Pubsub, encoding: str, message: bytes) -> None:
    assert_accepted(pubsub, "AVRO", AVRO, encoding, message)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        pytest.param("JSON", b'{"limit": "many", "gender": null}', id="json_wrong_type"),
        pytest.param("JSON", b'{"limit": 3}', id="json_field_left_out"),
        pytest.param("JSON", b'{"limit": 3, "gender": "Men"}', id="json_bare_union"),
        pytest.param("JSON", b"limit: 3", id="json_malformed"),
        pytest.param("BINARY", b"\x06\x02\x06Me", id="binary_cut_off"),
    ],
)
def test_a_violating_avro_message_is_refused(pubsub: Pubsub, encoding: str, message: bytes) -> None:
    assert_refused(pubsub, "AVRO", AVRO, encoding, message)


def test_one_violating_message_refuses_the_whole_request(pubsub: Pubsub) -> None:
    topic = typed_topic(pubsub, schema(pubsub, "AVRO", AVRO).name, "JSON")
    subscription = pubsub.subscription(topic)
    with pytest.raises(InvalidArgument):
        pubsub.publish(topic, b'{"limit": 1, "gender": null}', b"{}")
    assert pubsub.is_empty(subscription)


@pytest.mark.parametrize(
    ("kind", "definition"),
    [
        pytest.param("AVRO", "", id="empty"),
        pytest.param("AVRO", "{", id="avro_no_json"),
        pytest.param("AVRO", '{"type": "record"}', id="avro_incomplete"),
        pytest.param("PROTOCOL_BUFFER", 'syntax = "proto3"; message A { strin a = 1; }', id="proto_type"),
        pytest.param(
            "PROTOCOL_BUFFER", 'syntax = "proto3"; message A {} message B {}', id="proto_two_messages"
        ),
        pytest.param("TYPE_UNSPECIFIED", AVRO, id="no_type"),
    ],
)
def test_a_bad_definition_is_refused(pubsub: Pubsub, kind: str, definition: str) -> None:
    with pytest.raises(InvalidArgument):
        schema(pubsub, kind, definition)
    with pytest.raises(InvalidArgument):
        pubsub.schemas.validate_schema(
            parent="projects/contract", schema={"type_": kind, "definition": definition}
        )


def test_schemas_are_found_and_listed(pubsub: Pubsub) -> None:
    created = schema(pubsub, "AVRO", AVRO)
    assert re.fullmatch(r"[0-9a-f]{8}", created.revision_id)
    assert pubsub.schemas.get_schema(name=created.name) == created
    basic = pubsub.schemas.get_schema(request={"name": created.name, "view": "BASIC"})
    assert (basic.name, basic.type_, basic.definition) == (created.name, types.Schema.Type.AVRO, "")
    listed = {item.name: item for item in pubsub.schemas.list_schemas(parent="projects/contract")}
    assert created.name in listed
    with pytest.raises(AlreadyExists):
        pubsub.schemas.create_schema(
            parent="projects/contract", schema=created, schema_id=created.name.split("/")[-1]
        )
    with pytest.raises(NotFound):
        pubsub.schemas.get_schema(name=new_name("schemas"))


def test_a_list_of_schemas_leaves_the_definitions_out(pubsub: Pubsub) -> None:
    created = schema(pubsub, "AVRO", AVRO)
    listed = {item.name: item for item in pubsub.schemas.list_schemas(parent="projects/contract")}
    assert listed[created.name].definition == ""
    request = {"parent": "projects/contract", "view": "FULL"}
    full = {item.name: item for item in pubsub.schemas.list_schemas(request=request)}
    assert full[created.name].definition == AVRO


def commit(pubsub: Pubsub, name: str, definition: str) -> Any:
    body = {"name": name, "type_": "AVRO", "definition": definition}
    return pubsub.schemas.commit_schema(name=name, schema=body)


def test_a_schema_has_revisions(pubsub: Pubsub) -> None:
    first = schema(pubsub, "AVRO", AVRO)
    second = commit(pubsub, first.name, AVRO_RENAMED)
    assert second.name == first.name
    revisions = {item.revision_id for item in pubsub.schemas.list_schema_revisions(name=first.name)}
    assert revisions == {first.revision_id, second.revision_id}
    assert pubsub.schemas.get_schema(name=first.name).revision_id == second.revision_id
    assert pubsub.schemas.get_schema(name=f"{first.name}@{first.revision_id}").definition == AVRO
    third = pubsub.schemas.rollback_schema(name=first.name, revision_id=first.revision_id)
    assert third.revision_id not in revisions
    assert third.definition == AVRO
    pubsub.schemas.delete_schema_revision(name=f"{first.name}@{second.revision_id}", revision_id="")
    revisions = {item.revision_id for item in pubsub.schemas.list_schema_revisions(name=first.name)}
    assert revisions == {first.revision_id, third.revision_id}


def test_a_revision_keeps_the_type_of_its_schema(pubsub: Pubsub) -> None:
    created = schema(pubsub, "AVRO", AVRO)
    body = {"name": created.name, "type_": "PROTOCOL_BUFFER", "definition": PROTOBUF}
    with pytest.raises(InvalidArgument):
        pubsub.schemas.commit_schema(name=created.name, schema=body)


def test_the_only_revision_cannot_be_deleted(pubsub: Pubsub) -> None:
    created = schema(pubsub, "AVRO", AVRO)
    with pytest.raises(BadRequest):
        pubsub.schemas.delete_schema_revision(name=f"{created.name}@{created.revision_id}", revision_id="")


def test_a_message_is_held_against_the_revisions_the_topic_allows(pubsub: Pubsub) -> None:
    first = schema(pubsub, "AVRO", AVRO)
    second = commit(pubsub, first.name, AVRO_RENAMED)
    old, new = b'{"limit": 1, "gender": null}', b'{"maximum": 1, "gender": null}'
    both = typed_topic(pubsub, first.name, "JSON")
    subscription = pubsub.subscription(both)
    pubsub.publish(both, old)
    pubsub.publish(both, new)
    assert {
        item.message.data: item.message.attributes["googclient_schemarevisionid"]
        for item in pubsub.receive(subscription, 2)
    } == {old: first.revision_id, new: second.revision_id}
    only_first = typed_topic(pubsub, first.name, "JSON", last_revision_id=first.revision_id)
    pubsub.publish(only_first, old)
    with pytest.raises(InvalidArgument):
        pubsub.publish(only_first, new)
    only_second = typed_topic(pubsub, first.name, "JSON", first_revision_id=second.revision_id)
    pubsub.publish(only_second, new)
    with pytest.raises(InvalidArgument):
        pubsub.publish(only_second, old)


def test_a_deleted_schema_stops_publishing(pubsub: Pubsub) -> None:
    created = schema(pubsub, "AVRO", AVRO)
    topic = typed_topic(pubsub, created.name, "JSON")
    pubsub.schemas.delete_schema(name=created.name)
    assert pubsub.publisher.get_topic(topic=topic).schema_settings.schema == "_deleted-schema_"
    with pytest.raises(NotFound):
        pubsub.publish(topic, b'{"limit": 1, "gender": null}')


@pytest.mark.parametrize("encoding", ["ENCODING_UNSPECIFIED", "JSON"])
def test_a_topic_needs_a_schema_that_exists_and_an_encoding(pubsub: Pubsub, encoding: str) -> None:
    name = new_name("schemas") if encoding == "JSON" else schema(pubsub, "AVRO", AVRO).name
    with pytest.raises((NotFound, InvalidArgument)):
        typed_topic(pubsub, name, encoding)


# The list of differences


def test_the_differences_name_tests() -> None:
    for name in GOOGLE_EMULATOR_DIFFERS:
        assert callable(globals().get(name.partition("[")[0])), name


def test_the_readme_lists_the_differences() -> None:
    readme = Path(__file__).parents[2] / "services/local/pubsub/README.md"
    rows = re.findall(r"^\| `(test_[^`]+)` \| (.+) \|$", readme.read_text(), re.MULTILINE)
    assert dict(rows) == GOOGLE_EMULATOR_DIFFERS
