"""How far a job is, for any number of people who ask at once.

A look at Cloud Storage costs a page of names for each stage, from the first batch on that is missing there,
and a read for each marker of the ledger that was not there before: what was read once is never read again.
A look is good for LIFE seconds, whoever asks; who asks while the next one is under way is told what the last
one saw if that is not much older, and else waits. Nothing lists photos or variants.
"""

import asyncio
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import islice
from threading import Lock
from typing import Annotated, Literal

from fastapi.concurrency import run_in_threadpool
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.client.client import Stage, Vitrine, stages_of
from services.client.ports import Objects
from services.shared.events import ClassificationRequested, JobCompleted
from services.shared.jobs import BatchTally, Manifest, find_completed, find_manifest, read_tally
from services.shared.layout import JobLayout
from services.shared.parallel import in_parallel
from services.shared.ports import Clock

LIFE = 1.0  # seconds for which a look at a job that runs is good enough
STALE = 2.0  # seconds for which it will do while the next one is under way
PATIENCE = 10.0  # seconds without progress after which the rejected messages are looked at
WINDOW = 30.0  # seconds over which the rate is measured
REMEMBERED = 1_000  # jobs
MARKERS_AT_ONCE = 1_000  # the most that one look reads; the next one goes on
PAGE = 999  # names: with the one that it goes on from, a page of Cloud Storage

_logger = logging.getLogger("vitrine.gateway")

type State = Literal["accepted", "running", "stalled", "completed", "cancelled", "empty"]


