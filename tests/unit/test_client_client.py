import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.client.client import JobPage, JobStalledError, Status, Vitrine, parse_request
from services.client.errors import ClientError, InvalidRequestError
from services.model.registry import Pointer
from services.shared.errors import NotAllowedError
from services.shared.events import ClassificationRequested, ImageUploaded, Message, Product
from services.shared.layout import JobLayout, digest, photo_uri, recent_uri
from services.shared.memory import MemoryObjects
from tests.unit.client_world import NOW, OwnedObjects, World
from tests.unit.memory_pipeline import BUCKET
from tests.unit.photos import jpeg

ROTATED = '{"gender": "Men", "classify": "both", "augmentation": {"rotation": {"degrees": 9}, "copies": 2}}'


def shop(photos: int = 300) -> World:
    """A shop of men's products; the last one has no photo."""
    world = World([Product.of(str(number), gender="Men") for number in range(1, photos + 1)])
    for number in range(1, photos):
        world.objects.put(photo_uri(BUCKET, str(number)), jpeg(), "image/jpeg")
    return world


def progress(status: Status) -> dict[str, tuple[int, int | None]]:
    return {stage.name: (stage.done, stage.total) for stage in status.stages}


def stop_at(service: str) -> Callable[[str, Message], None]:
    """Loses the first message to a service, and stops."""

    def before(delivered_to: str, message: Message) -> None:
        if delivered_to == service:
            raise InterruptedError

    return before


class CountedObjects(OwnedObjects):
    """Objects that keep what was counted."""

    def __init__(self, memory: MemoryObjects) -> None:
        super().__init__(memory)
        self.counted: list[str] = []
        self.count = self._count

    def _count(self, prefix: str) -> int:
        self.counted.append(prefix)
        return self.memory.count(prefix)


