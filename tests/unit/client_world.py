"""What the client needs of the world, in memory: the buckets and topics of a `MemoryPipeline`, and tables."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from services.client.client import Vitrine
from services.client.corrections import Correction, Status
from services.client.ports import (
    EVERYTHING,
    Audited,
    Disagreement,
    IdCounts,
    Matching,
    ObjectFacts,
    Rejection,
    Result,
    ResultFilter,
    Tally,
)
from services.client.queries import RECENT_DAYS
from services.client.review import BINS, Against, Cell, HumanLabel, Quality, assess
from services.shared.audits import AuditedLabel
from services.shared.catalogue import ProductTable
from services.shared.catalogue_config import CatalogueConfig
from services.shared.events import Declared, Filters, Label, Prediction, Product
from services.shared.jobs import photo_uris
from services.shared.labels import NOT_APPLICABLE
from services.shared.layout import digest
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
        self.generation, self.delete = memory.generation, memory.delete

    def put(self, uri: str, data: bytes, content_type: str) -> int:
        self.puts.append(uri)
        return self.memory.put(uri, data)

    def page(self, prefix: str, *, after: str | None, limit: int) -> Sequence[str]:
        return [uri for uri in self.memory.names(prefix) if after is None or uri > after][:limit]

    def folders(self, prefix: str) -> Sequence[str]:
        rests = (uri.removeprefix(prefix).partition("/") for uri in self.memory.names(prefix))
        return sorted({folder for folder, slash, _ in rests if slash})

    def facts(self, prefix: str) -> Mapping[str, ObjectFacts]:
        return {uri: _facts(self.memory.read(uri)) for uri in self.memory.names(prefix)}


def _facts(stored: Stored) -> ObjectFacts:
    md5 = hashlib.md5(stored.data, usedforsecurity=False).digest()
    return ObjectFacts(len(stored.data), base64.b64encode(md5).decode())


class PipelineTables:
    """The tables that a pipeline wrote; results that are given stand for those of any job."""

    def __init__(self, pipeline: MemoryPipeline, results: Sequence[Result] = ()) -> None:
        self._pipeline = pipeline
        self.config = pipeline.catalogue.config
        self._given = results
        self.products: dict[str, Product] = {}

    @property
    def product_table(self) -> ProductTable:
        return ProductTable(self.config, "project.vitrine")

    def merge_products(self, products: Sequence[Product]) -> None:
        self.products |= {product.product_id: product for product in products}

    def count_ids(self) -> IdCounts:
        counts = Counter(
            each.product_id for each in [*self._pipeline.catalogue.products, *self.products.values()]
        )
        twice = sorted(product_id for product_id, count in counts.items() if count > 1)
        return IdCounts(counts.total(), 0, 0, (), len(twice), tuple(twice[:3]))

    def catalogue(self) -> Iterator[Product]:
        return iter(self._pipeline.catalogue.products)

    def matching(self, filters: Filters) -> Matching:
        # Kept under no name that a job's selection has.
        name = f"matching-{len(self._pipeline.catalogue.selections)}"
        found = self._pipeline.catalogue.select(name, filters)
        photos = sum(len(photo_uris(BUCKET, product)) for product in found.rows(0, found.total))
        return Matching(found.total, photos, bytes_scanned=0)

    def tally(self, job_id: str) -> Tally:
        return tally(self._results(job_id))

    def results(
        self, job_id: str, limit: int | None, *, where: ResultFilter = EVERYTHING, offset: int = 0
    ) -> Iterator[Result]:
        found = (row for row in self._results(job_id) if matches(row, where))
        if limit is None and not offset and not self._given:
            # In no order, and above all not in the one of a page.
            return iter(sorted(found, key=lambda row: digest(row.prediction.prediction_id)))
        return islice(found, offset, None if limit is None else offset + limit)

    def count(self, job_id: str, where: ResultFilter) -> int:
        return sum(1 for _ in self.results(job_id, None, where=where))

    def disagreements(
        self,
        job_id: str | None,
        *,
        head: str | None = None,
        unsure: bool | None = None,
        limit: int,
        offset: int = 0,
    ) -> list[Disagreement]:
        judged = {(label.product_id, label.head) for label in self._labels()}
        rows = self._results(job_id) if job_id is not None else self._newest()
        found = [
            _disagreement(row, name)
            for row in rows
            for name in row.disagreements
            if head in (None, name) and unsure in (None, row.unsure(name))
            if row.declared and (row.prediction.product_id, name) not in judged
        ]
        found.sort(
            key=lambda each: (
                *(each.declared_probability, -each.probability),
                *(each.prediction.product_id or "", each.head),
            )
        )
        return found[offset : offset + limit]

    def quality(self, job_id: str, head: str, against: Against) -> Quality:
        rows = self._results(job_id)
        given = labels_given([row.prediction for row in rows])
        said = {label.product_id: label.label for label in self._labels() if label.head == head}
        cells, left_out = [], 0
        for row in rows:
            prediction = row.prediction
            ranked = row.labels(head)
            if not ranked or not for_product(prediction):
                continue
            if against == "labels":
                if prediction.product_id not in said:
                    continue
                truth = said[prediction.product_id]
            elif row.declared_label(head) is None:
                known = (prediction.model_version, head, NOT_APPLICABLE) in given
                if not (known and row.declared and self._depends(head)):
                    continue
                if self.config.applies(head, row.declared) is not False:
                    continue
                truth = NOT_APPLICABLE
            else:
                truth = known_label(row, head, given)
            if truth is None:
                left_out += 1
                continue
            best = ranked[0]
            place = min(int(best.probability * BINS), BINS - 1)
            cells.append(Cell(truth, best.label, place, not row.unsure(head), 1, best.probability))
        return assess(job_id, head, against, cells, left_out)

    def labels(self, job_id: str | None, limit: int | None) -> list[HumanLabel]:
        found = [label for label in self._labels() if job_id in (None, label.job_id)]
        return sorted(found, key=lambda label: label.judged_at, reverse=True)[:limit]

    def corrections(
        self,
        job_id: str | None = None,
        *,
        since: datetime | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Correction]:
        declared = self._declared()
        found = [
            _correction(label, declared.get(label.product_id), self.config)
            for label in self.labels(job_id, None)
            if label.product_id is not None and label.label is not None
            if (label.declared or "").strip().lower() != label.label.strip().lower()
            if since is None or label.judged_at >= since
            if not (label.declared is None and label.label == NOT_APPLICABLE and self._depends(label.head))
        ]
        return found[offset : None if limit is None else offset + limit]

    def _depends(self, head: str) -> bool:
        attribute = self.config.attributes.get(head)
        return attribute is not None and bool(attribute.applies_to)

    def count_corrections(
        self, job_id: str | None = None, *, since: datetime | None = None
    ) -> Mapping[Status, int]:
        return Counter(each.status for each in self.corrections(job_id, since=since))

    def audited(self, audit_id: str, *, head: str | None = None, limit: int | None) -> Iterator[Audited]:
        judged = {(label.product_id, label.head) for label in self._labels()}
        rows = map(AuditedLabel.model_validate, self._pipeline.warehouse.tables.get("audited_labels", []))
        found = [row for row in rows if row.audit_id == audit_id and head in (None, row.head)]
        if limit is not None:
            found = [row for row in found if row.probability is not None]
            found = [row for row in found if (row.product_id, row.head) not in judged]
            found.sort(key=lambda row: (row.product_id, row.head))
            found.sort(key=lambda row: (row.probability, -(row.best_probability or 0)))
        return (Audited(row, self.products.get(row.product_id)) for row in found[:limit])

    def add_label(self, label: HumanLabel) -> None:
        self._pipeline.warehouse.append("labels", [label.model_dump()])

    def prediction(self, prediction_id: str) -> Prediction | None:
        uploaded = (each for each in self.predictions() if each.job_id is None)
        found = (each for each in uploaded if each.prediction_id == prediction_id)
        return next(found, None)

    def rejected(
        self, job_id: str | None, *, rejection_id: str | None = None, limit: int | None = None
    ) -> list[Rejection]:
        found = [
            Rejection(**row)
            for row in self._pipeline.warehouse.tables.get("rejected", [])
            if job_id in (None, row["job_id"], f"job-{row['message_id']}")
            if rejection_id in (None, row["rejection_id"])
        ]
        return sorted(found, key=lambda each: each.rejected_at, reverse=True)[:limit]

    def values(self) -> Mapping[str, Sequence[tuple[str, int]]]:
        products = [*self._pipeline.catalogue.products, *self.products.values()]
        found: dict[str, list[tuple[str, int]]] = {}
        for name in self.config.attributes:
            counts = Counter(value for each in products for value in each.values(name))
            by_count = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
            found[name] = sorted(counts.items()) if name == self.config.time else by_count
        return found

    def _labels(self) -> list[HumanLabel]:
        """The last verdict of each photo and head."""
        rows = [HumanLabel.model_validate(row) for row in self._pipeline.warehouse.tables.get("labels", [])]
        rows.sort(key=lambda label: label.judged_at)
        last = {(label.product_id or label.image_uri, label.head): label for label in rows}
        return list(last.values())

    def _newest(self) -> list[Result]:
        """The newest result of each product's photo, of the last days."""
        if self._given:
            return list(self._given)
        since = datetime.now(UTC) - timedelta(days=RECENT_DAYS)
        recent = [
            each
            for each in self.predictions()
            if each.product_id is not None and for_product(each)
            if each.error is None and each.predicted_at > since
        ]
        recent.sort(key=lambda each: each.predicted_at)
        return self._compared(list({each.product_id: each for each in recent}.values()))

    def _results(self, job_id: str) -> list[Result]:
        if self._given:
            return list(self._given)
        return self._compared([each for each in self.predictions() if each.job_id == job_id])

    def predictions(self) -> list[Prediction]:
        """All rows."""
        return [_prediction(row) for row in self._pipeline.warehouse.tables.get("predictions", [])]

    def _declared(self) -> Mapping[str, Product]:
        """The catalogue as it is today."""
        products = self._pipeline.catalogue.products
        return {product.product_id: product for product in products} | self.products

    def _compared(self, predictions: Sequence[Prediction]) -> list[Result]:
        declared, given = self._declared(), labels_given(predictions)
        results = [
            with_disagreements(
                Result(each, None if each.product_id is None else declared.get(each.product_id), ()), given
            )
            for each in predictions
        ]
        return sorted(results, key=_place)


