"""How far a job is, for any number of people who ask at once.

A look at Cloud Storage costs a page of names for each shard that is not full, and a read for each marker of
the ledger that was not there before: what was seen once is never looked at again. A look is good for LIFE
seconds, whoever asks; who asks while one is under way waits for that one. Nothing lists photos or variants.
"""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import Annotated, Literal

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.client.client import Vitrine
from services.gateway.ports import Ports
from services.shared.events import ClassificationRequested, JobCompleted
from services.shared.jobs import BatchTally, Manifest, find_completed, find_manifest, read_tally
from services.shared.layout import JobLayout, batches_in, shards
from services.shared.parallel import in_parallel
from services.shared.ports import Clock, Objects

LIFE = 1.0  # seconds for which a look at a job that runs is good enough
PATIENCE = 10.0  # seconds without progress after which the rejected messages are looked at
WINDOW = 30.0  # seconds over which the rate is measured
REMEMBERED = 1_000  # jobs
MARKERS_AT_ONCE = 1_000  # the most that one look reads; the next one goes on

type State = Literal["accepted", "running", "stalled", "completed", "cancelled"]


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
    `reasons` says why, and a replay may bring it on its way again.
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
        float | None, Field(description="Of the last half minute; of all of it once the job has ended.")
    ]
    seconds_left: Annotated[float | None, Field(description="Estimated from the rate; null where unknown.")]
    reasons: Annotated[tuple[str, ...], Field(description="Why a stalled job is stalled.")]

    @property
    def ended(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state in ("completed", "cancelled")


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

    def known(self, job_id: str) -> Seen | None:
        """What memory has and is fresh enough; waits for nothing."""
        entry = self._jobs.get(job_id)
        seen = entry.seen if entry else None
        return seen if seen and seen.fresh(self._monotonic()) else None

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
        """As `see`, for coroutines: what is known is answered at once; only a look takes a thread."""
        if (seen := self.known(job_id)) is not None:
            return seen
        flight = self._flights.get(job_id)
        if flight is None:
            flight = asyncio.ensure_future(run_in_threadpool(self.see, job_id))
            self._flights[job_id] = flight
            flight.add_done_callback(lambda _done: self._flights.pop(job_id, None))
        # One of those who wait may go away; the look is for the others too.
        return await asyncio.shield(flight)

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


async def get_board(request: Request) -> Board:
    """The gateway's board, made at the first use; a dependency."""
    state = request.app.state
    if not hasattr(state, "board"):
        ports: Ports = await run_in_threadpool(state.ports)
        # Another request may have been faster while this one waited.
        if not hasattr(state, "board"):
            state.board = Board(ports.vitrine, ports.clock)
    board: Board = state.board
    return board


@dataclass
class _Entry:
    lock: Lock = field(default_factory=Lock)
    seen: Seen | None = None
    follower: "_Follower | None" = None


class _Shards:
    """The objects of one kind that a job's batches leave, by shard."""

    def __init__(self, objects: Objects, prefix: str, batches: int) -> None:
        self._objects, self._prefix, self._batches = objects, prefix, batches
        self._full: set[int] = set()
        self._open: dict[int, set[str]] = {}

    @property
    def done(self) -> int:
        full = sum(batches_in(shard, self._batches) for shard in self._full)
        return full + sum(len(names) for names in self._open.values())

    def look(self, new: deque[str] | None = None) -> None:
        """Looks for more; the names that were not there before go behind `new`."""
        for shard in range(shards(self._batches)):
            if shard in self._full:
                continue
            names = self._objects.names(f"{self._prefix}/{shard:04d}/")
            # Batches are begun in order: behind a shard that has none there is nothing yet, or soon will be.
            if not names:
                break
            known = self._open.get(shard, set())
            if new is not None:
                # At once: of a look that fails further on, what it found is found.
                new.extend(name for name in names if name not in known)
            if len(names) >= batches_in(shard, self._batches):
                self._full.add(shard)
                self._open.pop(shard, None)
            else:
                self._open[shard] = set(names)


class _Follower:
    """One job, and all that was seen of it."""

    def __init__(self, vitrine: Vitrine, job_id: str, clock: Clock) -> None:
        self._vitrine, self._objects, self._clock = vitrine, vitrine.objects, clock
        self._layout = JobLayout(vitrine.bucket, job_id)
        self._job_id = job_id
        self._accepted: ClassificationRequested | None = None
        self._manifest: Manifest | None = None
        self._shards: dict[str, _Shards] = {}
        self._unread: deque[str] = deque()
        self._predictions = 0
        self._errors: Counter[str] = Counter()
        self._history: deque[tuple[float, float]] = deque()  # (monotonic seconds, photos)
        self._counts: tuple[int, ...] = ()
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
        recorded = self._look_at("ledger", read=True)
        if recorded >= manifest.batches and (completed := find_completed(self._objects, self._layout)):
            return self._ended(manifest, completed)
        return self._running(manifest, recorded, now)

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

    def _running(self, manifest: Manifest, recorded: int, now: float) -> Progress:
        batches = manifest.batches
        # From the end of the flow to its start: what has passed a stage has passed those before it.
        classified = batches if recorded >= batches else self._look_at("predictions")
        augmented = batches
        if manifest.request.augmentation is not None and classified < batches:
            augmented = self._look_at("augmentation")
        staged = batches if classified >= batches else self._look_at("metadata")
        counts = (staged, augmented, classified, recorded)
        self._mind(counts, now, begun=True)
        photos = manifest.images * recorded / batches
        rate = self._rate(manifest, photos, now)
        return self._begun(
            manifest,
            counts,
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
            (manifest.batches,) * 4,
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
        counts: tuple[int, ...],
        *,
        state: State,
        completed_at: AwareDatetime | None,
        predictions: int,
        errors: dict[str, int],
        photos_per_second: float | None,
        seconds_left: float | None,
        reasons: tuple[str, ...],
    ) -> Progress:
        request = manifest.request
        asked = {
            "staged": True,
            "augmented": request.augmentation is not None,
            "classified": request.classify != "none",
            "recorded": True,
        }
        stages = [StageProgress(name="selected", done=manifest.images, total=manifest.images, unit="photos")]
        stages += [
            StageProgress(name=name, done=done, total=manifest.batches, unit="batches")
            for (name, wanted), done in zip(asked.items(), counts, strict=True)
            if wanted
        ]
        return Progress(
            job_id=self._job_id,
            state=state,
            request=request,
            model=manifest.model,
            model_version=manifest.model_version,
            images=manifest.images,
            requested_at=manifest.requested_at,
            completed_at=completed_at,
            stages=tuple(stages),
            predictions=predictions,
            errors=errors,
            photos_per_second=photos_per_second,
            seconds_left=seconds_left,
            reasons=reasons,
        )

    def _look_at(self, folder: str, *, read: bool = False) -> int:
        """How many batches have left their mark in a folder of the job; of the ledger, what the marks say."""
        if self._manifest is None:
            return 0
        if folder not in self._shards:
            prefix = f"{self._layout.root}/{folder}"
            self._shards[folder] = _Shards(self._objects, prefix, self._manifest.batches)
        self._shards[folder].look(self._unread if read else None)
        if read:
            # All are read before one is counted: of a look that fails, the next one reads all again.
            for tally in in_parallel(self._tally, list(islice(self._unread, MARKERS_AT_ONCE))):
                self._unread.popleft()
                self._predictions += tally.predictions
                self._errors.update(tally.errors)
        return self._shards[folder].done

    def _tally(self, marker: str) -> BatchTally:
        return read_tally(self._objects, self._layout, int(marker.rpartition("/")[2]))

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

    def _mind(self, counts: tuple[int, ...], now: float, *, begun: bool) -> None:
        """Looks for rejected messages where nothing has moved for a while."""
        if self._moved is None or counts != self._counts:
            self._counts, self._moved, self._reasons = counts, now, ()
        elif now - self._moved >= PATIENCE:
            blocking = self._vitrine.blocking(self._job_id, begun=begun)
            self._reasons = tuple(sorted({f"{each.topic}: {each.reason}" for each in blocking}))
            self._moved = now
