"""From a model's answers on held-out photos to figures: what `evaluation.json` holds and the report shows.

Images that a program tinted or drew are no photos. All figures are of one origin, and never of several mixed.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from services.model.calibration import expected_calibration_error, softmax
from services.model.several import Sets
from services.training.examples import UNKNOWN, UNLEARNT, LeftOut

# Drawn and tinted images are hardly ever mistaken: how sure to be of photos, they do not say.
MADE_BY_A_PROGRAM = ("drawn", "tinted")
PHOTO = "photo"  # the origin of images that nobody drew or tinted

TOP = 3
FREQUENT = 20  # labels
BINS = 15
CURVE_POINTS = 100
MISTAKES = 24
SLICES = 8
SLICE_MISTAKES = 6
MINIMUM_SLICE = 20  # photos
Z = 1.959964  # of the normal distribution, for intervals of 95 %


@dataclass(frozen=True)
class Answers:
    """One head's answers on a set of photos."""

    labels: Sequence[str]
    probabilities: NDArray[np.float32]  # [N, labels], calibrated
    targets: NDArray[np.int64]  # [N], indices into labels, UNKNOWN or UNLEARNT
    temperature: float  # what the logits were divided by
    threshold: float  # the head abstains where its largest probability is below


@dataclass(frozen=True)
class AnsweredPhotos:
    """A set of N photos and what a model answers on them.

    Raises:
        ValueError: something is not of N photos, or answers are no probabilities of the labels.

    """

    keys: Sequence[str]  # each photo's own
    origins: Sequence[str]  # PHOTO, or how the image was made otherwise
    years: Sequence[int | None]
    heads: Mapping[str, Answers]
    # Of the catalogue, to look for weak slices in: column -> the photos' values.
    columns: Mapping[str, Sequence[str | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        photos = len(self.keys)
        if repeated := [key for key, count in Counter(self.keys).items() if count > 1]:
            raise ValueError(f"keys: {repeated[0]!r} stands for more than one photo")
        if "year" in self.columns:
            raise ValueError("columns: year is made of the years")
        parts = {"origins": self.origins, "years": self.years, **self.columns}
        for name, values in parts.items():
            if len(values) != photos:
                raise ValueError(f"{name}: {len(values)} values for {photos} photos")
        for head, answers in self.heads.items():
            _check(head, answers, photos)

    def sorted(self) -> Self:
        """The same photos in the order of their keys."""
        order = sorted(range(len(self.keys)), key=self.keys.__getitem__)
        return replace(
            self,
            keys=[self.keys[row] for row in order],
            origins=[self.origins[row] for row in order],
            years=[self.years[row] for row in order],
            heads={
                head: replace(
                    answers, probabilities=answers.probabilities[order], targets=answers.targets[order]
                )
                for head, answers in self.heads.items()
            },
            columns={column: [values[row] for row in order] for column, values in self.columns.items()},
        )


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Share(_Figures):
    """A part of a whole, and where it lies with 95 % confidence (Wilson, JASA 1927)."""

    part: NonNegativeInt
    whole: PositiveInt
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, part: int, whole: int) -> Self:
        """The share `part` of `whole`, which is at least 1."""
        value = part / whole
        middle = (value + Z**2 / (2 * whole)) / (1 + Z**2 / whole)
        reach = Z / (1 + Z**2 / whole) * (value * (1 - value) / whole + Z**2 / (4 * whole**2)) ** 0.5
        # Rounding would put the ends a hair beyond where they belong.
        low, high = (max(0.0, min(middle - reach, value)), min(1.0, max(middle + reach, value)))
        return cls(part=part, whole=whole, value=value, low=low, high=high)


class ClassFigures(_Figures):
    """How one class of a head fares. Of a class without a photo nothing is known."""

    label: str
    photos: NonNegativeInt
    said: NonNegativeInt  # how many photos were answered with it
    precision: float | None  # None too where it was never said
    recall: float | None
    f1: float | None


class Bin(_Figures):
    """The photos with a confidence from `low` to `high`."""

    low: float
    high: float
    photos: PositiveInt
    confidence: float  # their mean
    accuracy: float


class Point(_Figures):
    """What a threshold would leave to answer, and how often the answer would be right."""

    threshold: float
    coverage: float
    accuracy: float


class Abstention(_Figures):
    """What the head's threshold does."""

    threshold: float
    answered: Share
    accuracy: Share | None  # among the answered; None if there are none
    curve: tuple[Point, ...]  # from the highest threshold to the lowest


class Mistake(_Figures):
    """A photo whose answer is not what the catalogue declares."""

    key: str
    declared: str
    said: str
    probability: float


class Slice(_Figures):
    """The photos with one value of a column, and the mistakes on them that the model was surest of."""

    column: str
    value: str | None  # None: the catalogue does not give it
    accuracy: Share
    mistakes: tuple[Mistake, ...]


class Slices(_Figures):
    """Where the answers are worse than on the whole."""

    minimum_photos: int
    compared: NonNegativeInt
    too_small: NonNegativeInt
    # By the best that their accuracy may be, so that none is here just because it has few photos.
    worst: tuple[Slice, ...]


class Years(_Figures):
    """Accuracy on photos that are newer than those that were learnt from."""

    validation: Share | None  # photos of the training span that were held out
    tested: dict[int, Share]
    drop: float | None  # of accuracy, from `validation` to all tested years; negative if it rose


class HeadFigures(_Figures):
    """One head on images of one origin whose label is known; there is at least one."""

    accuracy: Share
    # Also over photos with a label that is not learnt, of which no answer is right.
    accuracy_of_labelled: Share
    # Over photos with one of the FREQUENT labels that most photos have, and over all others that are
    # labelled. None where the head has no more labels.
    frequent: Share | None = None
    rare: Share | None = None
    top_3_accuracy: float | None  # None for a head of three labels or fewer
    macro_f1: float  # the mean over classes that have photos
    classes: tuple[ClassFigures, ...]
    # Declared -> said -> photos; what never happened is left out.
    confusion: dict[str, dict[str, int]]
    # Expected calibration error of the network's own probabilities, and of those that are served.
    calibration_error_raw: float
    calibration_error: float
    bins: tuple[Bin, ...]
    abstention: Abstention
    years: Years | None  # None where no photo has a year
    slices: Slices
    mistakes: tuple[Mistake, ...]  # the surest first


class Head(_Figures):
    """One head, per origin of the images; an origin without a known label has no figures."""

    labels: tuple[str, ...]
    origins: dict[str, HeadFigures]
    unknown: dict[str, int]  # origin -> images whose label is not known


class SeveralFigures(_Figures):
    """A head of several labels, on images of one origin of which all labels are known; there is at least one.

    An answer is right if it has all labels of the image, and no other.
    """

    accuracy: Share
    classes: tuple[ClassFigures, ...]
    macro_f1: float  # the mean over labels that images have
    micro_f1: float  # of all labels of all images together
    # Expected calibration error of the probabilities that are served, over each label of each image.
    calibration_error: float
    threshold: float  # the probability of an answer under which the head abstains
    answered: Share
    accuracy_answered: Share | None  # None where all abstain


class Latency(_Figures):
    """Milliseconds for one photo, given alone."""

    photos: PositiveInt
    median: float
    p95: float


class Export(_Figures):
    """One form of the model."""

    size: PositiveInt  # bytes
    latency: Latency | None = None


class Agreement(_Figures):
    """How often two exports give the same label."""

    one: str
    other: str
    head: str
    same: Share


class Unfamiliar(_Figures):
    """How well images unlike any that were learnt from are told from photos."""

    kind: str
    images: PositiveInt
    auroc: float
    near: bool = False  # products too, but of kinds that are not learnt


class OriginFigures(_Figures):
    """What a model does with all test images of one origin, whether or not their labels are known."""

    unfamiliar: Share
    abstained: dict[str, Share]  # by head


class Made(_Figures):
    """How the model was made and measured."""

    command: str
    seed: int
    snapshot: str  # of the data
    revision: str  # of the code
    machine: str  # that the latency was measured on
    held_out: str  # which photos the figures are of, and why training has not seen them


class Evaluation(_Figures):
    """Everything that was measured of a model."""

    made: Made
    heads: dict[str, Head]
    several: dict[str, dict[str, SeveralFigures]] = {}  # head of several labels -> origin -> figures
    exports: dict[str, Export] = {}
    agreements: tuple[Agreement, ...] = ()
    unfamiliar: tuple[Unfamiliar, ...] = ()
    origins: dict[str, OriginFigures] = {}
    # Heads that lose much on newer photos -> what, in a sentence.
    unreliable: dict[str, str] = {}
    left_out: tuple[LeftOut, ...] = ()

    def figures(self) -> dict[str, float]:
        """Those by which versions are compared, the most telling first; they are of photos unless named."""
        accuracies: dict[str, float] = {}
        others: dict[str, float] = {}
        not_photos: dict[str, float] = {}
        for name, head in self.heads.items():
            for origin, figures in head.origins.items():
                if origin != PHOTO:
                    not_photos[f"{name}.{origin}.accuracy"] = figures.accuracy.value
                    continue
                accuracies[f"{name}.accuracy"] = figures.accuracy.value
                if figures.accuracy_of_labelled.whole > figures.accuracy.whole:
                    accuracies[f"{name}.accuracy_of_labelled"] = figures.accuracy_of_labelled.value
                others[f"{name}.macro_f1"] = figures.macro_f1
                if figures.frequent and figures.rare:
                    others[f"{name}.frequent.accuracy"] = figures.frequent.value
                    others[f"{name}.rare.accuracy"] = figures.rare.value
                others[f"{name}.calibration_error"] = figures.calibration_error
                others[f"{name}.coverage"] = figures.abstention.answered.value
                if answered := figures.abstention.accuracy:
                    others[f"{name}.accuracy_answered"] = answered.value
                if figures.years and figures.years.drop is not None:
                    others[f"{name}.drop"] = figures.years.drop
        for name, of in self.several.items():
            for origin, each in of.items():
                if origin != PHOTO:
                    not_photos[f"{name}.{origin}.accuracy"] = each.accuracy.value
                    continue
                accuracies[f"{name}.accuracy"] = each.accuracy.value
                others[f"{name}.macro_f1"] = each.macro_f1
                others[f"{name}.micro_f1"] = each.micro_f1
                others[f"{name}.calibration_error"] = each.calibration_error
                others[f"{name}.coverage"] = each.answered.value
                if each.accuracy_answered:
                    others[f"{name}.accuracy_answered"] = each.accuracy_answered.value
        for kind in self.unfamiliar:
            others[f"unfamiliar.{kind.kind}.auroc"] = kind.auroc
        for name, export in self.exports.items():
            others[f"{name}.megabytes"] = export.size / 1e6
            if export.latency:
                others[f"{name}.milliseconds"] = export.latency.median
        return {name: round(value, 4) for name, value in (accuracies | others | not_photos).items()}

    def shown(self) -> list[str]:
        """The keys of the photos that a report shows."""
        keys = dict[str, None]()
        for head in self.heads.values():
            for figures in head.origins.values():
                for mistakes in (figures.mistakes, *(weak.mistakes for weak in figures.slices.worst)):
                    keys |= dict.fromkeys(mistake.key for mistake in mistakes)
        return list(keys)


def measure(test: AnsweredPhotos, validation: AnsweredPhotos | None = None) -> dict[str, Head]:
    """Figures per head.

    Args:
        test: the photos that all figures are of; their order does not matter.
        validation: of the training span, but not trained on: what newer photos are compared with.

    Raises:
        ValueError: `validation` has other heads.

    """
    if validation and validation.heads.keys() != test.heads.keys():
        raise ValueError(f"heads: validation has {[*validation.heads]}, test has {[*test.heads]}")
    test = test.sorted()
    return {head: _head(head, test, validation) for head in test.heads}


def measure_several(
    labels: Sequence[str],
    sets: Sets,
    targets: NDArray[np.integer],
    origins: NDArray[np.str_],
    threshold: float,
) -> dict[str, SeveralFigures]:
    """Figures of a head of several labels, per origin of the images.

    Args:
        labels: in the order of the probabilities.
        sets: the answers on N images.
        targets: [N, labels], 1 or 0; below 0 where it is not known.
        origins: [N].
        threshold: the probability of an answer under which the head abstains.

    """
    known = (targets >= 0).all(axis=1)
    return {
        str(origin): _several_figures(labels, sets, targets, known & (origins == origin), threshold)
        for origin in np.unique(origins[known])
    }


def _several_figures(
    labels: Sequence[str],
    sets: Sets,
    targets: NDArray[np.integer],
    rows: NDArray[np.bool_],
    threshold: float,
) -> SeveralFigures:
    there, said = targets[rows] == 1, sets.chosen[rows]
    photos, answers, correct = there.sum(axis=0), said.sum(axis=0), (there & said).sum(axis=0)
    classes = tuple(
        _class(label, int(photos[index]), int(answers[index]), int(correct[index]))
        for index, label in enumerate(labels)
    )
    right = (there == said).all(axis=1)
    answered = sets.sure[rows] & (sets.confidence[rows] >= threshold)
    yes = sets.probabilities[rows].reshape(-1)
    return SeveralFigures(
        accuracy=Share.of(int(right.sum()), len(right)),
        classes=classes,
        macro_f1=float(np.mean([each.f1 for each in classes if each.f1 is not None] or [0.0])),
        micro_f1=float(2 * correct.sum() / max(1, photos.sum() + answers.sum())),
        calibration_error=expected_calibration_error(
            np.stack([1 - yes, yes], axis=1), there.reshape(-1).astype(np.int64), BINS
        ),
        threshold=threshold,
        answered=Share.of(int(answered.sum()), len(right)),
        accuracy_answered=Share.of(int(right[answered].sum()), int(answered.sum()))
        if answered.any()
        else None,
    )


def by_origin(photos: AnsweredPhotos, unfamiliar: NDArray[np.bool_]) -> dict[str, OriginFigures]:
    """What a model does with the images of each origin.

    Args:
        photos: the images and the answers.
        unfamiliar: [N], which of them the model calls so.

    """
    origins = np.array(photos.origins)
    figures = {}
    for origin in sorted(set(photos.origins)):
        rows = origins == origin
        whole = int(rows.sum())
        figures[origin] = OriginFigures(
            unfamiliar=Share.of(int(unfamiliar[rows].sum()), whole),
            abstained={
                head: Share.of(
                    int((answers.probabilities[rows].max(axis=1) < answers.threshold).sum()), whole
                )
                for head, answers in photos.heads.items()
            },
        )
    return figures


def latency(
    predict: Callable[[NDArray[np.uint8]], object],
    pixels: Callable[[int], NDArray[np.uint8]],
    photos: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time `predict` on photos 0 to `photos` - 1, one by one.

    Args:
        predict: takes [1, S, S, 3]; what it returns is not looked at.
        pixels: the photo [S, S, 3] of an index; fetching it is not timed.
        photos: how many.
        clock: seconds.

    Raises:
        ValueError: `photos` is not at least 1.

    """
    if photos < 1:
        raise ValueError(f"photos: one at least is to be timed, not {photos}")
    predict(pixels(0)[np.newaxis])  # the first call allocates and compiles
    milliseconds = []
    for index in range(photos):
        photo = pixels(index)[np.newaxis]
        start = clock()
        predict(photo)
        milliseconds.append(1_000 * (clock() - start))
    median, p95 = np.quantile(milliseconds, [0.5, 0.95])
    return Latency(photos=photos, median=float(median), p95=float(p95))


TIE = -float(np.log(0.8))  # in logits


def agreement(network: NDArray[np.float32], export: NDArray[np.float32]) -> Share:
    """The share of photos [N, labels] to which an export gives its network's label, or one of a tie.

    Args:
        network: logits. Labels at least 0.8 times as probable as the best one are a tie with it.
        export: logits. Those of an 8-bit file come in steps, so that of a tie any label may be its best.

    Raises:
        ValueError: they are not of the same photos and labels, or of none.

    """
    if network.shape != export.shape or not network.size:
        raise ValueError(f"answers on the same photos are compared, not {network.shape} with {export.shape}")
    labels = export.argmax(axis=1)[:, np.newaxis]
    behind = network.max(axis=1) - np.take_along_axis(network, labels, axis=1)[:, 0]
    return Share.of(int((behind < TIE).sum()), len(network))


def auroc(negatives: NDArray[np.floating], positives: NDArray[np.floating]) -> float:
    """The probability that a positive's score is higher than a negative's, where equal counts half.

    Raises:
        ValueError: one side has no score, or one that is no number.

    """
    for name, scores in (("negatives", negatives), ("positives", positives)):
        if not scores.size or np.isnan(scores).any():
            raise ValueError(f"{name}: one score at least is expected, and all to be numbers")
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left")
    not_above = np.searchsorted(ordered, positives, "right")
    return float((below + not_above).mean() / (2 * len(ordered)))


@dataclass(frozen=True)
class _Judged:
    """The photos of one origin with a known label, in the order of their keys."""

    labels: Sequence[str]
    rows: NDArray[np.intp]  # in the whole set
    keys: Sequence[str]
    declared: NDArray[np.int64]
    said: NDArray[np.intp]
    confidence: NDArray[np.float32]
    unlearnt: int  # photos of the origin beside these, with a label that is not learnt

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.equal(self.said, self.declared)

    def accuracy(self, among: NDArray[np.bool_]) -> Share | None:
        whole = int(among.sum())
        return Share.of(int(self.right[among].sum()), whole) if whole else None

    def mistakes(self, among: NDArray[np.bool_], limit: int) -> tuple[Mistake, ...]:
        wrong = np.flatnonzero(among & ~self.right)
        surest = wrong[np.argsort(-self.confidence[wrong], stable=True)][:limit]
        return tuple(
            Mistake(
                key=self.keys[index],
                declared=self.labels[self.declared[index]],
                said=self.labels[self.said[index]],
                probability=float(self.confidence[index]),
            )
            for index in surest.tolist()
        )


def least_loss(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> float:
    """How much accuracy is lost at least, with 95 % confidence, from one network to another; may be negative.

    The lower end of the one-sided interval of the mean difference of pairs, by its normal approximation.

    Args:
        before: [N], whether the first network is right on each photo.
        after: [N], whether the other one is right on the same photos.

    """
    differences = before.astype(np.float64) - after
    return float(differences.mean() - 1.645 * differences.std() / np.sqrt(len(differences)))


def _check(head: str, answers: Answers, photos: int) -> None:
    expected = (photos, len(answers.labels))
    if len(set(answers.labels)) != len(answers.labels):
        raise ValueError(f"{head}: a label stands for more than one class")
    if answers.probabilities.shape != expected:
        raise ValueError(f"{head}: probabilities must be {expected}, not {answers.probabilities.shape}")
    # A NaN is in no range.
    in_range = (answers.probabilities >= 0) & (answers.probabilities <= 1 + 1e-6)
    if not in_range.all() or not np.allclose(answers.probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError(f"{head}: probabilities must be from 0 to 1 and sum to 1 per photo")
    if answers.targets.shape != (photos,):
        raise ValueError(f"{head}: targets must be {(photos,)}, not {answers.targets.shape}")
    allowed = (answers.targets >= UNLEARNT) & (answers.targets < expected[1])
    if not allowed.all():
        raise ValueError(f"{head}: targets must be indices of {expected[1]} labels, {UNKNOWN} or {UNLEARNT}")
    if not answers.temperature > 0:
        raise ValueError(f"{head}: the temperature must be above 0, not {answers.temperature}")
    if not 0 <= answers.threshold <= 1:
        raise ValueError(f"{head}: the threshold must be from 0 to 1, not {answers.threshold}")


def _head(head: str, test: AnsweredPhotos, validation: AnsweredPhotos | None) -> Head:
    answers = test.heads[head]
    known = answers.targets >= 0
    origins = np.array(test.origins, dtype=object)
    return Head(
        labels=tuple(answers.labels),
        origins={
            origin: _figures(head, test, _judge(test, head, origin), _accuracy(validation, head, origin))
            for origin in sorted(set(origins[known]), key=lambda origin: (origin != PHOTO, origin))
        },
        unknown=dict(sorted(Counter(origins[answers.targets == UNKNOWN]).items())),
    )


def _judge(photos: AnsweredPhotos, head: str, origin: str) -> _Judged:
    answers = photos.heads[head]
    of_origin = np.array([each == origin for each in photos.origins], dtype=bool)
    rows = np.flatnonzero(of_origin & (answers.targets >= 0))
    probabilities = answers.probabilities[rows]
    return _Judged(
        labels=answers.labels,
        rows=rows,
        keys=[photos.keys[row] for row in rows.tolist()],
        declared=answers.targets[rows],
        said=probabilities.argmax(axis=1),
        confidence=probabilities.max(axis=1),
        unlearnt=int((of_origin & (answers.targets == UNLEARNT)).sum()),
    )


def _accuracy(photos: AnsweredPhotos | None, head: str, origin: str) -> Share | None:
    if photos is None:
        return None
    judged = _judge(photos, head, origin)
    return judged.accuracy(np.ones(len(judged.rows), dtype=bool))


def _figures(head: str, test: AnsweredPhotos, judged: _Judged, validation: Share | None) -> HeadFigures:
    answers = test.heads[head]
    photos = len(judged.rows)
    all_photos = np.ones(photos, dtype=bool)
    probabilities = answers.probabilities[judged.rows]
    counts = Counter(zip(judged.declared.tolist(), judged.said.tolist(), strict=True))
    classes = _classes(answers.labels, counts)
    accuracy = Share.of(int(judged.right.sum()), photos)
    # The slices by what the head itself is to say are its classes, whose recall stands there.
    columns = {column: values for column, values in test.columns.items() if column != head}
    columns["year"] = [None if year is None else str(year) for year in test.years]
    confusion: dict[str, dict[str, int]] = {}
    for (declared, said), count in sorted(counts.items()):
        confusion.setdefault(answers.labels[declared], {})[answers.labels[said]] = count
    frequent = Counter(judged.declared.tolist()).most_common(FREQUENT)
    often = np.isin(judged.declared, [label for label, _ in frequent])
    tail = photos - int(often.sum()) + judged.unlearnt if len(answers.labels) > FREQUENT else 0
    return HeadFigures(
        accuracy=accuracy,
        accuracy_of_labelled=Share.of(accuracy.part, photos + judged.unlearnt),
        frequent=judged.accuracy(often) if tail else None,
        rare=Share.of(int(judged.right[~often].sum()), tail) if tail else None,
        top_3_accuracy=_top_accuracy(probabilities, judged.declared),
        macro_f1=float(np.mean([each.f1 for each in classes if each.f1 is not None])),
        classes=classes,
        confusion=confusion,
        calibration_error_raw=expected_calibration_error(
            _uncalibrated(probabilities, answers.temperature), judged.declared, BINS
        ),
        calibration_error=expected_calibration_error(probabilities, judged.declared, BINS),
        bins=_bins(judged),
        abstention=_abstention(judged, answers.threshold),
        years=_years([test.years[row] for row in judged.rows], judged, validation),
        slices=_slices(columns, judged, accuracy),
        mistakes=judged.mistakes(all_photos, MISTAKES),
    )


def _uncalibrated(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """What the network said before the logits were divided by the temperature."""
    with np.errstate(divide="ignore"):  # the logarithm of a probability that was rounded to 0
        return softmax(np.log(probabilities), 1 / temperature)


def _top_accuracy(probabilities: NDArray[np.float32], declared: NDArray[np.int64]) -> float | None:
    if probabilities.shape[1] <= TOP:
        return None
    of_declared = np.take_along_axis(probabilities, declared[:, np.newaxis], axis=1)
    # Of equal ones the first counts as more probable, as it does for argmax.
    earlier = np.arange(probabilities.shape[1]) < declared[:, np.newaxis]
    rank = ((probabilities > of_declared) | (probabilities == of_declared) & earlier).sum(axis=1)
    return float((rank < TOP).mean())


def _classes(labels: Sequence[str], counts: Counter[tuple[int, int]]) -> tuple[ClassFigures, ...]:
    photos, answers = Counter[int](), Counter[int]()
    for (declared, said), count in counts.items():
        photos[declared] += count
        answers[said] += count
    return tuple(
        _class(label, photos[index], answers[index], counts[index, index])
        for index, label in enumerate(labels)
    )


def _class(label: str, photos: int, said: int, correct: int) -> ClassFigures:
    return ClassFigures(
        label=label,
        photos=photos,
        said=said,
        precision=correct / said if photos and said else None,
        recall=correct / photos if photos else None,
        f1=2 * correct / (photos + said) if photos else None,
    )


def _bins(judged: _Judged) -> tuple[Bin, ...]:
    bin_of = np.minimum((judged.confidence * BINS).astype(int), BINS - 1)
    return tuple(
        Bin(
            low=index / BINS,
            high=(index + 1) / BINS,
            photos=int((bin_of == index).sum()),
            confidence=float(judged.confidence[bin_of == index].mean()),
            accuracy=float(judged.right[bin_of == index].mean()),
        )
        for index in np.unique(bin_of).tolist()
    )


def _abstention(judged: _Judged, threshold: float) -> Abstention:
    answered = judged.confidence >= threshold
    return Abstention(
        threshold=threshold,
        answered=Share.of(int(answered.sum()), len(answered)),
        accuracy=judged.accuracy(answered),
        curve=_curve(judged),
    )


def _curve(judged: _Judged) -> tuple[Point, ...]:
    photos = len(judged.rows)
    order = np.argsort(-judged.confidence, stable=True)
    thresholds = judged.confidence[order]
    right = judged.right[order].cumsum()
    # No threshold can part photos of the same confidence.
    ends = np.flatnonzero(np.append(thresholds[1:] != thresholds[:-1], True))
    wanted = np.ceil(np.linspace(photos / CURVE_POINTS, photos, CURVE_POINTS)) - 1
    return tuple(
        Point(
            threshold=float(thresholds[end]),
            coverage=(end + 1) / photos,
            accuracy=int(right[end]) / (end + 1),
        )
        for end in np.unique(ends[np.searchsorted(ends, wanted)]).tolist()
    )


def _years(years: Sequence[int | None], judged: _Judged, validation: Share | None) -> Years | None:
    tested: dict[int, Share] = {}
    for year in sorted({year for year in years if year is not None}):
        if share := judged.accuracy(np.array([each == year for each in years])):
            tested[year] = share
    dated = judged.accuracy(np.array([year is not None for year in years], dtype=bool))
    if not dated:
        return None
    drop = validation.value - dated.value if validation else None
    return Years(validation=validation, tested=tested, drop=drop)


def _slices(columns: Mapping[str, Sequence[str | None]], judged: _Judged, whole: Share) -> Slices:
    compared: list[tuple[str, str | None, NDArray[np.bool_], Share]] = []
    too_small = 0
    for column, values in columns.items():
        photos_of: dict[str | None, list[int]] = {}
        for index, row in enumerate(judged.rows):
            photos_of.setdefault(values[row], []).append(index)
        if len(photos_of) == 1:
            continue  # it is the whole
        for value, indices in photos_of.items():
            among = np.zeros(len(judged.rows), dtype=bool)
            among[indices] = True
            accuracy = judged.accuracy(among)
            if accuracy and accuracy.whole >= MINIMUM_SLICE:
                compared.append((column, value, among, accuracy))
            else:
                too_small += 1
    worse = [each for each in compared if each[3].value < whole.value]
    worse.sort(key=lambda each: (each[3].high, each[3].value, each[0], each[1] or ""))
    return Slices(
        minimum_photos=MINIMUM_SLICE,
        compared=len(compared),
        too_small=too_small,
        worst=tuple(
            Slice(
                column=column,
                value=value,
                accuracy=accuracy,
                mistakes=judged.mistakes(among, SLICE_MISTAKES),
            )
            for column, value, among, accuracy in worse[:SLICES]
        ),
    )
