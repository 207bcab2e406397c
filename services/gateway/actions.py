"""What the API and the console do: functions over the ports that raise a Problem where something cannot be done.

All are sync; run them on a thread. All may be repeated: a repeat changes nothing and answers the same.
"""

from dataclasses import dataclass
from uuid import uuid4

from services.client.client import REPLAYED
from services.client.errors import ClientError
from services.client.review import HumanLabel, Verdict
from services.gateway import cost
from services.gateway.cost import Estimate, Prices
from services.gateway.identity import Identity
from services.gateway.ports import Ports
from services.gateway.problems import FieldError, Problem
from services.gateway.settings import Settings
from services.model.manifest import ModelError
from services.model.registry import Pointer, UnknownVersionError
from services.shared.errors import ImageError, ObjectNotFoundError
from services.shared.events import Classify, ClassificationRequested
from services.shared.images import decode
from services.shared.jobs import Manifest, find_manifest
from services.shared.layout import JobLayout, digest


@dataclass(frozen=True)
class Photo:
    """A photo in the upload bucket."""

    uri: str
    prediction_id: str  # of the row that it will have


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
        Problem: 409 `idempotency-key-reused`, `job-id-taken`, `confirmation-needed` with the estimate;
            422 `invalid-request`, the model's version is not served.

    """
    if request.job_id is not None:
        job_id, taken = request.job_id, _taken(request.job_id)
    elif key is not None:
        job_id, taken = f"key-{digest(identity.name, key)}", _reused(key)
    else:
        job_id, taken = f"job-{uuid4().hex}", _taken("")
    request = request.model_copy(update={"job_id": job_id})
    layout = JobLayout(ports.vitrine.bucket, job_id)
    manifest = _manifest(ports, job_id)
    known = manifest.request if manifest else _accepted(ports, layout)
    if known is None:
        _check_model(ports, settings, request)
        if not confirm_cost and settings.cost_limit is not None:
            _confirm(estimate(ports, settings, request))
        document = request.model_dump_json(exclude_defaults=True).encode()
        # Of two that race for one job_id, one writes first.
        ports.vitrine.objects.create(layout.accepted, document, "application/json")
        known = _accepted(ports, layout)
    if known != request:
        raise taken
    if manifest is None:
        # Also where it was accepted already: who accepted it may have failed before it was published.
        ports.vitrine.request(request)
    return job_id


def estimate(ports: Ports, settings: Settings, request: ClassificationRequested) -> Estimate:
    """What a request would match, scan, take and cost."""
    prices = Prices.model_validate(settings.prices or {})
    matching = ports.vitrine.matching(request)
    return cost.estimate(request, matching.images, matching.bytes_scanned, prices, settings.cost_limit)


def cancel(ports: Ports, job_id: str) -> None:
    """Asks for a job to end; what has ended stays what it is.

    Raises:
        Problem: 404 `job-not-found`.

    """
    if _manifest(ports, job_id) is None and not _is_accepted(ports, job_id):
        raise _no_job(job_id)
    ports.vitrine.cancel(job_id)


def retry(ports: Ports, job_id: str) -> str:
    """Asks for a job of just what failed in another; its id, the same whenever it is asked for.

    Raises:
        Problem: 404 `job-not-found`; 409 `job-not-ended`, `nothing-to-retry`.

    """
    ...


def classify_prepared(ports: Ports, job_id: str, classify: Classify = "originals", model: str | None = None) -> str:
    """Asks for a job that classifies what another one prepared; its id, the same whenever it is asked for.

    Raises:
        Problem: 404 `job-not-found`; 409 `job-not-ended`; 422 `invalid-request`.

    """
    ...


# ------------------------------------------------------------------------------------- single photos


def upload(ports: Ports, identity: Identity, data: bytes, *, key: str | None = None) -> Photo:
    """Drops a photo into the upload bucket, once it was found to be one.

    Args:
        ports: the gateway's.
        identity: who uploads it.
        data: the file.
        key: the Idempotency-Key: the same one with the same bytes is the same photo.

    Raises:
        Problem: 413, 415, 422 with the code of what is wrong with the photo, of which nothing was written;
            409 `idempotency-key-reused`.

    """
    ...


# ------------------------------------------------------------------------------------- review


def judge(
    ports: Ports,
    identity: Identity,
    job_id: str,
    image_id: int,
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
    ...


# ------------------------------------------------------------------------------------- rejected messages


def replay(ports: Ports, rejection_id: str) -> str:
    """Publishes a rejected message again, once; the id of the new message.

    Raises:
        Problem: 404 `rejection-not-found`; 409 `cannot-replay`.

    """
    ...


# ------------------------------------------------------------------------------------- models


def promote(ports: Ports, identity: Identity, version: str, why: str) -> Pointer:
    """Puts a version in production.

    Raises:
        Problem: 404 `model-not-found`; 409 `cannot-promote`.

    """
    ...


def rollback(ports: Ports, identity: Identity, why: str) -> Pointer:
    """Puts back in production what was there before.

    Raises:
        Problem: 409 `cannot-roll-back`.

    """
    ...
