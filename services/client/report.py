"""A job's results as one page of HTML that needs nothing beside itself."""

import base64
import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL.Image import Image

from services.client.client import JobResults
from services.client.ports import Objects, Result
from services.shared.errors import ImageError, ImageErrorCode, ObjectNotFoundError, ObjectTooLargeError
from services.shared.events import ClassificationRequested, Prediction
from services.shared.images import MAX_BYTES, decode
from services.shared.parallel import in_parallel

SIDE = 240  # pixels, the longest side of a photo in the page
QUALITY = 85

# What an error means to whoever looks after the catalogue, and what to do about it.
MEANINGS: Mapping[ImageErrorCode, str] = {
    "photo-missing": "The catalogue lists the product, but there is no photo of it. Upload one.",
    "photo-not-allowed": (
        "The photo is at a web address that may not be fetched. Add its host to `hosts` of `photos` in the "
        "catalogue.yaml, or upload the photo."
    ),
    "photo-unavailable": "The host of the photo's web address did not deliver it. Retry later.",
    "photo-empty": "The file has no content. Upload it again.",
    "photo-too-large": "The file is larger than 50 MB. Save it smaller.",
    "photo-too-many-pixels": "The photo has more than 100 million pixels. Save it smaller.",
    "photo-not-an-image": "The file is not an image at all, whatever its name says.",
    "photo-format-unsupported": (
        "The file is in a format that cannot be read. Convert it to JPEG, PNG, WebP, AVIF or GIF."
    ),
    "photo-animated": "The file has more than one frame, so that it is unclear which one shows the product.",
    "photo-corrupt": "The file is an image whose data is damaged or ends early. Upload it again.",
}


# What is said beside a disagreement.
UNSURE = "The model is unsure of its answer, or the photo is unlike those that it was trained on."
LEARNT = "The model was trained on this photo, so its answer is not an independent opinion."


@dataclass(frozen=True)
class _Failures:
    """The photos that have one error in common."""

    code: str
    meaning: str
    results: Sequence[Result]
    total: int


def thumbnail(objects: Objects, uri: str) -> Image | None:
    """A photo, small; None where there is nothing to show."""
    try:
        return small(objects.read(uri, max_bytes=MAX_BYTES).data, SIDE)
    except (ObjectNotFoundError, ObjectTooLargeError, ImageError):
        return None


def small(data: bytes, side: int, large: AbstractContextManager[object] | None = None) -> Image:
    """A photo whose longest side has at most so many pixels; `large` is entered while a large one is decoded.

    Raises:
        ImageError: it cannot be used.

    """
    image = decode(data, about=side, large=large)
    image.thumbnail((side, side))
    return image


def jpeg(image: Image) -> bytes:
    """A photo as it is shown."""
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()


def data_uri(image: Image) -> str:
    """A photo as it stands in a page itself."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image)).decode()


def photo_of(objects: Objects, result: Result) -> str | None:
    """The photo of a result as a data URI, small; None where there is nothing to show."""
    image = thumbnail(objects, result.prediction.image_uri)
    return data_uri(image) if image else None


def render(results: JobResults, objects: Objects) -> str:
    """Renders the page.

    Args:
        results: their rows are all read, and all stand in the page with their photos: limit them.
        objects: where the photos are.

    """
    rows = list(results.rows)
    predictions = [row for row in rows if not row.prediction.error]
    failed = sorted((row for row in rows if row.prediction.error), key=_error)
    photos = in_parallel(lambda result: photo_of(objects, result), predictions)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            manifest=results.manifest,
            completed=results.completed,
            tally=results.tally,
            request=asked_for(results.manifest.request),
            photos={
                row.prediction.prediction_id: photo for row, photo in zip(predictions, photos, strict=True)
            },
            rows=rows,
            total=results.tally.rows,
            disagreements=[row for row in rows if row.disagreements],
            unsure=UNSURE,
            learnt=LEARNT,
            predictions=predictions,
            labels=sorted(
                {row.labels(head)[0].label for head in results.tally.heads[:1] for row in predictions}
            ),
            failures=[
                _Failures(code, MEANINGS[code], list(group), results.tally.errors[code])
                for code, group in groupby(failed, key=_error)
            ],
        )
    )


def asked_for(request: ClassificationRequested) -> list[tuple[str, str]]:
    """What a job was asked for, as (what, value) pairs."""
    asked = [
        (f"{words(name)}s" if condition.ranged and name == request.YEAR else words(name), str(condition))
        for name, condition in request.conditions.items()
    ]
    if request.limit:
        asked.append(("at most", f"{request.limit:,} products"))
    if request.retry_of:
        asked.append(("what failed in", request.retry_of))
    if request.prepared_by:
        asked.append(("what was prepared by", request.prepared_by))
    if request.augmentation:
        asked.append(("variants", f"{request.augmentation.copies} of each"))
    if request.classify != "originals":
        asked.append({"none": ("only prepared", ""), "both": ("photos and variants", "classified")}.get(
            request.classify, ("variants", "classified")
        ))  # fmt: skip
    return asked


def words(name: str) -> str:
    """`article_type` as people write it."""
    return name.replace("_", " ")


def misfits_of(prediction: Prediction) -> Sequence[str]:
    """What is said of a product's photos that do not fit its others."""
    found: dict[int, list[str]] = {}
    for each in prediction.misfits:
        found.setdefault(each.photo_number, []).append(words(each.head))
    return [
        f"photo {number} does not fit the others: {', '.join(heads)}"
        for number, heads in sorted(found.items())
    ]


def photo_name(prediction: Prediction) -> str:
    """Which of a product's photos a row is about, in words; "" where it has one."""
    if prediction.combined:
        return "all photos"
    return f"photo {prediction.photo_number}" if prediction.photo_number else ""


def percent(probability: float) -> str:
    """A probability as people read it; no model is ever 100 % sure, nor rules anything out."""
    if probability >= 0.995:
        return ">99 %"
    return "<1 %" if 0 < probability <= 0.005 else f"{100 * probability:.0f} %"


def templates(folder: Path) -> Environment:
    """The templates of a folder, which escape what they are given and want all that they name."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _environment() -> Environment:
    environment = templates(Path(__file__).parent)
    environment.filters |= {
        "words": words,
        "percent": percent,
        "misfits": misfits_of,
        "photo_name": photo_name,
    }
    return environment


def _error(result: Result) -> Any:
    return result.prediction.error
