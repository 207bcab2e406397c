"""What a push is: decoded, handled, its events published, and only then acknowledged by returning.

A push that comes again after its work was done is acknowledged at once: a marker in Cloud Storage says so.
Two at the same moment may both do the work, which is why each write of a stage is safe to repeat.

A stage knows nothing of this. `raise Reject(reason)` inside it keeps the message, with the reason, on the
topic `message-rejected`; any other exception makes the push fail, so that the broker delivers it again with
back-off, and to `message-rejected` too after the attempts that schemas/topics.yaml allows.
"""

import base64
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import flask
import functions_framework
from cloudevents.http import CloudEvent

from services.shared import telemetry
from services.shared.errors import Reject
from services.shared.events import (
    ATTEMPT,
    EVENT_ID,
    MESSAGE_ID,
    REASON,
    SUBSCRIPTION,
    TOPIC,
    Event,
    Handlers,
    Message,
)
from services.shared.layout import digest, handled_uri
from services.shared.ports import Objects, Publisher
from services.shared.settings import Settings
from services.shared.wiring import load_wiring

PUBSUB_PUSH = "google.cloud.pubsub.topic.v1.messagePublished"
STORAGE_FINALIZED = "google.cloud.storage.object.v1.finalized"
MAX_REASON_BYTES = 1024  # Pub/Sub's limit for an attribute's value


_logger = logging.getLogger("vitrine.endpoint")


class Ports(Protocol):
    """What every stage's ports have."""

    @property
    def objects(self) -> Objects: ...  # noqa: D102
    @property
    def bucket(self) -> str: ...  # noqa: D102


def function[P: Ports](
    settings: Settings,
    handlers: Handlers,
    ports: Callable[[], P],
    publisher: Callable[[], Publisher],
) -> Callable[[CloudEvent], None]:
    """The deployed function of a service.

    Args:
        settings: read at boot.
        handlers: for each event the service is pushed, what it does: `(event, ports) -> events`.
        ports: makes the ports, on the first push (after gunicorn has forked) and then keeps them.
        publisher: likewise.

    """
    telemetry.configure(settings.service, settings.project)

    # For the start-up probe, which waits until the model is loaded; a GET / would answer 405.
    @flask.current_app.get("/health")
    def health() -> str:
        ports()
        return "ok"

    @functions_framework.cloud_event
    def main(cloud_event: CloudEvent) -> None:
        message = _message(cloud_event)
        with telemetry.handling(message.subscription, message.attributes):
            handle(message, handlers, ports, publisher)

    return main


def handle[P: Ports](
    message: Message, handlers: Handlers, ports: Callable[[], P], publisher: Callable[[], Publisher]
) -> None:
    """Handles one message: everything between a push and its acknowledgement.

    Raises:
        Exception: whatever the stage raised but Reject; the message is to be delivered again.

    """
    started = time.monotonic()
    subscription = message.subscription
    try:
        event_class = _event_class(message, handlers)
        event_id = event_class.id_of(message)
        done = handled_uri(ports().bucket, subscription, event_id)
        if ports().objects.exists(done):
            _logger.info("handled before")
            return
        event = event_class.from_message(message)
        publish(handlers[event_class](event, ports()), publisher(), digest(subscription, event_id))
        ports().objects.create(done, b"", "text/plain")
    except Reject as rejection:
        _logger.warning("rejected: %s", rejection, extra={"fields": {"message_id": message.message_id}})
        publisher().publish("message-rejected", [rejected(message, str(rejection))])
        telemetry.count("messages_rejected", 1, subscription=subscription)
    except Exception:
        _logger.exception("failed, delivery %s of message %s", message.delivery_attempt, message.message_id)
        telemetry.count("messages_failed", 1, subscription=subscription)
        raise
    else:
        telemetry.count("messages_handled", 1, subscription=subscription)
    telemetry.count("handle_ms", round(1000 * (time.monotonic() - started)), subscription=subscription)


def publish(events: Sequence[Event], publisher: Publisher, origin: str) -> None:
    """Publishes each event to its topic, as JSON, with the trace it belongs to.

    Args:
        events: in this order; those of one topic are with the broker before the next topic's go out.
        publisher: where to.
        origin: names the delivery's event and the stage, so that a repeat gives each event the same id.
    """
    wiring = load_wiring()
    trace = telemetry.trace_attributes()
    topics: dict[str, list[tuple[bytes, Mapping[str, str]]]] = {}
    for number, event in enumerate(events):
        attributes = event.attributes() | trace | {EVENT_ID: digest(origin, number)}
        message = (event.model_dump_json(exclude_none=True).encode(), attributes)
        topics.setdefault(wiring.topic_of(type(event).__name__), []).append(message)
    for topic, messages in topics.items():
        publisher.publish(topic, messages)


def rejected(message: Message, reason: str) -> tuple[bytes, dict[str, str]]:
    """The message as it goes to `message-rejected`: its own bytes, with the reason beside its attributes."""
    wired = load_wiring().subscriptions().get(message.subscription)
    return message.data, dict(message.attributes) | {
        REASON: reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"),
        TOPIC: wired[0] if wired else "",
        SUBSCRIPTION: message.subscription,
        MESSAGE_ID: message.message_id,
        ATTEMPT: str(message.delivery_attempt),
    }


def _message(cloud_event: CloudEvent) -> Message:
    if cloud_event["type"] == STORAGE_FINALIZED:
        # Eventarc delivers uploads without Pub/Sub's envelope; its event id does for the message's.
        return Message(
            data=flask.request.get_data(),
            attributes={},
            message_id=cloud_event["id"],
            publish_time=cloud_event["time"],
            subscription="image-uploaded-to-inference",
        )
    if cloud_event["type"] != PUBSUB_PUSH:
        flask.abort(415, f"neither {PUBSUB_PUSH} nor {STORAGE_FINALIZED}: {cloud_event['type']}")
    # functions-framework drops the subscription and the attempt from the CloudEvent: read the push itself.
    push = flask.request.get_json()
    message = push["message"]
    return Message(
        data=base64.b64decode(message["data"]),
        attributes=message.get("attributes", {}),
        message_id=message["messageId"],
        publish_time=message["publishTime"],
        subscription=push["subscription"].rpartition("/")[2],
        delivery_attempt=push.get("deliveryAttempt", 1),
    )


def _event_class[P: Ports](message: Message, handlers: Handlers) -> type[Event]:
    wired = load_wiring().subscriptions().get(message.subscription)
    names = {event.__name__: event for event in handlers}
    if wired is None or wired[2].pull or load_wiring().topics[wired[0]].event not in names:
        raise Reject(f"subscription: this service is not pushed {message.subscription!r}")
    return names[load_wiring().topics[wired[0]].event]
