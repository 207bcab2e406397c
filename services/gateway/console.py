"""The console: pages for the people of a marketplace. What they do is in actions.py, as for programs.

A page answers a browser without JavaScript whole; htmx asks for the same addresses, and takes a part.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import uuid4

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.datastructures import FormData
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.datastructures import UploadFile

from services.client.client import Job
from services.client.errors import InvalidRequestError
from services.client.ports import Result, ResultFilter
from services.client.report import MEANINGS, asked_for, data_uri, percent
from services.client.review import MAX_LABEL, Against, Quality, Verdict
from services.gateway import actions, forms, photos, security
from services.gateway.actions import EVALUATION, MAX_REASON
from services.gateway.api import (
    DIGEST,
    HEAD,
    JOB_ID,
    JOBS_AFTER,
    PRINTED,
    Head,
    JobPath,
    VersionPath,
    correction_rows,
)
from services.gateway.audit import audited, changes_nothing, record
from services.gateway.dependencies import (
    Administrator,
    BoardOf,
    Operator,
    PortsOf,
    Reader,
    Reviewer,
    SettingsOf,
)
from services.gateway.identity import Identity
from services.gateway.ports import Ports
from services.gateway.problems import Problem, problem_of
from services.gateway.progress import Board, Progress
from services.gateway.rendering import duration, name_of, page, photo, photo_of
from services.gateway.settings import Settings
from services.model.manifest import DEFAULT_DIRECTORY, Manifest, ModelError, is_identifier
from services.shared.errors import ObjectNotFoundError
from services.shared.events import BATCH_IMAGES, Classified, Filters, Prediction, ProductId
from services.shared.jobs import numbered_photos, photos_of, read_predictions, read_products
from services.shared.layout import JobLayout, digest

router = APIRouter(include_in_schema=False)

JOBS_A_PAGE = 25
PHOTOS_A_PAGE = 48
ITEMS_A_PAGE = 20  # disagreements
CORRECTIONS_A_PAGE = 50
COUNTED = 500  # disagreements that are counted; beyond it there are "more"
MATRIX_LABELS = 30  # the most frequent ones, in a confusion matrix
ANSWER_TIMEOUT = 30.0  # seconds for uploaded photos
CATALOGUE_LIFE = 60.0  # seconds for which the values of the catalogue are remembered
REJECTED_SHOWN = 100
MAX_EVALUATION_BYTES = 20_000_000
WHY = {"why": "Say why: it is kept with the change."}

STATIC = Path(__file__).parent / "static"

# What the API takes, and nothing where a form leaves it empty.
JOB_OR_NONE = f"^({JOB_ID[1:-1]})?$"
HEAD_OR_NONE = f"^({HEAD[1:-1]})?$"
ChosenSureness = Annotated[Literal["", "no", "yes"], Query()]
ChosenJob = Annotated[str, Query(pattern=JOB_OR_NONE)]
ChosenHead = Annotated[str, Query(pattern=HEAD_OR_NONE)]


async def _form(request: Request) -> FormData:
    """What was written into a form, however many fields it has."""
    return await request.form()


Written = Annotated[FormData, Depends(_form)]


def problem_page(request: Request, problem: Problem) -> Response:
    """A problem as a browser shows it; who is not signed in (401) goes to the sign-in page."""
    if problem.status == 401:
        where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        asked = {"next": where} if request.method == "GET" and where != "/" else {}
        return RedirectResponse("/sign-in" + (f"?{urlencode(asked)}" if asked else ""), 303)
    return page(request, "problem", status=problem.status, headers=problem.headers, problem=problem)


def _go(path: str, **query: str) -> RedirectResponse:
    """On to another page, after something was done."""
    return RedirectResponse(path + (f"?{urlencode(query)}" if query else ""), 303)


@router.get("/static/{name}")
def static(name: str) -> Response:
    """The style, the script, and htmx as its package has it."""
    if name not in _statics():
        raise Problem(404, "not-found", f"there is no {name!r}")
    # Asked for again each time, and then mostly not sent: a release is seen at once.
    return FileResponse(_statics()[name], headers={"Cache-Control": "no-cache"})


@cache
def _statics() -> Mapping[str, Path]:
    ours = {path.name: path for path in STATIC.iterdir()}
    return ours | {"htmx.min.js": Path(str(files("js_lib_htmx"))) / "static" / "htmx" / "htmx.min.js"}


@router.get("/sign-in")
def sign_in_form(
    request: Request, settings: SettingsOf, after: Annotated[str, Query(alias="next")] = ""
) -> Response:
    """Where everybody comes who is not signed in."""
    return _sign_in_page(request, settings, after)


@router.post("/sign-in", dependencies=[Depends(audited("session.start"))])
async def sign_in(request: Request, settings: SettingsOf, form: Written) -> Response:
    """Signs in by an API key, or as Google says."""
    try:
        return await security.sign_in(request)
    except Problem as problem:
        said = "This key is not known here." if problem.status == 401 else problem.detail
        return _sign_in_page(request, settings, str(form.get("next", "")), {"api_key": said}, problem.status)


def _sign_in_page(
    request: Request,
    settings: Settings,
    after: str,
    errors: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    return page(
        request,
        "sign_in",
        status=status,
        identity=None,
        next=after,
        errors=errors or {},
        google_client_id=settings.oauth_client_id,
        login_uri=f"{settings.url}/sign-in",
    )


@router.post("/sign-out", dependencies=[Depends(audited("session.end"))])
def sign_out(request: Request, identity: Reader) -> Response:
    """Signs out."""
    return security.sign_out(request)


@router.get("/")
def start(identity: Reader) -> Response:
    """The jobs are what most come for."""
    return _go("/jobs")


# ------------------------------------------------------------------------------------- jobs


@dataclass(frozen=True)
class _Row:
    """A job in the list."""

    job_id: str
    asked: str
    state: str
    share: float  # of its batches that are recorded
    took: str
    images: int
    errors: int
    requested_at: Any


@router.get("/jobs")
def jobs(
    request: Request,
    identity: Reader,
    ports: PortsOf,
    board: BoardOf,
    after: Annotated[str | None, Query(pattern=JOBS_AFTER)] = None,
) -> Response:
    """All jobs, newest first."""
    found = ports.vitrine.jobs(JOBS_A_PAGE, after)
    rows = [_row(job, board) for job in found.jobs]
    return page(
        request,
        "jobs",
        jobs=rows,
        live=any(row.state in ("accepted", "running") for row in rows),
        after=after,
        next=found.after,
    )


def _row(job: Job, board: Board) -> _Row:
    done, manifest = job.completed, job.manifest
    progress = None if done else board.see(job.job_id).progress
    state, errors, share = "running", 0, 0.0
    if done:
        state, errors = done.status, done.errors
    elif progress:
        state, errors = progress.state, sum(progress.errors.values())
        recorded = progress.stages[-1] if progress.stages else None
        share = recorded.done / recorded.total if recorded and recorded.total else 0.0
    return _Row(
        job_id=job.job_id,
        asked=", ".join(f"{what} {value}".strip() for what, value in asked_for(manifest.request))
        or "the whole catalogue",
        state=state,
        share=share,
        took=f"in {duration(done.completed_at - done.requested_at)}" if done else "",
        images=manifest.images,
        errors=errors,
        requested_at=manifest.requested_at,
    )


@router.get("/jobs/new")
def new_job(request: Request, identity: Operator, ports: PortsOf, settings: SettingsOf) -> Response:
    """The form of a new job."""
    return _job_form(request, ports, settings)


def _job_form(
    request: Request,
    ports: Ports,
    settings: Settings,
    form: FormData | None = None,
    errors: Mapping[str, str] | None = None,
    estimate: Any = None,
) -> Response:
    values, form = _catalogue(ports), form or FormData()
    return page(
        request,
        "new_job",
        status=422 if errors else 200,
        catalogue={choice: values[choice.attribute] for choice in forms.choices(ports.vitrine.tables.config)},
        ranges=forms.ranges(ports.vitrine.tables.config),
        years=[year for year, _ in values.get(Filters.YEAR, ())],
        versions=actions.served(ports, settings),
        varied=any(form.get(name) for name in forms.AUGMENTATION),
        form=form,
        key=form.get("key") or uuid4().hex,
        errors=errors or {},
        estimate=estimate,
    )


@router.post("/jobs", dependencies=[Depends(audited("job.create"))])
def create_job(
    request: Request,
    identity: Operator,
    ports: PortsOf,
    settings: SettingsOf,
    board: BoardOf,
    form: Written,
) -> Response:
    """Starts a job, or says what is wrong with what was written; `do=estimate` only says what it takes."""
    asked, errors = forms.request_of(form, ports.vitrine.tables.config)
    if asked is None:
        return _job_form(request, ports, settings, form, errors)
    try:
        if form.get("do") == "estimate":
            changes_nothing(request)
            estimate = actions.estimate(ports, settings, asked)
            return _job_form(request, ports, settings, form, estimate=estimate)
        # Sent twice it is one job; with something else written into it, another.
        key = digest(form["key"], asked.model_dump_json()) if form.get("key") else None
        confirmed = bool(form.get("confirm"))
        job_id = actions.create_job(ports, settings, identity, asked, key=key, confirm_cost=confirmed)
    except (Problem, InvalidRequestError) as refused:
        errors = forms.errors_of(problem_of(refused)) or {}
        if not errors:
            raise
        dear = actions.estimate(ports, settings, asked) if "confirm" in errors else None
        return _job_form(request, ports, settings, form, errors, dear)
    return _to_job(request, board, job_id)


def _to_job(request: Request, board: Board, job_id: str, **query: str) -> RedirectResponse:
    """On to a job that was just asked for, or asked to end."""
    record(request, subject=job_id)
    board.forget(job_id)
    return _go(f"/jobs/{job_id}", **query)


@router.post("/jobs/estimate", dependencies=[Depends(changes_nothing)])
def estimate_job(
    request: Request, identity: Operator, ports: PortsOf, settings: SettingsOf, form: Written
) -> Response:
    """What the form's job would take, while it is written."""
    asked, errors = forms.request_of(form, ports.vitrine.tables.config)
    estimate = None
    try:
        estimate = actions.estimate(ports, settings, asked) if asked else None
    except InvalidRequestError as refused:
        errors = forms.errors_of(problem_of(refused)) or {}
    return page(request, "estimate", form=form, errors=errors, estimate=estimate)


