"""The upgrade of a project that release 0.1 worked in, on the emulators.

`release_0_1` is what that release left of 12 products and a job: its schemas, rows and files. Release 0.1 has
written them itself, on the local cloud; only the name of the reviewer is another one.
"""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from services.client.client import Vitrine
from services.client.google_cloud import CloudObjects
from services.client.target import EMULATOR_VARIABLES, Target
from services.local.cloud import LocalCloud
from services.local.provision import provision_buckets, provision_dataset, view_query
from services.shared.google_upgrade import UpgradeError, upgrade
from services.shared.jobs import read_predictions, read_products
from services.shared.layout import JobLayout
from services.shared.wiring import SCHEMAS
from tests.e2e.command_line import CommandLine

PROJECT = "vitrine-local"
STATE = Path(__file__).parent / "release_0_1"
CHANGED = ("products", "predictions", "labels")
JOB = "spring-check"


@pytest.fixture(scope="module")
def client(emulators: None) -> bigquery.Client:
    """BigQuery, where Google's clients find it."""
    return bigquery.Client(PROJECT, credentials=AnonymousCredentials())


@pytest.fixture
def dataset(client: bigquery.Client) -> str:
    """The tables of release 0.1, with its rows, and the view that says why a job cannot begin."""
    name = f"upgrade_{uuid4().hex}"
    client.create_dataset(name)
    for path in sorted((STATE / "rows").glob("*.ndjson")):
        old = STATE / "schemas" / f"{path.stem}.json"
        schema = old if old.exists() else SCHEMAS / "tables" / old.name
        table = bigquery.Table(f"{PROJECT}.{name}.{path.stem}", schema=client.schema_from_json(str(schema)))
        client.create_table(table)
        if rows := [json.loads(line) for line in path.read_text().splitlines()]:
            assert client.insert_rows_json(table, rows) == []
    view = bigquery.Table(f"{PROJECT}.{name}.unique_rejected")
    view.view_query = view_query(SCHEMAS / "views" / "unique_rejected.sql", PROJECT, name)
    client.create_table(view)
    return name


def rows(client: bigquery.Client, table: str) -> list[dict[str, object]]:
    found = [dict(row) for row in client.query_and_wait(f"SELECT * FROM `{PROJECT}.{table}`")]
    return sorted(found, key=str)


def columns(schema: Path) -> list[str]:
    return [each["name"] for each in json.loads(schema.read_text())]


