"""What can go wrong, as types: a message that is refused for good, and an image that cannot be classified."""

from typing import Literal

MAX_BYTES = 50 * 1024 * 1024  # of a photo

ImageErrorCode = Literal[
    "photo-missing",  # no object under the name that the catalogue gives; of a web address, 404 or 410
    "photo-not-allowed",  # at a web address that may not be fetched: its host is not allowed, or not public
    "photo-unavailable",  # at a web address whose host does not deliver it
    "photo-empty",  # an object of no bytes
    "photo-too-large",  # more bytes than MAX_BYTES
    "photo-too-many-pixels",  # a decompression bomb, or simply more than MAX_PIXELS
    "photo-not-an-image",  # bytes that are no image of any kind
    "photo-format-unsupported",  # an image, but not JPEG, PNG, WebP, AVIF, GIF or HEIC
    "photo-animated",  # more than one frame: which one would be the product?
    "photo-corrupt",  # an image whose data ends early or contradicts itself
]


class Reject(Exception):  # noqa: N818 - an order, not an error: `raise Reject(reason)`
    """A message that no repetition can make right. It is acknowledged and kept with this reason."""


class UnsuitableJobError(Exception):
    """Another job that a request goes on from does not serve for it; the message names the field.

    Args:
        reason: why, in one line.
        job_id: the job.
        why: missing, running, or unsuitable: it never will serve.

    """

    def __init__(self, reason: str, job_id: str, why: Literal["missing", "running", "unsuitable"]) -> None:
        super().__init__(reason)
        self.job_id = job_id
        self.why = why


class NotAllowedError(Exception):
    """The credentials have no right to this object."""


class ImageError(Exception):
    """A photo that cannot be used; it becomes a row with `code`, and its batch goes on.

    Args:
        code: what is wrong, for programs.
        detail: more about it, for people: the name of a format that is not supported.

    """

    def __init__(self, code: ImageErrorCode, detail: str | None = None) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code: ImageErrorCode = code
        self.detail = detail


class ObjectNotFoundError(Exception):
    """No object stands under this URI."""


class ObjectTooLargeError(Exception):
    """The object has more bytes than the reader is ready to hold."""
