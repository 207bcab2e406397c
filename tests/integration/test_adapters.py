"""One suite for both kinds of adapters: those in memory, and Google's clients against the local cloud.

What the emulator of Cloud Storage does not enforce is asked of a server that answers by hand.
"""

import gzip
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import batched
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import pytest
from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, pubsub_v1, storage

from services.client import google_cloud as client
from services.local.cloud import LocalCloud
from services.local.provision import provision_buckets, provision_dataset
from services.shared.catalogue import product_row
from services.shared.catalogue_config import bundled_config
from services.shared.errors import NotAllowedError, ObjectNotFoundError, ObjectTooLargeError
from services.shared.events import Filters, JobCompleted, Product
from services.shared.google_bigquery import APPEND_TIMEOUT, BigQueryCatalogue, BigQueryWarehouse
from services.shared.google_cloud import CloudObjects, CloudPublisher
from services.shared.jobs import ndjson
from services.shared.memory import MemoryCatalogue, MemoryObjects, MemoryPublisher, MemoryWarehouse
from services.shared.parallel import in_parallel
from services.shared.ports import Catalogue, Objects, Publisher, Warehouse
from tests.unit.client_world import OwnedObjects

PROJECT = "vitrine-local"
NOON = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)


class Pages(Protocol):
    """What only the client does: list a part of a prefix, list folders, delete."""

    def page(self, prefix: str, *, after: str | None, limit: int) -> Sequence[str]: ...

    def folders(self, prefix: str) -> Sequence[str]: ...

    def delete(self, uri: str) -> None: ...


class World:
    """The adapters of one kind, and what only a test does: write as a user, and look."""

    bucket: str
    objects: Objects
    pages: Pages
    catalogue: Catalogue
    warehouse: Warehouse

    def put(self, name: str, data: bytes, content_encoding: str | None = None) -> int:
        """Writes an object over what stands there, as a user does; its generation."""
        raise NotImplementedError

    def sell(self, *products: Product) -> None:
        """Adds products to the catalogue."""
        raise NotImplementedError

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table, timestamps as datetimes."""
        raise NotImplementedError

    def clear(self) -> None:
        """Empties the tables."""
        raise NotImplementedError


class MemoryWorld(World):
    """Everything in memory."""

    bucket = "bucket"

    def __init__(self) -> None:
        self.objects = self._objects = MemoryObjects()
        self.pages = OwnedObjects(self._objects)
        self.warehouse = self._warehouse = MemoryWarehouse(self._objects)
        self.catalogue = self._catalogue = MemoryCatalogue(warehouse=self._warehouse)

    def put(self, name: str, data: bytes, content_encoding: str | None = None) -> int:
        uri = f"gs://{self.bucket}/{name}"
        return self._objects.put(uri, data, content_encoding=content_encoding)

    def sell(self, *products: Product) -> None:
        self._catalogue.products += products

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [with_datetimes(row) for row in self._warehouse.tables.get(table, [])]

    def clear(self) -> None:
        self._catalogue.products.clear()
        self._warehouse.tables.clear()


class GoogleWorld(World):
    """Google's clients, with a dataset of their own."""

    def __init__(self) -> None:
        self._dataset = f"adapters_{uuid.uuid4().hex}"
        provision_dataset(PROJECT, self._dataset)
        self._storage = storage.Client(PROJECT)
        self._bigquery = bigquery.Client(PROJECT, credentials=AnonymousCredentials())
        self.objects = CloudObjects(PROJECT)
        self.pages = client.CloudObjects(PROJECT)
        self.catalogue = BigQueryCatalogue(PROJECT, self._dataset)
        self.warehouse = BigQueryWarehouse(PROJECT, self._dataset)

    def put(self, name: str, data: bytes, content_encoding: str | None = None) -> int:
        blob = self._storage.bucket(self.bucket).blob(name)
        blob.content_encoding = content_encoding
        blob.upload_from_string(data)
        return int(blob.generation)

    def sell(self, *products: Product) -> None:
        rows = [product_row(product, bundled_config()) for product in products]
        assert self._bigquery.insert_rows_json(f"{PROJECT}.{self._dataset}.products", rows) == []

    def rows(self, table: str) -> list[dict[str, Any]]:
        found = self._bigquery.query_and_wait(f"SELECT * FROM `{PROJECT}.{self._dataset}.{table}`")
        return [with_datetimes(dict(row)) for row in found]

    def clear(self) -> None:
        for table in ("products", "predictions", "rejected", "jobs"):
            self._bigquery.query_and_wait(f"DELETE FROM `{PROJECT}.{self._dataset}.{table}` WHERE TRUE")


