import asyncio
import itertools
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.pubsub_v1.types import Encoding

from services.local.pubsub import messages
from services.local.pubsub.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
)
from services.local.pubsub.filters import compile_filter
from services.local.pubsub.messages import Proto
from services.local.pubsub.push import Push, open_session
from services.local.pubsub.schemas import DELETED_SCHEMA, Schemas
from services.local.pubsub.storage import Message, Storage
from services.local.pubsub.subscription import Entry, Subscription

DELETED_TOPIC = "_deleted-topic_"

# https://cloud.google.com/pubsub/quotas#resource_limits
MAX_PUBLISH_BYTES = 10_000_000
MAX_PUBLISH_MESSAGES = 1_000
MAX_ATTRIBUTES = 100
MAX_KEY_BYTES = 256
MAX_VALUE_BYTES = 1_024
MAX_ORDERING_KEY_BYTES = 1_024

_DAY = 86_400
_RETENTION_SECONDS = (600, 31 * _DAY)
_DEFAULT_RETENTION_SECONDS = 7 * _DAY
_SNAPSHOT_SECONDS = 7 * _DAY
_SNAPSHOT_LEAST_SECONDS = 3_600
_BACKOFF_SECONDS = (0, 600)
_SWEEP_SECONDS = 60

_NAME = re.compile(
    r"projects/[^/]+/(?P<kind>topics|subscriptions|snapshots|schemas)/(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}"
)


@dataclass(eq=False)
class Topic:
    """A topic, what is attached to it, and the messages it retains for later seeks."""

    config: Proto
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    snapshots: dict[str, "Snapshot"] = field(default_factory=dict)
    retained: list[Message] = field(default_factory=list)


@dataclass(eq=False)
class Snapshot:
    """The unacknowledged messages of a subscription at one moment, and everything published since."""

    config: Proto
    messages: list[Message]


def check_name(name: str, kind: str) -> None:
    """Raises InvalidArgumentError if it is not the full name of a `kind`, such as "topics"."""
    match = _NAME.fullmatch(name)
    if match is None or match["kind"] != kind:
        raise InvalidArgumentError(f"Invalid [{kind}] name: (name={name})")


