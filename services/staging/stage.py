"""Staging: the photos of a batch are copied under the job's prefix, the catalogue's columns beside them.

A photo at a web address is fetched once, and kept for later jobs.
What another job prepared is not copied: inference reads it where it stands.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from services.shared import telemetry
from services.shared.errors import ImageError, ObjectNotFoundError
from services.shared.events import BatchSelected, BatchStaged, Classify, Event, Handlers, Image, Product
from services.shared.jobs import (
    Cancellation,
    keep_fetched,
    ndjson,
    numbered_photos,
    read_manifest,
    read_predictions,
    web_addresses,
)
from services.shared.layout import JobLayout
from services.shared.parallel import in_parallel
from services.shared.ports import Objects, WebPhotos

_logger = logging.getLogger("vitrine.staging")


@dataclass(frozen=True)
class Ports:
    """What staging needs of the world."""

    objects: Objects
    bucket: str
    web: WebPhotos


def handle(event: BatchSelected, ports: Ports) -> list[Event]:
    """Copies the photos inside Cloud Storage; one that cannot be had goes on as an error of its own."""
    layout = JobLayout(ports.bucket, event.job_id)
    request = read_manifest(ports.objects, layout).request
    cancelled = Cancellation(ports.objects, layout)
    # A cancelled job goes on with the photos that it has, or none, so that the ledger has all batches.
    if request.prepared_by is None:
        images = _copy(event.products, layout, cancelled, ports)
    elif cancelled:
        images = []
    else:
        images = _find(event, JobLayout(ports.bucket, request.prepared_by), request.classify, ports)
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


def _copy(
    products: Sequence[Product], layout: JobLayout, cancelled: Cancellation, ports: Ports
) -> list[Image]:
    def stage(photo: tuple[Image, str, str | None]) -> Image | None:
        image, uri, address = photo
        if cancelled:
            return None
        try:
            _copy_photo(image, uri, address, layout, ports)
        except ObjectNotFoundError:
            return image.model_copy(update={"error": "photo-missing"})
        except ImageError as error:
            _logger.warning("%s: %s", image.product_id, error)
            return image.model_copy(update={"error": error.code})
        return image

    photos = [
        (Image(product_id=product.product_id, photo_number=number), uri, address)
        for product in products
        for (number, uri), address in zip_longest(
            numbered_photos(ports.bucket, product), web_addresses(product)
        )
    ]
    images = [image for image in in_parallel(stage, photos) if image]
    telemetry.count("images_staged", sum(image.error is None for image in images))
    return images


def _copy_photo(image: Image, uri: str, address: str | None, layout: JobLayout, ports: Ports) -> None:
    """Copies a photo, and fetches it before if it has an address and does not stand there yet."""
    copy = layout.image(image.product_id, photo=image.photo_number)
    try:
        ports.objects.copy(uri, copy)
    except ObjectNotFoundError:
        if address is None:
            raise
        keep_fetched(image.product_id, address, ports.objects, ports.bucket, ports.web)
        ports.objects.copy(uri, copy)


def _find(event: BatchSelected, prepared: JobLayout, classify: Classify, ports: Ports) -> list[Image]:
    """The photos and variants that a job has of its batch; what it could not use is an error here too."""
    augmentation = read_manifest(ports.objects, prepared).request.augmentation
    made = [f"augmented-{copy}" for copy in range(augmentation.copies if augmentation else 0)]
    variants = {"originals": ["original"], "augmented": made, "both": ["original", *made]}[classify]
    rows = read_predictions(ports.objects, prepared, event.batch)
    errors = {
        (row.product_id, row.photo_number): row.error
        for row in rows
        if row.error and row.variant == "original"
    }
    images: list[Image] = []
    for product in event.products:
        for number, _uri in numbered_photos(ports.bucket, product):
            image = Image(product_id=product.product_id, photo_number=number)
            if error := errors.get((product.product_id, number)):
                images.append(image.model_copy(update={"error": error}))
            else:
                images += [image.model_copy(update={"variant": variant}) for variant in variants]
    return images


HANDLERS: Handlers = {BatchSelected: handle}
