import asyncio
import json
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from services.client.client import parse_request
from services.gateway import progress
from services.gateway.progress import Board, Progress
from services.shared.events import ClassificationRequested, Message, Product
from services.shared.jobs import Manifest
from services.shared.layout import JobLayout, photo_uri
from services.shared.ports import Stored
from tests.unit.client_world import OwnedObjects, World
from tests.unit.memory_pipeline import BUCKET
from tests.unit.photos import jpeg

BEGIN = datetime(2026, 3, 4, tzinfo=UTC)
JOB = "spring"
LAYOUT = JobLayout(BUCKET, JOB)


class Watched(OwnedObjects):
    """Objects that count what they are asked for."""

    def __init__(self, objects: OwnedObjects) -> None:
        super().__init__(objects.memory)
        self.reads: Counter[str] = Counter()
        self.listings: list[str] = []
        self.listed = 0  # names
        self.failing: str | None = None
        self.read = self._read

    def _read(self, uri: str, *, generation: int | None = None, max_bytes: int | None = None) -> Stored:
        if uri == self.failing:
            raise ConnectionError(uri)
        self.reads[uri] += 1
        return self.memory.read(uri, generation=generation, max_bytes=max_bytes)

    def page(self, prefix: str, *, after: str | None, limit: int) -> Sequence[str]:
        self.listings.append(prefix)
        page = super().page(prefix, after=after, limit=limit)
        self.listed += len(page)
        return page


class Time:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def passes(self, seconds: float) -> None:
        self.seconds += seconds


class Setting:
    """A board over a world, whose objects are watched and whose time is moved by hand."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.objects = Watched(self.world.objects)
        self.world.vitrine.objects = self.objects
        self.time = Time()
        self.board = Board(self.world.vitrine, self.time.now, self.time.monotonic)

    def job(self, images: int, **request: object) -> None:
        """Opens a job by hand."""
        manifest = Manifest(
            job_id=JOB,
            request=ClassificationRequested.model_validate({"job_id": JOB, **request}),
            model="fashion",
            model_version="7",
            images=images,
            batches=max(1, -(-images // 256)),
            requested_at=BEGIN,
        )
        self.objects.create(LAYOUT.manifest, manifest.model_dump_json().encode(), "application/json")

    def batch(self, batch: int, predictions: int = 256, **errors: int) -> None:
        """Lets a batch pass all stages."""
        tally = {
            "predictions": predictions,
            "errors": {code.replace("_", "-"): n for code, n in errors.items()},
        }
        self.objects.create(LAYOUT.metadata(batch), b"", "")
        self.objects.create(LAYOUT.predictions(batch), b"", "")
        self.objects.create(LAYOUT.ledger(batch), json.dumps(tally).encode(), "")

    def look(self) -> Progress:
        """The job after the next second."""
        self.time.passes(progress.LIFE)
        seen = self.board.see(JOB).progress
        assert seen is not None
        return seen


def shop(photos: int) -> World:
    """A shop of men's products; the last one has no photo."""
    world = World([Product.of(str(number), gender="Men") for number in range(1, photos + 1)])
    for number in range(1, photos):
        world.objects.put(photo_uri(BUCKET, str(number)), jpeg(), "image/jpeg")
    return world


def stages(seen: Progress) -> dict[str, tuple[int, int]]:
    return {stage.name: (stage.done, stage.total) for stage in seen.stages}


def test_a_job_that_nobody_asked_for_is_none() -> None:
    setting = Setting()
    assert setting.board.see(JOB).progress is None


def test_a_job_is_accepted_then_runs_then_is_completed_with_its_errors() -> None:
    setting = Setting(shop(300))
    world = setting.world
    world.vitrine.request(parse_request(json.dumps({"job_id": JOB, "gender": "Men"})))
    accepted = setting.look()
    assert (accepted.state, accepted.images, accepted.stages) == ("accepted", None, ())
    assert accepted.request.gender == ("Men",)

    def stop_at_recording(service: str, message: Message) -> None:
        if service == "recording":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        world.pipeline.run(stop_at_recording)
    running = setting.look()
    assert running.state == "running"
    assert running.images == 300
    assert stages(running)["recorded"] == (0, 2)

    world.vitrine.request(parse_request(json.dumps({"job_id": JOB, "gender": "Men"})))
    world.pipeline.run()
    completed = setting.look()
    assert completed.state == "completed"
    assert (completed.predictions, completed.errors) == (299, {"photo-missing": 1})
    assert stages(completed) == {
        "selected": (300, 300),
        "staged": (2, 2),
        "classified": (2, 2),
        "recorded": (2, 2),
    }
    assert completed.seconds_left == 0


