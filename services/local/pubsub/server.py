"""The gRPC services. Every method is named after its RPC, takes its request and returns its response, raw."""

# ruff: noqa: D102 - Google's reference describes the RPCs, and nothing is to be said twice.

import asyncio
import bisect
import inspect
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

import grpc
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1.types import SchemaView
from google.rpc.code_pb2 import Code  # type: ignore[import-untyped]
from google.rpc.error_details_pb2 import ErrorInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from grpc_status import rpc_status  # type: ignore[import-untyped]

from services.local.pubsub import messages
from services.local.pubsub.broker import Broker, check_ack_deadline, check_name
from services.local.pubsub.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PubsubError,
)
from services.local.pubsub.messages import Proto, raw
from services.local.pubsub.schemas import compile_schema
from services.local.pubsub.subscription import ACK_ID, Consumer, Lease, Subscription

# Larger than any request that Pub/Sub accepts, so that our own limits answer.
_MAX_REQUEST_BYTES = 64 << 20
_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1_000
# How long a pull waits for a first message, unless its own deadline is nearer.
_PULL_WAIT_SECONDS = 10.0
_PULL_MARGIN_SECONDS = 0.2
# Every other request is a {RPC}Request.
_RESOURCE_REQUESTS = {"CreateTopic": "Topic", "CreateSubscription": "Subscription"}