def with_datetimes(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose timestamps are datetimes, however its adapter keeps them."""
    return {
        name: datetime.fromisoformat(value) if name.endswith("_at") and isinstance(value, str) else value
        for name, value in row.items()
    }


def unique(name: str) -> str:
    """A name that no other test has: jobs and buckets are a whole project's."""
    return f"{name}-{uuid.uuid4().hex}"


@pytest.fixture(scope="module", params=["memory", "google"])
def adapters(request: pytest.FixtureRequest) -> World:
    """Adapters of one kind."""
    if request.param == "memory":
        return MemoryWorld()
    request.getfixturevalue("emulators")
    return GoogleWorld()


@pytest.fixture
def world(adapters: World) -> World:
    """Adapters with an empty bucket."""
    adapters.bucket = unique("adapters")
    if isinstance(adapters, GoogleWorld):
        provision_buckets(PROJECT, adapters.bucket)
    return adapters


@pytest.fixture
def tables(world: World) -> World:
    """Adapters with an empty bucket and empty tables."""
    world.clear()
    return world


# ------------------------------------------------------------------------------------- objects


def test_an_object_is_created_once(world: World) -> None:
    uri = f"gs://{world.bucket}/jobs/a/manifest.json"
    assert world.objects.create(uri, b"first", "text/plain") is True
    assert world.objects.create(uri, b"second", "text/plain") is False
    assert world.objects.read(uri).data == b"first"


def test_of_many_who_create_an_object_at_once_one_does(world: World) -> None:
    uri = f"gs://{world.bucket}/marker"
    done = in_parallel(lambda n: world.objects.create(uri, str(n).encode(), "text/plain"), range(16))
    assert sorted(done) == [False] * 15 + [True]
    assert world.objects.read(uri).data == str(done.index(True)).encode()


def test_an_object_is_replaced_only_in_the_generation_that_was_read(world: World) -> None:
    uri = f"gs://{world.bucket}/pointer"
    first = world.put("pointer", b"first")
    assert world.objects.replace(uri, b"second", "text/plain", first) is True
    assert world.objects.replace(uri, b"late", "text/plain", first) is False
    second = world.objects.read(uri)
    assert second.data == b"second"
    assert second.generation != first


def test_what_does_not_stand_is_not_replaced(world: World) -> None:
    uri = f"gs://{world.bucket}/pointer"
    assert world.objects.replace(uri, b"data", "text/plain", 17) is False
    assert world.objects.exists(uri) is False


def test_of_many_who_replace_an_object_at_once_one_does(world: World) -> None:
    uri = f"gs://{world.bucket}/pointer"
    generation = world.put("pointer", b"old")
    done = in_parallel(
        lambda n: world.objects.replace(uri, str(n).encode(), "text/plain", generation), range(16)
    )
    assert sorted(done) == [False] * 15 + [True]
    assert world.objects.read(uri).data == str(done.index(True)).encode()


def test_an_object_is_read_in_the_generation_that_was_asked_for(world: World) -> None:
    uri = f"gs://{world.bucket}/new/größe 40.jpg"
    generation = world.put("new/größe 40.jpg", b"photo")
    stored = world.objects.read(uri)
    assert (stored.data, stored.generation) == (b"photo", generation)
    assert world.objects.read(uri, generation=generation) == stored


def test_a_generation_that_was_overwritten_is_not_found(world: World) -> None:
    uri = f"gs://{world.bucket}/a.jpg"
    old, new = world.put("a.jpg", b"old"), world.put("a.jpg", b"new")
    assert old != new
    with pytest.raises(ObjectNotFoundError):
        world.objects.read(uri, generation=old)
    assert world.objects.read(uri, generation=new).data == b"new"


def test_what_does_not_stand_is_not_found(world: World) -> None:
    uri = f"gs://{world.bucket}/nothing"
    assert world.objects.exists(uri) is False
    for options in ({}, {"max_bytes": 10}, {"generation": 17}):
        with pytest.raises(ObjectNotFoundError, match="nothing"):
            world.objects.read(uri, **options)


def test_exists_says_whether_an_object_stands(world: World) -> None:
    world.put("a/b", b"")
    assert world.objects.exists(f"gs://{world.bucket}/a/b") is True
    assert world.objects.exists(f"gs://{world.bucket}/a") is False


@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_an_object_of_at_most_so_many_bytes_is_read_whole(world: World, size: int) -> None:
    generation = world.put("a", b"x" * size)
    stored = world.objects.read(f"gs://{world.bucket}/a", max_bytes=10)
    assert (stored.data, stored.generation) == (b"x" * size, generation)


@pytest.mark.parametrize("size", [11, 100_000])
def test_an_object_of_more_bytes_is_refused(world: World, size: int) -> None:
    world.put("a", b"x" * size)
    with pytest.raises(ObjectTooLargeError, match="more than 10 bytes"):
        world.objects.read(f"gs://{world.bucket}/a", max_bytes=10)


def test_an_empty_object_is_read(world: World) -> None:
    generation = world.put("empty", b"")
    uri = f"gs://{world.bucket}/empty"
    for options in ({}, {"generation": generation}, {"max_bytes": 10, "generation": generation}):
        assert world.objects.read(uri, **options) == world.objects.read(uri)
    assert world.objects.read(uri).generation == generation


@pytest.mark.parametrize(
    "data", [bytes(range(256)), b"\r\n\0" * 1_000, b"\x1f\x8b\x08", "ü".encode("utf-16")]
)
def test_bytes_come_back_as_they_were(world: World, data: bytes) -> None:
    uri = f"gs://{world.bucket}/bytes"
    assert world.objects.create(uri, data, "application/octet-stream")
    assert world.objects.read(uri).data == data


PHOTO = bytes(range(256)) * 40


@pytest.mark.parametrize("options", [{}, {"max_bytes": len(PHOTO)}], ids=["all", "at_most"])
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "nonsense"])
def test_what_is_declared_as_compressed_and_is_not_is_read_as_it_is(
    world: World, encoding: str, options: Mapping[str, Any]
) -> None:
    generation = world.put("declared.jpg", PHOTO, content_encoding=encoding)
    stored = world.objects.read(f"gs://{world.bucket}/declared.jpg", **options)
    assert (stored.data, stored.generation) == (PHOTO, generation)
    assert world.objects.read(f"gs://{world.bucket}/declared.jpg", generation=generation) == stored


