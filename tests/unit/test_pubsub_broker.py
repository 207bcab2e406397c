"""The broker without gRPC: what expires, what survives a restart."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.local.pubsub import messages
from services.local.pubsub.broker import Broker
from services.local.pubsub.errors import FailedPreconditionError, NotFoundError
from services.local.pubsub.messages import PubsubMessage
from services.local.pubsub.storage import Storage
from services.local.pubsub.subscription import Consumer

TOPIC = "projects/test/topics/requests"
SUBSCRIPTION = "projects/test/subscriptions/selection"
SNAPSHOT = "projects/test/snapshots/before"
DAY = 86_400


@asynccontextmanager
async def opened(directory: Path | None = None) -> AsyncIterator[Broker]:
    broker = Broker(Storage(directory))
    try:
        yield broker
    finally:
        await broker.close()


def run(scenario: Callable[[Broker], Awaitable[None]]) -> None:
    async def main() -> None:
        async with opened() as broker:
            await scenario(broker)

    asyncio.run(main())


def subscribe(broker: Broker, **config: object) -> None:
    broker.create_topic(messages.Topic(name=TOPIC))
    broker.create_subscription(messages.Subscription(name=SUBSCRIPTION, topic=TOPIC, **config))


def publish(broker: Broker, *data: bytes) -> None:
    broker.publish(TOPIC, [PubsubMessage(data=item) for item in data])


def pull(broker: Broker) -> list[tuple[str, bytes, int]]:
    """Ack id, data and attempt of everything that is ready."""
    leases = broker.subscription(SUBSCRIPTION).take(Consumer(max_messages=100), deadline_seconds=60)
    return [(lease.ack_id, lease.entry.message.proto.data, lease.attempt) for lease in leases]


def test_a_message_expires_with_its_retention() -> None:
    async def scenario(broker: Broker) -> None:
        subscribe(broker)
        publish(broker, b"old")
        broker.expire(time.time() + 6 * DAY)
        assert [data for _, data, _ in pull(broker)] == [b"old"]
        broker.expire(time.time() + 8 * DAY)
        broker.seek_to_time(SUBSCRIPTION, 0)
        assert pull(broker) == []

    run(scenario)


def test_an_acknowledged_message_is_retained_as_long_as_any_other() -> None:
    async def scenario(broker: Broker) -> None:
        subscribe(broker, retain_acked_messages=True)
        publish(broker, b"done")
        broker.subscription(SUBSCRIPTION).acknowledge(ack_id for ack_id, _, _ in pull(broker))
        broker.expire(time.time() + 6 * DAY)
        broker.seek_to_time(SUBSCRIPTION, 0)
        assert [data for _, data, _ in pull(broker)] == [b"done"]
        broker.expire(time.time() + 8 * DAY)
        broker.seek_to_time(SUBSCRIPTION, 0)
        assert pull(broker) == []

    run(scenario)


def test_a_topic_forgets_with_its_retention() -> None:
    async def scenario(broker: Broker) -> None:
        config = messages.Topic(name=TOPIC)
        config.message_retention_duration.FromSeconds(3600)
        broker.create_topic(config)
        publish(broker, b"kept")
        broker.create_subscription(messages.Subscription(name=SUBSCRIPTION, topic=TOPIC))
        broker.expire(time.time() + 3700)
        broker.seek_to_time(SUBSCRIPTION, 0)
        assert pull(broker) == []

    run(scenario)


def test_a_snapshot_lives_seven_days_less_the_age_of_its_oldest_message() -> None:
    async def scenario(broker: Broker) -> None:
        subscribe(broker)
        publish(broker, b"open")
        snapshot = broker.create_snapshot(SNAPSHOT, SUBSCRIPTION, {})
        assert snapshot.expire_time.ToSeconds() == pytest.approx(time.time() + 7 * DAY, abs=60)
        broker.expire(time.time() + 8 * DAY)
        with pytest.raises(NotFoundError):
            broker.snapshot(SNAPSHOT)

    run(scenario)


def test_a_detached_subscription_cannot_be_sought() -> None:
    async def scenario(broker: Broker) -> None:
        subscribe(broker)
        broker.detach_subscription(SUBSCRIPTION)
        publish(broker, b"x")
        assert pull(broker) == []
        with pytest.raises(FailedPreconditionError):
            broker.seek_to_time(SUBSCRIPTION, 0)

    run(scenario)


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    async def before() -> None:
        async with opened(tmp_path) as broker:
            schema = messages.Schema(type_="AVRO", definition='"string"')
            broker.schemas.create("projects/test/schemas/text", schema)
            subscribe(broker, filter="NOT attributes:skip", enable_message_ordering=True)
            publish(broker, b"acknowledged", b"refused", b"outstanding")
            acknowledged, refused, _ = pull(broker)
            broker.create_snapshot(SNAPSHOT, SUBSCRIPTION, {"team": "a"})
            broker.subscription(SUBSCRIPTION).acknowledge([acknowledged[0]])
            broker.subscription(SUBSCRIPTION).modify_deadline(refused[0], 0)

    async def after() -> None:
        async with opened(tmp_path) as broker:
            assert broker.schemas.get("projects/test/schemas/text").definition == '"string"'
            assert [(data, attempt) for _, data, attempt in pull(broker)] == [
                (b"refused", 2),
                (b"outstanding", 1),
            ]
            assert dict(broker.snapshot(SNAPSHOT).config.labels) == {"team": "a"}
            broker.seek_to_snapshot(SUBSCRIPTION, SNAPSHOT)
            assert [data for _, data, _ in pull(broker)] == [b"acknowledged", b"refused", b"outstanding"]
            publish(broker, b"new")
            broker.publish(TOPIC, [PubsubMessage(data=b"filtered", attributes={"skip": ""})])
            assert [data for _, data, _ in pull(broker)] == [b"new"]

    asyncio.run(before())
    asyncio.run(after())


def test_what_nobody_holds_is_not_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as broker:
            subscribe(broker)
            publish(broker, b"x" * 100_000, b"y")
            broker.create_snapshot(SNAPSHOT, SUBSCRIPTION, {})
            broker.subscription(SUBSCRIPTION).acknowledge(ack_id for ack_id, _, _ in pull(broker))
            broker.delete_snapshot(SNAPSHOT)
        storage = Storage(tmp_path)
        assert storage.last_message_id() == 0
        assert list(storage.backlog(SUBSCRIPTION)) == []
        storage.close()

    asyncio.run(main())


def test_message_ids_are_not_used_again_after_a_restart(tmp_path: Path) -> None:
    async def publish_one() -> str:
        async with opened(tmp_path) as broker:
            if TOPIC not in broker.topics:
                subscribe(broker)
            return broker.publish(TOPIC, [PubsubMessage(data=b"x")])[0]

    first, second = asyncio.run(publish_one()), asyncio.run(publish_one())
    assert int(first) < int(second)


def test_a_change_of_configuration_keeps_the_order_of_a_key() -> None:
    async def scenario(broker: Broker) -> None:
        subscribe(broker, enable_message_ordering=True)
        broker.publish(TOPIC, [PubsubMessage(data=data, ordering_key="a") for data in (b"1", b"2", b"3")])
        first, second, _ = pull(broker)
        subscription = broker.subscription(SUBSCRIPTION)
        subscription.acknowledge([second[0]])
        config = messages.Subscription()
        config.CopyFrom(subscription.config)
        config.ack_deadline_seconds = 20
        broker.update_subscription(config)
        subscription.modify_deadline(first[0], 0)
        again = pull(broker)
        assert [data for _, data, _ in again] == [b"1", b"2", b"3"]
        assert subscription.acknowledge([ack_id for ack_id, _, _ in again]) == []
        assert subscription.unacked() == []

    run(scenario)
