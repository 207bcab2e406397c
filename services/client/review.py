"""What people say of predictions, and how good predictions are: pure functions over counts and rows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.client.errors import InvalidRequestError
from services.shared.events import Prediction
from services.shared.labels import join, split
from services.shared.layout import digest

BINS = 10  # of equal width, from 0 to 1
MAX_LABEL = 200  # characters
MAX_COMMENT = 2000  # characters

Verdict = Literal["accepted", "corrected", "dismissed"]
Against = Literal["catalogue", "labels"]


class HumanLabel(BaseModel):
    """A row of the table `labels`: what a human says of what the model said of one head.

    `accepted`: the model is right. `corrected`: the truth is another label. `dismissed`: there is no telling,
    or nothing to tell; the question is not asked again, and the photo counts neither for the model nor
    against it. `label` is the truth: of an accepted verdict the predicted label, of a dismissed one None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    label_id: str
    job_id: str | None = None
    prediction_id: str
    product_id: str | None = None
    image_uri: str
    head: str
    verdict: Verdict
    label: Annotated[str, Field(min_length=1, max_length=MAX_LABEL)] | None = None
    predicted: str
    declared: str | None = None
    probability: Annotated[float, Field(ge=0, le=1)]
    model_version: str | None = None
    judged_by: str
    judged_at: AwareDatetime
    comment: Annotated[str, Field(max_length=MAX_COMMENT)] | None = None


def judgement(
    prediction: Prediction,
    head: str,
    verdict: Verdict,
    *,
    label: str | None = None,
    declared: str | None = None,
    by: str,
    at: datetime,
    comment: str | None = None,
) -> HumanLabel:
    """The row that a verdict becomes. The same verdict of the same person on it has the same label_id.

    Args:
        prediction: what is judged; it needs a label of the head.
        head: the attribute, such as article_type.
        verdict: as `HumanLabel` says.
        label: the truth, of a corrected verdict only. It may be one that the model does not know. Of an
            attribute of several values all of them, with "|" between them.
        declared: what the catalogue says.
        by: who judges.
        at: when, with its zone.
        comment: why, in their words.

    Raises:
        InvalidRequestError: names the field that is wrong and what was expected.

    """
    best = {each.head: each for each in prediction.heads if each.rank == 1}
    if head not in best:
        known = f"one of {', '.join(sorted(best))}" if best else "none: there is no prediction"
        raise InvalidRequestError(f"must be {known} (got {head!r})", field="head", got=head)
    predicted = best[head]
    label = (label or "").strip() or None
    if label is not None and prediction.values_of(head):
        # All values that the photo shows, in the order in which sets are compared.
        label = join(split(label)) or None
    comment = (comment or "").strip() or None
    if verdict == "corrected":
        if label is None:
            raise InvalidRequestError("a corrected verdict needs the true label", field="label", got=label)
        if len(label) > MAX_LABEL:
            raise InvalidRequestError(
                f"must have at most {MAX_LABEL} characters (got {len(label)})", field="label", got=label
            )
        if label == predicted.label:
            raise InvalidRequestError(
                f"{label!r} is what the model says: accept it", field="label", got=label
            )
    elif label is not None:
        raise InvalidRequestError(
            f"belongs to a corrected verdict, not to one that is {verdict}", field="label", got=label
        )
    if comment is not None and len(comment) > MAX_COMMENT:
        raise InvalidRequestError(
            f"must have at most {MAX_COMMENT} characters (got {len(comment)})", field="comment", got=comment
        )
    truth = predicted.label if verdict == "accepted" else label
    return HumanLabel(
        label_id=digest(prediction.prediction_id, head, verdict, truth, by),
        job_id=prediction.job_id,
        prediction_id=prediction.prediction_id,
        product_id=prediction.product_id,
        image_uri=prediction.image_uri,
        head=head,
        verdict=verdict,
        label=truth,
        predicted=predicted.label,
        declared=declared,
        probability=predicted.probability,
        model_version=prediction.model_version,
        judged_by=by,
        judged_at=at,
        comment=comment,
    )


def truths(labels: Iterable[HumanLabel]) -> dict[str, dict[str, str | None]]:
    """What humans say of products: id -> head -> the true label, None where there is no telling.

    Args:
        labels: the last verdict of each photo and head.

    """
    found: dict[str, dict[str, str | None]] = {}
    for label in labels:
        if label.product_id is not None:
            found.setdefault(label.product_id, {})[label.head] = label.label
    return found


# ------------------------------------------------------------------------------------- quality


@dataclass(frozen=True)
class Cell:
    """Photos that have the same truth, the same best label, and a confidence in the same bin."""

    truth: str
    predicted: str
    bin: int  # from 0 to BINS - 1
    answered: bool  # False where the model abstains, or the photo is unlike those it was trained on
    photos: int
    confidence: float  # their probabilities, summed


