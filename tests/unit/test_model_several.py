"""Answers of several labels: how they are calibrated, chosen, measured and written."""

import numpy as np
import pytest

from services.model.calibration import fit_temperature
from services.model.several import choose, decisions, fit_label_threshold, sigmoid
from services.shared.labels import join, split
from services.training.measures import measure_several

LABELS = ("Collar", "Hood", "Not applicable")


def probabilities(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_an_answer_has_the_labels_that_reach_their_thresholds() -> None:
    sets = choose(("Collar", "Hood"), probabilities([0.7, 0.4], [0.7, 0.1], [0.4, 0.2]), [0.5, 0.3])

    assert sets.chosen.tolist() == [[True, True], [True, False], [True, False]]
    # No label reaches its threshold: the likeliest one is the answer, and is unsure.
    assert sets.sure.tolist() == [True, True, False]
    np.testing.assert_allclose(sets.confidence, [0.28, 0.63, 0.32], rtol=1e-6)


@pytest.mark.parametrize(
    ("row", "applies", "chosen"),
    [
        ([0.6, 0.1, 0.9], None, [2]),
        ([0.9, 0.1, 0.6], None, [0]),
        ([0.9, 0.8, 0.95], True, [0, 1]),
        ([0.1, 0.2, 0.95], True, [1]),
        ([0.9, 0.8, 0.1], False, [2]),
    ],
)
def test_not_applicable_stands_alone_and_is_as_the_other_head_answers(
    row: list[float], applies: bool | None, chosen: list[int]
) -> None:
    known = () if applies is None else (np.array([applies]), np.array([not applies]))

    sets = choose(LABELS, probabilities(row), [0.5, 0.5, 0.5], *known)

    assert np.flatnonzero(sets.chosen[0]).tolist() == chosen


def test_only_what_is_known_is_calibrated() -> None:
    truth = np.random.default_rng(0).random((4000, 3)) < [0.9, 0.5, 0.2]
    logits = np.tile(np.log([9, 1, 0.25]).astype(np.float32), (4000, 1)) * 3  # three times too sure
    targets = np.where(np.arange(3) == 1, -1, truth)

    pairs, known = decisions(logits, targets)

    assert len(known) == 8000
    assert fit_temperature(pairs, known) == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(sigmoid(logits, 3.0)[0], [0.9, 0.5, 0.2], rtol=1e-4)


@pytest.mark.parametrize(
    ("said", "targets", "threshold"),
    [
        ([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0], 0.55),
        ([0.9, 0.8, 0.3, 0.1], [1, 0, 1, 0], 0.2),
        ([0.4, 0.2], [1, 1], 0.5),  # nothing tells
        ([0.4, 0.4, 0.2], [1, 0, 0], 0.3),  # equally likely ones are said all or none
    ],
)
def test_a_threshold_gives_the_highest_f1(said: list[float], targets: list[int], threshold: float) -> None:
    assert fit_label_threshold(np.array(said, np.float32), np.array(targets)) == pytest.approx(threshold)


def test_each_label_is_measured_and_whole_answers_are() -> None:
    sets = choose(
        ("a", "b", "c"), probabilities([0.9, 0.8, 0], [0.9, 0, 0], [0, 0.7, 0], [1, 1, 1]), [0.5] * 3
    )
    targets = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [-1, 1, 0]])

    (figures,) = measure_several(("a", "b", "c"), sets, targets, np.array(["photo"] * 4), 0.71).values()

    first, second, third = figures.classes
    assert (first.photos, first.said, first.precision) == (3, 2, 1.0)
    assert first.recall == pytest.approx(2 / 3)
    assert (second.photos, second.said, second.f1) == (2, 2, 0.5)
    assert (third.photos, third.recall) == (0, None)
    assert figures.macro_f1 == pytest.approx((0.8 + 0.5) / 2)
    assert figures.micro_f1 == pytest.approx(6 / 9)
    assert (figures.accuracy.part, figures.accuracy.whole) == (1, 3)
    assert figures.answered.part == 2
    assert figures.accuracy_answered is not None
    assert figures.accuracy_answered.value == 0.5


def test_a_set_is_one_text_whatever_its_order() -> None:
    assert join(["Red", "Blue", "Red"]) == "Blue | Red"
    assert split(" Red|Blue | Red|") == ("Blue", "Red")
    assert join(["Red"]) == "Red"
