"""The API: routes over `actions`, and what they take and answer. `openapi` has how errors are documented."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import MINYEAR, UTC, date, datetime
from itertools import batched, chain, islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, File, Header, Path, Query, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from services.client.client import JobPage
from services.client.correction_exports import FILES, MEDIA_TYPES, export
from services.client.corrections import Correction, Format, Status
from services.client.merchant_center import feed
from services.client.ports import Disagreement, Result, ResultFilter
from services.client.report import jpeg
from services.client.review import MAX_COMMENT, MAX_LABEL, Against, HumanLabel, Quality, Verdict
from services.gateway import actions, audit, photos
from services.gateway.actions import MAX_REASON
from services.gateway.audit import audited, changes_nothing
from services.gateway.cost import Estimate
from services.gateway.dependencies import (
    Administrator,
    BoardOf,
    Operator,
    PortsOf,
    Reader,
    Reviewer,
    SettingsOf,
)
from services.gateway.openapi import PHOTO_PROBLEMS, changing, may_raise
from services.gateway.ports import Ports
from services.gateway.problems import Problem
from services.gateway.progress import Board, Progress
from services.gateway.rendering import photo as photo_address
from services.model.manifest import Manifest, ModelError
from services.model.registry import Pointer, UnknownVersionError
from services.shared.catalogue import described
from services.shared.catalogue_config import CatalogueConfig
from services.shared.errors import ImageError, ObjectNotFoundError, ObjectTooLargeError
from services.shared.events import (
    MAX_COPIES,
    MAX_SIDE,
    NULL,
    ClassificationRequested,
    Classified,
    Declared,
    HeadPhoto,
    Prediction,
    ProductId,
    given,
)
from services.shared.images import FORMATS, MAX_BYTES
from services.shared.jobs import MAX_PHOTOS, photos_of
from services.shared.jobs import Manifest as JobManifest
from services.shared.layout import digest, photo_uri

PAGE = 100  # rows of a page, if not asked otherwise
LARGEST_PAGE = 1_000
CHUNK = 200  # rows that a stream sends at once
WAIT = 30.0  # seconds that an uploaded photo is waited for, at most
NDJSON = "application/x-ndjson"


async def _whole_characters(request: Request) -> None:
    """Refuses JSON with half a character in it, which could neither be stored nor shown."""
    if "json" in request.headers.get("Content-Type", "") and b"\\ud" in (await request.body()).lower():
        try:
            json.dumps(await request.json(), ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise Problem(400, "malformed-request", "the body has half a character in it") from error
        except (ValueError, RecursionError) as error:
            raise Problem(400, "malformed-request", "the body is not JSON") from error


# Readable operation ids: create_job instead of create_job_v1_jobs_post.
router = APIRouter(
    prefix="/v1",
    generate_unique_id_function=lambda route: route.name,
    dependencies=[Depends(_whole_characters)],
)

# ------------------------------------------------------------------------------------- what routes take

JOB_ID = r"^[a-z0-9][a-z0-9-]{1,62}$"
HEAD = r"^[A-Za-z][A-Za-z0-9_-]{0,99}$"
PRINTED = r"^[^\x00-\x1f\x7f]*$"
NOT_BLANK = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
JOBS_AFTER = r"^\d{13}/[a-z0-9][a-z0-9-]{1,62}$"
DIGEST = r"^[0-9a-f]{32}$"

JobPath = Annotated[str, Path(pattern=JOB_ID, description="The id of a job.", examples=["summer-dresses"])]
JobQuery = Annotated[str | None, Query(pattern=JOB_ID, description="Only of this job.")]
VersionPath = Annotated[str, Path(min_length=1, max_length=100, description="A version of the model.")]
Head = Annotated[str, Field(pattern=HEAD, examples=["article_type"])]
# A label as a line of text: what is no sign of it could be stored, but neither shown nor compared.
Text = Annotated[str, Field(min_length=1, max_length=MAX_LABEL, pattern=NOT_BLANK)]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="How many at most.")]
After = Annotated[
    str | None, Query(pattern=r"^\d{1,9}-[0-9a-f]{8}$", description="`next` of the page before this one.")
]
ConfirmCost = Annotated[
    bool, Query(description="Whether it may cost more than the limit that the settings name.")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,200}$",
        description="Makes a repeat safe: the same key with the same content is done once.",
        examples=["7c0d6b52-2d5e-4a86-8f57-1a0d4a6f8a3e"],
    ),
]


def _as_rfc_3339(value: str) -> str:
    """Refuses what is no time of RFC 3339: Pydantic would also take numbers of seconds."""
    if not re.match(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d", value):
        raise PydanticCustomError("time", "expected a time such as 2026-11-01T00:00:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    """A time in UTC; where UTC has no such year, the first or the last moment that there is."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return (datetime.min if value.year == MINYEAR else datetime.max).replace(tzinfo=UTC)


