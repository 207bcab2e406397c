"""Inference: what the model says of each photo of a batch, and of each photo that is dropped in a bucket."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.model.combining import combine, deciding, misfits
from services.model.learnt import Learnt, photo_digest
from services.model.manifest import ModelError
from services.model.preprocessing import to_array
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
from services.shared.labels import Vocabulary
from services.shared.layout import JobLayout, digest, is_litter
from services.shared.parallel import in_parallel
from services.shared.ports import Clock, Objects

TOP = 3  # labels kept of each head

_logger = logging.getLogger("vitrine.inference")


@dataclass(frozen=True)
class Answer:
    """What a model says of one photo."""

    probabilities: Mapping[str, NDArray[np.float32]]  # head -> [classes]
    # Whether the photo is unlike all that the model was trained on; None: this model cannot tell.
    unfamiliar: bool | None = None


type Predict = Callable[[NDArray[np.uint8]], Answer]
"""One image, [S, S, 3], to what is said of it."""


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
        """Head -> its classes, in the order of the probabilities."""
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
    probabilities = {head: combine(values) for head, values in by_head.items()}
    decided = {head: deciding(values) for head, values in by_head.items()}
    declared = _declared(product, probabilities, model)
    places = {each.head: model.vocabulary.find(each.head, each.label) for each in declared}
    heads = _labels(probabilities, model.labels)
    shown = rows[next(iter(decided.values()))]
    unfamiliar = [row.unfamiliar for row in rows]
    learnt = [row.learnt for row in rows if row.learnt is not None]
    return shown.model_copy(
        update={
            "prediction_id": digest(shown.job_id, shown.product_id, shown.variant),
            "heads": heads,
            "abstained": _abstained(heads, model),
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
            heads, unfamiliar = _labels(answer.probabilities, model.labels), answer.unfamiliar
            declared = _declared(product, answer.probabilities, model)
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
        abstained=_abstained(heads, model),
        unfamiliar=unfamiliar,
        error=error,
        predicted_at=ports.clock(),
        latency_ms=round(1000 * (monotonic() - started), 3),
        declared=declared,
        learnt=learnt,
        photo_number=photo_number,
    )
    return _Classified(row, answer)


def _abstained(heads: Sequence[Label], model: Model) -> tuple[str, ...]:
    return tuple(
        best.head
        for best in heads
        if best.rank == 1 and best.probability < model.thresholds.get(best.head, 0.0)
    )


def _count(rows: Sequence[Prediction]) -> None:
    predictions = [row for row in rows if not row.combined]
    errors = Counter(prediction.error for prediction in predictions if prediction.error)
    telemetry.count("images_classified", len(predictions) - errors.total())
    for code, images in errors.items():
        telemetry.count("image_errors", images, code=code)


def _labels(
    probabilities: Mapping[str, NDArray[np.float32]], labels: Mapping[str, Sequence[str]]
) -> tuple[Label, ...]:
    """The TOP most probable labels of each head, best first."""
    return tuple(
        Label(head=head, rank=rank, label=labels[head][best], probability=round(float(values[best]), 6))
        for head, values in probabilities.items()
        for rank, best in enumerate(np.argsort(-values)[:TOP], start=1)
    )


def _declared(
    product: Product | None, probabilities: Mapping[str, NDArray[np.float32]], model: Model
) -> tuple[Declared, ...]:
    """What the catalogue declares of each head, and how likely the model finds it."""
    return tuple(
        _found(head, label, probabilities[head], model)
        for head in probabilities
        if product is not None and (label := product.value(head)) is not None
    )


def _found(head: str, label: str, probabilities: NDArray[np.float32], model: Model) -> Declared:
    place = model.vocabulary.find(head, label)
    if place is None:
        return Declared(head=head, label=label)
    # Significant digits: photos are ranked by these, and the smallest ones come first.
    probability = float(f"{probabilities[place]:.6g}")
    return Declared(head=head, label=label, known=model.labels[head][place], probability=probability)


HANDLERS: Handlers = {
    BatchStaged: classify_batch,
    BatchAugmented: classify_batch,
    ImageUploaded: classify_upload,
}
