"""The photos of an audit, embedded once by a version of the model, and kept in parts.

Of a photo only its embedding stays, what tells near-duplicates, and the digest of its bytes.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from services.model.duplicates import Signature, signature
from services.model.learnt import Learnt, photo_digest
from services.model.preprocessing import to_array
from services.shared.errors import ImageError, ImageErrorCode, ObjectNotFoundError, ObjectTooLargeError
from services.shared.events import Product
from services.shared.images import MAX_BYTES, decode
from services.shared.jobs import photo_of
from services.shared.parallel import in_parallel
from services.shared.ports import Objects

PART_PRODUCTS = 256

_LARGEST = np.finfo(np.float16).max


class Embedder(Protocol):
    """A version of the model, of which only the embedding is asked."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def version(self) -> str:
        """The model's version."""
        ...

    @property
    def image_size(self) -> int:
        """Pixels of a side of the square that `services.model.preprocessing.to_array` is to make."""
        ...

    @property
    def learnt(self) -> Learnt | None:
        """The photos that the version was trained on; None where that is not known."""
        ...

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings [N, E] of images [N, image_size, image_size, 3]."""
        ...


@dataclass(frozen=True)
class Part:
    """What is kept of the photos of up to PART_PRODUCTS products, in the order of the products."""

    errors: NDArray[np.str_]  # [N]: why the photo cannot be used; "" where it can
    embeddings: NDArray[np.float16]  # [N, E]; this and the others are 0 where there is an error
    photos: NDArray[np.uint64]  # [N]: services.model.learnt.photo_digest
    hashes: NDArray[np.uint64]  # [N, 4]: of services.model.duplicates.Signature
    colours: NDArray[np.uint8]  # [N, 3]

    def to_bytes(self) -> bytes:
        """A .npz; equal parts give equal bytes."""
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **vars(self))
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(**arrays)

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """All photos of all parts, in order."""
        return cls(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})

    def error(self, place: int) -> ImageErrorCode | None:
        """Why a photo cannot be used; None where it can."""
        code = str(self.errors[place])
        return cast("ImageErrorCode", code) if code else None

    def signatures(self) -> list[Signature]:
        """What tells near-duplicates, of each photo."""
        return [Signature(*pair) for pair in zip(self.hashes, self.colours, strict=True)]

    def take(self, places: NDArray[np.int64]) -> Self:
        """The photos at these places."""
        return type(self)(**{name: array[places] for name, array in vars(self).items()})


def embed(products: Sequence[Product], objects: Objects, bucket: str, embedder: Embedder) -> Part:
    """Reads and embeds the photos of a part; one that cannot be used has its code."""
    photos = in_parallel(lambda each: _photo(each, objects, bucket, embedder.image_size), products)
    usable = [photo for photo in photos if isinstance(photo, _Photo)]
    size = embedder.image_size
    pixels = np.stack([np.empty((size, size, 3), np.uint8), *(photo.pixels for photo in usable)])
    # Of none, too, it is asked: the width of an embedding is the model's to know.
    embeddings = np.clip(embedder.embed(pixels[1:]), -_LARGEST, _LARGEST).astype(np.float16)
    places = [place for place, photo in enumerate(photos) if isinstance(photo, _Photo)]

    def placed[T: np.generic](values: NDArray[T]) -> NDArray[T]:
        array = np.zeros((len(photos), *values.shape[1:]), values.dtype)
        array[places] = values
        return array

    return Part(
        errors=np.array(["" if isinstance(photo, _Photo) else photo for photo in photos]),
        embeddings=placed(embeddings),
        photos=placed(np.array([photo.digest for photo in usable], np.uint64)),
        hashes=placed(np.array([photo.signature.hash for photo in usable], np.uint64).reshape(-1, 4)),
        colours=placed(np.array([photo.signature.colour for photo in usable], np.uint8).reshape(-1, 3)),
    )


@dataclass(frozen=True)
class _Photo:
    pixels: NDArray[np.uint8]
    signature: Signature
    digest: int


def _photo(product: Product, objects: Objects, bucket: str, size: int) -> _Photo | ImageErrorCode:
    try:
        data = objects.read(photo_of(bucket, product), max_bytes=MAX_BYTES).data
        image = decode(data, about=size)
    except ObjectNotFoundError:
        return "photo-missing"
    except ObjectTooLargeError:
        return "photo-too-large"
    except ImageError as unusable:
        return unusable.code
    return _Photo(to_array(image, size), signature(image), photo_digest(data))
