"""Selection: a request becomes a job, and the products that match it become batches."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import batched
from typing import Protocol

from services.model.registry import Registry
from services.shared import telemetry
from services.shared.catalogue import invalid_filters
from services.shared.errors import Reject, UnsuitableJobError
from services.shared.events import (
    BATCH_IMAGES,
    BatchSelected,
    ClassificationRequested,
    Event,
    Filters,
    Handlers,
    Product,
    SelectionContinued,
)
from services.shared.jobs import Manifest, check_origin, find_manifest, read_manifest, read_products
from services.shared.layout import JobLayout, digest, recent_uri
from services.shared.parallel import in_parallel
from services.shared.ports import Catalogue, Clock, Objects, Selection

PAGE_BATCHES = 16  # batches that one push publishes: a few seconds' work, a few megabytes of memory


@dataclass(frozen=True)
class Ports:
    """What selection needs of the world."""

    objects: Objects
    catalogue: Catalogue
    clock: Clock
    bucket: str
    model: str
    model_version: str  # what inference carries itself, and serves until another version is promoted


class Source(Protocol):
    """Where a job's products come from: the same ones at each look."""

    @property
    def images(self) -> int: ...  # noqa: D102
    @property
    def batches(self) -> int: ...  # noqa: D102
    def products(self, first: int, last: int) -> Iterable[tuple[Product, ...]]:
        """Those of the batches from `first` to before `last`."""
        ...