Since = Annotated[
    AwareDatetime | None,
    BeforeValidator(_as_rfc_3339),
    AfterValidator(_in_utc),
    Query(
        description="Only what was reviewed at this time or later.",
        examples=["2026-11-01T00:00:00Z"],
    ),
]
REQUEST_EXAMPLES: Any = {
    "sample": {
        "summary": "A sample of women's dresses",
        "value": {"gender": "Women", "article_type": "Dresses", "limit": 100},
    },
    "augmented": {
        "summary": "Originals and two variants of each",
        "value": {
            "job_id": "summer-dresses",
            "gender": ["Women", "Girls"],
            "start_year": 2014,
            "augmentation": {
                "rotation": {"degrees": 10},
                "resize": {"width": 256, "height": 256},
                "copies": 2,
            },
            "classify": "both",
        },
    },
    "own": {
        "summary": "By attributes of a catalogue of your own",
        "value": {"filters": {"colour": ["Red", "Blue"], "price": {"from": 10, "to": 20}}},
    },
    "prepared": {
        "summary": "Only prepare the photos, to classify them later",
        "value": {"job_id": "autumn", "season": "Fall", "classify": "none"},
    },
}
JobRequest = Annotated[ClassificationRequested, Body(openapi_examples=REQUEST_EXAMPLES)]


class _Given(BaseModel):
    """What a body may be: nothing besides what is named."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ClassifyPrepared(_Given):
    """What of a prepared job is classified, and by which version."""

    classify: Classified = "originals"
    model: Annotated[
        str | None, Field(min_length=1, max_length=100, description="A version; else the one in production.")
    ] = None


DEFAULTS = ClassifyPrepared()


class Judgement(_Given):
    """What a human says of what the model says of a photo."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "job_id": "summer-dresses",
                    "product_id": "10001",
                    "head": "article_type",
                    "verdict": "corrected",
                    "label": "Skirts",
                }
            ],
            # As `services.client.review.judgement` has it.
            "anyOf": [
                {"title": "Corrected", **given("label", verdict={"const": "corrected"})},
                {
                    "title": "Accepted or dismissed",
                    "properties": {"label": NULL, "verdict": {"enum": ["accepted", "dismissed"]}},
                },
            ],
        }
    )

    job_id: Annotated[str, Field(pattern=JOB_ID)]
    product_id: ProductId
    head: Head
    verdict: Verdict
    label: Annotated[Text | None, Field(description="The truth; of a corrected verdict only.")] = None
    comment: Annotated[str | None, Field(max_length=MAX_COMMENT)] = None


class Reason(_Given):
    """Why something is done; it is kept."""

    why: Annotated[str, Field(min_length=1, max_length=MAX_REASON, examples=["2 points better on shoes"])]


# ------------------------------------------------------------------------------------- what routes answer


class JobAsked(BaseModel):
    """A job that was asked for."""

    job_id: Annotated[str, Field(examples=["summer-dresses"])]


class JobSummary(BaseModel):
    """A job in the list of all; GET /v1/jobs/{job_id} has how far it is."""

    job_id: str
    state: Literal["running", "completed", "cancelled", "empty"]
    request: ClassificationRequested
    model: str
    model_version: str
    images: int
    requested_at: AwareDatetime
    completed_at: AwareDatetime | None
    predictions: Annotated[int | None, Field(description="Null while it runs.")]
    errors: Annotated[int | None, Field(description="Null while it runs.")]


class JobList(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobSummary]
    next: Annotated[
        str | None, Field(description="What `after` is for the next page; null: this is the last.")
    ]


class ResultRow(Prediction):
    """A row of `predictions` beside what the catalogue declares today.

    A product with several photos has a row for each of them, with its `photo_number`, and one that combines
    them: `decided` says which photo decided each attribute, and `misfits` which photos do not fit the others.
    """

    # This name was the catalogue's before the rows had one of their own.
    declared: Annotated[  # type: ignore[assignment]
        Mapping[str, str | int | float | tuple[str, ...] | None] | None,
        Field(
            description="What the catalogue declares today: `product_id`, `display_name`, `photos` and "
            "each attribute by its name; null where it has no such product.",
            examples=[
                {"product_id": "15970", "article_type": "Shirts", "year": 2011, "display_name": "Shirt"}
            ],
        ),
    ]
    declared_labels: Annotated[
        tuple[Declared, ...],
        Field(
            description="What the catalogue declared when the photo was classified: for each attribute the "
            "value, the model's label that it matches (null: the model has no such label), and the "
            "probability of that label."
        ),
    ]
    disagreements: Annotated[
        tuple[str, ...],
        Field(
            description="The attributes whose best label is not the declared one, whether the model is sure "
            "or not. The least likely declared value comes first."
        ),
    ]
    photo: Annotated[
        str | None, Field(description="Where the photo is; of an answer for several photos, one of them.")
    ]


