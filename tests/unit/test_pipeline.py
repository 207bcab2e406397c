"""The pipeline's promises, over the in-memory ports: exactly one row each, whatever the deliveries do."""

import gzip
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from services.inference.stage import Answer, AnswerSet
from services.model.learnt import Learnt, photo_digest
from services.model.registry import Pointer
from services.shared.catalogue_config import CatalogueConfig
from services.shared.errors import ObjectNotFoundError
from services.shared.events import BATCH_IMAGES, Message, Product
from services.shared.jobs import BatchTally, read_tally
from services.shared.labels import Vocabulary
from services.shared.layout import JobLayout, photo_uri, recent_uri
from services.shared.memory import MemoryObjects
from services.shared.ports import Stored
from tests.unit.memory_pipeline import BUCKET, FreeModel, FreeModels, MemoryPipeline, clock
from tests.unit.photos import encoded, jpeg
from tests.unit.web_host import answer, web_host

REQUESTED = "classification-requested"
CANCELLED = "cancellation-requested"

# Ids that a careless name would confuse, or lead out of a folder.
IDS = (
    *("a/b", "a", "b", "..", ".", "../x", "../../other/manifest", "a#b", "a?b", "a*", "%2F", "/", "a b"),
    *("\N{GRINNING FACE}", "0090230", "90230", "sku", "SKU", "x" * 200, "\N{GRINNING FACE}" * 200),
)


def pipeline_of(photos: int, **options: Any) -> MemoryPipeline:
    products = [
        Product.of(str(number), gender=("Men", "Women")[number % 2], year=2010 + number % 8)
        for number in range(photos)
    ]
    pipeline = MemoryPipeline(products, **options)
    photo = jpeg()
    for product in products:
        pipeline.objects.put(photo_uri(BUCKET, product.product_id), photo)
    return pipeline


def rows(pipeline: MemoryPipeline) -> list[Mapping[str, Any]]:
    return pipeline.warehouse.tables.get("predictions", [])


def ask(pipeline: MemoryPipeline, **request: object) -> str:
    return pipeline.publish(REQUESTED, json.dumps({"job_id": "job", **request}).encode())


def cancellation() -> Message:
    return Message(b'{"job_id": "job"}', {}, "cancel", "2026-01-01T00:00:00Z", f"{CANCELLED}-to-recording")


def test_a_request_ends_in_one_row_a_photo_and_one_completed_job() -> None:
    pipeline = pipeline_of(600)
    ask(pipeline, gender="Women", start_year=2012)
    pipeline.run()
    expected = {str(n) for n in range(600) if n % 2 == 1 and 2010 + n % 8 >= 2012}
    assert Counter(row["product_id"] for row in rows(pipeline)) == dict.fromkeys(expected, 1)
    assert {row["heads"][0]["label"] for row in rows(pipeline)} == {"Light"}
    (job,) = pipeline.warehouse.tables["jobs"]
    assert job["images"] == job["predictions"] == len(expected)
    assert job["errors"] == 0
    assert json.loads(job["request"]) == {"job_id": "job", "gender": ["Women"], "start_year": 2012}


def test_photos_at_web_addresses_are_fetched_once_and_those_that_fail_have_a_code() -> None:
    """A team's own table has photos at web addresses; nobody imports them."""
    with web_host() as host:
        host.pages = {
            "/1.jpg": [answer(200, jpeg())],
            "/2.jpg": [answer(500), answer(500), answer(200, jpeg())],
            "/page.jpg": [answer(200, b"<html>")],
        }
        pages = {"1": "/1.jpg", "2": "/2.jpg", "3": "/page.jpg", "4": "/missing.jpg"}
        products = [Product.of(product_id, photos=[host.url(page)]) for product_id, page in pages.items()]
        products.append(Product.of("5", photos=["https://other.example/5.jpg", "http://other.example/5.jpg"]))
        products.append(Product.of("6", photos=[host.url("/1.jpg"), "gs://shop/6.jpg"]))
        pipeline = MemoryPipeline(products)
        pipeline.objects.put("gs://shop/6.jpg", jpeg())
        pipeline.ports["staging"] = replace(pipeline.ports["staging"], web=host.photos())
        for job in ("first", "second"):
            pipeline.publish(REQUESTED, json.dumps({"job_id": job}).encode())
            pipeline.run()
        asked = host.asked

    errors = {(row["job_id"], row["product_id"]): row["error"] for row in rows(pipeline)}
    codes = {"1": None, "3": "photo-not-an-image", "4": "photo-missing", "5": "photo-not-allowed", "6": None}
    for job, code in (("first", "photo-unavailable"), ("second", None)):
        assert {product_id: errors[job, product_id] for product_id in "123456"} == codes | {"2": code}
    assert asked == {"/1.jpg": 1, "/2.jpg": 3, "/page.jpg": 2, "/missing.jpg": 2}


def test_several_photos_at_web_addresses_have_a_row_each_and_one_answer() -> None:
    with web_host() as host:
        host.pages = {"/front.jpg": [answer(200, jpeg())], "/back.jpg": [answer(200, jpeg())]}
        photos = [host.url(page) for page in ("/front.jpg", "/missing.jpg", "/back.jpg")]
        pipeline = MemoryPipeline([Product.of("1", photos=photos)])
        pipeline.ports["staging"] = replace(pipeline.ports["staging"], web=host.photos())
        ask(pipeline)
        pipeline.run()

    assert {row.get("photo_number"): row["error"] for row in rows(pipeline)} == {
        1: None,
        2: "photo-missing",
        3: None,
        None: None,
    }


def test_ids_of_any_characters_have_a_row_each_and_stay_under_their_own_prefix() -> None:
    pipeline = MemoryPipeline([Product.of(product_id) for product_id in IDS])
    # Ids that are alike have photos that are not.
    photos = {product_id: jpeg(20 + 10 * place) for place, product_id in enumerate(IDS)}
    for product_id, photo in photos.items():
        pipeline.objects.put(photo_uri(BUCKET, product_id), photo)
    pipeline.objects.put(f"gs://{BUCKET}/jobs/other/manifest.json", b"of another job")
    before = set(pipeline.objects.names("gs://"))
    assert len(before) == len(IDS) + 1

    ask(pipeline, augmentation={"flip": {"horizontal": 1.0}}, classify="both")
    pipeline.run()

    keys = Counter((row["product_id"], row["variant"]) for row in rows(pipeline))
    assert keys == {(product_id, variant): 1 for product_id in IDS for variant in ("original", "augmented-0")}
    assert {row["error"] for row in rows(pipeline)} == {None}
    assert len({row["prediction_id"] for row in rows(pipeline)}) == len(keys)
    layout = JobLayout(BUCKET, "job")
    for row in rows(pipeline):
        folder = "images" if row["variant"] == "original" else "augmented"
        assert row["image_uri"].startswith(f"{layout.root}/{folder}/")
    for product_id, photo in photos.items():
        assert pipeline.objects.read(layout.image(product_id)).data == photo
    written = set(pipeline.objects.names("gs://")) - before
    assert {name.split("/")[3] for name in written} <= {"jobs", "recent", "handled"}
    assert all(name.startswith(f"{layout.root}/") for name in written if name.split("/")[3] == "jobs")


