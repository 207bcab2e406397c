"""Corrections in the tables, by one suite for both: the twin in memory, and BigQuery's emulator.

And on the emulator alone: the view, and that the MERGE statements apply what they say.
"""

import csv
from collections.abc import Mapping
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from services.client.correction_exports import export
from services.client.corrections import Correction, Status
from services.client.corrections_sql import create_view
from services.client.google_cloud import BigQueryTables
from services.client.ports import ResultFilter
from services.client.review import HumanLabel
from services.local.provision import provision_dataset
from services.shared.catalogue_config import CatalogueConfig
from services.shared.events import Product
from services.shared.google_bigquery import BigQueryWarehouse
from tests.integration.test_review_tables import NOW, PROJECT, World, article, fill, judge, predicted
from tests.unit.client_world import PipelineTables
from tests.unit.memory_pipeline import MemoryPipeline
from tests.unit.merchant_feed import problems

HOSTILE = 'O\'Neill \\ "Shirts"; -- `é` 😀'

CATALOGUE = [
    Product.of("pending", article_type="Shirts", gender="Men"),
    Product.of("undeclared", article_type="Tshirts"),
    Product.of("changed", article_type="Shirts"),
    Product.of("applied", article_type="Shirts"),
    Product.of("hostile", article_type="Shirts"),
    Product.of("missing", article_type="Shirts"),
    Product.of("right", article_type="Shirts"),
    Product.of("spelt", article_type=" shirts"),
    Product.of("dismissed", article_type="Shirts"),
]


def row_of(product: Product, job_id: str) -> Any:
    """A prediction of Tshirts, unlikely Shirts, and of a collar that no catalogue has a column for."""
    return predicted(
        product.product_id,
        job_id,
        article_type=[("Tshirts", 0.9), ("Shirts", 0.1)],
        gender=[("Women", 0.8), ("Men", 0.2)],
        collar=[("Round", 1.0)],
        declared=[
            article("Tshirts", "Tshirts", 0.9)
            if product.value("article_type") == "Tshirts"
            else article(product.value("article_type") or "", "Shirts", 0.1)
        ],
    )


@pytest.fixture(params=["memory", "google"])
def world(request: pytest.FixtureRequest) -> World:
    """A catalogue, its predictions and their reviews; after them, the catalogue has moved on."""
    if request.param == "memory":
        pipeline = MemoryPipeline([])
        return reviewed(World(PipelineTables(pipeline), pipeline.warehouse))
    request.getfixturevalue("emulators")
    dataset = f"corrections_{uuid4().hex}"
    provision_dataset(PROJECT, dataset)
    return reviewed(World(BigQueryTables(PROJECT, dataset), BigQueryWarehouse(PROJECT, dataset), dataset))


def reviewed(world: World) -> World:
    # That a product is gone cannot be said to the port: it was never there.
    listed = [product for product in CATALOGUE if product.product_id != "missing"]
    fill(world, [row_of(product, "job") for product in CATALOGUE], listed)
    rows = {
        product.product_id: next(
            world.tables.results("job", None, where=ResultFilter(product_id=product.product_id))
        )
        for product in CATALOGUE
    }
    # Superseded by the last verdict.
    judge(world, rows["pending"], "article_type", "dismissed", at=NOW - timedelta(hours=2))
    for number, name in enumerate(("pending", "undeclared", "changed", "applied", "missing", "spelt")):
        head = "gender" if name == "undeclared" else "article_type"
        label = "Shirts" if name == "spelt" else None
        verdict = "corrected" if label else "accepted"
        judge(world, rows[name], head, verdict, label, at=NOW - timedelta(minutes=number))  # type: ignore[arg-type]
    judge(world, rows["pending"], "gender", "accepted", by="bob@example.com")
    judge(world, rows["pending"], "collar", "accepted")
    judge(world, rows["hostile"], "article_type", "corrected", HOSTILE)
    # The catalogue was right, and nobody can tell.
    judge(world, rows["right"], "article_type", "corrected", "Shirts")
    judge(world, rows["dismissed"], "article_type", "dismissed")
    world.tables.merge_products(
        [
            Product.of("changed", article_type="Tops"),
            Product.of("applied", article_type="Tshirts"),
        ]
    )
    return world


