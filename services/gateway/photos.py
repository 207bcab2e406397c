"""Photos in the gateway's memory: large ones are decoded one at a time, and few uploads are held at once."""

from collections.abc import Callable
from functools import partial
from threading import Lock

from anyio import CapacityLimiter, to_thread
from PIL import Image

from services.shared import images

UPLOADS = 2  # that are held, decoded and stored at once

_large = Lock()
_uploads = CapacityLimiter(UPLOADS)


def small(data: bytes, side: int) -> Image.Image:
    """A photo whose longest side has at most so many pixels.

    Raises:
        ImageError: with the code that says what is wrong with it.

    """
    image = images.decode(data, about=side, large=_large)
    image.thumbnail((side, side))
    return image


async def on_upload_thread[**P, R](do: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Does something with an upload on one of few threads, which are none of those that answer the rest."""
    return await to_thread.run_sync(partial(do, *args, **kwargs), limiter=_uploads)
