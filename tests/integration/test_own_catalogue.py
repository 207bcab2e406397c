"""A team's own table: a view of 40 columns in BigQuery's emulator, of which some are attributes."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from typer.testing import CliRunner

from services.client import table_sample
from services.client.check import check_tables
from services.client.cli import app
from services.client.errors import ClientError
from services.client.google_cloud import BigQueryTables
from services.local.processes import LocalCloudError
from services.local.provision import check_table, provision_dataset
from services.shared.catalogue import ColumnError, product_row
from services.shared.catalogue_config import CatalogueConfig, read_config
from services.shared.events import Filters, Product
from services.shared.google_bigquery import BigQueryCatalogue
from services.shared.memory import MemoryObjects

PROJECT = "vitrine-local"
OTHERS = ", ".join(f"'unused' AS note_{number:02}" for number in range(31))
# Two rows have one id, one has none, and one has an id that cannot be a product's.
ROWS = """
SELECT * FROM UNNEST([
  STRUCT('SKU-1' AS sku, 'Red shirt' AS title, 'Red' AS shade, 'Shirts' AS kind, 'S|M' AS sizes,
    NUMERIC '19.90' AS price, DATE '2026-03-31' AS listed, ['gs://shop/1/front.png', 'gs://shop/1/back.png']
    AS photos, ['new', 'sale'] AS tags),
  ('SKU-2', 'Blue shirt', 'Blue', 'Shirts', 'M', NUMERIC '5', DATE '2025-01-01', ['gs://shop/2'], ['sale']),
  ('SKU-2', 'Again', 'Blue', 'Shirts', 'M', NUMERIC '5', DATE '2025-01-01', ['gs://shop/2'], []),
  ('0003', NULL, '', 'Jeans', NULL, NULL, NULL, [], []),
  (NULL, 'Nothing', 'Red', 'Shirts', '', NUMERIC '1', NULL, [], []),
  (' x ', 'Blanks', 'Red', 'Shirts', '', NUMERIC '1', NULL, [], [])
])
"""
ATTRIBUTES: dict[str, Any] = {
    "base_colour": {"column": "shade"},
    "article_type": {"column": "kind"},
    "sizes": {"type": "values"},
    "tags": {"type": "values"},
    "price": {"type": "number"},
    "listed": {"type": "date"},
}
ONE = Product.of(
    "SKU-1",
    "Red shirt",
    ["gs://shop/1/front.png", "gs://shop/1/back.png"],
    base_colour="Red",
    article_type="Shirts",
    sizes=["S", "M"],
    tags=["new", "sale"],
    price="19.9",
    listed="2026-03-31",
)
THREE = Product.of("0003", None, article_type="Jeans")


@pytest.fixture(scope="module")
def client(emulators: None) -> bigquery.Client:
    """BigQuery, where Google's clients find it."""
    return bigquery.Client(PROJECT, credentials=AnonymousCredentials())


@pytest.fixture(scope="module")
def dataset(client: bigquery.Client) -> str:
    """A dataset with the pipeline's tables."""
    name = f"own_{uuid4().hex}"
    provision_dataset(PROJECT, name)
    return name


@pytest.fixture(scope="module")
def team(client: bigquery.Client) -> str:
    """The name of a view of 40 columns, in a dataset of the team's."""
    own = f"team_{uuid4().hex}"
    client.create_dataset(own)
    client.query_and_wait(f"CREATE TABLE `{PROJECT}.{own}.pim` AS {ROWS}")
    client.query_and_wait(
        f"CREATE VIEW `{PROJECT}.{own}.products` AS SELECT *, {OTHERS} FROM `{PROJECT}.{own}.pim`"
    )
    return f"{PROJECT}.{own}.products"


def config(table: str, **others: Any) -> CatalogueConfig:
    fields = {
        "table": table,
        "id": "sku",
        "display_name": "title",
        "photos": {"column": "photos"},
        "attributes": ATTRIBUTES,
        "time": "listed",
    }
    return CatalogueConfig.model_validate(fields | others)


def test_the_view_has_forty_columns(client: bigquery.Client, team: str) -> None:
    assert len(client.get_table(team).schema) == 40


def selected(catalogue: BigQueryCatalogue, **wanted: Any) -> dict[str, Product]:
    selection = catalogue.select(f"own-{uuid4().hex}", Filters.model_validate(wanted))
    return {product.product_id: product for product in selection.rows(0, 100)}


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({}, {"SKU-1", "SKU-2", "0003"}),
        ({"base_colour": "Red"}, {"SKU-1"}),
        ({"sizes": ["S", "XL"]}, {"SKU-1"}),
        ({"tags": "sale", "price": {"to": 10}}, {"SKU-2"}),
        ({"price": 19.9}, {"SKU-1"}),
        ({"listed": {"from": "2025-01-02"}}, {"SKU-1"}),
        ({"listed": {"from": "2025-01-01", "to": "2025-12-31"}}, {"SKU-2"}),
    ],
)
def test_a_selection_reads_the_view(dataset: str, team: str, filters: dict[str, Any], ids: set[str]) -> None:
    found = selected(BigQueryCatalogue(PROJECT, dataset, config(team)), filters=filters)
    # Of the two rows of SKU-2 either one counts, and one of them has no tags.
    assert found.keys() == ids or ("tags" in filters and not found)


