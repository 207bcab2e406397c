"""Several values and NOT_APPLICABLE in the tables, by one suite: in memory, and on BigQuery's emulator."""

from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest

from services.client.correction_exports import export
from services.client.google_cloud import BigQueryTables
from services.client.ports import ResultFilter
from services.local.cloud import LocalCloud
from services.local.provision import provision_dataset
from services.shared.catalogue_config import CatalogueConfig
from services.shared.events import Declared, HeadValue, Prediction, Product
from services.shared.google_bigquery import BigQueryWarehouse
from tests.integration.test_review_tables import PROJECT, World, fill, ids, judge, predicted
from tests.unit.client_world import PipelineTables
from tests.unit.memory_pipeline import MemoryPipeline

CONFIG = CatalogueConfig.model_validate(
    {
        "id": "sku",
        "attributes": {
            "garment": {},
            "sleeve": {"applies_to": {"garment": ["Shirt", "Dress"]}},
            "worn_on": {"type": "values"},
        },
    }
)


def row(
    product_id: str, garment: str, sleeve: str, worn_on: Sequence[str], declared: Sequence[Declared] = ()
) -> Prediction:
    made = predicted(
        product_id,
        garment=[(garment, 0.9)],
        sleeve=[(sleeve, 0.8), ("Short" if sleeve == "Long" else "Long", 0.1)],
        worn_on=[(" | ".join(worn_on), 0.7)],
        declared=declared,
    )
    values = tuple(HeadValue(head="worn_on", value=value, probability=0.9) for value in worn_on)
    return made.model_copy(update={"head_values": values})


def worn(label: str, probability: float) -> Declared:
    return Declared(head="worn_on", label=label, known=label, probability=probability)


SHOP = [
    Product.of("1", garment="Dress", sleeve="Long", worn_on=("upper", "lower")),
    Product.of("2", garment="Dress", sleeve="Short", worn_on=("upper",)),
    # Nothing is declared where nothing should be.
    Product.of("3", garment="Shoes", worn_on=("feet",)),
    # It should have no sleeves.
    Product.of("4", garment="Shoes", sleeve="Long"),
    Product.of("5", garment="Dress"),
]
JOB = [
    row("1", "Dress", "Long", ["lower", "upper"], [worn("lower | upper", 0.7)]),
    row("2", "Dress", "Long", ["lower", "upper"], [worn("upper", 0.2)]),
    row("3", "Shoes", "Not applicable", ["feet"], [worn("feet", 0.9)]),
    row(
        "4",
        "Shoes",
        "Not applicable",
        ["feet"],
        [Declared(head="sleeve", label="Long", known="Long", probability=0.1)],
    ),
    row("5", "Shoes", "Not applicable", ["feet"]),
]


@pytest.fixture(params=["memory", "google"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        pipeline = MemoryPipeline([], config=CONFIG)
        made = World(PipelineTables(pipeline), pipeline.warehouse)
        fill(made, JOB, SHOP)
        yield made
        return
    cloud: LocalCloud = request.getfixturevalue("cloud")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        dataset = f"several_{uuid4().hex}"
        provision_dataset(PROJECT, dataset)
        tables = BigQueryTables(PROJECT, dataset, CONFIG)
        made = World(tables, BigQueryWarehouse(PROJECT, dataset), dataset)
        fill(made, JOB, SHOP)
        yield made


def test_sets_and_what_does_not_apply_are_compared_filtered_measured_and_corrected(world: World) -> None:
    tables = world.tables
    rows = {each.prediction.product_id: each for each in tables.results("job", None)}

    # Rows come back whole, and sets are compared as such, whatever the catalogue's order.
    assert {each.product_id: each for each in JOB} == {name: each.prediction for name, each in rows.items()}
    assert [
        (each.prediction.product_id, each.head, each.declared_label, each.label, each.declared_probability)
        for each in tables.disagreements("job", limit=20)
        if each.head != "garment"
    ] == [
        ("2", "sleeve", "Short", "Long", 0.1),
        ("4", "sleeve", "Long", "Not applicable", 0.1),
        ("2", "worn_on", "upper", "lower | upper", 0.2),
    ]

    # A filter by one of the values finds all answers that have it.
    where = ResultFilter(head="worn_on", label="upper")
    assert sorted(ids(tables.results("job", None, where=where))) == ["1", "2"]
    assert tables.count("job", where) == 2
    assert ids(tables.results("job", None, where=ResultFilter(head="worn_on", declared="lower | upper"))) == [
        "1"
    ]

    # What should have no value, and has none, is right if the model says so.
    quality = tables.quality("job", "sleeve", "catalogue")
    confusion = {(each.truth, each.predicted): each.photos for each in quality.confusion}
    assert confusion[("Not applicable", "Not applicable")] == 1
    assert confusion[("Long", "Not applicable")] == 1
    assert confusion[("Long", "Long")] == 1

    # A correction sets all values; that nothing is declared where nothing applies corrects nothing.
    label = judge(world, rows["2"], "worn_on", "corrected", "upper|lower |shoulders")
    assert label.label == "lower | shoulders | upper"
    judge(world, rows["3"], "sleeve", "accepted")
    judge(world, rows["4"], "sleeve", "accepted")
    assert {
        (each.product_id, each.attribute, each.declared, each.corrected, each.status)
        for each in tables.corrections()
    } == {
        ("2", "worn_on", "upper", "lower | shoulders | upper", "pending"),
        ("4", "sleeve", "Long", "Not applicable", "pending"),
    }
    assert (
        "2,worn_on,upper,lower | shoulders | upper,"
        in export(tables.corrections(), "csv", tables.product_table).text
    )
    assert export(tables.corrections(), "merge", tables.product_table).left_out == ()
    tables.merge_products(
        [
            Product.of("2", garment="Dress", sleeve="Short", worn_on=("upper", "shoulders", "lower")),
            Product.of("4", garment="Shoes", sleeve="Not applicable"),
        ]
    )
    assert {each.status for each in tables.corrections()} == {"applied"}
    left = {(each.prediction.product_id, each.head) for each in tables.disagreements("job", limit=20)}
    assert not left & {("2", "worn_on"), ("4", "sleeve")}