# ------------------------------------------------------------------------------------- a job


@dataclass(frozen=True)
class _Shown:
    """A photo of the gallery."""

    variant: str
    photo: str | None
    result: Result | None = None


@dataclass
class _Item:
    """A photo of the gallery, or the answer for all photos of a product."""

    product_id: str
    name: str
    original: _Shown
    variants: list[_Shown] = field(default_factory=list)
    photo_number: int | None = None  # of several
    combined: bool = False

    @property
    def id(self) -> str:
        """The product's id, and which of its photos it is."""
        which = ", all photos" if self.combined else f", photo {self.photo_number}"
        return self.product_id + (which if self.combined or self.photo_number else "")


@router.get("/jobs/{job_id}")
def job(
    request: Request,
    identity: Reader,
    ports: PortsOf,
    settings: SettingsOf,
    board: BoardOf,
    job_id: JobPath,
    show: str = "",
    label: Annotated[str, Query(max_length=2 * MAX_LABEL, pattern=PRINTED)] = "",
    number: Annotated[int, Query(alias="page", ge=1, le=100_000)] = 1,
) -> Response:
    """A job: how far it is, and its photos."""
    progress = _progress(board, job_id)
    known = _heads(ports, settings, progress.model_version)
    where = _filter(show, label)
    prepared_only = progress.request.classify == "none"
    if progress.images and prepared_only and progress.ended:
        items, total = _prepared(ports, job_id, progress, number)
    elif progress.images and progress.ended:
        total = ports.vitrine.tables.count(job_id, where)
        rows = ports.vitrine.tables.results(
            job_id, PHOTOS_A_PAGE, where=where, offset=(number - 1) * PHOTOS_A_PAGE
        )
        items = _grouped(job_id, _copies(ports, progress), list(rows))
    else:
        items, total = [], 0
    query = {name: value for name, value in (("show", show), ("label", label)) if value}
    heads = list(known) or sorted(
        {
            each.head
            for item in items
            if item.original.result
            for each in item.original.result.prediction.heads
        }
    )
    return page(
        request,
        "job",
        progress=progress,
        asked=asked_for(progress.request),
        items=items,
        total=total,
        heads=heads,
        known=known,
        show=show,
        chosen=label,
        prepared_only=prepared_only,
        page=number,
        pages=-(-total // PHOTOS_A_PAGE),
        page_address=lambda number: f"/jobs/{job_id}?{urlencode(query | {'page': number})}",
    )


def _progress(board: Board, job_id: str) -> Progress:
    progress = board.see(job_id).progress
    if progress is None:
        raise actions.no_job(job_id)
    return progress


def _filter(show: str, label: str) -> ResultFilter:
    head, _, value = label.partition(":")
    return ResultFilter(
        head=head if value else None,
        label=value or None,
        error="any" if show == "errors" else None,
        disagreements=show == "disagreements",
        abstained=True if show == "unsure" else None,
        unfamiliar=True if show == "unfamiliar" else None,
    )


def _copies(ports: Ports, progress: Progress) -> int:
    """How many variants of each photo there are to show."""
    request, job_id = progress.request, progress.job_id
    layout = photos_of(ports.vitrine.bucket, job_id, request)
    if layout.job_id != job_id and request.classify != "originals":
        request = actions.find_job(ports, layout.job_id).request
    return request.augmentation.copies if request.augmentation else 0


def _grouped(job_id: str, copies: int, rows: Sequence[Result]) -> list[_Item]:
    """The rows of a page by photo, variants beside their original, classified or not."""
    items: list[_Item] = []
    for row in rows:
        prediction = row.prediction
        product_id, number = prediction.product_id or "", prediction.photo_number
        name = name_of(row.declared, product_id)
        if prediction.combined:
            shown = _Shown("original", photo(prediction), row)
            items.append(_Item(product_id, name, shown, combined=True))
            continue
        last = items[-1] if items else None
        if last is None or last.combined or (last.product_id, last.photo_number) != (product_id, number):
            items.append(_item(job_id, product_id, name, copies, number))
        item = items[-1]
        if prediction.variant == "original":
            # A photo that cannot be read has no variants, and cannot be shown.
            if prediction.error:
                item.variants = []
            item.original = _Shown("original", None if prediction.error else item.original.photo, row)
        else:
            item.variants = [
                _Shown(each.variant, each.photo, row) if each.variant == prediction.variant else each
                for each in item.variants
            ]
    return items


def _item(job_id: str, product_id: str, name: str, copies: int, number: int | None) -> _Item:
    variants = [f"augmented-{copy}" for copy in range(copies)]
    original, *others = (
        _Shown(variant, photo_of(job_id, product_id, variant, photo_number=number))
        for variant in ("original", *variants)
    )
    return _Item(product_id, name, original, others, number)


def _prepared(ports: Ports, job_id: str, progress: Progress, number: int) -> tuple[list[_Item], int]:
    """A page of the photos that a job prepared and did not classify."""
    objects, layout = ports.vitrine.objects, JobLayout(ports.vitrine.bucket, job_id)
    total = progress.images or 0
    first = (number - 1) * PHOTOS_A_PAGE
    last = min(first + PHOTOS_A_PAGE, total)
    items: list[_Item] = []
    # All batches but the last one are full.
    for batch in range(first // BATCH_IMAGES, -(-last // BATCH_IMAGES)):
        products = read_products(objects, layout, batch)
        failed = {
            (row.product_id, row.photo_number): row
            for row in read_predictions(objects, layout, batch)
            if row.error
        }
        copies = _copies(ports, progress)
        start = batch * BATCH_IMAGES
        for product in products[max(0, first - start) : last - start]:
            product_id, name = product.product_id, name_of(product, product.product_id)
            for photo_number, _uri in numbered_photos(ports.vitrine.bucket, product):
                item = _item(job_id, product_id, name, copies, photo_number)
                if error := failed.get((product_id, photo_number)):
                    item.original, item.variants = _Shown("original", None, Result(error, product, ())), []
                items.append(item)
    return items, total


def _known(manifest: Manifest) -> Mapping[str, Sequence[str]]:
    return {head: sorted(labels) for head, labels in manifest.labels.items()}


def _heads(ports: Ports, settings: Settings, version: str | None) -> Mapping[str, Sequence[str]]:
    """What a version of the model can say, by head; nothing where it is not known any more."""
    manifest = _manifest(ports, version)
    return _known(manifest) if manifest else {}


def _manifest(ports: Ports, version: str | None) -> Manifest | None:
    """A version's manifest, or that of the one that ships; None where it is not known any more."""
    shipped = actions.shipped()
    if version in (None, shipped.version):
        return shipped
    try:
        return ports.registry.manifest(version or "")
    except ModelError:
        return None


@router.get("/jobs/{job_id}/progress")
def progress(request: Request, identity: Reader, board: BoardOf, job_id: JobPath) -> Response:
    """How far a job is, alone; once it has ended, the page is told to show the photos."""
    seen = _progress(board, job_id)
    return page(request, "progress", headers={"HX-Trigger": "job-ended"} if seen.ended else {}, progress=seen)


@router.post("/jobs/{job_id}/cancel", dependencies=[Depends(audited("job.cancel"))])
def cancel(request: Request, identity: Operator, ports: PortsOf, board: BoardOf, job_id: JobPath) -> Response:
    """Asks for a job to end."""
    actions.cancel(ports, job_id)
    return _to_job(request, board, job_id, done="cancelled")


@router.post("/jobs/{job_id}/retry", dependencies=[Depends(audited("job.retry"))])
def retry(
    request: Request,
    identity: Operator,
    ports: PortsOf,
    settings: SettingsOf,
    board: BoardOf,
    job_id: JobPath,
    confirm: Annotated[str, Form()] = "",
) -> Response:
    """Starts a job of just what failed."""
    try:
        asked = actions.retry(ports, settings, job_id, confirm_cost=bool(confirm))
    except Problem as problem:
        return _confirm_page(request, problem, {})
    return _to_job(request, board, asked)


@router.post("/jobs/{job_id}/classify", dependencies=[Depends(audited("job.classify"))])
def classify(
    request: Request,
    identity: Operator,
    ports: PortsOf,
    settings: SettingsOf,
    board: BoardOf,
    job_id: JobPath,
    classify: Annotated[Classified, Form()] = "originals",
    confirm: Annotated[str, Form()] = "",
) -> Response:
    """Starts a job that classifies what this one prepared."""
    try:
        asked = actions.classify_prepared(
            ports, settings, job_id, classify=classify, confirm_cost=bool(confirm)
        )
    except Problem as problem:
        return _confirm_page(request, problem, {"classify": classify})
    return _to_job(request, board, asked)


def _confirm_page(request: Request, problem: Problem, fields: Mapping[str, str]) -> Response:
    """What a job would take that costs more than the limit, and its form once more, with a box to tick."""
    if problem.type != "confirmation-needed":
        raise problem
    estimate, errors = problem.more["estimate"], forms.errors_of(problem)
    return page(
        request,
        "confirm",
        status=422,
        action=request.url.path,
        fields=fields,
        form=FormData(),
        errors=errors,
        estimate=estimate,
    )


# ------------------------------------------------------------------------------------- disagreements


@router.get("/check")
def check(
    request: Request,
    identity: Reader,
    ports: PortsOf,
    settings: SettingsOf,
    job: ChosenJob = "",
    head: ChosenHead = "",
    unsure: ChosenSureness = "",
) -> Response:
    """Where catalogue and photo disagree, the least likely declared value first."""
    return _check_page(request, ports, settings, job, head, unsure)


def _check_page(
    request: Request,
    ports: Ports,
    settings: Settings,
    job: str,
    head: str,
    unsure: str,
    form: FormData | None = None,
    errors: Mapping[str, str] | None = None,
) -> Response:
    found = ports.vitrine.tables.disagreements(
        job or None, head=head or None, unsure=unsure == "yes" if unsure else None, limit=COUNTED + 1
    )
    known, values = _heads(ports, settings, None), _catalogue(ports)
    heads = {*known, *(item.head for item in found)}
    shown = found[:ITEMS_A_PAGE]
    return page(
        request,
        "check",
        status=422 if errors else 200,
        items=shown,
        left=len(found),
        many=len(found) > COUNTED,
        job=job,
        head=head,
        unsure=unsure,
        heads=sorted(heads),
        jobs=_jobs_that_ended(ports, job),
        # What a photo may be corrected to: what the model knows, and what the catalogue has.
        known={
            each: sorted({*known.get(each, ()), *(value for value, _ in values.get(each, ()))})
            for each in sorted({item.head for item in shown})
        },
        more=f"/check?{urlencode({'job': job, 'head': head, 'unsure': unsure})}"
        if len(found) > ITEMS_A_PAGE
        else "",
        form=form or FormData(),
        errors=errors or {},
    )


@router.post("/check", dependencies=[Depends(audited("label.create"))])
def judge(
    request: Request,
    identity: Reviewer,
    ports: PortsOf,
    settings: SettingsOf,
    job_id: Annotated[str, Form(pattern=JOB_ID)],
    product_id: Annotated[ProductId, Form()],
    head: Annotated[Head, Form()],
    verdict: Annotated[Verdict, Form()],
    form: Written,
    label: Annotated[str, Form(max_length=MAX_LABEL, pattern=PRINTED)] = "",
    job: Annotated[str, Form(pattern=JOB_OR_NONE)] = "",
    head_shown: Annotated[str, Form(pattern=HEAD_OR_NONE)] = "",
    unsure_shown: Annotated[Literal["", "no", "yes"], Form()] = "",
) -> Response:
    """Keeps what a human says of a photo."""
    try:
        judged = actions.judge(ports, identity, job_id, product_id, head, verdict, label=label or None)
    except Problem as problem:
        if problem.status != 422 or _of_htmx(request):
            raise
        words = (forms.errors_of(problem) or {}).get("label", problem.detail)
        wrong = {f"label-{digest(job_id, product_id, head)}": words}
        return _check_page(request, ports, settings, job, head_shown, unsure_shown, form=form, errors=wrong)
    record(request, subject=judged.label_id)
    return (
        Response(status_code=204)
        if _of_htmx(request)
        else _go("/check", job=job, head=head_shown, unsure=unsure_shown, done="judged")
    )


def _of_htmx(request: Request) -> bool:
    return "HX-Request" in request.headers


def _jobs_that_ended(ports: Ports, chosen: str) -> list[str]:
    """Jobs to choose from, newest first, and the one that is chosen, however old it is."""
    recent = [job.job_id for job in ports.vitrine.jobs(JOBS_A_PAGE).jobs if job.completed]
    return recent if not chosen or chosen in recent else [chosen, *recent]


# ------------------------------------------------------------------------------------- corrections


@router.get("/corrections")
def corrections(
    request: Request,
    identity: Reader,
    ports: PortsOf,
    job: ChosenJob = "",
    number: Annotated[int, Query(alias="page", ge=1, le=100_000)] = 1,
) -> Response:
    """The reviewed values that differ from what the catalogue declared, and their exports."""
    tables = ports.vitrine.tables
    counts = tables.count_corrections(job or None)
    found = tables.corrections(
        job or None, limit=CORRECTIONS_A_PAGE, offset=(number - 1) * CORRECTIONS_A_PAGE
    )
    query = {"job": job} if job else {}
    return page(
        request,
        "corrections",
        jobs=_jobs_that_ended(ports, job),
        job=job,
        counts=counts,
        total=sum(counts.values()),
        corrections=correction_rows(found),
        page=number,
        pages=-(-sum(counts.values()) // CORRECTIONS_A_PAGE),
        page_address=lambda number: f"/corrections?{urlencode(query | {'page': number})}",
        file_address=lambda form: f"/v1/corrections?{urlencode(query | {'format': form})}",
    )


# ------------------------------------------------------------------------------------- quality


@dataclass(frozen=True)
class _Cell:
    """A field of the confusion matrix; `shade` goes from 0 to 8 with its share of the row."""

    photos: int
    shade: int
    right: bool


@dataclass(frozen=True)
class _Matrix:
    """A confusion matrix of the most frequent labels."""

    labels: Sequence[str]
    rows: Sequence[tuple[str, Sequence[_Cell]]]
    hidden: int  # labels that are left out


@router.get("/quality")
def quality(
    request: Request,
    identity: Reader,
    ports: PortsOf,
    settings: SettingsOf,
    job: ChosenJob = "",
    head: ChosenHead = "",
    against: Against = "catalogue",
) -> Response:
    """How good the model was in a job, label by label."""
    ended = _jobs_that_ended(ports, job)
    job = job or next(iter(ended), "")
    heads = ports.vitrine.tables.tally(job).heads if job else ()
    head = head or next(iter(heads), "")
    measured = ports.vitrine.tables.quality(job, head, against) if head else None
    version = _manifest(ports, actions.find_job(ports, job).model_version) if head else None
    return page(
        request,
        "quality",
        jobs=ended,
        job=job,
        heads=heads,
        head=head,
        against=against,
        quality=measured,
        unreliable=version.unreliable.get(head) if version else None,
        matrix=_matrix(measured) if measured else None,
    )


def _matrix(quality: Quality) -> _Matrix:
    labels = [each.label for each in quality.classes][:MATRIX_LABELS]
    counts = {(each.truth, each.predicted): each.photos for each in quality.confusion}
    support = {each.label: each.support for each in quality.classes}

    def cell(truth: str, predicted: str) -> _Cell:
        photos = counts.get((truth, predicted), 0)
        shade = max(1, round(8 * photos / support[truth])) if photos else 0
        return _Cell(photos, shade, truth == predicted)

    rows = [(truth, [cell(truth, predicted) for predicted in labels]) for truth in labels if support[truth]]
    return _Matrix(labels, rows, len(quality.classes) - len(labels))


# ------------------------------------------------------------------------------------- upload


@dataclass(frozen=True)
class _Sent:
    """A photo that was uploaded."""

    name: str
    shown: str  # a data URI
    prediction_id: str  # of the row that it will have


@dataclass(frozen=True)
class _Answer:
    """What is said of an uploaded photo: what it shows, or what is wrong with it."""

    name: str
    photo: str | None  # a data URI
    problem: str | None = None
    prediction: Prediction | None = None

    @property
    def heads(self) -> list[str]:
        """What was answered, in the model's order."""
        return list(dict.fromkeys(label.head for label in self.prediction.heads)) if self.prediction else []

    @property
    def summary(self) -> str:
        """The answer in a line."""
        best = [label for label in self.prediction.heads if label.rank == 1] if self.prediction else []
        return ", ".join(f"{label.label} {percent(label.probability)}" for label in best)


@router.get("/upload")
def upload_form(request: Request, identity: Operator) -> Response:
    """Where photos are dropped."""
    return page(request, "upload", answers=[])


@router.post("/upload", dependencies=[Depends(audited("image.classify"))])
async def upload(request: Request, identity: Operator, ports: PortsOf, form: Written) -> Response:
    """Classifies photos; what is wrong with one concerns no other."""
    files = [each for each in form.getlist("photo") if isinstance(each, UploadFile) and each.filename]
    if not files:
        errors = {"photo": "Choose at least one photo."}
        return page(request, "upload", status=422, answers=[], errors=errors)
    sent = [await photos.on_upload_thread(_send, ports, identity, each) for each in files]
    record(request, subject=" ".join(each.prediction_id for each in sent if isinstance(each, _Sent)))
    deadline = time.monotonic() + ANSWER_TIMEOUT
    answers = [each if isinstance(each, _Answer) else await _answer(ports, each, deadline) for each in sent]
    name = "answers" if _of_htmx(request) else "upload"
    return await run_in_threadpool(page, request, name, answers=answers)


def _send(ports: Ports, identity: Identity, photo: UploadFile) -> _Sent | _Answer:
    name = photo.filename or "photo"
    try:
        uploaded = actions.upload(ports, identity, photo.file)
    except Problem as problem:
        return _Answer(name, None, problem=problem.detail)
    return _Sent(name, data_uri(uploaded.image), uploaded.prediction_id)


async def _answer(ports: Ports, sent: _Sent, deadline: float) -> _Answer:
    prediction = await photos.answered(ports, sent.prediction_id, deadline)
    if prediction is None:
        problem: str | None = "There is no answer yet. Its row will be in `predictions`."
    else:
        problem = MEANINGS[prediction.error] if prediction.error else None
    return _Answer(sent.name, sent.shown, problem=problem, prediction=prediction)


# ------------------------------------------------------------------------------------- models


@router.get("/models")
def models(request: Request, identity: Reader, ports: PortsOf) -> Response:
    """The versions of the model."""
    return _models_page(request, ports)


def _models_page(
    request: Request,
    ports: Ports,
    failed: str = "",
    form: FormData | None = None,
    errors: Mapping[str, str] | None = None,
) -> Response:
    pointer, versions = actions.models(ports)
    versions.sort(key=lambda each: not each.production)
    return page(
        request,
        "models",
        status=422 if errors else 200,
        pointer=pointer,
        versions=versions,
        failed=failed,
        form=form or FormData(),
        errors=errors or {},
    )


@router.get("/models/{version}/evaluation")
def evaluation(identity: Reader, ports: PortsOf, version: VersionPath) -> Response:
    """The page that training wrote of a version; it is not ours, and may do nothing but be read."""
    data = _evaluation(ports, version)
    if data is None:
        raise Problem(404, "not-found", f"version {version!r} has no page of its evaluation")
    policy = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return Response(data, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": policy})


def _evaluation(ports: Ports, version: str) -> bytes | None:
    if is_identifier(version):
        uri = f"gs://{ports.vitrine.bucket}/models/{ports.registry.name}/{version}/{EVALUATION}"
        try:
            return ports.vitrine.objects.read(uri, max_bytes=MAX_EVALUATION_BYTES).data
        except ObjectNotFoundError:
            pass
    return (DEFAULT_DIRECTORY / EVALUATION).read_bytes() if version == actions.shipped().version else None


@router.post("/models/{version}/promote", dependencies=[Depends(audited("model.promote"))])
def promote(
    request: Request,
    identity: Administrator,
    ports: PortsOf,
    version: VersionPath,
    form: Written,
) -> Response:
    """Puts a version in production."""
    if not (why := _why(form)):
        return _models_page(request, ports, version, form, WHY)
    actions.promote(ports, identity, version, why)
    record(request, subject=version, detail=why)
    return _go("/models", done="promoted")


@router.post("/models/rollback", dependencies=[Depends(audited("model.rollback"))])
def rollback(request: Request, identity: Administrator, ports: PortsOf, form: Written) -> Response:
    """Puts back in production what was there before."""
    if not (why := _why(form)):
        return _models_page(request, ports, "", form, WHY)
    pointer = actions.rollback(ports, identity, why)
    record(request, subject=pointer.version or "carried", detail=why)
    return _go("/models", done="rolled-back")


def _why(form: FormData) -> str:
    return str(form.get("why", "")).strip()[:MAX_REASON]


# ------------------------------------------------------------------------------------- rejected messages


@router.get("/rejected")
def rejected(request: Request, identity: Reader, ports: PortsOf, job: ChosenJob = "") -> Response:
    """What was rejected, of a job or at all, newest first."""
    return page(
        request, "rejected", job=job, messages=ports.vitrine.rejected(job or None, limit=REJECTED_SHOWN)
    )


@router.post("/rejected/{rejection_id}/replay", dependencies=[Depends(audited("rejected.replay"))])
def replay(
    identity: Operator, ports: PortsOf, rejection_id: Annotated[str, PathParameter(pattern=DIGEST)]
) -> Response:
    """Publishes a rejected message again."""
    actions.replay(ports, rejection_id)
    return _go("/rejected", done="replayed")


# ------------------------------------------------------------------------------------- what is remembered


def _catalogue(ports: Ports) -> Mapping[str, Sequence[tuple[str, int]]]:
    """The values that the catalogue has, by column."""
    return _catalogue_of(ports, int(time.monotonic() / CATALOGUE_LIFE))


@lru_cache(maxsize=4)
def _catalogue_of(ports: Ports, _period: int) -> Mapping[str, Sequence[tuple[str, int]]]:
    return ports.vitrine.tables.values()
