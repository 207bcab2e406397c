"""What people say of predictions, and what is made of what was counted."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client.errors import ClientError, InvalidRequestError
from services.client.review import BINS, MAX_LABEL, Cell, HumanLabel, Quality, Verdict, assess, judgement
from services.shared.events import HeadValue, Product
from tests.unit.client_world import World, result

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
SHIRT = result("1", {"article_type": [("Shirts", 0.9), ("Tshirts", 0.1)], "base_colour": [("Red", 0.7)]})


def judged(verdict: Verdict, label: str | None = None, head: str = "article_type") -> HumanLabel:
    return judgement(SHIRT.prediction, head, verdict, label=label, by="ada@example.com", at=NOON)


# ------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("verdict", "label", "truth"),
    [("accepted", None, "Shirts"), ("corrected", "Tshirts", "Tshirts"), ("dismissed", None, None)],
)
def test_a_verdict_keeps_what_was_judged_and_the_truth(
    verdict: Verdict, label: str | None, truth: str | None
) -> None:
    row = judged(verdict, label)
    assert (row.verdict, row.label) == (verdict, truth)
    assert (row.job_id, row.prediction_id, row.product_id) == ("job-1", "1-original", "1")
    assert (row.predicted, row.probability, row.model_version) == ("Shirts", 0.9, "7")
    assert (row.judged_by, row.judged_at) == ("ada@example.com", NOON)


def test_a_label_may_be_one_that_the_model_does_not_know_and_is_trimmed() -> None:
    assert judged("corrected", "  Evening Gloves\n").label == "Evening Gloves"
    assert judged("corrected", "x" * MAX_LABEL).label == "x" * MAX_LABEL


@pytest.mark.parametrize(
    ("verdict", "label", "complaint"),
    [
        ("corrected", None, "label: a corrected verdict needs the true label"),
        ("corrected", "  ", "label: a corrected verdict needs the true label"),
        ("corrected", "Shirts", "label: 'Shirts' is what the model says: accept it"),
        ("corrected", "x" * 201, r"label: must have at most 200 characters \(got 201\)"),
        ("accepted", "Shirts", "label: belongs to a corrected verdict, not to one that is accepted"),
        ("dismissed", "Shirts", "label: belongs to a corrected verdict, not to one that is dismissed"),
    ],
)
def test_a_verdict_and_its_label_must_fit(verdict: Verdict, label: str | None, complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{complaint}$"):
        judged(verdict, label)


def test_a_head_must_be_one_that_was_predicted() -> None:
    with pytest.raises(
        InvalidRequestError, match=r"^head: must be one of article_type, base_colour \(got 'usage'\)"
    ):
        judged("accepted", head="usage")
    missing = result("2", error="photo-missing").prediction
    with pytest.raises(InvalidRequestError, match=r"^head: must be none: there is no prediction"):
        judgement(missing, "usage", "accepted", by="ada@example.com", at=NOON)


def test_a_comment_is_kept_to_a_length() -> None:
    with pytest.raises(
        InvalidRequestError, match=r"^comment: must have at most 2000 characters \(got 2001\)$"
    ):
        judgement(
            SHIRT.prediction, "article_type", "dismissed", by="ada@example.com", at=NOON, comment="x" * 2001
        )


def test_the_same_verdict_again_is_the_same_and_another_is_not() -> None:
    again = judgement(
        SHIRT.prediction,
        "article_type",
        "accepted",
        by="ada@example.com",
        at=NOON + timedelta(hours=1),
        comment="as I said",
    )
    assert again.label_id == judged("accepted").label_id
    others = [
        judged("dismissed"),
        judged("corrected", "Tshirts"),
        judged("corrected", "Jackets"),
        judged("accepted", head="base_colour"),
        judgement(SHIRT.prediction, "article_type", "accepted", by="bob@example.com", at=NOON),
    ]
    assert len({again.label_id, *(row.label_id for row in others)}) == 6


# ------------------------------------------------------------------------------------- by the client


def test_a_client_records_a_verdict_with_what_the_catalogue_declares() -> None:
    declared = Product.of("1", article_type="Tshirts")
    world = World(results=[result("1", {"article_type": [("Shirts", 0.9)]}, declared=declared)])
    row = world.vitrine.result("job-1", "1")
    judged = world.vitrine.judge(row, "article_type", "accepted", by="ada@example.com", comment=" sleeves ")
    assert world.tables.labels("job-1", 10) == [judged]
    assert (judged.declared, judged.comment) == ("Tshirts", "sleeves")
    assert abs(datetime.now(UTC) - judged.judged_at) < timedelta(minutes=1)


def test_a_client_finds_a_variant_and_says_what_it_does_not_find() -> None:
    world = World(results=[result("1", variant="augmented-0"), result("1"), result("2")])
    assert world.vitrine.result("job-1", "1").prediction.variant == "original"
    assert world.vitrine.result("job-1", "1", "augmented-0").prediction.variant == "augmented-0"
    with pytest.raises(ClientError, match=r"^job 'job-1' has no photo 3"):
        world.vitrine.result("job-1", "3")


# ------------------------------------------------------------------------------------- quality

type Photo = tuple[str, str, float, bool]  # truth, best label, its probability, whether it is an answer

photos = st.lists(
    st.tuples(
        st.sampled_from("abcd"), st.sampled_from("abcde"), st.floats(0, 1, allow_nan=False), st.booleans()
    )
)


def counted(photos: list[Photo]) -> list[Cell]:
    """As BigQuery counts."""
    counts: Counter[tuple[str, str, int, bool]] = Counter()
    sums: Counter[tuple[str, str, int, bool]] = Counter()
    for truth, said, probability, answered in photos:
        key = (truth, said, min(int(probability * BINS), BINS - 1), answered)
        counts[key] += 1
        sums[key] += probability  # type: ignore[assignment]  # Counter is typed for whole numbers
    return [Cell(*key, count, sums[key]) for key, count in counts.items()]


def assessed(photos: list[Photo]) -> Quality:
    return assess("job", "article_type", "catalogue", counted(photos))


def naive_share(values: list[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


@given(photos)
def test_each_class_is_as_counting_photos_says(photos: list[Photo]) -> None:
    quality = assessed(photos)
    assert {each.label for each in quality.classes} == {p[0] for p in photos} | {p[1] for p in photos}
    for each in quality.classes:
        precision = naive_share([p[0] == each.label for p in photos if p[1] == each.label])
        recall = naive_share([p[1] == each.label for p in photos if p[0] == each.label])
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        assert (each.precision, each.recall) == (precision, recall)
        assert each.f1 == pytest.approx(f1)
        assert ("precision" in each.undefined) == (each.label not in {p[1] for p in photos})
        assert ("recall" in each.undefined) == (each.label not in {p[0] for p in photos})
    supports = [(-each.support, each.label) for each in quality.classes]
    assert supports == sorted(supports)
    count = len(quality.classes) or 1
    assert quality.precision == pytest.approx(sum(each.precision for each in quality.classes) / count)
    assert quality.recall == pytest.approx(sum(each.recall for each in quality.classes) / count)
    assert quality.f1 == pytest.approx(sum(each.f1 for each in quality.classes) / count)


@given(photos)
def test_the_shares_are_as_counting_photos_says(photos: list[Photo]) -> None:
    quality = assessed(photos)
    assert quality.photos == len(photos)
    assert quality.accuracy == naive_share([truth == said for truth, said, _, _ in photos])
    assert quality.coverage == naive_share([answered for *_, answered in photos])
    assert quality.answered_accuracy == naive_share([p[0] == p[1] for p in photos if p[3]])
    assert Counter({(each.truth, each.predicted): each.photos for each in quality.confusion}) == Counter(
        (truth, said) for truth, said, _, _ in photos
    )


@given(photos)
def test_the_calibration_is_as_counting_photos_says(photos: list[Photo]) -> None:
    quality = assessed(photos)
    error = 0.0
    for number, bin_ in enumerate(quality.bins):
        inside = [p for p in photos if min(int(p[2] * BINS), BINS - 1) == number]
        assert (bin_.photos, bin_.lower, bin_.upper) == (len(inside), number / BINS, (number + 1) / BINS)
        if inside:
            assert bin_.confidence == pytest.approx(sum(p[2] for p in inside) / len(inside))
            assert bin_.accuracy == naive_share([p[0] == p[1] for p in inside])
            error += len(inside) / len(photos) * abs(bin_.confidence - bin_.accuracy)
    assert len(quality.bins) == BINS
    assert quality.ece == pytest.approx(error)


def test_a_model_that_is_right_as_often_as_it_says_is_calibrated() -> None:
    sure_of_three_quarters = [("a", "a", 0.75, True)] * 3 + [("b", "a", 0.75, True)]
    assert assessed(list(sure_of_three_quarters)).ece == 0
    assert assessed([("b", "a", 0.75, True)] * 4).ece == 0.75


def test_the_confusion_stands_in_the_order_of_the_classes() -> None:
    quality = assessed(
        [("rare", "often", 0.9, True), ("often", "rare", 0.9, True), ("often", "often", 0.9, False)]
    )
    assert [each.label for each in quality.classes] == ["often", "rare"]
    assert [(each.truth, each.predicted) for each in quality.confusion] == [
        ("often", "often"),
        ("often", "rare"),
        ("rare", "often"),
    ]


def test_a_correction_of_several_values_sets_all_of_them_in_one_order() -> None:
    worn = result("1", {"worn_on": [("lower | upper", 0.7)]}).prediction
    values = tuple(HeadValue(head="worn_on", value=value, probability=0.8) for value in ("lower", "upper"))
    worn = worn.model_copy(update={"head_values": values})

    def corrected(label: str) -> str | None:
        return judgement(worn, "worn_on", "corrected", label=label, by="ada", at=NOON).label

    assert corrected("upper|feet | upper") == "feet | upper"
    with pytest.raises(InvalidRequestError, match="is what the model says: accept it"):
        corrected("upper|lower")
    with pytest.raises(InvalidRequestError, match="a corrected verdict needs the true label"):
        corrected("|")
