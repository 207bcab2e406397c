"""The manifest: what every stage needs to know of a job, written once, before its first batch.

Beside it, what is known of a job while it runs: whether it is to end, and what came out of each batch.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.shared.errors import ImageErrorCode, ObjectNotFoundError, UnsuitableJobError
from services.shared.events import (
    ClassificationRequested,
    Image,
    JobCompleted,
    JobId,
    Prediction,
    Product,
    with_text_ids,
)
from services.shared.layout import JobLayout, digest, fetched_uri, photo_uri, uri_of_photo
from services.shared.ports import Objects, WebPhotos

LOOK_SECONDS = 1.0
MAX_PHOTOS = 20  # of a product: a batch of products stays the work of minutes


class Manifest(BaseModel):
    """A job as it was accepted: the request, the model version it is pinned to, and its size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_id: JobId
    request: ClassificationRequested
    model: str
    model_version: str
    images: Annotated[int, Field(ge=0)]
    batches: Annotated[int, Field(ge=1)]
    requested_at: AwareDatetime


class BatchTally(BaseModel):
    """What came out of a batch; the content of its marker in the ledger."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    predictions: Annotated[int, Field(ge=0)]  # photos with labels; variants count
    errors: Mapping[ImageErrorCode, Annotated[int, Field(ge=1)]]  # rows without, by code


class Cancellation:
    """Whether a job is to end, asked before each photo, and looked up once a second."""

    def __init__(self, objects: Objects, layout: JobLayout) -> None:
        self._objects, self._uri = objects, layout.cancelled
        self._looked = -LOOK_SECONDS
        self._cancelled = False

    def __bool__(self) -> bool:
        now = monotonic()
        if not self._cancelled and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._cancelled = self._objects.exists(self._uri)
        return self._cancelled


def read_manifest(objects: Objects, layout: JobLayout) -> Manifest:
    """Reads a job's manifest.

    Raises:
        ObjectNotFoundError: no such job.

    """
    return Manifest.model_validate_json(objects.read(layout.manifest).data)


def find_manifest(objects: Objects, layout: JobLayout) -> Manifest | None:
    """A job's manifest, if there is such a job."""
    try:
        return read_manifest(objects, layout)
    except ObjectNotFoundError:
        return None


def find_completed(objects: Objects, layout: JobLayout) -> JobCompleted | None:
    """A job's row of `jobs`, if it is done."""
    try:
        return JobCompleted.model_validate_json(objects.read(layout.summary).data)
    except ObjectNotFoundError:
        return None


def photos_of(bucket: str, job_id: str, request: ClassificationRequested) -> JobLayout:
    """Where the photos and variants of a job stand: under its own prefix, or that of the job that prepared
    them.
    """
    return JobLayout(bucket, request.prepared_by or job_id)


def find_done(objects: Objects, bucket: str, job_id: str, field: str = "") -> tuple[Manifest, JobCompleted]:
    """A job that has ended.

    Args:
        objects: where it is.
        bucket: where it is.
        job_id: the job.
        field: the field of a request that names it, if one does.

    Raises:
        UnsuitableJobError: there is none, or not yet.

    """
    layout = JobLayout(bucket, job_id)
    manifest, completed = find_manifest(objects, layout), find_completed(objects, layout)
    named = f"{field}: " if field else ""
    if manifest is None:
        raise UnsuitableJobError(f"{named}there is no job {job_id!r}", job_id, "missing")
    if completed is None:
        raise UnsuitableJobError(f"{named}job {job_id!r} is not done yet", job_id, "running")
    return manifest, completed


def check_origin(objects: Objects, bucket: str, request: ClassificationRequested) -> None:
    """Looks whether the jobs that a request goes on from serve for it.

    Raises:
        UnsuitableJobError: one does not.

    """
    if request.retry_of is not None:
        find_done(objects, bucket, request.retry_of, "retry_of")
    if request.prepared_by is not None:
        job_id = request.prepared_by
        prepared, completed = find_done(objects, bucket, job_id, "prepared_by")
        reason = None
        if completed.status != "completed":
            found = "no product matched" if completed.status == "empty" else "not all of it was prepared"
            reason = f"prepared_by: job {job_id!r} was {completed.status}: {found}"
        elif origin := prepared.request.prepared_by:
            reason = f"prepared_by: job {job_id!r} prepared nothing itself: name {origin!r}, which did"
        elif request.classify != "originals" and prepared.request.augmentation is None:
            reason = f'classify: "{request.classify}" needs variants, and job {job_id!r} made none'
        if reason:
            raise UnsuitableJobError(reason, job_id, "unsuitable")


