"""A push, through functions-framework's own application: acknowledged, rejected, or to come again."""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask.testing
import functions_framework
import pytest

from services.shared.errors import Reject
from services.shared.events import EVENT_ID, Message, MessageRejected
from tests.unit.test_telemetry import LABELS, TRACE_ID, TRACED, Log, captured_log

# A service as a container starts it, with its ports in memory.
SOURCE = """
from dataclasses import dataclass, field

from services.shared import endpoint, settings
from services.shared.events import BatchClassified, BatchStaged, ImageUploaded, MessageRejected
from services.shared.memory import MemoryObjects, MemoryPublisher


class Settings(settings.Settings):
    service = "inference"


class Publisher(MemoryPublisher):
    away = False
    silent = False

    def publish(self, topic, messages):
        if self.away:
            raise ConnectionError("the broker is away")
        super().publish(topic, messages)
        if self.silent:
            raise TimeoutError("the broker has the messages, but does not say so")


@dataclass(frozen=True)
class Ports:
    objects: MemoryObjects
    bucket: str
    handled: list = field(default_factory=list)
    problem: dict = field(default_factory=dict)


def classify(event, ports):
    ports.handled.append(event)
    if "raise" in ports.problem:
        raise ports.problem["raise"]
    return [BatchClassified(job_id=event.job_id, batch=event.batch + more) for more in (0, 1)]


def note(event, ports):
    ports.handled.append(event)
    return []


made = []
PORTS = Ports(MemoryObjects(), "bucket")
PUBLISHER = Publisher()


def ports():
    made.append(PORTS)
    return PORTS


handlers = {BatchStaged: classify, ImageUploaded: note, MessageRejected: note}
main = endpoint.function(settings.read(Settings), handlers, ports, lambda: PUBLISHER)
"""

STAGED = {"job_id": "job", "batch": 7, "images": [], "augment": False, "classify": True}
STORAGE_EVENT = {
    "ce-id": "1234567890",
    "ce-source": "//storage.googleapis.com/projects/_/buckets/uploads",
    "ce-specversion": "1.0",
    "ce-subject": "objects/new/1.jpg",
    "ce-time": "2026-11-22T09:00:00.123Z",
    "ce-type": "google.cloud.storage.object.v1.finalized",
    "content-type": "application/json",
}


class Service:
    """The running service, and what its stage and its broker saw."""

    def __init__(self, client: flask.testing.FlaskClient, module: Any, log: Log) -> None:
        self.client = client
        self.module = module
        self.log = log

    @property
    def handled(self) -> list[Any]:
        events: list[Any] = self.module.PORTS.handled
        return events

    @property
    def published(self) -> list[tuple[str, bytes, dict[str, str]]]:
        messages: list[tuple[str, bytes, dict[str, str]]] = self.module.PUBLISHER.published
        return messages

    def fail_with(self, problem: Exception | None) -> None:
        """What the stage does from now on."""
        self.module.PORTS.problem.clear()
        if problem is not None:
            self.module.PORTS.problem["raise"] = problem

    def push(
        self,
        body: object = STAGED,
        *,
        data: bytes | None = None,
        message_id: str = "4711",
        subscription: str = "batch-staged-to-inference",
        attempt: int | None = 1,
        attributes: dict[str, str] | None = None,
    ) -> int:
        """Pushes a message as Pub/Sub does, wrapped; the status of the answer."""
        envelope: dict[str, Any] = {
            "message": {
                "data": base64.b64encode(json.dumps(body).encode() if data is None else data).decode(),
                "messageId": message_id,
                "message_id": message_id,
                "publishTime": "2026-11-22T09:00:00.123Z",
                "publish_time": "2026-11-22T09:00:00.123Z",
            },
            "subscription": f"projects/a-project/subscriptions/{subscription}",
        }
        if attributes is not None:
            envelope["message"]["attributes"] = attributes
        if attempt is not None:
            envelope["deliveryAttempt"] = attempt
        return self.client.post("/", json=envelope).status_code

    def rejection(self) -> MessageRejected:
        """The only message that was published, which is a rejection."""
        ((topic, data, attributes),) = self.published
        assert topic == "message-rejected"
        return MessageRejected.from_message(
            Message(data, attributes, "9", "2026-11-22T09:00:00Z", "message-rejected-to-recording")
        )


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service of the source above, just started."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    monkeypatch.setenv("VITRINE_BUCKET", "bucket")
    monkeypatch.setattr(sys, "path", sys.path[:])
    source = tmp_path / "served.py"
    source.write_text(SOURCE)
    with captured_log() as log:
        application = functions_framework.create_app("main", str(source))
        yield Service(application.test_client(), sys.modules.pop("served"), log)


