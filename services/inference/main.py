"""The deployed function: pushed staged and augmented batches, and the uploads of a bucket."""

import os
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from services.inference.models import RegistryModels
from services.inference.predictors import DEFAULT_DIRECTORY, load_predictor
from services.inference.stage import HANDLERS, Ports
from services.shared import endpoint, settings
from services.shared.google_cloud import CloudObjects, CloudPublisher


class Settings(settings.Settings):
    """Inference's environment."""

    service = "inference"
    model_directory: Annotated[Path, Field(alias="VITRINE_MODEL_DIRECTORY")] = DEFAULT_DIRECTORY
    require_gpu: Annotated[bool, Field(alias="VITRINE_REQUIRE_GPU")] = False


SETTINGS = settings.read(Settings)


@cache
def ports() -> Ports:
    """Made on the first push, after gunicorn's fork."""
    objects = CloudObjects(SETTINGS.project)
    load = partial(load_predictor, require_gpu=SETTINGS.require_gpu)
    workers = 1 if SETTINGS.require_gpu else len(os.sched_getaffinity(0))
    return Ports(
        objects=objects,
        models=RegistryModels(objects, SETTINGS.bucket, SETTINGS.model_directory, load, workers),
        clock=lambda: datetime.now(UTC),
        bucket=SETTINGS.bucket,
    )


main = endpoint.function(SETTINGS, HANDLERS, ports, cache(lambda: CloudPublisher(SETTINGS.project)))
