"""Staging: the photos of a batch are copied under the job's prefix, the catalogue's columns beside them."""

from dataclasses import dataclass

from services.shared import telemetry
from services.shared.errors import ObjectNotFoundError
from services.shared.events import BatchSelected, BatchStaged, Event, Handlers, Image, Product
from services.shared.jobs import Cancellation, ndjson, read_manifest
from services.shared.layout import JobLayout, photo_uri
from services.shared.parallel import in_parallel
from services.shared.ports import Objects


@dataclass(frozen=True)
class Ports:
    """What staging needs of the world."""

    objects: Objects
    bucket: str


def handle(event: BatchSelected, ports: Ports) -> list[Event]:
    """Copies the photos inside Cloud Storage; one that is missing goes on as an error of its own."""
    layout = JobLayout(ports.bucket, event.job_id)
    request = read_manifest(ports.objects, layout).request

    cancelled = Cancellation(ports.objects, layout)

    def stage(product: Product) -> Image | None:
        if cancelled:
            return None
        try:
            ports.objects.copy(photo_uri(ports.bucket, product.image_id), layout.image(product.image_id))
        except ObjectNotFoundError:
            return Image(image_id=product.image_id, error="photo-missing")
        return Image(image_id=product.image_id)

    # A cancelled job goes on with the photos that it has, or none, so that the ledger has all batches.
    images = [image for image in in_parallel(stage, event.products) if image]
    telemetry.count("images_staged", sum(image.error is None for image in images))
    ports.objects.create(layout.metadata(event.batch), ndjson(event.products), "application/x-ndjson")
    return [
        BatchStaged(
            job_id=event.job_id,
            batch=event.batch,
            images=tuple(images),
            # An empty batch has nothing that would be worth waking a GPU for.
            augment=request.augmentation is not None and bool(images),
            classify=request.classify != "none" and bool(images),
        )
    ]


HANDLERS: Handlers = {BatchSelected: handle}