def test_a_request_without_job_id_is_known_by_its_message() -> None:
    pipeline = pipeline_of(3)
    message_id = pipeline.publish(REQUESTED, b"{}")
    pipeline.run()
    assert {row["job_id"] for row in rows(pipeline)} == {f"job-{message_id}"}


@pytest.mark.parametrize("seed", range(5))
def test_every_message_twice_in_any_order_still_makes_one_row(seed: int) -> None:
    pipeline = pipeline_of(1_500, deliveries=2, seed=seed)
    request = {"augmentation": {"resize": {"width": 4, "height": 4}, "copies": 2}, "classify": "both"}
    ask(pipeline, **request)
    ask(pipeline, **request)
    pipeline.run()
    keys = Counter((row["product_id"], row["variant"]) for row in rows(pipeline))
    variants = ("original", "augmented-0", "augmented-1")
    assert keys == {(str(number), variant): 1 for number in range(1_500) for variant in variants}
    assert len({row["prediction_id"] for row in rows(pipeline)}) == len(keys)
    assert len(pipeline.warehouse.tables["jobs"]) == 1


@pytest.mark.parametrize("seed", range(3))
def test_deliveries_that_fail_half_of_the_time_lose_nothing(seed: int) -> None:
    pipeline = pipeline_of(2_000, deliveries=2, seed=seed)
    weather = random.Random(seed)

    def fail(service: str, message: Message) -> None:
        if weather.random() < 0.5:
            raise ConnectionError(f"{service} was not reached")

    ask(pipeline)
    pipeline.run(before=fail)
    assert Counter(row["product_id"] for row in rows(pipeline)) == dict.fromkeys(map(str, range(2_000)), 1)


@pytest.mark.timeout(600)
def test_a_hundred_thousand_photos_delivered_twice_in_any_order() -> None:
    pipeline = pipeline_of(100_000, deliveries=2, seed=1)
    ask(pipeline)
    pipeline.run()
    assert Counter(row["product_id"] for row in rows(pipeline)) == dict.fromkeys(map(str, range(100_000)), 1)
    (job,) = pipeline.warehouse.tables["jobs"]
    assert (job["images"], job["predictions"], job["errors"], job["batches"]) == (100_000, 100_000, 0, 391)


def test_a_request_that_matches_nothing_is_an_empty_job() -> None:
    pipeline = pipeline_of(5)
    ask(pipeline, start_year=2100)
    pipeline.run()
    (job,) = pipeline.warehouse.tables["jobs"]
    assert (job["images"], job["predictions"], job["status"]) == (0, 0, "empty")
    assert rows(pipeline) == []


def test_a_value_that_no_product_has_is_rejected_with_the_nearest() -> None:
    pipeline = stocked(Product.of("1", gender="Women", season="Fall"), Product.of("2", gender="Men"))
    ask(pipeline, gender=["Men", "Wmen"], season="Autumn", usage=["Casual"])
    pipeline.run()
    assert reasons(pipeline) == [
        "gender: no product has 'Wmen'; did you mean 'Women'?; "
        "season: no product has 'Autumn'; expected a value of the catalogue; "
        "usage: no product has 'Casual'; expected a value of the catalogue"
    ]
    assert "jobs" not in pipeline.warehouse.tables


def test_a_job_goes_on_when_a_value_it_asked_for_leaves_the_catalogue() -> None:
    pipeline = stocked(Product.of("1", gender="Women"))
    ask(pipeline, gender="Women")
    pipeline.run()
    pipeline.catalogue.products.clear()
    ask(pipeline, gender="Women")
    pipeline.run()
    assert reasons(pipeline) == []


@pytest.mark.parametrize(
    ("classify", "expected"),
    [
        ("originals", {"original"}),
        ("augmented", {"augmented-0"}),
        ("both", {"original", "augmented-0"}),
        ("none", set()),
    ],
)
def test_what_is_classified_is_what_was_asked_for(classify: str, expected: set[str]) -> None:
    pipeline = pipeline_of(4)
    ask(pipeline, augmentation={"resize": {"width": 4, "height": 4}}, classify=classify)
    pipeline.run()
    assert {row["variant"] for row in rows(pipeline)} == expected
    assert pipeline.objects.count(f"gs://{BUCKET}/jobs/job/augmented/") == 4
    assert pipeline.warehouse.tables["jobs"][0]["status"] == "completed"


@pytest.mark.parametrize("classify", ["originals", "augmented", "both", "none"])
def test_a_bad_photo_is_one_row_with_its_code_and_the_rest_goes_on(classify: str) -> None:
    pipeline = pipeline_of(3)
    pipeline.objects.put(photo_uri(BUCKET, "1"), b"no photo at all")
    pipeline.catalogue.products.append(Product.of("99"))
    ask(pipeline, augmentation={"flip": {"horizontal": 1.0}}, classify=classify)
    pipeline.run()
    errors = {(row["product_id"], row["variant"]): row["error"] for row in rows(pipeline) if row["error"]}
    assert errors == {("1", "original"): "photo-not-an-image", ("99", "original"): "photo-missing"}
    job = pipeline.warehouse.tables["jobs"][0]
    per_photo = {"originals": 1, "augmented": 1, "both": 2, "none": 0}[classify]
    assert (job["predictions"], job["errors"]) == (2 * per_photo, 2)


def test_the_catalogues_columns_stand_beside_the_copies() -> None:
    pipeline = pipeline_of(3)
    ask(pipeline)
    pipeline.run()
    (uri,) = pipeline.objects.names(f"gs://{BUCKET}/jobs/job/metadata/")
    lines = pipeline.objects.read(uri).data.splitlines()
    assert [json.loads(line)["product_id"] for line in lines] == ["0", "1", "2"]
    assert Product.model_validate_json(lines[1]).value("gender") == "Women"


def test_one_job_id_cannot_serve_two_requests() -> None:
    pipeline = pipeline_of(10)
    ask(pipeline, gender="Men")
    pipeline.run()
    ask(pipeline, gender="Women")
    pipeline.run()
    assert {row["product_id"] for row in rows(pipeline)} == set("02468")
    (rejected,) = pipeline.warehouse.tables["rejected"]
    assert rejected["reason"] == "job_id: 'job' belongs to another request already"
    assert len(pipeline.catalogue.selections) == 1


