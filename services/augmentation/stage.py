"""Augmentation: seeded variants of a batch's photos, written beside them."""

import logging
from dataclasses import dataclass

from services.augmentation.transforms import augment, encode
from services.shared import telemetry
from services.shared.errors import ImageError, ObjectNotFoundError, ObjectTooLargeError, Reject
from services.shared.events import BatchAugmented, BatchStaged, Event, Handlers, Image
from services.shared.images import MAX_BYTES, decode
from services.shared.jobs import Cancellation, image_digest, read_manifest
from services.shared.layout import JobLayout
from services.shared.parallel import in_parallel
from services.shared.ports import Objects

_logger = logging.getLogger("vitrine.augmentation")


@dataclass(frozen=True)
class Ports:
    """What augmentation needs of the world."""

    objects: Objects
    bucket: str


def handle(event: BatchStaged, ports: Ports) -> list[Event]:
    """Writes `copies` variants of each photo; a photo that cannot be read goes on as an error of its own."""
    layout = JobLayout(ports.bucket, event.job_id)
    request = read_manifest(ports.objects, layout).request
    augmentation = request.augmentation
    if augmentation is None:
        raise Reject(f"augment: job {event.job_id!r} asks for no augmentation")

    cancelled = Cancellation(ports.objects, layout)

    def variants(image: Image) -> list[Image] | None:
        if cancelled:
            return None
        if image.error:
            return [image]
        uri = layout.image(image.product_id, photo=image.photo_number)
        try:
            photo = decode(ports.objects.read(uri, max_bytes=MAX_BYTES).data)
        except ObjectNotFoundError:
            return [image.model_copy(update={"error": "photo-missing"})]
        except ObjectTooLargeError:
            return [image.model_copy(update={"error": "photo-too-large"})]
        except ImageError as error:
            if error.detail:
                _logger.warning("%s: %s", uri, error)
            return [image.model_copy(update={"error": error.code})]
        made = [
            image.model_copy(update={"variant": f"augmented-{copy}"}) for copy in range(augmentation.copies)
        ]
        for variant in made:
            data = encode(augment(photo, augmentation, image_digest(event.job_id, variant)))
            written = layout.image(variant.product_id, variant.variant, variant.photo_number)
            ports.objects.create(written, data, "image/jpeg")
        return {"originals": [image], "augmented": made, "both": [image, *made], "none": made}[
            request.classify
        ]

    # A cancelled job goes on with the photos that it has, or none, so that the ledger has all batches.
    done = [made for made in in_parallel(variants, event.images) if made is not None]
    images = [image for made in done for image in made]
    readable = len(done) - sum(image.error is not None for image in images)
    telemetry.count("images_augmented", readable * augmentation.copies)
    ports.objects.create(layout.augmentation(event.batch), b"", "text/plain")
    return [
        BatchAugmented(
            job_id=event.job_id,
            batch=event.batch,
            images=tuple(images),
            classify=event.classify and bool(images),
        )
    ]


HANDLERS: Handlers = {BatchStaged: handle}
