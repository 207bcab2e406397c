"""The deployed function: pushed staged and augmented batches, and the uploads of a bucket."""

import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from services.inference.batcher import Batcher
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
    predictor = load_predictor(SETTINGS.model_directory, require_gpu=SETTINGS.require_gpu)
    return Ports(
        objects=CloudObjects(SETTINGS.project),
        model=predictor,
        predict=Batcher(
            predictor, workers=1 if SETTINGS.require_gpu else len(os.sched_getaffinity(0))
        ).predict,
        clock=lambda: datetime.now(UTC),
        bucket=SETTINGS.bucket,
    )


main = endpoint.function(SETTINGS, HANDLERS, ports, cache(lambda: CloudPublisher(SETTINGS.project)))
