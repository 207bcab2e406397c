"""The deployed function: pushed what is classified, what is only prepared, and what was rejected."""

from datetime import UTC, datetime
from functools import cache
from typing import Annotated

from pydantic import Field

from services.recording.stage import HANDLERS, Ports
from services.shared import endpoint, settings
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


main = endpoint.function(SETTINGS, HANDLERS, ports, cache(lambda: CloudPublisher(SETTINGS.project)))
