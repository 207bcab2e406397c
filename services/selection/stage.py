"""Selection: a request becomes a job, and the products that match it become batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import batched

from services.model.registry import Registry
from services.shared import telemetry
from services.shared.errors import Reject
from services.shared.events import (
    BATCH_IMAGES,
    BatchSelected,
    ClassificationRequested,
    Event,
    Filters,
    Handlers,
    SelectionContinued,
)
from services.shared.jobs import Manifest, find_manifest, read_manifest
from services.shared.layout import JobLayout, digest
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


def start(request: ClassificationRequested, ports: Ports) -> list[Event]:
    """Opens the job and publishes its first page of batches.

    Raises:
        Reject: no such version of the model, or the job_id belongs to another request.

    """
    if request.job_id is None:
        raise Reject("job_id: missing")
    layout = JobLayout(ports.bucket, request.job_id)
    job = find_manifest(ports.objects, layout)
    if job is not None:
        # Before anything is selected: a query costs.
        _refuse_another(request, job)
    version = job.model_version if job else _pin(request.model, ports)
    selection = _select(request, ports)
    if job is None:
        job = _open(request, version, selection, layout, ports)
        _refuse_another(request, job)
    return _page(job, selection, 0, ports)


def continue_(event: SelectionContinued, ports: Ports) -> list[Event]:
    """Publishes the next page of batches."""
    manifest = read_manifest(ports.objects, JobLayout(ports.bucket, event.job_id))
    return _page(manifest, _select(manifest.request, ports), event.batch, ports)


def _refuse_another(request: ClassificationRequested, job: Manifest) -> None:
    if job.request != request:
        raise Reject(f"job_id: {job.job_id!r} belongs to another request already")


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


def _select(request: ClassificationRequested, ports: Ports) -> Selection:
    filters = request.model_dump(include=set(Filters.model_fields))
    # The id names the request too: two requests that race for one job_id must not share a selection.
    name = f"vitrine-select-{request.job_id}-{digest(sorted(filters.items()))}"
    return ports.catalogue.select(name, Filters(**filters))


def _open(
    request: ClassificationRequested, version: str, selection: Selection, layout: JobLayout, ports: Ports
) -> Manifest:
    manifest = Manifest(
        job_id=layout.job_id,
        request=request,
        model=ports.model,
        model_version=version,
        images=selection.total,
        # A job that matches nothing is one empty batch: it ends like any other.
        batches=max(1, -(-selection.total // BATCH_IMAGES)),
        requested_at=ports.clock(),
    )
    document = manifest.model_dump_json(indent=2).encode()
    if ports.objects.create(layout.manifest, document, "application/json"):
        telemetry.count("images_selected", selection.total)
    # Whoever wrote first, all go on with what stands.
    return read_manifest(ports.objects, layout)


def _page(manifest: Manifest, selection: Selection, first: int, ports: Ports) -> list[Event]:
    last = min(first + PAGE_BATCHES, manifest.batches)
    if ports.objects.exists(JobLayout(ports.bucket, manifest.job_id).cancelled):
        # The ledger wants every batch, and an empty one costs next to nothing.
        events: list[Event] = [
            BatchSelected(job_id=manifest.job_id, batch=batch, products=()) for batch in range(first, last)
        ]
    else:
        events = list(_batches(manifest, selection, first, last))
    if last < manifest.batches:
        events.append(SelectionContinued(job_id=manifest.job_id, batch=last))
    return events


def _batches(manifest: Manifest, selection: Selection, first: int, last: int) -> Iterator[BatchSelected]:
    rows = selection.rows(first * BATCH_IMAGES, (last - first) * BATCH_IMAGES)
    pages = batched(rows, BATCH_IMAGES, strict=False)
    for batch in range(first, last):
        yield BatchSelected(job_id=manifest.job_id, batch=batch, products=next(pages, ()))


HANDLERS: Handlers = {ClassificationRequested: start, SelectionContinued: continue_}
