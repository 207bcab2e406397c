"""The pipeline from Python: ask for a job, follow it, read its results, upload, replay what was rejected.

vitrine = Vitrine.connect(target)
job_id = vitrine.request(parse_request('{"gender": "Women", "limit": 100}'))
for status in vitrine.watch(job_id):
    ...
results = vitrine.results(job_id)
"""

import json
import mimetypes
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, count, repeat
from pathlib import Path
from typing import Literal
from uuid import uuid4

from services.client.errors import ClientError, InvalidRequestError
from services.client.ports import (
    Matching,
    Objects,
    Rejection,
    Result,
    ResultFilter,
    Tables,
    Tally,
    Topics,
)
from services.client.review import HumanLabel, Verdict, judgement
from services.client.target import Target
from services.model.registry import Registry
from services.shared.catalogue import invalid_filters
from services.shared.errors import NotAllowedError, ObjectNotFoundError, Reject, UnsuitableJobError
from services.shared.events import (
    CancellationRequested,
    ClassificationRequested,
    Filters,
    JobCompleted,
    Prediction,
)
from services.shared.jobs import Manifest, check_origin, find_completed, find_done, find_manifest
from services.shared.layout import JobLayout, digest, recent_prefix
from services.shared.nearest import did_you_mean
from services.shared.parallel import in_parallel
from services.shared.wiring import load_wiring

POLL_INTERVAL = 0.5  # seconds between looks at a job
PATIENCE = 3.0  # seconds without progress after which the rejected messages are looked at
JOB_ID_LENGTH = 63  # characters, at most
REPLAYED = ".replayed"  # the suffix of the object that says so, beside the message's bytes

REQUEST_TOPIC = load_wiring().topic_of(ClassificationRequested.__name__)
CANCEL_TOPIC = load_wiring().topic_of(CancellationRequested.__name__)


class JobStalledError(ClientError):
    """A job cannot be completed: messages of it were rejected and nothing else goes on."""

    def __init__(self, job_id: str, rejections: list[Rejection]) -> None:
        reasons = "; ".join(sorted({f"{rejection.topic}: {rejection.reason}" for rejection in rejections}))
        super().__init__(f"job {job_id} will not complete, {len(rejections)} rejected: {reasons}")
        self.rejections = rejections


@dataclass(frozen=True)
class Stage:
    """How far one stage is with a job."""

    name: str
    done: int
    total: int | None  # None as long as it is not known
    unit: str


@dataclass(frozen=True)
class Status:
    """How far a job is; before it was selected it has no manifest."""

    job_id: str
    manifest: Manifest | None
    stages: tuple[Stage, ...]
    completed: JobCompleted | None


@dataclass(frozen=True)
class Job:
    """A job in the list of all."""

    job_id: str
    manifest: Manifest
    completed: JobCompleted | None

    @property
    def status(self) -> Literal["running", "completed", "cancelled", "empty"]:
        """Where it is."""
        return self.completed.status if self.completed else "running"


@dataclass(frozen=True)
class JobPage:
    """A part of the list of all jobs, newest first."""

    jobs: tuple[Job, ...]
    after: str | None  # what `Vitrine.jobs` is to be given for the next page; None: this is the last


@dataclass(frozen=True)
class JobResults:
    """What came out of a job; of one that is not completed yet, what is in BigQuery so far."""

    manifest: Manifest
    completed: JobCompleted | None
    tally: Tally
    rows: Iterator[Result]  # can be read once; in the order that `Tables.results` says, none without a limit


@dataclass(frozen=True)
class Upload:
    """A photo in the upload bucket."""

    path: Path
    uri: str
    prediction_id: str  # of the row that it will have


@dataclass(frozen=True)
class RejectedMessage:
    """A rejected message, and whether it was published again."""

    rejection: Rejection
    replayed: bool


