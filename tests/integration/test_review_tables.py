"""What reviewing needs of the tables, by one suite for both: the twin in memory, and BigQuery's emulator."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from services.client.google_cloud import BigQueryTables
from services.client.ports import EVERYTHING, Result, ResultFilter, Tables
from services.client.review import HumanLabel, Verdict, judgement
from services.local.cloud import LocalCloud
from services.local.provision import provision_dataset
from services.shared.errors import ImageErrorCode
from services.shared.events import Label, Prediction, Product
from services.shared.google_bigquery import BigQueryWarehouse
from services.shared.ports import Warehouse
from tests.unit.client_world import PipelineTables
from tests.unit.memory_pipeline import MemoryPipeline

PROJECT = "vitrine-local"
NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class World:
    """The tables of one kind, and how their rows come in."""

    tables: Tables
    warehouse: Warehouse
    name: str = ""  # of the dataset


@pytest.fixture(scope="module")
def emulators(cloud: LocalCloud) -> Iterator[None]:
    """Google's clients find the local cloud."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        yield


def new_world(kind: str) -> World:
    """Empty tables."""
    if kind == "memory":
        pipeline = MemoryPipeline([])
        return World(PipelineTables(pipeline), pipeline.warehouse)
    dataset = f"review_{uuid4().hex}"
    provision_dataset(PROJECT, dataset)
    return World(BigQueryTables(PROJECT, dataset), BigQueryWarehouse(PROJECT, dataset), dataset)