class ResultPage(BaseModel):
    """A page of results: disagreements first, the least likely declared value on top; then errors; then the
    rest by id.
    """

    results: list[ResultRow]
    next: Annotated[
        str | None, Field(description="What `after` is for the next page; null: this is the last.")
    ]


class PhotoPending(BaseModel):
    """A photo that has no prediction yet; Location says where to look for it."""

    prediction_id: str


class LabelList(BaseModel):
    """The last verdict of each photo and head, newest first."""

    labels: list[HumanLabel]


class DisagreementRow(BaseModel):
    """A best label that is not what the catalogue declares, and that nobody has judged."""

    job_id: str | None
    product_id: str | None
    prediction_id: str
    head: str
    label: Annotated[str, Field(description="What the model says.")]
    declared: Annotated[str, Field(description="What the catalogue says.")]
    probability: Annotated[float, Field(description="How likely the model finds `label`.")]
    declared_probability: Annotated[
        float,
        Field(
            description="How likely the model finds `declared`; disagreements are ranked by it, the lowest "
            "first. For uploads and rows of earlier releases it may be an upper bound."
        ),
    ]
    unsure: Annotated[
        bool,
        Field(
            description="Whether the model abstains from this attribute, or the photo is unlike those that "
            "the model was trained on."
        ),
    ]
    learnt: Annotated[
        bool | None,
        Field(
            description="Whether the model was trained on this photo, so that its answer is not an "
            "independent opinion; null where that is not known."
        ),
    ]
    display_name: str | None
    photo: str | None
    photo_number: Annotated[
        int | None,
        Field(
            description="Which of the product's several photos decided `label`; null if it has one.",
        ),
    ]
    misfits: Annotated[
        tuple[HeadPhoto, ...],
        Field(description="The product's photos that do not fit the others, by attribute."),
    ]


class DisagreementPage(BaseModel):
    """A page of disagreements, the least likely declared value first."""

    disagreements: list[DisagreementRow]
    next: Annotated[
        str | None, Field(description="What `after` is for the next page; null: this is the last.")
    ]


class CorrectionRow(BaseModel):
    """The last review of a product's attribute, where it contradicts what the catalogue declared."""

    product_id: str
    attribute: str
    declared: Annotated[str | None, Field(description="What the catalogue said when it was reviewed.")]
    corrected: str
    reviewer: str
    reviewed_at: AwareDatetime
    job_id: str | None
    model_version: str | None
    current_value: Annotated[str | None, Field(description="What the catalogue says today.")]
    status: Annotated[
        Status,
        Field(
            description="`pending`: the catalogue still says what was reviewed. `applied`: it says the "
            "corrected value. `changed`: it says something else since the review. `missing`: it no longer "
            "has the product. `no-column`: it has no column for the attribute."
        ),
    ]
    left_out: Annotated[str | None, Field(description="Why no export contains it; null if they do.")]
    left_out_of_merchant_center: Annotated[
        str | None, Field(description="Why the feed for Google Merchant Center does not contain it.")
    ]


class CorrectionPage(BaseModel):
    """A page of corrections, newest first."""

    corrections: list[CorrectionRow]
    next: Annotated[str | None, Field(description="`after` of the next page; null: this is the last.")]


class ModelSummary(BaseModel):
    """A published version."""

    version: str
    created: date
    heads: Annotated[dict[str, int], Field(description="Head: how many labels it has.")]
    figures: dict[str, float]
    production: bool


class ModelList(BaseModel):
    """The published versions, newest first, and which of them is in production."""

    name: str
    carried: Annotated[
        str, Field(description="The version that the services carry: it answers until one is promoted.")
    ]
    production: Pointer | None
    versions: list[ModelSummary]
    refused: Annotated[list[str], Field(description="Why a version that stands there is none.")]


class RejectedRow(BaseModel):
    """A message that a service refused, or that was given up after its attempts."""

    rejection_id: str
    job_id: str | None
    topic: str
    subscription: str
    message_id: str
    attempts: int
    reason: str
    payload_preview: Annotated[str | None, Field(description="The first 1,000 characters.")]
    attributes: Annotated[str, Field(description="JSON.")]
    published_at: AwareDatetime
    rejected_at: AwareDatetime
    replayed: bool


class RejectedList(BaseModel):
    """Rejected messages, newest first."""

    messages: list[RejectedRow]


class Replayed(BaseModel):
    """The message that a rejected one was published again as."""

    message_id: str


# ------------------------------------------------------------------------------------- jobs

LOCATION: Any = {"Location": {"description": "Where to ask for it.", "schema": {"type": "string"}}}


def _links(*operations: str, **parameters: str) -> dict[str, Any]:
    """Where an answer leads: operations, and what of the answer their parameters are."""
    return {each: {"operationId": each, "parameters": parameters} for each in operations}