def parse_request(document: str | bytes) -> ClassificationRequested:
    """Reads a request as the pipeline does.

    Raises:
        InvalidRequestError: names every field that is wrong, in the words in which the pipeline would.

    """
    data = document.encode() if isinstance(document, str) else document
    try:
        return ClassificationRequested.parse(data)
    except Reject as error:
        raise InvalidRequestError(f"the request is not valid: {error}") from error.__cause__


def stages_of(manifest: Manifest, marks: Callable[[str], int]) -> tuple[Stage, ...]:
    """How far each stage is with a job, in the order of the flow.

    Args:
        manifest: the job's.
        marks: how many of its batches have left their mark in a folder of the job; not asked in vain.

    """
    batches = manifest.batches
    # From the end of the flow to its start: what has passed a stage has passed those before it.
    recorded = marks("ledger")
    classified = batches if recorded >= batches else marks("predictions")
    stages = [
        Stage("selected", manifest.images, manifest.images, "products"),
        Stage("staged", batches if classified >= batches else marks("metadata"), batches, "batches"),
    ]
    if manifest.request.augmentation is not None:
        # An empty batch has nothing to augment, so that the count alone would never be full.
        augmented = batches if classified >= batches else marks("augmentation")
        stages.append(Stage("augmented", augmented, batches, "batches"))
    if manifest.request.classify != "none":
        stages.append(Stage("classified", classified, batches, "batches"))
    return (*stages, Stage("recorded", recorded, batches, "batches"))


def pauses() -> Iterator[float]:
    """Seconds between looks for the row of an uploaded photo: each look is a query."""
    return chain((0.5, 1.0), repeat(2.0))


def _for_product(prediction: Prediction, variant: str) -> bool:
    return prediction.variant == variant and prediction.photo_number is None


def _derived(job_id: str, suffix: str) -> str:
    """The id of a job that follows from another one; a digest takes the place of what would be too long."""
    if len(job_id) + len(suffix) <= JOB_ID_LENGTH:
        return job_id + suffix
    short = f"-{digest(job_id)[:12]}{suffix}"
    return job_id[: JOB_ID_LENGTH - len(short)] + short


