"""Inference: what the model says of each photo of a batch, and of each photo that is dropped in a bucket."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.model.combining import misfits
from services.model.learnt import Learnt, photo_digest
from services.model.manifest import ModelError
from services.model.preprocessing import to_array
from services.model.several import probability_of
from services.shared import telemetry
from services.shared.errors import (
    ImageError,
    ImageErrorCode,
    ObjectNotFoundError,
    ObjectTooLargeError,
    Reject,
)
from services.shared.events import (
    BatchAugmented,
    BatchClassified,
    BatchStaged,
    Declared,
    Event,
    Handlers,
    HeadPhoto,
    HeadValue,
    Image,
    ImageClassified,
    ImageUploaded,
    Label,
    Prediction,
    Product,
    id_of_upload,
)
from services.shared.images import MAX_BYTES, decode
from services.shared.jobs import (
    Cancellation,
    image_digest,
    ndjson,
    photos_of,
    read_manifest,
    read_products,
)
from services.shared.labels import Vocabulary, join
from services.shared.layout import JobLayout, digest, is_litter
from services.shared.parallel import in_parallel
from services.shared.ports import Clock, Objects

TOP = 3  # labels kept of each head

_logger = logging.getLogger("vitrine.inference")


@dataclass(frozen=True)
class AnswerSet:
    """The labels that a photo has of a head of several: see services/model/several.py."""

    probabilities: NDArray[np.float32]  # [classes], each by itself
    chosen: NDArray[np.bool_]  # [classes]
    sure: bool  # whether all that are chosen reach their thresholds

    def probability(self, chosen: NDArray[np.bool_]) -> float:
        """How likely exactly these labels are."""
        return float(probability_of(chosen, self.probabilities))


@dataclass(frozen=True)
class Answer:
    """What a model says of one photo."""

    probabilities: Mapping[str, NDArray[np.float32]]  # head of one label -> [classes]
    # Whether the photo is unlike all that the model was trained on; None: this model cannot tell.
    unfamiliar: bool | None = None
    sets: Mapping[str, AnswerSet] = field(default_factory=dict)  # head of several labels -> its answer

    @property
    def unsure(self) -> Collection[str]:
        """The heads of several labels that are not sure of theirs."""
        return [head for head, each in self.sets.items() if not each.sure]


type Predict = Callable[[NDArray[np.uint8]], Answer]
"""One image, [S, S, 3], to what is said of it."""

type Combine = Callable[[Sequence[Answer]], Answer]
"""What is said of a product's photos to what is said of the product; not whether it is unfamiliar."""


class Model(Protocol):
    """What a loaded model version says of itself."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def image_size(self) -> int:
        """Pixels, the side of the square that it takes."""
        ...

    @property
    def labels(self) -> Mapping[str, Sequence[str]]:
        """Head -> its classes, in the order of the probabilities: of all heads."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """Finds the labels by what a catalogue calls them."""
        ...

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Head -> the probability under which the model abstains; a head without one always answers."""
        ...

    @property
    def learnt(self) -> Learnt | None:
        """The photos that it was trained on; None where that is not known."""
        ...

    @property
    def predict(self) -> Predict:
        """Asks it; from any number of threads at once."""
        ...

    @property
    def combine(self) -> Combine:
        """The answer for a product with several photos."""
        ...


class Models(Protocol):
    """The versions of the model."""

    def pinned(self, version: str) -> Model:
        """The version that a job is pinned to.

        Raises:
            ModelError: no repetition will load it: it is not published, or is refused.

        """
        ...

    def current(self) -> Model:
        """The version in production; the one before it while, or because, that one is not loaded."""
        ...


@dataclass(frozen=True)
class _Classified:
    """A photo's row, and all that the model says of it; None where it could not be used."""

    row: Prediction
    answer: Answer | None


@dataclass(frozen=True)
class Ports:
    """What inference needs of the world."""

    objects: Objects
    models: Models
    clock: Clock
    bucket: str


def classify_batch(event: BatchStaged | BatchAugmented, ports: Ports) -> list[Event]:
    """Classifies a batch, once: a repeat finds the file and only says again that it stands.

    Raises:
        Reject: the job is pinned to a model version that is not published, or is refused.

    """
    layout = JobLayout(ports.bucket, event.job_id)
    uri = layout.predictions(event.batch)
    if not ports.objects.exists(uri):
        rows = _classify_images(event, layout, ports)
        ports.objects.create(uri, ndjson(rows), "application/x-ndjson")
        _count(rows)
    return [BatchClassified(job_id=event.job_id, batch=event.batch)]