def test_the_name_of_a_job_whose_files_have_expired_is_refused() -> None:
    pipeline = pipeline_of(3)
    pipeline.warehouse.append("jobs", [{"job_id": "job"}])
    ask(pipeline)
    pipeline.run()
    assert reasons(pipeline) == ["job_id: 'job' is that of a job that ran before; take another one"]
    assert pipeline.catalogue.selections == {}
    assert not pipeline.objects.names(f"gs://{BUCKET}/jobs/job/")


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"colour": "Red"}', "colour: no such field"),
        (b'{"start_year": "2015"}', "start_year: "),
        (b'{"start_year": 2016, "end_year": 2012}', "end_year: must not be before start_year"),
        (b'{"limit": 0}', "limit: "),
        (b'{"limit": 1.5}', "limit: "),
        (b'{"classify": "augmented"}', 'classify: "augmented" needs an augmentation'),
        (b'{"augmentation": {"resize": {"width": 9000, "height": 10}}}', "augmentation.resize.width: "),
        (b'{"augmentation": {"copies": 3}}', "augmentation.cropping: name at least one of"),
        (
            b'{"augmentation": {"cropping": {"height": {"min": 9, "max": 3}}}}',
            "augmentation.cropping.height.max: must be at least min",
        ),
        (b'{"gender": [1]}', "gender.0: "),
        (b'{"model": "2019"}', "model: '2019' is not served"),
        (b"a" * 9_000_000, "Invalid JSON"),
        (b"\xff\xfe", "message: "),
        (b"[]", "message: "),
    ],
)
def test_a_wrong_request_is_kept_with_a_reason_that_names_the_field(body: bytes, names: str) -> None:
    pipeline = pipeline_of(2)
    pipeline.publish(REQUESTED, body, {"sender": "me"})
    pipeline.run()
    (row,) = pipeline.warehouse.tables["rejected"]
    assert names in row["reason"]
    assert (row["topic"], row["attempts"]) == (REQUESTED, 1)
    assert json.loads(row["attributes"]) == {"sender": "me"}
    assert pipeline.objects.read(row["payload_uri"]).data == body
    assert rows(pipeline) == []


def promote(pipeline: MemoryPipeline, version: str | None) -> None:
    pointer = Pointer(name="free", version=version, previous=None, by="me", why="better", at=clock())
    uri = f"gs://{BUCKET}/models/free/production.json"
    pipeline.objects.put(uri, pointer.model_dump_json().encode())


def test_a_job_keeps_the_version_that_it_began_with_and_the_next_has_the_new_one() -> None:
    pipeline = pipeline_of(600)
    ask(pipeline)
    delivered = Counter[str]()

    def promote_midway(service: str, message: Message) -> None:
        if service == "inference":
            delivered[service] += 1
            if delivered[service] == 2:
                promote(pipeline, "2")

    pipeline.run(before=promote_midway)
    ask(pipeline, job_id="next")
    pipeline.run()
    assert delivered["inference"] == 3
    assert Counter((row["job_id"], row["model_version"]) for row in rows(pipeline)) == {
        ("job", "1"): 600,
        ("next", "2"): 600,
    }


def test_after_a_rollback_to_before_the_first_promotion_the_embedded_version_answers() -> None:
    pipeline = pipeline_of(2)
    promote(pipeline, None)
    ask(pipeline)
    pipeline.run()
    assert {row["model_version"] for row in rows(pipeline)} == {"1"}


def test_a_request_may_name_any_published_version() -> None:
    pipeline = pipeline_of(2)
    pipeline.objects.put(f"gs://{BUCKET}/models/free/3/model.json", b"{}")
    promote(pipeline, "2")
    ask(pipeline, model="3")
    ask(pipeline, model="1", job_id="embedded")
    pipeline.run()
    assert {(row["job_id"], row["model_version"]) for row in rows(pipeline)} == {
        ("job", "3"),
        ("embedded", "1"),
    }


def test_a_request_for_a_version_that_is_not_there_names_those_that_are() -> None:
    pipeline = pipeline_of(2)
    pipeline.objects.put(f"gs://{BUCKET}/models/free/3/model.json", b"{}")
    pipeline.objects.put(f"gs://{BUCKET}/models/free/half/model.tflite", b"a publication that was cut off")
    for number, asked in enumerate(("half", "3/../3", "production.json")):
        ask(pipeline, model=asked, job_id=f"job-{number}")
    pipeline.run()
    reasons = sorted(row["reason"] for row in pipeline.warehouse.tables["rejected"])
    assert reasons == [
        "model: '3/../3' is not served; there are: 1, 3",
        "model: 'half' is not served; there are: 1, 3",
        "model: 'production.json' is not served; there are: 1, 3",
    ]
    assert rows(pipeline) == []


def test_a_job_whose_version_is_refused_is_rejected_with_the_reason() -> None:
    pipeline = pipeline_of(2)
    promote(pipeline, "2")
    pipeline.models.refused.add("2")
    ask(pipeline)
    pipeline.run()
    (row,) = pipeline.warehouse.tables["rejected"]
    assert row["reason"] == "model_version: the job is pinned to '2': 2 is corrupt"
    assert rows(pipeline) == []


def test_an_upload_is_answered_by_the_version_in_production() -> None:
    pipeline = pipeline_of(0)
    pipeline.models.production = "2"
    generation = pipeline.objects.put("gs://uploads/a.jpg", jpeg())
    body = json.dumps({"bucket": "uploads", "name": "a.jpg", "generation": str(generation)})
    pipeline.publish("image-uploaded", body.encode(), {"eventType": "OBJECT_FINALIZE"})
    pipeline.run()
    assert [row["model_version"] for row in rows(pipeline)] == ["2"]


def test_an_uploaded_photo_has_its_row() -> None:
    pipeline = pipeline_of(0)
    generation = pipeline.objects.put("gs://uploads/new/77.jpg", jpeg(20))
    body = json.dumps({"bucket": "uploads", "name": "new/77.jpg", "generation": str(generation), "size": "9"})
    for _ in range(3):
        pipeline.publish("image-uploaded", body.encode(), {"eventType": "OBJECT_FINALIZE"})
        pipeline.run()
    (row,) = rows(pipeline)
    assert (row["image_uri"], row["generation"], row["product_id"]) == (
        "gs://uploads/new/77.jpg",
        generation,
        "77",
    )
    assert (row["job_id"], row["variant"], row["error"]) == (None, "original", None)
    assert [label["label"] for label in row["heads"]] == ["Dark", "Neither", "Light"]


