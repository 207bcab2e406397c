"""The deployed function: pushed what is classified, what is only prepared, and what was rejected."""

from datetime import UTC, datetime
from functools import cache
from typing import Annotated

from pydantic import Field

from services.recording.stage import (
    Ports,
    record_batch,
    record_prepared,
    record_rejection,
    record_upload,
)
from services.shared import endpoint, settings
from services.shared.events import (
    BatchAugmented,
    BatchClassified,
    BatchStaged,
    ImageClassified,
    MessageRejected,
)
from services.shared.google_bigquery import BigQueryWarehouse
from services.shared.google_cloud import CloudObjects, CloudPublisher


class Settings(settings.Settings):
    """Recording's environment."""

    service = "recording"
    dataset: Annotated[settings.DatasetName, Field(alias="VITRINE_DATASET")]


SETTINGS = settings.read(Settings)


@cache
def ports() -> Ports:
    """Made on the first push, after gunicorn's fork."""
    return Ports(
        objects=CloudObjects(SETTINGS.project),
        warehouse=BigQueryWarehouse(SETTINGS.project, SETTINGS.dataset),
        clock=lambda: datetime.now(UTC),
        bucket=SETTINGS.bucket,
    )


main = endpoint.function(
    SETTINGS,
    {
        BatchClassified: record_batch,
        BatchStaged: record_prepared,
        BatchAugmented: record_prepared,
        ImageClassified: record_upload,
        MessageRejected: record_rejection,
    },
    ports,
    cache(lambda: CloudPublisher(SETTINGS.project)),
)