def test_a_product_has_the_attributes_of_its_row(dataset: str, team: str) -> None:
    found = selected(BigQueryCatalogue(PROJECT, dataset, config(team)))
    assert float(found["SKU-1"].value("price") or 0) == 19.9
    assert found["SKU-1"].with_values({"price": None}) == ONE.with_values({"price": None})
    assert found["0003"] == THREE


def test_values_and_their_counts_are_those_of_the_view(dataset: str, team: str) -> None:
    own = config(team)
    assert BigQueryCatalogue(PROJECT, dataset, own).values(["base_colour", "tags"]) == {
        "base_colour": {"Red", "Blue"},
        "tags": {"new", "sale"},
    }
    values = BigQueryTables(PROJECT, dataset, own).values()
    assert dict(values["article_type"]) == {"Shirts": 3, "Jeans": 1}
    assert values["price"] == []


def test_a_check_tells_rows_ids_values_and_missing_photos(dataset: str, team: str) -> None:
    objects = MemoryObjects()
    objects.put("gs://shop/1/front.png", b"photo")
    found = check_tables(BigQueryTables(PROJECT, dataset, config(team)), objects, "bucket")
    assert (found.rows, found.products, found.stopped) == (6, 3, False)
    assert sorted(map(str, found.findings)) == [
        "1 further photos that are missing: gs://shop/1/back.png",
        "1 ids that come again; one of the rows counts: SKU-2",
        "1 rows whose id is too long, or has a line break or blanks around it, are left out:  x ",
        "1 rows without an id are left out",
        "2 products without a photo: 0003, SKU-2",
    ]
    assert found.attributes["base_colour"].values == {"Red": 1, "Blue": 1}
    assert found.attributes["base_colour"].without == 1


def test_nothing_is_written_to_the_table(client: bigquery.Client, dataset: str, team: str) -> None:
    pim = f"{team.rpartition('.')[0]}.pim"
    before = client.get_table(pim).num_rows
    tables = BigQueryTables(PROJECT, dataset, config(team))
    with pytest.raises(ClientError, match="only read"):
        tables.merge_products([THREE])
    assert client.get_table(pim).num_rows == before
    (own,) = client.query_and_wait(f"SELECT COUNT(*) AS n FROM `{PROJECT}.{dataset}.products`")
    assert own["n"] == 0


@pytest.mark.parametrize(
    ("others", "complaint"),
    [
        ({"id": "skuu"}, "has no column 'skuu'; did you mean 'sku'?"),
        (
            {"id": "price", "attributes": {"tags": {"type": "values"}}, "time": None},
            "id: price is a NUMERIC; expected STRING or INT64",
        ),
        ({"attributes": {"tags": {}}, "time": None}, "attributes.tags: tags is an array"),
    ],
)
def test_a_column_that_the_view_does_not_have_is_named(
    dataset: str, team: str, others: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ColumnError) as refusal:
        BigQueryCatalogue(PROJECT, dataset, config(team, **others))
    assert complaint in str(refusal.value)


def test_a_table_that_does_not_exist_is_named(dataset: str) -> None:
    with pytest.raises(ClientError, match="nothing"):
        BigQueryTables(PROJECT, dataset, config(f"{PROJECT}.{dataset}.nothing"))


# ------------------------------------------------------------------------------------- guessed


@pytest.fixture(scope="module")
def shelf(client: bigquery.Client) -> str:
    """A table of 60 products, with columns of many types, and a view of it."""
    own = f"shelf_{uuid4().hex}"
    client.create_dataset(own)
    client.query_and_wait(f"""
CREATE TABLE `{PROJECT}.{own}.shelf` AS
SELECT
  CONCAT('SKU-', n) AS sku,
  CAST(n AS NUMERIC) + NUMERIC '0.5' AS price,
  ['Red', 'Green', 'Blue'][OFFSET(MOD(n, 3))] AS colour,
  IF(MOD(n, 2) = 0, ['new'], ['new', 'sale']) AS tags,
  DATE_ADD(DATE '2026-01-01', INTERVAL n DAY) AS listed,
  CONCAT('https://cdn.shop.example/', n, '.jpg') AS photo,
  STRUCT(n AS inner_number) AS nested
FROM UNNEST(GENERATE_ARRAY(1, 60)) AS n
""")
    client.query_and_wait(
        f"CREATE VIEW `{PROJECT}.{own}.shelf_view` AS SELECT * FROM `{PROJECT}.{own}.shelf`"
    )
    return own