EXPECTED: Mapping[tuple[str, str], tuple[str | None, str, str | None, Status]] = {
    ("pending", "article_type"): ("Shirts", "Tshirts", "Shirts", "pending"),
    ("pending", "gender"): ("Men", "Women", "Men", "pending"),
    ("undeclared", "gender"): (None, "Women", None, "pending"),
    ("hostile", "article_type"): ("Shirts", HOSTILE, "Shirts", "pending"),
    ("changed", "article_type"): ("Shirts", "Tshirts", "Tops", "changed"),
    ("applied", "article_type"): ("Shirts", "Tshirts", "Tshirts", "applied"),
    ("missing", "article_type"): (None, "Tshirts", None, "missing"),
    ("pending", "collar"): (None, "Round", None, "no-column"),
}


def shown(found: list[Correction]) -> dict[tuple[str, str], tuple[str | None, str, str | None, Status]]:
    return {
        (each.product_id, each.attribute): (
            each.declared,
            each.corrected,
            each.current_value,
            each.status,
        )
        for each in found
    }


def test_corrections_are_the_last_reviews_that_contradict_the_catalogue(world: World) -> None:
    found = world.tables.corrections()
    assert shown(found) == EXPECTED
    assert world.tables.count_corrections() == {
        "pending": 4,
        "applied": 1,
        "changed": 1,
        "missing": 1,
        "no-column": 1,
    }
    times = [each.reviewed_at for each in found]
    assert times == sorted(times, reverse=True)
    (gender,) = [each for each in found if (each.product_id, each.attribute) == ("pending", "gender")]
    assert (gender.reviewer, gender.job_id, gender.model_version) == ("bob@example.com", "job", "7")
    assert gender.reviewed_at == NOW


def test_corrections_are_of_a_job_and_since_a_time_and_in_pages(world: World) -> None:
    every = world.tables.corrections()
    assert world.tables.corrections("job") == every
    assert world.tables.corrections("another") == []
    assert world.tables.count_corrections("another") == {}
    recent = world.tables.corrections(since=NOW)
    assert {each.reviewed_at for each in recent} == {NOW}
    assert sum(world.tables.count_corrections(since=NOW).values()) == len(recent) < len(every)
    pages = [world.tables.corrections(limit=3, offset=offset) for offset in (0, 3, 6)]
    assert [each for page in pages for each in page] == every


class Team:
    """Somebody who has the dataset and Google's client, and none of our code."""

    def __init__(self, dataset: str) -> None:
        self._dataset = f"{PROJECT}.{dataset}"
        self._client = bigquery.Client(PROJECT, credentials=AnonymousCredentials())

    def query(self, sql: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self._client.query_and_wait(sql.format(dataset=self._dataset))]

    def run(self, statement: str) -> None:
        self._client.query_and_wait(statement)

    def apply(self, statements: str) -> None:
        for statement in statements.split("\n\n"):
            if "MERGE" in statement:
                self._client.query_and_wait(statement)

    def products(self, table: str = "products") -> dict[str, tuple[str | None, str | None]]:
        rows = self.query(f"SELECT product_id, article_type, gender FROM `{{dataset}}.{table}`")
        return {row["product_id"]: (row["article_type"], row["gender"]) for row in rows}


