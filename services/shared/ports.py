"""What stages need of the world, each as small as its use; adapters: google_cloud.py, memory.py."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from services.shared.catalogue_config import CatalogueConfig
from services.shared.events import Filters, Product


@dataclass(frozen=True)
class Stored:
    """An object's bytes and the generation they are of."""

    data: bytes
    generation: int


class Objects(Protocol):
    """Cloud Storage, addressed by gs:// URIs."""

    def create(self, uri: str, data: bytes, content_type: str) -> bool:
        """Writes an object unless one stands there; says whether it did."""
        ...

    def replace(self, uri: str, data: bytes, content_type: str, generation: int) -> bool:
        """Writes an object over this generation of it, and over no other; says whether it did."""
        ...

    def read(self, uri: str, *, generation: int | None = None, max_bytes: int | None = None) -> Stored:
        """Reads an object, or a given generation of it.

        Raises:
            ObjectNotFoundError: nothing stands there, or no longer in that generation.
            ObjectTooLargeError: it has more than `max_bytes`.

        """
        ...

    def generation(self, uri: str) -> int:
        """Which generation stands there.

        Raises:
            ObjectNotFoundError: nothing does.

        """
        ...

    def exists(self, uri: str) -> bool:
        """Whether an object stands there."""
        ...

    def copy(self, source: str, target: str) -> bool:
        """Copies an object inside Cloud Storage unless the target stands; says whether it did.

        Raises:
            ObjectNotFoundError: there is no source.

        """
        ...

    def count(self, prefix: str) -> int:
        """How many objects stand under a gs:// prefix."""
        ...

    def names(self, prefix: str) -> Sequence[str]:
        """The URIs of the objects under a gs:// prefix, in order."""
        ...


class WebPhotos(Protocol):
    """Photos at web addresses; https_photos.py has the adapter."""

    def fetch(self, address: str) -> bytes:
        """The bytes of a photo.

        Raises:
            ImageError: it may not be fetched, is not there, or is no photo.

        """
        ...


class Selection(Protocol):
    """The products that match a request, fixed when it was made."""

    @property
    def total(self) -> int:
        """How many they are."""
        ...

    def rows(self, start: int, count: int) -> Iterator[Product]:
        """Streams a part of them; the same part is always the same products."""
        ...


class Catalogue(Protocol):
    """The products; for a retry `predictions`, and for a new job `jobs`."""

    @property
    def config(self) -> CatalogueConfig:
        """Which attributes products have."""
        ...

    def select(self, selection_id: str, filters: Filters) -> Selection:
        """The selection of this name, made at the first call and found again at the next."""
        ...

    def has_run(self, job_id: str) -> bool:
        """Whether a job of this name has ended, however long ago."""
        ...

    def values(self, attributes: Sequence[str]) -> Mapping[str, Set[str]]:
        """The values that products have of each of these attributes, of which there is at least one."""
        ...


class Warehouse(Protocol):
    """The tables that results land in."""

    def load(self, table: str, uri: str, load_id: str) -> None:
        """Loads newline-delimited JSON once: a repeat with the same load_id changes nothing.

        Args:
            table: its name in the dataset.
            uri: a gs:// URI, with a * for many objects.
            load_id: names the load for ever.

        Raises:
            Exception: no such object, or a row that does not fit; nothing was loaded, a repeat tries again.

        """
        ...

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows, at least once each. Keys are columns, timestamps are datetimes with a zone."""
        ...

    def tally(self, job_id: str) -> tuple[int, int]:
        """How many rows of `predictions` a job has with labels, and how many with an error.

        The answers that combine several photos do not count.
        """
        ...


class Publisher(Protocol):
    """Pub/Sub, the publishing side."""

    def publish(self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]]) -> None:
        """Publishes (data, attributes) pairs; returns when the broker has them all."""
        ...


class Clock(Protocol):
    """The time of day."""

    def __call__(self) -> datetime:
        """The time now, with its zone."""
        ...