@pytest.fixture(scope="module", params=["memory", "google"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which tables."""
    if request.param == "google":
        request.getfixturevalue("emulators")
    return str(request.param)


@pytest.fixture(scope="module")
def dataset(kind: str) -> World:
    """Tables for all tests that change them."""
    return new_world(kind)


@pytest.fixture
def world(kind: str, dataset: World) -> World:
    """Empty tables."""
    if kind == "memory":
        return new_world(kind)
    client = bigquery.Client(PROJECT, credentials=AnonymousCredentials())
    for table in ("products", "predictions", "labels", "rejected"):
        client.query_and_wait(f"DELETE FROM `{PROJECT}.{dataset.name}.{table}` WHERE TRUE")
    return dataset


@pytest.fixture(scope="module")
def shop(kind: str) -> World:
    """Tables with JOB and SHOP, only to be looked at."""
    return stocked(new_world(kind))


@pytest.fixture
def reviewed(world: World) -> World:
    """Tables with JOB and SHOP, to be changed."""
    return stocked(world)


def predicted(
    image_id: int,
    job_id: str = "job",
    *,
    variant: str = "original",
    abstained: Sequence[str] = (),
    unfamiliar: bool | None = None,
    error: ImageErrorCode | None = None,
    at: datetime = NOW,
    **labels: Sequence[tuple[str, float]],
) -> Prediction:
    """A row; `labels` are (label, probability) pairs of each head, best first."""
    return Prediction(
        prediction_id=f"{job_id}-{image_id}-{variant}",
        job_id=job_id,
        image_id=image_id,
        image_uri=f"gs://bucket/jobs/{job_id}/images/{image_id}.jpg",
        variant=variant,
        model="fashion",
        model_version="7",
        heads=tuple(
            Label(head=head, rank=rank, label=label, probability=probability)
            for head, ranked in labels.items()
            for rank, (label, probability) in enumerate(ranked, start=1)
        ),
        abstained=tuple(abstained),
        unfamiliar=unfamiliar,
        error=error,
        predicted_at=at,
    )


def fill(world: World, predictions: Sequence[Prediction], products: Sequence[Product] = ()) -> None:
    world.warehouse.append("predictions", [row.model_dump() for row in predictions])
    if products:
        world.tables.merge_products(products)


def judge(
    world: World,
    row: Result,
    head: str,
    verdict: Verdict,
    label: str | None = None,
    *,
    at: datetime = NOW,
    by: str = "ada@example.com",
) -> HumanLabel:
    judged = judgement(
        row.prediction, head, verdict, label=label, declared=row.declared_label(head), by=by, at=at
    )
    world.tables.add_label(judged)
    return judged


def ids(rows: Sequence[Result] | Iterator[Result]) -> list[str]:
    return [row.prediction.prediction_id.removeprefix("job-").removesuffix("-original") for row in rows]


SHOP = [
    Product(image_id=1, article_type="Shirts", base_colour="Red"),
    Product(image_id=2, article_type="Shirts", base_colour="Blue"),
    Product(image_id=3, article_type="Tshirts", base_colour="Blue"),
    Product(image_id=4, article_type="Watches", base_colour="Red"),
    Product(image_id=5, article_type="Shirts"),
    Product(image_id=6, article_type="Tshirts"),
]
JOB = [
    # Both heads contradict the catalogue.
    predicted(1, article_type=[("Tshirts", 0.9), ("Shirts", 0.1)], base_colour=[("Blue", 0.6), ("Red", 0.4)]),
    # As declared.
    predicted(2, article_type=[("Shirts", 0.8), ("Tshirts", 0.2)], base_colour=[("Blue", 1.0)]),
    # Contradicts, but the model abstains.
    predicted(3, abstained=["article_type"], article_type=[("Shirts", 0.4), ("Tshirts", 0.35)]),
    # The model has no such label.
    predicted(4, article_type=[("Shirts", 0.7), ("Tshirts", 0.3)]),
    # Contradicts, but the photo is unlike the others.
    predicted(5, unfamiliar=True, article_type=[("Tshirts", 0.95), ("Shirts", 0.05)]),
    predicted(6, error="photo-missing"),
    # Of nothing that the catalogue has.
    predicted(7, article_type=[("Shirts", 0.55), ("Tshirts", 0.45)]),
    predicted(2, variant="augmented-0", article_type=[("Tshirts", 0.99)]),
]


def stocked(world: World) -> World:
    fill(world, [*JOB, predicted(2, "other", article_type=[("Watches", 1.0)])], SHOP)
    return world


# ------------------------------------------------------------------------------------- results


def test_disagreements_come_first_then_errors_then_the_rest_by_id(shop: World) -> None:
    assert ids(shop.tables.results("job", 100)) == ["1", "6", "2-augmented-0", "2", "3", "4", "5", "7"]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (EVERYTHING, ["1", "6", "2-augmented-0", "2", "3", "4", "5", "7"]),
        (ResultFilter(image_id=2), ["2-augmented-0", "2"]),
        (ResultFilter(head="base_colour"), ["1", "2"]),
        (ResultFilter(label="Shirts"), ["2", "3", "4", "7"]),
        (ResultFilter(head="base_colour", label="Shirts"), []),
        (ResultFilter(declared="Blue"), ["2"]),
        (ResultFilter(head="article_type", declared="Shirts"), ["1", "2-augmented-0", "2", "5"]),
        (ResultFilter(label="Tshirts", declared="Shirts"), ["1", "2-augmented-0", "5"]),
        (ResultFilter(error="photo-missing"), ["6"]),
        (ResultFilter(error="any"), ["6"]),
        (ResultFilter(error="photo-corrupt"), []),
        (ResultFilter(disagreements=True), ["1"]),
        (ResultFilter(disagreements=True, head="base_colour"), ["1"]),
        (ResultFilter(disagreements=True, head="base_colour", min_confidence=0.7), []),
        (ResultFilter(min_confidence=0.9), ["1", "2-augmented-0", "2", "5"]),
        (ResultFilter(min_confidence=1), ["2"]),
        (ResultFilter(abstained=True), ["3"]),
        (ResultFilter(abstained=False, label="Shirts"), ["2", "4", "7"]),
        (ResultFilter(unfamiliar=True), ["5"]),
        (ResultFilter(unfamiliar=False), ["1", "6", "2-augmented-0", "2", "3", "4", "7"]),
        (ResultFilter(unfamiliar=False, label="Tshirts", min_confidence=0.95), ["2-augmented-0"]),
        (ResultFilter(label="'; DROP TABLE predictions; --"), []),
    ],
    ids=str,
)
def test_a_filter_finds_its_rows(shop: World, where: ResultFilter, found: list[str]) -> None:
    assert ids(shop.tables.results("job", 100, where=where)) == found


def test_what_a_filter_finds_is_counted(shop: World) -> None:
    assert shop.tables.count("job", EVERYTHING) == len(JOB)
    assert shop.tables.count("job", ResultFilter(label="Tshirts", declared="Shirts")) == 3
    assert shop.tables.count("nobody", EVERYTHING) == 0


@pytest.mark.parametrize("size", [1, 3, 8])
def test_pages_have_every_row_once(shop: World, size: int) -> None:
    pages = [ids(shop.tables.results("job", size, offset=offset)) for offset in range(0, 9, size)]
    assert [row for page in pages for row in page] == ids(shop.tables.results("job", 100))


def test_what_is_read_whole_has_every_row_once_however_many(world: World) -> None:
    fill(world, [predicted(number, error="photo-missing") for number in range(1_500)])
    found = ids(world.tables.results("job", None))
    assert len(found) == 1_500
    assert set(found) == {str(number) for number in range(1_500)}


def test_the_row_of_an_upload_is_found_and_no_row_of_a_job(world: World) -> None:
    upload = predicted(1).model_copy(update={"prediction_id": "upload", "job_id": None})
    fill(world, [upload, predicted(2)])
    assert world.tables.prediction("upload") == upload
    assert world.tables.prediction("job-2-original") is None


def test_rejected_messages_are_found_by_their_id_and_the_newest_alone(world: World) -> None:
    def rejection(number: int) -> dict[str, Any]:
        names = ("rejection_id", "job_id", "message_id", "payload_uri", "payload_preview")
        row = {name: f"{name}-{number}" for name in names}
        at = {"published_at": NOW, "rejected_at": NOW + timedelta(seconds=number)}
        return (
            row | at | {"topic": "t", "subscription": "s", "attempts": 1, "reason": "r", "attributes": "{}"}
        )

    world.warehouse.append("rejected", [rejection(number) for number in range(3)])

    def found(job_id: str | None = None, **asked: Any) -> list[str]:
        return [row.rejection_id[-1] for row in world.tables.rejected(job_id, **asked)]

    assert found() == ["2", "1", "0"]
    assert found(limit=2) == ["2", "1"]
    assert found(rejection_id="rejection_id-1") == ["1"]
    assert found("job_id-0", limit=5) == ["0"]
    assert found(rejection_id="nobodys") == []


def test_an_offset_needs_no_limit(shop: World) -> None:
    assert ids(shop.tables.results("job", None, offset=6)) == ["5", "7"]


def test_a_result_has_its_prediction_its_product_and_its_disagreements(shop: World) -> None:
    (row,) = shop.tables.results("job", None, where=ResultFilter(disagreements=True))
    assert row == Result(JOB[0], SHOP[0], ("article_type", "base_colour"))


# ------------------------------------------------------------------------------------- disagreements


def found(world: World, job_id: str | None = "job", head: str | None = None) -> list[tuple[int | None, str]]:
    doubts = world.tables.disagreements(job_id, head=head, limit=10)
    return [(doubt.prediction.image_id, doubt.head) for doubt in doubts]


def test_a_disagreement_says_what_contradicts_what(shop: World) -> None:
    doubt, other = shop.tables.disagreements("job", limit=10)
    assert (doubt.prediction, doubt.declared) == (JOB[0], SHOP[0])
    assert (doubt.head, doubt.label, doubt.declared_label) == ("article_type", "Tshirts", "Shirts")
    assert doubt.probability == 0.9
    assert (other.head, other.label, other.declared_label) == ("base_colour", "Blue", "Red")


def test_disagreements_are_ranked_paged_and_asked_for_by_head(shop: World) -> None:
    assert found(shop) == [(1, "article_type"), (1, "base_colour")]
    assert found(shop, head="base_colour") == [(1, "base_colour")]
    assert found(shop, head="season") == []
    (second,) = shop.tables.disagreements("job", limit=1, offset=1)
    assert second.head == "base_colour"


@pytest.mark.parametrize(
    ("verdict", "label"), [("accepted", None), ("corrected", "Jackets"), ("dismissed", None)]
)
def test_what_a_human_has_judged_is_not_asked_again(
    reviewed: World, verdict: Verdict, label: str | None
) -> None:
    (row,) = reviewed.tables.results("job", 1)
    judge(reviewed, row, "article_type", verdict, label)
    assert found(reviewed) == [(1, "base_colour")]
    # Nor of another job's prediction of the same photo.
    contradicting = predicted(1, "next", article_type=[("Tshirts", 0.9), ("Shirts", 0.1)])
    fill(reviewed, [contradicting])
    assert found(reviewed, "next") == []


def test_without_a_job_the_newest_prediction_of_each_photo_counts(world: World) -> None:
    def both(best: str, other: str) -> list[tuple[str, float]]:
        return [(best, 0.9), (other, 0.1)]

    fill(
        world,
        [
            # A newer model agrees with the catalogue.
            predicted(1, "old", at=NOW - timedelta(days=2), article_type=both("Tshirts", "Shirts")),
            predicted(1, "new", at=NOW - timedelta(days=1), article_type=both("Shirts", "Tshirts")),
            # A newer one contradicts it; that a later job could not read the photo says nothing.
            predicted(2, "old", at=NOW - timedelta(days=2), article_type=both("Shirts", "Tshirts")),
            predicted(2, "new", at=NOW - timedelta(days=1), article_type=both("Tshirts", "Shirts")),
            predicted(2, "last", error="photo-corrupt"),
            # Nobody classified it lately.
            predicted(5, "ancient", at=NOW - timedelta(days=31), article_type=both("Tshirts", "Shirts")),
        ],
        SHOP,
    )
    (doubt,) = world.tables.disagreements(None, limit=10)
    assert doubt.prediction.prediction_id == "new-2-original"
    judge(world, Result(doubt.prediction, doubt.declared, ()), "article_type", "dismissed")
    assert world.tables.disagreements(None, limit=10) == []


# ------------------------------------------------------------------------------------- labels


def test_a_verdict_comes_back_as_it_was(reviewed: World) -> None:
    (row,) = reviewed.tables.results("job", 1)
    judged = judge(reviewed, row, "article_type", "corrected", "Jackets")
    assert reviewed.tables.labels("job", 10) == [judged]
    assert (judged.predicted, judged.declared, judged.label) == ("Tshirts", "Shirts", "Jackets")


def test_the_last_verdict_of_a_photo_and_head_counts_newest_first(reviewed: World) -> None:
    rows = {row.prediction.image_id: row for row in reviewed.tables.results("job", None)}
    judge(reviewed, rows[1], "article_type", "accepted", at=NOW - timedelta(minutes=3))
    other = judge(reviewed, rows[1], "base_colour", "dismissed", at=NOW - timedelta(minutes=2))
    last = judge(reviewed, rows[1], "article_type", "corrected", "Jackets", at=NOW - timedelta(minutes=1))
    newest = judge(reviewed, rows[4], "article_type", "accepted")
    assert reviewed.tables.labels("job", 10) == [newest, last, other]
    assert reviewed.tables.labels(None, 2) == [newest, last]
    assert reviewed.tables.labels("another", 10) == []


def test_a_verdict_that_is_sent_twice_counts_once(reviewed: World) -> None:
    (row,) = reviewed.tables.results("job", 1)
    first = judge(reviewed, row, "article_type", "accepted", at=NOW - timedelta(minutes=1))
    again = judge(reviewed, row, "article_type", "accepted")
    assert first.label_id == again.label_id
    assert reviewed.tables.labels(None, 10) == [again]


def test_uploads_without_a_product_are_each_judged_for_themselves(world: World) -> None:
    rows = [
        predicted(number, article_type=[("Shirts", 0.9)]).model_copy(update={"image_id": None})
        for number in (1, 2)
    ]
    for row in rows:
        judge(world, Result(row, None, ()), "article_type", "accepted")
    assert sorted(label.image_uri for label in world.tables.labels(None, 10)) == [
        row.image_uri for row in rows
    ]


# ------------------------------------------------------------------------------------- quality


def test_quality_against_the_catalogue(shop: World) -> None:
    quality = shop.tables.quality("job", "article_type", "catalogue")
    assert (quality.job_id, quality.head, quality.against) == ("job", "article_type", "catalogue")
    # Watches are unknown to the model, product 7 to the catalogue; variants and errors do not count.
    assert (quality.photos, quality.left_out) == (4, 1)
    assert [(each.truth, each.predicted, each.photos) for each in quality.confusion] == [
        ("Shirts", "Shirts", 1),
        ("Shirts", "Tshirts", 2),
        ("Tshirts", "Shirts", 1),
    ]
    assert quality.accuracy == 0.25
    assert quality.coverage == 0.5
    assert quality.answered_accuracy == 0.5
    assert [(bin.lower, bin.photos) for bin in quality.bins if bin.photos] == [(0.4, 1), (0.8, 1), (0.9, 2)]
    assert quality.bins[9].confidence == pytest.approx(0.925)


def test_quality_against_humans_takes_their_last_word(reviewed: World) -> None:
    rows = {row.prediction.image_id: row for row in reviewed.tables.results("job", None)}
    judge(reviewed, rows[1], "article_type", "accepted")
    judge(reviewed, rows[3], "article_type", "corrected", "Jackets")
    judge(reviewed, rows[4], "article_type", "accepted", at=NOW - timedelta(minutes=1))
    judge(reviewed, rows[4], "article_type", "corrected", "Watches")
    judge(reviewed, rows[5], "article_type", "dismissed")
    judge(reviewed, rows[1], "base_colour", "corrected", "Red")
    quality = reviewed.tables.quality("job", "article_type", "labels")
    assert (quality.photos, quality.left_out) == (3, 1)
    assert sorted((each.truth, each.predicted) for each in quality.confusion) == [
        ("Jackets", "Shirts"),
        ("Tshirts", "Tshirts"),
        ("Watches", "Shirts"),
    ]


def test_what_was_accepted_is_the_truth_for_a_later_model_too(reviewed: World) -> None:
    (row,) = reviewed.tables.results("job", 1)
    judge(reviewed, row, "article_type", "accepted")
    fill(reviewed, [predicted(1, "next", article_type=[("Shirts", 0.9), ("Tshirts", 0.1)])])
    (wrong,) = reviewed.tables.quality("next", "article_type", "labels").confusion
    assert (wrong.truth, wrong.predicted) == ("Tshirts", "Shirts")


def test_quality_of_nothing_is_nothing(world: World) -> None:
    quality = world.tables.quality("nobody", "article_type", "labels")
    assert (quality.photos, quality.accuracy, quality.ece, quality.classes) == (0, 0.0, 0.0, ())
