"""The whole pipeline over the in-memory ports, wired as schemas/topics.yaml says."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.augmentation import stage as augmentation
from services.inference import stage as inference
from services.inference.stage import Answer
from services.local.pubsub.filters import compile_filter
from services.model.combining import combine
from services.model.learnt import Learnt
from services.model.manifest import ModelError
from services.recording import stage as recording
from services.selection import stage as selection
from services.shared import endpoint
from services.shared.catalogue_config import CatalogueConfig
from services.shared.events import Message, Product
from services.shared.https_photos import HttpsPhotos
from services.shared.labels import Vocabulary
from services.shared.memory import MemoryCatalogue, MemoryObjects, MemoryPublisher, MemoryWarehouse
from services.shared.wiring import load_wiring
from services.staging import stage as staging

BUCKET = "bucket"
STAGES: Mapping[str, ModuleType] = {
    "selection": selection,
    "staging": staging,
    "augmentation": augmentation,
    "inference": inference,
    "recording": recording,
}


class FreeModel:
    """A model that costs nothing: the brighter the photo, the likelier the first label."""

    name = "free"
    image_size = 4
    labels: Mapping[str, tuple[str, ...]] = {"article_type": ("Light", "Dark", "Neither")}
    vocabulary = Vocabulary(labels)
    thresholds: Mapping[str, float] = {"article_type": 0.5}

    def __init__(self, version: str = "1", learnt: Learnt | None = None) -> None:
        self.version = version
        self.learnt = learnt

    def predict(self, image: NDArray[np.uint8]) -> Answer:
        light = float(image.mean()) / 255
        probabilities = np.array([0.9 * light, 0.9 * (1 - light), 0.1], np.float32)
        # It was trained on grey photos.
        return Answer({"article_type": probabilities}, unfamiliar=bool(np.ptp(image.mean(axis=(0, 1))) > 50))

    def combine(self, answers: Sequence[Answer]) -> Answer:
        found = [each.probabilities["article_type"] for each in answers]
        return replace(answers[0], probabilities={"article_type": combine(np.stack(found))})


class FreeModels:
    """Any version there may be, but those that are refused."""

    def __init__(self) -> None:
        self.production = "1"
        self.refused: set[str] = set()
        self.learnt: dict[str, Learnt] = {}  # by version

    def pinned(self, version: str) -> FreeModel:
        if version in self.refused:
            raise ModelError(f"{version} is corrupt")
        return FreeModel(version, self.learnt.get(version))

    def current(self) -> FreeModel:
        return self.pinned(self.production)


def clock() -> datetime:
    return datetime.now(UTC)


class MemoryPipeline:
    """All five stages. `publish` what you like, then `run` until nothing is left to deliver.

    Args:
        deliveries: how often each message is delivered.
        seed: of the order of deliveries.
        config: of the catalogue; by default the bundled one's.
    """

    def __init__(
        self,
        products: list[Product],
        deliveries: int = 1,
        seed: int = 0,
        config: CatalogueConfig | None = None,
    ) -> None:
        self.objects = MemoryObjects()
        self.warehouse = MemoryWarehouse(self.objects)
        self.catalogue = MemoryCatalogue(products, self.warehouse, config)
        self.publisher = MemoryPublisher()
        self._deliveries = deliveries
        self._random = random.Random(seed)
        self._ids = count(1)
        self._queue: list[tuple[str, Message]] = []
        self.models = FreeModels()
        embedded = self.models.current()
        shared: dict[str, Any] = {"objects": self.objects, "bucket": BUCKET}
        self.ports: dict[str, Any] = {
            "selection": selection.Ports(
                **shared,
                catalogue=self.catalogue,
                clock=clock,
                model=embedded.name,
                model_version=embedded.version,
            ),
            "staging": staging.Ports(**shared, web=HttpsPhotos(())),
            "augmentation": augmentation.Ports(**shared),
            "inference": inference.Ports(**shared, models=self.models, clock=clock),
            "recording": recording.Ports(**shared, warehouse=self.warehouse, clock=clock),
        }

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str] | None = None) -> str:
        """Publishes a message as a user does; its id."""
        message_id = str(next(self._ids))
        for name, (subscribed, service, options) in load_wiring().subscriptions().items():
            if subscribed != topic or options.pull:
                continue
            if options.filter and not compile_filter(options.filter)(attributes or {}):
                continue
            message = Message(
                data=data,
                attributes=attributes or {},
                message_id=message_id,
                publish_time="2026-01-01T00:00:00Z",
                subscription=name,
            )
            self._queue.extend([(service, message)] * self._deliveries)
        return message_id

    def run(self, before: Callable[[str, Message], None] = lambda service, message: None) -> None:
        """Delivers until nothing is left. `before` may raise: that delivery then fails and is repeated."""
        while self._queue:
            at = self._random.randrange(len(self._queue))
            # Swapping with the end keeps a random removal from a long queue cheap.
            self._queue[at], self._queue[-1] = self._queue[-1], self._queue[at]
            service, message = self._queue.pop()
            try:
                before(service, message)
                self.deliver(service, message)
            except ConnectionError:
                self._queue.append((service, message))
                continue

    def deliver(self, service: str, message: Message) -> None:
        """One delivery of a message to a service, and the publication of what it leads to."""
        endpoint.handle(
            message, STAGES[service].HANDLERS, lambda: self.ports[service], lambda: self.publisher
        )
        for topic, data, attributes in self.publisher.published:
            self.publish(topic, data, attributes)
        self.publisher.published.clear()
