from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from services.model.calibration import softmax
from services.training.examples import UNKNOWN, UNLEARNT, LeftOut
from services.training.measures import (
    MINIMUM_SLICE,
    PHOTO,
    Agreement,
    AnsweredPhotos,
    Answers,
    Evaluation,
    Export,
    Latency,
    Share,
    Unfamiliar,
    agreement,
    auroc,
    by_origin,
    latency,
    least_loss,
    measure,
)
from tests.unit.evaluations import LABELS, MADE, answers, evaluation, figures, head, photos

SHIRT, COAT, BOOT, TIE = range(4)


@st.composite
def answered(draw: st.DrawFn) -> AnsweredPhotos:
    """Any answers on up to 40 photos of two origins, with years and a column."""
    count = draw(st.integers(1, 40))
    labels = draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # Rounded, so that some confidences are equal.
    logits = rng.normal(0, 2, (count, labels)).round(draw(st.integers(0, 2))).astype(np.float32)
    listed = st.lists(st.integers(UNKNOWN, labels - 1), min_size=count, max_size=count)
    return photos(
        {
            "kind": Answers(
                labels=[f"label {index}" for index in range(labels)],
                probabilities=softmax(logits),
                targets=np.array(draw(listed), np.int64),
                temperature=draw(st.floats(0.3, 3)),
                threshold=draw(st.floats(0, 1)),
            )
        },
        origins=rng.choice([PHOTO, "drawn"], count).tolist(),
        years=[None if year == 2000 else year for year in rng.integers(2000, 2003, count).tolist()],
        columns={"season": rng.choice(["Summer", "Winter"], count).tolist()},
    )


def permuted(test: AnsweredPhotos, order: Sequence[int]) -> AnsweredPhotos:
    def pick[Item](values: Sequence[Item]) -> list[Item]:
        return [values[index] for index in order]

    return AnsweredPhotos(
        keys=pick(test.keys),
        origins=pick(test.origins),
        years=pick(test.years),
        heads={
            name: replace(each, probabilities=each.probabilities[order], targets=each.targets[order])
            for name, each in test.heads.items()
        },
        columns={column: pick(values) for column, values in test.columns.items()},
    )


def test_figures_of_six_photos_are_those_counted_by_hand() -> None:
    # Declared: three shirts, two coats, a boot. One shirt is called a coat, the boot a tie.
    measured = figures(
        photos(
            {"kind": answers([SHIRT, SHIRT, SHIRT, COAT, COAT, BOOT], [SHIRT, SHIRT, COAT, COAT, COAT, TIE])}
        )
    )

    assert (measured.accuracy.part, measured.accuracy.whole) == (4, 6)
    shirts, coats, boots, _ = measured.classes
    assert (shirts.photos, shirts.said, shirts.precision) == (3, 2, 1.0)
    assert shirts.recall == pytest.approx(2 / 3)
    assert shirts.f1 == pytest.approx(0.8)
    assert (coats.photos, coats.said, coats.recall) == (2, 3, 1.0)
    assert coats.precision == pytest.approx(2 / 3)
    assert (boots.photos, boots.said, boots.precision, boots.recall, boots.f1) == (1, 0, None, 0.0, 0.0)
    assert measured.macro_f1 == pytest.approx((0.8 + 0.8 + 0) / 3)
    assert measured.confusion == {
        "Shirts": {"Shirts": 2, "Coats": 1},
        "Coats": {"Coats": 2},
        "Boots": {"Ties": 1},
    }


def test_a_class_without_a_test_photo_has_no_figures_though_it_was_said() -> None:
    ties = figures(photos({"kind": answers([SHIRT, COAT], [TIE, COAT])})).classes[TIE]

    assert (ties.photos, ties.said) == (0, 1)
    assert (ties.precision, ties.recall, ties.f1) == (None, None, None)


def test_one_photo_is_enough() -> None:
    measured = figures(photos({"kind": answers([BOOT], [BOOT])}, years=[2016]))

    assert measured.accuracy.value == measured.macro_f1 == 1
    assert measured.accuracy.low < 0.5  # but does not say much
    assert len(measured.bins) == len(measured.abstention.curve) == 1
    assert measured.mistakes == ()


