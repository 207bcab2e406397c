"""What the API and the console do: functions over the ports, which raise a Problem where something cannot be.

All are sync; run them on a thread. All may be repeated: a repeat changes nothing and answers the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO
from uuid import uuid4

from PIL import Image

from services.client.errors import ClientError, InvalidRequestError
from services.client.report import MEANINGS
from services.client.review import HumanLabel, Verdict
from services.gateway import cost, photos
from services.gateway.cost import Estimate
from services.gateway.identity import Identity
from services.gateway.ports import Ports
from services.gateway.problems import Problem, problem_of
from services.gateway.settings import Settings
from services.model.manifest import DEFAULT_DIRECTORY, Manifest, ModelError, load_manifest
from services.model.registry import Pointer, UnknownVersionError
from services.shared.errors import ImageError, ImageErrorCode, UnsuitableJobError
from services.shared.events import ClassificationRequested, Classify, JobCompleted
from services.shared.jobs import Manifest as JobManifest
from services.shared.jobs import check_origin, find_done, find_manifest
from services.shared.layout import JobLayout, digest

MAX_REASON = 500  # characters that say why a version is promoted
EVALUATION = "evaluation.html"  # a file of a version


@dataclass(frozen=True)
class Photo:
    """A photo in the upload bucket."""

    uri: str
    prediction_id: str  # of the row that it will have
    image: Image.Image  # made small


# ------------------------------------------------------------------------------------- jobs


def create_job(
    ports: Ports,
    settings: Settings,
    identity: Identity,
    request: ClassificationRequested,
    *,
    key: str | None = None,
    confirm_cost: bool = False,
) -> str:
    """Publishes a request; the id of its job.

    Args:
        ports: the gateway's.
        settings: with the price table and the limit of cost.
        identity: who asks.
        request: without a job_id its job is called after the key, or else gets a name of its own.
        key: the Idempotency-Key: the same one with the same request is the same job.
        confirm_cost: whether the job may cost more than the limit.

    Raises:
        Problem: 404 `job-not-found`, of the job that the request goes on from, `model-not-found`;
            409 `job-not-ended`, `job-not-suitable` likewise,
            `idempotency-key-reused`, `job-id-taken`, `confirmation-needed` with the estimate.

    """
    if request.job_id is not None:
        job_id, taken = request.job_id, _taken(request.job_id)
    elif key is not None:
        job_id = f"key-{digest(identity.name, key)}"
        taken = _reused("body")
    else:
        job_id = f"job-{uuid4().hex}"
        taken = _taken(job_id)
    request = request.model_copy(update={"job_id": job_id})
    known = ports.vitrine.find_request(job_id)
    if known is None:
        _check_origin(ports, request)
        ports.vitrine.check_values(request)
        _check_model(ports, settings, request.model)
        if not confirm_cost and settings.cost_limit is not None:
            _confirm(_priced(ports, settings, request))
    elif known != request:
        raise taken
    return _send(ports, request, job_id)


def estimate(ports: Ports, settings: Settings, request: ClassificationRequested) -> Estimate:
    """What a request would match, scan, take and cost.

    Raises:
        Problem: 404 `job-not-found`, 409 `job-not-ended`, `job-not-suitable`, of the job that the request
            goes on from.

    """
    _check_origin(ports, request)
    ports.vitrine.check_values(request)
    return _priced(ports, settings, request)


def cancel(ports: Ports, job_id: str) -> None:
    """Asks for a job to end; what has ended stays what it is.

    Raises:
        Problem: 404 `job-not-found`.

    """
    if ports.vitrine.find_request(job_id) is None:
        raise no_job(job_id)
    ports.vitrine.cancel(job_id)


def retry(ports: Ports, settings: Settings, job_id: str, *, confirm_cost: bool = False) -> str:
    """Asks for a job of just what failed in another; its id, the same whenever it is asked for.

    Raises:
        Problem: 404 `job-not-found`; 409 `job-not-ended`, `nothing-to-retry`, `job-not-suitable`,
            `confirmation-needed`.

    """
    if not _done(ports, job_id).errors:
        raise Problem(409, "nothing-to-retry", f"no photo of job {job_id} failed")
    return _follow(ports, settings, lambda: ports.vitrine.retry_request(job_id), confirm_cost=confirm_cost)


def classify_prepared(
    ports: Ports,
    settings: Settings,
    job_id: str,
    *,
    classify: Classify = "originals",
    model: str | None = None,
    confirm_cost: bool = False,
) -> str:
    """Asks for a job that classifies what another one prepared; its id, the same whenever it is asked for.

    Raises:
        Problem: 404 `job-not-found`, `model-not-found`; 409 `job-not-ended`, `job-not-suitable`,
            `confirmation-needed`.

    """
    _done(ports, job_id)
    _check_model(ports, settings, model)
    return _follow(
        ports,
        settings,
        lambda: ports.vitrine.classify_request(job_id, classify, model),
        confirm_cost=confirm_cost,
    )


def find_job(ports: Ports, job_id: str) -> JobManifest:
    """A job that has begun.

    Raises:
        Problem: 404 `job-not-found`.

    """
    manifest = find_manifest(ports.vitrine.objects, JobLayout(ports.vitrine.bucket, job_id))
    if manifest is None:
        raise no_job(job_id)
    return manifest


# ------------------------------------------------------------------------------------- single photos

# What is wrong with a photo -> the status that says so.
_PHOTO_STATUS: Mapping[ImageErrorCode, int] = {
    "photo-empty": 422,
    "photo-too-large": 413,
    "photo-too-many-pixels": 422,
    "photo-not-an-image": 415,
    "photo-format-unsupported": 415,
    "photo-animated": 422,
    "photo-corrupt": 422,
}


SHOWN = 320  # pixels of the longest side of an uploaded photo as it is shown


def upload(ports: Ports, identity: Identity, file: BinaryIO, *, key: str | None = None) -> Photo:
    """Drops a photo into the upload bucket, once it was found to be one.

    Args:
        ports: the gateway's.
        identity: who uploads it.
        file: which is read here, so that no more are held than are worked on.
        key: the Idempotency-Key: the same one with the same bytes is the same photo.

    Raises:
        Problem: 413, 415, 422 with the code of what is wrong with the photo, of which nothing was written;
            409 `idempotency-key-reused`.

    """
    data = file.read()
    try:
        image = photos.small(data, SHOWN)
    except ImageError as error:
        raise photo_problem(error, "photo") from error
    vitrine = ports.vitrine
    # The name says nothing that whoever uploads has chosen: 32 digits are no product's id either.
    uri = f"gs://{vitrine.upload_bucket}/{digest(identity.name, key or uuid4().hex)}"
    if vitrine.objects.create(uri, data, "application/octet-stream"):
        generation = vitrine.objects.generation(uri)
    else:
        stored = vitrine.objects.read(uri)
        if stored.data != data:
            raise _reused("photo")
        generation = stored.generation
    return Photo(uri, prediction_id=digest(uri, generation), image=image)


def photo_problem(error: ImageError, field: str) -> Problem:
    """What is wrong with a photo, as an answer that names its format where that is the reason."""
    return Problem(
        _PHOTO_STATUS[error.code],
        error.code,
        f"{MEANINGS[error.code]} Its format: {error.detail}." if error.detail else MEANINGS[error.code],
        errors=[
            {
                "field": field,
                "expected": "a JPEG, PNG, WebP, AVIF, GIF or HEIC of one frame",
                "got": error.detail or error.code,
            }
        ],
    )


# ------------------------------------------------------------------------------------- review


def judge(
    ports: Ports,
    identity: Identity,
    job_id: str,
    product_id: str,
    head: str,
    verdict: Verdict,
    *,
    label: str | None = None,
    comment: str | None = None,
) -> HumanLabel:
    """Records what a human says of a photo's best label of a head.

    Raises:
        Problem: 404 `photo-not-found`; 422 `invalid-request`.

    """
    try:
        result = ports.vitrine.result(job_id, product_id)
    except ClientError as error:
        raise Problem(404, "photo-not-found", str(error)) from error
    try:
        return ports.vitrine.judge(result, head, verdict, label=label, by=identity.name, comment=comment)
    except InvalidRequestError as error:
        raise problem_of(error) from error


# ------------------------------------------------------------------------------------- rejected messages


def replay(ports: Ports, rejection_id: str) -> str:
    """Publishes a rejected message again, once; the id of the new message.

    Raises:
        Problem: 404 `rejection-not-found`; 409 `cannot-replay`.

    """
    vitrine = ports.vitrine
    message = next(iter(vitrine.rejected(rejection_id=rejection_id)), None)
    if message is None:
        raise Problem(404, "rejection-not-found", f"no rejected message has the id {rejection_id!r}")
    try:
        return vitrine.replay(message)
    except ClientError as error:
        raise Problem(409, "cannot-replay", str(error)) from error


# ------------------------------------------------------------------------------------- models


@dataclass(frozen=True)
class Version:
    """A version of the model that is published, or ships with the services."""

    name: str
    manifest: Manifest | None  # None where what stands there is refused
    problem: str | None  # why
    production: bool
    ships: bool
    published: bool

    @property
    def evaluation(self) -> bool:
        """Whether it has a page of its evaluation."""
        return self.ships or (self.manifest is not None and EVALUATION in self.manifest.files)


@cache
def shipped() -> Manifest:
    """The version that ships with the services, which answers until one is promoted."""
    return load_manifest(DEFAULT_DIRECTORY)


def served(ports: Ports, settings: Settings) -> list[str]:
    """The versions that a request may name."""
    return sorted({settings.model_version, *ports.registry.versions()})


def models(ports: Ports) -> tuple[Pointer | None, list[Version]]:
    """What was promoted last, if anything was, and all versions, the newest first."""
    pointer, published = ports.registry.production(), ports.registry.versions()
    production = (pointer and pointer.version) or shipped().version
    versions = []
    for name in dict.fromkeys([*published, shipped().version]):
        manifest: Manifest | None = shipped()
        problem: str | None = None
        if name in published:
            try:
                manifest = ports.registry.manifest(name)
            except ModelError as error:
                manifest, problem = None, str(error)
        versions.append(
            Version(name, manifest, problem, name == production, name == shipped().version, name in published)
        )
    versions.sort(key=lambda each: (each.manifest.created.toordinal() if each.manifest else 0, each.name))
    return pointer, versions[::-1]


def promote(ports: Ports, identity: Identity, version: str, why: str) -> Pointer:
    """Puts a version in production; one that is there stays.

    Raises:
        Problem: 404 `model-not-found`; 409 `cannot-promote`.

    """
    try:
        stands = ports.registry.production()
        if stands and stands.version == version:
            return stands
        return ports.registry.promote(version, identity.name, why, ports.clock())
    except UnknownVersionError as error:
        raise Problem(404, "model-not-found", str(error)) from error
    except ModelError as error:
        raise Problem(409, "cannot-promote", str(error)) from error


def rollback(ports: Ports, identity: Identity, why: str) -> Pointer:
    """Puts back in production what was there before; a second one undoes the first.

    Raises:
        Problem: 409 `cannot-roll-back`.

    """
    try:
        return ports.registry.rollback(identity.name, why, ports.clock())
    except ModelError as error:
        raise Problem(409, "cannot-roll-back", str(error)) from error


# ------------------------------------------------------------------------------------- what stands


def no_job(job_id: str) -> Problem:
    """Nobody asked for a job of this name."""
    return Problem(404, "job-not-found", f"there is no job {job_id!r}")


def _reused(field: str) -> Problem:
    return Problem(
        409,
        "idempotency-key-reused",
        "this Idempotency-Key came with other content before: a key is for one request and its repeats",
        errors=[{"field": field, "expected": "what came with the key before", "got": None}],
    )


def _taken(job_id: str) -> Problem:
    return Problem(
        409,
        "job-id-taken",
        f"job_id: {job_id!r} belongs to another request already",
        errors=[{"field": "job_id", "expected": "one that no other request has", "got": job_id}],
    )


def _done(ports: Ports, job_id: str) -> JobCompleted:
    try:
        return find_done(ports.vitrine.objects, ports.vitrine.bucket, job_id)[1]
    except UnsuitableJobError as error:
        raise _unsuitable(error) from error


def _follow(
    ports: Ports, settings: Settings, ask: Callable[[], ClassificationRequested], *, confirm_cost: bool
) -> str:
    """Sends a request for a job that follows from another one."""
    try:
        request = ask()
    except InvalidRequestError:
        raise
    except ClientError as error:
        raise Problem(409, "job-not-suitable", str(error)) from error
    job_id = request.job_id or ""
    if not confirm_cost and settings.cost_limit is not None and not ports.vitrine.find_request(job_id):
        _confirm(_priced(ports, settings, request))
    return _send(ports, request, job_id)


def _send(ports: Ports, request: ClassificationRequested, job_id: str) -> str:
    # Unlike people who may only publish, the gateway must be able to reserve: else its grants are broken.
    try:
        ports.vitrine.reserve(request)
    except InvalidRequestError as error:
        # Of two that race for one job_id, one was faster.
        raise _taken(job_id) from error
    if find_manifest(ports.vitrine.objects, JobLayout(ports.vitrine.bucket, job_id)) is None:
        # One that has begun would only have its first batches looked at again.
        ports.vitrine.publish(request)
    return job_id


def _priced(ports: Ports, settings: Settings, request: ClassificationRequested) -> Estimate:
    matching = ports.vitrine.matching(request)
    prepared = find_job(ports, request.prepared_by).request if request.prepared_by else None
    return cost.estimate(request, matching, settings.prices, settings.cost_limit, prepared)


def _check_origin(ports: Ports, request: ClassificationRequested) -> None:
    try:
        check_origin(ports.vitrine.objects, ports.vitrine.bucket, request)
    except UnsuitableJobError as error:
        raise _unsuitable(error) from error


def _unsuitable(error: UnsuitableJobError) -> Problem:
    if error.why == "missing":
        return no_job(error.job_id)
    return Problem(409, "job-not-ended" if error.why == "running" else "job-not-suitable", str(error))


def _check_model(ports: Ports, settings: Settings, version: str | None) -> None:
    if version in (None, settings.model_version) or ports.registry.has(version):
        return
    versions = ", ".join(served(ports, settings))
    raise Problem(
        404,
        "model-not-found",
        f"model: {version!r} is not served; there are: {versions}",
        errors=[{"field": "model", "expected": f"one of {versions}", "got": version}],
    )


def _confirm(priced: Estimate) -> None:
    if priced.needs_confirmation:
        raise Problem(
            409,
            "confirmation-needed",
            f"the job would cost about {priced.cost:.2f} {priced.currency}, more than {priced.limit:g}: "
            "ask with confirm_cost=true",
            errors=[{"field": "confirm_cost", "expected": "true", "got": False}],
            more={"estimate": priced.model_dump(mode="json")},
        )