@pytest.mark.parametrize("table", ["shelf", "shelf_view"])
def test_init_guesses_what_the_columns_of_a_table_or_view_mean(
    dataset: str, shelf: str, table: str, tmp_path: Path
) -> None:
    file = tmp_path / "catalogue.yaml"
    result = CliRunner().invoke(app, ["catalogue", "init", f"{shelf}.{table}", "--to", str(file)])
    assert result.exit_code == 0, result.output
    found = read_config(file)
    assert found == CatalogueConfig.model_validate(
        {
            "table": f"{PROJECT}.{shelf}.{table}",
            "id": "sku",
            "photos": {"column": "photo"},
            "attributes": {
                "price": {"type": "number"},
                "colour": {},
                "tags": {"type": "values"},
                "listed": {"type": "date"},
            },
            "time": "listed",
        }
    )
    assert "4 attributes, from 60 rows" in result.output
    text = file.read_text()
    assert "# Of a type that cannot be used: nested (" in text
    assert "add hosts: [cdn.shop.example] to photos" in text
    assert "Guessed from" not in text
    # What init writes is what the pipeline can read.
    assert len(selected(BigQueryCatalogue(PROJECT, dataset, found))) == 60


@pytest.mark.parametrize("table", ["shelf", "shelf_view"])
def test_a_sample_is_bounded_and_says_so(
    client: bigquery.Client, shelf: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_sample, "SAMPLE_ROWS", 20)
    found = table_sample.sample(PROJECT, f"{PROJECT}.{shelf}.{table}")
    assert (len(found.table.rows), found.whole, found.ids) == (20, False, ["sku", "colour", "photo"])
    doubts = table_sample.guess_table(found).doubts["table"]
    assert doubts == ["Guessed from 20 rows. `vitrine catalogue check` counts all of them."]


def test_a_table_that_init_cannot_find_is_named_with_the_nearest(client: bigquery.Client, shelf: str) -> None:
    with pytest.raises(ClientError, match=r"there is no table or view .*shelv; did you mean 'shelf'\?"):
        table_sample.sample(PROJECT, f"{PROJECT}.{shelf}.shelv")
    with pytest.raises(ClientError, match=f"there is no dataset {shelf}x; did you mean '{shelf}'"):
        table_sample.sample(PROJECT, f"{PROJECT}.{shelf}x.shelf")


def test_a_table_without_rows_is_refused(client: bigquery.Client, dataset: str, shelf: str) -> None:
    client.query_and_wait(f"CREATE TABLE `{PROJECT}.{shelf}.bare` (sku STRING)")
    with pytest.raises(ClientError, match="bare has no rows"):
        table_sample.sample(PROJECT, f"{PROJECT}.{shelf}.bare")


# ------------------------------------------------------------------------------------- imported


def test_products_of_own_attributes_come_back_from_the_pipelines_table(dataset: str) -> None:
    own = CatalogueConfig.model_validate(
        {"id": "sku", "attributes": ATTRIBUTES | {"year": {"type": "number"}}}
    )
    tables = BigQueryTables(PROJECT, dataset, own)
    tables.merge_products([ONE.with_values({"year": 2026}), THREE])
    tables.merge_products([THREE.with_values({"tags": ["old"]})])
    found = selected(BigQueryCatalogue(PROJECT, dataset, own))
    assert found == {
        "SKU-1": ONE.with_values({"year": 2026}),
        "0003": THREE.with_values({"tags": ["old"]}),
    }
    ids = selected(BigQueryCatalogue(PROJECT, dataset, own), filters={"tags": "old"}).keys()
    assert ids == {"0003"}
    assert product_row(ONE, own)["attributes"] == {
        "sizes": ("S", "M"),
        "tags": ("new", "sale"),
        "price": "19.9",
        "listed": "2026-03-31",
    }


@pytest.mark.usefixtures("emulators")
@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        (None, r"the local BigQuery has no table .*\.pim\. Remove `table` and import a file"),
        ("SELECT 1 AS id", r"base_colour: .* has no column 'shade'"),
    ],
)
def test_a_local_cloud_refuses_a_table_that_it_does_not_have_as_named(sql: str | None, reason: str) -> None:
    dataset = f"shop_{uuid4().hex}"
    provision_dataset(PROJECT, dataset)
    table = f"{PROJECT}.{dataset}.pim"
    if sql:
        client = bigquery.Client(PROJECT, credentials=AnonymousCredentials())
        client.query_and_wait(f"CREATE TABLE `{table}` AS {sql}")
    attributes = {"base_colour": {"column": "shade"}}
    config = CatalogueConfig.model_validate({"table": table, "id": "id", "attributes": attributes})
    with pytest.raises(LocalCloudError, match=reason):
        check_table(PROJECT, dataset, config)