@pytest.mark.parametrize(
    ("name", "product_id"),
    [
        ("new/0090230.jpg", "0090230"),
        ("A-7 red.jpeg", "A-7 red"),
        ("photo", "photo"),
        (".jpg", ".jpg"),
        (" 7.jpg", None),
        ("7 .jpg", None),
        ("7\n.jpg", None),
        ("7\t7.jpg", None),
        ("x" * 200 + ".jpg", "x" * 200),
        ("x" * 201 + ".jpg", None),
    ],
)
def test_an_upload_is_of_the_product_that_it_is_named_after(name: str, product_id: str | None) -> None:
    pipeline = pipeline_of(0)
    generation = pipeline.objects.put(f"gs://uploads/{name}", jpeg())
    body = json.dumps({"bucket": "uploads", "name": name, "generation": str(generation)})
    pipeline.publish("image-uploaded", body.encode(), {"eventType": "OBJECT_FINALIZE"})
    pipeline.run()
    (row,) = rows(pipeline)
    assert (row["product_id"], row["error"]) == (product_id, None)


def test_what_the_model_does_not_know_is_said_beside_its_answer() -> None:
    pipeline = pipeline_of(0)
    photos = {
        "sure.jpg": jpeg(20),
        "unsure.jpg": jpeg(127),
        "red.png": encoded(Image.new("RGB", (8, 8), "red"), "PNG"),
    }
    for name, photo in photos.items():
        generation = pipeline.objects.put(f"gs://uploads/{name}", photo)
        body = json.dumps({"bucket": "uploads", "name": name, "generation": str(generation)})
        pipeline.publish("image-uploaded", body.encode(), {"eventType": "OBJECT_FINALIZE"})
    pipeline.run()

    said = {row["image_uri"]: (list(row["abstained"]), row["unfamiliar"]) for row in rows(pipeline)}
    assert said == {
        "gs://uploads/sure.jpg": ([], False),
        "gs://uploads/unsure.jpg": (["article_type"], False),
        "gs://uploads/red.png": ([], True),
    }


class WatchedObjects:
    """The bucket, and what was read from it."""

    def __init__(self, objects: MemoryObjects) -> None:
        self._objects = objects
        self.read_uris: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def read(self, uri: str, **options: Any) -> Stored:
        self.read_uris.append(uri)
        return self._objects.read(uri, **options)


def declared_of(pipeline: MemoryPipeline, job_id: str = "job") -> dict[tuple[str, str], list[Any]]:
    """What each row of a job carries of the catalogue."""
    found = [row for row in rows(pipeline) if row["job_id"] == job_id]
    return {(row["product_id"], row["variant"]): row["declared"] for row in found}


DARK, LIGHT = 20, 235


def stocked(*products: Product, config: CatalogueConfig | None = None) -> MemoryPipeline:
    """A shop whose photos are all dark."""
    pipeline = MemoryPipeline(list(products), config=config)
    for product in products:
        pipeline.objects.put(photo_uri(BUCKET, product.product_id), jpeg(DARK))
    return pipeline


def test_a_row_carries_what_the_catalogue_declares_and_how_likely_the_model_finds_it() -> None:
    pipeline = stocked(
        Product.of("1", article_type="Light", base_colour="Red"),
        Product.of("2", article_type=" DARK\N{NO-BREAK SPACE}"),
        Product.of("3", article_type="Dusk"),
        Product.of("4", base_colour="Red"),
    )
    ask(pipeline, augmentation={"flip": {"horizontal": 1.0}}, classify="both")
    pipeline.run()
    light, dark = 0.9 * DARK / 255, 0.9 * (1 - DARK / 255)

    def record(label: str, known: str | None, probability: float | None) -> dict[str, Any]:
        likely = None if probability is None else pytest.approx(probability, rel=1e-5)
        return {"head": "article_type", "label": label, "known": known, "probability": likely}

    # A column for which the model has no head is not carried.
    carried = {
        "1": [record("Light", "Light", light)],
        "2": [record(" DARK\N{NO-BREAK SPACE}", "Dark", dark)],
        "3": [record("Dusk", None, None)],
        "4": [],
    }
    assert declared_of(pipeline) == {
        (product_id, variant): records
        for product_id, records in carried.items()
        for variant in ("original", "augmented-0")
    }


def test_the_smallest_probabilities_differ_still() -> None:
    pipeline = stocked(Product.of("1", article_type="Light"), Product.of("2", article_type="Light"))
    for product_id in "12":
        pipeline.objects.put(photo_uri(BUCKET, product_id), encoded(Image.new("L", (8, 8), 0), "PNG"))

    class Sure(FreeModel):
        def predict(self, image: NDArray[np.uint8]) -> Answer:
            return Answer({"article_type": np.array([3.25e-8, 1, 0], np.float32)})

    class SureModels(FreeModels):
        def pinned(self, version: str) -> FreeModel:
            return Sure(version)

    pipeline.ports["inference"] = replace(pipeline.ports["inference"], models=SureModels())
    ask(pipeline)
    pipeline.run()
    assert [records[0]["probability"] for records in declared_of(pipeline).values()] == [3.25e-8] * 2


def test_a_batchs_products_are_read_once_and_from_the_jobs_own_prefix() -> None:
    pipeline = pipeline_of(300)
    ask(pipeline, augmentation={"flip": {"horizontal": 1.0}}, classify="none")
    pipeline.run()
    watched = WatchedObjects(pipeline.objects)
    pipeline.ports["inference"] = replace(pipeline.ports["inference"], objects=watched)
    ask(pipeline, job_id="later", prepared_by="job", classify="both")
    pipeline.run()
    read = [uri for uri in watched.read_uris if "/images/" not in uri and "/augmented/" not in uri]
    layout = JobLayout(BUCKET, "later")
    assert sorted(read) == [layout.manifest, layout.manifest, layout.metadata(0), layout.metadata(1)]


def test_jobs_that_follow_carry_what_their_own_selection_declares() -> None:
    pipeline = stocked(Product.of("1", article_type="Light"), Product.of("2", article_type="Light"))
    pipeline.objects.put(photo_uri(BUCKET, "2"), b"no photo")
    ask(pipeline)
    pipeline.run()
    pipeline.objects.put(photo_uri(BUCKET, "2"), jpeg(DARK))
    pipeline.catalogue.products = [Product.of(product_id, article_type="DARK") for product_id in "12"]
    ask(pipeline, job_id="again", retry_of="job")
    ask(pipeline, job_id="later", prepared_by="job")
    pipeline.run()

    def carried(job_id: str) -> dict[str, list[str]]:
        found = declared_of(pipeline, job_id)
        return {product_id: [each["label"] for each in records] for (product_id, _), records in found.items()}

    # What cannot be classified is held against nothing.
    assert carried("job") == {"1": ["Light"], "2": []}
    assert carried("again") == {"2": ["DARK"]}
    # What was prepared is taken as it was, with the error that it had.
    assert carried("later") == {"1": ["Light"], "2": []}