class SentMessages:
    """Topics that keep what they are sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, Mapping[str, str]]] = []

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        self.sent.append((topic, data, attributes))
        return "77"


def test_a_request_is_published_and_its_job_called_after_the_message() -> None:
    world = shop()
    job_id = world.vitrine.request(parse_request('{"gender": ["Men"], "limit": 7}'))
    world.pipeline.run()
    (status,) = world.vitrine.watch(job_id, timeout=0)
    assert job_id.startswith("job-")
    assert status.completed is not None
    assert status.completed.images == 7


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ('{"colour": "Red"}', "colour: no such field"),
        ('{"limit": 0}', "limit: "),
        ('{"start_year": 2012, "end_year": 2010}', "must not be before start_year, which is 2012"),
        ('{"classify": "both"}', '"both" needs an augmentation'),
        ("[]", "message: "),
        ("{", "message: "),
    ],
)
def test_a_wrong_request_is_refused_in_the_words_of_the_pipeline(document: str, complaint: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parse_request(document)
    assert complaint in str(refusal.value)


def test_a_job_id_of_another_request_is_refused_and_of_the_same_one_is_not() -> None:
    world = shop()
    request = parse_request('{"limit": 7, "job_id": "spring"}')
    assert world.vitrine.request(request) == "spring"
    world.pipeline.run()
    assert world.vitrine.request(request) == "spring"
    with pytest.raises(InvalidRequestError, match="job_id: 'spring' belongs to another request already"):
        world.vitrine.request(parse_request('{"limit": 8, "job_id": "spring"}'))


def test_the_status_goes_from_nothing_to_everything_and_never_back() -> None:
    world = shop()
    job_id = world.vitrine.request(parse_request(ROTATED))
    seen = [world.vitrine.status(job_id)]
    world.pipeline.run(before=lambda service, message: seen.append(world.vitrine.status(job_id)))
    seen.append(world.vitrine.status(job_id))

    assert progress(seen[0]) == {"selected": (0, None)}
    assert progress(seen[-1]) == {
        "selected": (300, 300),
        "staged": (2, 2),
        "augmented": (2, 2),
        "classified": (2, 2),
        "recorded": (2, 2),
    }
    assert seen[-1].completed is not None
    assert (0, 2) in [progress(status).get("recorded") for status in seen]
    assert (1, 2) in [progress(status).get("classified") for status in seen]
    for name in progress(seen[-1]):
        counts = [progress(status).get(name, (0, None))[0] for status in seen]
        assert counts == sorted(counts)


def test_a_job_that_only_prepares_has_no_bar_for_classification() -> None:
    world = shop(3)
    job_id = world.vitrine.request(parse_request('{"classify": "none"}'))
    world.pipeline.run()
    assert list(progress(world.vitrine.status(job_id))) == ["selected", "staged", "recorded"]


def test_a_job_that_matches_nothing_is_empty() -> None:
    world = shop(3)
    job_id = world.vitrine.request(parse_request('{"start_year": 2100}'))
    world.pipeline.run()
    status = world.vitrine.status(job_id)
    assert status.completed is not None
    assert status.completed.status == "empty"
    assert progress(status)["selected"] == (0, 0)


def test_a_value_that_no_product_has_is_refused_before_anything_is_published() -> None:
    world = shop(3)
    with pytest.raises(InvalidRequestError, match="gender: no product has 'Wmen'") as refusal:
        world.vitrine.request(parse_request('{"gender": "Wmen"}'))
    assert (refusal.value.field, refusal.value.got) == ("gender", "Wmen")
    world.pipeline.run()
    assert "jobs" not in world.pipeline.warehouse.tables


def test_a_misspelt_job_or_attribute_is_told_with_the_nearest() -> None:
    world = shop(3)
    job_id = world.vitrine.request(parse_request("{}"))
    world.pipeline.run()
    world.vitrine.check_job(job_id)
    with pytest.raises(ClientError, match="there is no job 'nosuch'"):
        world.vitrine.check_job("nosuch")
    with pytest.raises(
        InvalidRequestError, match=r"has no attribute 'artcle_type'; did you mean 'article_type'\?"
    ):
        world.vitrine.check_job(job_id, "artcle_type")


def asked(world: World, job_id: str) -> ClassificationRequested:
    """The request of a job, without its name."""
    manifest = world.vitrine.status(job_id).manifest
    assert manifest is not None
    return manifest.request.model_copy(update={"job_id": None})


def classified(world: World, job_id: str) -> dict[tuple[str, str], str | None]:
    found = [row for row in world.pipeline.warehouse.tables["predictions"] if row["job_id"] == job_id]
    return {(row["product_id"], row["variant"]): row["error"] for row in found}


def ran(world: World, document: str) -> str:
    """A request's job, which has run."""
    job_id = world.vitrine.request(parse_request(document))
    world.pipeline.run()
    return job_id


def test_a_status_lists_no_photos_and_no_variants() -> None:
    world = shop(3)
    job_id = world.vitrine.request(parse_request(ROTATED))
    with pytest.raises(InterruptedError):
        world.pipeline.run(before=stop_at("inference"))
    objects = CountedObjects(world.pipeline.objects)
    status = Vitrine(objects, SentMessages(), world.tables, BUCKET, "uploads").status(job_id)
    assert progress(status)["augmented"] == (1, 1)
    counted = [prefix.removeprefix(f"gs://{BUCKET}/jobs/{job_id}/") for prefix in objects.counted]
    assert counted == ["ledger/", "predictions/", "metadata/", "augmentation/"]


class NoObjects(OwnedObjects):
    """Objects for somebody who has no right to any."""

    def __init__(self, memory: MemoryObjects) -> None:
        super().__init__(memory)
        self.read = self.create = self.exists = self._refuse

    def _refuse(self, uri: str, *_: object, **__: object) -> Any:
        raise NotAllowedError(uri)