def test_a_head_of_which_nothing_is_known_has_no_figures_and_says_how_many_it_left() -> None:
    measured = head(photos({"kind": answers([UNKNOWN] * 3, [SHIRT] * 3)}, origins=[PHOTO, "drawn", PHOTO]))

    assert measured.origins == {}
    assert measured.unknown == {PHOTO: 2, "drawn": 1}


def test_no_photo_at_all_has_no_figures() -> None:
    assert head(photos({"kind": answers([], [])})).origins == {}


def test_origins_are_never_mixed() -> None:
    measured = head(
        photos(
            {"kind": answers([SHIRT, SHIRT, COAT, COAT], [SHIRT, SHIRT, SHIRT, SHIRT])},
            origins=[PHOTO, PHOTO, "drawn", "drawn"],
        )
    )

    assert list(measured.origins) == [PHOTO, "drawn"]
    assert measured.origins[PHOTO].accuracy.value == 1
    assert measured.origins["drawn"].accuracy.value == 0
    assert {mistake.key for mistake in measured.origins["drawn"].mistakes} == {"0002", "0003"}


def test_the_declared_label_may_be_among_the_first_three() -> None:
    ranked = np.array([[0.4, 0.3, 0.2, 0.1]] * 4, np.float32)
    four = photos({"kind": replace(answers([0, 1, 2, 3], [0] * 4), probabilities=ranked)})
    three = photos({"kind": answers([0, 1, 2], [0, 1, 2], labels=LABELS[:3])})

    assert figures(four).top_3_accuracy == 0.75
    assert figures(three).top_3_accuracy is None


def test_of_equal_probabilities_the_first_three_labels_are_the_first() -> None:
    even = np.full((4, 4), 0.25, np.float32)
    assert figures(
        photos({"kind": replace(answers([0, 1, 2, 3], [0] * 4), probabilities=even)})
    ).top_3_accuracy == pytest.approx(0.75)


def test_the_raw_calibration_error_is_that_before_the_temperature() -> None:
    # The network says 1 : 81 : 1 : 1 for each of ten photos; seven are right. Halving its logits makes 1 : 9.
    served = softmax(np.log(np.array([[81, 1, 1, 1]] * 10, np.float32)), 2.0)
    test = photos(
        {
            "kind": Answers(
                labels=LABELS,
                probabilities=served,
                targets=np.array([0] * 7 + [1] * 3),
                temperature=2.0,
                threshold=0.5,
            )
        }
    )

    assert figures(test).calibration_error == pytest.approx(9 / 12 - 0.7, abs=1e-6)
    assert figures(test).calibration_error_raw == pytest.approx(81 / 84 - 0.7, abs=1e-6)


def test_a_probability_that_was_rounded_to_nothing_has_a_raw_one_too() -> None:
    certain = answers([0, 1], [0, 0], confidence=1.0, temperature=2.0)
    assert figures(photos({"kind": certain})).calibration_error_raw == pytest.approx(0.5)


def test_the_threshold_leaves_the_sure_answers() -> None:
    abstention = figures(
        photos(
            {"kind": answers([0, 0, 0, 0], [0, 0, 1, 1], confidence=[0.9, 0.75, 0.75, 0.6], threshold=0.75)}
        )
    ).abstention

    assert (abstention.answered.part, abstention.answered.whole) == (3, 4)
    assert abstention.accuracy
    assert (abstention.accuracy.part, abstention.accuracy.whole) == (2, 3)
    # No threshold parts the two of 0.75.
    assert [(point.coverage, round(point.accuracy, 3)) for point in abstention.curve] == [
        (0.25, 1.0),
        (0.75, 0.667),
        (1.0, 0.5),
    ]


def test_a_threshold_that_nothing_reaches_leaves_no_accuracy() -> None:
    abstention = figures(photos({"kind": answers([0, 1], [0, 1], threshold=0.99)})).abstention
    assert abstention.answered.value == 0
    assert abstention.accuracy is None


