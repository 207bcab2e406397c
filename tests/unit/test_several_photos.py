"""Products with several photos, from the request to the answer for each product."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.client.check import check_tables
from services.client.importer import read, upload_photos
from services.client.notebook import disagreements_frame, side_by_side, to_frame
from services.client.report import render
from services.shared.catalogue_config import CatalogueConfig, ConfigError, parse_config
from services.shared.events import Filters, Image, Prediction, Product
from services.shared.jobs import MAX_PHOTOS, photo_uris
from services.shared.layout import JobLayout, fetched_uri, photo_uri
from services.shared.memory import MemoryCatalogue, MemoryObjects
from services.training.catalogue import CatalogueSource, TestSide
from tests.unit.client_world import World
from tests.unit.gateway_world import Gateway
from tests.unit.memory_pipeline import BUCKET, MemoryPipeline
from tests.unit.photos import jpeg
from tests.unit.test_erasing import AUGMENTED
from tests.unit.test_erasing import Shop as EraseShop
from tests.unit.test_gateway_console import Person
from tests.unit.training_photos import photo

LIGHT, DARK = 240, 10
LAYOUT = JobLayout(BUCKET, "job")
YEARLY = CatalogueConfig.model_validate(
    {"id": "sku", "attributes": {"kind": {}, "year": {"type": "number"}}, "time": "year"}
)


def product(product_id: str, photos: Sequence[str] = (), declared: str = "Light") -> Product:
    return Product.of(product_id, photos=photos, article_type=declared)


def named(product_id: str, count: int) -> list[str]:
    return [f"photos/{product_id}/{number}.jpg" for number in range(1, count + 1)]


def world_of(photos: dict[str, Sequence[int | bytes | None]], **declared: str) -> World:
    """Products by their photos' brightness, their bytes, or None where one is missing."""
    products = []
    world = World()
    for product_id, shown in photos.items():
        names = named(product_id, len(shown))
        products.append(product(product_id, names, declared.get(product_id, "Light")))
        for name, each in zip(names, shown, strict=True):
            if each is not None:
                data = each if isinstance(each, bytes) else jpeg(each)
                world.objects.put(f"gs://{BUCKET}/{name}", data, "image/jpeg")
    world.pipeline.catalogue.products = products
    return world


def run(world: World, **request: Any) -> list[Prediction]:
    job_id = str(request.get("job_id", "job"))
    document = {"job_id": job_id, **request}
    world.pipeline.publish("classification-requested", json.dumps(document).encode())
    world.pipeline.run()
    return [each for each in world.tables.predictions() if each.job_id == job_id]


def best(prediction: Prediction) -> str:
    return prediction.heads[0].label


# ------------------------------------------------------------------------------------- photos of a product


def test_photos_are_those_in_cloud_storage_each_once_in_the_catalogues_order() -> None:
    several = product("7", ["b.jpg", "gs://other/a.jpg", "https://shop/c.jpg", f"gs://{BUCKET}/b.jpg"])
    assert photo_uris(BUCKET, several) == [f"gs://{BUCKET}/b.jpg", "gs://other/a.jpg"]


def test_without_a_photo_in_the_catalogue_it_is_the_one_of_the_products_name() -> None:
    assert photo_uris(BUCKET, product("7")) == [photo_uri(BUCKET, "7")]


def test_photos_at_web_addresses_are_where_they_stand_once_they_are_fetched() -> None:
    addresses = ["https://shop/a.jpg", "https://shop/b.jpg", "https://shop/a.jpg"]
    assert photo_uris(BUCKET, product("7", addresses)) == [
        fetched_uri(BUCKET, "7", address) for address in addresses[:2]
    ]


def test_a_product_has_a_bounded_number_of_photos() -> None:
    assert len(photo_uris(BUCKET, product("7", named("7", MAX_PHOTOS + 5)))) == MAX_PHOTOS


def test_no_photo_has_the_name_of_another_products() -> None:
    ids = ("7", "7@2", "7-2", "7.2", "7/2", "a" * 160, "a" * 161)
    names = [
        LAYOUT.image(each, variant, photo)
        for each in ids
        for variant in ("original", "augmented-0", "augmented-1")
        for photo in (None, 2, 3)
    ]
    assert len({*names}) == len(names)
    # The first of several has the place of an only one.
    assert LAYOUT.image("7", photo=1) == LAYOUT.image("7")