def test_who_may_only_publish_asks_and_cancels() -> None:
    world, topics = shop(3), SentMessages()
    vitrine = Vitrine(NoObjects(world.objects.memory), topics, world.tables, BUCKET, "uploads")
    assert vitrine.request(parse_request('{"job_id": "spring"}')) == "spring"
    vitrine.cancel("spring")
    assert [topic for topic, _, _ in topics.sent] == ["classification-requested", "cancellation-requested"]


def test_what_follows_takes_the_next_number_where_a_job_was_cancelled_or_is_anothers() -> None:
    world = shop(3)
    ran(world, '{"job_id": "spring"}')
    ran(world, '{"job_id": "spring-r1", "limit": 1}')
    assert world.vitrine.retry("spring") == "spring-r2"
    for job_id in ("spring-originals", "spring-originals-2"):
        assert [world.vitrine.classify_prepared("spring") for _ in range(2)] == [job_id] * 2
        world.vitrine.cancel(job_id)
        world.pipeline.run()
    assert world.vitrine.retry("spring") == "spring-r2"


def test_after_a_promotion_the_same_question_is_a_new_job() -> None:
    world = shop(3)
    ran(world, '{"job_id": "spring"}')
    assert world.vitrine.classify_prepared("spring") == "spring-originals"
    pointer = Pointer(name="free", version="2", previous=None, by="me", why="better", at=NOW)
    uri = f"gs://{BUCKET}/models/free/production.json"
    world.objects.memory.put(uri, pointer.model_dump_json().encode())
    assert world.vitrine.classify_request("spring").model == "2"
    assert world.vitrine.classify_prepared("spring") == f"spring-originals-{digest('2')[:8]}"


def test_a_retry_asks_for_the_same_of_what_failed_and_is_named_after_its_job() -> None:
    world = shop(5)
    world.objects.put(photo_uri(BUCKET, "2"), b"no photo", "image/jpeg")
    ran(world, ROTATED.replace("{", '{"job_id": "spring", "model": "1", ', 1))
    world.objects.put(photo_uri(BUCKET, "2"), jpeg(), "image/jpeg")
    assert [world.vitrine.retry("spring") for _ in range(2)] == ["spring-r1"] * 2
    world.pipeline.run()
    assert world.vitrine.retry("spring") == "spring-r1"
    world.pipeline.run()

    same = json.loads(ROTATED) | {"model": "1"}
    del same["gender"]
    assert asked(world, "spring-r1") == parse_request(json.dumps(same | {"retry_of": "spring"}))
    variants = ("original", "augmented-0", "augmented-1")
    mended: dict[tuple[str, str], str | None] = {("2", variant): None for variant in variants}
    assert classified(world, "spring-r1") == mended | {("5", "original"): "photo-missing"}
    assert world.vitrine.retry("spring-r1") == "spring-r2"
    world.pipeline.run()
    assert classified(world, "spring-r2") == {("5", "original"): "photo-missing"}
    assert asked(world, "spring-r2").retry_of == "spring-r1"
    assert world.vitrine.rejected() == []


def test_a_job_that_is_only_called_like_a_retry_is_a_job() -> None:
    world = shop(3)
    assert world.vitrine.retry(ran(world, '{"job_id": "summer-r1"}')) == "summer-r1-r1"


@pytest.mark.parametrize("length", [60, 61, 62, 63])
def test_the_id_of_a_retry_is_never_too_long_and_never_that_of_another(length: int) -> None:
    world = shop(2)
    jobs = [ran(world, json.dumps({"job_id": "a" * (length - 1) + last})) for last in "bc"]
    retries = [world.vitrine.retry(job) for job in jobs]
    world.pipeline.run()
    assert len({*retries, *jobs}) == 4
    assert all(len(retry) <= 63 and retry.endswith("-r1") for retry in retries)
    assert [asked(world, retry).retry_of for retry in retries] == jobs
    again = world.vitrine.retry(retries[0])
    assert again == retries[0].removesuffix("-r1") + "-r2"


