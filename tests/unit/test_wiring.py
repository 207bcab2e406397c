"""topics.yaml is read with its defaults, and refused where it is not what Pub/Sub takes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from services.shared.wiring import Subscription, load_wiring, subscription_name

DEFAULTS: dict[str, Any] = {
    "ack_deadline": 600,
    "attempts": 12,
    "backoff": [1, 600],
    "dead_letter": "message-rejected",
}


def topic(**options: Any) -> dict[str, Any]:
    return {"event": "Happened", "schema": "proto", "producers": ["you"], "subscriptions": {}} | options


def document(folder: Path, topics: dict[str, Any], **defaults: Any) -> Path:
    path = folder / "topics.yaml"
    path.write_text(yaml.safe_dump({"defaults": DEFAULTS | defaults, "topics": topics}))
    return path


def test_a_subscription_has_the_defaults_unless_it_says_otherwise(tmp_path: Path) -> None:
    subscriptions = {"first": {}, "second": {"attempts": 5, "filter": 'attributes.a = "b"'}}
    wiring = load_wiring(document(tmp_path, {"happened": topic(subscriptions=subscriptions)}))
    expected = Subscription(**DEFAULTS)
    assert wiring.subscriptions() == {
        "happened-to-first": ("happened", "first", expected),
        "happened-to-second": (
            "happened",
            "second",
            expected.model_copy(update={"attempts": 5, "filter": 'attributes.a = "b"'}),
        ),
    }


def test_services_come_in_the_order_of_the_flow_without_who_pulls(tmp_path: Path) -> None:
    topics = {
        "one": topic(subscriptions={"b": {}}),
        "two": topic(subscriptions={"a": {}, "b": {}}),
        "three": topic(subscriptions={"keep": {"pull": True}}),
    }
    assert load_wiring(document(tmp_path, topics)).services() == ["b", "a"]


def test_an_event_goes_to_the_first_topic_that_carries_it(tmp_path: Path) -> None:
    wiring = load_wiring(document(tmp_path, {"other": topic(event="Other"), "one": topic(), "two": topic()}))
    assert wiring.topic_of("Happened") == "one"


def test_a_subscription_is_named_for_its_topic_and_service() -> None:
    assert subscription_name("batch-staged", "inference") == "batch-staged-to-inference"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"schema": "avro"}, "schema"),
        ({"event": None}, "event"),
        ({"subscriptions": {"a": {"attempts": 4}}}, "attempts"),
        ({"subscriptions": {"a": {"attempts": 101}}}, "attempts"),
        ({"subscriptions": {"a": {"ack_deadline": 9}}}, "ack_deadline"),
        ({"subscriptions": {"a": {"ack_deadline": 601}}}, "ack_deadline"),
        ({"subscriptions": {"a": {"backoff": [1]}}}, "backoff"),
        ({"subscriptions": {"a": {"retries": 3}}}, "retries"),
    ],
)
def test_what_pubsub_would_not_take_is_refused_with_its_name(
    tmp_path: Path, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError, match=field):
        load_wiring(document(tmp_path, {"happened": topic(**options)}))