# ------------------------------------------------------------------------------------- rows


def test_each_photo_has_a_row_and_each_product_an_answer() -> None:
    world = world_of({"1": [LIGHT], "2": [LIGHT, LIGHT], "3": [DARK, LIGHT, LIGHT]})
    rows = run(world)
    assert Counter((row.product_id, row.photo_number) for row in rows) == Counter(
        [("1", None), ("2", None), ("2", 1), ("2", 2), ("3", None), ("3", 1), ("3", 2), ("3", 3)]
    )
    assert len({row.prediction_id for row in rows}) == len(rows)
    assert [(row.product_id, best(row)) for row in rows if row.photo_number == 1] == [
        ("2", "Light"),
        ("3", "Dark"),
    ]
    answers = {row.product_id: row for row in rows if row.photo_number is None}
    assert {best(answer) for answer in answers.values()} == {"Light"}
    assert {product_id: answer.combined for product_id, answer in answers.items()} == {
        "1": False,
        "2": True,
        "3": True,
    }
    assert answers["3"].decided_by("article_type") in (2, 3)
    assert answers["3"].image_uri == LAYOUT.image("3", photo=answers["3"].decided_by("article_type"))
    # Photos that agree are surer together.
    alone = next(row for row in rows if (row.product_id, row.photo_number) == ("2", 1))
    assert answers["2"].heads[0].probability > alone.heads[0].probability


def test_an_only_photo_has_the_row_that_it_always_had() -> None:
    world = world_of({"1": [LIGHT]})
    (row,) = run(world)
    assert {"photo_number", "decided", "misfits"}.isdisjoint(row.model_dump())
    assert "photo_number" not in Image(product_id="1").model_dump()
    assert world.pipeline.objects.names(f"{LAYOUT.root}/images/") == [LAYOUT.image("1")]


def test_a_photo_that_does_not_fit_is_named() -> None:
    world = world_of({"1": [LIGHT, LIGHT, LIGHT, 0], "2": [LIGHT, LIGHT, LIGHT, LIGHT], "3": [255, 0]})
    answers = {row.product_id: row for row in run(world) if row.photo_number is None}
    named = {product_id: [each.photo_number for each in row.misfits] for product_id, row in answers.items()}
    # Of two that contradict each other, the catalogue tells which.
    assert named == {"1": [4], "2": [], "3": [2]}
    assert {each.head for each in answers["1"].misfits} == {"article_type"}


def test_photos_that_cannot_be_used_have_their_rows_and_the_others_answer() -> None:
    world = world_of({"1": [b"no photo", LIGHT, None], "2": [None, b""], "3": [LIGHT, LIGHT]})
    rows = run(world)
    errors = {(row.product_id, row.photo_number): row.error for row in rows if row.error}
    assert errors == {
        ("1", 1): "photo-not-an-image",
        ("1", 3): "photo-missing",
        ("2", 1): "photo-missing",
        ("2", 2): "photo-empty",
    }
    answers = {row.product_id: row.decided_by("article_type") for row in rows if row.photo_number is None}
    assert answers.keys() == {"1", "3"}
    assert answers["1"] == 2
    (job,) = world.pipeline.warehouse.tables["jobs"]
    assert (job["images"], job["predictions"], job["errors"]) == (3, 3, 4)


def test_every_message_twice_still_makes_one_row_a_photo_and_product() -> None:
    products = [product(str(number), named(str(number), 1 + number % 3)) for number in range(300)]
    pipeline = MemoryPipeline(products, deliveries=2, seed=1)
    for each in products:
        for uri in photo_uris(BUCKET, each):
            pipeline.objects.put(uri, jpeg())
    request = {"job_id": "job", "augmentation": {"flip": {"horizontal": 1}, "copies": 2}, "classify": "both"}
    pipeline.publish("classification-requested", json.dumps(request).encode())
    pipeline.run()
    rows = pipeline.warehouse.tables["predictions"]
    keys = Counter((row["product_id"], row["variant"], row.get("photo_number")) for row in rows)
    assert set(keys.values()) == {1}
    photos, several = 600, 200
    assert len(keys) == 3 * photos + several
    assert len({row["prediction_id"] for row in rows}) == len(rows)
    assert len({row["image_uri"] for row in rows}) == 3 * photos
    (job,) = pipeline.warehouse.tables["jobs"]
    assert (job["images"], job["predictions"]) == (300, 3 * photos)