def test_what_was_prepared_is_retried_with_the_variants_that_it_had() -> None:
    world = shop(3)
    ran(world, ROTATED.replace("{", '{"job_id": "spring", ', 1).replace("both", "none"))
    job_id = world.vitrine.classify_prepared("spring", "both")
    world.pipeline.run()
    world.objects.put(photo_uri(BUCKET, "3"), jpeg(), "image/jpeg")
    again = world.vitrine.retry(job_id)
    world.pipeline.run()
    assert (job_id, again) == ("spring-both", "spring-both-r1")
    assert set(classified(world, again)) == {("3", "original"), ("3", "augmented-0"), ("3", "augmented-1")}


def running(world: World) -> str:
    job_id = world.vitrine.request(parse_request('{"job_id": "running"}'))
    with pytest.raises(InterruptedError):
        world.pipeline.run(before=stop_at("staging"))
    return job_id


def test_what_cannot_be_retried_is_told() -> None:
    world = shop(3)
    ran(world, '{"job_id": "prepared", "limit": 1, "classify": "none"}')
    with pytest.raises(ClientError, match="nothing failed in job 'prepared'"):
        world.vitrine.retry("prepared")
    with pytest.raises(ClientError, match="there is no job 'nobodys'"):
        world.vitrine.retry("nobodys")
    with pytest.raises(ClientError, match="job 'running' is not done yet"):
        world.vitrine.retry(running(world))


@pytest.mark.parametrize(
    ("classify", "model", "job_id", "variants"),
    [
        ("originals", None, "spring-originals", ["original"]),
        ("augmented", None, "spring-augmented", ["augmented-0", "augmented-1"]),
        ("both", "1", f"spring-both-{digest('1')[:8]}", ["original", "augmented-0", "augmented-1"]),
    ],
)
def test_what_a_job_prepared_is_classified_by_a_job_that_is_named_after_what_is_asked(
    classify: str, model: str | None, job_id: str, variants: list[str]
) -> None:
    world = shop(2)
    ran(world, ROTATED.replace("{", '{"job_id": "spring", ', 1).replace("both", "none"))
    assert world.vitrine.classify_prepared("spring", classify, model) == job_id
    world.pipeline.run()
    assert world.vitrine.classify_prepared("spring", classify, model) == job_id
    # Of a job that itself classified what another prepared: what the other one prepared.
    assert world.vitrine.classify_prepared(job_id, classify, model) == job_id
    world.pipeline.run()
    expected: dict[tuple[str, str], str | None] = {("1", variant): None for variant in variants}
    assert classified(world, job_id) == expected | {("2", "original"): "photo-missing"}
    assert [row["job_id"] for row in world.pipeline.warehouse.tables["jobs"]] == ["spring", job_id]
    assert list(progress(world.vitrine.status(job_id))) == ["selected", "staged", "classified", "recorded"]
    assert world.vitrine.rejected() == []


def test_what_cannot_be_classified_is_told() -> None:
    world = shop(3)
    ran(world, '{"job_id": "prepared", "classify": "none"}')
    for refused, complaint in {
        ("nobodys", "originals"): "there is no job 'nobodys'",
        ("prepared", "both"): "job 'prepared' made none",
        ("prepared", "none"): 'classify: "none" would leave nothing to do',
        ("prepared", "some"): "classify: ",
    }.items():
        with pytest.raises(ClientError, match=complaint):
            world.vitrine.classify_prepared(*refused)
    running(world)
    with pytest.raises(ClientError, match="job 'running' is not done yet"):
        world.vitrine.classify_prepared("running")
    world.vitrine.cancel("running")
    world.pipeline.run()


def test_what_a_cancelled_job_prepared_is_not_classified() -> None:
    world = shop(3)
    job_id = world.vitrine.request(parse_request('{"classify": "none"}'))

    def cancel(service: str, message: Message) -> None:
        if service == "staging":
            world.objects.create(JobLayout(BUCKET, job_id).cancelled, b"", "text/plain")

    world.pipeline.run(before=cancel)
    with pytest.raises(ClientError, match=f"job '{job_id}' was cancelled: not all of it was prepared"):
        world.vitrine.classify_prepared(job_id)


