"""The manifest: what every stage needs to know of a job, written once, before its first batch."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.shared.events import ClassificationRequested, JobId
from services.shared.layout import JobLayout
from services.shared.ports import Objects


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


def read_manifest(objects: Objects, layout: JobLayout) -> Manifest:
    """Reads a job's manifest.

    Raises:
        ObjectNotFoundError: no such job.

    """
    return Manifest.model_validate_json(objects.read(layout.manifest).data)


def ndjson(rows: Iterable[BaseModel]) -> bytes:
    """Rows as newline-delimited JSON, the form that BigQuery loads."""
    return b"".join(row.model_dump_json().encode() + b"\n" for row in rows)
