"""The topics as AsyncAPI 3.0, of schemas/ and the events; `python -m services.gateway.asyncapi` writes it.

What is served is the written file: the examples it is made of are in no container.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from pydantic.json_schema import models_json_schema

from services.gateway.rendering import environment
from services.shared import events
from services.shared.events import Event, MessageRejected
from services.shared.wiring import SCHEMAS, Subscription, Topic, load_wiring

FILE = SCHEMAS / "asyncapi.json"
EXAMPLES = SCHEMAS / "examples"
BINDING = "0.2.0"  # of googlepubsub, the version that AsyncAPI has
REFERENCE = "#/components/schemas/{model}"

DESCRIPTION = """\
Every service of the pipeline is pushed the topics that it is subscribed to, and publishes to the next.
Messages are JSON, delivered at least once, in any order. What a service refuses goes to `message-rejected`
with its reason, and so does what it could not handle in so many attempts.
"""

router = APIRouter(include_in_schema=False)


@router.get("/asyncapi.json")
async def asyncapi_json() -> Response:
    """The document."""
    return Response(_served(), media_type="application/json")


@router.get("/events")
async def events_page() -> HTMLResponse:
    """The document for people."""
    return HTMLResponse(page(json.loads(_served())))


@cache
def _served() -> str:
    return FILE.read_text(encoding="utf-8")


def document() -> dict[str, Any]:
    """The topics, who publishes and who is pushed them, and what their messages are."""
    topics = load_wiring().topics
    kinds: dict[str, type[Event]] = {topic.event: getattr(events, topic.event) for topic in topics.values()}
    _, definitions = models_json_schema(
        [(kind, "validation") for kind in kinds.values() if kind is not MessageRejected],
        ref_template=REFERENCE,
    )
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Vitrine's topics", "version": "1", "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"pubsub": {"host": "pubsub.googleapis.com", "protocol": "googlepubsub"}},
        "channels": {name: _channel(name, topic) for name, topic in topics.items()},
        "operations": dict(_operations(topics)),
        "components": {
            "messages": {name: _message(name, kind) for name, kind in kinds.items()},
            "schemas": definitions["$defs"],
        },
    }


def rendered() -> str:
    """The document as it is written."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _channel(name: str, topic: Topic) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": name,
        "messages": {topic.event: {"$ref": f"#/components/messages/{topic.event}"}},
    }
    if topic.because:
        channel["description"] = topic.because
    if topic.schema_kind == "proto":
        settings = {"encoding": "json", "name": f"projects/{{project}}/schemas/{name}"}
        channel["bindings"] = {"googlepubsub": {"schemaSettings": settings, "bindingVersion": BINDING}}
    return channel


