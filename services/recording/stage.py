"""Recording: the ledger that knows when a job is done, and the rows in BigQuery.

Each step is safe to repeat, and is repeated when the message is: a marker that stands stays, a load job of
the same name is found again. So whatever fails, the message that comes again carries the work on.
"""

import json
from dataclasses import dataclass
from typing import Literal

from services.shared import telemetry
from services.shared.events import (
    BatchAugmented,
    BatchClassified,
    BatchStaged,
    CancellationRequested,
    Event,
    Handlers,
    Image,
    ImageClassified,
    JobCompleted,
    MessageRejected,
    Prediction,
)
from services.shared.jobs import Manifest, count_batch, image_digest, ndjson, read_manifest
from services.shared.layout import (
    JobLayout,
    batches_in,
    digest,
    rejected_uri,
    shard_of,
    shards,
)
from services.shared.ports import Clock, Objects, Warehouse

PREVIEW = 1_000  # characters of a rejected message that its row shows


@dataclass(frozen=True)
class Ports:
    """What recording needs of the world."""

    objects: Objects
    warehouse: Warehouse
    clock: Clock
    bucket: str


def record_batch(event: BatchClassified, ports: Ports) -> list[Event]:
    """Enters a classified batch into the ledger; loads the shard and ends the job where it was the last."""
    layout = JobLayout(ports.bucket, event.job_id)
    manifest = read_manifest(ports.objects, layout)
    tally = count_batch(ports.objects, layout, event.batch).model_dump_json()
    ports.objects.create(layout.ledger(event.batch), tally.encode(), "application/json")
    shard = shard_of(event.batch)
    if ports.objects.count(layout.shard_ledger(shard)) < batches_in(shard, manifest.batches):
        return []
    _load_shard(shard, layout, ports)
    if ports.objects.count(layout.all_loaded) < shards(manifest.batches):
        return []
    return [_complete(manifest, layout, ports)]


def record_prepared(event: BatchStaged | BatchAugmented, ports: Ports) -> list[Event]:
    """Enters a batch that was to be prepared only; photos that could not be have their rows all the same."""
    layout = JobLayout(ports.bucket, event.job_id)
    failed = [_failure(image, layout, ports) for image in event.images if image.error]
    ports.objects.create(layout.predictions(event.batch), ndjson(failed), "application/x-ndjson")
    return record_batch(BatchClassified(job_id=event.job_id, batch=event.batch), ports)


def cancel(event: CancellationRequested, ports: Ports) -> list[Event]:
    """Marks a job: what is not classified yet passes all stages as empty batches, and so the job ends.

    A job that has ended stays what it is; one that is accepted only is marked before it begins.

    Raises:
        ObjectNotFoundError: there is no such job, or not yet: it may be asked for a moment before it begins.

    """
    layout = JobLayout(ports.bucket, event.job_id)
    if not ports.objects.exists(layout.accepted):
        # It was asked for by a message alone.
        read_manifest(ports.objects, layout)
    if not ports.objects.exists(layout.summary):
        ports.objects.create(layout.cancelled, b"", "text/plain")
    return []


def record_upload(event: ImageClassified, ports: Ports) -> list[Event]:
    """Appends the row of an uploaded photo. Two deliveries at once may both append: a view shows one."""
    ports.warehouse.append("predictions", [event.prediction.model_dump()])
    return []


def record_rejection(event: MessageRejected, ports: Ports) -> list[Event]:
    """Keeps a rejected message's bytes, whole, and a row that says why."""
    rejection_id = digest(event.subscription, event.message_id)
    uri = rejected_uri(ports.bucket, rejection_id)
    ports.objects.create(uri, event.data, "application/octet-stream")
    row = {
        "rejection_id": rejection_id,
        "job_id": event.original_attributes.get("job_id"),
        "topic": event.topic,
        "subscription": event.subscription,
        "message_id": event.message_id,
        "attempts": event.attempts,
        "reason": event.reason,
        "payload_uri": uri,
        "payload_preview": event.data[:PREVIEW].decode(errors="replace"),
        "attributes": json.dumps(event.original_attributes),
        "published_at": event.published_at,
        "rejected_at": ports.clock(),
    }
    ports.warehouse.append("rejected", [row])
    return []


def _load_shard(shard: int, layout: JobLayout, ports: Ports) -> None:
    if not ports.objects.exists(layout.loaded(shard)):
        files = f"{layout.shard_predictions(shard)}*.ndjson"
        ports.warehouse.load("predictions", files, f"vitrine-predictions-{layout.job_id}-{shard:04d}")
        ports.objects.create(layout.loaded(shard), b"", "text/plain")


def _status(
    manifest: Manifest, layout: JobLayout, ports: Ports
) -> Literal["completed", "cancelled", "empty"]:
    if ports.objects.exists(layout.cancelled):
        return "cancelled"
    return "completed" if manifest.images else "empty"


def _complete(manifest: Manifest, layout: JobLayout, ports: Ports) -> JobCompleted:
    """The job's row. Whoever writes the summary first decides what it says; the others repeat it."""
    if not ports.objects.exists(layout.summary):
        predictions, errors = ports.warehouse.tally(manifest.job_id)
        completed = JobCompleted(
            job_id=manifest.job_id,
            status=_status(manifest, layout, ports),
            request=manifest.request.model_dump_json(exclude_defaults=True),
            model=manifest.model,
            model_version=manifest.model_version,
            images=manifest.images,
            batches=manifest.batches,
            predictions=predictions,
            errors=errors,
            requested_at=manifest.requested_at,
            completed_at=ports.clock(),
        )
        if ports.objects.create(layout.summary, ndjson([completed]), "application/x-ndjson"):
            telemetry.count("jobs_completed", 1)
    ports.warehouse.load("jobs", layout.summary, f"vitrine-jobs-{manifest.job_id}")
    return JobCompleted.model_validate_json(ports.objects.read(layout.summary).data)


def _failure(image: Image, layout: JobLayout, ports: Ports) -> Prediction:
    return Prediction(
        prediction_id=image_digest(layout.job_id, image),
        job_id=layout.job_id,
        product_id=image.product_id,
        image_uri=layout.image(image.product_id, image.variant, image.photo_number),
        generation=None,
        variant=image.variant,
        model=None,
        model_version=None,
        heads=(),
        error=image.error,
        predicted_at=ports.clock(),
        latency_ms=None,
        photo_number=image.photo_number,
    )


HANDLERS: Handlers = {
    BatchClassified: record_batch,
    BatchStaged: record_prepared,
    BatchAugmented: record_prepared,
    CancellationRequested: cancel,
    ImageClassified: record_upload,
    MessageRejected: record_rejection,
}