def with_text_ids(old: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows of release 0.1 as this release has them, without its new columns."""
    changed = [
        {("product_id" if name == "image_id" else name): value for name, value in row.items()} for row in old
    ]
    for row in changed:
        if row["product_id"] is not None:
            row["product_id"] = str(row["product_id"])
    return changed


def in_order(found: list[dict[str, object]]) -> list[str]:
    return sorted(json.dumps(row, default=str, sort_keys=True) for row in found)


def test_an_upgraded_dataset_has_all_rows_and_the_columns_of_a_new_one(
    client: bigquery.Client, dataset: str
) -> None:
    before = {name: rows(client, f"{dataset}.{name}") for name in (*CHANGED, "jobs")}
    said: list[str] = []
    assert upgrade(client, f"{PROJECT}.{dataset}", said.append) == [*CHANGED]
    assert [line.split(":")[0] for line in said] == [*CHANGED]

    fresh = f"upgrade_{uuid4().hex}"
    provision_dataset(PROJECT, fresh)
    for name in CHANGED:
        table, expected = (client.get_table(f"{PROJECT}.{each}.{name}") for each in (dataset, fresh))
        assert [each.to_api_repr() for each in table.schema] == [
            each.to_api_repr() for each in expected.schema
        ]
        assert table.clustering_fields == expected.clustering_fields
        after = rows(client, f"{dataset}.{name}")
        old = {"product_id", *columns(STATE / "schemas" / f"{name}.json")}
        for row in after:
            assert [value for column, value in row.items() if column not in old and value] == []
        shared = [{column: row[column] for column in row if column in old} for row in after]
        assert in_order(shared) == in_order(with_text_ids(before[name]))
    assert rows(client, f"{dataset}.jobs") == before["jobs"]

    # What is done is not done again.
    assert upgrade(client, f"{PROJECT}.{dataset}", said.append) == []
    assert len(rows(client, f"{dataset}.labels")) == len(before["labels"])


class LostError(Exception):
    """The connection is lost."""


class LostConnection(bigquery.Client):
    """A client that is interrupted at one statement or call of an upgrade."""

    at = ""

    def query_and_wait(self, query: str, *arguments: Any, **options: Any) -> Any:
        if query.startswith(self.at):
            raise LostError
        return super().query_and_wait(query, *arguments, **options)

    def delete_table(self, table: Any, *arguments: Any, **options: Any) -> None:
        if self.at == "delete" and not options:
            raise LostError
        super().delete_table(table, *arguments, **options)


@pytest.mark.parametrize("at", ["INSERT", "delete", "ALTER"])
def test_an_interrupted_upgrade_goes_on(client: bigquery.Client, dataset: str, at: str) -> None:
    before = rows(client, f"{dataset}.labels")
    losing = LostConnection(PROJECT, credentials=AnonymousCredentials())
    losing.at = at
    with pytest.raises(LostError):
        upgrade(losing, f"{PROJECT}.{dataset}", print)
    assert upgrade(client, f"{PROJECT}.{dataset}", print) == [*CHANGED]
    assert {row["product_id"] for row in rows(client, f"{dataset}.labels")} == {
        str(row["image_id"]) for row in before
    }


def test_a_view_of_a_team_is_left_to_the_team(client: bigquery.Client, dataset: str) -> None:
    products = f"{PROJECT}.{dataset}.products"
    client.query_and_wait(f"CREATE TABLE `{products}_own` AS SELECT * FROM `{products}`")
    client.delete_table(products)
    view = bigquery.Table(products)
    view.view_query = f"SELECT * FROM `{products}_own`"
    client.create_table(view)
    with pytest.raises(UpgradeError, match=r"products is a view.*CAST\(image_id AS STRING\) AS product_id"):
        upgrade(client, f"{PROJECT}.{dataset}", print)
    assert len(rows(client, f"{dataset}.products")) == 12


def test_what_release_0_1_did_is_there_after_the_upgrade(
    cloud: LocalCloud, client: bigquery.Client, dataset: str
) -> None:
    bucket = f"upgrade-{uuid4().hex}"
    provision_buckets(PROJECT, bucket)
    objects, layout = CloudObjects(PROJECT), JobLayout(bucket, JOB)
    for path in (STATE / "objects").rglob("*"):
        if path.is_file():
            uri = f"{layout.root}/{path.relative_to(STATE / 'objects').as_posix()}"
            objects.create(uri, path.read_bytes(), "application/octet-stream")
    command = ("--bucket", bucket, "--dataset", dataset, "upgrade", "--yes")
    waiting = JobLayout(bucket, "still-open").accepted
    objects.create(waiting, b"{}", "application/json")
    assert "job 'still-open' is open: wait" in CommandLine(cloud).refused(*command)
    objects.delete(waiting)
    told = CommandLine(cloud).run(*command)
    assert told.returncode == 0, told.stderr
    assert "products: upgraded" in told.stderr
    provision_dataset(PROJECT, dataset)  # as `terraform apply` does next: views, and tables that are new

    assert [product.product_id for product in read_products(objects, layout, 0)][:2] == ["10011", "10023"]
    assert {each.product_id for each in read_predictions(objects, layout, 0)} >= {"10011", "10023"}
    emulators = {name: cloud.environment[name] for name in EMULATOR_VARIABLES}
    vitrine = Vitrine.connect(Target(PROJECT, bucket, bucket, dataset, emulators))
    results = vitrine.results(JOB)
    assert results.completed is not None
    assert results.completed.predictions == 10
    left = {
        (each.prediction.product_id, each.declared_label, each.label)
        for each in vitrine.tables.disagreements(JOB, head="article_type", limit=100)
    }
    assert ("10011", "Shorts", "Tshirts") in left
    assert {product_id for product_id, *_ in left} & {"10003", "10017"} == set()  # they were judged
    (correction,) = vitrine.tables.corrections(JOB)
    assert (correction.product_id, correction.corrected) == ("10017", "Tshirts")