def test_the_curve_of_many_photos_is_not_longer_than_it_needs_to_be() -> None:
    rng = np.random.default_rng(0)
    curve = figures(
        photos({"kind": answers([0] * 5_000, [0] * 5_000, confidence=rng.uniform(0.3, 1, 5_000).tolist())})
    ).abstention.curve
    assert len(curve) == 100
    assert (curve[0].coverage, curve[-1].coverage) == (0.01, 1.0)


def test_newer_photos_are_compared_with_the_training_span() -> None:
    test = photos({"kind": answers([0, 0, 0, 0, 0], [0, 1, 1, 0, 1])}, years=[2016, 2016, 2017, 2017, None])
    validation = photos({"kind": answers([0, 0, 0, 0], [0, 0, 0, 1])})
    years = figures(test, validation).years

    assert years
    assert {year: share.value for year, share in years.tested.items()} == {2016: 0.5, 2017: 0.5}
    assert years.validation
    assert years.validation.value == 0.75
    assert years.drop == pytest.approx(0.25)


def test_drawn_validation_images_are_not_what_photos_are_compared_with() -> None:
    test = photos({"kind": answers([0], [0])}, years=[2016])
    years = figures(test, photos({"kind": answers([0], [1])}, origins=["drawn"])).years
    assert years
    assert (years.validation, years.drop) == (None, None)


def test_without_years_nothing_is_said_about_time() -> None:
    test = photos({"kind": answers([0], [0])})
    assert figures(test, test).years is None


def test_the_worst_slices_are_the_surely_bad_ones_before_small_ones() -> None:
    # Of 400 in Summer half is wrong, of 20 in Spring 9 of 20 are right, of 2 in Autumn none: too few to tell.
    seasons = ["Summer"] * 400 + ["Spring"] * 20 + ["Autumn"] * 2 + [None] * 100
    wrong = [0, 1] * 200 + [1] * 11 + [0] * 9 + [1, 1] + [0] * 100
    slices = figures(
        photos(
            {"kind": answers([0] * len(wrong), wrong)}, columns={"season": seasons, "usage": ["Casual"] * 522}
        )
    ).slices

    assert [(weak.column, weak.value) for weak in slices.worst] == [
        ("season", "Summer"),
        ("season", "Spring"),
    ]
    assert slices.worst[0].accuracy.value > slices.worst[1].accuracy.value
    assert (slices.compared, slices.too_small) == (3, 1)
    assert {mistake.key for mistake in slices.worst[1].mistakes} <= {
        f"{number:04}" for number in range(400, 411)
    }
    assert len(slices.worst[1].mistakes) == 6


def test_a_slice_may_be_of_photos_of_which_the_catalogue_says_nothing() -> None:
    half = MINIMUM_SLICE
    slices = figures(
        photos(
            {"kind": answers([0] * 2 * half, [0] * half + [1] * half)},
            columns={"season": ["Summer"] * half + [None] * half},
        )
    ).slices
    assert [(weak.column, weak.value) for weak in slices.worst] == [("season", None)]


def test_years_make_slices_and_the_heads_own_column_does_not() -> None:
    half = MINIMUM_SLICE
    kinds = ["Shirts"] * half + ["Coats"] * half
    slices = figures(
        photos(
            {"kind": answers([0] * half + [1] * half, [0] * 2 * half)},
            years=[2016] * half + [2017] * half,
            columns={"kind": kinds},
        )
    ).slices
    assert [(weak.column, weak.value) for weak in slices.worst] == [("year", "2017")]


def test_the_surest_mistakes_come_first() -> None:
    mistakes = figures(
        photos({"kind": answers([0, 0, 1, 0], [1, 0, 2, 3], confidence=[0.6, 0.99, 0.9, 0.6])})
    ).mistakes

    assert [(each.key, each.declared, each.said) for each in mistakes] == [
        ("0002", "Coats", "Boots"),
        ("0000", "Shirts", "Coats"),
        ("0003", "Shirts", "Ties"),
    ]
    assert mistakes[0].probability == pytest.approx(0.9)