@pytest.mark.parametrize("world", ["google"], indirect=True)
def test_what_is_exported_and_applied_leaves_no_reviewed_disagreement(world: World) -> None:
    team = Team(world.name)
    before, found = team.products(), world.tables.corrections()
    corrected = before | {
        "pending": ("Tshirts", "Women"),
        "undeclared": ("Tshirts", "Women"),
        "hostile": (HOSTILE, None),
    }
    assert team.products("catalogue_corrected") == corrected

    products = world.tables.product_table
    rows = list(csv.DictReader(StringIO(export(found, "csv", products).text, newline="")))
    assert {(row["product_id"], row["attribute"], row["corrected"]) for row in rows} == {
        (*name, values[1]) for name, values in EXPECTED.items() if values[3] == "pending"
    }
    statements = export(found, "merge", products)
    assert {each.correction.status for each in statements.left_out} == {"changed", "missing", "no-column"}
    # The catalogue changes between the export and its use.
    team.query("UPDATE `{dataset}.products` SET gender = 'Girls' WHERE product_id = 'undeclared'")
    for _ in range(2):
        team.apply(statements.text)
        assert team.products() == corrected | {"undeclared": ("Tshirts", "Girls")}

    # Classified again: what was reviewed and is what the model says, is no disagreement any more.
    fill(world, [row_of(product, "again") for product in CATALOGUE])
    assert world.tables.disagreements("again", limit=100) == []
    doubts = {row.prediction.product_id: row.disagreements for row in world.tables.results("again", None)}
    assert doubts["pending"] == doubts["applied"] == ()
    assert {each.status for each in world.tables.corrections()} == {
        "applied",
        "changed",
        "missing",
        "no-column",
    }
    assert team.products("catalogue_corrected") == team.products()


@pytest.mark.parametrize("world", ["google"], indirect=True)
def test_the_view_says_which_values_were_corrected_by_whom_and_when(world: World) -> None:
    rows = Team(world.name).query("SELECT product_id, corrections FROM `{dataset}.catalogue_corrected`")
    corrections = {row["product_id"]: row["corrections"] for row in rows}
    assert [(each["attribute"], each["declared"], each["reviewer"]) for each in corrections["pending"]] == [
        ("article_type", "Shirts", "ada@example.com"),
        ("gender", "Men", "bob@example.com"),
    ]
    assert {each["reviewed_at"] for each in corrections["pending"]} == {NOW}
    # It has the reviewed value already; another one has changed since.
    assert [each["corrected"] for each in corrections["applied"]] == ["Tshirts"]
    assert corrections["changed"] == corrections["right"] == corrections["spelt"] == []


def test_the_feed_of_the_tables_is_good(world: World) -> None:
    made = export(world.tables.corrections(), "merchant-center", world.tables.product_table)
    assert problems(made.text) == []
    assert "hostile" in {each.correction.product_id for each in made.left_out}
    assert [line.split("\t")[0] for line in made.text.splitlines()] == [
        "id",
        "applied",
        "pending",
        "undeclared",
    ]


# ------------------------------------------------------------------------------------- other catalogues

OWN: dict[str, Any] = {
    "id": "sku",
    "attributes": {"base_colour": {"column": "shade"}, "sleeve": {}, "tags": {"type": "values"}},
}


def say(tables: BigQueryTables, product_id: str, head: str, declared: str | None, label: str) -> None:
    tables.add_label(
        HumanLabel(
            label_id=uuid4().hex,
            prediction_id="p",
            product_id=product_id,
            image_uri="gs://a/b.jpg",
            head=head,
            verdict="corrected",
            label=label,
            predicted=label,
            declared=declared,
            probability=0.9,
            judged_by="ada@example.com",
            judged_at=NOW,
        )
    )