def test_a_row_says_whether_the_version_was_trained_on_its_photo() -> None:
    pipeline = stocked(*(Product.of(product_id) for product_id in "123"))
    pipeline.objects.put(photo_uri(BUCKET, "2"), jpeg(LIGHT))
    pipeline.objects.put(photo_uri(BUCKET, "3"), b"no photo")
    pipeline.models.learnt["1"] = Learnt.of([photo_digest(jpeg(LIGHT)), photo_digest(b"no photo")])
    ask(pipeline, augmentation={"flip": {"horizontal": 1.0}}, classify="both")
    pipeline.run()
    promote(pipeline, "2")
    ask(pipeline, job_id="another")
    pipeline.run()
    found = {(row["job_id"], row["product_id"], row["variant"]): row["learnt"] for row in rows(pipeline)}
    assert found == {
        ("job", "1", "original"): False,
        ("job", "2", "original"): True,
        ("job", "3", "original"): None,
        ("job", "1", "augmented-0"): None,
        ("job", "2", "augmented-0"): None,
        # A version that does not say what it was trained on.
        ("another", "1", "original"): None,
        ("another", "2", "original"): None,
        ("another", "3", "original"): None,
    }


def test_an_upload_carries_nothing_of_the_catalogue_and_may_be_learnt() -> None:
    pipeline = stocked(Product.of("77", article_type="Light"))
    pipeline.models.learnt["1"] = Learnt.of([photo_digest(jpeg(DARK))])
    generation = pipeline.objects.put("gs://uploads/77.jpg", jpeg(DARK))
    body = json.dumps({"bucket": "uploads", "name": "77.jpg", "generation": str(generation)})
    pipeline.publish("image-uploaded", body.encode(), {"eventType": "OBJECT_FINALIZE"})
    pipeline.run()
    (row,) = rows(pipeline)
    assert (row["product_id"], list(row["declared"]), row["learnt"]) == ("77", [], True)


def test_a_photo_that_cannot_be_read_is_not_called_unfamiliar() -> None:
    pipeline = pipeline_of(0)
    generation = pipeline.objects.put("gs://uploads/broken.jpg", b"no photo")
    body = json.dumps({"bucket": "uploads", "name": "broken.jpg", "generation": str(generation)})
    pipeline.publish("image-uploaded", body.encode(), {"eventType": "OBJECT_FINALIZE"})
    pipeline.run()
    (row,) = rows(pipeline)
    assert (list(row["abstained"]), row["unfamiliar"]) == ([], None)


def upload(pipeline: MemoryPipeline, name: str, data: bytes, content_encoding: str | None = None) -> None:
    """Drops an object into the upload bucket; Cloud Storage tells of it twice."""
    generation = pipeline.objects.put(f"gs://uploads/{name}", data, content_encoding=content_encoding)
    body = json.dumps({"bucket": "uploads", "name": name, "generation": str(generation)})
    for _ in range(2):
        pipeline.publish("image-uploaded", body.encode(), {"eventType": "OBJECT_FINALIZE"})
    pipeline.run()


LITTER = [
    *("photos/", "photos/of/2026/", "/"),
    *(".DS_Store", "photos/.DS_Store", "Thumbs.db", "photos/thumbs.db", "desktop.ini", "a/b/Desktop.ini"),
]


@pytest.mark.parametrize("name", LITTER)
def test_a_folder_and_what_marks_one_get_no_row(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    pipeline = pipeline_of(0)
    upload(pipeline, name, b"\0\0\0\1Bud1")
    assert rows(pipeline) == []
    assert pipeline.warehouse.tables.get("rejected", []) == []
    assert caplog.text.count(f"gs://uploads/{name} is no photo") == 1


@pytest.mark.parametrize("name", ["DS_Store.jpg", "Thumbs.db.jpg", "desktop.ini/1.jpg", "thumbs"])
def test_a_photo_whose_name_is_only_like_that_has_its_row(name: str) -> None:
    pipeline = pipeline_of(0)
    upload(pipeline, name, jpeg(20))
    assert {row["error"] for row in rows(pipeline)} == {None}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (jpeg(20), None),
        (gzip.compress(jpeg(20)), None),
        (gzip.compress(bytes(60 * 1024 * 1024), 1), "photo-too-large"),
        (gzip.compress(jpeg(20))[:-4], "photo-not-an-image"),
        (b"no photo", "photo-not-an-image"),
        (b"", "photo-empty"),
    ],
    ids=["not_compressed", "compressed", "bomb", "cut", "text", "empty"],
)
def test_a_photo_that_is_declared_as_compressed_has_its_row_at_once(data: bytes, error: str | None) -> None:
    pipeline = pipeline_of(0)
    upload(pipeline, "1.jpg", data, content_encoding="gzip")
    assert {row["error"] for row in rows(pipeline)} == {error}


