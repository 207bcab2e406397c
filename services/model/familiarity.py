"""Whether a photo is like any that the model was trained on, told by its embedding.

A network answers for every picture, and may be sure of its answer for a cat. What gives the cat away is that
its embedding lies far from those of all training photos. The embedding is the network's layer `hidden`: what
the heads see of a photo, 512 values after their ReLU.

The training photos are represented by the centres of clusters, in 8-bit integers: a file of 0.2 MB instead of
one of 100 MB, by which strange pictures are told apart as well as by the 15 nearest of all embeddings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from services.model.manifest import ModelError

FAMILIARITY_FILE = "familiarity.npz"
EMBEDDING = "embedding"  # what networks call this output; no head may be called so

CENTRES = 1000
HELD_OUT_SHARE = 0.99
ROUNDS = 5

_BLOCK = 8192  # embeddings that are compared at once, so that memory does not grow with their number
_TINY = np.float32(1e-12)


@dataclass(frozen=True, eq=False)
class Familiarity:
    """How far an embedding is from those of the training photos.

    Args:
        centres: int8 [C, E], what the training embeddings cluster around; only their directions count.
        threshold: the distance beyond which a photo is unfamiliar.

    """

    centres: NDArray[np.int8]
    threshold: float

    @classmethod
    def fit(
        cls,
        training: NDArray[np.float32],
        held_out: NDArray[np.float32],
        *,
        centres: int = CENTRES,
        groups: Sequence[str] | None = None,
        share: float = HELD_OUT_SHARE,
        seed: int = 0,
    ) -> Self:
        """Cluster the training embeddings; set the threshold by photos that were not trained on.

        Spherical k-means (Dhillon and Modha, Machine Learning 2001), begun at random photos: neither a better
        start nor more rounds tell more apart. 55,000 embeddings of 512 take 10 s on 2 cores.

        Args:
            training: [N, E].
            held_out: [M, E], embeddings of photos that the network was not trained on.
            centres: at most so many clusters.
            groups: [M], what the held-out photos belong to; else all are one group.
            share: of the held-out photos of each group, the share that is to be familiar.
            seed: the same seed and embeddings give the same centres.

        Raises:
            ValueError: there are no embeddings, or some are not finite.

        """
        for name, embeddings in (("training", training), ("held_out", held_out)):
            if embeddings.ndim != 2 or not embeddings.size or not np.isfinite(embeddings).all():
                raise ValueError(f"{name}: must be finite embeddings [N, E], not {embeddings.shape}")
        found = _cluster(_directions(training), min(centres, len(training)), np.random.default_rng(seed))
        largest = np.maximum(np.abs(found).max(axis=1, keepdims=True), _TINY)
        rounded = np.round(127 * found / largest).astype(np.int8)
        distances = cls(rounded, 0.0).distance(held_out)
        names = np.array(groups if groups is not None else [""] * len(held_out))
        # A few photos of another kind would else be the share that need not be familiar.
        furthest = max(np.quantile(distances[names == name], share) for name in np.unique(names))
        return cls(rounded, float(furthest))

    def distance(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine distances [N], 0 to 2, of embeddings [N, E] to the nearest centre."""
        return 1 - _nearest(_directions(embeddings), self._directions)[1]

    def save(self, path: Path) -> None:
        """Write one compressed .npz; equal centres give equal bytes."""
        np.savez_compressed(path, allow_pickle=False, centres=self.centres, threshold=self.threshold)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ModelError: it is another file.

        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                centres, threshold = arrays["centres"], float(arrays["threshold"])
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise ModelError(f"{path} is refused: {error}") from error
        if centres.dtype != np.int8 or centres.ndim != 2 or not centres.size:
            raise ModelError(
                f"{path} is refused: centres must be int8 [C, E], not {centres.dtype} {centres.shape}"
            )
        return cls(centres, threshold)

    @cached_property
    def _directions(self) -> NDArray[np.float32]:
        return _directions(self.centres.astype(np.float32))


def _directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors; one of zeros, which points nowhere, stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
    return (vectors / np.maximum(lengths, _TINY)).astype(np.float32, copy=False)


def _nearest(
    directions: NDArray[np.float32], centres: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Of each direction [N, E]: the index of the nearest centre, and its cosine."""
    nearest, cosines = np.empty(len(directions), np.intp), np.empty(len(directions), np.float32)
    for start in range(0, len(directions), _BLOCK):
        block = slice(start, start + _BLOCK)
        products = directions[block] @ centres.T
        nearest[block], cosines[block] = products.argmax(axis=1), products.max(axis=1)
    return nearest, cosines


def _cluster(directions: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    centres = directions[rng.choice(len(directions), count, replace=False)]
    for _ in range(ROUNDS):
        nearest, _cosines = _nearest(directions, centres)
        order = np.argsort(nearest, kind="stable")
        # A centre that is nearest to nothing, as where photos are repeated, stays where it is.
        occupied, starts = np.unique(nearest[order], return_index=True)
        centres[occupied] = _directions(np.add.reduceat(directions[order], starts))
    return centres