class Vitrine:
    """The pipeline of one project.

    Args:
        objects: its Cloud Storage.
        topics: its Pub/Sub.
        tables: its dataset.
        bucket: where catalogue and jobs are.
        upload_bucket: where single photos are dropped.

    """

    def __init__(
        self, objects: Objects, topics: Topics, tables: Tables, bucket: str, upload_bucket: str
    ) -> None:
        self.objects = objects
        self.tables = tables
        self.bucket = bucket
        self._topics = topics
        self.upload_bucket = upload_bucket

    @classmethod
    def connect(cls, target: Target) -> "Vitrine":
        """Connects by Google's clients.

        Raises:
            ClientError: nothing answers there.

        """
        # Imported here: they take a second, which no wrong argument should wait for.
        from services.client.google_cloud import BigQueryTables, CloudObjects, CloudTopics

        target.activate()
        return cls(
            CloudObjects(target.project),
            CloudTopics(target.project),
            BigQueryTables(target.project, target.dataset, target.catalogue),
            target.bucket,
            target.upload_bucket,
        )

    # --------------------------------------------------------------------------------- jobs

    def request(self, request: ClassificationRequested) -> str:
        """Publishes a request; the id of its job. The same request of the same job_id changes nothing.

        Raises:
            InvalidRequestError: no product has a value that is asked for, the job_id belongs to another
                request, or the job that the request is based on does not suit it.

        """
        # Callers who may only publish get the same answers from selection, as rejected messages.
        with suppress(NotAllowedError):
            if request.job_id is None or self.find_request(request.job_id) is None:
                self.check_values(request)
            self.reserve(request)
        return self.publish(request)

    def check_values(self, filters: Filters) -> None:
        """Checks that the catalogue has the attributes and values that a request filters by.

        Raises:
            InvalidRequestError: it has not; names the field of the first and the nearest name of each.
            NotAllowedError: the caller may not read the catalogue.

        """

        def values(_attributes: Sequence[str]) -> Mapping[str, Set[str]]:
            return {name: {value for value, _ in pairs} for name, pairs in self.tables.values().items()}

        if invalid := invalid_filters(filters, self.tables.config, values):
            others = "".join(f"; {each}" for each in invalid[1:])
            first = invalid[0]
            raise InvalidRequestError(first.expected + others, field=first.field, got=first.got)

    def reserve(self, request: ClassificationRequested) -> None:
        """Takes a request's job_id, if it names one, before it is published.

        Raises:
            InvalidRequestError: the job_id belongs to another request, or the job that the request goes on
                from does not serve for it.
            NotAllowedError: the credentials have no right to look, or to write.

        """
        known = None if request.job_id is None else self.find_request(request.job_id)
        if known is None:
            try:
                check_origin(self.objects, self.bucket, request)
            except UnsuitableJobError as error:
                raise InvalidRequestError(str(error)) from error
        if request.job_id is None:
            return
        document = request.model_dump_json(exclude_defaults=True).encode()
        # Of two that race for one job_id, one writes first.
        self.objects.create(JobLayout(self.bucket, request.job_id).accepted, document, "application/json")
        if self.find_request(request.job_id) != request:
            raise InvalidRequestError(f"job_id: {request.job_id!r} belongs to another request already")

    def publish(self, request: ClassificationRequested) -> str:
        """Publishes a request, whose job_id is reserved if it names one; the id of its job."""
        attributes = {} if request.job_id is None else {"job_id": request.job_id}
        data = request.model_dump_json(exclude_defaults=True).encode()
        message_id = self._topics.publish(REQUEST_TOPIC, data, attributes)
        return request.job_id or f"job-{message_id}"

    def find_request(self, job_id: str) -> ClassificationRequested | None:
        """What a job was asked for, also while it waits to begin; None: nobody asked for it by this id."""
        if (manifest := self._manifest(job_id)) is not None:
            return manifest.request
        try:
            stored = self.objects.read(JobLayout(self.bucket, job_id).accepted)
        except ObjectNotFoundError:
            return None
        return ClassificationRequested.model_validate_json(stored.data)

    def matching(self, request: ClassificationRequested) -> Matching:
        """How many products a request would select if it were sent now.

        Raises:
            ClientError: there is no job whose photos are to be classified.

        """
        if request.prepared_by is None:
            return self.tables.matching(request)
        prepared = self._manifest(request.prepared_by)
        if prepared is None:
            raise ClientError(f"there is no job {request.prepared_by!r}")
        return Matching(prepared.images, prepared.images, 0)

    def retry(self, job_id: str) -> str:
        """Sends `retry_request`; the id of the new job."""
        return self.request(self.retry_request(job_id))

    def retry_request(self, job_id: str) -> ClassificationRequested:
        """What asks for what failed in a job once more, from the photos as they are now.

        The job `spring-r1` retries `spring`, `spring-r2` what failed again in `spring-r1`. Whoever asks
        twice has the same job; the next number is taken where it was cancelled, or its name is another's.

        Raises:
            ClientError: there is no such job, it is not done, nothing failed in it, or the job that made
                its variants is no longer there.

        """
        manifest, completed = self._done(job_id)
        if not completed.errors:
            raise ClientError(f"nothing failed in job {job_id!r}: there is nothing to retry")
        asked = manifest.request
        augmentation = asked.augmentation
        if asked.prepared_by is not None and asked.classify != "originals":
            augmentation = self._done(asked.prepared_by)[0].request.augmentation
        again = asked.retry_of and re.fullmatch(r"(.+)-r(\d+)", job_id)
        stem, number = (again[1], int(again[2])) if again else (job_id, 0)
        request = ClassificationRequested(
            retry_of=job_id,
            augmentation=augmentation,
            classify=asked.classify,
            model=asked.model or self._promoted(manifest.model),
        )
        return self._named(request, (_derived(stem, f"-r{again}") for again in count(number + 1)))

    def classify_prepared(self, job_id: str, classify: str = "originals", model: str | None = None) -> str:
        """Sends `classify_request`; the id of the new job."""
        return self.request(self.classify_request(job_id, classify, model))

    def classify_request(
        self, job_id: str, classify: str = "originals", model: str | None = None
    ) -> ClassificationRequested:
        """What asks for what a completed job prepared to be classified; nothing is copied.

        Its job is called after what is asked, so that whoever asks twice has the same job:
        `spring-originals`, with a model version named a digest of it behind that. Where that was cancelled,
        or its name is another's, it is `spring-originals-2`.

        Args:
            job_id: the job that prepared the photos; of one that was itself classified so, that one's.
            classify: originals, augmented or both.
            model: the version that must answer; else the one that is in production when the job starts.

        Raises:
            InvalidRequestError: `classify` or `model` is none that can be asked for.
            ClientError: there is no such job, it is not completed, or made no variants.

        """
        manifest, _completed = self._done(job_id)
        prepared = manifest.request.prepared_by or job_id
        model = model or self._promoted(manifest.model)
        suffix = f"-{classify}" + ("" if model is None else f"-{digest(model)[:8]}")
        asked = {"prepared_by": prepared, "classify": classify, "model": model}
        request = parse_request(json.dumps(asked))
        try:
            check_origin(self.objects, self.bucket, request)
        except UnsuitableJobError as error:
            raise ClientError(str(error)) from error
        endings = chain([suffix], (f"{suffix}-{number}" for number in count(2)))
        return self._named(request, (_derived(prepared, ending) for ending in endings))

    def jobs(self, limit: int = 20, after: str | None = None) -> JobPage:
        """The jobs there are, newest first, running ones too: one page of a listing, two small reads a job.

        Args:
            limit: how many, at least 1.
            after: of the page before this one.

        """
        prefix = recent_prefix(self.bucket)
        uris = self.objects.page(prefix, after=None if after is None else prefix + after, limit=limit + 1)
        shown = uris[:limit]
        found = in_parallel(lambda uri: self._job(uri.rpartition("/")[2]), shown)
        return JobPage(
            # Old jobs' objects are cleared away, not all of a job's at one moment.
            jobs=tuple(job for job in found if job),
            after=shown[-1].removeprefix(prefix) if len(uris) > limit else None,
        )

    def cancel(self, job_id: str) -> None:
        """Asks for a job to end: what is classified stays, nothing else is begun. `watch` it to see it end.

        A job that has ended stays what it is, and to ask twice changes nothing.

        Raises:
            ClientError: there is no such job (yet).

        """
        try:
            known = self.find_request(job_id) is not None
        except NotAllowedError:
            # Recording knows.
            known = True
        if not known:
            raise ClientError(f"there is no job {job_id!r} to cancel")
        event = CancellationRequested(job_id=job_id)
        self._topics.publish(CANCEL_TOPIC, event.model_dump_json().encode(), event.attributes())

    def status(self, job_id: str) -> Status:
        """How far a job is, from a few listings of Cloud Storage."""
        layout = JobLayout(self.bucket, job_id)
        manifest = self._manifest(job_id)
        if manifest is None:
            return Status(job_id, None, (Stage("selected", 0, None, "products"),), None)
        stages = stages_of(manifest, lambda folder: self.objects.count(f"{layout.root}/{folder}/"))
        recorded = stages[-1].done >= manifest.batches
        completed = find_completed(self.objects, layout) if recorded else None
        return Status(job_id, manifest, stages, completed)

    def watch(
        self,
        job_id: str,
        *,
        timeout: float,
        interval: float = POLL_INTERVAL,
        patience: float = PATIENCE,
    ) -> Iterator[Status]:
        """Follows a job until it is completed; the last status says so.

        Args:
            job_id: the job; it need not have begun.
            timeout: seconds.
            interval: seconds between looks.
            patience: seconds without progress after which rejected messages are looked for.

        Raises:
            JobStalledError: messages of the job were rejected and nothing goes on any more.
            ClientError: the time is over.

        """
        deadline = time.monotonic() + timeout
        last, moved = None, time.monotonic()
        while True:
            status = self.status(job_id)
            yield status
            if status.completed is not None:
                return
            now = time.monotonic()
            if status != last:
                last, moved = status, now
            elif now - moved >= patience:
                if blocking := self.blocking(job_id, begun=status.manifest is not None):
                    raise JobStalledError(job_id, blocking)
                moved = now
            if now >= deadline:
                raise ClientError(
                    f"job {job_id} is not completed after {timeout:g} s; it goes on without us"
                    if status.manifest
                    else f"there is no job {job_id!r} after {timeout:g} s"
                )
            time.sleep(interval)

    def results(self, job_id: str, limit: int | None = None) -> JobResults:
        """What came out of a job.

        Args:
            job_id: the job.
            limit: how many rows; all of them if None, and then in no order.

        Raises:
            ClientError: there is no such job.

        """
        manifest = self._manifest(job_id)
        if manifest is None:
            raise ClientError(f"there is no job {job_id!r}")
        return JobResults(
            manifest=manifest,
            completed=find_completed(self.objects, JobLayout(self.bucket, job_id)),
            tally=self.tables.tally(job_id),
            rows=self.tables.results(job_id, limit),
        )

    # --------------------------------------------------------------------------------- review

    def check_job(self, job_id: str, head: str | None = None) -> None:
        """Checks that there is a job, and that its predictions have an attribute.

        Raises:
            ClientError: there is no such job.
            InvalidRequestError: the job has predictions, but none of the attribute.

        """
        if self._manifest(job_id) is None:
            raise ClientError(f"there is no job {job_id!r}")
        if head is None:
            return
        heads = self.tables.tally(job_id).heads
        if heads and head not in heads:
            expected = f"job {job_id} has no attribute {head!r}{did_you_mean(head, heads)}"
            raise InvalidRequestError(expected, field="head", got=head)

    def result(self, job_id: str, product_id: str, variant: str = "original") -> Result:
        """What a job says of a product: of its only photo, or of its several photos together.

        Raises:
            ClientError: the job has no such row.

        """
        rows = self.tables.results(job_id, None, where=ResultFilter(product_id=product_id))
        found = next((row for row in rows if _for_product(row.prediction, variant)), None)
        if found is None:
            raise ClientError(f"job {job_id!r} has no photo {product_id} ({variant}) in BigQuery")
        return found

    def judge(
        self,
        result: Result,
        head: str,
        verdict: Verdict,
        *,
        label: str | None = None,
        by: str,
        comment: str | None = None,
    ) -> HumanLabel:
        """Records what a human says of a result's best label of a head; see `review.judgement`.

        Raises:
            InvalidRequestError: names the field that is wrong and what was expected.

        """
        judged = judgement(
            result.prediction,
            head,
            verdict,
            label=label,
            declared=result.declared_label(head),
            by=by,
            at=datetime.now(UTC),
            comment=comment,
        )
        self.tables.add_label(judged)
        return judged

    # --------------------------------------------------------------------------------- single photos

    def upload(self, path: Path) -> Upload:
        """Drops a photo into the upload bucket, under a name that nothing else has."""
        # The last part stays: where it is a product's id, the row will name the product.
        uri = f"gs://{self.upload_bucket}/{uuid4().hex}/{path.name}"
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        generation = self.objects.put(uri, path.read_bytes(), content_type)
        return Upload(path, uri, prediction_id=digest(uri, generation))

    def await_prediction(self, upload: Upload, *, timeout: float) -> Prediction:
        """Waits for the row of an uploaded photo.

        Raises:
            ClientError: the time is over.

        """
        deadline, pause = time.monotonic() + timeout, pauses()
        while (prediction := self.tables.prediction(upload.prediction_id)) is None:
            if time.monotonic() >= deadline:
                raise ClientError(f"{upload.path} ({upload.uri}) has no prediction after {timeout:g} s")
            time.sleep(next(pause))
        return prediction

    # --------------------------------------------------------------------------------- rejected messages

    def rejected(
        self, job_id: str | None = None, *, rejection_id: str | None = None, limit: int | None = None
    ) -> list[RejectedMessage]:
        """The rejected messages, of a job or all of them, newest first; or the one of this id."""
        rejections = self.tables.rejected(job_id, rejection_id=rejection_id, limit=limit)
        marks = [rejection.payload_uri + REPLAYED for rejection in rejections]
        replayed = in_parallel(self.objects.exists, marks)
        return [RejectedMessage(*each) for each in zip(rejections, replayed, strict=True)]

    def replay(self, message: RejectedMessage) -> str:
        """Publishes a rejected message again, once, as it was, to its topic; the new message's id.

        Raises:
            ClientError: its topic is not known, or its bytes are not stored.

        """
        rejection = message.rejection
        mark = rejection.payload_uri + REPLAYED
        if message.replayed:
            return self.objects.read(mark).data.decode()
        if rejection.topic not in load_wiring().topics:
            raise ClientError(f"{rejection.rejection_id}: its topic is not known: {rejection.topic!r}")
        try:
            data = self.objects.read(rejection.payload_uri).data
        except ObjectNotFoundError as error:
            raise ClientError(f"{rejection.rejection_id}: {rejection.payload_uri} is not there") from error
        message_id = self._topics.publish(rejection.topic, data, json.loads(rejection.attributes))
        # Marked afterwards: a message that is published twice does no harm, one that is lost does.
        self.objects.create(mark, message_id.encode(), "text/plain")
        return message_id

    def blocking(self, job_id: str, *, begun: bool) -> list[Rejection]:
        """The rejected messages that keep a job from being completed.

        Args:
            job_id: the job.
            begun: whether it has a manifest: a request that came later under its id does not hold it up.

        """
        rejections = [message.rejection for message in self.rejected(job_id) if not message.replayed]
        return [rejection for rejection in rejections if not begun or rejection.topic != REQUEST_TOPIC]

    def open_job(self, job_id: str) -> str | None:
        """That a job has not ended, and what to do about it, in words; None where it has, or never begins."""
        layout = JobLayout(self.bucket, job_id)
        if self.objects.exists(layout.summary):
            return None
        begun = self.objects.exists(layout.manifest)
        if not begun and not self.objects.exists(layout.accepted):
            return None
        if not begun and self.blocking(job_id, begun=False):
            # Its request was rejected: it never begins.
            return None
        return f"job {job_id!r} is open: wait until it has ended, or cancel it with `vitrine cancel {job_id}`"

    # --------------------------------------------------------------------------------- what jobs leave behind

    def _manifest(self, job_id: str) -> Manifest | None:
        return find_manifest(self.objects, JobLayout(self.bucket, job_id))

    def _job(self, job_id: str) -> Job | None:
        manifest = self._manifest(job_id)
        if manifest is None:
            return None
        return Job(job_id, manifest, find_completed(self.objects, JobLayout(self.bucket, job_id)))

    def _named(self, request: ClassificationRequested, job_ids: Iterator[str]) -> ClassificationRequested:
        """The request under the first id that is free, or that it has already and that was not cancelled."""
        for job_id in job_ids:
            named = request.model_copy(update={"job_id": job_id})
            known = self.find_request(job_id)
            if known is None or (
                known == named and not self.objects.exists(JobLayout(self.bucket, job_id).cancelled)
            ):
                return named
        raise AssertionError("there is always another id")

    def _promoted(self, model: str) -> str | None:
        """The version in production: once another one is promoted, the same question is a new one."""
        pointer = Registry(self.objects, self.bucket, model).production()
        return pointer.version if pointer else None

    def _done(self, job_id: str) -> tuple[Manifest, JobCompleted]:
        try:
            return find_done(self.objects, self.bucket, job_id)
        except UnsuitableJobError as error:
            raise ClientError(str(error)) from error
