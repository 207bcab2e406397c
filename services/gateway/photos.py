"""Photos that are uploaded: large ones are decoded one at a time, few are held at once, and who waits for an
answer keeps no thread.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from threading import Lock

from anyio import CapacityLimiter, to_thread
from fastapi.concurrency import run_in_threadpool
from PIL import Image

from services.client import report
from services.client.client import pauses
from services.gateway.ports import Ports
from services.shared.events import Prediction

UPLOADS = 2  # that are held, decoded and stored at once

_large = Lock()
_uploads = CapacityLimiter(UPLOADS)


def small(data: bytes, side: int) -> Image.Image:
    """A photo whose longest side has at most so many pixels.

    Raises:
        ImageError: with the code that says what is wrong with it.

    """
    return report.small(data, side, large=_large)


async def on_upload_thread[**P, R](do: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Does something with an upload on one of few threads, which are none of those that answer the rest."""
    return await to_thread.run_sync(partial(do, *args, **kwargs), limiter=_uploads)


async def answered(ports: Ports, prediction_id: str, deadline: float) -> Prediction | None:
    """The row of an uploaded photo; None where it is not there by the deadline, of the monotonic clock."""
    pause = pauses()
    while (prediction := await run_in_threadpool(ports.vitrine.tables.prediction, prediction_id)) is None:
        if time.monotonic() >= deadline:
            return None
        await asyncio.sleep(next(pause))
    return prediction
