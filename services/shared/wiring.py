"""Reads schemas/topics.yaml, the only place where topics and subscriptions are named."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

SCHEMAS = Path(__file__).parents[2] / "schemas"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Subscription(_Strict):
    """How one service is pushed one topic."""

    filter: str = ""
    ack_deadline: Annotated[int, Field(ge=10, le=600)]
    attempts: Annotated[int, Field(ge=5, le=100)]
    backoff: tuple[int, int]
    dead_letter: str
    pull: bool = False


class Topic(_Strict):
    """A topic, the event it carries, who publishes it and who is subscribed."""

    event: str
    # Not named `schema`: pydantic's BaseModel already has a method of that name.
    schema_kind: Annotated[Literal["proto", "none"], Field(alias="schema")]
    producers: tuple[str, ...]
    subscriptions: dict[str, Subscription]
    because: str = ""


@dataclass(frozen=True)
class Wiring:
    """All topics by name, in the order of the flow."""

    topics: dict[str, Topic]

    def topic_of(self, event: str) -> str:
        """The topic to which an event of this name is published."""
        return next(name for name, topic in self.topics.items() if topic.event == event)

    def subscriptions(self) -> dict[str, tuple[str, str, Subscription]]:
        """Subscription name -> (topic, service, subscription)."""
        return {
            subscription_name(topic_name, service): (topic_name, service, subscription)
            for topic_name, topic in self.topics.items()
            for service, subscription in topic.subscriptions.items()
        }

    def services(self) -> list[str]:
        """The services that are pushed something, in the order of the flow."""
        pushed = [
            service for _, service, subscription in self.subscriptions().values() if not subscription.pull
        ]
        return list(dict.fromkeys(pushed))


def subscription_name(topic: str, service: str) -> str:
    """The name of the subscription by which `service` is pushed `topic`."""
    return f"{topic}-to-{service}"


@cache
def load_wiring(path: Path = SCHEMAS / "topics.yaml") -> Wiring:
    """Reads and checks the wiring.

    Raises:
        pydantic.ValidationError: a key that does not belong there, or a figure outside Pub/Sub's limits.

    """
    document = yaml.safe_load(path.read_text())
    defaults = document["defaults"]
    for topic in document["topics"].values():
        topic["subscriptions"] = {
            service: defaults | options for service, options in topic["subscriptions"].items()
        }
    return Wiring({name: Topic.model_validate(topic) for name, topic in document["topics"].items()})
