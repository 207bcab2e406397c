"""The deployed function: pushed batch-staged where it asks for augmentation."""

from functools import cache

from services.augmentation.stage import HANDLERS, Ports
from services.shared import endpoint, settings
from services.shared.google_cloud import CloudObjects, CloudPublisher


class Settings(settings.Settings):
    """Augmentation's environment."""

    service = "augmentation"


SETTINGS = settings.read(Settings)


@cache
def ports() -> Ports:
    """Made on the first push, after gunicorn's fork."""
    return Ports(objects=CloudObjects(SETTINGS.project), bucket=SETTINGS.bucket)


main = endpoint.function(SETTINGS, HANDLERS, ports, cache(lambda: CloudPublisher(SETTINGS.project)))