@pytest.mark.parametrize("options", [{}, {"max_bytes": len(PHOTO)}], ids=["all", "at_most"])
def test_what_is_compressed_is_decompressed_if_it_is_declared(
    world: World, options: Mapping[str, Any]
) -> None:
    uri, packed = f"gs://{world.bucket}/packed.jpg", gzip.compress(PHOTO)
    generation = world.put("packed.jpg", packed, content_encoding="gzip")
    stored = world.objects.read(uri, **options)
    assert (stored.data, stored.generation) == (PHOTO, generation)
    copy = f"gs://{world.bucket}/copy.jpg"
    assert world.objects.copy(uri, copy)
    assert world.objects.read(copy, **options).data == PHOTO
    world.put("packed.jpg", packed)
    assert world.objects.read(uri, **options).data == packed


@pytest.mark.parametrize("size", [11, 100_000_000])
def test_what_is_more_once_it_is_decompressed_is_refused(world: World, size: int) -> None:
    world.put("bomb.jpg", gzip.compress(bytes(size), 1), content_encoding="gzip")
    with pytest.raises(ObjectTooLargeError, match="more than 1000000 bytes" if size > 11 else "more than"):
        world.objects.read(f"gs://{world.bucket}/bomb.jpg", max_bytes=1_000_000 if size > 11 else 10)


def test_a_damaged_compression_is_read_as_it_is(world: World) -> None:
    packed = gzip.compress(PHOTO)
    for number, damaged in enumerate((packed[:-9], packed[:30] + b"?" * 20 + packed[50:], packed[:2])):
        world.put(f"{number}.jpg", damaged, content_encoding="gzip")
        assert world.objects.read(f"gs://{world.bucket}/{number}.jpg", max_bytes=10**6).data == damaged


def test_nothing_is_read_where_nothing_is_declared_as_compressed(world: World) -> None:
    world.put("empty.jpg", b"", content_encoding="gzip")
    for options in ({}, {"max_bytes": 10}):
        assert world.objects.read(f"gs://{world.bucket}/empty.jpg", **options).data == b""


def test_a_copy_has_the_bytes_of_its_source(world: World) -> None:
    source, target = f"gs://{world.bucket}/images/1.jpg", f"gs://{world.bucket}/jobs/a/images/1.jpg"
    world.put("images/1.jpg", b"photo")
    assert world.objects.copy(source, target) is True
    assert world.objects.read(target).data == b"photo"
    assert world.objects.read(source).data == b"photo"


def test_a_copy_without_a_source_is_not_found(world: World) -> None:
    target = f"gs://{world.bucket}/jobs/a/images/1.jpg"
    with pytest.raises(ObjectNotFoundError, match=r"images/1\.jpg"):
        world.objects.copy(f"gs://{world.bucket}/images/1.jpg", target)
    assert world.objects.exists(target) is False


def test_a_copy_leaves_what_stands(world: World, request: pytest.FixtureRequest) -> None:
    if isinstance(world, GoogleWorld):
        reason = "fake-gcs-server does not enforce if_generation_match on copies; Cloud Storage does"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    source, target = f"gs://{world.bucket}/source", f"gs://{world.bucket}/target"
    world.put("source", b"new")
    world.put("target", b"old")
    assert world.objects.copy(source, target) is False
    assert world.objects.read(target).data == b"old"


def test_objects_are_counted_by_their_prefix(world: World) -> None:
    for name in (
        "jobs/a/ledger/0000/1",
        "jobs/a/ledger/0000/2",
        "jobs/a/ledger/0001/1",
        "jobs/ab/ledger/0000/1",
    ):
        world.put(name, b"")
    root = f"gs://{world.bucket}"
    prefixes = ("/jobs/a/ledger/0000/", "/jobs/a/ledger/", "/jobs/a", "/", "/nothing/")
    assert [world.objects.count(root + prefix) for prefix in prefixes] == [2, 3, 4, 4, 0]