def classify_upload(event: ImageUploaded, ports: Ports) -> list[Event]:
    """Classifies a photo that was dropped in a bucket; its name may be a product's id.

    A folder's placeholder, and the files that operating systems leave in folders, get no row.
    """
    uri = f"gs://{event.bucket}/{event.name}"
    if is_litter(event.name):
        _logger.info("%s is no photo and gets no row", uri)
        return []
    prediction = _classify(
        uri,
        ports.models.current(),
        ports,
        generation=event.generation,
        prediction_id=digest(uri, event.generation),
        product_id=id_of_upload(event.name),
    ).row
    _count([prediction])
    return [ImageClassified(prediction=prediction)]


def _classify_images(
    event: BatchStaged | BatchAugmented, layout: JobLayout, ports: Ports
) -> list[Prediction]:
    manifest = read_manifest(ports.objects, layout)
    pinned = manifest.model_version
    try:
        model = ports.models.pinned(pinned)
    except ModelError as error:
        raise Reject(f"model_version: the job is pinned to {pinned!r}: {error}") from error
    photos = photos_of(ports.bucket, manifest.job_id, manifest.request)
    # Each job has its products under its own prefix, also those of photos that another one prepared.
    products = {each.product_id: each for each in read_products(ports.objects, layout, event.batch)}
    cancelled = Cancellation(ports.objects, layout)
    found = in_parallel(
        lambda image: (
            None if cancelled else _classify_image(image, manifest.job_id, photos, products, model, ports)
        ),
        event.images,
    )
    classified = [each for each in found if each]
    return [*(each.row for each in classified), *_combined(classified, products, model, ports)]


def _classify_image(
    image: Image,
    job_id: str,
    photos: JobLayout,
    products: Mapping[str, Product],
    model: Model,
    ports: Ports,
) -> _Classified:
    return _classify(
        photos.image(image.product_id, image.variant, image.photo_number),
        model,
        ports,
        error=image.error,
        product=products.get(image.product_id),
        prediction_id=image_digest(job_id, image),
        job_id=job_id,
        product_id=image.product_id,
        variant=image.variant,
        photo_number=image.photo_number,
    )


def _combined(
    classified: Sequence[_Classified], products: Mapping[str, Product], model: Model, ports: Ports
) -> Iterable[Prediction]:
    """The answers for the products with several photos, so far as any of these can be used."""
    several: dict[str, list[tuple[int, Prediction, Answer]]] = {}
    for each in classified:
        row = each.row
        if (
            row.photo_number is not None
            and row.product_id is not None
            and row.variant == "original"
            and each.answer
        ):
            several.setdefault(row.product_id, []).append((row.photo_number, row, each.answer))
    for product_id, photos in several.items():
        yield _combine(photos, products.get(product_id), model, ports)


def _combine(
    photos: Sequence[tuple[int, Prediction, Answer]], product: Product | None, model: Model, ports: Ports
) -> Prediction:
    numbers = [number for number, _, _ in photos]
    rows = [row for _, row, _ in photos]
    answers = [answer for _, _, answer in photos]
    by_head = {
        head: np.stack([answer.probabilities[head] for answer in answers])
        for head in answers[0].probabilities
    }
    combined = model.combine(answers)
    decided = {head: _deciding(head, combined, answers) for head in (*by_head, *combined.sets)}
    declared = _declared(product, combined, model)
    places = {each.head: model.vocabulary.find(each.head, each.label) for each in declared}
    heads = _labels(combined, model.labels)
    shown = rows[next(iter(decided.values()))]
    unfamiliar = [row.unfamiliar for row in rows]
    learnt = [row.learnt for row in rows if row.learnt is not None]
    return shown.model_copy(
        update={
            "prediction_id": digest(shown.job_id, shown.product_id, shown.variant),
            "heads": heads,
            "abstained": _abstained(heads, model, combined.unsure),
            "head_values": _values(combined, model.labels),
            # One photo like those that the model knows is enough.
            "unfamiliar": None if None in unfamiliar else all(unfamiliar),
            "predicted_at": ports.clock(),
            "latency_ms": None,
            "declared": declared,
            "learnt": any(learnt) if learnt else None,
            "photo_number": None,
            "decided": tuple(
                HeadPhoto(head=head, photo_number=numbers[place]) for head, place in decided.items()
            ),
            "misfits": tuple(
                HeadPhoto(head=head, photo_number=numbers[place])
                for head, values in by_head.items()
                for place in np.flatnonzero(misfits(values, places.get(head)))
            ),
        }
    )


def _deciding(head: str, combined: Answer, answers: Sequence[Answer]) -> int:
    """The index of the photo that finds the combined answer of a head the most probable."""
    if head in combined.sets:
        chosen = combined.sets[head].chosen
        return int(np.argmax([each.sets[head].probability(chosen) for each in answers]))
    best = combined.probabilities[head].argmax()
    return int(np.argmax([each.probabilities[head][best] for each in answers]))