class Broker:
    """Topics, subscriptions, snapshots and schemas. Methods take and return raw messages of google.pubsub.v1.

    Errors are those of `errors`, as Pub/Sub documents them for the RPC of the same name.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._session = open_session()
        self._pushes: dict[Subscription, Push] = {}
        self.schemas = Schemas(storage)
        self.topics: dict[str, Topic] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self._message_ids = itertools.count(max(storage.last_message_id() + 1, time.time_ns() // 1_000))
        self._load()
        self._sweeper = asyncio.create_task(self._sweep())

    def _load(self) -> None:
        for body in self._storage.resources("topic"):
            topic = Topic(messages.Topic.FromString(body))
            topic.retained = [message for message, _, _ in self._storage.backlog(topic.config.name)]
            self.topics[topic.config.name] = topic
        for body in self._storage.resources("snapshot"):
            config = messages.Snapshot.FromString(body)
            self._attach_snapshot(
                Snapshot(config, [message for message, _, _ in self._storage.backlog(config.name)])
            )
        for body in self._storage.resources("subscription"):
            self._attach(messages.Subscription.FromString(body))

    async def close(self) -> None:
        """Stop delivering and make everything durable."""
        self._sweeper.cancel()
        for push in self._pushes.values():
            push.abort()
        await self._session.close()
        self._storage.close()

    # Topics

    def create_topic(self, config: Proto) -> Proto:
        """Add a topic."""
        check_name(config.name, "topics")
        if config.name in self.topics:
            raise AlreadyExistsError(f"Topic already exists (resource={config.name})")
        self._check_topic(config)
        config.state = messages.Topic.State.ACTIVE
        self.topics[config.name] = Topic(config)
        self._save_topic(config)
        return config

    def update_topic(self, config: Proto) -> Proto:
        """Replace the configuration of a topic."""
        topic = self.topic(config.name)
        self._check_topic(config)
        topic.config = config
        self._trim_topic(topic, time.time())
        self._save_topic(config)
        return config

    def _check_topic(self, config: Proto) -> None:
        if config.HasField("message_retention_duration"):
            _check_range("message_retention_duration", config.message_retention_duration, _RETENTION_SECONDS)
        settings = config.schema_settings
        if not config.HasField("schema_settings") or settings.schema == DELETED_SCHEMA:
            return
        self.schemas.get(settings.schema)
        if settings.encoding not in (Encoding.JSON, Encoding.BINARY):
            raise InvalidArgumentError("Invalid schema_settings: encoding must be JSON or BINARY")
        for revision_id in filter(None, [settings.first_revision_id, settings.last_revision_id]):
            self.schemas.get(f"{settings.schema}@{revision_id}")

    def _save_topic(self, config: Proto) -> None:
        self._storage.save("topic", config.name, config.SerializeToString())

    def topic(self, name: str) -> Topic:
        """Find a topic."""
        if name not in self.topics:
            raise NotFoundError(f"Topic not found (resource={name})")
        return self.topics[name]

    def delete_topic(self, name: str) -> None:
        """Remove a topic; its subscriptions keep their backlog."""
        topic = self.topic(name)
        for subscription in topic.subscriptions.values():
            subscription.config.topic = DELETED_TOPIC
            self._save_subscription(subscription)
        for snapshot in topic.snapshots.values():
            snapshot.config.topic = DELETED_TOPIC
            self._save_snapshot(snapshot)
        self._storage.release(name, topic.retained)
        del self.topics[name]
        self._storage.delete("topic", name)

    # Schemas

    def delete_schema(self, name: str) -> None:
        """Remove a schema; topics that use it can no longer be published to."""
        self.schemas.delete(name)
        for topic in self.topics.values():
            if topic.config.schema_settings.schema == name:
                topic.config.schema_settings.schema = DELETED_SCHEMA
                self._save_topic(topic.config)

    # Publishing

    def publish(self, topic_name: str, protos: Sequence[Proto]) -> list[str]:
        """Take messages in, all or none; they are durable when this returns their ids."""
        topic = self.topic(topic_name)
        _check_messages(protos)
        if topic.config.HasField("schema_settings"):
            self._check_schema(topic.config.schema_settings, protos)
        return self._publish(topic, protos)

    def _check_schema(self, settings: Proto, protos: Sequence[Proto]) -> None:
        if settings.schema == DELETED_SCHEMA:
            raise NotFoundError("The schema of the topic has been deleted")
        for proto in protos:
            revision = self.schemas.check(proto.data, settings)
            proto.attributes["googclient_schemaname"] = settings.schema
            proto.attributes["googclient_schemaencoding"] = Encoding(settings.encoding).name
            proto.attributes["googclient_schemarevisionid"] = revision.revision_id

    def _publish(self, topic: Topic, protos: Sequence[Proto]) -> list[str]:
        publish_time = _timestamp(time.time())
        for proto in protos:
            proto.message_id = str(next(self._message_ids))
            proto.publish_time.CopyFrom(publish_time)
            message = Message.of(proto)
            for subscription in topic.subscriptions.values():
                if subscription.matches(proto.attributes):
                    subscription.offer(message)
            for snapshot in topic.snapshots.values():
                snapshot.messages.append(message)
                self._storage.hold(snapshot.config.name, [message])
            if topic.config.HasField("message_retention_duration"):
                topic.retained.append(message)
                self._storage.hold(topic.config.name, [message])
        self._storage.commit()
        return [proto.message_id for proto in protos]

    def _publish_dead_letter(self, subscription: Subscription, entry: Entry) -> bool:
        topic = self.topics.get(subscription.config.dead_letter_policy.dead_letter_topic)
        if topic is None:
            return False
        letter = messages.PubsubMessage()
        letter.CopyFrom(entry.message.proto)
        _, project, _, subscription_id = subscription.name.split("/")
        published = datetime.fromtimestamp(entry.message.published, UTC)
        source = "CloudPubSubDeadLetterSource"
        letter.attributes[f"{source}DeliveryCount"] = str(entry.failures)
        letter.attributes[f"{source}Subscription"] = subscription_id
        letter.attributes[f"{source}SubscriptionProject"] = project
        letter.attributes[f"{source}TopicPublishTime"] = published.isoformat(timespec="milliseconds")
        self._publish(topic, [letter])
        return True

    # Subscriptions

    def create_subscription(self, config: Proto) -> Proto:
        """Add a subscription, with the documented defaults where the configuration is silent."""
        check_name(config.name, "subscriptions")
        if config.name in self.subscriptions:
            raise AlreadyExistsError(f"Subscription already exists (resource={config.name})")
        self.topic(config.topic)
        config.state = messages.Subscription.State.ACTIVE
        config.detached = False
        self._complete_subscription(config)
        self._save_subscription(self._attach(config))
        return config

    def update_subscription(self, config: Proto) -> Proto:
        """Replace the configuration of a subscription."""
        subscription = self.subscription(config.name)
        for name in ("topic", "filter", "enable_message_ordering"):
            if getattr(config, name) != getattr(subscription.config, name):
                raise InvalidArgumentError(f"Invalid update_mask: {name} cannot be changed")
        self._complete_subscription(config)
        self._reconfigure(subscription, config)
        return config

    def detach_subscription(self, name: str) -> None:
        """Cut a subscription off its topic and drop its backlog."""
        subscription = self.subscription(name)
        config = messages.Subscription()
        config.CopyFrom(subscription.config)
        config.detached = True
        self._reconfigure(subscription, config)
        if topic := self.topics.get(config.topic):
            topic.subscriptions.pop(name, None)

    def _complete_subscription(self, config: Proto) -> None:
        compile_filter(config.filter)
        config.ack_deadline_seconds = config.ack_deadline_seconds or 10
        check_ack_deadline(config.ack_deadline_seconds)
        _default(config, "message_retention_duration", _DEFAULT_RETENTION_SECONDS)
        _check_range("message_retention_duration", config.message_retention_duration, _RETENTION_SECONDS)
        if not config.HasField("expiration_policy"):
            config.expiration_policy.ttl.FromSeconds(31 * _DAY)
        if config.HasField("retry_policy"):
            for name, seconds in (("minimum_backoff", 10), ("maximum_backoff", 600)):
                _default(config.retry_policy, name, seconds)
                _check_range(f"retry_policy.{name}", getattr(config.retry_policy, name), _BACKOFF_SECONDS)
            if _seconds(config.retry_policy.minimum_backoff) > _seconds(config.retry_policy.maximum_backoff):
                raise InvalidArgumentError("Invalid retry_policy: minimum_backoff exceeds maximum_backoff")
        if config.HasField("dead_letter_policy"):
            policy = config.dead_letter_policy
            policy.max_delivery_attempts = policy.max_delivery_attempts or 5
            if not 5 <= policy.max_delivery_attempts <= 100:
                raise OutOfRangeError("Invalid max_delivery_attempts: it must be from 5 to 100")
            self.topic(policy.dead_letter_topic)
        config.push_config.SetInParent()
        endpoint = config.push_config.push_endpoint
        if endpoint and not re.match(r"https?://[^/]", endpoint):
            raise InvalidArgumentError(f"Invalid push endpoint given (endpoint={endpoint})")

    def _attach(self, config: Proto) -> Subscription:
        subscription = Subscription(config, self._storage, self._publish_dead_letter)
        self.subscriptions[config.name] = subscription
        if config.topic in self.topics and not config.detached:
            self.topics[config.topic].subscriptions[config.name] = subscription
        self._start_push(subscription)
        return subscription

    def _reconfigure(self, subscription: Subscription, config: Proto) -> None:
        pushes_differ = config.push_config != subscription.config.push_config or config.detached
        subscription.reconfigure(config)
        self._save_subscription(subscription)
        if pushes_differ:
            self._stop_push(subscription)
            self._start_push(subscription)

    def _start_push(self, subscription: Subscription) -> None:
        if subscription.config.push_config.push_endpoint and not subscription.config.detached:
            self._pushes[subscription] = Push(subscription, self._session)

    def _stop_push(self, subscription: Subscription) -> None:
        if push := self._pushes.pop(subscription, None):
            push.stop()

    def _save_subscription(self, subscription: Subscription) -> None:
        self._storage.save("subscription", subscription.name, subscription.config.SerializeToString())

    def subscription(self, name: str) -> Subscription:
        """Find a subscription."""
        if name not in self.subscriptions:
            raise NotFoundError(f"Subscription does not exist (resource={name})")
        return self.subscriptions[name]

    def delete_subscription(self, name: str) -> None:
        """Remove a subscription with its backlog."""
        subscription = self.subscription(name)
        self._stop_push(subscription)
        if topic := self.topics.get(subscription.config.topic):
            topic.subscriptions.pop(name, None)
        del self.subscriptions[name]
        subscription.close()
        self._storage.delete("subscription", name)

    # Snapshots and seeking

    def create_snapshot(self, name: str, subscription_name: str, labels: dict[str, str]) -> Proto:
        """Keep what a subscription has not acknowledged, and everything published from now on."""
        check_name(name, "snapshots")
        if name in self.snapshots:
            raise AlreadyExistsError(f"Snapshot already exists (resource={name})")
        subscription = self._attached_subscription(subscription_name)
        unacked = subscription.unacked()
        now = time.time()
        expires = (unacked[0].published if unacked else now) + _SNAPSHOT_SECONDS
        if expires < now + _SNAPSHOT_LEAST_SECONDS:
            raise FailedPreconditionError("The oldest unacknowledged message is too old for a snapshot")
        config = messages.Snapshot(name=name, topic=subscription.config.topic, labels=labels)
        config.expire_time.CopyFrom(_timestamp(expires))
        snapshot = Snapshot(config, unacked)
        self._storage.hold(name, unacked)
        self._attach_snapshot(snapshot)
        self._save_snapshot(snapshot)
        return config

    def update_snapshot(self, config: Proto) -> Proto:
        """Replace the labels and the time of expiry of a snapshot."""
        snapshot = self.snapshot(config.name)
        snapshot.config = config
        self._save_snapshot(snapshot)
        return config

    def _attach_snapshot(self, snapshot: Snapshot) -> None:
        self.snapshots[snapshot.config.name] = snapshot
        if topic := self.topics.get(snapshot.config.topic):
            topic.snapshots[snapshot.config.name] = snapshot

    def _save_snapshot(self, snapshot: Snapshot) -> None:
        self._storage.save("snapshot", snapshot.config.name, snapshot.config.SerializeToString())

    def snapshot(self, name: str) -> Snapshot:
        """Find a snapshot."""
        if name not in self.snapshots:
            raise NotFoundError(f"Snapshot not found (resource={name})")
        return self.snapshots[name]

    def delete_snapshot(self, name: str) -> None:
        """Remove a snapshot."""
        snapshot = self.snapshot(name)
        if topic := self.topics.get(snapshot.config.topic):
            topic.snapshots.pop(name, None)
        del self.snapshots[name]
        self._storage.release(name, snapshot.messages)
        self._storage.delete("snapshot", name)

    def _attached_subscription(self, name: str) -> Subscription:
        subscription = self.subscription(name)
        if subscription.config.detached:
            raise FailedPreconditionError(f"Subscription is detached (resource={name})")
        return subscription

    def seek_to_time(self, subscription_name: str, published: float) -> None:
        """Acknowledge what was published before that time (seconds since the epoch), and nothing else."""
        subscription = self._attached_subscription(subscription_name)
        topic = self.topics.get(subscription.config.topic)
        retained = topic.retained if topic else []
        subscription.seek(
            lambda message: message.published >= published,
            [message for message in retained if subscription.matches(message.proto.attributes)],
        )
        self._storage.commit()

    def seek_to_snapshot(self, subscription_name: str, snapshot_name: str) -> None:
        """Give a subscription the state of a snapshot of the same topic."""
        subscription = self._attached_subscription(subscription_name)
        snapshot = self.snapshot(snapshot_name)
        if snapshot.config.topic != subscription.config.topic:
            raise FailedPreconditionError("The snapshot and the subscription are of different topics")
        unacked = [m for m in snapshot.messages if subscription.matches(m.proto.attributes)]
        ids = {message.id for message in unacked}
        subscription.seek(lambda message: message.id in ids, unacked)
        self._storage.commit()

    # Expiry

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.expire(time.time())

    def expire(self, now: float) -> None:
        """Drop messages past their retention and snapshots past their time. `now`: seconds of the epoch."""
        for subscription in self.subscriptions.values():
            subscription.expire(now - _seconds(subscription.config.message_retention_duration))
        for topic in self.topics.values():
            self._trim_topic(topic, now)
        for snapshot in list(self.snapshots.values()):
            if snapshot.config.expire_time.ToNanoseconds() / 1e9 < now:
                self.delete_snapshot(snapshot.config.name)
        self._storage.commit()

    def _trim_topic(self, topic: Topic, now: float) -> None:
        oldest = now - _seconds(topic.config.message_retention_duration)
        expired = [message for message in topic.retained if message.published < oldest]
        topic.retained = topic.retained[len(expired) :]
        self._storage.release(topic.config.name, expired)


def _check_messages(protos: Sequence[Proto]) -> None:
    if not protos:
        raise InvalidArgumentError("The request has no messages")
    if len(protos) > MAX_PUBLISH_MESSAGES:
        raise InvalidArgumentError(f"The request has more than {MAX_PUBLISH_MESSAGES} messages")
    if sum(proto.ByteSize() for proto in protos) > MAX_PUBLISH_BYTES:
        raise InvalidArgumentError(f"The request is larger than {MAX_PUBLISH_BYTES} bytes")
    for proto in protos:
        if not (proto.data or proto.attributes):
            raise InvalidArgumentError("Some messages are empty: data or an attribute is needed")
        if len(proto.ordering_key.encode()) > MAX_ORDERING_KEY_BYTES:
            raise InvalidArgumentError(f"An ordering key is longer than {MAX_ORDERING_KEY_BYTES} bytes")
        if len(proto.attributes) > MAX_ATTRIBUTES:
            raise InvalidArgumentError(f"A message has more than {MAX_ATTRIBUTES} attributes")
        for key, value in proto.attributes.items():
            if not 0 < len(key.encode()) <= MAX_KEY_BYTES:
                raise InvalidArgumentError(
                    f"An attribute key is empty or longer than {MAX_KEY_BYTES} bytes: {key!r}"
                )
            if len(value.encode()) > MAX_VALUE_BYTES:
                raise InvalidArgumentError(f"Attribute {key!r} is longer than {MAX_VALUE_BYTES} bytes")


def check_ack_deadline(seconds: int, least: int = 10) -> None:
    """Raises InvalidArgumentError unless the deadline is from `least` to 600 seconds."""
    if not least <= seconds <= 600:
        raise InvalidArgumentError(f"Invalid ack deadline: {seconds} is not from {least} to 600 seconds")


def _check_range(name: str, duration: Duration, seconds: tuple[int, int]) -> None:
    if not seconds[0] <= _seconds(duration) <= seconds[1]:
        raise InvalidArgumentError(f"Invalid {name}: not from {seconds[0]} to {seconds[1]} seconds")


def _default(config: Proto, name: str, seconds: int) -> None:
    if not config.HasField(name):
        getattr(config, name).FromSeconds(seconds)


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9


def _timestamp(seconds: float) -> Timestamp:
    # Microseconds keep what a float of seconds since the epoch can tell apart.
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(seconds * 1e6))
    return timestamp