JOB_LINKS: Any = _links(
    *("get_job", "list_results", "cancel_job", "retry_job", "classify_job"), job_id="$response.body#/job_id"
)
ASKED: Any = {202: {"headers": LOCATION, "links": JOB_LINKS}}


def _asked(request: Request, response: Response, board: Board, job_id: str) -> JobAsked:
    audit.record(request, subject=job_id)
    # Who asked for it before it was there would else be told for a second that it is not.
    board.forget(job_id)
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return JobAsked(job_id=job_id)


@router.post(
    "/jobs",
    tags=["jobs"],
    status_code=202,
    responses=changing(
        "malformed-request",
        "idempotency-key-reused",
        "job-id-taken",
        "confirmation-needed",
        "job-not-found",
        "job-not-ended",
        "job-not-suitable",
        "model-not-found",
    )
    | ASKED,
    dependencies=[Depends(audited("job.create"))],
)
def create_job(
    body: JobRequest,
    request: Request,
    response: Response,
    identity: Operator,
    ports: PortsOf,
    settings: SettingsOf,
    board: BoardOf,
    key: IdempotencyKey = None,
    confirm_cost: ConfirmCost = False,
) -> JobAsked:
    """Ask for the photos of matching products to be prepared, augmented and classified.

    With `classify` "none" they are only prepared; POST /v1/jobs/{job_id}/classify goes on from there.
    """
    job_id = actions.create_job(ports, settings, identity, body, key=key, confirm_cost=confirm_cost)
    return _asked(request, response, board, job_id)


@router.post(
    "/estimates",
    tags=["jobs"],
    responses=changing("malformed-request", "job-not-found", "job-not-ended", "job-not-suitable"),
    dependencies=[Depends(changes_nothing)],
)
def estimate_job(body: JobRequest, identity: Reader, ports: PortsOf, settings: SettingsOf) -> Estimate:
    """Say what a request would match, scan, take and cost; nothing is begun."""
    return actions.estimate(ports, settings, body)


@router.get("/jobs", tags=["jobs"], responses=may_raise())
def list_jobs(
    identity: Reader,
    ports: PortsOf,
    limit: Annotated[int, Query(ge=1, le=100, description="How many at most.")] = 20,
    after: Annotated[
        str | None,
        Query(pattern=JOBS_AFTER, description="`next` of the page before."),
    ] = None,
) -> JobList:
    """List the jobs that have begun, newest first, running ones too."""
    page: JobPage = ports.vitrine.jobs(limit, after)
    return JobList(
        jobs=[
            JobSummary(
                job_id=job.job_id,
                state=job.status,
                request=job.manifest.request,
                model=job.manifest.model,
                model_version=job.manifest.model_version,
                images=job.manifest.images,
                requested_at=job.manifest.requested_at,
                completed_at=job.completed.completed_at if job.completed else None,
                predictions=job.completed.predictions if job.completed else None,
                errors=job.completed.errors if job.completed else None,
            )
            for job in page.jobs
        ],
        next=page.after,
    )


@router.get("/jobs/{job_id}", tags=["jobs"], responses=may_raise("job-not-found"), response_model=Progress)
async def get_job(job_id: JobPath, identity: Reader, board: BoardOf) -> Response:
    """Say how far a job is: its state, counts by stage and by error code, rate and estimated time left.

    The answer is at most two seconds old, however many ask.
    """
    seen = await board.follow(job_id)
    if seen.progress is None:
        raise actions.no_job(job_id)
    return Response(seen.body, media_type="application/json", headers={"Cache-Control": "private, no-cache"})


@router.post(
    "/jobs/{job_id}/cancel",
    tags=["jobs"],
    status_code=202,
    responses=changing("job-not-found") | ASKED,
    dependencies=[Depends(audited("job.cancel"))],
)
def cancel_job(
    job_id: JobPath, request: Request, response: Response, identity: Operator, ports: PortsOf, board: BoardOf
) -> JobAsked:
    """Ask for a job to end: what is classified stays, nothing else is begun. To ask twice changes nothing."""
    actions.cancel(ports, job_id)
    return _asked(request, response, board, job_id)


@router.post(
    "/jobs/{job_id}/retry",
    tags=["jobs"],
    status_code=202,
    responses=changing(
        "job-not-found", "job-not-ended", "nothing-to-retry", "job-not-suitable", "confirmation-needed"
    )
    | ASKED,
    dependencies=[Depends(audited("job.retry"))],
)
def retry_job(
    job_id: JobPath,
    request: Request,
    response: Response,
    identity: Operator,
    ports: PortsOf,
    settings: SettingsOf,
    board: BoardOf,
    confirm_cost: ConfirmCost = False,
) -> JobAsked:
    """Ask for a job of just what failed in this one, `<job>-r1`. To ask twice changes nothing."""
    asked = actions.retry(ports, settings, job_id, confirm_cost=confirm_cost)
    return _asked(request, response, board, asked)