def test_the_log_names_the_format_of_a_photo_that_is_not_supported(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = pipeline_of(0)
    upload(pipeline, "drawing.jpg", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    assert {row["error"] for row in rows(pipeline)} == {"photo-format-unsupported"}
    assert "gs://uploads/drawing.jpg: photo-format-unsupported: SVG" in caplog.text


def test_an_upload_that_was_overwritten_or_deleted_says_so() -> None:
    pipeline = pipeline_of(0)
    pipeline.objects.put("gs://uploads/a.jpg", jpeg())
    body = json.dumps({"bucket": "uploads", "name": "a.jpg", "generation": "12345"})
    pipeline.publish("image-uploaded", body.encode(), {"eventType": "OBJECT_FINALIZE"})
    pipeline.run()
    assert [row["error"] for row in rows(pipeline)] == ["photo-missing"]


def test_what_the_broker_gave_up_on_is_kept_with_where_it_came_from() -> None:
    pipeline = pipeline_of(0)
    attributes = {
        "job_id": "job",
        "event_id": "abc",
        "CloudPubSubDeadLetterSourceSubscription": "batch-staged-to-inference",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "project",
        "CloudPubSubDeadLetterSourceDeliveryCount": "12",
        "CloudPubSubDeadLetterSourceTopicPublishTime": "2026-01-01T00:00:00Z",
    }
    pipeline.publish("message-rejected", b"a batch", attributes)
    pipeline.run()
    (row,) = pipeline.warehouse.tables["rejected"]
    assert (row["topic"], row["subscription"]) == ("batch-staged", "batch-staged-to-inference")
    assert (row["attempts"], row["job_id"]) == (12, "job")
    assert "12 deliveries" in row["reason"]
    assert json.loads(row["attributes"]) == {"job_id": "job", "event_id": "abc"}
    assert pipeline.objects.read(row["payload_uri"]).data == b"a batch"


def of(pipeline: MemoryPipeline, job_id: str) -> dict[tuple[str, str], str | None]:
    """The rows of a job: (product_id, variant) -> error."""
    found = [row for row in rows(pipeline) if row["job_id"] == job_id]
    keyed = {(row["product_id"], row["variant"]): row["error"] for row in found}
    assert len(keyed) == len(found)
    return keyed


def reasons(pipeline: MemoryPipeline) -> list[str]:
    return [row["reason"] for row in pipeline.warehouse.tables.get("rejected", [])]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classify", ["originals", "augmented", "both", "none"])
def test_a_retry_is_of_what_failed_and_of_the_photos_as_they_are_now(classify: str, seed: int) -> None:
    pipeline = pipeline_of(600, deliveries=2, seed=seed)
    augmentation = {"flip": {"horizontal": 1.0}}
    pipeline.catalogue.products += [Product.of(product_id) for product_id in ("901", "902")]
    for number in range(0, 600, 2):
        pipeline.objects.put(photo_uri(BUCKET, str(number)), b"no photo at all")
    ask(pipeline, augmentation=augmentation, classify=classify)
    pipeline.run()
    pipeline.objects.put(photo_uri(BUCKET, "0"), jpeg())
    pipeline.objects.put(photo_uri(BUCKET, "901"), jpeg())
    retry = {"job_id": "again", "retry_of": "job", "augmentation": augmentation, "classify": classify}
    ask(pipeline, **retry)
    ask(pipeline, **retry)
    pipeline.run()

    failed = dict.fromkeys(map(str, range(2, 600, 2)), "photo-not-an-image") | {"902": "photo-missing"}
    variants = {"original", "augmented-0"} - {"originals": {"augmented-0"}, "augmented": {"original"}}.get(
        classify, set()
    )
    mended = {
        (number, variant): None for number in ("0", "901") for variant in variants if classify != "none"
    }
    assert of(pipeline, "again") == {(number, "original"): code for number, code in failed.items()} | mended
    first, second = pipeline.warehouse.tables["jobs"]
    assert (first["images"], first["errors"]) == (602, 302)
    assert (second["images"], second["errors"], second["status"]) == (302, 300, "completed")
    assert reasons(pipeline) == []


def test_a_retry_may_be_narrowed_by_filters() -> None:
    pipeline = pipeline_of(8)
    for number in range(8):
        pipeline.objects.put(photo_uri(BUCKET, str(number)), b"")
    ask(pipeline)
    pipeline.run()
    ask(pipeline, job_id="again", retry_of="job", gender="Women", limit=3)
    pipeline.run()
    assert of(pipeline, "again") == {(number, "original"): "photo-empty" for number in "135"}


def test_a_retry_of_a_job_in_which_nothing_failed_is_a_job_without_photos() -> None:
    pipeline = pipeline_of(3)
    ask(pipeline)
    pipeline.run()
    ask(pipeline, job_id="again", retry_of="job")
    pipeline.run()
    assert of(pipeline, "again") == {}
    assert pipeline.warehouse.tables["jobs"][1]["status"] == "empty"


PREPARATION = {"augmentation": {"rotation": {"degrees": 9.0}, "copies": 2}, "classify": "none"}
VARIANTS = {
    "originals": ["original"],
    "augmented": ["augmented-0", "augmented-1"],
    "both": ["original", "augmented-0", "augmented-1"],
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classify", VARIANTS)
def test_what_a_job_prepared_is_classified_where_it_stands(classify: str, seed: int) -> None:
    pipeline = pipeline_of(4_500, deliveries=2, seed=seed)
    pipeline.objects.put(photo_uri(BUCKET, "7"), b"no photo at all")
    pipeline.catalogue.products.append(Product.of("9999"))
    ask(pipeline, **PREPARATION)
    pipeline.run()
    prepared = set(pipeline.objects.names("gs://bucket/jobs/job/"))
    # What is classified is what was prepared, whatever has become of the catalogue since.
    pipeline.catalogue.products.clear()
    pipeline.objects.put(photo_uri(BUCKET, "7"), jpeg())
    queries = len(pipeline.catalogue.selections)
    later = {"job_id": "later", "prepared_by": "job", "classify": classify}
    ask(pipeline, **later)
    ask(pipeline, **later)
    pipeline.run()

    expected: dict[tuple[str, str], str | None] = {
        (str(number), variant): None
        for number in range(4_500)
        if number != 7
        for variant in VARIANTS[classify]
    }
    errors = {("7", "original"): "photo-not-an-image", ("9999", "original"): "photo-missing"}
    assert of(pipeline, "later") == expected | errors
    for row in rows(pipeline):
        if row["job_id"] == "later":
            assert row["image_uri"] == JobLayout(BUCKET, "job").image(row["product_id"], row["variant"])
    assert not pipeline.objects.names("gs://bucket/jobs/later/images/")
    assert not pipeline.objects.names("gs://bucket/jobs/later/augmented/")
    assert set(pipeline.objects.names("gs://bucket/jobs/job/")) == prepared
    assert len(pipeline.catalogue.selections) == queries
    for batch in (0, 17):
        one, other = (JobLayout(BUCKET, job).metadata(batch) for job in ("job", "later"))
        assert pipeline.objects.read(one).data == pipeline.objects.read(other).data
    job = pipeline.warehouse.tables["jobs"][1]
    assert (job["images"], job["batches"], job["predictions"], job["errors"]) == (4_501, 18, len(expected), 2)
    assert reasons(pipeline) == []


def test_a_job_that_classified_its_photos_can_be_classified_once_more_by_another_version() -> None:
    pipeline = pipeline_of(3)
    ask(pipeline)
    pipeline.run()
    promote(pipeline, "2")
    ask(pipeline, job_id="later", prepared_by="job")
    pipeline.run()
    assert {(row["job_id"], row["model_version"]) for row in rows(pipeline)} == {("job", "1"), ("later", "2")}


def test_an_empty_job_has_prepared_nothing_to_classify() -> None:
    pipeline = pipeline_of(3)
    ask(pipeline, start_year=2100, **PREPARATION)
    pipeline.run()
    ask(pipeline, job_id="later", prepared_by="job", classify="both")
    pipeline.run()
    assert reasons(pipeline) == ["prepared_by: job 'job' was empty: no product matched"]


@pytest.mark.parametrize("after", [1, 30])
def test_a_job_of_prepared_photos_that_is_cancelled_ends(after: int) -> None:
    pipeline = pipeline_of(4_500)
    ask(pipeline, job_id="ready", classify="none")
    pipeline.run()
    ask(pipeline, prepared_by="ready")
    delivered = count()

    def cancel(service: str, message: Message) -> None:
        if next(delivered) == after:
            pipeline.deliver("recording", cancellation())

    pipeline.run(before=cancel)
    job = pipeline.warehouse.tables["jobs"][1]
    assert (job["status"], job["images"]) == ("cancelled", 4_500)
    assert job["predictions"] == len(of(pipeline, "job")) < 4_500


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"retry_of": "nobody"}, "retry_of: there is no job 'nobody'"),
        ({"retry_of": "running"}, "retry_of: job 'running' is not done yet"),
        ({"retry_of": "next"}, "retry_of: there is no job 'next'"),
        ({"prepared_by": "nobody"}, "prepared_by: there is no job 'nobody'"),
        ({"prepared_by": "running"}, "prepared_by: job 'running' is not done yet"),
        ({"prepared_by": "job"}, "prepared_by: job 'job' was cancelled: not all of it was prepared"),
        (
            {"prepared_by": "second"},
            "prepared_by: job 'second' prepared nothing itself: name 'first', which did",
        ),
        (
            {"prepared_by": "first", "classify": "both"},
            "classify: \"both\" needs variants, and job 'first' made none",
        ),
        (
            {"prepared_by": "first", "classify": "augmented"},
            "classify: \"augmented\" needs variants, and job 'first' made none",
        ),
    ],
)
def test_another_job_that_does_not_serve_is_named_in_the_rejection(
    request_: Mapping[str, Any], reason: str
) -> None:
    pipeline = pipeline_of(3)
    ask(pipeline, job_id="first", classify="none")
    pipeline.run()
    ask(pipeline, job_id="second", prepared_by="first")
    pipeline.run()
    ask(pipeline)

    def cancel(service: str, _: Message) -> None:
        if service == "staging":
            pipeline.deliver("recording", cancellation())

    pipeline.run(before=cancel)
    ask(pipeline, job_id="running")

    def stop(service: str, _: Message) -> None:
        if service == "staging":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        pipeline.run(before=stop)
    ask(pipeline, job_id="next", **request_)
    pipeline.run()
    assert reasons(pipeline) == [reason]
    assert not pipeline.objects.names("gs://bucket/jobs/next/")