def test_objects_are_named_by_their_prefix_in_order(world: World) -> None:
    for name in ("models/a/2/model.json", "models/a/1/größe.md", "models/ab/1/model.json"):
        world.put(name, b"")
    root = f"gs://{world.bucket}"
    assert list(world.objects.names(f"{root}/models/a/")) == [
        f"{root}/models/a/1/größe.md",
        f"{root}/models/a/2/model.json",
    ]
    assert list(world.objects.names(f"{root}/nothing/")) == []


def test_more_objects_are_counted_than_a_page_lists(world: World) -> None:
    names = [f"gs://{world.bucket}/many/{number:05d}" for number in range(1_100)]
    in_parallel(lambda uri: world.objects.create(uri, b"", "text/plain"), names)
    assert world.objects.count(f"gs://{world.bucket}/many/") == 1_100


def test_a_part_of_a_prefix_is_listed_in_order(world: World) -> None:
    root = f"gs://{world.bucket}/recent/"
    for name in ("recent/3/a", "recent/1/b", "recent/1/a", "recent/10/a", "recent/2/ä", "recently", "a"):
        world.put(name, b"")

    def page(after: str | None, limit: int) -> list[str]:
        found = world.pages.page(root, after=None if after is None else root + after, limit=limit)
        return [uri.removeprefix(root) for uri in found]

    everything = ["1/a", "1/b", "10/a", "2/ä", "3/a"]
    assert page(None, 9) == page(None, 5) == everything
    assert page(None, 2) == everything[:2]
    assert page("1/b", 2) == everything[2:4]
    # What is named need not stand, or no longer.
    assert page("1/az", 1) == everything[1:2]
    assert page("2/ä", 9) == everything[4:]
    assert page("3/a", 9) == page("4", 9) == []


def test_the_folders_of_a_prefix_are_listed_once_in_order(world: World) -> None:
    root = f"gs://{world.bucket}/jobs/"
    for name in ("jobs/b/x", "jobs/b/y/z", "jobs/ä b/%2F", "jobs/a/x", "jobs/file", "jobless/c/x"):
        world.put(name, b"")
    assert list(world.pages.folders(root)) == ["a", "b", "ä b"]
    assert list(world.pages.folders(f"gs://{world.bucket}/nothing/")) == []


def test_an_object_is_deleted_and_no_other(world: World) -> None:
    for name in ("images/12.jpg", "images/12.jpg.jpg", "images/a%2Fb.jpg", "images/a/b.jpg"):
        world.put(name, b"")
    root = f"gs://{world.bucket}/images/"
    for name in ("12.jpg", "a%2Fb.jpg", "12.jpg", "nothing"):
        world.pages.delete(root + name)
    assert list(world.objects.names(root)) == [f"{root}12.jpg.jpg", f"{root}a/b.jpg"]


# ------------------------------------------------------------------------------------- catalogue

SHOP = tuple(
    Product.of(
        str(number),
        gender=("Men", "Women", None)[number % 3],
        article_type=("Tshirts", "Jeans")[number % 2],
        base_colour="Navy Blue" if number % 5 else "Bleu “été” `; DROP",
        year=2010 + number % 8 if number % 7 else None,
        display_name=f"Product {number}",
    )
    for number in range(60)
)


def year_of(product: Product, unknown: int) -> int:
    return int(product.value("year") or unknown)


def selected(world: World, name: str | None = None, **filters: Any) -> list[Product]:
    selection = world.catalogue.select(name or unique("selection"), Filters(**filters))
    products = list(selection.rows(0, 1_000))
    assert selection.total == len(products)
    return products


def ids(products: Sequence[Product]) -> set[str]:
    return {product.product_id for product in products}


@pytest.fixture
def shop(tables: World) -> World:
    """A catalogue of 60 products."""
    tables.sell(*SHOP)
    return tables


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ({}, lambda product: True),
        ({"gender": ("Women",)}, lambda product: product.value("gender") == "Women"),
        ({"gender": ("Women", "Men")}, lambda product: product.value("gender") is not None),
        ({"gender": ("women",)}, lambda product: False),
        (
            {"gender": ("Men",), "article_type": ("Jeans",)},
            lambda product: (product.value("gender"), product.value("article_type")) == ("Men", "Jeans"),
        ),
        ({"base_colour": ("Bleu “été” `; DROP",)}, lambda product: int(product.product_id) % 5 == 0),
        ({"season": ("Summer",)}, lambda product: False),
        ({"start_year": 2015}, lambda product: year_of(product, 0) >= 2015),
        ({"end_year": 2011}, lambda product: year_of(product, 9_999) <= 2011),
        ({"start_year": 2012, "end_year": 2012}, lambda product: product.value("year") == "2012"),
        ({"limit": 1_000}, lambda product: True),
    ],
    ids=[
        *("everything", "one_value", "two_values", "other_case", "two_columns", "quotes", "nothing_known"),
        *("from_a_year", "to_a_year", "one_year", "limit_beyond_all"),
    ],
)
def test_filters_select_the_products_that_match(
    shop: World, filters: dict[str, Any], matches: Callable[[Product], bool]
) -> None:
    products = selected(shop, **filters)
    assert sorted(products, key=lambda product: int(product.product_id)) == [
        each for each in SHOP if matches(each)
    ]


