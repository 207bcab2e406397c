from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.model.familiarity import Familiarity
from services.model.manifest import ModelError

SIZE = 32


def kinds(count: int, seed: int) -> NDArray[np.float32]:
    """Embeddings of photos around five kinds of product."""
    rng = np.random.default_rng(seed)
    of_kind = np.maximum(np.random.default_rng(99).normal(0, 1, (5, SIZE)), 0)
    return np.maximum(of_kind[rng.integers(5, size=count)] + rng.normal(0, 0.2, (count, SIZE)), 0).astype(
        np.float32
    )


def strange(count: int) -> NDArray[np.float32]:
    return np.abs(np.random.default_rng(7).normal(0, 1, (count, SIZE))).astype(np.float32)


@pytest.fixture(scope="module")
def familiarity() -> Familiarity:
    return Familiarity.fit(kinds(2_000, 1), kinds(1_000, 2), centres=50)


def test_what_is_like_training_is_familiar_and_what_is_not_is_not(familiarity: Familiarity) -> None:
    assert (familiarity.distance(kinds(1_000, 3)) > familiarity.threshold).mean() < 0.03
    assert (familiarity.distance(strange(200)) > familiarity.threshold).all()


@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
def test_the_threshold_leaves_the_chosen_share_of_held_out_photos_familiar(share: float) -> None:
    held_out = kinds(1_000, 2)
    fitted = Familiarity.fit(kinds(2_000, 1), held_out, centres=50, share=share)
    assert (fitted.distance(held_out) <= fitted.threshold).mean() == pytest.approx(share, abs=0.002)


def test_the_share_holds_for_each_group_of_held_out_photos() -> None:
    near, far = kinds(1_000, 2), strange(20)
    groups = ["near"] * len(near) + ["far"] * len(far)
    fitted = Familiarity.fit(
        kinds(2_000, 1), np.concatenate([near, far]), centres=50, groups=groups, share=0.9
    )
    assert (fitted.distance(far) <= fitted.threshold).mean() == pytest.approx(0.9)


def test_the_same_seed_gives_the_same_file_and_another_gives_another(tmp_path: Path) -> None:
    written = []
    for seed in (0, 0, 1):
        Familiarity.fit(kinds(500, 1), kinds(100, 2), centres=20, seed=seed).save(
            tmp_path / "familiarity.npz"
        )
        written.append((tmp_path / "familiarity.npz").read_bytes())
    assert written[0] == written[1] != written[2]


def test_what_was_saved_is_loaded(familiarity: Familiarity, tmp_path: Path) -> None:
    familiarity.save(tmp_path / "familiarity.npz")
    loaded = Familiarity.load(tmp_path / "familiarity.npz")
    assert loaded.threshold == familiarity.threshold
    np.testing.assert_array_equal(loaded.distance(strange(9)), familiarity.distance(strange(9)))


def test_with_a_centre_for_each_photo_the_distance_is_that_to_the_nearest_photo() -> None:
    training, asked = kinds(40, 1), strange(30)
    fitted = Familiarity.fit(training, asked, centres=1_000)
    cosines = (asked @ training.T) / np.outer(np.linalg.norm(asked, axis=1), np.linalg.norm(training, axis=1))
    # Rounded to 8 bits.
    assert fitted.distance(asked) == pytest.approx(1 - cosines.max(axis=1), abs=0.01)


@given(scale=st.floats(1e-3, 1e3), photos=st.integers(0, 5))
def test_only_the_direction_of_an_embedding_counts(
    familiarity: Familiarity, scale: float, photos: int
) -> None:
    embeddings = strange(photos)
    distances = familiarity.distance(embeddings)
    assert distances.shape == (photos,)
    assert familiarity.distance(embeddings * np.float32(scale)) == pytest.approx(distances, abs=1e-5)


def test_an_embedding_of_zeros_is_like_nothing(familiarity: Familiarity) -> None:
    assert familiarity.distance(np.zeros((1, SIZE), np.float32)).tolist() == [1]


def test_photos_that_are_all_the_same_are_familiar() -> None:
    same = np.repeat(kinds(1, 1), 100, axis=0)
    fitted = Familiarity.fit(same, same, centres=10)
    assert fitted.distance(same) == pytest.approx(np.zeros(100), abs=0.001)


@pytest.mark.parametrize(
    ("training", "held_out", "complaint"),
    [
        (np.empty((0, SIZE)), np.ones((1, SIZE)), "training"),
        (np.ones((1, SIZE)), np.empty((0, SIZE)), "held_out"),
        (np.ones(SIZE), np.ones((1, SIZE)), "training"),
        (np.ones((1, SIZE)), np.full((1, SIZE), np.nan), "held_out"),
    ],
)
def test_embeddings_that_are_none_are_refused_by_name(
    training: NDArray[np.float32], held_out: NDArray[np.float32], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Familiarity.fit(training.astype(np.float32), held_out.astype(np.float32))


def test_a_file_that_is_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "familiarity.npz"
    centres = np.ones((3, SIZE), np.int8)
    pickled = np.array([{"an": "object"}], dtype=object)
    for arrays in (
        {"centres": centres},
        {"centres": centres.astype(np.float32), "threshold": 0.1},
        {"centres": centres[0], "threshold": 0.1},
        {"centres": centres, "threshold": np.ones(2)},
        {"centres": pickled, "threshold": 0.1},
    ):
        np.savez(path, allow_pickle=True, **arrays)
        with pytest.raises(ModelError, match=r"familiarity\.npz is refused"):
            Familiarity.load(path)
    for data in (b"", b"cos\nsystem\n(S'true'\ntR.", b"PK\x03\x04"):
        path.write_bytes(data)
        with pytest.raises(ModelError, match=r"familiarity\.npz is refused"):
            Familiarity.load(path)
