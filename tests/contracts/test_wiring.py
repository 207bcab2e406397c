"""schemas/topics.yaml against the services that exist, and against what they publish when they run."""

import ast
import importlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from itertools import product

import pytest

from services.local.pubsub.filters import compile_filter
from services.shared import events
from services.shared.events import BatchAugmented, BatchStaged, Event, Handlers, ImageUploaded, Message
from services.shared.layout import photo_uri
from services.shared.wiring import SCHEMAS, Topic, load_wiring
from tests.contracts.examples import EVENTS, good_examples
from tests.unit.memory_pipeline import BUCKET, MemoryPipeline
from tests.unit.photos import jpeg

WIRING = load_wiring()
SERVICES = SCHEMAS.parent / "services"
DEPLOYED = sorted(path.parent.name for path in SERVICES.glob("*/stage.py"))
OUTSIDERS = {"you", "cloud-storage", "pubsub"}
FILTERED = {
    name: wired for name, wired in WIRING.subscriptions().items() if wired[2].filter
}  # subscription -> (topic, service, options)

# What Cloud Storage sets: https://cloud.google.com/storage/docs/pubsub-notifications#attributes
STORAGE_ATTRIBUTES = {
    "notificationConfig": "projects/_/buckets/vitrine-uploads/notificationConfigs/1",
    "eventType": "OBJECT_FINALIZE",
    "payloadFormat": "JSON_API_V1",
    "bucketId": "vitrine-uploads",
    "objectId": "new/10001.jpg",
    "objectGeneration": "1763881200123456",
    "eventTime": "2025-11-23T07:00:00.125Z",
}


def attributes_of(event: Event) -> Mapping[str, str]:
    """The attributes of the message that an event travels in."""
    return STORAGE_ATTRIBUTES if isinstance(event, ImageUploaded) else event.attributes()


def handlers(service: str) -> Handlers:
    stage_handlers: Handlers = importlib.import_module(f"services.{service}.stage").HANDLERS
    return stage_handlers


def routed(topic: Topic, attributes: Mapping[str, str]) -> list[str]:
    """The subscriptions of a topic that a message with these attributes passes to."""
    return [
        service
        for service, options in topic.subscriptions.items()
        if compile_filter(options.filter)(attributes)
    ]


def staged(augment: bool, classify: bool) -> BatchStaged:
    return BatchStaged(job_id="job", batch=0, images=(), augment=augment, classify=classify)


def instances() -> list[Event]:
    """Events of every kind, with all their flags both ways."""
    return [
        *(example.event.from_message(example.message) for example in good_examples()),
        *(staged(augment, classify) for augment, classify in product((True, False), repeat=2)),
        *(BatchAugmented(job_id="job", batch=0, images=(), classify=flag) for flag in (True, False)),
    ]


# ------------------------------------------------------------------------------------- services


def test_the_services_that_are_pushed_are_those_that_exist() -> None:
    assert sorted(WIRING.services()) == DEPLOYED


@pytest.mark.parametrize("service", DEPLOYED)
def test_a_service_handles_exactly_the_events_it_is_subscribed_to(service: str) -> None:
    subscribed = {
        WIRING.topics[topic].event
        for topic, name, options in WIRING.subscriptions().values()
        if name == service and not options.pull
    }
    assert {event.__name__ for event in handlers(service)} == subscribed


@pytest.mark.parametrize("service", DEPLOYED)
def test_a_service_has_the_name_of_its_folder(service: str) -> None:
    tree = ast.parse((SERVICES / service / "main.py").read_text())
    names = [
        statement.value.value
        for settings in ast.walk(tree)
        if isinstance(settings, ast.ClassDef)
        for statement in settings.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Constant)
        and [ast.unparse(target) for target in statement.targets] == ["service"]
    ]
    assert names == [service]


# ------------------------------------------------------------------------------------- events and topics


def test_every_event_class_has_its_one_topic() -> None:
    classes = {
        name
        for name, value in vars(events).items()
        if isinstance(value, type) and issubclass(value, Event) and not value.__subclasses__()
    }
    assert classes == EVENTS.keys()
    # Beside message-rejected only the last resort carries rejections, and nobody publishes to it by event.
    carriers = [topic.event for name, topic in WIRING.topics.items() if name != "message-unrecorded"]
    assert sorted(carriers) == sorted(EVENTS)


def test_a_topic_that_takes_anything_or_that_nobody_reads_says_why() -> None:
    unexplained = [
        name
        for name, topic in WIRING.topics.items()
        if bool(topic.because) != (topic.schema_kind == "none" or not topic.subscriptions)
    ]
    assert unexplained == []