@pytest.mark.usefixtures("emulators")
def test_attributes_of_ones_own_are_corrected_in_the_products_and_in_a_view() -> None:
    dataset = f"corrections_{uuid4().hex}"
    provision_dataset(PROJECT, dataset)
    config = CatalogueConfig.model_validate(OWN)
    tables, team = BigQueryTables(PROJECT, dataset, config), Team(dataset)
    products = [
        Product.of("1", base_colour="Red", sleeve="short", tags=["new"]),
        Product.of("2", base_colour="Red"),
        Product.of("3", sleeve="short", tags=["sale", "new"]),
        Product.of("4", tags=["old"]),
    ]
    tables.merge_products(products)
    say(tables, "1", "sleeve", "short", "long 'and' wide")
    say(tables, "1", "base_colour", "Red", "Blue")
    say(tables, "2", "sleeve", None, "long")
    say(tables, "3", "sleeve", "none", "long")  # has changed since
    say(tables, "1", "tags", "new", "last 'ones' | new")
    say(tables, "2", "tags", None, "new")
    say(tables, "3", "tags", "new | sale", "sale")
    say(tables, "4", "tags", "new", "sale")  # has changed since
    view = f"{PROJECT}.{dataset}.own_corrected"
    team.run(create_view(view, tables.product_table))

    def seen() -> dict[str, tuple[Any, ...]]:
        rows = team.query("SELECT * FROM `{dataset}.own_corrected`")
        return {row["product_id"]: (row["base_colour"], row["sleeve"], row["tags"]) for row in rows}

    corrected = {
        "1": ("Blue", "long 'and' wide", ["last 'ones'", "new"]),
        "2": ("Red", "long", ["new"]),
        "3": (None, "short", ["sale"]),
        "4": (None, None, ["old"]),
    }
    assert seen() == corrected
    made = export(tables.corrections(), "merge", tables.product_table)
    assert sorted(each.correction.name for each in made.left_out) == ["3 sleeve", "4 tags"]
    for _ in range(2):
        team.apply(made.text)
        assert {each.product_id: each for each in tables.catalogue()} == {
            "1": Product.of("1", base_colour="Blue", sleeve="long 'and' wide", tags=["last 'ones'", "new"]),
            "2": Product.of("2", base_colour="Red", sleeve="long", tags=["new"]),
            "3": Product.of("3", sleeve="short", tags=["sale"]),
            "4": products[3],
        }
    assert seen() == corrected
    assert tables.count_corrections() == {"applied": 6, "changed": 2}


@pytest.mark.usefixtures("emulators")
@pytest.mark.parametrize("column", ["array", "text"])
def test_a_teams_own_table_is_corrected_by_a_view_and_by_statements(column: str) -> None:
    dataset = f"corrections_{uuid4().hex}"
    provision_dataset(PROJECT, dataset)
    team = Team(dataset)
    table = f"{PROJECT}.{dataset}.pim"

    def tags(*values: str) -> Any:
        return [*values] if column == "array" else ", ".join(values)

    team.run(
        f"CREATE TABLE `{table}` AS SELECT * FROM UNNEST([STRUCT(1 AS sku, 'Red' AS shade, "
        f"'short' AS sleeve, {tags('new', 'blue')!r} AS tags, 9.5 AS price), "
        f"(2, 'Red', 'short', {tags('old')!r}, 1.5)])"
    )
    attributes = OWN["attributes"] | {"tags": {"type": "values", "separator": ", "}}
    config = CatalogueConfig.model_validate(OWN | {"table": table, "attributes": attributes})
    tables = BigQueryTables(PROJECT, dataset, config)
    say(tables, "1", "base_colour", "Red", "Blue")
    say(tables, "1", "tags", "blue | new", "blue | wide")
    say(tables, "2", "tags", "new", "wide")  # has changed since
    team.run(create_view(f"{PROJECT}.{dataset}.own_corrected", tables.product_table))

    def rows(of: str) -> list[dict[str, Any]]:
        return team.query(f"SELECT * FROM `{{dataset}}.{of}` ORDER BY sku")

    corrected = [
        {"sku": 1, "shade": "Blue", "sleeve": "short", "tags": tags("blue", "wide"), "price": 9.5},
        {"sku": 2, "shade": "Red", "sleeve": "short", "tags": tags("old"), "price": 1.5},
    ]
    seen = rows("own_corrected")
    assert [[each["attribute"] for each in row.pop("corrections")] for row in seen] == [
        ["base_colour", "tags"],
        [],
    ]
    assert seen == corrected
    statements = export(tables.corrections(), "merge", tables.product_table)
    for _ in range(2):
        team.apply(statements.text)
        assert rows("pim") == corrected
    assert tables.count_corrections() == {"applied": 2, "changed": 1}