def test_a_limit_selects_the_same_products_at_each_run(shop: World) -> None:
    first, second = (selected(shop, limit=17) for _ in range(2))
    assert first == second
    assert len(ids(first)) == 17
    assert set(first) <= set(SHOP)


def test_a_smaller_limit_selects_a_part_of_a_larger_one(shop: World) -> None:
    small, large = (selected(shop, limit=limit) for limit in (5, 20))
    assert ids(small) < ids(large)


@pytest.mark.parametrize("size", [7, 60, 100])
def test_parts_of_a_selection_are_its_whole(shop: World, size: int) -> None:
    selection = shop.catalogue.select(unique("parts"), Filters())
    parts = [list(selection.rows(start, size)) for start in range(0, selection.total, size)]
    whole = list(selection.rows(0, 60))
    assert [tuple(part) for part in parts] == list(batched(whole, size, strict=False))
    assert ids(whole) == ids(SHOP)


def test_the_same_part_is_always_the_same_products(shop: World) -> None:
    name = unique("again")
    again = [list(shop.catalogue.select(name, Filters()).rows(10, 5)) for _ in range(3)]
    assert again[0] == again[1] == again[2]
    assert len(again[0]) == 5


def test_beyond_the_end_there_is_nothing(shop: World) -> None:
    selection = shop.catalogue.select(unique("end"), Filters())
    assert ids(list(selection.rows(55, 100))) < ids(SHOP)
    assert list(selection.rows(60, 10)) == []


def test_a_selection_stays_as_it_was_when_the_table_changes(tables: World) -> None:
    name = unique("fixed")
    tables.sell(*SHOP[:10])
    before = selected(tables, name)
    tables.sell(*SHOP[10:])
    assert selected(tables, name) == before
    assert ids(before) == ids(SHOP[:10])
    assert ids(selected(tables)) == ids(SHOP)


def test_a_product_that_is_listed_twice_is_selected_once(tables: World) -> None:
    tables.sell(*SHOP[:5], *SHOP[:5], SHOP[0].model_copy(update={"display_name": "Again"}))
    products = selected(tables)
    assert sorted(product.product_id for product in products) == ["0", "1", "2", "3", "4"]


def test_a_selection_of_nothing_is_empty(tables: World) -> None:
    assert selected(tables) == []


def test_a_retry_selects_the_products_that_have_an_error_in_that_job(shop: World) -> None:
    def failure(number: int, **columns: Any) -> dict[str, Any]:
        return prediction(number, **FAILED | {"job_id": "job", "product_id": str(number)} | columns)

    rows = [
        *(failure(number) for number in (3, 4, 5)),
        failure(6, product_id="3", variant="augmented-0"),
        prediction(9),
        failure(10, job_id="other"),
        failure(11, job_id=None),
        failure(12, product_id=None),
        failure(99),
    ]
    shop.put("rows.ndjson", lines(*rows))
    shop.warehouse.load("predictions", f"gs://{shop.bucket}/rows.ndjson", unique("load"))
    assert sorted(ids(selected(shop, retry_of="job"))) == ["3", "4", "5"]
    assert len(selected(shop, retry_of="job")) == 3
    assert ids(selected(shop, retry_of="job", gender=("Men",))) == {"3"}
    assert len(selected(shop, retry_of="job", limit=2)) == 2
    assert selected(shop, retry_of="nobodys") == []


def test_a_job_has_run_once_its_row_stands(tables: World) -> None:
    assert not tables.catalogue.has_run("job")
    ended = JobCompleted(
        job_id="job",
        status="completed",
        request="{}",
        model="fashion",
        model_version="7",
        images=0,
        batches=1,
        predictions=0,
        errors=0,
        requested_at=NOON,
        completed_at=NOON,
    )
    tables.put("summary.ndjson", ndjson([ended]))
    tables.warehouse.load("jobs", f"gs://{tables.bucket}/summary.ndjson", unique("load"))
    assert tables.catalogue.has_run("job")
    assert not tables.catalogue.has_run("job-2")


def test_a_product_comes_back_as_it_was(tables: World) -> None:
    everything = Product.of(
        "a/b%2F'#`; \N{DRESS} -- 007",
        gender="Girls",
        master_category="Apparel",
        sub_category="Topwear",
        article_type="Tshirts",
        base_colour="Off White",
        season="Fall",
        usage="Casual",
        year=2016,
        display_name="Größe 40, “Été”\n🧥",
    )
    nothing = Product.of("1")
    tables.sell(everything, nothing)
    assert sorted(selected(tables), key=lambda product: product.product_id) == [nothing, everything]


# ------------------------------------------------------------------------------------- warehouse