def test_dead_letters_go_to_topics_that_are_read() -> None:
    for name, (_, _, options) in WIRING.subscriptions().items():
        assert WIRING.topics[options.dead_letter].subscriptions or options.pull, name


# ------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize("subscription", FILTERED)
def test_a_filter_names_only_attributes_that_the_event_sets(subscription: str) -> None:
    topic, _, options = FILTERED[subscription]
    compile_filter(options.filter)
    named = set(re.findall(r"attributes\s*[.:]\s*([\w-]+)", options.filter))
    assert named
    of_topic = [event for event in instances() if type(event).__name__ == WIRING.topics[topic].event]
    assert of_topic
    for event in of_topic:
        assert named <= attributes_of(event).keys()


@pytest.mark.parametrize("event", instances(), ids=lambda event: type(event).__name__)
def test_an_event_goes_to_exactly_one_service(event: Event) -> None:
    for name, topic in WIRING.topics.items():
        if topic.event == type(event).__name__ and name != "job-completed":
            assert len(routed(topic, attributes_of(event))) == 1, name


def test_staged_batches_go_where_their_flags_say() -> None:
    topic = WIRING.topics["batch-staged"]
    route = {
        (augment, classify): routed(topic, staged(augment, classify).attributes())
        for augment, classify in product((True, False), repeat=2)
    }
    assert route == {
        (True, True): ["augmentation"],
        (True, False): ["augmentation"],
        (False, True): ["inference"],
        (False, False): ["recording"],
    }


@pytest.mark.parametrize("event_type", ["OBJECT_DELETE", "OBJECT_ARCHIVE", "OBJECT_METADATA_UPDATE"])
def test_what_else_happens_to_an_upload_wakes_nobody(event_type: str) -> None:
    assert routed(WIRING.topics["image-uploaded"], STORAGE_ATTRIBUTES | {"eventType": event_type}) == []


# ------------------------------------------------------------------------------------- producers


class WatchedPipeline(MemoryPipeline):
    """Remembers which service published to which topic."""

    def __init__(self, products: list[events.Product]) -> None:
        super().__init__(products)
        self.producers: dict[str, set[str]] = defaultdict(set)
        self.by = "you"

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str] | None = None) -> str:
        self.producers[topic].add(self.by)
        return super().publish(topic, data, attributes)

    def deliver(self, service: str, message: Message) -> None:
        self.by = service
        super().deliver(service, message)
        self.by = "you"


@pytest.fixture(scope="module")
def observed() -> Mapping[str, set[str]]:
    """Topic -> who published to it, while the pipeline did everything that it can do."""
    # One product more than a page of batches holds, so that the selection goes on.
    pipeline = WatchedPipeline([events.Product.of(str(number)) for number in range(16 * 256 + 1)])
    pipeline.objects.put(photo_uri(BUCKET, "0"), jpeg())
    for number, classify in enumerate(("originals", "augmented", "both", "none")):
        request = {
            "job_id": f"job-{number}",
            "augmentation": {"flip": {"horizontal": 1.0}},
            "classify": classify,
        }
        pipeline.publish("classification-requested", json.dumps(request).encode())
    pipeline.publish("classification-requested", b"{}")
    pipeline.run()
    pipeline.publish("cancellation-requested", b'{"job_id": "job-0"}')
    pipeline.run()
    pipeline.by = "cloud-storage"
    pipeline.publish(
        "image-uploaded", b'{"bucket": "b", "name": "a.jpg", "generation": 1}', STORAGE_ATTRIBUTES
    )
    pipeline.run()
    for name, (_, service, options) in WIRING.subscriptions().items():
        if not options.pull and options.dead_letter == "message-rejected":
            pipeline.deliver(service, Message(b"[]", {}, f"bad-{name}", "2026-11-22T09:00:00Z", name))
    return pipeline.producers


@pytest.mark.parametrize("topic", WIRING.topics)
def test_the_producers_of_a_topic_are_those_that_publish_to_it(
    topic: str, observed: Mapping[str, set[str]]
) -> None:
    named = set(WIRING.topics[topic].producers)
    assert named <= {*DEPLOYED, *OUTSIDERS}
    # The broker itself moves what it gave up on.
    is_dead_letter = any(
        options.dead_letter == topic and not options.pull for _, _, options in WIRING.subscriptions().values()
    )
    assert named == observed.get(topic, set()) | ({"pubsub"} if is_dead_letter else set())