def _operations(topics: Mapping[str, Topic]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, topic in topics.items():
        channel = {"$ref": f"#/channels/{name}"}
        for producer in topic.producers:
            yield (
                f"{producer}-publishes-{name}",
                {"action": "send", "channel": channel, "x-service": producer},
            )
        for service, subscription in topic.subscriptions.items():
            yield (
                f"{name}-to-{service}",
                {
                    "action": "receive",
                    "channel": channel,
                    "x-service": service,
                    "x-subscription": _subscription(subscription),
                },
            )


def _subscription(subscription: Subscription) -> dict[str, Any]:
    return {
        "filter": subscription.filter,
        "delivery": "pull" if subscription.pull else "push",
        "ack_deadline_seconds": subscription.ack_deadline,
        "attempts": subscription.attempts,
        "backoff_seconds": list(subscription.backoff),
        "dead_letter": subscription.dead_letter,
    }


def _message(name: str, kind: type[Event]) -> dict[str, Any]:
    files = sorted((EXAMPLES / _kebab(name)).glob("good-*.json"))
    payloads = {file.stem.removeprefix("good-"): json.loads(file.read_bytes()) for file in files}
    lines = (kind.__doc__ or "").strip().splitlines()
    message: dict[str, Any] = {
        "name": name,
        "summary": lines[0],
        "payload": {"$ref": REFERENCE.format(model=name)},
    }
    if description := "\n".join(line.strip() for line in lines[1:]).strip():
        message["description"] = description
    if kind is MessageRejected:
        # Its body is whatever was rejected; what the event says besides are attributes.
        message["payload"] = {"description": "The bytes of the rejected message, as they were."}
        attributes = {events.REASON, events.TOPIC, events.SUBSCRIPTION, events.MESSAGE_ID, events.ATTEMPT}
    else:
        made = [kind.model_validate_json(file.read_bytes()) for file in files]
        attributes = {attribute for event in made for attribute in event.attributes()}
    if attributes:
        properties = {attribute: {"type": "string"} for attribute in sorted(attributes)}
        message["headers"] = {"type": "object", "properties": properties}
    message["examples"] = [{"name": title, "payload": payload} for title, payload in payloads.items()]
    return message


def _kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


# ------------------------------------------------------------------------------------- for people


def page(asyncapi: Mapping[str, Any]) -> str:
    """The document as HTML, without scripts."""
    template = environment().get_template("events.html.j2")
    return template.render(info=asyncapi["info"], topics=list(_topics(asyncapi)))


def _topics(asyncapi: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    schemas, operations = asyncapi["components"]["schemas"], asyncapi["operations"].values()
    for name, channel in asyncapi["channels"].items():
        ((event, _),) = channel["messages"].items()
        message = asyncapi["components"]["messages"][event]
        of_topic = [each for each in operations if each["channel"]["$ref"] == f"#/channels/{name}"]
        yield {
            "name": name,
            "because": channel.get("description", ""),
            "message": message,
            "producers": [each["x-service"] for each in of_topic if each["action"] == "send"],
            "subscriptions": [each for each in of_topic if each["action"] == "receive"],
            "attributes": list(message.get("headers", {}).get("properties", ())),
            "fields": list(_fields(schemas.get(event, {}), schemas)),
        }


def _fields(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], prefix: str = ""
) -> Iterator[dict[str, Any]]:
    """The fields of an object, those of nested ones behind a dot."""
    for name, of in schema.get("properties", {}).items():
        described = _described(of, schemas)
        yield {
            "name": prefix + name,
            "type": described["type"],
            "required": name in schema.get("required", ()),
            "limits": described["limits"],
        }
        if described["nested"]:
            yield from _fields(schemas[described["nested"]], schemas, f"{prefix}{name}.")


_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} of them",
    "pattern": "matches {}",
    "format": "{}",
}


def _described(of: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in of:
        target = of["$ref"].rpartition("/")[2]
        if "properties" in schemas[target]:
            return {"type": "object", "limits": "", "nested": target}
        return _described(schemas[target], schemas)
    if "anyOf" in of:
        parts = [_described(each, schemas) for each in of["anyOf"] if each != {"type": "null"}]
        return {
            "type": " or ".join(dict.fromkeys(part["type"] for part in parts)),
            "limits": ", ".join(dict.fromkeys(part["limits"] for part in parts if part["limits"])),
            "nested": next((part["nested"] for part in parts if part["nested"]), None),
        }
    limits = [text.format(of[limit]) for limit, text in _LIMITS.items() if limit in of]
    values = of.get("enum", [of["const"]] if "const" in of else [])
    limits += [f"one of {', '.join(values)}"] if values else []
    if of.get("type") == "array":
        items = _described(of.get("items", {}), schemas)
        limits += [items["limits"]] if items["limits"] else []
        return {"type": f"list of {items['type']}", "limits": ", ".join(limits), "nested": items["nested"]}
    return {"type": of.get("type", "any"), "limits": ", ".join(limits), "nested": None}


if __name__ == "__main__":
    FILE.write_text(rendered(), encoding="utf-8")
