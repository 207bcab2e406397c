import asyncio
import base64
import json
import logging
import re
from typing import Any

import aiohttp
from aiohttp.connector import Connection

from services.local.pubsub.messages import Proto
from services.local.pubsub.storage import Message
from services.local.pubsub.subscription import Consumer, Lease, Subscription

# https://cloud.google.com/pubsub/docs/push: every other answer, or none in time, is a nack.
ACK_CODES = frozenset({102, 200, 201, 202, 204})
# Enough to keep a concurrent service busy; more would only wait inside it, with the ack deadline running.
MAX_IN_FLIGHT = 64

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LOG = logging.getLogger(__name__)


class _FinalProcessing(aiohttp.ClientResponse):
    """Takes 102 for the answer that it is to Pub/Sub; aiohttp itself would wait for another one."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        assert protocol is not None
        message, payload = await protocol.read()
        if message.code == 102:
            raise aiohttp.ClientResponseError(self.request_info, self.history, status=message.code)
        protocol.feed_data((message, payload))
        return await super().start(connection)


def open_session() -> aiohttp.ClientSession:
    """The HTTP client for all pushes."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        response_class=_FinalProcessing,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class Push:
    """Delivers a push subscription's messages to its endpoint, until stopped."""

    def __init__(self, subscription: Subscription, session: aiohttp.ClientSession) -> None:
        self._subscription = subscription
        self._session = session
        self._in_flight: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Send nothing more. Requests on their way still count."""
        self._task.cancel()

    def abort(self) -> None:
        """Give up the requests on their way as well: their messages stay unacknowledged."""
        self.stop()
        for task in self._in_flight:
            task.cancel()

    async def _run(self) -> None:
        subscription = self._subscription
        with subscription.consumer(Consumer(MAX_IN_FLIGHT, one_per_key=True)) as consumer:
            while await consumer.wake.wait():
                consumer.wake.clear()
                for lease in subscription.take(consumer):
                    task = asyncio.create_task(self._deliver(lease))
                    self._in_flight.add(task)
                    task.add_done_callback(self._in_flight.discard)

    async def _deliver(self, lease: Lease) -> None:
        config = self._subscription.config
        body, headers = render(self._subscription, lease)
        problem = ""
        try:
            status = await self._post(
                config.push_config.push_endpoint, body, headers, timeout=config.ack_deadline_seconds
            )
            if status not in ACK_CODES:
                problem = f"status {status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            problem = str(error) or type(error).__name__
        if problem:
            _LOG.warning(
                "%s: message %s refused, attempt %d: %s",
                config.name,
                lease.entry.message.id,
                lease.attempt,
                problem,
            )
            self._subscription.modify_deadline(lease.ack_id, 0)
        else:
            self._subscription.acknowledge([lease.ack_id])

    async def _post(self, url: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            async with self._session.post(
                url, data=body, headers=headers, timeout=limit, allow_redirects=False
            ) as response:
                return response.status
        except aiohttp.ClientResponseError as error:
            if error.status in ACK_CODES:
                return error.status
            raise


def render(subscription: Subscription, lease: Lease) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a push request."""
    config, message = subscription.config, lease.entry.message
    if config.push_config.WhichOneof("wrapper") == "no_wrapper":
        headers = _metadata(config, message) if config.push_config.no_wrapper.write_metadata else {}
        return message.proto.data, {"Content-Type": "application/octet-stream"} | headers
    attempt = f',"deliveryAttempt":{lease.attempt}' if subscription.dead_letters else ""
    message.wrapped = message.wrapped or json.dumps(_wrapped(message.proto))
    body = f'{{"message":{message.wrapped},"subscription":{json.dumps(config.name)}{attempt}}}'
    return body.encode(), {"Content-Type": "application/json"}


def _wrapped(message: Proto) -> dict[str, Any]:
    publish_time = message.publish_time.ToJsonString()
    wrapped: dict[str, Any] = {
        "data": base64.b64encode(message.data).decode(),
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": publish_time,
        "publish_time": publish_time,
    }
    if message.attributes:
        wrapped["attributes"] = dict(message.attributes)
    if message.ordering_key:
        wrapped["orderingKey"] = message.ordering_key
    return wrapped


def _metadata(config: Proto, message: Message) -> dict[str, str]:
    proto = message.proto
    headers = {
        "x-goog-pubsub-subscription-name": config.name,
        "x-goog-pubsub-message-id": proto.message_id,
        "x-goog-pubsub-publish-time": proto.publish_time.ToJsonString(),
    }
    if proto.ordering_key:
        headers["x-goog-pubsub-ordering-key"] = proto.ordering_key
    # Attributes that HTTP cannot carry as headers are left out.
    return headers | {
        key: value
        for key, value in proto.attributes.items()
        if _HEADER_NAME.fullmatch(key) and not re.search(r"[\r\n\0]", value)
    }
