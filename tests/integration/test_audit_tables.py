"""What audits need of the tables, by one suite for both: the twin in memory, and BigQuery's emulator."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from services.client.ports import Audited
from services.client.review import judgement
from services.local.cloud import LocalCloud
from services.shared.audits import AuditedLabel
from services.shared.events import Product
from services.shared.jobs import ndjson
from tests.integration.test_review_tables import NOW, World, new_world, predicted

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture(scope="module", params=["memory", "google"])
def world(request: pytest.FixtureRequest, cloud: LocalCloud) -> Iterator[World]:
    """Tables with some audited labels, only to be looked at."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        made = new_world(request.param)
        rows = [
            audited("1", probability=0.2, best="Shirts", best_probability=0.7),
            audited("2", probability=0.1, best="Shirts", best_probability=0.8),
            audited("3", probability=0.1, best="Shirts", best_probability=0.9),
            audited("3", "season", probability=0.001, best="Winter", best_probability=0.9),
            audited("4", unjudged="photo-missing"),
            audited("5", probability=0.0001, best="Shirts", best_probability=0.9, learnt=True),
            audited("1", audit_id="spring", probability=0.5, best="Shirts", best_probability=0.5),
        ]
        made.warehouse.append("audited_labels", [row.model_dump() for row in rows])
        made.tables.merge_products([Product.of(each, display_name=f"Product {each}") for each in "13"])
        verdict = judgement(
            predicted("5", article_type=[("Shirts", 0.9)]), "article_type", "dismissed", by="ada", at=NOW
        )
        made.tables.add_label(verdict)
        yield made


def audited(
    product_id: str, head: str = "article_type", audit_id: str = "autumn", **said: object
) -> AuditedLabel:
    document = {
        "audit_id": audit_id,
        "product_id": product_id,
        "head": head,
        "declared": "Dresses",
        "known": "Dresses" if "probability" in said else None,
        "fold": 1,
        "model_version": "7",
        "audited_at": AT,
    }
    return AuditedLabel.model_validate(document | said)


def keys(found: Iterator[Audited]) -> list[tuple[str, str]]:
    return [(each.label.product_id, each.label.head) for each in found]


def test_suspects_are_ranked_by_the_probability_of_the_declared_label(world: World) -> None:
    expected = [("3", "season"), ("3", "article_type"), ("2", "article_type"), ("1", "article_type")]
    assert keys(world.tables.audited("autumn", limit=10)) == expected
    assert keys(world.tables.audited("autumn", limit=2)) == expected[:2]
    assert keys(world.tables.audited("autumn", head="article_type", limit=10)) == expected[1:]
    assert keys(world.tables.audited("spring", limit=10)) == [("1", "article_type")]
    assert keys(world.tables.audited("never", limit=10)) == []


def test_without_a_limit_there_is_every_row(world: World) -> None:
    found = keys(world.tables.audited("autumn", limit=None))
    types = [(product_id, "article_type") for product_id in "12345"]
    assert sorted(found) == sorted([*types, ("3", "season")])


def test_a_row_comes_back_as_it_was_written_beside_its_product(world: World) -> None:
    season, article_type, unknown, _ = world.tables.audited("autumn", limit=10)
    assert season.label == audited("3", "season", probability=0.001, best="Winter", best_probability=0.9)
    assert article_type.product is not None
    assert article_type.product.display_name == "Product 3"
    assert unknown.product is None
    (missing,) = [
        each.label for each in world.tables.audited("autumn", limit=None) if each.label.product_id == "4"
    ]
    assert missing == audited("4", unjudged="photo-missing")


@pytest.mark.parametrize("world", ["google"], indirect=True)
def test_rows_are_loaded_as_they_are_written(world: World, cloud: LocalCloud) -> None:
    from services.shared.google_cloud import CloudObjects

    bucket = cloud.environment["VITRINE_BUCKET"]
    rows = [audited(each, audit_id="loaded", probability=0.25, learnt=None) for each in "12"]
    for part, row in enumerate(rows):
        uri = f"gs://{bucket}/audits/loaded/rows/article_type-{part:06d}.ndjson"
        CloudObjects(cloud.environment["GOOGLE_CLOUD_PROJECT"]).create(uri, ndjson([row]), "application/json")
    for _ in range(2):
        world.warehouse.load(
            "audited_labels", f"gs://{bucket}/audits/loaded/rows/*.ndjson", "vitrine-audits-loaded"
        )
    found = sorted(world.tables.audited("loaded", limit=None), key=lambda each: each.label.product_id)
    assert [each.label for each in found] == rows