@dataclass(frozen=True)
class Selected:
    """What a query found."""

    selection: Selection

    @property
    def images(self) -> int:  # noqa: D102
        return self.selection.total

    @property
    def batches(self) -> int:  # noqa: D102
        # A job that matches nothing is one empty batch: it ends like any other.
        return max(1, -(-self.images // BATCH_IMAGES))

    def products(self, first: int, last: int) -> Iterable[tuple[Product, ...]]:  # noqa: D102
        rows = self.selection.rows(first * BATCH_IMAGES, (last - first) * BATCH_IMAGES)
        pages = batched(rows, BATCH_IMAGES, strict=False)
        return (next(pages, ()) for _ in range(first, last))


@dataclass(frozen=True)
class Prepared:
    """What another job prepared, in that job's batches."""

    objects: Objects
    layout: JobLayout
    images: int
    batches: int

    def products(self, first: int, last: int) -> Iterable[tuple[Product, ...]]:  # noqa: D102
        return in_parallel(self._batch, range(first, last))

    def _batch(self, batch: int) -> tuple[Product, ...]:
        return tuple(read_products(self.objects, self.layout, batch))


def start(request: ClassificationRequested, ports: Ports) -> list[Event]:
    """Opens the job and publishes its first page of batches.

    Raises:
        Reject: there is no such version of the model, no product has a value that is asked for, the job_id
            belongs to another request or to a job whose files have expired, or the job that this one is
            based on does not suit it.

    """
    if request.job_id is None:
        raise Reject("job_id: missing")
    layout = JobLayout(ports.bucket, request.job_id)
    job = find_manifest(ports.objects, layout)
    if job is not None:
        # Before anything is selected: a query costs.
        _refuse_another(request, job)
        if ports.objects.exists(layout.summary):
            # It is done, and what was selected for it may not be kept any longer.
            return []
        source = _source(request, ports)
    else:
        _refuse_expired(layout, ports)
        version = _pin(request.model, ports)
        _check_origin(request, ports)
        _check_values(request, ports)
        source = _source(request, ports)
        job = _open(request, version, source, layout, ports)
        _refuse_another(request, job)
    ports.objects.create(recent_uri(ports.bucket, job.requested_at, job.job_id), b"", "text/plain")
    return _page(job, source, 0, ports)


def continue_(event: SelectionContinued, ports: Ports) -> list[Event]:
    """Publishes the next page of batches."""
    manifest = read_manifest(ports.objects, JobLayout(ports.bucket, event.job_id))
    return _page(manifest, _source(manifest.request, ports), event.batch, ports)


def _refuse_another(request: ClassificationRequested, job: Manifest) -> None:
    if job.request != request:
        raise Reject(f"job_id: {job.job_id!r} belongs to another request already")


def _refuse_expired(layout: JobLayout, ports: Ports) -> None:
    # The ids of its load jobs are used up: nothing of a second job of this name would reach BigQuery.
    # Where it has run just now, while this request waited, its manifest stands.
    if ports.catalogue.has_run(layout.job_id) and not ports.objects.exists(layout.manifest):
        raise Reject(f"job_id: {layout.job_id!r} is that of a job that ran before; take another one")


def _pin(asked: str | None, ports: Ports) -> str:
    """The version that answers all of a job, whatever is promoted while it runs."""
    registry = Registry(ports.objects, ports.bucket, ports.model)
    if asked is None:
        production = registry.production()
        return production.version if production and production.version else ports.model_version
    if asked != ports.model_version and not registry.has(asked):
        served = sorted({ports.model_version, *registry.versions()})
        raise Reject(f"model: {asked!r} is not served; there are: {', '.join(served)}")
    return asked


def _check_origin(request: ClassificationRequested, ports: Ports) -> None:
    try:
        check_origin(ports.objects, ports.bucket, request)
    except UnsuitableJobError as error:
        raise Reject(str(error)) from error


def _check_values(request: ClassificationRequested, ports: Ports) -> None:
    if invalid := invalid_filters(request, ports.catalogue.config, ports.catalogue.values):
        raise Reject("; ".join(map(str, invalid)))


def _source(request: ClassificationRequested, ports: Ports) -> Source:
    if request.prepared_by is None:
        return Selected(_select(request, ports))
    layout = JobLayout(ports.bucket, request.prepared_by)
    prepared = read_manifest(ports.objects, layout)
    return Prepared(ports.objects, layout, prepared.images, prepared.batches)


def _select(request: ClassificationRequested, ports: Ports) -> Selection:
    filters = request.model_dump(include=set(Filters.model_fields))
    for later in ("retry_of", "filters"):
        if filters[later] is None:
            # As before there was this filter: a job that began then goes on with its own selection.
            del filters[later]
    # The id names the request too: two requests that race for one job_id must not share a selection.
    name = f"vitrine-select-{request.job_id}-{digest(sorted(filters.items()))}"
    return ports.catalogue.select(name, Filters.model_validate(filters))


def _open(
    request: ClassificationRequested, version: str, source: Source, layout: JobLayout, ports: Ports
) -> Manifest:
    manifest = Manifest(
        job_id=layout.job_id,
        request=request,
        model=ports.model,
        model_version=version,
        images=source.images,
        batches=source.batches,
        requested_at=ports.clock(),
    )
    # Without what was not asked for: while a release is rolled out, the one before it reads this too.
    document = manifest.model_dump_json(indent=2, exclude_none=True).encode()
    if ports.objects.create(layout.manifest, document, "application/json"):
        telemetry.count("images_selected", source.images)
    # Whoever wrote first, all go on with what stands.
    return read_manifest(ports.objects, layout)


def _page(manifest: Manifest, source: Source, first: int, ports: Ports) -> list[Event]:
    last = min(first + PAGE_BATCHES, manifest.batches)
    products: Iterable[tuple[Product, ...]] = [()] * (last - first)
    # Of a job that is cancelled the ledger wants every batch, and an empty one costs next to nothing.
    if not ports.objects.exists(JobLayout(ports.bucket, manifest.job_id).cancelled):
        products = source.products(first, last)
    events: list[Event] = [
        BatchSelected(job_id=manifest.job_id, batch=batch, products=found)
        for batch, found in enumerate(products, start=first)
    ]
    if last < manifest.batches:
        events.append(SelectionContinued(job_id=manifest.job_id, batch=last))
    return events


HANDLERS: Handlers = {ClassificationRequested: start, SelectionContinued: continue_}