def test_rows_and_errors_are_counted_while_it_runs() -> None:
    setting = Setting()
    setting.job(1000)
    setting.batch(0, 250, photo_missing=6)
    setting.batch(2, 255, photo_corrupt=1)
    first = setting.look()
    assert (first.predictions, first.errors) == (505, {"photo-missing": 6, "photo-corrupt": 1})
    setting.batch(1, 254, photo_missing=2)
    assert setting.look().errors == {"photo-missing": 8, "photo-corrupt": 1}


def test_a_marker_is_read_once_and_listed_no_more_than_until_none_is_missing_before_it() -> None:
    setting = Setting()
    setting.job(1500 * 256)
    for batch in (*range(1100), *range(1101, 1200)):
        setting.batch(batch)
    for _ in range(4):
        seen = setting.look()
    assert seen.predictions == 1199 * 256
    assert stages(seen)["recorded"] == (1199, 1500)
    assert {n for uri, n in setting.objects.reads.items() if "/ledger/" in uri} == {1}
    kinds = 3  # the ledger, the predictions, the metadata
    setting.objects.listed = 0
    setting.look()
    assert setting.objects.listed == 99 * kinds
    setting.batch(1100)
    assert setting.look().predictions == 1200 * 256
    setting.objects.listed = 0
    assert stages(setting.look())["recorded"] == (1200, 1500)
    assert setting.objects.listed == 0


def test_a_marker_that_cannot_be_read_now_is_counted_at_the_next_look() -> None:
    setting = Setting()
    setting.job(1000)
    setting.batch(0, 250, photo_missing=6)
    setting.batch(1, 256)
    setting.objects.failing = LAYOUT.ledger(1)
    with pytest.raises(ConnectionError):
        setting.look()
    setting.objects.failing = None
    seen = setting.look()
    assert (seen.predictions, seen.errors) == (506, {"photo-missing": 6})
    assert stages(seen)["recorded"] == (2, 4)


def test_one_look_reads_only_so_many_markers_and_the_next_goes_on() -> None:
    setting = Setting()
    setting.job(1001 * 256)
    for batch in range(1001):
        setting.batch(batch)
    assert setting.look().predictions == progress.MARKERS_AT_ONCE * 256
    assert setting.look().predictions == 1001 * 256


def test_no_look_lists_photos_or_variants() -> None:
    setting = Setting()
    setting.job(300, augmentation={"rotation": {"degrees": 5}}, classify="both")
    setting.batch(0)
    setting.look()
    assert setting.objects.listings
    assert not [
        prefix for prefix in setting.objects.listings if "/images" in prefix or "/augmented" in prefix
    ]


def test_within_a_second_nothing_is_looked_at_twice() -> None:
    setting = Setting()
    setting.job(300)
    setting.look()
    before = setting.objects.reads.total(), len(setting.objects.listings)
    setting.time.passes(progress.LIFE / 2)
    for _ in range(100):
        setting.board.see(JOB)
    assert (setting.objects.reads.total(), len(setting.objects.listings)) == before


def test_a_thousand_who_ask_at_once_cost_one_look() -> None:
    setting = Setting()
    setting.job(300)

    async def ask() -> list[bytes]:
        return [seen.body for seen in await asyncio.gather(*(setting.board.follow(JOB) for _ in range(1000)))]

    bodies = asyncio.run(ask())
    assert len(set(bodies)) == 1
    assert setting.objects.reads[LAYOUT.manifest] == 1


def test_many_threads_that_ask_at_once_cost_one_look() -> None:
    setting = Setting()
    setting.job(300)
    gate = threading.Barrier(16)

    def ask(_: int) -> None:
        gate.wait()
        setting.board.see(JOB)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(ask, range(16)))
    assert setting.objects.reads[LAYOUT.manifest] == 1


def test_what_memory_has_is_answered_without_a_thread() -> None:
    setting = Setting()
    setting.job(300)
    setting.board.see(JOB)

    async def ask() -> int:
        await setting.board.follow(JOB)
        return threading.active_count()

    before = threading.active_count()
    assert asyncio.run(ask()) == before


def test_who_waits_for_a_look_and_goes_away_does_not_end_it_for_the_others() -> None:
    setting = Setting()
    setting.job(300)

    async def ask() -> bytes:
        first = asyncio.create_task(setting.board.follow(JOB))
        await asyncio.sleep(0)
        second = asyncio.create_task(setting.board.follow(JOB))
        await asyncio.sleep(0)
        first.cancel()
        return (await second).body

    assert json.loads(asyncio.run(ask()))["state"] == "running"


