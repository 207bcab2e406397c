"""Several photos of one product: one answer, the photo that decided, and the one that does not belong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from services.model.combining import combine, misfits

LABELS = 5


def answers(*best: tuple[int, float]) -> NDArray[np.float32]:
    """A row a photo: its best label with its probability, the rest shared by the others."""
    rows = np.empty((len(best), LABELS), np.float32)
    for row, (label, probability) in zip(rows, best, strict=True):
        row[:] = (1 - probability) / (LABELS - 1)
        row[label] = probability
    return rows


SHAPES = st.tuples(st.integers(1, 8), st.integers(2, 9))


@given(arrays(np.float32, SHAPES, elements=st.floats(0, 1, width=32)))
def test_an_answer_is_a_distribution_whatever_the_photos_say(weights: NDArray[np.float32]) -> None:
    weights = weights + np.float32(1e-3)
    photos = weights / weights.sum(axis=1, keepdims=True)
    answer = combine(photos)
    assert answer.dtype == np.float32
    assert answer.sum() == pytest.approx(1, abs=1e-4)
    assert (answer >= 0).all()
    assert np.allclose(combine(photos[::-1]), answer, atol=1e-5)


def test_one_photo_answers_for_itself() -> None:
    assert combine(answers((2, 0.7))) == pytest.approx(answers((2, 0.7))[0], abs=1e-6)


def test_photos_that_agree_are_surer_together_but_not_as_sure_as_if_they_were_independent() -> None:
    together = combine(answers((1, 0.6), (1, 0.6), (1, 0.6), (1, 0.6)))[1]
    independent = 0.6**4 / (0.6**4 + 4 * 0.1**4)
    assert 0.6 < together < independent


def test_the_surer_photo_counts_more() -> None:
    photos = answers((1, 0.5), (3, 0.95))
    assert combine(photos).argmax() == 3


def test_no_label_is_impossible_because_one_photo_says_so() -> None:
    photos = answers((1, 1.0), (3, 0.99), (3, 0.99))
    assert combine(photos).argmax() == 3


@pytest.mark.parametrize("count", range(3, 9))
def test_a_photo_of_something_else_is_named(count: int) -> None:
    photos = answers(*[(1, 0.9)] * (count - 1), (4, 0.999))
    assert misfits(photos).tolist() == [False] * (count - 1) + [True]


def test_photos_that_agree_all_fit() -> None:
    assert not misfits(answers((1, 0.9), (1, 0.5), (1, 0.99), (1, 0.7))).any()


def test_an_unsure_photo_fits() -> None:
    assert not misfits(answers((1, 0.9), (1, 0.9), (4, 0.4))).any()


def test_of_two_photos_the_catalogue_tells_which_is_wrong() -> None:
    photos = answers((1, 0.99), (4, 0.99))
    assert not misfits(photos).any()
    assert misfits(photos, declared=1).tolist() == [False, True]
    assert misfits(photos, declared=4).tolist() == [True, False]


def test_a_single_photo_is_no_misfit_whatever_the_catalogue_says() -> None:
    assert not misfits(answers((1, 0.999)), declared=3).any()


def test_never_are_half_of_the_photos_misfits() -> None:
    photos = answers((1, 0.999), (1, 0.999), (3, 0.999), (3, 0.999))
    assert misfits(photos).sum() < 2