type Given = Set[tuple[str | None, str, str]]
"""Labels that versions are known to have: (version, head, label)."""


def labels_given(predictions: Sequence[Prediction]) -> Given:
    """What rows that carry nothing of their own are asked for."""
    return {(each.model_version, label.head, label.label) for each in predictions for label in each.heads}


def known_label(row: Result, head: str, given: Given) -> str | None:
    """The label of the model that the catalogue declares today, as far as the row tells."""
    prediction, today = row.prediction, row.declared_label(head)
    if today is None:
        return None
    if (record := _record(row, head)) and record.known:
        return record.known
    if any(label.label == today for label in row.labels(head)):
        return today
    known = not prediction.declared and (prediction.model_version, head, today) in given
    return today if known else None


def declared_probability(row: Result, head: str) -> float:
    """How likely the model finds what the catalogue declares today, at most."""
    record, kept = _record(row, head), row.labels(head)
    if record and record.probability is not None:
        return record.probability
    probabilities = [label.probability for label in kept]
    bound = max(0.0, min(*probabilities, 1 - sum(probabilities)))
    today = row.declared_label(head)
    return next((label.probability for label in kept if label.label == today), bound)


def _record(row: Result, head: str) -> Declared | None:
    """What the row says of what the catalogue declares today."""
    today = row.declared_label(head)
    records = (record for record in row.prediction.declared if record.head == head)
    return next((record for record in records if today in (record.label, record.known)), None)


