"""What the client needs of the world, in memory: the buckets and topics of a `MemoryPipeline`, and tables."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from services.client.client import Vitrine
from services.client.ports import ObjectFacts, Rejection, Result, Tally
from services.shared.events import Label, Prediction, Product
from services.shared.memory import MemoryObjects
from services.shared.ports import Stored
from tests.unit.memory_pipeline import BUCKET, MemoryPipeline

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class OwnedObjects:
    """The buckets of a pipeline, with what only the owner of the photos does; keeps what was put."""

    def __init__(self, memory: MemoryObjects) -> None:
        self.memory = memory
        self.puts: list[str] = []
        self.create, self.read, self.exists = memory.create, memory.read, memory.exists
        self.copy, self.count = memory.copy, memory.count
        self.replace, self.names = memory.replace, memory.names

    def put(self, uri: str, data: bytes, content_type: str) -> int:
        self.puts.append(uri)
        return self.memory.put(uri, data)

    def page(self, prefix: str, *, after: str | None, limit: int) -> Sequence[str]:
        return [uri for uri in self.memory.names(prefix) if after is None or uri > after][:limit]

    def facts(self, prefix: str) -> Mapping[str, ObjectFacts]:
        return {uri: _facts(self.memory.read(uri)) for uri in self.memory.names(prefix)}


def _facts(stored: Stored) -> ObjectFacts:
    md5 = hashlib.md5(stored.data, usedforsecurity=False).digest()
    return ObjectFacts(len(stored.data), base64.b64encode(md5).decode())


class PipelineTables:
    """The tables that a pipeline wrote; `results` are given."""

    def __init__(self, pipeline: MemoryPipeline, results: Sequence[Result] = ()) -> None:
        self._pipeline = pipeline
        self._results = results
        self.products: dict[int, Product] = {}

    def merge_products(self, products: Sequence[Product]) -> None:
        self.products |= {product.image_id: product for product in products}

    def tally(self, job_id: str) -> Tally:
        return tally(self._results)

    def results(self, job_id: str, limit: int | None) -> Iterator[Result]:
        return iter(self._results[:limit])

    def prediction(self, prediction_id: str) -> Prediction | None:
        rows = self._pipeline.warehouse.tables.get("predictions", [])
        found = (row for row in rows if row["prediction_id"] == prediction_id)
        return next((Prediction(**row) for row in found), None)

    def rejected(self, job_id: str | None) -> list[Rejection]:
        rows = self._pipeline.warehouse.tables.get("rejected", [])
        return [
            Rejection(**row) for row in rows if job_id in (None, row["job_id"], f"job-{row['message_id']}")
        ]


class World:
    """A client and the pipeline that it talks to."""

    def __init__(self, products: Sequence[Product] = (), results: Sequence[Result] = ()) -> None:
        self.pipeline = MemoryPipeline(list(products))
        self.objects = OwnedObjects(self.pipeline.objects)
        self.tables = PipelineTables(self.pipeline, results)
        self.vitrine = Vitrine(self.objects, self.pipeline, self.tables, BUCKET, "uploads")


def result(
    image_id: int = 1,
    labels: Mapping[str, Sequence[tuple[str, float]]] | None = None,
    *,
    declared: Product | None = None,
    disagreements: Sequence[str] = (),
    variant: str = "original",
    error: str | None = None,
) -> Result:
    """A result; `labels` are (label, probability) pairs of each head, best first."""
    document = {
        "prediction_id": f"{image_id}-{variant}",
        "job_id": "job-1",
        "image_id": image_id,
        "image_uri": f"gs://{BUCKET}/jobs/job-1/images/{image_id}.jpg",
        "variant": variant,
        "model": "fashion",
        "model_version": "7",
        "heads": (),
        "error": error,
        "predicted_at": NOW,
    }
    heads = tuple(
        Label(head=head, rank=rank, label=label, probability=probability)
        for head, ranked in (labels or {}).items()
        for rank, (label, probability) in enumerate(ranked, start=1)
    )
    return Result(Prediction.model_validate(document | {"heads": heads}), declared, tuple(disagreements))


def tally(results: Sequence[Result]) -> Tally:
    """Counts as BigQuery would."""
    errors = [row.prediction.error for row in results if row.prediction.error]
    return Tally(
        photos=len({row.prediction.image_id for row in results}),
        predictions=len(results) - len(errors),
        errors={code: errors.count(code) for code in dict.fromkeys(errors)},
        disagreements=sum(bool(row.disagreements) for row in results),
        heads=tuple(sorted({label.head for row in results for label in row.prediction.heads})),
    )