@given(answered())
def test_every_known_photo_is_counted_once(test: AnsweredPhotos) -> None:
    measured = head(test)
    known = test.heads["kind"].targets != UNKNOWN
    for origin, each in measured.origins.items():
        photos_of_origin = int(sum(known & (np.array(test.origins) == origin)))
        rows = {declared: sum(said.values()) for declared, said in each.confusion.items()}
        assert each.accuracy.whole == sum(rows.values()) == photos_of_origin
        assert rows == {row.label: row.photos for row in each.classes if row.photos}
        assert sum(row.said for row in each.classes) == photos_of_origin
        right = sum(said.get(declared, 0) for declared, said in each.confusion.items())
        assert each.accuracy.part == right
        assert sum(part.photos for part in each.bins) == photos_of_origin
    counted = sum(each.accuracy.whole for each in measured.origins.values())
    assert counted + sum(measured.unknown.values()) == len(test.keys)


@given(answered())
def test_shares_are_shares(test: AnsweredPhotos) -> None:
    for each in head(test).origins.values():
        assert 0 <= each.accuracy.low <= each.accuracy.value <= each.accuracy.high <= 1
        f1 = [row.f1 for row in each.classes if row.f1 is not None]
        assert min(f1) <= each.macro_f1 + 1e-9
        assert each.macro_f1 <= max(f1) + 1e-9 <= 1 + 2e-9
        assert each.top_3_accuracy is None or each.top_3_accuracy >= each.accuracy.value - 1e-9
        gap = sum(abs(part.confidence - part.accuracy) * part.photos for part in each.bins)
        assert each.calibration_error == pytest.approx(gap / each.accuracy.whole, abs=1e-6)
        coverages = [point.coverage for point in each.abstention.curve]
        assert coverages == sorted(set(coverages))
        assert each.abstention.curve[-1].accuracy == pytest.approx(each.accuracy.value)


@given(answered(), st.randoms(use_true_random=False))
def test_the_order_of_photos_changes_nothing(test: AnsweredPhotos, random: Random) -> None:
    order = list(range(len(test.keys)))
    random.shuffle(order)
    assert measure(permuted(test, order)) == measure(test)


@given(answered())
def test_what_is_not_known_never_counts(test: AnsweredPhotos) -> None:
    known = np.flatnonzero(test.heads["kind"].targets != UNKNOWN).tolist()
    assert head(permuted(test, known)).origins == head(test).origins


@given(answered())
def test_an_evaluation_survives_json(test: AnsweredPhotos) -> None:
    whole = Evaluation(
        made=MADE,
        heads=measure(test, test),
        exports={"model.tflite": Export(size=5_000_000, latency=Latency(photos=3, median=1.5, p95=2.5))},
        agreements=(Agreement(one="int8", other="float", head="kind", same=Share.of(99, 100)),),
        unfamiliar=(Unfamiliar(kind="digits", images=10, auroc=0.97),),
        left_out=(LeftOut("line 7", 1, "no id"),),
    )
    assert Evaluation.model_validate_json(whole.model_dump_json()) == whole


def test_a_figure_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="surprise"):
        Evaluation.model_validate({"made": MADE.model_dump(), "heads": {}, "surprise": 1})


def test_the_figures_to_compare_are_few_and_say_what_is_no_photo() -> None:
    test = photos(
        {
            "kind": answers([0, 1, 0, 1], [0, 0, 0, 0]),
            "colour": answers([UNKNOWN, UNKNOWN, 1, 1], [0, 0, 1, 1]),
        },
        origins=[PHOTO, PHOTO, "drawn", "drawn"],
        years=[2016] * 4,
    )
    whole = Evaluation(
        made=MADE,
        heads=measure(test, test),
        exports={"model.tflite": Export(size=4_866_040, latency=Latency(photos=3, median=1.25, p95=2))},
        unfamiliar=(Unfamiliar(kind="digits", images=10, auroc=0.97),),
    )

    assert whole.figures() == {
        "kind.accuracy": 0.5,
        "kind.macro_f1": 0.3333,
        "kind.calibration_error": 0.2,
        "kind.coverage": 1.0,
        "kind.accuracy_answered": 0.5,
        "kind.drop": 0.0,
        "unfamiliar.digits.auroc": 0.97,
        "model.tflite.megabytes": 4.866,
        "model.tflite.milliseconds": 1.25,
        "kind.drawn.accuracy": 0.5,
        "colour.drawn.accuracy": 1.0,
    }
    assert next(iter(whole.figures())) == "kind.accuracy"  # a list of versions shows the first ones