class Publisher:
    """google.pubsub.v1.Publisher."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def create_topic(self, request: Proto) -> Proto:
        return self._broker.create_topic(request)

    def update_topic(self, request: Proto) -> Proto:
        return self._broker.update_topic(
            _merged(self._broker.topic(request.topic.name).config, request.topic, request.update_mask)
        )

    def publish(self, request: Proto) -> Proto:
        return raw("PublishResponse")(message_ids=self._broker.publish(request.topic, request.messages))

    def get_topic(self, request: Proto) -> Proto:
        return self._broker.topic(request.topic).config

    def list_topics(self, request: Proto) -> Proto:
        topics = [topic.config for topic in self._broker.topics.values()]
        page, token = _page(_of_project(topics, request.project), request, _name)
        return raw("ListTopicsResponse")(topics=page, next_page_token=token)

    def list_topic_subscriptions(self, request: Proto) -> Proto:
        page, token = _page(self._broker.topic(request.topic).subscriptions, request)
        return raw("ListTopicSubscriptionsResponse")(subscriptions=page, next_page_token=token)

    def list_topic_snapshots(self, request: Proto) -> Proto:
        page, token = _page(self._broker.topic(request.topic).snapshots, request)
        return raw("ListTopicSnapshotsResponse")(snapshots=page, next_page_token=token)

    def delete_topic(self, request: Proto) -> Empty:
        self._broker.delete_topic(request.topic)
        return Empty()

    def detach_subscription(self, request: Proto) -> Proto:
        self._broker.detach_subscription(request.subscription)
        return raw("DetachSubscriptionResponse")()


class Subscriber:
    """google.pubsub.v1.Subscriber."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def create_subscription(self, request: Proto) -> Proto:
        return self._broker.create_subscription(request)

    def get_subscription(self, request: Proto) -> Proto:
        return self._broker.subscription(request.subscription).config

    def update_subscription(self, request: Proto) -> Proto:
        current = self._broker.subscription(request.subscription.name).config
        return self._broker.update_subscription(_merged(current, request.subscription, request.update_mask))

    def modify_push_config(self, request: Proto) -> Empty:
        changed = messages.Subscription()
        changed.CopyFrom(self._broker.subscription(request.subscription).config)
        changed.push_config.CopyFrom(request.push_config)
        self._broker.update_subscription(changed)
        return Empty()

    def list_subscriptions(self, request: Proto) -> Proto:
        subscriptions = [subscription.config for subscription in self._broker.subscriptions.values()]
        page, token = _page(_of_project(subscriptions, request.project), request, _name)
        return raw("ListSubscriptionsResponse")(subscriptions=page, next_page_token=token)

    def delete_subscription(self, request: Proto) -> Empty:
        self._broker.delete_subscription(request.subscription)
        return Empty()

    async def pull(self, request: Proto, context: grpc.aio.ServicerContext) -> Proto:
        if request.max_messages <= 0:
            raise InvalidArgumentError("Invalid max_messages: it must be positive")
        subscription = self._broker.subscription(request.subscription)
        _check_pullable(subscription)
        remaining = context.time_remaining()
        wait = (
            _PULL_WAIT_SECONDS
            if remaining is None
            else min(_PULL_WAIT_SECONDS, remaining - _PULL_MARGIN_SECONDS)
        )
        deadline = subscription.config.ack_deadline_seconds
        with subscription.consumer(Consumer(request.max_messages)) as consumer:
            leases = subscription.take(consumer, deadline)
            try:
                async with asyncio.timeout(0 if request.return_immediately else wait):
                    while not leases:
                        consumer.wake.clear()
                        await consumer.wake.wait()
                        _check_pullable(subscription)
                        leases = subscription.take(consumer, deadline)
            except TimeoutError:
                pass
        return raw("PullResponse")(received_messages=_received(subscription, leases))

    def acknowledge(self, request: Proto) -> Empty:
        subscription = self._broker.subscription(request.subscription)
        _check_ack_ids(request.ack_ids)
        invalid = subscription.acknowledge(request.ack_ids)
        _check_exactly_once(subscription, invalid)
        return Empty()

    def modify_ack_deadline(self, request: Proto) -> Empty:
        subscription = self._broker.subscription(request.subscription)
        _check_ack_ids(request.ack_ids)
        check_ack_deadline(request.ack_deadline_seconds, least=0)
        _check_exactly_once(
            subscription,
            [i for i in request.ack_ids if not subscription.modify_deadline(i, request.ack_deadline_seconds)],
        )
        return Empty()

    async def streaming_pull(self, requests: AsyncIterator[Proto]) -> AsyncIterator[Proto]:
        first = await anext(aiter(requests), None)
        if first is None:
            return
        subscription = self._broker.subscription(first.subscription)
        check_ack_deadline(first.stream_ack_deadline_seconds)
        consumer = Consumer(
            first.max_outstanding_messages if first.max_outstanding_messages > 0 else sys.maxsize,
            first.max_outstanding_bytes,
        )
        stream = _Stream(subscription, consumer, first.stream_ack_deadline_seconds)
        with subscription.consumer(consumer):
            stream.receive(first)
            reader = asyncio.create_task(stream.receive_all(requests))
            try:
                while not reader.done():
                    _check_pullable(subscription)
                    if response := stream.response():
                        yield response
                    else:
                        await consumer.wake.wait()
                        consumer.wake.clear()
                await reader
            finally:
                reader.cancel()

    def create_snapshot(self, request: Proto) -> Proto:
        project = request.subscription.split("/subscriptions/")[0]
        name = request.name or f"{project}/snapshots/snapshot-{uuid.uuid4()}"
        return self._broker.create_snapshot(name, request.subscription, dict(request.labels))

    def get_snapshot(self, request: Proto) -> Proto:
        return self._broker.snapshot(request.snapshot).config

    def update_snapshot(self, request: Proto) -> Proto:
        current = self._broker.snapshot(request.snapshot.name).config
        return self._broker.update_snapshot(_merged(current, request.snapshot, request.update_mask))

    def list_snapshots(self, request: Proto) -> Proto:
        snapshots = [snapshot.config for snapshot in self._broker.snapshots.values()]
        page, token = _page(_of_project(snapshots, request.project), request, _name)
        return raw("ListSnapshotsResponse")(snapshots=page, next_page_token=token)

    def delete_snapshot(self, request: Proto) -> Empty:
        self._broker.delete_snapshot(request.snapshot)
        return Empty()

    def seek(self, request: Proto) -> Proto:
        if request.WhichOneof("target") == "snapshot":
            self._broker.seek_to_snapshot(request.subscription, request.snapshot)
        elif request.HasField("time"):
            self._broker.seek_to_time(request.subscription, request.time.ToNanoseconds() / 1e9)
        else:
            raise InvalidArgumentError("Invalid seek: a time or a snapshot is needed")
        return raw("SeekResponse")()