# ------------------------------------------------------------------------------------- acknowledged


def test_a_push_is_handled_published_and_acknowledged(service: Service) -> None:
    assert service.push() == 200
    (event,) = service.handled
    assert (event.job_id, event.batch) == ("job", 7)
    assert [(topic, json.loads(data)) for topic, data, _ in service.published] == [
        ("batch-classified", {"job_id": "job", "batch": 7}),
        ("batch-classified", {"job_id": "job", "batch": 8}),
    ]
    attributes = [given for _, _, given in service.published]
    assert [(given["job_id"], given["batch"]) for given in attributes] == [("job", "7"), ("job", "8")]
    assert len({given[EVENT_ID] for given in attributes}) == 2


def test_a_push_that_comes_again_is_acknowledged_without_work(service: Service) -> None:
    assert [service.push(), service.push(attempt=2)] == [200, 200]
    assert len(service.handled) == 1
    assert len(service.published) == 2


def test_another_message_with_the_same_event_is_not_handled_again(service: Service) -> None:
    """A stage that was repeated published its events again, under new message ids."""
    for message_id in ("1", "2"):
        assert service.push(message_id=message_id, attributes={EVENT_ID: "abc"}) == 200
    assert len(service.handled) == 1


def test_another_message_is_handled(service: Service) -> None:
    assert [service.push(message_id="1"), service.push(message_id="2")] == [200, 200]
    assert len(service.handled) == 2


def test_the_trace_of_the_message_goes_on_in_what_is_published(service: Service) -> None:
    service.push(attributes=TRACED)
    traces = [given["googclient_traceparent"].split("-")[1] for _, _, given in service.published]
    assert traces == [TRACE_ID, TRACE_ID]


def test_a_message_without_attributes_or_attempt_is_as_good(service: Service) -> None:
    assert service.push(attributes=None, attempt=None) == 200
    assert len(service.handled) == 1


# ------------------------------------------------------------------------------------- rejected


def test_what_the_stage_rejects_is_kept_with_its_reason_and_acknowledged(service: Service) -> None:
    service.fail_with(Reject("images: too many"))
    assert service.push(attributes={"job_id": "job"}, attempt=3) == 200
    rejected = service.rejection()
    assert json.loads(rejected.data) == STAGED
    assert rejected.reason == "images: too many"
    assert (rejected.topic, rejected.subscription) == ("batch-staged", "batch-staged-to-inference")
    assert (rejected.message_id, rejected.attempts) == ("4711", 3)
    assert rejected.original_attributes == {"job_id": "job"}


@pytest.mark.parametrize("data", [b"not JSON", b"\xff\xfe", b"[]", b'{"job_id": "job"}'])
def test_what_is_no_event_is_kept_as_it_is_and_never_reaches_the_stage(service: Service, data: bytes) -> None:
    assert service.push(data=data) == 200
    assert service.rejection().data == data
    assert service.handled == []


def test_a_rejected_message_that_is_replayed_is_handled(service: Service) -> None:
    """It was not done, so that there is no marker; once whatever was wrong is right, it goes through."""
    service.fail_with(Reject("not yet"))
    service.push()
    service.published.clear()
    service.fail_with(None)
    assert service.push() == 200
    assert [topic for topic, _, _ in service.published] == ["batch-classified", "batch-classified"]


@pytest.mark.parametrize("letter", ["x", "é", "あ", "🧥"])
def test_a_long_reason_is_cut_to_what_an_attribute_may_hold(service: Service, letter: str) -> None:
    service.fail_with(Reject(letter * 2_000))
    assert service.push() == 200
    reason = service.rejection().reason
    assert 1020 < len(reason.encode()) <= 1024
    assert set(reason) == {letter}


@pytest.mark.parametrize(
    "subscription",
    ["nobody-knows", "batch-classified-to-recording", "message-unrecorded-to-keep", ""],
    ids=["unknown", "of_another_service", "pulled", "none"],
)
def test_a_push_of_a_subscription_that_is_not_this_services_is_rejected(
    service: Service, subscription: str
) -> None:
    assert service.push(subscription=subscription) == 200
    assert service.rejection().reason == f"subscription: this service is not pushed {subscription!r}"
    assert service.handled == []


# ------------------------------------------------------------------------------------- to come again