def photo_uris(bucket: str, product: Product) -> Sequence[str]:
    """The URIs of a product's photos, at least one and at most MAX_PHOTOS, each once.

    They are those in Cloud Storage that the catalogue names, in its order. Of photos at `web_addresses` they
    are the places where `keep_fetched` puts them; where the catalogue names none, the one of the product's
    own name.
    """
    if addresses := web_addresses(product):
        return [fetched_uri(bucket, product.product_id, address) for address in addresses]
    uris = (uri_of_photo(bucket, photo) for photo in product.photos)
    own = [*dict.fromkeys(uri for uri in uris if uri.startswith("gs://"))]
    return own[:MAX_PHOTOS] or [photo_uri(bucket, product.product_id)]


def numbered_photos(bucket: str, product: Product) -> Sequence[tuple[int | None, str]]:
    """A product's photos with their `Image.photo_number`, from 1; an only photo has None."""
    uris = photo_uris(bucket, product)
    return [(None, uris[0])] if len(uris) == 1 else [*enumerate(uris, start=1)]


def image_digest(job_id: str, image: Image) -> str:
    """What derives from a job and an image: the id of its row, and the seed of a variant."""
    several = () if image.photo_number is None else (image.photo_number,)
    return digest(job_id, image.product_id, image.variant, *several)


def web_addresses(product: Product) -> Sequence[str]:
    """The addresses from which a product's photos are fetched; none if one of them is in Cloud Storage."""
    on_the_web = all(is_web_address(photo) for photo in product.photos)
    return [*dict.fromkeys(product.photos)][:MAX_PHOTOS] if on_the_web else []


def is_web_address(photo: str) -> bool:
    """Whether a photo that a catalogue names is elsewhere than in Cloud Storage."""
    return "://" in photo and not photo.startswith("gs://")


def keep_fetched(product_id: str, address: str, objects: Objects, bucket: str, web: WebPhotos) -> None:
    """Fetches a photo of a product, and stores it where `photo_uris` says.

    Raises:
        ImageError: it cannot be fetched, or is no photo.

    """
    objects.create(fetched_uri(bucket, product_id, address), web.fetch(address), "image/jpeg")


def read_products(objects: Objects, layout: JobLayout, batch: int) -> list[Product]:
    """The products of a batch, as the catalogue had them when the job selected them.

    Raises:
        ObjectNotFoundError: it is not staged yet.

    """
    lines = with_text_ids(objects.read(layout.metadata(batch)).data).splitlines()
    return [Product.model_validate_json(line) for line in lines]


def read_predictions(objects: Objects, layout: JobLayout, batch: int) -> list[Prediction]:
    """The rows of a batch.

    Raises:
        ObjectNotFoundError: it is not classified yet.

    """
    lines = with_text_ids(objects.read(layout.predictions(batch)).data).splitlines()
    return [Prediction.model_validate_json(line) for line in lines]


def count_batch(objects: Objects, layout: JobLayout, batch: int) -> BatchTally:
    """Counts the rows of a batch.

    Raises:
        ObjectNotFoundError: it is not classified yet.

    """
    rows = read_predictions(objects, layout, batch)
    errors = Counter(row.error for row in rows if not row.combined)
    predictions = errors.pop(None, 0)
    return BatchTally(predictions=predictions, errors={code: n for code, n in errors.items() if code})


def read_tally(objects: Objects, layout: JobLayout, batch: int) -> BatchTally:
    """What came out of a batch that is in the ledger.

    Raises:
        ObjectNotFoundError: it is not.

    """
    marker = objects.read(layout.ledger(batch)).data
    # Markers were empty once, and jobs outlive releases.
    return BatchTally.model_validate_json(marker) if marker else count_batch(objects, layout, batch)


def ndjson(rows: Iterable[BaseModel]) -> bytes:
    """Rows as newline-delimited JSON, the form that BigQuery loads."""
    return b"".join(row.model_dump_json().encode() + b"\n" for row in rows)