class _Stream:
    """One streaming pull: what the client said, and what is to be told to it."""

    def __init__(self, subscription: Subscription, consumer: Consumer, deadline_seconds: int) -> None:
        self._subscription = subscription
        self._consumer = consumer
        self._deadline_seconds = deadline_seconds
        self._confirmations = messages.StreamingPullResponse()

    async def receive_all(self, requests: AsyncIterator[Proto]) -> None:
        """Serve the client's requests until it ends its half of the stream."""
        try:
            async for request in requests:
                if request.subscription or request.max_outstanding_messages or request.max_outstanding_bytes:
                    raise InvalidArgumentError(
                        "The subscription and the flow control go into the first request only"
                    )
                self.receive(request)
        finally:
            self._consumer.wake.set()

    def receive(self, request: Proto) -> None:
        """Acknowledge and change deadlines as the client asks."""
        if len(request.modify_deadline_ack_ids) != len(request.modify_deadline_seconds):
            raise InvalidArgumentError(
                "Invalid modify_deadline_ack_ids: every one needs its modify_deadline_seconds"
            )
        if request.stream_ack_deadline_seconds:
            check_ack_deadline(request.stream_ack_deadline_seconds)
            self._deadline_seconds = request.stream_ack_deadline_seconds
        if request.ack_ids:
            _check_ack_ids(request.ack_ids)
            invalid = self._subscription.acknowledge(request.ack_ids)
            confirmation = self._confirmations.acknowledge_confirmation
            confirmation.ack_ids.extend(i for i in request.ack_ids if i not in invalid)
            confirmation.invalid_ack_ids.extend(invalid)
        if request.modify_deadline_ack_ids:
            _check_ack_ids(request.modify_deadline_ack_ids)
        for ack_id, seconds in zip(
            request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True
        ):
            check_ack_deadline(seconds, least=0)
            valid = self._subscription.modify_deadline(ack_id, seconds)
            confirmation = self._confirmations.modify_ack_deadline_confirmation
            (confirmation.ack_ids if valid else confirmation.invalid_ack_ids).append(ack_id)
        self._consumer.wake.set()

    def response(self) -> Proto | None:
        """New messages and, for exactly-once delivery, confirmations; None if there are neither."""
        config = self._subscription.config
        response = messages.StreamingPullResponse()
        if config.enable_exactly_once_delivery:
            response, self._confirmations = self._confirmations, response
        else:
            self._confirmations.Clear()
        leases = self._subscription.take(self._consumer, self._deadline_seconds)
        response.received_messages.extend(_received(self._subscription, leases))
        if not response.ByteSize():
            return None
        response.subscription_properties.exactly_once_delivery_enabled = config.enable_exactly_once_delivery
        response.subscription_properties.message_ordering_enabled = config.enable_message_ordering
        return response