def prediction(number: int, **columns: Any) -> dict[str, Any]:
    """A row of `predictions`."""
    labels = [("article_type", 1, "Tshirts", 0.75), ("article_type", 2, "Tops", 0.125)]
    heads = [dict(zip(("head", "rank", "label", "probability"), label, strict=True)) for label in labels]
    return {
        "prediction_id": f"prediction-{number}",
        "job_id": "job",
        "product_id": str(number),
        "image_uri": f"gs://bucket/{number}.jpg",
        "generation": 2**60 + number,
        "variant": "original",
        "model": "m",
        "model_version": "1",
        "heads": heads,
        "abstained": ["article_type"],
        "unfamiliar": True,
        "error": None,
        "predicted_at": NOON,
        "latency_ms": 1.5,
        "declared": [
            {
                "head": "article_type",
                "label": "TOPS\N{NO-BREAK SPACE}",
                "known": "Tops",
                "probability": 0.125,
            },
            {"head": "base_colour", "label": "Petrol", "known": None, "probability": None},
        ],
        "learnt": True,
        "photo_number": 2,
        "decided": [],
        "misfits": [],
        "head_values": [{"head": "worn_on", "value": "feet", "probability": 0.75}],
    } | columns


FAILED: dict[str, Any] = {
    "heads": [],
    "abstained": [],
    "unfamiliar": None,
    "error": "photo-missing",
    "job_id": None,
    "product_id": None,
    "generation": None,
    "latency_ms": None,
    "model": None,
    "model_version": None,
    "declared": [],
    "learnt": None,
    "photo_number": None,
    "decided": [],
    "misfits": [],
    "head_values": [],
}

# The answer for a product's several photos.
COMBINED: dict[str, Any] = {
    "photo_number": None,
    "decided": [{"head": "article_type", "photo_number": 1}],
    "misfits": [{"head": "article_type", "photo_number": 3}],
}
# The columns that release 0.1 did not have.
LATER = ("declared", "learnt", "photo_number", "decided", "misfits", "head_values")


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row, default=datetime.isoformat).encode() + b"\n" for row in rows)


def by_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row["prediction_id"]))


def test_a_file_is_loaded_once_under_one_id(tables: World) -> None:
    tables.put("predictions/0.ndjson", lines(prediction(1), prediction(2)))
    uri = f"gs://{tables.bucket}/predictions/0.ndjson"
    load_id = unique("load")
    for _ in range(3):
        tables.warehouse.load("predictions", uri, load_id)
    assert [row["prediction_id"] for row in by_id(tables.rows("predictions"))] == [
        "prediction-1",
        "prediction-2",
    ]


def test_another_id_is_another_load(tables: World) -> None:
    tables.put("predictions/0.ndjson", lines(prediction(1)))
    for load_id in (unique("load"), unique("load")):
        tables.warehouse.load("predictions", f"gs://{tables.bucket}/predictions/0.ndjson", load_id)
    assert len(tables.rows("predictions")) == 2


def test_a_row_is_loaded_as_it_was_written(tables: World) -> None:
    rows = [prediction(1), prediction(2, **FAILED), prediction(3, **COMBINED)]
    tables.put("rows.ndjson", lines(*rows))
    tables.warehouse.load("predictions", f"gs://{tables.bucket}/rows.ndjson", unique("load"))
    assert by_id(tables.rows("predictions")) == rows


def test_a_row_of_an_earlier_release_is_loaded_too(tables: World) -> None:
    row = prediction(1)
    earlier = {name: value for name, value in row.items() if name not in LATER}
    tables.put("rows.ndjson", lines(earlier, prediction(2)))
    tables.warehouse.load("predictions", f"gs://{tables.bucket}/rows.ndjson", unique("load"))
    first, second = by_id(tables.rows("predictions"))
    assert {name: first[name] for name in earlier} == earlier
    assert {name: first.get(name) or FAILED[name] for name in LATER} == {name: FAILED[name] for name in LATER}
    assert second == prediction(2)


def test_a_star_loads_all_files_under_a_prefix_and_no_others(tables: World) -> None:
    for number in range(5):
        tables.put(f"predictions/0000/{number:08d}.ndjson", lines(prediction(number)))
    tables.put("predictions/0001/00001000.ndjson", lines(prediction(1_000)))
    tables.warehouse.load("predictions", f"gs://{tables.bucket}/predictions/0000/*.ndjson", unique("load"))
    assert sorted(row["product_id"] for row in tables.rows("predictions")) == ["0", "1", "2", "3", "4"]


def test_files_without_rows_are_loaded_too(tables: World) -> None:
    """A batch that was only prepared, and of which no photo failed, has an empty file."""
    tables.put("predictions/0000/0.ndjson", b"")
    tables.warehouse.load("predictions", f"gs://{tables.bucket}/predictions/0000/*.ndjson", unique("load"))
    assert tables.rows("predictions") == []
    tables.put("predictions/0000/1.ndjson", lines(prediction(1)))
    tables.warehouse.load("predictions", f"gs://{tables.bucket}/predictions/0000/*.ndjson", unique("load"))
    assert len(tables.rows("predictions")) == 1