# ------------------------------------------------------------------------------------- further jobs


def test_a_retry_looks_at_all_photos_of_a_product_again() -> None:
    world = world_of({"1": [LIGHT, b"no photo"], "2": [LIGHT, LIGHT]})
    run(world)
    world.objects.put(f"gs://{BUCKET}/{named('1', 2)[1]}", jpeg(LIGHT), "image/jpeg")
    rows = run(world, job_id="again", retry_of="job")
    assert {(row.product_id, row.photo_number, row.error) for row in rows} == {
        ("1", 1, None),
        ("1", 2, None),
        ("1", None, None),
    }


def test_prepared_photos_are_classified_where_they_stand() -> None:
    world = world_of({"1": [LIGHT, DARK], "2": [LIGHT], "3": [b"no photo", LIGHT]})
    prepared = run(world, augmentation={"flip": {"horizontal": 1}}, classify="none")
    assert [(row.product_id, row.photo_number, row.error) for row in prepared] == [
        ("3", 1, "photo-not-an-image")
    ]
    rows = run(world, job_id="later", prepared_by="job", classify="both")
    assert Counter((row.product_id, row.variant, row.photo_number) for row in rows) == Counter(
        [
            *(("1", "original", photo) for photo in (None, 1, 2)),
            *(("1", "augmented-0", photo) for photo in (1, 2)),
            *(("2", variant, None) for variant in ("original", "augmented-0")),
            *(("3", "original", photo) for photo in (None, 1, 2)),
            ("3", "augmented-0", 2),
        ]
    )
    assert [row.product_id for row in rows if row.error] == ["3"]


def test_messages_of_the_release_before_name_an_only_photo() -> None:
    assert Image.model_validate_json('{"product_id": "7", "variant": "original"}').photo_number is None


# ------------------------------------------------------------------------------------- what people see


def test_a_product_counts_once_in_disagreements_and_quality() -> None:
    world = world_of(
        {"1": [LIGHT, LIGHT, LIGHT], "2": [DARK, DARK], "3": [LIGHT], "4": [DARK, LIGHT, LIGHT]},
        **{"1": "Dark"},
    )
    run(world)
    found = world.tables.disagreements("job", limit=10)
    assert {(each.prediction.product_id, each.label) for each in found} == {("2", "Dark"), ("1", "Light")}
    assert all(each.prediction.photo_number is None for each in found)
    assert world.tables.disagreements(None, limit=10) == found
    quality = world.tables.quality("job", "article_type", "catalogue")
    assert (quality.photos, quality.accuracy) == (4, 0.5)
    tally = world.tables.tally("job")
    assert (tally.products, tally.photos, tally.predictions, tally.disagreements) == (4, 9, 9, 2)


def test_the_api_tells_photos_and_products_apart(tmp_path: Path) -> None:
    world = world_of({"1": [LIGHT, DARK, LIGHT, LIGHT], "2": [LIGHT]}, **{"1": "Dark"})
    client = Gateway(tmp_path, world).client("admin")
    run(world)
    rows = client.get("/v1/jobs/job/results").json()["results"]
    assert [(row["product_id"], row.get("photo_number")) for row in rows] == [
        *(("1", number) for number in (None, 1, 2, 3, 4)),
        ("2", None),
    ]
    answer, *single, only = rows
    decided = answer["decided"][0]["photo_number"]
    assert answer["photo"] == single[decided - 1]["photo"]
    assert answer["disagreements"] == ["article_type"]
    assert "decided" not in only
    (doubt,) = client.get("/v1/disagreements", params={"job": "job"}).json()["disagreements"]
    assert (doubt["product_id"], doubt["photo_number"]) == ("1", decided)
    assert doubt["photo"] == answer["photo"]
    # Each photo is its own, also those of other numbers than there are.
    shown = [client.get(row["photo"]).content for row in single]
    assert len({*shown}) == 2
    assert client.get("/v1/jobs/job/photos/1", params={"photo_number": 5}).status_code == 404
    assert client.get("/v1/jobs/job/photos/1", params={"photo_number": 0}).status_code == 422
    # A review is of the product.
    body = {"job_id": "job", "product_id": "1", "head": "article_type", "verdict": "accepted"}
    judged = client.post("/v1/labels", json=body).json()
    assert (judged["prediction_id"], judged["label"]) == (answer["prediction_id"], "Light")
    assert client.get("/v1/disagreements", params={"job": "job"}).json()["disagreements"] == []