def test_the_photos_to_show_are_named_once() -> None:
    half = MINIMUM_SLICE
    test = photos(
        {"kind": answers([0] * 2 * half, [0] * (half + 1) + [1] * (half - 1))},
        columns={"season": ["Summer"] * half + ["Winter"] * half},
    )
    shown = evaluation(test).shown()
    assert len(shown) == len(set(shown)) == half - 1


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    # The values of Wilson's interval that are tabled for 95 %.
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_the_interval_is_wilsons(part: int, whole: int, low: float, high: float) -> None:
    share = Share.of(part, whole)
    assert (share.low, share.high) == pytest.approx((low, high), abs=1e-4)


scores = st.lists(st.integers(-3, 3), min_size=1, max_size=30)


@given(scores, scores)
def test_auroc_is_how_often_a_positive_is_above_a_negative(
    negatives: list[int], positives: list[int]
) -> None:
    pairs = [(p > n) + (p == n) / 2 for p in positives for n in negatives]
    measured = auroc(np.array(negatives, np.float32), np.array(positives, np.float32))
    assert measured == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize(("negatives", "positives"), [([], [1.0]), ([1.0], []), ([float("nan")], [1.0])])
def test_auroc_wants_scores(negatives: list[float], positives: list[float]) -> None:
    with pytest.raises(ValueError, match="negatives" if positives else "positives"):
        auroc(np.array(negatives), np.array(positives))


def test_an_export_agrees_where_it_gives_its_networks_label() -> None:
    network = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], np.float32)
    export = np.array([[3, 2], [3, 2], [3, 2], [3, 2]], np.float32)
    assert (agreement(network, export).part, agreement(network, export).whole) == (3, 4)
    with pytest.raises(ValueError, match="same photos"):
        agreement(network, export[:3])


def test_labels_that_are_a_tie_in_the_network_agree_whichever_its_export_gives() -> None:
    # As the steps of 8 bits turn them round: 1.0 and 0.8 are 22 % apart in probability, 1.0 and 0.7 are 35 %.
    network = np.array([[1.0, 0.8, -1], [1.0, 0.7, -1]], np.float32)
    export = np.array([[0.9, 1.0, -1], [0.9, 1.0, -1]], np.float32)
    assert (agreement(network, export).part, agreement(network, export).whole) == (1, 2)