@pytest.mark.parametrize(
    "broken", [b"no JSON\n", lines(prediction(1)) + b'{"prediction_id": \n'], ids=["text", "second_line"]
)
def test_a_load_that_failed_loads_nothing_and_can_be_repeated(tables: World, broken: bytes) -> None:
    uri, load_id = f"gs://{tables.bucket}/rows.ndjson", unique("load")
    tables.put("rows.ndjson", broken)
    for _ in range(2):
        with pytest.raises((GoogleAPICallError, ValueError)):
            tables.warehouse.load("predictions", uri, load_id)
    assert tables.rows("predictions") == []
    tables.put("rows.ndjson", lines(prediction(1)))
    for _ in range(2):
        tables.warehouse.load("predictions", uri, load_id)
    assert len(tables.rows("predictions")) == 1


def test_a_load_of_files_that_do_not_stand_fails_and_can_be_repeated(tables: World) -> None:
    uri, load_id = f"gs://{tables.bucket}/predictions/0000/*.ndjson", unique("load")
    with pytest.raises((GoogleAPICallError, LookupError, ObjectNotFoundError)):
        tables.warehouse.load("predictions", uri, load_id)
    tables.put("predictions/0000/0.ndjson", lines(prediction(1)))
    tables.warehouse.load("predictions", uri, load_id)
    assert len(tables.rows("predictions")) == 1


def test_appended_rows_are_there_at_once_as_they_were(tables: World) -> None:
    rows = [prediction(1), prediction(2, **FAILED), prediction(3, heads=[], abstained=[])]
    tables.warehouse.append("predictions", rows[:2])
    tables.warehouse.append("predictions", rows[2:])
    assert by_id(tables.rows("predictions")) == rows


def test_rows_that_nobody_takes_are_given_up(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", cloud.environment["BIGQUERY_EMULATOR_HOST"])
    warehouse = BigQueryWarehouse(PROJECT, cloud.environment["VITRINE_DATASET"])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            warehouse.append("predictions", [prediction(1)])
    assert time.monotonic() - began < 3 * APPEND_TIMEOUT


def test_a_rejection_is_appended(tables: World) -> None:
    row = {
        "rejection_id": "r",
        "job_id": None,
        "topic": "batch-staged",
        "subscription": "batch-staged-to-inference",
        "message_id": "4711",
        "attempts": 12,
        "reason": "limit: “0” is not enough\n🧥",
        "payload_uri": "gs://bucket/rejected/r",
        "payload_preview": "\ufffd",
        "attributes": "{}",
        "published_at": NOON,
        "rejected_at": datetime(1970, 1, 1, tzinfo=UTC),
    }
    tables.warehouse.append("rejected", [row])
    assert tables.rows("rejected") == [row]


def test_a_tally_counts_a_jobs_labels_and_errors(tables: World) -> None:
    assert tables.warehouse.tally("job") == (0, 0)
    failed = FAILED | {"job_id": "job"}
    other = prediction(4, job_id="other")
    rows = [prediction(1), prediction(2), prediction(3, **failed), prediction(7, **COMBINED), other]
    tables.put("rows.ndjson", lines(*rows))
    tables.warehouse.load("predictions", f"gs://{tables.bucket}/rows.ndjson", unique("load"))
    tables.warehouse.append("predictions", [prediction(5), prediction(6, **FAILED)])
    assert tables.warehouse.tally("job") == (3, 1)
    assert tables.warehouse.tally("other") == (1, 0)


def test_products_are_loaded_from_their_rows(tables: World) -> None:
    tables.put("products.ndjson", lines(*(dict(product_row(each, bundled_config())) for each in SHOP)))
    tables.warehouse.load("products", f"gs://{tables.bucket}/products.ndjson", unique("load"))
    assert sorted(row["product_id"] for row in tables.rows("products")) == sorted(
        each.product_id for each in SHOP
    )


# ------------------------------------------------------------------------------------- publisher

type Sent = tuple[bytes, Mapping[str, str]]


@dataclass(frozen=True)
class Post:
    """A publisher, a topic, and how to see what came."""

    publisher: Publisher
    topic: str
    received: Callable[[int], list[Sent]]


@pytest.fixture(params=["memory", "google"])
def post(request: pytest.FixtureRequest) -> Post:
    """A topic that nobody else publishes to."""
    topic = unique("adapters")
    if request.param == "memory":
        memory = MemoryPublisher()
        return Post(
            memory,
            topic,
            lambda count: [(data, given) for to, data, given in memory.published if to == topic],
        )
    request.getfixturevalue("emulators")
    subscriber = pubsub_v1.SubscriberClient()
    path, subscription = (
        f"projects/{PROJECT}/topics/{topic}",
        f"projects/{PROJECT}/subscriptions/{topic}",
    )
    pubsub_v1.PublisherClient().create_topic(name=path)
    subscriber.create_subscription(name=subscription, topic=path)

    def received(count: int) -> list[Sent]:
        messages: list[Sent] = []
        while len(messages) < count:
            answer = subscriber.pull(subscription=subscription, max_messages=1_000, timeout=20)
            for each in answer.received_messages:
                messages.append((each.message.data, dict(each.message.attributes)))
            subscriber.acknowledge(
                subscription=subscription, ack_ids=[each.ack_id for each in answer.received_messages]
            )
        return messages

    return Post(CloudPublisher(PROJECT), topic, received)


def test_messages_arrive_with_their_attributes(post: Post) -> None:
    sent = [
        (b'{"job_id": "job"}', {"job_id": "job", "batch": "0"}),
        (b"\x00\xff", {}),
        ("Größe".encode(), {"vitrine_reason": "größer 🧥", "googclient_traceparent": "00-a-b-01"}),
    ]
    post.publisher.publish(post.topic, sent)
    assert sorted(post.received(3)) == sorted(sent)


def test_a_page_of_messages_arrives_whole(post: Post) -> None:
    sent = [(f"{number:05d}".encode() * 1_000, {"number": str(number)}) for number in range(500)]
    post.publisher.publish(post.topic, sent)
    assert sorted(data for data, _ in post.received(500)) == [data for data, _ in sent]


def test_nothing_to_publish_is_published(post: Post) -> None:
    post.publisher.publish(post.topic, [])
    assert post.received(0) == []


@pytest.mark.usefixtures("emulators")
def test_a_publication_that_the_broker_refuses_is_an_error() -> None:
    with pytest.raises(GoogleAPICallError):
        CloudPublisher(PROJECT).publish("batch-classified", [(b'{"colour": "red"}', {})])


# ------------------------------------------------------------------------------------- by hand


type Answer = tuple[int, dict[str, Any]]


class HandMadeStorage:
    """A server in the place of Cloud Storage that gives the answers it was made with, and keeps what came.

    As Cloud Storage does, it leaves out what the request's `fields` do not name.
    """

    def __init__(self, *answers: Answer) -> None:
        self.queries: list[dict[str, list[str]]] = []
        queries, left = self.queries, list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                query = parse_qs(url.query)
                if "/o" in url.path.removeprefix("/storage/v1/b/"):
                    queries.append(query)
                    status, document = left.pop(0)
                else:
                    # On a thread of its own the client asks where the bucket is, for its spans.
                    status, document = refusal(403)
                fields = query.get("fields", [",".join(document)])[0]
                body = json.dumps({name: document[name] for name in document if name in fields}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # The interval is how long close() takes.
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., HandMadeStorage]]:
    """Puts a server with these answers in the place of Cloud Storage."""
    servers: list[HandMadeStorage] = []

    def start(*answers: Answer) -> HandMadeStorage:
        servers.append(HandMadeStorage(*answers))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", servers[-1].url)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def refusal(status: int) -> Answer:
    return status, {"error": {"code": status, "message": "by hand"}}


