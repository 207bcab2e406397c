import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.model.calibration import expected_calibration_error, fit_temperature, softmax


def _answers(photos: int, temperature: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits that are `temperature` times too large, and labels drawn from the true probabilities."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (photos, 5)).astype(np.float32)
    drawn = softmax(logits).cumsum(axis=1) > rng.random((photos, 1))
    return logits * np.float32(temperature), drawn.argmax(axis=1)


@given(shift=st.floats(-1e4, 1e4), temperature=st.floats(0.1, 10))
def test_probabilities_sum_to_one_whatever_the_size_of_the_logits(shift: float, temperature: float) -> None:
    probabilities = softmax(np.array([[1, 2, 3], [3, 3, -200]], np.float32) + np.float32(shift), temperature)

    assert probabilities.dtype == np.float32
    assert probabilities.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert probabilities[0].argmax() == 2


def test_no_photos_have_no_probabilities() -> None:
    assert softmax(np.empty((0, 4), np.float32)).shape == (0, 4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_undoes_what_was_done(temperature: float) -> None:
    logits, targets = _answers(20_000, temperature)

    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=0.06)


def test_the_right_temperature_calibrates() -> None:
    logits, targets = _answers(20_000, 2.5)

    before = expected_calibration_error(softmax(logits), targets)
    after = expected_calibration_error(softmax(logits, 2.5), targets)

    assert before > 0.1
    assert after < 0.02


def test_the_error_is_the_distance_of_confidence_from_accuracy() -> None:
    sure = np.array([[1.0, 0.0]] * 4, np.float32)

    assert expected_calibration_error(sure, np.array([0, 0, 0, 0])) == pytest.approx(0)
    assert expected_calibration_error(sure, np.array([0, 0, 0, 1])) == pytest.approx(0.25)