class StageProgress(BaseModel):
    """How far one stage is with a job."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, Field(examples=["classified"])]
    done: int
    total: int
    unit: Annotated[str, Field(examples=["batches"])]


class Progress(BaseModel):
    """How far a job is.

    `accepted`: asked for, and not begun yet. `stalled`: messages of it were rejected and nothing goes on;
    `reasons` says why, and a replay may bring it on its way again. `empty`: the job has ended, because no
    product matched.
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    state: State
    request: Annotated[ClassificationRequested, Field(description="As it was accepted.")]
    model: str | None
    model_version: Annotated[str | None, Field(description="The version that the job is pinned to.")]
    images: Annotated[int | None, Field(description="Products that matched.")]
    requested_at: AwareDatetime | None
    completed_at: AwareDatetime | None
    stages: tuple[StageProgress, ...]
    predictions: Annotated[int, Field(description="Rows with labels so far.")]
    errors: Annotated[
        dict[str, int], Field(description="Error code: rows so far.", examples=[{"photo-missing": 3}])
    ]
    photos_per_second: Annotated[
        float | None,
        Field(description="Products, in the last half minute; over all of it once the job has ended."),
    ]
    seconds_left: Annotated[float | None, Field(description="Estimated from the rate; null where unknown.")]
    reasons: Annotated[tuple[str, ...], Field(description="Why a stalled job is stalled.")]

    @property
    def ended(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state in ("completed", "cancelled", "empty")


@dataclass(frozen=True)
class Seen:
    """A job as it was seen; `progress` is None where there is no such job."""

    progress: Progress | None
    body: bytes  # the progress as JSON, rendered once for all who ask
    at: float  # of the monotonic clock

    def fresh(self, now: float) -> bool:
        """Whether no new look is needed."""
        return (self.progress is not None and self.progress.ended) or now - self.at < LIFE


class Board:
    """All jobs that somebody asks about.

    Args:
        vitrine: the pipeline.
        clock: the time of day.
        monotonic: seconds that never go back.

    """

    def __init__(
        self, vitrine: Vitrine, clock: Clock, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._vitrine, self._clock, self._monotonic = vitrine, clock, monotonic
        self._jobs: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = Lock()
        self._flights: dict[str, asyncio.Task[Seen]] = {}

    def see(self, job_id: str) -> Seen:
        """A job, after a look where one is needed; of many threads that ask at once, one looks."""
        entry = self._entry(job_id)
        with entry.lock:
            now = self._monotonic()
            if entry.seen is None or not entry.seen.fresh(now):
                if entry.follower is None:
                    entry.follower = _Follower(self._vitrine, job_id, self._clock)
                progress = entry.follower.look(now)
                body = progress.model_dump_json().encode() if progress else b""
                # The look itself may have taken long: it is as old as its end.
                entry.seen = Seen(progress, body, self._monotonic())
                if progress is None or progress.ended:
                    entry.follower = None
            return entry.seen

    async def follow(self, job_id: str) -> Seen:
        """As `see`, for coroutines: of any number that ask at once only one look takes a thread, and those
        who know the job hardly ever wait for it.
        """
        entry, now = self._jobs.get(job_id), self._monotonic()
        seen = entry.seen if entry else None
        if seen is not None and seen.fresh(now):
            return seen
        flight = self._flights.get(job_id)
        if flight is None:
            flight = asyncio.ensure_future(run_in_threadpool(self.see, job_id))
            self._flights[job_id] = flight
            flight.add_done_callback(lambda done: self._landed(job_id, done))
        if seen is not None and seen.progress is not None and now - seen.at < STALE:
            return seen
        # One of those who wait may go away; the look is for the others too.
        return await asyncio.shield(flight)

    def _landed(self, job_id: str, flight: asyncio.Task[Seen]) -> None:
        self._flights.pop(job_id, None)
        # There may be nobody who waits for it.
        if not flight.cancelled() and (error := flight.exception()):
            _logger.warning("a look at job %s failed: %r", job_id, error)

    def forget(self, job_id: str) -> None:
        """Makes the next question a look: something was just done to the job."""
        with self._lock:
            self._jobs.pop(job_id, None)

    def _entry(self, job_id: str) -> "_Entry":
        with self._lock:
            entry = self._jobs.setdefault(job_id, _Entry())
            self._jobs.move_to_end(job_id)
            while len(self._jobs) > REMEMBERED:
                self._jobs.popitem(last=False)
            return entry


@dataclass
class _Entry:
    lock: Lock = field(default_factory=Lock)
    seen: Seen | None = None
    follower: "_Follower | None" = None


class _Marks:
    """The objects of one kind that a job's batches leave, which are named in the order of the batches."""

    def __init__(self, objects: Objects, prefix: str) -> None:
        self._objects, self._prefix = objects, prefix
        self._passed = 0  # batches, of which none is missing
        self._last: str | None = None  # the name of the last of them
        self._ahead: set[str] = set()

    @property
    def done(self) -> int:
        return self._passed + len(self._ahead)

    def look(self) -> list[str]:
        """The names that were not there before. Those that none is missing before are not listed again."""
        found: list[str] = []
        while True:
            page = self._objects.page(self._prefix, after=found[-1] if found else self._last, limit=PAGE)
            found += page
            if len(page) < PAGE:
                break
        new = [name for name in found if name not in self._ahead]
        self._ahead = set(found)
        for name in found:
            if _batch_of(name) != self._passed:
                break
            self._passed, self._last = self._passed + 1, name
            self._ahead.discard(name)
        return new


def _batch_of(name: str) -> int:
    return int(name.rpartition("/")[2].removesuffix(".ndjson"))


class _Follower:
    """One job, and all that was seen of it."""

    def __init__(self, vitrine: Vitrine, job_id: str, clock: Clock) -> None:
        self._vitrine, self._objects, self._clock = vitrine, vitrine.objects, clock
        self._layout = JobLayout(vitrine.bucket, job_id)
        self._job_id = job_id
        self._accepted: ClassificationRequested | None = None
        self._manifest: Manifest | None = None
        self._marks: dict[str, _Marks] = {}
        self._unread: deque[str] = deque()
        self._predictions = 0
        self._errors: Counter[str] = Counter()
        self._history: deque[tuple[float, float]] = deque()  # (monotonic seconds, photos)
        self._stages: tuple[Stage, ...] = ()
        self._moved: float | None = None
        self._reasons: tuple[str, ...] = ()

    def look(self, now: float) -> Progress | None:
        """Looks once; None where there is no such job."""
        if self._manifest is None:
            self._manifest = find_manifest(self._objects, self._layout)
            if self._manifest is None:
                return self._waiting(now)
            # A job that ended long ago needs no listing.
            if completed := find_completed(self._objects, self._layout):
                return self._ended(self._manifest, completed)
        manifest = self._manifest
        stages = stages_of(manifest, self._look_at)
        recorded = stages[-1].done
        if recorded >= manifest.batches and (completed := find_completed(self._objects, self._layout)):
            return self._ended(manifest, completed)
        return self._running(manifest, stages, now)

    def _waiting(self, now: float) -> Progress | None:
        if self._accepted is None:
            self._accepted = self._vitrine.find_request(self._job_id)
            if self._accepted is None:
                return None
        self._mind((), now, begun=False)
        return Progress(
            job_id=self._job_id,
            state="stalled" if self._reasons else "accepted",
            request=self._accepted,
            model=None,
            model_version=None,
            images=None,
            requested_at=None,
            completed_at=None,
            stages=(),
            predictions=0,
            errors={},
            photos_per_second=None,
            seconds_left=None,
            reasons=self._reasons,
        )

    def _running(self, manifest: Manifest, stages: tuple[Stage, ...], now: float) -> Progress:
        self._mind(stages, now, begun=True)
        photos = manifest.images * stages[-1].done / manifest.batches
        rate = self._rate(manifest, photos, now)
        return self._begun(
            manifest,
            stages,
            state="stalled" if self._reasons else "running",
            completed_at=None,
            predictions=self._predictions,
            errors=dict(self._errors.most_common()),
            photos_per_second=rate,
            seconds_left=(manifest.images - photos) / rate if rate else None,
            reasons=self._reasons,
        )

    def _ended(self, manifest: Manifest, completed: JobCompleted) -> Progress:
        seconds = (completed.completed_at - completed.requested_at).total_seconds()
        return self._begun(
            manifest,
            stages_of(manifest, lambda _folder: manifest.batches),
            state=completed.status,
            completed_at=completed.completed_at,
            predictions=completed.predictions,
            # Counted where all of them are: this is asked once a job.
            errors=dict(self._vitrine.tables.tally(self._job_id).errors) if completed.errors else {},
            photos_per_second=manifest.images / seconds if seconds > 0 else None,
            seconds_left=0.0,
            reasons=(),
        )

    def _begun(
        self,
        manifest: Manifest,
        stages: tuple[Stage, ...],
        *,
        state: State,
        completed_at: AwareDatetime | None,
        predictions: int,
        errors: dict[str, int],
        photos_per_second: float | None,
        seconds_left: float | None,
        reasons: tuple[str, ...],
    ) -> Progress:
        return Progress(
            job_id=self._job_id,
            state=state,
            request=manifest.request,
            model=manifest.model,
            model_version=manifest.model_version,
            images=manifest.images,
            requested_at=manifest.requested_at,
            completed_at=completed_at,
            stages=tuple(StageProgress.model_validate(asdict(stage)) for stage in stages),
            predictions=predictions,
            errors=errors,
            photos_per_second=photos_per_second,
            seconds_left=seconds_left,
            reasons=reasons,
        )

    def _look_at(self, folder: str) -> int:
        """How many batches have left their mark in a folder of the job; of the ledger, what the marks say."""
        if folder not in self._marks:
            self._marks[folder] = _Marks(self._objects, f"{self._layout.root}/{folder}/")
        new = self._marks[folder].look()
        if folder == "ledger":
            self._unread.extend(new)
            marks = list(islice(self._unread, MARKERS_AT_ONCE))
            # Where one cannot be read now, all are read at the next look.
            for tally in in_parallel(self._tally, marks):
                self._unread.popleft()
                self._predictions += tally.predictions
                self._errors.update(tally.errors)
        return self._marks[folder].done

    def _tally(self, marker: str) -> BatchTally:
        return read_tally(self._objects, self._layout, _batch_of(marker))

    def _rate(self, manifest: Manifest, photos: float, now: float) -> float | None:
        history = self._history
        history.append((now, photos))
        while len(history) > 2 and now - history[1][0] >= WINDOW:
            history.popleft()
        seconds, done = now - history[0][0], photos - history[0][1]
        if seconds < WINDOW / 3:
            # Too short to tell: one batch more or less would double it.
            seconds, done = (self._clock() - manifest.requested_at).total_seconds(), photos
        return done / seconds if seconds > 0 else None

    def _mind(self, stages: tuple[Stage, ...], now: float, *, begun: bool) -> None:
        """Looks for rejected messages where nothing has moved for a while."""
        if self._moved is None or stages != self._stages:
            self._stages, self._moved, self._reasons = stages, now, ()
        elif now - self._moved >= PATIENCE:
            blocking = self._vitrine.blocking(self._job_id, begun=begun)
            self._reasons = tuple(sorted({f"{each.topic}: {each.reason}" for each in blocking}))
            self._moved = now