def test_a_copy_that_is_refused_because_the_target_stands_was_made_before(
    answering: Callable[..., HandMadeStorage],
) -> None:
    server = answering(refusal(412))
    assert CloudObjects(PROJECT).copy("gs://bucket/source", "gs://bucket/target") is False
    assert [query["ifGenerationMatch"] for query in server.queries] == [["0"]]


def test_an_object_that_is_refused_because_it_stands_was_created_before(
    answering: Callable[..., HandMadeStorage],
) -> None:
    server = answering(refusal(412))
    assert CloudObjects(PROJECT).create("gs://bucket/marker", b"", "text/plain") is False
    assert [query["ifGenerationMatch"] for query in server.queries] == [["0"]]


def test_a_copy_whose_source_is_gone_is_not_found(answering: Callable[..., HandMadeStorage]) -> None:
    answering(refusal(404))
    with pytest.raises(ObjectNotFoundError, match="source"):
        CloudObjects(PROJECT).copy("gs://bucket/source", "gs://bucket/target")


def test_what_is_forbidden_is_neither_missing_nor_made(answering: Callable[..., HandMadeStorage]) -> None:
    answering(refusal(403), refusal(404))
    with pytest.raises(GoogleAPICallError, match="by hand"):
        CloudObjects(PROJECT).copy("gs://bucket/source", "gs://bucket/target")
    answering(refusal(403), refusal(404))
    with pytest.raises(NotAllowedError, match="by hand"):
        CloudObjects(PROJECT).create("gs://bucket/marker", b"", "text/plain")


def test_what_stands_and_may_not_be_replaced_was_made_before(
    answering: Callable[..., HandMadeStorage],
) -> None:
    answering(refusal(403), (200, {"name": "target"}))
    assert CloudObjects(PROJECT).copy("gs://bucket/source", "gs://bucket/target") is False
    answering(refusal(403), (200, {"name": "marker"}))
    assert CloudObjects(PROJECT).create("gs://bucket/marker", b"", "text/plain") is False


def test_objects_on_all_pages_of_a_listing_are_counted(answering: Callable[..., HandMadeStorage]) -> None:
    """The emulator lists everything on one page."""
    server = answering(
        (200, {"items": [{"name": f"{number}"} for number in range(1_000)], "nextPageToken": "more"}),
        (200, {"nextPageToken": "still more"}),
        (200, {"items": [{"name": "last"}]}),
    )
    assert CloudObjects(PROJECT).count("gs://bucket/jobs/") == 1_001
    assert [query.get("pageToken") for query in server.queries] == [None, ["more"], ["still more"]]