def test_the_console_shows_each_photo_and_names_the_one_that_does_not_fit(tmp_path: Path) -> None:
    world = world_of({"1": [LIGHT, LIGHT, LIGHT, 0], "2": [LIGHT]})
    person = Person(Gateway(tmp_path, world), "reviewer")
    run(world)
    page = person.get("/jobs/job")
    assert "photo 4 does not fit the others: article type" in page
    for which in ("1, all photos", "1, photo 1", "1, photo 4", "2"):
        assert f"<span>{which}</span>" in page
    assert "photo_number=4" in page


def test_the_console_shows_all_prepared_photos(tmp_path: Path) -> None:
    world = world_of({"1": [LIGHT, b"no photo"], "2": [LIGHT]})
    person = Person(Gateway(tmp_path, world), "reviewer")
    run(world, augmentation={"flip": {"horizontal": 1}}, classify="none")
    page = person.get("/jobs/job")
    assert "1, photo 2" in page
    assert "/v1/jobs/job/photos/1?side=320&amp;variant=augmented-0&amp;photo_number=1" in page


def test_a_check_shows_the_photo_that_decided(tmp_path: Path) -> None:
    world = world_of({"1": [DARK, LIGHT, LIGHT]}, **{"1": "Dark"})
    person = Person(Gateway(tmp_path, world), "reviewer")
    run(world)
    (doubt,) = world.tables.disagreements("job", limit=5)
    page = person.get("/check")
    assert f"photo {doubt.decided_by} decided" in page
    assert f"side=640&amp;photo_number={doubt.decided_by}" in page


# ------------------------------------------------------------------------------------- catalogues on disk


def folder(tmp_path: Path, table: str, *photos: str) -> Path:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "shop.csv").write_text(table)
    for number, name in enumerate(photos):
        (tmp_path / "pictures" / name).write_bytes(jpeg(20 * number))
    return tmp_path


def test_an_import_uploads_all_photos_of_a_product(tmp_path: Path) -> None:
    table = (
        "sku,kind,photos\n"
        "A/1,Light,pictures/1a.jpg|pictures/1b.jpg|pictures/1b.jpg\n"
        "A/2,Light,pictures/2.jpg\n"
        "A/3,Dark,pictures/3.jpg|gs://other/3.jpg|pictures/none.jpg\n"
    )
    config = parse_config(
        "id: sku\nphotos: {column: photos, separator: '|'}\nattributes: {kind: {}}\n", "catalogue.yaml"
    )
    path = folder(tmp_path, table, "1a.jpg", "1b.jpg", "2.jpg", "3.jpg")
    catalogue = read(path, config)
    world = World(config=config)
    done = upload_photos(catalogue, world.objects, BUCKET, lambda _: None)
    assert (done.uploaded, done.missing, done.unusable) == (4, (), {})
    uris = {each.product_id: photo_uris(BUCKET, each) for each in catalogue.products}
    assert uris == {
        "A/1": [photo_uri(BUCKET, "A/1"), photo_uri(BUCKET, "A/1", 2)],
        "A/2": [photo_uri(BUCKET, "A/2")],
        "A/3": [photo_uri(BUCKET, "A/3"), "gs://other/3.jpg"],
    }
    assert world.objects.read(uris["A/1"][1]).data == (path / "pictures" / "1b.jpg").read_bytes()
    # An only photo needs no name, as ever.
    assert [len(each.photos) for each in catalogue.products] == [2, 0, 2]
    assert catalogue.notes == ("1 further photos are not in the folder, of the products 'A/3'",)
    again = upload_photos(catalogue, world.objects, BUCKET, lambda _: None)
    assert (again.uploaded, again.present) == (0, 4)


def test_a_separator_belongs_to_a_column() -> None:
    with pytest.raises(ConfigError, match=r"separator: expected with `column`"):
        parse_config(
            "id: sku\nphotos: {pattern: 'a/{id}', separator: ','}\nattributes: {kind: {}}\n", "catalogue.yaml"
        )


def test_a_check_tells_missing_photos_from_products_without_any() -> None:
    world = world_of({"1": [LIGHT, None], "2": [None, None], "3": [LIGHT] * (MAX_PHOTOS + 1)})
    found = check_tables(world.tables, world.objects, BUCKET)
    assert [(each.what, each.count) for each in found.findings] == [
        ("further photos that are missing", 1),
        ("products with more than 20 photos; the others are not classified", 1),
        ("products without a photo", 1),
    ]
    assert found.findings[0].examples == [f"gs://{BUCKET}/{named('1', 2)[1]}"]


