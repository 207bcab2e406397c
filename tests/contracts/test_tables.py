"""The table files against the models whose rows they hold, and the views against the tables."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from services.client.erasing import Erasure
from services.client.review import HumanLabel
from services.local.provision import view_query
from services.recording import stage as recording
from services.shared.audits import AuditedLabel
from services.shared.catalogue import product_row
from services.shared.catalogue_config import bundled_config
from services.shared.events import (
    Declared,
    HeadPhoto,
    HeadValue,
    JobCompleted,
    Label,
    MessageRejected,
    Prediction,
    Product,
)
from services.shared.memory import MemoryObjects, MemoryWarehouse
from services.shared.wiring import SCHEMAS
from tests.contracts.shapes import Shape, shapes

LAYOUTS: dict[str, dict[str, Any]] = yaml.safe_load((SCHEMAS / "tables.yaml").read_text())
TYPES: dict[type[Any], str] = {
    bool: "BOOL",
    datetime: "TIMESTAMP",
    float: "FLOAT64",
    int: "INT64",
    str: "STRING",
}


def columns(table: str) -> list[dict[str, Any]]:
    file: list[dict[str, Any]] = json.loads((SCHEMAS / "tables" / f"{table}.json").read_text())
    return file


def column_of(name: str, shape: Shape) -> dict[str, str]:
    """The column that a model's field is stored in."""
    nested = issubclass(shape.type, BaseModel)
    mode = "REPEATED" if shape.repeated else "NULLABLE" if shape.nullable else "REQUIRED"
    return {"name": name, "type": "RECORD" if nested else TYPES[shape.type], "mode": mode}


def without(column: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in column.items() if key not in keys}


@pytest.mark.parametrize(
    ("table", "model"),
    [
        ("predictions", Prediction),
        ("jobs", JobCompleted),
        ("labels", HumanLabel),
        ("audited_labels", AuditedLabel),
        ("erased", Erasure),
    ],
)
def test_a_table_has_the_columns_of_its_model(table: str, model: type[BaseModel]) -> None:
    stored = [without(column, "description", "fields") for column in columns(table)]
    assert stored == [column_of(name, shape) for name, shape in shapes(model).items()]


def test_products_has_the_columns_of_its_rows() -> None:
    row = product_row(Product.of("1"), bundled_config())
    assert sorted(row) == sorted(column["name"] for column in columns("products"))


def test_the_records_of_a_prediction_have_the_fields_of_their_models() -> None:
    nested = {column["name"]: column for column in columns("predictions") if column["type"] == "RECORD"}
    models: dict[str, type[BaseModel]] = {
        "heads": Label,
        "declared": Declared,
        "decided": HeadPhoto,
        "misfits": HeadPhoto,
        "head_values": HeadValue,
    }
    assert nested.keys() == models.keys()
    for name, model in models.items():
        stored = [without(column, "description") for column in nested[name]["fields"]]
        assert stored == [column_of(field, shape) for field, shape in shapes(model).items()]


def test_what_came_to_a_table_later_stands_at_its_end_and_may_be_missing() -> None:
    """Terraform and the local cloud add columns to a table that has rows: BigQuery takes no others."""
    later = [*columns("predictions")[-6:], *columns("products")[-2:]]
    assert [(column["name"], column["mode"]) for column in later] == [
        ("declared", "REPEATED"),
        ("learnt", "NULLABLE"),
        ("photo_number", "NULLABLE"),
        ("decided", "REPEATED"),
        ("misfits", "REPEATED"),
        ("head_values", "REPEATED"),
        ("photos", "REPEATED"),
        ("attributes", "NULLABLE"),
    ]


def recorded(**attributes: str) -> dict[str, Any]:
    """The row that a rejected message with these attributes of its own becomes."""
    objects = MemoryObjects()
    warehouse = MemoryWarehouse(objects)
    recording.record_rejection(
        MessageRejected(
            data=b"\xff\xfe",
            original_attributes=attributes,
            topic="batch-staged",
            subscription="batch-staged-to-inference",
            message_id="7",
            attempts=2,
            reason="images: Field required",
            published_at=datetime.now(UTC),
        ),
        recording.Ports(objects, warehouse, clock=lambda: datetime.now(UTC), bucket="bucket"),
    )
    (row,) = warehouse.tables["rejected"]
    return dict(row)


def test_rejected_has_the_columns_of_what_is_recorded() -> None:
    row, stored = recorded(job_id="job"), columns("rejected")
    assert [(name, TYPES[type(value)]) for name, value in row.items()] == [
        (column["name"], column["type"]) for column in stored
    ]


def test_rejected_requires_only_what_is_always_known() -> None:
    row = recorded()
    unknown = [name for name, value in row.items() if value is None]
    assert unknown == ["job_id"]
    assert [column["mode"] for column in columns("rejected") if column["name"] in unknown] == ["NULLABLE"]


def test_every_column_says_what_it_holds() -> None:
    described = [
        column for table in LAYOUTS for each in columns(table) for column in (each, *each.get("fields", []))
    ]
    assert [column["name"] for column in described if not column.get("description")] == []


@pytest.mark.parametrize("table", LAYOUTS)
def test_a_layout_names_columns_of_its_table(table: str) -> None:
    types = {column["name"]: column["type"] for column in columns(table)}
    assert set(LAYOUTS[table]) <= {"partition_by", "cluster_by"}
    assert set(LAYOUTS[table]["cluster_by"]) <= types.keys()
    # BigQuery clusters by at most four.
    assert 1 <= len(LAYOUTS[table]["cluster_by"]) <= 4
    if "partition_by" in LAYOUTS[table]:
        assert types[LAYOUTS[table]["partition_by"]] == "TIMESTAMP"


@pytest.mark.parametrize("path", sorted((SCHEMAS / "views").glob("*.sql")), ids=lambda path: path.stem)
def test_a_view_reads_tables_and_columns_that_exist(path: Path) -> None:
    query = view_query(path, "a-project", "a_dataset")
    tables = re.findall(r"`a-project\.a_dataset\.(\w+)`", query)
    assert tables
    assert set(tables) <= LAYOUTS.keys()
    known = {column["name"] for table in tables for column in columns(table)}
    # Nothing is quoted but table names, each in full, and columns.
    without_comments = re.sub(r"^--.*", "", query, flags=re.MULTILINE)
    quoted = set(re.findall(r"`([^`]*)`", without_comments)) - known
    assert quoted == {f"a-project.a_dataset.{table}" for table in tables}
    named = re.findall(r"(?:PARTITION|ORDER) BY (\w+)", query)
    assert named
    assert set(named) <= known