def test_the_ledger_says_what_came_out_of_each_batch() -> None:
    pipeline = pipeline_of(300, deliveries=2)
    pipeline.objects.put(photo_uri(BUCKET, "3"), b"")
    pipeline.objects.put(photo_uri(BUCKET, "299"), b"no photo at all")
    pipeline.catalogue.products += [Product.of(product_id) for product_id in ("901", "902")]
    ask(pipeline, augmentation={"flip": {"horizontal": 1.0}}, classify="both")
    pipeline.run()
    layout = JobLayout(BUCKET, "job")
    contents = [json.loads(pipeline.objects.read(layout.ledger(batch)).data) for batch in (0, 1)]
    assert contents == [
        {"predictions": 510, "errors": {"photo-empty": 1}},
        {"predictions": 86, "errors": {"photo-not-an-image": 1, "photo-missing": 2}},
    ]
    tallies = [read_tally(pipeline.objects, layout, batch) for batch in (0, 1)]
    assert [tally.model_dump() for tally in tallies] == contents


def test_a_batch_whose_marker_is_of_an_earlier_release_is_counted() -> None:
    pipeline = pipeline_of(3)
    pipeline.objects.put(photo_uri(BUCKET, "1"), b"")
    ask(pipeline)
    pipeline.run()
    layout = JobLayout(BUCKET, "job")
    pipeline.objects.put(layout.ledger(0), b"")
    assert read_tally(pipeline.objects, layout, 0) == BatchTally(predictions=2, errors={"photo-empty": 1})


