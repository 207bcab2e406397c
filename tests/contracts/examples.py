"""The golden payloads of schemas/examples/<event>/.

good-*.json is a message's body. bad-*.json is an object: the body is its `message`, `reason` is a part of
what the rejection says, and `broker`, where the topic has a schema, says what the broker does with it:
`refuses` what its proto does not describe, or `takes` it, because a proto knows types but no ranges.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.shared import events
from services.shared.events import Event, Message
from services.shared.wiring import SCHEMAS, load_wiring

FOLDER = SCHEMAS / "examples"

EVENTS: dict[str, type[Event]] = {
    topic.event: getattr(events, topic.event) for topic in load_wiring().topics.values()
}


@dataclass(frozen=True)
class Good:
    """A body that its event is made of."""

    event: type[Event]
    path: Path

    @property
    def message(self) -> Message:
        """The example as it is pushed."""
        return message_of(self.path.read_bytes())


@dataclass(frozen=True)
class Bad:
    """A body that is refused."""

    event: type[Event]
    path: Path
    expected: dict[str, Any]

    @property
    def body(self) -> bytes:
        """The body alone."""
        return json.dumps(self.expected["message"]).encode()


def kebab(event: str) -> str:
    """BatchStaged is batch-staged."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", event).lower()


def good_examples() -> list[Good]:
    """Every good-*.json of every event."""
    return [
        Good(event, path)
        for name, event in EVENTS.items()
        for path in sorted((FOLDER / kebab(name)).glob("good-*.json"))
    ]


def bad_examples() -> list[Bad]:
    """Every bad-*.json of every event."""
    return [
        Bad(event, path, json.loads(path.read_text()))
        for name, event in EVENTS.items()
        for path in sorted((FOLDER / kebab(name)).glob("bad-*.json"))
    ]


def message_of(body: bytes) -> Message:
    """A message with this body."""
    return Message(
        data=body,
        attributes={},
        message_id="1",
        publish_time="2026-11-22T09:00:00Z",
        subscription="",
    )


def example_id(example: Good | Bad) -> str:
    """Names the example in a test's id."""
    return f"{example.path.parent.name}/{example.path.stem}"
