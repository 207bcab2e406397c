"""Photos in the gateway's memory: large ones are decoded one at a time, and few uploads are held at once."""

import io
from collections.abc import Callable
from functools import partial
from threading import Lock

from anyio import CapacityLimiter, to_thread
from PIL import Image

from services.shared import images

JPEG_QUALITY = 85
UPLOADS = 2  # that are held, decoded and stored at once

_large = Lock()
_uploads = CapacityLimiter(UPLOADS)


def decode(data: bytes, about: int) -> Image.Image:
    """As services.shared.images.decode: about as large as is needed.

    Raises:
        ImageError: with the code that says what is wrong with it.

    """
    return images.decode(data, about=about, large=_large)


def jpeg(image: Image.Image, side: int) -> bytes:
    """A photo as a JPEG of at most so many pixels a side; the image itself is made as small."""
    image.thumbnail((side, side))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


async def on_upload_thread[**P, R](do: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Does something with an upload on one of few threads, which are none of those that answer the rest."""
    return await to_thread.run_sync(partial(do, *args, **kwargs), limiter=_uploads)
