"""The photos of an audit, embedded once by a version of the model, and kept in parts.

Kept are the mean embedding of each product's photos, and of each photo what tells near-duplicates and the
digest of its bytes.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import batched, chain
from typing import Literal, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from services.model.duplicates import Signature, signature
from services.model.learnt import Learnt, photo_digest
from services.model.preprocessing import to_array
from services.shared.errors import ImageError, ImageErrorCode, ObjectNotFoundError, ObjectTooLargeError
from services.shared.events import Product
from services.shared.images import MAX_BYTES, decode
from services.shared.jobs import photo_uris
from services.shared.parallel import in_parallel
from services.shared.ports import Objects

PART_PRODUCTS = 256
PHOTOS_AT_ONCE = 256

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
    """What is kept of the photos of up to PART_PRODUCTS products: N products, P photos.

    Args:
        embeddings: [N, E], the mean of a product's usable photos; 0 where it has none.
        owners: [P], the place of each photo's product among the N, in ascending order.
        errors: [P], why a photo cannot be used; "" where it can. The following are 0 where there is an error.
        photos: [P], `services.model.learnt.photo_digest`.
        hashes: [P, 4], of `services.model.duplicates.Signature`.
        colours: [P, 3], of the same.

    """

    embeddings: NDArray[np.float16]
    owners: NDArray[np.int64]
    errors: NDArray[np.str_]
    photos: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    colours: NDArray[np.uint8]

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
        """All products and photos of all parts, in order."""
        arrays = {name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])}
        before = np.cumsum([0, *(len(part.embeddings) for part in parts[:-1])])
        arrays["owners"] += np.repeat(before, [len(part.owners) for part in parts])
        return cls(**arrays)

    def usable(self) -> NDArray[np.int64]:
        """The places of the products that have a usable photo, in ascending order."""
        return np.unique(self.owners[self.errors == ""])

    def product_errors(self) -> list[ImageErrorCode | None]:
        """Why a product's first photo cannot be used, [N]; None where any of its photos can."""
        firsts = self.errors[np.searchsorted(self.owners, np.arange(len(self.embeddings)))]
        firsts[self.usable()] = ""
        return [cast("ImageErrorCode", str(code)) if code else None for code in firsts]

    def learnt_by(self, learnt: Learnt) -> NDArray[np.bool_]:
        """Whether a version was trained on any photo of a product, [N]."""
        owners = self.owners[(self.errors == "") & np.isin(self.photos, learnt.photos)]
        return np.isin(np.arange(len(self.embeddings)), owners)

    def signatures(self) -> Iterator[tuple[int, Signature]]:
        """What tells near-duplicates, of each usable photo, with the place of its product."""
        usable = np.flatnonzero(self.errors == "")
        for owner, *pair in zip(
            self.owners[usable].tolist(), self.hashes[usable], self.colours[usable], strict=True
        ):
            yield owner, Signature(*pair)

    def take(self, places: NDArray[np.int64]) -> Self:
        """The products at these places, which ascend, and their photos."""
        arrays = dict(vars(self))
        of_these = np.isin(self.owners, places)
        for name in ("owners", "errors", "photos", "hashes", "colours"):
            arrays[name] = arrays[name][of_these]
        arrays["owners"] = np.searchsorted(places, arrays["owners"])
        return type(self)(**arrays | {"embeddings": self.embeddings[places]})


def embed(products: Sequence[Product], objects: Objects, bucket: str, embedder: Embedder) -> Part:
    """Reads and embeds the photos of a part; a photo that cannot be used has its code."""
    uris = [photo_uris(bucket, product) for product in products]
    owners = np.repeat(np.arange(len(products)), [len(some) for some in uris])
    photos: list[_Photo] = []
    vectors: list[NDArray[np.float32]] = []
    size = embedder.image_size
    # A few at a time: a product may have many photos.
    for some in batched(chain.from_iterable(uris), PHOTOS_AT_ONCE, strict=False):
        read = in_parallel(lambda uri: _read(uri, objects, size), some)
        pixels = [each for _, each in read if each is not None]
        # No pixels are embedded, too: the result tells the width of an embedding.
        vectors.append(embedder.embed(np.array(pixels, np.uint8).reshape(-1, size, size, 3)))
        photos += [photo for photo, _ in read]
    errors = np.array([photo.error for photo in photos])
    embedded = np.concatenate(vectors)
    embeddings = np.zeros((len(products), embedded.shape[1]), np.float32)
    np.add.at(embeddings, owners[errors == ""], embedded)
    counts = np.bincount(owners[errors == ""], minlength=len(products))
    embeddings /= np.maximum(counts, 1)[:, None]
    return Part(
        embeddings=np.clip(embeddings, -_LARGEST, _LARGEST).astype(np.float16),
        owners=owners,
        errors=errors,
        photos=np.array([photo.digest for photo in photos], np.uint64),
        hashes=np.array([photo.signature.hash for photo in photos], np.uint64),
        colours=np.array([photo.signature.colour for photo in photos], np.uint8),
    )


_NONE = Signature(np.zeros(4, np.uint64), np.zeros(3, np.uint8))


@dataclass(frozen=True)
class _Photo:
    error: ImageErrorCode | Literal[""] = ""
    digest: int = 0
    signature: Signature = _NONE


def _read(uri: str, objects: Objects, size: int) -> tuple[_Photo, NDArray[np.uint8] | None]:
    """A photo and its pixels; None if it cannot be used."""
    try:
        data = objects.read(uri, max_bytes=MAX_BYTES).data
        image = decode(data, about=size)
    except ObjectNotFoundError:
        return _Photo("photo-missing"), None
    except ObjectTooLargeError:
        return _Photo("photo-too-large"), None
    except ImageError as unusable:
        return _Photo(unusable.code), None
    return _Photo("", photo_digest(data), signature(image)), to_array(image, size)