def _classify(
    uri: str,
    model: Model,
    ports: Ports,
    *,
    prediction_id: str,
    product_id: str | None,
    job_id: str | None = None,
    variant: str = "original",
    generation: int | None = None,
    error: ImageErrorCode | None = None,
    product: Product | None = None,
    photo_number: int | None = None,
) -> _Classified:
    started = monotonic()
    heads: tuple[Label, ...] = ()
    declared: tuple[Declared, ...] = ()
    unfamiliar: bool | None = None
    learnt: bool | None = None
    answer: Answer | None = None
    if error is None:
        try:
            stored = ports.objects.read(uri, generation=generation, max_bytes=MAX_BYTES)
            generation = stored.generation
            pixels = to_array(decode(stored.data, about=model.image_size), model.image_size)
            answer = model.predict(pixels)
            heads, unfamiliar = _labels(answer, model.labels), answer.unfamiliar
            declared = _declared(product, answer, model)
            # A variant has bytes of its own, which no model was trained on.
            if model.learnt is not None and variant == "original":
                learnt = photo_digest(stored.data) in model.learnt
        except ObjectNotFoundError:
            error = "photo-missing"
        except ObjectTooLargeError:
            error = "photo-too-large"
        except ImageError as unusable:
            error = unusable.code
            if unusable.detail:
                # A row has the code alone.
                _logger.warning("%s: %s", uri, unusable)
    row = Prediction(
        prediction_id=prediction_id,
        job_id=job_id,
        product_id=product_id,
        image_uri=uri,
        generation=generation,
        variant=variant,
        model=model.name,
        model_version=model.version,
        heads=heads,
        abstained=_abstained(heads, model, answer.unsure if answer else ()),
        unfamiliar=unfamiliar,
        error=error,
        predicted_at=ports.clock(),
        latency_ms=round(1000 * (monotonic() - started), 3),
        declared=declared,
        learnt=learnt,
        photo_number=photo_number,
        head_values=_values(answer, model.labels) if answer else (),
    )
    return _Classified(row, answer)


def _abstained(heads: Sequence[Label], model: Model, unsure: Collection[str]) -> tuple[str, ...]:
    return tuple(
        best.head
        for best in heads
        if best.rank == 1 and (best.head in unsure or best.probability < model.thresholds.get(best.head, 0.0))
    )


def _count(rows: Sequence[Prediction]) -> None:
    predictions = [row for row in rows if not row.combined]
    errors = Counter(prediction.error for prediction in predictions if prediction.error)
    telemetry.count("images_classified", len(predictions) - errors.total())
    for code, images in errors.items():
        telemetry.count("image_errors", images, code=code)


def _labels(answer: Answer, labels: Mapping[str, Sequence[str]]) -> tuple[Label, ...]:
    """The TOP most probable labels of each head, best first; of one of several labels, its answer."""
    ranked = tuple(
        Label(head=head, rank=rank, label=labels[head][best], probability=round(float(values[best]), 6))
        for head, values in answer.probabilities.items()
        for rank, best in enumerate(np.argsort(-values)[:TOP], start=1)
    )
    return (*ranked, *(_answer(head, labels[head], each) for head, each in answer.sets.items()))


def _answer(head: str, labels: Sequence[str], given: AnswerSet) -> Label:
    return Label(
        head=head,
        rank=1,
        label=join(labels[place] for place in np.flatnonzero(given.chosen).tolist()),
        probability=round(given.probability(given.chosen), 6),
    )


def _values(answer: Answer, labels: Mapping[str, Sequence[str]]) -> tuple[HeadValue, ...]:
    """What the answers of heads of several labels are made of."""
    return tuple(
        HeadValue(
            head=head, value=labels[head][place], probability=round(float(each.probabilities[place]), 6)
        )
        for head, each in answer.sets.items()
        for place in np.flatnonzero(each.chosen).tolist()
    )


def _declared(product: Product | None, answer: Answer, model: Model) -> tuple[Declared, ...]:
    """What the catalogue declares of each head, and how likely the model finds it."""
    if product is None:
        return ()
    return tuple(
        _found(head, values, answer, model)
        for head in (*answer.probabilities, *answer.sets)
        if (values := product.values(head))
    )


def _found(head: str, values: Sequence[str], answer: Answer, model: Model) -> Declared:
    label = join(values)
    places = [model.vocabulary.find(head, value) for value in values]
    known = [place for place in places if place is not None]
    # A head of one label has no set of them.
    if len(known) < len(places) or (head in answer.probabilities and len({*known}) > 1):
        return Declared(head=head, label=label)
    if head in answer.sets:
        chosen = np.isin(np.arange(len(model.labels[head])), known)
        probability = answer.sets[head].probability(chosen)
    else:
        probability = float(answer.probabilities[head][known[0]])
    return Declared(
        head=head,
        label=label,
        known=join(model.labels[head][place] for place in known),
        # Significant digits: photos are ranked by these, and the smallest ones come first.
        probability=float(f"{probability:.6g}"),
    )


HANDLERS: Handlers = {
    BatchStaged: classify_batch,
    BatchAugmented: classify_batch,
    ImageUploaded: classify_upload,
}