@dataclass(frozen=True)
class ClassQuality:
    """One label. A figure is 0 where it has nothing to divide by, and `undefined` names it."""

    label: str
    support: int  # photos whose truth it is
    predicted: int  # photos of which the model says so
    correct: int
    precision: float
    recall: float
    f1: float
    undefined: tuple[str, ...]


@dataclass(frozen=True)
class Confusion:
    """So many photos of one truth have this best label; `truth == predicted` where the model is right."""

    truth: str
    predicted: str
    photos: int


@dataclass(frozen=True)
class Bin:
    """The photos whose confidence lies in [lower, upper); in the last bin, upper is included."""

    lower: float
    upper: float
    photos: int
    confidence: float  # mean; 0 in an empty bin
    accuracy: float  # 0 in an empty bin


@dataclass(frozen=True)
class Quality:
    """How a job's best labels of one head compare with a truth: originals with a prediction and a truth.

    All figures but `answered_accuracy` are over all these photos, whether the model abstains or not.
    """

    job_id: str
    head: str
    against: Against
    photos: int
    left_out: int  # photos whose truth is not comparable: see `Tables.quality`
    classes: tuple[ClassQuality, ...]  # by support, the largest first; then by name
    confusion: tuple[Confusion, ...]  # in the order of the classes; none without photos
    bins: tuple[Bin, ...]  # BINS of them, from 0 to 1
    accuracy: float  # 0 without photos
    coverage: float  # share of which the model does not abstain; 0 without photos
    answered_accuracy: float  # of those alone; 0 without any
    precision: float  # mean over the classes with support or predictions
    recall: float
    f1: float
    ece: float  # expected calibration error: mean over photos of |confidence - accuracy| of their bin


def assess(job_id: str, head: str, against: Against, cells: Iterable[Cell], left_out: int = 0) -> Quality:
    """Finishes what was counted; memory is that of the cells."""
    cells = list(cells)
    confusion: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        confusion[cell.truth, cell.predicted] += cell.photos
    photos = confusion.total()
    classes = _classes(confusion)
    place = {each.label: number for number, each in enumerate(classes)}
    bins = tuple(_bin(number, [cell for cell in cells if cell.bin == number]) for number in range(BINS))
    answered = [cell for cell in cells if cell.answered]
    return Quality(
        job_id=job_id,
        head=head,
        against=against,
        photos=photos,
        left_out=left_out,
        classes=classes,
        confusion=tuple(
            Confusion(truth, predicted, count)
            for (truth, predicted), count in sorted(
                confusion.items(), key=lambda item: (place[item[0][0]], place[item[0][1]])
            )
        ),
        bins=bins,
        accuracy=_share(_correct(cells), photos),
        coverage=_share(_photos(answered), photos),
        answered_accuracy=_share(_correct(answered), _photos(answered)),
        precision=_mean([each.precision for each in classes]),
        recall=_mean([each.recall for each in classes]),
        f1=_mean([each.f1 for each in classes]),
        ece=sum(_share(each.photos, photos) * abs(each.confidence - each.accuracy) for each in bins),
    )


def _classes(confusion: Counter[tuple[str, str]]) -> tuple[ClassQuality, ...]:
    support: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    for (truth, said), count in confusion.items():
        support[truth] += count
        predicted[said] += count
    labels = sorted({*support, *predicted}, key=lambda label: (-support[label], label))
    return tuple(_class(label, support[label], predicted[label], confusion[label, label]) for label in labels)


def _class(label: str, support: int, predicted: int, correct: int) -> ClassQuality:
    # F1 is 2 TP / (2 TP + FP + FN), whose divisor is never 0: the label has support or predictions.
    return ClassQuality(
        label=label,
        support=support,
        predicted=predicted,
        correct=correct,
        precision=_share(correct, predicted),
        recall=_share(correct, support),
        f1=2 * correct / (support + predicted),
        undefined=tuple(
            name for name, divisor in (("precision", predicted), ("recall", support)) if not divisor
        ),
    )


def _bin(number: int, cells: Sequence[Cell]) -> Bin:
    photos = _photos(cells)
    return Bin(
        lower=number / BINS,
        upper=(number + 1) / BINS,
        photos=photos,
        confidence=_share(sum(cell.confidence for cell in cells), photos),
        accuracy=_share(_correct(cells), photos),
    )


def _photos(cells: Iterable[Cell]) -> int:
    return sum(cell.photos for cell in cells)


def _correct(cells: Iterable[Cell]) -> int:
    return sum(cell.photos for cell in cells if cell.truth == cell.predicted)


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 0.0


def _mean(values: Sequence[float]) -> float:
    return _share(sum(values), len(values))