def for_product(prediction: Prediction) -> bool:
    """Whether a row is the answer for its product, or would be if the photo could be used."""
    return prediction.variant == "original" and prediction.photo_number is None


def with_disagreements(row: Result, given: Given) -> Result:
    """A result with the heads that disagree."""
    if not for_product(row.prediction):
        return row
    doubts = [
        best
        for best in row.prediction.heads
        if best.rank == 1 and known_label(row, best.head, given) not in (None, best.label)
    ]
    doubts.sort(key=lambda best: (declared_probability(row, best.head), -best.probability, best.head))
    return replace(row, disagreements=tuple(best.head for best in doubts))


def _correction(label: HumanLabel, product: Product | None, config: CatalogueConfig) -> Correction:
    assert label.product_id is not None
    assert label.label is not None
    current: str | None = None
    status: Status
    if label.head not in config.named("value", "values"):
        status = "no-column"
    elif product is None:
        status = "missing"
    else:
        current = product.label(label.head)
        status = "changed"
        if current in (label.label, label.declared):
            status = "applied" if current == label.label else "pending"
    return Correction(
        product_id=label.product_id,
        attribute=label.head,
        declared=label.declared,
        corrected=label.label,
        reviewer=label.judged_by,
        reviewed_at=label.judged_at,
        job_id=label.job_id,
        model_version=label.model_version,
        current_value=current,
        status=status,
    )


