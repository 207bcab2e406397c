"""What an erasure needs of the tables, by one suite for both: the twin in memory, and BigQuery's emulator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from services.client.erasing import Erasure, Rows
from services.client.erasing_tables import BigQueryRows
from services.local.provision import provision_dataset
from services.shared.catalogue import product_row
from services.shared.catalogue_config import CatalogueConfig, bundled_config
from services.shared.events import Prediction, Product
from services.shared.google_bigquery import BigQueryWarehouse
from services.shared.memory import MemoryObjects, MemoryWarehouse
from services.shared.ports import Warehouse
from tests.unit.erasing_world import MemoryRows

PROJECT = "vitrine-local"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class Sells(Protocol):
    """Puts products into the catalogue."""

    def __call__(self, *sold: Product | str) -> None: ...


def product_of(sold: Product | str) -> Product:
    return sold if isinstance(sold, Product) else Product(product_id=sold)


@dataclass(frozen=True)
class World:
    """The tables of one kind, and how rows come in."""

    rows: Rows
    warehouse: Warehouse
    sell: Sells
    dataset: str = ""


@pytest.fixture(params=["memory", "google"])
def world(request: pytest.FixtureRequest) -> World:
    """Empty tables."""
    if request.param == "memory":
        products: list[Product] = []

        def forget(ids: Sequence[str]) -> None:
            products[:] = [each for each in products if each.product_id not in ids]

        def add(*sold: Product | str) -> None:
            products.extend(map(product_of, sold))

        memory = MemoryWarehouse(MemoryObjects())
        return World(MemoryRows(memory, lambda: products, forget), memory, add)
    request.getfixturevalue("emulators")
    return google_world()


def google_world() -> World:
    """Empty tables in the emulator."""
    dataset = f"erasing_{uuid4().hex}"
    provision_dataset(PROJECT, dataset)
    warehouse = BigQueryWarehouse(PROJECT, dataset)

    def sell(*sold: Product | str) -> None:
        rows = [product_row(product_of(each), bundled_config()) for each in sold]
        warehouse.append("products", rows)

    return World(BigQueryRows(PROJECT, dataset), warehouse, sell, dataset)


def predicted(product_id: str | None) -> Mapping[str, Any]:
    return Prediction(
        prediction_id=uuid4().hex,
        product_id=product_id,
        image_uri="gs://uploads/a.jpg",
        variant="original",
        heads=(),
        predicted_at=NOW,
    ).model_dump()


def test_rows_of_exactly_these_products_are_counted_and_deleted(world: World) -> None:
    ids = ["12", "12-1", "123", "A/ä%2F*", "a/ä%2F*"]
    world.sell(*ids)
    world.warehouse.append("predictions", [predicted(each) for each in (*ids, *ids, None)])
    assert world.rows.count(["12", "A/ä%2F*", "never"]) == {"12": 3, "A/ä%2F*": 3}
    world.rows.delete(["12", "A/ä%2F*", "never"])
    world.rows.delete(["12"])
    assert world.rows.count(ids) == {"12-1": 3, "123": 3, "a/ä%2F*": 3}


def test_rejected_messages_are_deleted_by_their_ids(world: World) -> None:
    columns = ("topic", "subscription", "message_id", "reason", "payload_uri", "attributes")
    times = {"attempts": 1, "published_at": NOW, "rejected_at": NOW}
    row = dict.fromkeys(columns, "") | times | {"job_id": None, "payload_preview": None}
    world.warehouse.append("rejected", [row | {"rejection_id": each} for each in ("a", "ab")])
    world.rows.delete_rejected(["a"])
    if world.dataset:
        client = bigquery.Client(PROJECT, credentials=AnonymousCredentials())
        found = [*client.query_and_wait(f"SELECT * FROM `{PROJECT}.{world.dataset}.rejected`")]
    else:
        assert isinstance(world.warehouse, MemoryWarehouse)
        found = [*world.warehouse.tables["rejected"]]
    assert [each["rejection_id"] for each in found] == ["ab"]


def test_the_nearest_id_is_found(world: World) -> None:
    assert world.rows.nearest("12") is None
    world.sell("SKU-100", "SKU-2", "900240")
    assert world.rows.nearest("SKU-10") == "SKU-100"
    assert world.rows.nearest("90024") == "900240"


def test_records_come_back_newest_first(world: World) -> None:
    first = Erasure(product_id="12", erased_by="ann", erased_at=NOW, kept_in=("gs://b/models/m/1", "x"))
    again = Erasure(product_id="12", erased_by="bob", erased_at=NOW + timedelta(days=1))
    other = Erasure(product_id="123", erased_by="ann", erased_at=NOW)
    world.rows.record([first, other])
    world.rows.record([again])
    assert world.rows.recorded(["12"]) == [again, first]
    assert world.rows.recorded(["1"]) == []


def test_the_photos_that_the_catalogue_names_are_found(world: World) -> None:
    world.sell(
        Product.of("1", photos=["a.jpg", "gs://shop/b.jpg"]), Product.of("2", photos=["a.jpg", "c.jpg"]), "3"
    )
    found = world.rows.photos(["1", "3", "4"])
    assert {product_id: [*photos] for product_id, photos in found.items()} == {
        "1": ["a.jpg", "gs://shop/b.jpg"],
        "3": [],
    }
    assert world.rows.named_by_others(["a.jpg", "gs://shop/b.jpg"], ["1"]) == {"a.jpg"}
    assert world.rows.named_by_others(["a.jpg"], ["1", "2"]) == set()


def test_a_teams_own_table_is_looked_up_and_left_to_it(emulators: None) -> None:
    world = google_world()
    client = bigquery.Client(PROJECT, credentials=AnonymousCredentials())
    table = f"{PROJECT}.{world.dataset}.pim"
    client.query_and_wait(
        f"CREATE TABLE `{table}` AS SELECT 12 AS sku, 'Red' AS colour, 'gs://shop/1' AS photo"
    )
    config = CatalogueConfig.model_validate(
        {"table": table, "id": "sku", "photos": {"column": "photo"}, "attributes": {"colour": {}}}
    )
    rows = BigQueryRows(PROJECT, world.dataset, config)
    world.warehouse.append("predictions", [predicted("12")])
    assert world.rows.owns_products
    assert not rows.owns_products
    assert rows.photos(["12", "13"]) == {"12": ["gs://shop/1"]}
    assert rows.nearest("1") == "12"
    assert rows.count(["12"]) == {"12": 1}
    rows.delete(["12"])
    assert rows.count(["12"]) == {}
    assert client.get_table(table).num_rows == 1