def test_any_other_exception_makes_the_push_fail_and_the_next_delivery_does_the_work(
    service: Service,
) -> None:
    service.fail_with(ConnectionError("storage is away"))
    assert service.push() == 500
    assert service.published == []
    service.fail_with(None)
    assert service.push(attempt=2) == 200
    assert len(service.published) == 2


def test_what_could_not_be_published_is_not_done(service: Service) -> None:
    service.module.PUBLISHER.away = True
    assert service.push() == 500
    service.module.PUBLISHER.away = False
    assert service.push(attempt=2) == 200
    assert len(service.handled) == 2
    assert len(service.published) == 2


def test_a_rejection_that_could_not_be_published_comes_again(service: Service) -> None:
    service.module.PUBLISHER.away = True
    assert service.push(data=b"not JSON") == 500
    service.module.PUBLISHER.away = False
    assert service.push(data=b"not JSON", attempt=2) == 200
    assert service.rejection().attempts == 2


def test_a_repeat_gives_each_event_the_same_id(service: Service) -> None:
    service.module.PUBLISHER.silent = True
    assert service.push() == 500
    service.module.PUBLISHER.silent = False
    assert service.push(attempt=2) == 200
    ids = [given[EVENT_ID] for _, _, given in service.published]
    assert len(ids) == 4
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]


# ------------------------------------------------------------------------------------- telemetry


@pytest.mark.parametrize(
    ("problem", "status", "metric"),
    [
        (None, 200, "messages_handled"),
        (Reject("images: too many"), 200, "messages_rejected"),
        (ConnectionError("storage is away"), 500, "messages_failed"),
    ],
)
def test_each_outcome_is_counted_and_logged_with_its_job(
    service: Service, problem: Exception | None, status: int, metric: str
) -> None:
    service.fail_with(problem)
    assert service.push(attributes={"job_id": "job", "batch": "7"}) == status
    entries = [entry for entry in service.log.entries() if entry[LABELS]]
    subscription = "batch-staged-to-inference"
    for entry in entries:
        assert entry[LABELS] == {"subscription": subscription, "job_id": "job", "batch": "7"}
    counted = [entry["metric"] for entry in entries if entry.get("metric", "").startswith("messages_")]
    assert counted == [metric]
    if problem is not None:
        assert any(str(problem) in entry["message"] for entry in entries)


# ------------------------------------------------------------------------------------- other requests


def test_a_native_storage_event_is_an_upload(service: Service) -> None:
    body = {"bucket": "uploads", "name": "new/1.jpg", "generation": "17", "contentType": "image/jpeg"}
    for _ in range(2):
        assert service.client.post("/", json=body, headers=STORAGE_EVENT).status_code == 200
    (event,) = service.handled
    assert (event.bucket, event.name, event.generation) == ("uploads", "new/1.jpg", 17)


def test_an_upload_that_is_told_of_in_both_ways_is_handled_once(service: Service) -> None:
    body = {"bucket": "uploads", "name": "new/1.jpg", "generation": "17"}
    assert service.push(body, subscription="image-uploaded-to-inference") == 200
    assert service.client.post("/", json=body, headers=STORAGE_EVENT).status_code == 200
    assert service.push(body, subscription="image-uploaded-to-inference", message_id="2") == 200
    assert len(service.handled) == 1


def test_a_native_storage_event_that_is_wrong_is_rejected(service: Service) -> None:
    assert service.client.post("/", json={"bucket": "uploads"}, headers=STORAGE_EVENT).status_code == 200
    rejected = service.rejection()
    assert (rejected.topic, rejected.message_id) == ("image-uploaded", "1234567890")
    assert "name: Field required" in rejected.reason


def test_another_cloud_event_is_none_of_ours(service: Service) -> None:
    headers = STORAGE_EVENT | {"ce-type": "google.cloud.storage.object.v1.deleted"}
    assert service.client.post("/", json={"bucket": "b"}, headers=headers).status_code == 415
    assert (service.handled, service.published) == ([], [])


@pytest.mark.parametrize("body", [b"", b"text", b"{}", b'{"message": {}}'])
def test_a_request_that_is_no_push_is_an_error_of_its_sender(service: Service, body: bytes) -> None:
    answer = service.client.post("/", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert (service.handled, service.published) == ([], [])


def test_ports_are_made_by_the_first_push_or_probe_and_not_at_start(service: Service) -> None:
    assert service.module.made == []
    answer = service.client.get("/health")
    assert (answer.status_code, answer.text) == (200, "ok")
    assert service.module.made