def _disagreement(row: Result, head: str) -> Disagreement:
    best, declared_label = row.labels(head)[0], row.declared_label(head)
    assert row.declared
    assert declared_label is not None
    return Disagreement(
        prediction=row.prediction,
        declared=row.declared,
        head=head,
        label=best.label,
        declared_label=declared_label,
        probability=best.probability,
        declared_probability=declared_probability(row, head),
    )


def matches(row: Result, where: ResultFilter) -> bool:
    """Whether a result is one of those that are asked for."""
    prediction = row.prediction
    if where.product_id not in (None, prediction.product_id):
        return False
    if where.unfamiliar is not None and bool(prediction.unfamiliar) != where.unfamiliar:
        return False
    if where.error is not None and (prediction.error is None or where.error not in ("any", prediction.error)):
        return False
    asked = replace(where, product_id=None, unfamiliar=None, error=None)
    return asked == EVERYTHING or any(
        best.rank == 1
        and where.head in (None, best.head)
        and where.label in (None, best.label, *(each.value for each in prediction.values_of(best.head)))
        and where.declared in (None, row.declared_label(best.head))
        and (not where.disagreements or best.head in row.disagreements)
        and best.probability >= (where.min_confidence or 0)
        and where.abstained in (None, best.head in prediction.abstained)
        for best in prediction.heads
    )


def _place(row: Result) -> tuple[Any, ...]:
    prediction, doubts = row.prediction, row.disagreements
    return (
        min((declared_probability(row, head) for head in doubts), default=2.0),
        -max((row.labels(head)[0].probability for head in doubts), default=0.0),
        prediction.error is None,
        prediction.product_id or "",
        prediction.photo_number or 0,
        prediction.variant,
    )


def _prediction(row: Mapping[str, Any]) -> Prediction:
    """A row as it was appended or loaded."""
    return Prediction.model_validate_json(json.dumps(dict(row), default=str))


class World:
    """A client and the pipeline that it talks to."""

    def __init__(
        self,
        products: Sequence[Product] = (),
        results: Sequence[Result] = (),
        config: CatalogueConfig | None = None,
    ) -> None:
        self.pipeline = MemoryPipeline(list(products), config=config)
        self.objects = OwnedObjects(self.pipeline.objects)
        self.tables = PipelineTables(self.pipeline, results)
        self.vitrine = Vitrine(self.objects, self.pipeline, self.tables, BUCKET, "uploads")


def result(
    product_id: str = "1",
    labels: Mapping[str, Sequence[tuple[str, float]]] | None = None,
    *,
    declared: Product | None = None,
    disagreements: Sequence[str] = (),
    variant: str = "original",
    error: str | None = None,
    abstained: Sequence[str] = (),
    unfamiliar: bool | None = None,
    carried: Sequence[Declared] = (),
    learnt: bool | None = None,
) -> Result:
    """A result; `labels` are (label, probability) pairs of each head, best first.

    `declared` is what the catalogue says today, `carried` what the row itself says of it.
    """
    document = {
        "prediction_id": f"{product_id}-{variant}",
        "job_id": "job-1",
        "product_id": product_id,
        "image_uri": f"gs://{BUCKET}/jobs/job-1/images/{product_id}.jpg",
        "variant": variant,
        "model": "fashion",
        "model_version": "7",
        "heads": (),
        "error": error,
        "predicted_at": NOW,
        "abstained": tuple(abstained),
        "unfamiliar": unfamiliar,
        "declared": tuple(carried),
        "learnt": learnt,
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
    predictions = [row.prediction for row in results]
    return Tally(
        products=len({each.product_id for each in predictions}),
        photos=len({(each.product_id, each.photo_number or 1) for each in predictions}),
        predictions=sum(not each.error and not each.combined for each in predictions),
        combined=sum(each.combined for each in predictions),
        errors={code: errors.count(code) for code in dict.fromkeys(errors)},
        disagreements=sum(bool(row.disagreements) for row in results),
        unsure=sum(bool(row.disagreements) and all(map(row.unsure, row.disagreements)) for row in results),
        heads=tuple(sorted({label.head for row in results for label in row.prediction.heads})),
    )