@router.post(
    "/jobs/{job_id}/classify",
    tags=["jobs"],
    status_code=202,
    responses=changing(
        "malformed-request",
        "job-not-found",
        "model-not-found",
        "job-not-ended",
        "job-not-suitable",
        "confirmation-needed",
    )
    | ASKED,
    dependencies=[Depends(audited("job.classify"))],
)
def classify_job(
    job_id: JobPath,
    request: Request,
    response: Response,
    identity: Operator,
    ports: PortsOf,
    settings: SettingsOf,
    board: BoardOf,
    body: ClassifyPrepared = DEFAULTS,
    confirm_cost: ConfirmCost = False,
) -> JobAsked:
    """Ask for what a job prepared to be classified, as it is: nothing is copied. A repeat changes nothing."""
    asked = actions.classify_prepared(
        ports, settings, job_id, classify=body.classify, model=body.model, confirm_cost=confirm_cost
    )
    return _asked(request, response, board, asked)


# ------------------------------------------------------------------------------------- results


def _filter(
    head: Annotated[
        Head | None, Query(description="What the others are about is this head's best label.")
    ] = None,
    label: Annotated[Text | None, Query(description="The best label.")] = None,
    declared: Annotated[Text | None, Query(description="What the catalogue says.")] = None,
    error: Annotated[
        str | None, Query(pattern=r"^[a-z][a-z-]{0,99}$", description="An error code, or `any`.")
    ] = None,
    disagreements: Annotated[bool, Query(description="Only where model and catalogue disagree.")] = False,
    min_confidence: Annotated[float | None, Query(ge=0, le=1, description="The least probability.")] = None,
    abstained: Annotated[bool | None, Query(description="Whether the model is not sure.")] = None,
    unfamiliar: Annotated[
        bool | None, Query(description="Whether the photo is unlike all that the model was trained on.")
    ] = None,
) -> ResultFilter:
    return ResultFilter(
        head=head,
        label=label,
        declared=declared,
        error=error,
        disagreements=disagreements,
        min_confidence=min_confidence,
        abstained=abstained,
        unfamiliar=unfamiliar,
    )