class Watch:
    """A clock that a predictor moves on, by more for each photo."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self) -> float:
        return self.seconds

    def predict(self, image: NDArray[np.uint8]) -> None:
        self.seconds += 0.5 if not self.shapes else float(image[0, 0, 0, 0]) / 1_000
        self.shapes.append(image.shape)


def test_photos_are_timed_one_by_one_after_a_first_one() -> None:
    watch = Watch()
    timed = latency(watch.predict, lambda index: np.full((4, 4, 3), index + 1, np.uint8), 21, clock=watch)

    assert watch.shapes == [(1, 4, 4, 3)] * 22
    assert timed.median == pytest.approx(11)
    assert timed.p95 == pytest.approx(20)


def test_timing_no_photo_is_refused() -> None:
    with pytest.raises(ValueError, match="one at least"):
        latency(Watch().predict, lambda _: np.zeros((4, 4, 3), np.uint8), 0)


GOOD = answers([0, 1], [0, 1])


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (replace(GOOD, labels=("a", "b", "a", "c")), "kind: a label stands for more than one class"),
        (replace(GOOD, labels=("a", "b")), "kind: probabilities must be"),
        (replace(GOOD, probabilities=np.full((2, 4), 0.5, np.float32)), "kind: .* sum to 1"),
        (replace(GOOD, probabilities=np.full((2, 4), np.nan, np.float32)), "kind: .* from 0 to 1"),
        (replace(GOOD, targets=np.array([0])), "kind: targets must be"),
        (replace(GOOD, targets=np.array([0, 4])), "kind: targets must be indices of 4 labels, -1 or -2"),
        (replace(GOOD, targets=np.array([0, -3])), "kind: targets must be indices of 4 labels, -1 or -2"),
        (replace(GOOD, temperature=0.0), "kind: the temperature must be above 0"),
        (replace(GOOD, threshold=1.5), "kind: the threshold must be from 0 to 1"),
    ],
)
def test_answers_that_are_none_are_refused_by_the_name_of_their_head(bad: Answers, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        photos({"kind": bad})


def test_what_is_not_of_all_photos_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="years: 1 values for 2 photos"):
        photos({"kind": GOOD}, years=[2016])
    with pytest.raises(ValueError, match="season: 1 values for 2 photos"):
        photos({"kind": GOOD}, columns={"season": ["Summer"]})
    with pytest.raises(ValueError, match="columns: year"):
        photos({"kind": GOOD}, columns={"year": ["2016", "2017"]})
    with pytest.raises(ValueError, match="keys: 'a' stands for more than one photo"):
        replace(photos({"kind": GOOD}), keys=["a", "a"])


def test_validation_is_of_the_same_heads() -> None:
    with pytest.raises(ValueError, match=r"heads: validation has \['colour'\], test has \['kind'\]"):
        measure(photos({"kind": GOOD}), photos({"colour": GOOD}))


def test_a_label_that_is_not_learnt_counts_as_wrong_among_the_labelled() -> None:
    test = photos({"kind": answers([0, 1, UNLEARNT, UNKNOWN], [0, 0, 0, 0])})

    figures = measure(test)["kind"].origins[PHOTO]

    assert (figures.accuracy.part, figures.accuracy.whole) == (1, 2)
    assert (figures.accuracy_of_labelled.part, figures.accuracy_of_labelled.whole) == (1, 3)
    assert measure(test)["kind"].unknown == {PHOTO: 1}


def test_what_a_model_does_with_each_origin_needs_no_labels() -> None:
    test = photos(
        {"kind": answers([UNKNOWN] * 4, [0, 0, 1, 1])}, origins=[PHOTO, PHOTO, "snapshot", "snapshot"]
    )

    figures = by_origin(test, np.array([False, True, False, False]))

    assert figures[PHOTO].unfamiliar.value == 0.5
    assert figures["snapshot"].unfamiliar.value == 0
    assert figures["snapshot"].abstained.keys() == {"kind"}


def test_frequent_labels_are_told_apart_from_rare_ones() -> None:
    labels = [f"label {index}" for index in range(22)]
    targets = [*range(20), *range(20), 20, 21, UNLEARNT]
    said = [*range(20), *range(20), 20, 0, 0]
    probabilities = np.full((len(said), 22), 0.01, np.float32)
    probabilities[np.arange(len(said)), said] = 1 - 0.01 * 21
    test = photos({"kind": Answers(labels, probabilities, np.array(targets), 1.0, 0.0)})

    figures = measure(test)["kind"].origins[PHOTO]

    assert figures.frequent is not None
    assert figures.rare is not None
    assert (figures.frequent.part, figures.frequent.whole) == (40, 40)
    assert (figures.rare.part, figures.rare.whole) == (1, 3)


@pytest.mark.parametrize(
    ("photos", "lost", "gained", "more_than_a_point"),
    [(164, 12, 5, False), (4000, 300, 130, True), (4000, 60, 40, False), (164, 40, 5, True)],
)
def test_a_loss_counts_when_it_is_more_than_chance(
    photos: int, lost: int, gained: int, more_than_a_point: bool
) -> None:
    before = np.arange(photos) < photos - gained
    after = (np.arange(photos) >= lost) | ~before
    assert (least_loss(before, after) > 0.01) is more_than_a_point


def test_equal_networks_lose_nothing() -> None:
    right = np.array([True, False, True])
    assert least_loss(right, right) == 0