def test_who_knows_a_job_does_not_wait_for_the_next_look_at_it() -> None:
    setting = Setting()
    setting.job(300)
    setting.batch(0)

    async def ask() -> None:
        first = await setting.board.follow(JOB)
        setting.batch(1)
        setting.time.passes(progress.LIFE)
        assert await setting.board.follow(JOB) is first
        while (now := await setting.board.follow(JOB)) is first:
            await asyncio.sleep(0)
        assert now.progress
        assert stages(now.progress)["recorded"] == (2, 2)

    asyncio.run(ask())


def test_what_is_known_is_not_told_any_more_once_it_is_old() -> None:
    setting = Setting()
    setting.job(300)

    async def ask() -> None:
        await setting.board.follow(JOB)
        setting.batch(0)
        setting.time.passes(progress.STALE)
        now = (await setting.board.follow(JOB)).progress
        assert now
        assert stages(now)["recorded"] == (1, 2)

    asyncio.run(ask())


def test_a_look_that_fails_while_nobody_waits_is_logged_and_the_next_one_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setting = Setting()
    setting.job(300)
    setting.batch(0)

    async def ask() -> None:
        await setting.board.follow(JOB)
        setting.batch(1)
        setting.objects.failing = LAYOUT.ledger(1)
        setting.time.passes(progress.LIFE)
        await setting.board.follow(JOB)
        while "a look at job spring failed" not in caplog.text:
            await asyncio.sleep(0.01)
        setting.time.passes(progress.STALE)
        with pytest.raises(ConnectionError):
            await setting.board.follow(JOB)

    asyncio.run(ask())


def test_a_completed_job_is_never_looked_at_again() -> None:
    setting = Setting(shop(10))
    setting.world.vitrine.request(parse_request(json.dumps({"job_id": JOB})))
    setting.world.pipeline.run()
    assert setting.look().state == "completed"
    before = setting.objects.reads.total()
    setting.time.passes(1e6)
    assert setting.look().state == "completed"
    assert setting.objects.reads.total() == before


def test_a_job_that_ended_before_anybody_asked_is_not_listed() -> None:
    setting = Setting(shop(10))
    setting.world.vitrine.request(parse_request(json.dumps({"job_id": JOB})))
    setting.world.pipeline.run()
    setting.objects.listings.clear()
    setting.look()
    assert setting.objects.listings == []


def test_only_so_many_jobs_are_remembered() -> None:
    setting = Setting()
    for number in range(progress.REMEMBERED + 1):
        setting.board.see(f"job-{number}")
    before = setting.objects.reads.total()
    setting.board.see(f"job-{progress.REMEMBERED}")
    assert setting.objects.reads.total() == before
    setting.board.see("job-0")
    assert setting.objects.reads.total() > before


def test_what_is_forgotten_is_looked_at_again_at_once() -> None:
    setting = Setting()
    assert setting.board.see(JOB).progress is None
    setting.job(300)
    assert setting.board.see(JOB).progress is None
    setting.board.forget(JOB)
    assert setting.board.see(JOB).progress is not None


def test_the_rate_is_that_of_the_last_half_minute_and_tells_the_time_left() -> None:
    setting = Setting()
    setting.job(40 * 256)
    for batch in range(10):
        setting.batch(batch)
        setting.time.passes(1)
    early = setting.look()
    # Over all of it: the board has only just begun to look.
    assert early.photos_per_second == pytest.approx(2560 / 11)
    for batch in range(10, 30):
        setting.batch(batch)
        setting.time.passes(1)
        late = setting.look()
    assert late.photos_per_second == pytest.approx(128, rel=0.1)
    assert late.seconds_left == pytest.approx(10 * 256 / 128, rel=0.1)


def test_a_job_that_stands_still_has_no_time_left_to_tell() -> None:
    setting = Setting()
    setting.job(1000)
    setting.look()
    for _ in range(8):
        setting.time.passes(10)
        seen = setting.look()
    assert (seen.photos_per_second, seen.seconds_left) == (0, None)


@pytest.mark.parametrize("begun", [False, True])
def test_a_job_whose_messages_were_rejected_is_stalled_until_they_are_replayed(begun: bool) -> None:
    setting = Setting(shop(10))
    world = setting.world
    world.pipeline.models.refused.add("1")
    request = {"job_id": JOB} if begun else {"job_id": JOB, "model": "unheard-of"}
    world.vitrine.request(parse_request(json.dumps(request)))
    world.pipeline.run()
    assert setting.look().state == ("running" if begun else "accepted")
    setting.time.passes(progress.PATIENCE)
    stalled = setting.look()
    assert stalled.state == "stalled"
    assert [reason.partition(":")[0] for reason in stalled.reasons] == [
        "batch-staged" if begun else "classification-requested"
    ]
    if begun:
        world.pipeline.models.refused.clear()
        for message in world.vitrine.rejected(JOB):
            world.vitrine.replay(message)
        world.pipeline.run()
        assert setting.look().state == "completed"