def test_a_batch_whose_variants_stand_has_a_marker_and_no_other_has() -> None:
    pipeline = pipeline_of(300)
    ask(pipeline, augmentation={"flip": {"horizontal": 1.0}}, classify="none")
    markers: list[tuple[int, int]] = []

    def look(service: str, _: Message) -> None:
        root = "gs://bucket/jobs/job"
        markers.append(
            (pipeline.objects.count(f"{root}/augmentation/"), pipeline.objects.count(f"{root}/augmented/"))
        )

    pipeline.run(before=look)
    assert next(variants for batches, variants in markers if batches == 1) in (256, 44)
    assert next(variants for batches, variants in markers if batches == 2) == 300
    assert pipeline.objects.names("gs://bucket/jobs/job/augmentation/") == [
        JobLayout(BUCKET, "job").augmentation(batch) for batch in (0, 1)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_every_job_is_in_the_list_once_under_the_time_at_which_it_was_asked_for(seed: int) -> None:
    pipeline = pipeline_of(3, deliveries=2, seed=seed)
    for job in ("job-b", "job-a"):
        ask(pipeline, job_id=job)
        pipeline.run()
        ask(pipeline, job_id=job)
        pipeline.run()
    asked = [(job["job_id"], job["requested_at"]) for job in pipeline.warehouse.tables["jobs"]]
    expected = {recent_uri(BUCKET, datetime.fromisoformat(moment), job) for job, moment in asked}
    assert set(pipeline.objects.names("gs://bucket/recent/")) == expected
    assert len(expected) == 2


def test_a_job_that_was_opened_and_not_listed_is_listed_when_its_request_comes_again() -> None:
    pipeline = pipeline_of(3)
    ask(pipeline)
    pipeline.run()
    (listed,) = pipeline.objects.names("gs://bucket/recent/")
    manifest = pipeline.objects.read("gs://bucket/jobs/job/manifest.json").data

    broken_off = pipeline_of(3)
    broken_off.objects.put("gs://bucket/jobs/job/manifest.json", manifest)
    ask(broken_off)
    broken_off.run()
    assert broken_off.objects.names("gs://bucket/recent/") == [listed]


def test_a_request_that_comes_again_when_its_job_is_done_selects_nothing() -> None:
    pipeline = pipeline_of(3)
    ask(pipeline)
    pipeline.run()
    # As BigQuery, which keeps what a query found for a day.
    pipeline.catalogue.selections.clear()
    ask(pipeline)
    pipeline.run()
    assert pipeline.catalogue.selections == {}
    assert len(pipeline.warehouse.tables["jobs"]) == 1


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("after", [1, 30])
@pytest.mark.parametrize(
    "request_",
    [{}, {"augmentation": {"flip": {"horizontal": 1.0}}, "classify": "both"}, {"classify": "none"}],
)
def test_a_job_that_is_cancelled_ends_with_what_was_classified(
    request_: Mapping[str, Any], after: int, seed: int
) -> None:
    pipeline = pipeline_of(4_500, deliveries=2, seed=seed)
    ask(pipeline, **request_)
    delivered = count()

    def cancel(service: str, message: Message) -> None:
        if next(delivered) == after:
            pipeline.deliver("recording", cancellation())

    pipeline.run(before=cancel)
    (job,) = pipeline.warehouse.tables["jobs"]
    assert job["status"] == "cancelled"
    assert job["images"] == 4_500
    keys = Counter((row["product_id"], row["variant"]) for row in rows(pipeline))
    assert set(keys.values()) <= {1}
    assert job["predictions"] + job["errors"] == len(keys)
    # Between them at most so many batches were staged, and classified, when it was cancelled.
    assert len(keys) <= 2 * BATCH_IMAGES * (after - 1) / 2
    assert pipeline.warehouse.tables.get("rejected", []) == []
    # Whoever asks again, or asks for the job again, changes nothing.
    pipeline.publish(CANCELLED, b'{"job_id": "job"}')
    ask(pipeline, **request_)
    pipeline.run()
    assert pipeline.warehouse.tables["jobs"] == [job]


def test_a_job_that_is_done_stays_done_when_it_is_cancelled() -> None:
    pipeline = pipeline_of(3)
    ask(pipeline)
    pipeline.run()
    pipeline.publish(CANCELLED, b'{"job_id": "job"}')
    pipeline.run()
    (job,) = pipeline.warehouse.tables["jobs"]
    assert (job["status"], job["predictions"]) == ("completed", 3)
    assert not [
        name for name in pipeline.objects.names("gs://bucket/jobs/job/") if name.endswith("cancelled")
    ]


def test_a_job_that_is_accepted_and_not_begun_is_cancelled_all_the_same() -> None:
    pipeline = pipeline_of(3)
    pipeline.objects.create(JobLayout(BUCKET, "job").accepted, b'{"job_id": "job"}', "application/json")
    pipeline.publish(CANCELLED, b'{"job_id": "job"}')
    pipeline.run()
    ask(pipeline)
    pipeline.run()
    (job,) = pipeline.warehouse.tables["jobs"]
    assert (job["status"], job["images"], job["predictions"]) == ("cancelled", 3, 0)
    assert pipeline.warehouse.tables.get("rejected", []) == []


def test_a_cancellation_that_is_faster_than_its_job_is_delivered_again() -> None:
    pipeline = pipeline_of(3)
    message = cancellation()
    with pytest.raises(ObjectNotFoundError):
        pipeline.deliver("recording", message)
    ask(pipeline)

    def again(service: str, _: Message) -> None:
        if service == "staging":
            pipeline.deliver("recording", message)

    pipeline.run(before=again)
    (job,) = pipeline.warehouse.tables["jobs"]
    assert (job["status"], job["predictions"]) == ("cancelled", 0)


# ------------------------------------------------------------------------------------- an own catalogue


def test_a_job_filters_by_attributes_of_an_own_catalogue() -> None:
    config = CatalogueConfig.model_validate(
        {"id": "sku", "attributes": {"kind": {}, "tags": {"type": "values"}, "price": {"type": "number"}}}
    )
    products = [
        Product.of("A/1", kind="Shirt", tags=["new", "sale"], price="9.90"),
        Product.of("A/2", kind="Shirt", tags=["new"], price="10"),
        Product.of("A/3", photos=["elsewhere/3.jpg"], kind="Tie", tags=["sale"], price="10"),
    ]
    pipeline = stocked(*products, config=config)
    pipeline.objects.put(f"gs://{BUCKET}/elsewhere/3.jpg", jpeg(200))
    ask(pipeline, job_id="sale", filters={"tags": "sale", "price": {"from": 9.9}})
    ask(pipeline, job_id="wrong", filters={"tag": "sale"})
    pipeline.run()

    assert {row["product_id"]: row["error"] for row in pipeline.warehouse.tables["predictions"]} == {
        "A/1": None,
        "A/3": None,
    }
    assert reasons(pipeline) == ["filters.tag: the catalogue has no attribute 'tag'; did you mean 'tags'?"]


class WearingModel(FreeModel):
    """Says of every photo that it is worn on the upper body, and probably on the lower one."""

    labels: Mapping[str, tuple[str, ...]] = {**FreeModel.labels, "worn_on": ("upper", "lower", "feet")}
    vocabulary = Vocabulary(labels)
    thresholds: Mapping[str, float] = {"worn_on": 0.5}
    chosen = (True, True, False)
    sure = True

    def predict(self, image: NDArray[np.uint8]) -> Answer:
        probabilities = np.array([0.9, 0.8, 0.1], np.float32)
        said = AnswerSet(probabilities, np.array(self.chosen), self.sure)
        return replace(super().predict(image), sets={"worn_on": said})


class UnsureModel(WearingModel):
    """No label reaches its threshold."""

    chosen = (True, False, False)
    sure = False


class OneModel(FreeModels):
    """One model, whatever version is asked for."""

    def __init__(self, model: FreeModel) -> None:
        super().__init__()
        self._model = model

    def pinned(self, version: str) -> FreeModel:
        return self._model


def test_a_row_has_the_values_of_an_attribute_that_may_have_several() -> None:
    config = CatalogueConfig.model_validate({"id": "id", "attributes": {"worn_on": {"type": "values"}}})
    products = [
        Product.of("0", worn_on=("Upper", "feet")),
        Product.of("1", worn_on=("upper", "hands")),
        Product.of("2"),
    ]
    for model, label, probability, abstained in (
        (WearingModel(), "lower | upper", 0.648, []),
        (UnsureModel(), "upper", 0.162, ["worn_on"]),
    ):
        pipeline = MemoryPipeline(products, config=config)
        pipeline.ports["inference"] = replace(pipeline.ports["inference"], models=OneModel(model))
        for product in products:
            pipeline.objects.put(photo_uri(BUCKET, product.product_id), jpeg())
        ask(pipeline)
        pipeline.run()

        first, second, third = sorted(rows(pipeline), key=lambda row: str(row["product_id"]))
        (answer,) = [each for each in first["heads"] if each["head"] == "worn_on"]
        assert answer == {"head": "worn_on", "rank": 1, "label": label, "probability": probability}
        assert first["abstained"] == abstained
        assert [each["value"] for each in first["head_values"]] == ["upper", "lower"][
            : len(label.split(" | "))
        ]
        # 0.9 * (1 - 0.8) * 0.1: what the catalogue declares, as a whole.
        assert first["declared"] == [
            {"head": "worn_on", "label": "Upper | feet", "known": "feet | upper", "probability": 0.018}
        ]
        assert second["declared"][0]["known"] is None
        assert third["declared"] == []
