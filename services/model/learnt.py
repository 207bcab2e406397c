"""Which photos a model version was trained on, so that nobody takes its opinion of them for independent.

A model that has learnt a wrong label agrees with it. A photo is known by its bytes, not by its product's id:
two shops may use the same id, and the same file under another name teaches the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from services.model.manifest import ModelError

LEARNT_FILE = "learnt.npz"


def photo_digest(data: bytes) -> int:
    """Identifies a photo by the bytes of its file; between 0 and 2**64."""
    return int.from_bytes(blake2b(data, digest_size=8).digest())


@dataclass(frozen=True, eq=False)
class Learnt:
    """The photos that a version was trained on.

    Args:
        photos: uint64 [N], their digests in ascending order.

    """

    photos: NDArray[np.uint64]

    @classmethod
    def of(cls, photos: Iterable[int]) -> Self:
        """The photos with these digests."""
        return cls(np.unique(np.fromiter(photos, np.uint64)))

    def __contains__(self, photo: int) -> bool:
        """Whether a photo with this digest was trained on."""
        place = np.searchsorted(self.photos, np.uint64(photo))
        return bool(place < len(self.photos) and self.photos[place] == np.uint64(photo))

    def save(self, path: Path) -> None:
        """Write one .npz; equal sets give equal bytes."""
        np.savez(path, allow_pickle=False, photos=self.photos)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ModelError: it is another file.

        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                photos = arrays["photos"]
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise ModelError(f"{path} is refused: {error}") from error
        if photos.dtype != np.uint64 or photos.ndim != 1 or (np.diff(photos) == 0).any():
            raise ModelError(f"{path} is refused: photos must be distinct uint64 [N]")
        return cls(photos)
