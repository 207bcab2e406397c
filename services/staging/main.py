"""The deployed function: pushed batch-selected."""

from functools import cache
from typing import Annotated

from pydantic import Field

from services.shared import endpoint, settings
from services.shared.catalogue_config import bundled_config
from services.shared.google_cloud import CloudObjects, CloudPublisher
from services.shared.https_photos import HttpsPhotos
from services.staging.stage import HANDLERS, Ports


class Settings(settings.Settings):
    """Staging's environment."""

    service = "staging"
    catalogue: Annotated[settings.Catalogue, Field(alias="VITRINE_CATALOGUE")] = bundled_config()


SETTINGS = settings.read(Settings)


@cache
def ports() -> Ports:
    """Made on the first push, after gunicorn's fork."""
    return Ports(
        objects=CloudObjects(SETTINGS.project),
        bucket=SETTINGS.bucket,
        web=HttpsPhotos(SETTINGS.catalogue.photos.hosts),
    )


main = endpoint.function(SETTINGS, HANDLERS, ports, cache(lambda: CloudPublisher(SETTINGS.project)))