# ------------------------------------------------------------------------------------- training, erasing


def test_all_photos_of_a_product_train_or_test_together() -> None:
    objects = MemoryObjects()
    products = []
    for number in range(12):
        names = named(str(number), 1 + number % 3)
        products.append(
            Product.of(str(number), photos=names, kind=("Shirt", "Tie")[number % 2], year=2010 + number % 4)
        )
        for place, name in enumerate(names):
            objects.put(f"gs://bucket/{name}", photo(10 * number + place, side=32))
    # One photo of the last product, which tests, is that of a product that trains.
    products[11] = products[11].model_copy(update={"photos": (*named("11", 2), named("0", 1)[0])})
    made = CatalogueSource(
        MemoryCatalogue(products, config=YEARLY),
        objects,
        "bucket",
        Filters(),
        selection_id="all",
        minimum_photos=1,
        validate_share=0.0,
        test=TestSide(2013),
        read_from={},
    )
    sides: dict[str, list[str]] = {}
    for side, example in made.examples(16):
        sides.setdefault(example.key, []).append(side)
    for number in range(12):
        expected = 2 if number == 11 else 1 + number % 3
        assert sides[str(number)] == ["test" if number % 4 == 3 else "train"] * expected
    shared = next(each for each in made.left_out if "further photos" in each.why)
    assert (shared.what, shared.count) == ("products 11", 1)


def test_a_product_is_erased_with_all_its_photos() -> None:
    shop = EraseShop("12", "1")
    several = Product.of("7", photos=["images/7.jpg", "images/7@2.jpg"], article_type="Jeans")
    shop.pipeline.catalogue.products.append(several)
    for number in (1, 2):
        shop.pipeline.objects.put(photo_uri(BUCKET, "7", number), jpeg(100 * number))
    # Its id looks like the second photo's name.
    shop.pipeline.objects.put(photo_uri(BUCKET, "7@2"), jpeg(7))
    shop.job(**AUGMENTED)
    found = shop.look("7")
    (trace,) = found.traces
    assert len(trace.photos) == 2
    # Two copies, two variants of each.
    assert len(trace.copies) == 6
    shop.erase("7")
    left = shop.pipeline.objects.names(f"gs://{BUCKET}/")
    assert [uri for uri in left if "/7." in uri or "/7@" in uri or "/7-" in uri] == []
    assert photo_uri(BUCKET, "7@2") in left


def test_an_estimate_counts_photos(tmp_path: Path) -> None:
    world = world_of({"1": [LIGHT] * 3, "2": [LIGHT]})
    client = Gateway(tmp_path, world).client("admin")
    request = {"augmentation": {"flip": {"horizontal": 1}}, "classify": "both"}
    answer = client.post("/v1/estimates", json=request)
    assert answer.status_code == 200, answer.text
    estimate = answer.json()
    assert [estimate[name] for name in ("images", "photos", "predictions", "variants")] == [2, 4, 8, 4]


def test_a_report_tells_products_and_photos(tmp_path: Path) -> None:
    world = world_of({"1": [255, 255, 255, 0, 255, 255], "2": [DARK, DARK]})
    run(world)
    page = render(world.vitrine.results("job", 20), world.objects)
    assert "1 of 2 products disagree with the catalogue" in " ".join(page.split())
    assert "1, all photos" in page
    assert "1, photo 3" in page
    assert "photo 4 does not fit the others: article type" in page


def test_a_notebook_has_the_photos_of_products_that_have_several() -> None:
    world = world_of({"1": [255, 255, 255, 0, 255, 255], "2": [DARK, DARK]})
    run(world)
    frame = to_frame(world.vitrine.results("job", 20).rows)
    assert frame["photo_number"].dropna().tolist() == [1, 2, 3, 4, 5, 6, 1, 2]
    assert [each for each in frame["misfits"] if each] == ["photo 4 does not fit the others: article type"]
    doubts = disagreements_frame(world.tables.disagreements("job", limit=5))
    assert doubts["photo_number"].tolist() == [1]
    assert len(side_by_side(world.vitrine, "job").axes) == 8 * 2