def test_the_jobs_are_listed_in_pages_the_newest_first_and_running_ones_too() -> None:
    world = shop(3)
    assert world.vitrine.jobs() == JobPage((), None)
    moments = iter(NOW + timedelta(seconds=second) for second in range(10))
    world.pipeline.ports["selection"] = replace(
        world.pipeline.ports["selection"], clock=lambda: next(moments)
    )
    for job_id in ("zz", "mm", "aa"):
        ran(world, json.dumps({"job_id": job_id}))
    running(world)

    everything = world.vitrine.jobs()
    assert [(job.job_id, job.status) for job in everything.jobs] == [
        ("running", "running"),
        ("aa", "completed"),
        ("mm", "completed"),
        ("zz", "completed"),
    ]
    assert everything.after is None
    assert everything.jobs[1].manifest.requested_at == NOW + timedelta(seconds=2)
    assert everything.jobs[1].completed is not None

    first = world.vitrine.jobs(3)
    assert first.jobs == everything.jobs[:3]
    assert world.vitrine.jobs(3, first.after) == JobPage(everything.jobs[3:], None)
    assert world.vitrine.jobs(4).after is None


def test_a_job_whose_files_are_cleared_away_is_not_listed_and_holds_no_page_up() -> None:
    world = shop(3)
    moments = iter(NOW + timedelta(seconds=second) for second in range(10))
    world.pipeline.ports["selection"] = replace(
        world.pipeline.ports["selection"], clock=lambda: next(moments)
    )
    for job_id in ("zz", "mm", "aa"):
        ran(world, json.dumps({"job_id": job_id}))
    # Between aa and mm.
    world.objects.create(recent_uri(BUCKET, NOW + timedelta(seconds=1.5), "gone"), b"", "text/plain")
    first = world.vitrine.jobs(2)
    assert [job.job_id for job in first.jobs] == ["aa"]
    assert [job.job_id for job in world.vitrine.jobs(2, first.after).jobs] == ["mm", "zz"]


def test_a_rejected_request_ends_the_watch_with_its_reason() -> None:
    world = shop(3)
    job_id = world.vitrine.request(parse_request('{"model": "other"}'))
    world.pipeline.run()
    with pytest.raises(JobStalledError, match="model: 'other' is not served") as stalled:
        list(world.vitrine.watch(job_id, timeout=60, interval=0, patience=0))
    assert [rejection.topic for rejection in stalled.value.rejections] == ["classification-requested"]


def test_a_rejected_batch_ends_the_watch_too() -> None:
    world = shop(3)
    job_id = world.vitrine.request(parse_request("{}"))
    world.pipeline.models.refused.add("1")
    world.pipeline.run()
    with pytest.raises(JobStalledError, match="batch-staged: model_version: "):
        list(world.vitrine.watch(job_id, timeout=60, interval=0, patience=0))


def test_a_late_request_of_the_same_name_does_not_end_the_watch_of_the_job_that_goes_on() -> None:
    world = shop(3)
    world.vitrine.request(parse_request('{"job_id": "spring"}'))
    with pytest.raises(InterruptedError):
        world.pipeline.run(before=stop_at("staging"))
    other = b'{"job_id": "spring", "limit": 1}'
    world.pipeline.publish("classification-requested", other, {"job_id": "spring"})
    world.pipeline.run()
    assert len(world.vitrine.rejected("spring")) == 1

    # Two looks and no progress between them: the second asks for rejected messages.
    statuses = world.vitrine.watch("spring", timeout=60, interval=0, patience=0)
    assert [next(statuses).completed for _ in range(4)] == [None] * 4