class SchemaService:
    """google.pubsub.v1.SchemaService."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._schemas = broker.schemas

    def create_schema(self, request: Proto) -> Proto:
        name = f"{request.parent}/schemas/{request.schema_id}"
        check_name(name, "schemas")
        return self._schemas.create(name, request.schema)

    def get_schema(self, request: Proto) -> Proto:
        return _viewed(self._schemas.get(request.name), request.view or SchemaView.FULL)

    def list_schemas(self, request: Proto) -> Proto:
        schemas = [
            _viewed(schema, request.view) for schema in _of_project(self._schemas.latest(), request.parent)
        ]
        page, token = _page(schemas, request, _name)
        return raw("ListSchemasResponse")(schemas=page, next_page_token=token)

    def list_schema_revisions(self, request: Proto) -> Proto:
        revisions = [_viewed(schema, request.view) for schema in self._schemas.revisions(request.name)]
        order = {schema.revision_id: f"{index:03}" for index, schema in enumerate(revisions)}
        page, token = _page(revisions, request, lambda schema: order[schema.revision_id])
        return raw("ListSchemaRevisionsResponse")(schemas=page, next_page_token=token)

    def commit_schema(self, request: Proto) -> Proto:
        return self._schemas.commit(request.name, request.schema)

    def rollback_schema(self, request: Proto) -> Proto:
        return self._schemas.rollback(request.name, request.revision_id)

    def delete_schema_revision(self, request: Proto) -> Proto:
        name, _, revision_id = request.name.partition("@")
        return self._schemas.delete_revision(name, revision_id or request.revision_id)

    def delete_schema(self, request: Proto) -> Empty:
        self._broker.delete_schema(request.name)
        return Empty()

    def validate_schema(self, request: Proto) -> Proto:
        compile_schema(request.schema)
        return raw("ValidateSchemaResponse")()

    def validate_message(self, request: Proto) -> Proto:
        schema = self._schemas.get(request.name) if request.name else request.schema
        compile_schema(schema).check(request.message, request.encoding)
        return raw("ValidateMessageResponse")()


def _viewed(schema: Proto, view: int) -> Proto:
    if view == SchemaView.FULL:
        return schema
    return messages.Schema(
        name=schema.name,
        type_=schema.type_,
        revision_id=schema.revision_id,
        revision_create_time=schema.revision_create_time,
    )


def _received(subscription: Subscription, leases: Iterable[Lease]) -> list[Proto]:
    return [
        messages.ReceivedMessage(
            ack_id=lease.ack_id,
            message=lease.entry.message.proto,
            delivery_attempt=lease.attempt if subscription.dead_letters else 0,
        )
        for lease in leases
    ]


class _InvalidAckIdsError(InvalidArgumentError):
    """Tells clients of exactly-once delivery which ack ids had no effect, in the form that they read."""

    def __init__(self, ack_ids: Sequence[str]) -> None:
        super().__init__("Some ack ids in the request were invalid, or their deadline has passed")
        self.ack_ids = ack_ids

    @property
    def details(self) -> Status:
        info = ErrorInfo(reason="EXACTLY_ONCE_ACKID_FAILURE", domain="pubsub.googleapis.com")
        for ack_id in self.ack_ids:
            info.metadata[ack_id] = "PERMANENT_FAILURE_INVALID_ACK_ID"
        packed = AnyProto()
        packed.Pack(info)
        return Status(code=Code.INVALID_ARGUMENT, message=str(self), details=[packed])


def _check_pullable(subscription: Subscription) -> None:
    if subscription.closed:
        raise NotFoundError(f"Subscription does not exist (resource={subscription.name})")
    if subscription.config.detached:
        raise FailedPreconditionError(f"Subscription is detached (resource={subscription.name})")


def _check_ack_ids(ack_ids: Sequence[str]) -> None:
    if not ack_ids:
        raise InvalidArgumentError("No ack ids specified")
    for ack_id in ack_ids:
        if not ACK_ID.fullmatch(ack_id):
            raise InvalidArgumentError(f"Invalid ack id (ack_id={ack_id})")


def _check_exactly_once(subscription: Subscription, invalid: Sequence[str]) -> None:
    if invalid and subscription.config.enable_exactly_once_delivery:
        raise _InvalidAckIdsError(invalid)


def _merged(current: Proto, changes: Proto, mask: FieldMask) -> Proto:
    """A copy of `current` with the fields of the mask taken from `changes`."""
    if not mask.paths:
        raise InvalidArgumentError("Invalid update_mask: it is empty")
    if not mask.IsValidForDescriptor(current.DESCRIPTOR):
        raise InvalidArgumentError(f"Invalid update_mask: {','.join(mask.paths)}")
    if "name" in mask.paths:
        raise InvalidArgumentError("Invalid update_mask: name cannot be changed")
    merged = type(current)()
    merged.CopyFrom(current)
    mask.MergeMessage(changes, merged, replace_message_field=True, replace_repeated_field=True)
    return merged


def _name(resource: Proto) -> str:
    return str(resource.name)


def _of_project(resources: Iterable[Proto], project: str) -> list[Proto]:
    return [resource for resource in resources if resource.name.startswith(f"{project}/")]


def _page[T](items: Iterable[T], request: Proto, key: Callable[[T], str] = str) -> tuple[list[T], str]:
    """The page a list request asks for and the token of the next one: the key of the last item."""
    if request.page_size < 0:
        raise InvalidArgumentError("Invalid page_size: it must not be negative")
    ordered = sorted(items, key=key)
    start = bisect.bisect_right(ordered, request.page_token, key=key) if request.page_token else 0
    size = min(request.page_size or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)
    page = ordered[start : start + size]
    return page, key(page[-1]) if start + size < len(ordered) else ""


def create_server(broker: Broker) -> grpc.aio.Server:
    """A server of the three services, without a port yet."""
    # Without so_reuseport a taken port is an error instead of being shared.
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", _MAX_REQUEST_BYTES), ("grpc.so_reuseport", 0)]
    )
    servicers = (Publisher(broker), Subscriber(broker), SchemaService(broker))
    server.add_generic_rpc_handlers([_handlers(servicer) for servicer in servicers])
    return server


def _handlers(servicer: object) -> grpc.GenericRpcHandler:
    """Every public method serves the RPC of its name: `create_topic` serves CreateTopic."""
    handlers = {}
    for name, method in inspect.getmembers(servicer, inspect.isroutine):
        if name.startswith("_"):
            continue
        rpc = name.title().replace("_", "")
        request_type = raw(_RESOURCE_REQUESTS.get(rpc, f"{rpc}Request"))
        codec = (request_type.FromString, lambda response: response.SerializeToString())
        handlers[rpc] = (
            grpc.stream_stream_rpc_method_handler(_streaming(method), *codec)
            if inspect.isasyncgenfunction(method)
            else grpc.unary_unary_rpc_method_handler(_unary(method), *codec)
        )
    return grpc.method_handlers_generic_handler(f"google.pubsub.v1.{type(servicer).__name__}", handlers)


def _unary(method: Callable[..., Proto]) -> Callable[[Proto, grpc.aio.ServicerContext], Awaitable[Proto]]:
    async def handle(request: Proto, context: grpc.aio.ServicerContext) -> Proto:
        try:
            if inspect.iscoroutinefunction(method):
                return await method(request, context)
            return method(request)
        except PubsubError as error:
            await _abort(context, error)

    return handle


def _streaming(method: Callable[..., AsyncIterator[Proto]]) -> Callable[..., AsyncIterator[Proto]]:
    async def handle(
        requests: AsyncIterator[Proto], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Proto]:
        try:
            async for response in method(requests):
                yield response
        except PubsubError as error:
            await _abort(context, error)

    return handle


async def _abort(context: grpc.aio.ServicerContext, error: PubsubError) -> None:
    if isinstance(error, _InvalidAckIdsError):
        context.set_trailing_metadata(rpc_status.to_status(error.details).trailing_metadata)
    await context.abort(error.status, str(error))
