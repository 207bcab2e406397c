"""The deployed function: pushed classification-requested and selection-continued."""

from datetime import UTC, datetime
from functools import cache
from typing import Annotated

from pydantic import Field

from services.selection.stage import HANDLERS, Ports
from services.shared import endpoint, settings
from services.shared.catalogue_config import bundled_config
from services.shared.google_bigquery import BigQueryCatalogue
from services.shared.google_cloud import CloudObjects, CloudPublisher


class Settings(settings.Settings):
    """Selection's environment."""

    service = "selection"
    dataset: Annotated[settings.DatasetName, Field(alias="VITRINE_DATASET")]
    catalogue: Annotated[settings.Catalogue, Field(alias="VITRINE_CATALOGUE")] = bundled_config()
    model: Annotated[str, Field(alias="VITRINE_MODEL", min_length=1)]
    model_version: Annotated[str, Field(alias="VITRINE_MODEL_VERSION", min_length=1)]


SETTINGS = settings.read(Settings)


@cache
def ports() -> Ports:
    """Made on the first push, after gunicorn's fork."""
    return Ports(
        objects=CloudObjects(SETTINGS.project),
        catalogue=BigQueryCatalogue(SETTINGS.project, SETTINGS.dataset, SETTINGS.catalogue),
        clock=lambda: datetime.now(UTC),
        bucket=SETTINGS.bucket,
        model=SETTINGS.model,
        model_version=SETTINGS.model_version,
    )


main = endpoint.function(SETTINGS, HANDLERS, ports, cache(lambda: CloudPublisher(SETTINGS.project)))
