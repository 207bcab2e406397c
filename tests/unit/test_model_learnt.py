"""Which photos a version was trained on."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.learnt import Learnt, photo_digest
from services.model.manifest import ModelError


@given(st.sets(st.integers(0, 2**64 - 1)), st.integers(0, 2**64 - 1))
def test_exactly_the_given_photos_are_learnt(photos: set[int], other: int) -> None:
    learnt = Learnt.of(photos)
    assert all(photo in learnt for photo in photos)
    assert (other in learnt) == (other in photos)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    learnt = Learnt.of(map(photo_digest, (b"one photo", b"another", b"one photo")))
    learnt.save(tmp_path / "learnt.npz")
    loaded = Learnt.load(tmp_path / "learnt.npz")
    assert len(loaded.photos) == 2
    assert photo_digest(b"another") in loaded
    assert photo_digest(b"a third") not in loaded


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "learnt.npz"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is refused"):
        Learnt.load(path)


def test_other_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "learnt.npz"
    for photos in (np.array([1.5]), np.array([[1]], np.uint64), np.array([1, 1], np.uint64)):
        np.savez(path, photos=photos)
        with pytest.raises(ModelError, match="distinct uint64"):
            Learnt.load(path)