def test_a_watch_ends_when_its_time_is_over() -> None:
    world = shop(3)
    with pytest.raises(ClientError, match="there is no job 'nobody' after 0 s"):
        list(world.vitrine.watch("nobody", timeout=0))
    job_id = world.vitrine.request(parse_request("{}"))
    with pytest.raises(InterruptedError):
        world.pipeline.run(before=stop_at("recording"))
    with pytest.raises(ClientError, match="is not completed after 0 s"):
        list(world.vitrine.watch(job_id, timeout=0))


def test_results_of_a_job_that_is_not_there_are_refused() -> None:
    with pytest.raises(ClientError, match="there is no job 'nobody'"):
        World().vitrine.results("nobody")


def test_an_upload_keeps_its_name_and_finds_its_row(tmp_path: Path) -> None:
    world = shop(3)
    photo = tmp_path / "1163.jpg"
    photo.write_bytes(jpeg())
    first, second = world.vitrine.upload(photo), world.vitrine.upload(photo)
    assert first.uri != second.uri
    assert first.uri.startswith("gs://uploads/")
    assert first.uri.endswith("/1163.jpg")
    with pytest.raises(ClientError, match=r"1163\.jpg .* has no prediction after 0 s"):
        world.vitrine.await_prediction(first, timeout=0)

    bucket, _, name = first.uri.removeprefix("gs://").partition("/")
    generation = world.objects.read(first.uri).generation
    event = ImageUploaded(bucket=bucket, name=name, generation=generation)
    attributes = {"eventType": "OBJECT_FINALIZE"}
    world.pipeline.publish("image-uploaded", event.model_dump_json().encode(), attributes)
    world.pipeline.run()

    prediction = world.vitrine.await_prediction(first, timeout=0)
    assert (prediction.image_uri, prediction.product_id) == (first.uri, "1163")
    assert prediction.prediction_id == digest(first.uri, generation)


def test_a_rejected_message_is_replayed_as_it_was_and_marked() -> None:
    world = shop(3)
    document = b'{"limit": 0, "note": "\xc3\xa4"}'
    world.pipeline.publish("classification-requested", document, {"job_id": "spring", "from": "me"})
    world.pipeline.run()
    (message,) = world.vitrine.rejected("spring")
    assert not message.replayed
    topics = SentMessages()

    assert Vitrine(world.objects, topics, world.tables, BUCKET, "uploads").replay(message) == "77"

    assert topics.sent == [("classification-requested", document, {"job_id": "spring", "from": "me"})]
    (message,) = world.vitrine.rejected()
    assert message.replayed
    assert world.objects.read(message.rejection.payload_uri + ".replayed").data == b"77"


def test_a_message_that_is_rejected_again_is_another_rejection() -> None:
    world = shop(3)
    world.pipeline.publish("classification-requested", json.dumps({"limit": 0}).encode())
    world.pipeline.run()
    (message,) = world.vitrine.rejected()
    replayed_as = world.vitrine.replay(message)
    world.pipeline.run()
    assert {rejected.rejection.message_id: rejected.replayed for rejected in world.vitrine.rejected()} == {
        message.rejection.message_id: True,
        replayed_as: False,
    }


def test_a_request_that_named_no_job_is_found_by_the_job_it_would_have_been() -> None:
    world = shop(3)
    message_id = world.pipeline.publish("classification-requested", b'{"limit": 0}')
    world.pipeline.publish("classification-requested", b'{"limit": -1}')
    world.pipeline.run()
    (message,) = world.vitrine.rejected(f"job-{message_id}")
    assert "limit" in message.rejection.reason
    assert len(world.vitrine.rejected()) == 2


def test_a_message_whose_topic_is_not_known_cannot_be_replayed() -> None:
    world = shop(3)
    world.pipeline.publish("classification-requested", b'{"limit": 0}')
    world.pipeline.run()
    world.pipeline.warehouse.tables["rejected"] = [
        dict(row) | {"topic": ""} for row in world.pipeline.warehouse.tables["rejected"]
    ]
    (message,) = world.vitrine.rejected()
    with pytest.raises(ClientError, match="its topic is not known"):
        world.vitrine.replay(message)
