"""The manifest: what every stage needs to know of a job, written once, before its first batch."""

from collections.abc import Iterable
from time import monotonic
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.shared.errors import ObjectNotFoundError
from services.shared.events import ClassificationRequested, JobId
from services.shared.layout import JobLayout
from services.shared.ports import Objects

LOOK_SECONDS = 1.0


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


def ndjson(rows: Iterable[BaseModel]) -> bytes:
    """Rows as newline-delimited JSON, the form that BigQuery loads."""
    return b"".join(row.model_dump_json().encode() + b"\n" for row in rows)
