"""The ports in memory: the same promises as Google Cloud's, kept by one test suite that runs against both.

For tests and for trying a stage out; nothing survives the process.
"""

import fnmatch
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from threading import Lock
from typing import Any

from services.shared.catalogue import matches
from services.shared.catalogue_config import CatalogueConfig, bundled_config
from services.shared.content_encoding import plain
from services.shared.errors import ObjectNotFoundError, ObjectTooLargeError
from services.shared.events import Filters, Product
from services.shared.ports import Stored


@dataclass(frozen=True)
class _Object:
    stored: Stored
    content_encoding: str | None  # as its metadata declare


class MemoryObjects:
    """Cloud Storage: every write makes a new generation, and only the newest is kept."""

    def __init__(self) -> None:
        self._objects: dict[str, _Object] = {}
        self._names: list[str] = []
        self._sorted = True
        self._generation = 0
        self._lock = Lock()

    def put(self, uri: str, data: bytes, *, content_encoding: str | None = None) -> int:
        """Writes an object whether or not one stands there, as a user does; its generation."""
        with self._lock:
            return self._put(uri, data, content_encoding)

    def create(self, uri: str, data: bytes, content_type: str) -> bool:  # noqa: D102
        return self.replace(uri, data, content_type, 0)

    def replace(self, uri: str, data: bytes, content_type: str, generation: int) -> bool:  # noqa: D102
        with self._lock:
            stands = self._objects.get(uri)
            if generation != (stands.stored.generation if stands else 0):
                return False
            self._put(uri, data)
            return True

    def read(self, uri: str, *, generation: int | None = None, max_bytes: int | None = None) -> Stored:  # noqa: D102
        found = self._objects.get(uri)
        if found is None or generation not in (None, found.stored.generation):
            raise ObjectNotFoundError(uri)
        data = found.stored.data
        if max_bytes is not None and len(data) > max_bytes:
            raise ObjectTooLargeError(f"{uri} has more than {max_bytes} bytes")
        return Stored(plain(uri, data, found.content_encoding, max_bytes), found.stored.generation)

    def generation(self, uri: str) -> int:  # noqa: D102
        return self.read(uri).generation

    def exists(self, uri: str) -> bool:  # noqa: D102
        return uri in self._objects

    def copy(self, source: str, target: str) -> bool:  # noqa: D102
        with self._lock:
            if source not in self._objects:
                raise ObjectNotFoundError(source)
            if target in self._objects:
                return False
            original = self._objects[source]
            self._put(target, original.stored.data, original.content_encoding)
            return True

    def count(self, prefix: str) -> int:  # noqa: D102
        return len(self.names(prefix))

    def names(self, prefix: str) -> list[str]:  # noqa: D102
        with self._lock:
            if not self._sorted:
                self._names.sort()
                self._sorted = True
            first = bisect_left(self._names, prefix)
            last = bisect_left(self._names, prefix + "\U0010ffff")
            return self._names[first:last]

    def delete(self, uri: str) -> None:
        """Deletes an object, as a user does; if none stands there, nothing happens."""
        with self._lock:
            if self._objects.pop(uri, None) is not None:
                self._names.remove(uri)

    def _put(self, uri: str, data: bytes, content_encoding: str | None = None) -> int:
        if uri not in self._objects:
            self._names.append(uri)
            self._sorted = False
        self._generation += 1
        self._objects[uri] = _Object(Stored(data, self._generation), content_encoding)
        return self._generation


@dataclass(frozen=True)
class MemorySelection:
    """Products that matched when it was made."""

    products: Sequence[Product]

    @property
    def total(self) -> int:  # noqa: D102
        return len(self.products)

    def rows(self, start: int, count: int) -> Iterator[Product]:  # noqa: D102
        return iter(self.products[start : start + count])


class MemoryCatalogue:
    """A catalogue, by default of the bundled attributes; what came out of jobs is in `warehouse`."""

    def __init__(
        self,
        products: Iterable[Product] = (),
        warehouse: "MemoryWarehouse | None" = None,
        config: CatalogueConfig | None = None,
    ) -> None:
        self.products = list(products)
        self.config = config or bundled_config()
        self._warehouse = warehouse
        self.selections: dict[str, MemorySelection] = {}

    def select(self, selection_id: str, filters: Filters) -> MemorySelection:  # noqa: D102
        if selection_id not in self.selections:
            matching = [product for product in self.products if matches(product, filters, self.config)]
            if filters.retry_of is not None:
                failed = self._failed(filters.retry_of)
                matching = [product for product in matching if product.product_id in failed]
            unique = {product.product_id: product for product in matching}
            self.selections[selection_id] = MemorySelection(list(unique.values())[: filters.limit])
        return self.selections[selection_id]

    def values(self, attributes: Sequence[str]) -> Mapping[str, Set[str]]:  # noqa: D102
        return {
            name: {value for product in self.products for value in product.values(name)}
            for name in attributes
        }

    def has_run(self, job_id: str) -> bool:  # noqa: D102
        return any(row["job_id"] == job_id for row in self._rows("jobs"))

    def _failed(self, job_id: str) -> set[str]:
        rows = self._rows("predictions")
        return {row["product_id"] for row in rows if row["job_id"] == job_id and row["error"] is not None}

    def _rows(self, table: str) -> Sequence[Mapping[str, Any]]:
        return self._warehouse.tables.get(table, []) if self._warehouse else []


class MemoryWarehouse:
    """A dataset whose load jobs read from a `MemoryObjects`."""

    def __init__(self, objects: MemoryObjects) -> None:
        self.tables: dict[str, list[Mapping[str, Any]]] = {}
        self._objects = objects
        self._loads: set[str] = set()
        self._lock = Lock()

    def load(self, table: str, uri: str, load_id: str) -> None:  # noqa: D102
        with self._lock:
            if load_id in self._loads:
                return
            files = fnmatch.filter(self._objects.names(uri.partition("*")[0]), uri)
            if not files:
                raise ObjectNotFoundError(uri)
            rows = [json.loads(line) for file in files for line in self._objects.read(file).data.splitlines()]
            self.tables.setdefault(table, []).extend(rows)
            self._loads.add(load_id)

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:  # noqa: D102
        with self._lock:
            self.tables.setdefault(table, []).extend(rows)

    def tally(self, job_id: str) -> tuple[int, int]:  # noqa: D102
        rows = [
            row
            for row in self.tables.get("predictions", [])
            if row["job_id"] == job_id and not row.get("decided")
        ]
        errors = sum(1 for row in rows if row["error"] is not None)
        return len(rows) - errors, errors


class MemoryPublisher:
    """Pub/Sub: keeps what was published, in order."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes, Mapping[str, str]]] = []

    def publish(self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]]) -> None:  # noqa: D102
        self.published.extend((topic, data, attributes) for data, attributes in messages)
