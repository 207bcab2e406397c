"""The deployed function: pushed batch-selected."""

from functools import cache

from services.shared import endpoint, settings
from services.shared.google_cloud import CloudObjects, CloudPublisher
from services.staging.stage import HANDLERS, Ports


class Settings(settings.Settings):
    """Staging's environment."""

    service = "staging"


SETTINGS = settings.read(Settings)


@cache
def ports() -> Ports:
    """Made on the first push, after gunicorn's fork."""
    return Ports(objects=CloudObjects(SETTINGS.project), bucket=SETTINGS.bucket)


main = endpoint.function(SETTINGS, HANDLERS, ports, cache(lambda: CloudPublisher(SETTINGS.project)))