@router.get(
    "/jobs/{job_id}/results",
    tags=["results"],
    response_model=ResultPage,
    responses=may_raise("job-not-found", "page-of-another-question")
    | {200: {"content": {NDJSON: {"schema": {"type": "string", "description": "A ResultRow a line."}}}}},
)
def list_results(
    job_id: JobPath,
    identity: Reader,
    ports: PortsOf,
    where: Annotated[ResultFilter, Depends(_filter)],
    limit: Limit = PAGE,
    after: After = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """List what came out of a job; of one that runs, what is in BigQuery so far.

    With `Accept: application/x-ndjson` all of it is streamed, a row a line and in no order, whatever `limit`
    and `after` say.
    """
    actions.find_job(ports, job_id)
    tables = ports.vitrine.tables
    if NDJSON in accept:
        rows = (_row(result, tables.config) for result in tables.results(job_id, None, where=where))
        # The first one now: what fails must do so before the answer has begun.
        return StreamingResponse(_lines(chain(list(islice(rows, 1)), rows)), media_type=NDJSON)
    page = _Page(after, limit, job_id, where)
    rows = (
        _row(each, tables.config)
        for each in tables.results(job_id, limit + 1, where=where, offset=page.offset)
    )
    found = [*rows]
    answer = ResultPage(results=found[:limit], next=page.next(len(found)))
    return Response(answer.model_dump_json(), media_type="application/json")


def _lines(rows: Iterator[ResultRow]) -> Iterator[str]:
    for some in batched(rows, CHUNK, strict=False):
        yield "".join(row.model_dump_json() + "\n" for row in some)


def _row(result: Result, config: CatalogueConfig) -> ResultRow:
    prediction = result.prediction
    declared = described(result.declared, config) if result.declared else None
    return ResultRow(
        **{name: getattr(prediction, name) for name in Prediction.model_fields if name != "declared"},
        declared=declared,
        declared_labels=prediction.declared,
        disagreements=result.disagreements,
        photo=_photo_path(prediction),
    )


def _photo_path(prediction: Prediction, head: str | None = None) -> str | None:
    """Where this gateway has the photo of a job's row; of several, the one that decided a head."""
    if prediction.job_id is None or prediction.product_id is None:
        return None
    return photo_address(prediction, side=None, head=head)


class _Page:
    """Where a page begins: an offset, and of which question."""

    def __init__(self, after: str | None, limit: int, *question: object) -> None:
        self._limit, self._question = limit, digest(*question)[:8]
        offset, _, question_of_token = (after or f"0-{self._question}").partition("-")
        if question_of_token != self._question:
            raise Problem(
                422,
                "page-of-another-question",
                "after: must be `next` of a page with the same filters",
                errors=[
                    {"field": "after", "expected": "`next` of a page with the same filters", "got": after}
                ],
            )
        self.offset = int(offset)

    def next(self, found: int) -> str | None:
        """The token of the next page, if one more was found than fits this one."""
        return f"{self.offset + self._limit}-{self._question}" if found > self._limit else None


VARIANT = rf"^(original|catalogue|augmented-[0-{MAX_COPIES - 1}])$"


@router.get(
    "/jobs/{job_id}/photos/{product_id:path}",
    tags=["results"],
    response_class=Response,
    responses=may_raise("job-not-found", "photo-not-found", *PHOTO_PROBLEMS)
    | {
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "It is still the one that If-None-Match names."},
    },
)
def get_photo(
    job_id: JobPath,
    product_id: Annotated[ProductId, Path(description="A product.")],
    identity: Reader,
    ports: PortsOf,
    variant: Annotated[
        str,
        Query(
            pattern=VARIANT,
            description="`original`: the job's copy; `augmented-0` and so on; `catalogue`: as it is today.",
        ),
    ] = "original",
    photo_number: Annotated[
        int | None,
        Query(ge=1, le=MAX_PHOTOS, description="Which of the product's photos. Default: the first."),
    ] = None,
    side: Annotated[int, Query(ge=16, le=MAX_SIDE, description="Pixels of the longest side, at most.")] = 512,
    if_none_match: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Get a photo of a job as a JPEG."""
    manifest = actions.find_job(ports, job_id)
    try:
        uri = _photo(ports, manifest, product_id, variant, photo_number)
        stored = ports.vitrine.objects.read(uri, max_bytes=MAX_BYTES)
        etag = f'"{stored.generation}-{side}"'
        # The copy of a job never changes; a cache that others share must not have it.
        headers = {"ETag": etag, "Cache-Control": "private, max-age=3600"}
        if etag in if_none_match:
            return Response(status_code=304, headers=headers)
        image = photos.small(stored.data, side)
    except ObjectNotFoundError as error:
        number = f", photo {photo_number}" if photo_number else ""
        raise Problem(
            404, "photo-not-found", f"job {job_id} has no photo {product_id} ({variant}{number})"
        ) from error
    except ObjectTooLargeError as error:
        raise actions.photo_problem(ImageError("photo-too-large"), "product_id") from error
    except ImageError as error:
        raise actions.photo_problem(error, "product_id") from error
    return Response(jpeg(image), media_type="image/jpeg", headers=headers)


def _photo(
    ports: Ports, manifest: JobManifest, product_id: str, variant: str, photo_number: int | None
) -> str:
    bucket = ports.vitrine.bucket
    if variant == "catalogue":
        return photo_uri(bucket, product_id, photo_number or 1)
    return photos_of(bucket, manifest.job_id, manifest.request).image(product_id, variant, photo_number)


# ------------------------------------------------------------------------------------- single photos

PHOTO_ENCODING: Any = {"photo": {"contentType": ", ".join(f"image/{kind.lower()}" for kind in FORMATS)}}


@router.post(
    "/images",
    tags=["single photos"],
    responses=changing("malformed-request", "idempotency-key-reused", *PHOTO_PROBLEMS)
    | {
        202: {
            "model": PhotoPending,
            "headers": LOCATION,
            "links": _links("get_image", prediction_id="$response.body#/prediction_id"),
            "description": "It takes longer.",
        }
    },
    dependencies=[Depends(audited("image.classify"))],
    response_model=Prediction,
    openapi_extra={"requestBody": {"content": {"multipart/form-data": {"encoding": PHOTO_ENCODING}}}},
)
async def classify_image(
    photo: Annotated[UploadFile, File(description="JPEG, PNG, WebP, AVIF, GIF or HEIC, at most 50 MB.")],
    request: Request,
    response: Response,
    identity: Operator,
    ports: PortsOf,
    key: IdempotencyKey = None,
    wait: Annotated[
        float, Query(ge=0, le=WAIT, description="Seconds after which the answer is where to look for it.")
    ] = WAIT,
) -> Prediction | Response:
    """Classify one photo; the answer is what the model says, or where to look for it if that takes longer.

    What is no photo, or not one that can be used, is refused before anything is written.
    """
    if photo.size is not None and photo.size > MAX_BYTES:
        raise actions.photo_problem(ImageError("photo-too-large"), "photo")
    uploaded = await photos.on_upload_thread(actions.upload, ports, identity, photo.file, key=key)
    audit.record(request, subject=uploaded.prediction_id, detail=uploaded.uri)
    prediction_id = uploaded.prediction_id
    return await photos.answered(ports, prediction_id, time.monotonic() + wait) or Response(
        PhotoPending(prediction_id=prediction_id).model_dump_json(),
        202,
        {"Location": f"/v1/images/{prediction_id}"},
        "application/json",
    )


@router.get("/images/{prediction_id}", tags=["single photos"], responses=may_raise("prediction-not-found"))
def get_image(
    prediction_id: Annotated[str, Path(pattern=DIGEST, description="As the upload's answer names it.")],
    identity: Reader,
    ports: PortsOf,
) -> Prediction:
    """Get what the model says of a photo that was uploaded within the last day."""
    prediction = ports.vitrine.tables.prediction(prediction_id)
    if prediction is None:
        raise Problem(
            404,
            "prediction-not-found",
            "there is no such prediction, or not yet",
            headers={"Retry-After": "1"},
        )
    return prediction


# ------------------------------------------------------------------------------------- review


@router.post(
    "/labels",
    tags=["review"],
    status_code=201,
    responses=changing("malformed-request", "photo-not-found"),
    dependencies=[Depends(audited("label.create"))],
)
def create_label(body: Judgement, request: Request, identity: Reviewer, ports: PortsOf) -> HumanLabel:
    """Say whether the model is right about a photo: accepted, corrected, or dismissed."""
    label = actions.judge(
        ports,
        identity,
        body.job_id,
        body.product_id,
        body.head,
        body.verdict,
        label=body.label,
        comment=body.comment,
    )
    audit.record(request, subject=label.label_id)
    return label


@router.get("/labels", tags=["review"], responses=may_raise())
def list_labels(identity: Reader, ports: PortsOf, job: JobQuery = None, limit: Limit = PAGE) -> LabelList:
    """List what humans said last of each photo and head, newest first."""
    return LabelList(labels=ports.vitrine.tables.labels(job, limit))


@router.get("/disagreements", tags=["review"], responses=may_raise("page-of-another-question"))
def list_disagreements(
    identity: Reader,
    ports: PortsOf,
    job: JobQuery = None,
    head: Annotated[Head | None, Query(description="Only of this head.")] = None,
    unsure: Annotated[
        bool | None,
        Query(description="Only where the model is unsure, or only where it is sure. Default: all."),
    ] = None,
    limit: Limit = PAGE,
    after: After = None,
) -> DisagreementPage:
    """List where the model's best label is not the declared one, and nobody has said who is right.

    A declared value is compared if it is a label of the model; case, blanks and invisible characters do not
    count. The values that the model finds least likely come first, whether the model is sure or not.
    Without a job: the newest prediction of each product's photo, of the last 30 days.
    """
    # Tokens of an earlier release stay good.
    page = _Page(after, limit, job, head, *([] if unsure is None else [unsure]))
    found = ports.vitrine.tables.disagreements(
        job, head=head, unsure=unsure, limit=limit + 1, offset=page.offset
    )
    return DisagreementPage(
        disagreements=[_disagreement(each) for each in found[:limit]], next=page.next(len(found))
    )


def _disagreement(each: Disagreement) -> DisagreementRow:
    return DisagreementRow(
        job_id=each.prediction.job_id,
        product_id=each.prediction.product_id,
        prediction_id=each.prediction.prediction_id,
        head=each.head,
        label=each.label,
        declared=each.declared_label,
        probability=each.probability,
        declared_probability=each.declared_probability,
        unsure=each.unsure,
        learnt=each.learnt,
        display_name=each.declared.display_name,
        photo=_photo_path(each.prediction, each.head),
        photo_number=each.decided_by,
        misfits=each.prediction.misfits,
    )


@router.get(
    "/corrections",
    tags=["review"],
    response_model=CorrectionPage,
    responses=may_raise("page-of-another-question")
    | {
        200: {
            "content": {
                MEDIA_TYPES["csv"]: {"schema": {"type": "string", "description": "A correction a line."}},
                MEDIA_TYPES["merge"]: {"schema": {"type": "string", "description": "GoogleSQL."}},
                MEDIA_TYPES["merchant-center"]: {
                    "schema": {"type": "string", "description": "A supplemental feed."}
                },
            }
        }
    },
)
def list_corrections(
    identity: Reader,
    ports: PortsOf,
    settings: SettingsOf,
    job: JobQuery = None,
    since: Since = None,
    form: Annotated[
        Literal["json", Format],
        Query(
            alias="format",
            description="`json`: a page. The others are files of all corrections, whatever `limit` and "
            "`after` say. `csv`: the pending ones. `merge`: a MERGE statement for the catalogue's table in "
            "BigQuery, with the pending ones. `merchant-center`: a supplemental feed for Google Merchant "
            "Center, with the pending and applied ones that Google's rules allow.",
        ),
    ] = "json",
    limit: Limit = PAGE,
    after: After = None,
) -> Response:
    """List the reviewed values that differ from what the catalogue declared, or download them in a form.

    Files do not contain values that have changed in the catalogue since their review; `left_out` has the
    reason.
    """
    tables = ports.vitrine.tables
    page = _Page(after, limit, job, since)
    if form != "json":
        made = export(tables.corrections(job, since=since), form, tables.product_table)
        headers = {"Content-Disposition": f'attachment; filename="{FILES[form]}"'}
        media_type = f"{MEDIA_TYPES[form]}; charset=utf-8"
        return Response(made.text, media_type=media_type, headers=headers)
    found = tables.corrections(job, since=since, limit=limit + 1, offset=page.offset)
    answer = CorrectionPage(corrections=correction_rows(found[:limit]), next=page.next(len(found)))
    return Response(answer.model_dump_json(), media_type="application/json")


def correction_rows(found: Sequence[Correction]) -> list[CorrectionRow]:
    """Corrections, with the reasons why exports leave them out."""
    refused = {each.correction: each.reason for each in feed(found).left_out}
    return [
        CorrectionRow(
            **asdict(each),
            left_out=each.outdated,
            left_out_of_merchant_center=each.outdated or refused.get(each),
        )
        for each in found
    ]


@router.get("/quality", tags=["review"], responses=may_raise("job-not-found"))
def get_quality(
    identity: Reader,
    ports: PortsOf,
    job: Annotated[str, Query(pattern=JOB_ID, description="The id of a job.")],
    head: Annotated[Head, Query(description="A head.")],
    against: Annotated[Against, Query(description="What is taken for the truth.")] = "catalogue",
) -> Quality:
    """Compare a job's best labels with a truth: figures by class, confusion, calibration."""
    actions.find_job(ports, job)
    return ports.vitrine.tables.quality(job, head, against)


# ------------------------------------------------------------------------------------- models


@router.get("/models", tags=["models"], responses=may_raise("model-refused", fields=False))
def list_models(identity: Reader, ports: PortsOf, settings: SettingsOf) -> ModelList:
    """List the published versions, newest first."""
    pointer, versions = actions.models(ports)
    return ModelList(
        name=ports.registry.name,
        carried=settings.model_version,
        production=pointer,
        versions=[
            ModelSummary(
                version=each.name,
                created=each.manifest.created,
                heads={head: len(labels) for head, labels in each.manifest.labels.items()},
                figures=each.manifest.figures,
                production=each.production,
            )
            for each in versions
            if each.published and each.manifest
        ],
        refused=[each.problem for each in versions if each.problem],
    )


@router.get("/models/{version}", tags=["models"], responses=may_raise("model-not-found", "model-refused"))
def get_model(version: VersionPath, identity: Reader, ports: PortsOf) -> Manifest:
    """Get a version's manifest: its labels, its figures, its files."""
    try:
        return ports.registry.manifest(version)
    except UnknownVersionError as error:
        raise Problem(404, "model-not-found", str(error)) from error
    except ModelError as error:
        raise Problem(409, "model-refused", str(error)) from error


@router.post(
    "/models/rollback",
    tags=["models"],
    responses=changing("malformed-request", "cannot-roll-back"),
    dependencies=[Depends(audited("model.rollback"))],
)
def rollback_model(body: Reason, request: Request, identity: Administrator, ports: PortsOf) -> Pointer:
    """Put back in production what was there before; a second rollback undoes the first."""
    pointer = actions.rollback(ports, identity, body.why)
    audit.record(request, subject=pointer.version or "carried", detail=body.why)
    return pointer


@router.post(
    "/models/{version}/promote",
    tags=["models"],
    responses=changing("malformed-request", "model-not-found", "cannot-promote"),
    dependencies=[Depends(audited("model.promote"))],
)
def promote_model(
    version: VersionPath, body: Reason, request: Request, identity: Administrator, ports: PortsOf
) -> Pointer:
    """Put a version in production: jobs that start from now on use it, uploads soon."""
    pointer = actions.promote(ports, identity, version, body.why)
    audit.record(request, subject=version, detail=body.why)
    return pointer


# ------------------------------------------------------------------------------------- rejected messages


@router.get("/rejected", tags=["rejected messages"], responses=may_raise())
def list_rejected(
    identity: Reader, ports: PortsOf, job: JobQuery = None, limit: Limit = PAGE
) -> RejectedList:
    """List the messages that were refused, or given up after their attempts, newest first."""
    return RejectedList(
        messages=[
            RejectedRow(
                **{
                    name: getattr(message.rejection, name)
                    for name in RejectedRow.model_fields
                    if name != "replayed"
                },
                replayed=message.replayed,
            )
            for message in ports.vitrine.rejected(job, limit=limit)
        ]
    )


@router.post(
    "/rejected/{rejection_id}/replay",
    tags=["rejected messages"],
    status_code=202,
    responses=changing("rejection-not-found", "cannot-replay"),
    dependencies=[Depends(audited("rejected.replay"))],
)
def replay_rejected(
    rejection_id: Annotated[str, Path(pattern=DIGEST)], identity: Operator, ports: PortsOf
) -> Replayed:
    """Publish a rejected message again, as it was. To ask twice publishes it once."""
    return Replayed(message_id=actions.replay(ports, rejection_id))
