"""What reviewing needs of the tables, by one suite for both: the twin in memory, and BigQuery's emulator."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from numpy.typing import NDArray

from services.client.google_cloud import BigQueryTables
from services.client.ports import EVERYTHING, Result, ResultFilter, Tables
from services.client.review import HumanLabel, Verdict, judgement
from services.inference.stage import Answer
from services.local.provision import provision_dataset
from services.shared.errors import ImageErrorCode
from services.shared.events import Declared, Label, Prediction, Product
from services.shared.google_bigquery import BigQueryWarehouse, table_schema_path
from services.shared.labels import Vocabulary
from services.shared.layout import photo_uri
from services.shared.ports import Warehouse
from tests.unit.client_world import PipelineTables
from tests.unit.memory_pipeline import BUCKET, MemoryPipeline
from tests.unit.photos import jpeg

PROJECT = "vitrine-local"
NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class World:
    """The tables of one kind, and how their rows come in."""

    tables: Tables
    warehouse: Warehouse
    name: str = ""  # of the dataset


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
    product_id: str,
    job_id: str = "job",
    *,
    variant: str = "original",
    abstained: Sequence[str] = (),
    unfamiliar: bool | None = None,
    error: ImageErrorCode | None = None,
    at: datetime = NOW,
    declared: Sequence[Declared] = (),
    learnt: bool | None = None,
    **labels: Sequence[tuple[str, float]],
) -> Prediction:
    """A row; `labels` are (label, probability) pairs of each head, best first."""
    return Prediction(
        prediction_id=f"{job_id}-{product_id}-{variant}",
        job_id=job_id,
        product_id=product_id,
        image_uri=f"gs://bucket/jobs/{job_id}/images/{product_id}.jpg",
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
        declared=tuple(declared),
        learnt=learnt,
    )


def article(label: str, known: str | None = None, probability: float | None = None) -> Declared:
    return Declared(head="article_type", label=label, known=known, probability=probability)


def colour(label: str, known: str | None = None, probability: float | None = None) -> Declared:
    return Declared(head="base_colour", label=label, known=known, probability=probability)


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
    Product.of("1", article_type="Shirts", base_colour="Red"),
    Product.of("2", article_type="Shirts", base_colour="Blue"),
    Product.of("3", article_type="Tshirts", base_colour="Blue"),
    Product.of("4", article_type="Watches", base_colour="Red"),
    Product.of("5", article_type=" SHIRTS"),
    Product.of("6", article_type="Tshirts"),
]
JOB = [
    # Both heads contradict the catalogue; the model was trained on this photo.
    predicted(
        "1",
        article_type=[("Tshirts", 0.9), ("Shirts", 0.1)],
        base_colour=[("Blue", 0.6), ("Red", 0.4)],
        declared=[article("Shirts", "Shirts", 0.1), colour("Red", "Red", 0.4)],
        learnt=True,
    ),
    # As declared.
    predicted(
        "2",
        article_type=[("Shirts", 0.8), ("Tshirts", 0.2)],
        base_colour=[("Blue", 1.0)],
        declared=[article("Shirts", "Shirts", 0.8), colour("Blue", "Blue", 1.0)],
    ),
    # Contradicts, and the model abstains.
    predicted(
        "3",
        abstained=["article_type"],
        article_type=[("Shirts", 0.4), ("Tshirts", 0.35)],
        declared=[article("Tshirts", "Tshirts", 0.35), colour("Blue")],
    ),
    # The model has no such label.
    predicted("4", article_type=[("Shirts", 0.7), ("Tshirts", 0.3)], declared=[article("Watches")]),
    # Contradicts, by a label that was not kept, and the photo is unlike the others.
    predicted(
        "5",
        unfamiliar=True,
        article_type=[("Tshirts", 0.95), ("Dresses", 0.03), ("Skirts", 0.01)],
        declared=[article(" SHIRTS", "Shirts", 0.005)],
    ),
    predicted("6", error="photo-missing"),
    # Of nothing that the catalogue has any more.
    predicted(
        "7",
        article_type=[("Shirts", 0.55), ("Tshirts", 0.45)],
        declared=[article("Tshirts", "Tshirts", 0.45)],
    ),
    predicted(
        "2",
        variant="augmented-0",
        article_type=[("Tshirts", 0.99)],
        declared=[article("Shirts", "Shirts", 0.01)],
    ),
]
ORDER = ["5", "1", "3", "6", "2-augmented-0", "2", "4", "7"]


def stocked(world: World) -> World:
    fill(world, [*JOB, predicted("2", "other", article_type=[("Watches", 1.0)])], SHOP)
    return world


# ------------------------------------------------------------------------------------- results


def test_disagreements_come_first_then_errors_then_the_rest_by_id(shop: World) -> None:
    assert ids(shop.tables.results("job", 100)) == ORDER


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (EVERYTHING, ORDER),
        (ResultFilter(product_id="2"), ["2-augmented-0", "2"]),
        (ResultFilter(head="base_colour"), ["1", "2"]),
        (ResultFilter(label="Shirts"), ["3", "2", "4", "7"]),
        (ResultFilter(head="base_colour", label="Shirts"), []),
        (ResultFilter(declared="Blue"), ["2"]),
        (ResultFilter(head="article_type", declared="Shirts"), ["1", "2-augmented-0", "2"]),
        (ResultFilter(label="Tshirts", declared="Shirts"), ["1", "2-augmented-0"]),
        (ResultFilter(error="photo-missing"), ["6"]),
        (ResultFilter(error="any"), ["6"]),
        (ResultFilter(error="photo-corrupt"), []),
        (ResultFilter(disagreements=True), ["5", "1", "3"]),
        (ResultFilter(disagreements=True, abstained=False), ["5", "1"]),
        (ResultFilter(disagreements=True, unfamiliar=False), ["1", "3"]),
        (ResultFilter(disagreements=True, head="base_colour"), ["1"]),
        (ResultFilter(disagreements=True, head="base_colour", min_confidence=0.7), []),
        (ResultFilter(min_confidence=0.9), ["5", "1", "2-augmented-0", "2"]),
        (ResultFilter(min_confidence=1), ["2"]),
        (ResultFilter(abstained=True), ["3"]),
        (ResultFilter(abstained=False, label="Shirts"), ["2", "4", "7"]),
        (ResultFilter(unfamiliar=True), ["5"]),
        (ResultFilter(unfamiliar=False), ["1", "3", "6", "2-augmented-0", "2", "4", "7"]),
        (ResultFilter(unfamiliar=False, label="Tshirts", min_confidence=0.95), ["2-augmented-0"]),
        (ResultFilter(label="'; DROP TABLE predictions; --"), []),
    ],
    ids=str,
)
def test_a_filter_finds_its_rows(shop: World, where: ResultFilter, found: list[str]) -> None:
    assert ids(shop.tables.results("job", 100, where=where)) == found


def test_what_a_filter_finds_is_counted(shop: World) -> None:
    assert shop.tables.count("job", EVERYTHING) == len(JOB)
    assert shop.tables.count("job", ResultFilter(label="Tshirts", declared="Shirts")) == 2
    assert shop.tables.count("nobody", EVERYTHING) == 0


@pytest.mark.parametrize("size", [1, 3, 8])
def test_pages_have_every_row_once(shop: World, size: int) -> None:
    pages = [ids(shop.tables.results("job", size, offset=offset)) for offset in range(0, 9, size)]
    assert [row for page in pages for row in page] == ids(shop.tables.results("job", 100))


def test_what_is_read_whole_has_every_row_once_however_many(world: World) -> None:
    fill(world, [predicted(str(number), error="photo-missing") for number in range(1_500)])
    found = ids(world.tables.results("job", None))
    assert len(found) == 1_500
    assert set(found) == {str(number) for number in range(1_500)}


def test_the_row_of_an_upload_is_found_and_no_row_of_a_job(world: World) -> None:
    upload = predicted("1").model_copy(update={"prediction_id": "upload", "job_id": None})
    fill(world, [upload, predicted("2")])
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
    assert ids(shop.tables.results("job", None, offset=6)) == ["4", "7"]


def test_a_result_has_its_prediction_its_product_and_its_disagreements(shop: World) -> None:
    (row,) = shop.tables.results("job", None, where=ResultFilter(disagreements=True, product_id="1"))
    assert row == Result(JOB[0], SHOP[0], ("article_type", "base_colour"))
    assert (row.declared_probability("article_type"), row.declared_probability("season")) == (0.1, None)


def test_a_tally_counts_the_photos_that_disagree_and_those_that_the_model_is_unsure_of(shop: World) -> None:
    counted = shop.tables.tally("job")
    assert (counted.photos, counted.predictions, counted.errors) == (7, 7, {"photo-missing": 1})
    assert (counted.disagreements, counted.unsure) == (3, 2)
    assert counted.heads == ("article_type", "base_colour")


# ------------------------------------------------------------------------------------- disagreements


def found(world: World, job_id: str | None = "job", **asked: Any) -> list[tuple[str | None, str]]:
    doubts = world.tables.disagreements(job_id, **{"limit": 20, **asked})
    return [(doubt.prediction.product_id, doubt.head) for doubt in doubts]


def test_a_disagreement_says_what_contradicts_what(shop: World) -> None:
    doubt, other = shop.tables.disagreements("job", limit=2, offset=1)
    assert (doubt.prediction, doubt.declared) == (JOB[0], SHOP[0])
    assert (doubt.head, doubt.label, doubt.declared_label) == ("article_type", "Tshirts", "Shirts")
    assert (doubt.probability, doubt.declared_probability) == (0.9, 0.1)
    assert (doubt.unsure, doubt.learnt) == (False, True)
    assert (other.head, other.label, other.declared_label) == ("article_type", "Shirts", "Tshirts")
    assert (other.unsure, other.learnt) == (True, None)


def test_disagreements_are_ranked_by_the_probability_of_what_is_declared_sure_or_not(shop: World) -> None:
    ranked = [("5", "article_type"), ("1", "article_type"), ("3", "article_type"), ("1", "base_colour")]
    assert found(shop) == ranked
    assert found(shop, unsure=True) == [ranked[0], ranked[2]]
    assert found(shop, unsure=False) == [ranked[1], ranked[3]]
    assert found(shop, head="base_colour") == [("1", "base_colour")]
    assert found(shop, head="season") == []
    assert found(shop, limit=2, offset=1) == ranked[1:3]


def test_the_answer_on_a_photo_does_not_depend_on_the_other_photos_of_the_job(world: World) -> None:
    alone = [
        row.model_copy(update={"job_id": f"job-{row.product_id}", "prediction_id": f"alone-{row.product_id}"})
        for row in JOB
        if row.product_id in ("1", "3", "4", "5")
    ]
    fill(world, [*JOB, *alone], SHOP)
    apart = [
        (doubt.declared_probability, doubt.prediction.product_id, doubt.head)
        for row in alone
        for doubt in world.tables.disagreements(row.job_id, limit=20)
    ]
    assert [(product_id, head) for _, product_id, head in sorted(apart)] == found(world)


SKIRTS = [
    Product.of(str(number), article_type=declared)
    for number, declared in enumerate(
        ["Dresses", "Skirts", "dresses", "skirts ", "DRESSES\N{NO-BREAK SPACE}", "Skirt", "SKIRTS", "Skirts"]
    )
]


class Wardrobe:
    """Calls everything a skirt, and dresses the fifth likeliest thing: the brighter, the less likely."""

    name = "wardrobe"
    version = "1"
    image_size = 4
    labels: Mapping[str, Sequence[str]] = {
        "article_type": ("Skirts", "Shorts", "Trousers", "Jeans", "Dresses", "Tshirts")
    }
    vocabulary = Vocabulary(labels)
    thresholds: Mapping[str, float] = {"article_type": 0.85}
    learnt = None

    def predict(self, image: NDArray[np.uint8]) -> Answer:
        dresses = 0.001 * (1 - float(image.mean()) / 255)
        likely = np.array([0.9, 0.05, 0.02, 0.01, dresses, 0.0], np.float32)
        return Answer({"article_type": likely})

    def pinned(self, version: str) -> "Wardrobe":
        return self

    def current(self) -> "Wardrobe":
        return self


def classified(products: Sequence[Product]) -> list[Prediction]:
    """What inference says of products whose photos are the brighter, the higher their ids are."""
    pipeline = MemoryPipeline(list(products))
    pipeline.ports["inference"] = replace(pipeline.ports["inference"], models=Wardrobe())
    for product in products:
        pipeline.objects.put(photo_uri(BUCKET, product.product_id), jpeg(20 * int(product.product_id)))
    pipeline.publish("classification-requested", b'{"job_id": "job"}')
    pipeline.run()
    return PipelineTables(pipeline).predictions()


def test_in_a_job_of_skirts_all_that_are_declared_dresses_are_found(world: World) -> None:
    fill(world, classified(SKIRTS), SKIRTS)
    doubts = world.tables.disagreements("job", limit=20)
    assert [doubt.prediction.product_id for doubt in doubts] == ["4", "2", "0"]
    assert [doubt.declared_label for doubt in doubts] == ["DRESSES\N{NO-BREAK SPACE}", "dresses", "Dresses"]
    assert {doubt.label for doubt in doubts} == {"Skirts"}
    assert [doubt.declared_probability for doubt in doubts] == sorted(
        doubt.declared_probability for doubt in doubts
    )
    assert world.tables.tally("job").disagreements == 3
    assert ids(world.tables.results("job", 3)) == [row.prediction.prediction_id for row in doubts]
    quality = world.tables.quality("job", "article_type", "catalogue")
    # The model has no Skirt.
    assert (quality.photos, quality.left_out) == (7, 1)
    assert [(each.truth, each.predicted, each.photos) for each in quality.confusion] == [
        ("Skirts", "Skirts", 4),
        ("Dresses", "Skirts", 3),
    ]


def test_a_value_that_was_changed_since_counts_as_far_as_the_row_tells(world: World) -> None:
    kept = [("Shirts", 0.7), ("Tshirts", 0.2), ("Tops", 0.05)]
    row = {"article_type": kept, "declared": [article("DRESSES", "Dresses", 0.001)]}
    values = ["DRESSES", "Dresses", "Shirts", "Tops", "Watches", "shirts", None]
    others = predicted("99", article_type=[("Watches", 0.9), ("Shirts", 0.1)])
    fill(
        world,
        [*(predicted(str(number), **row) for number in range(len(values))), others],  # type: ignore[arg-type]
        [Product.of(str(number), article_type=value) for number, value in enumerate(values)],
    )
    doubts = world.tables.disagreements("job", limit=20)
    assert [
        (each.prediction.product_id, each.declared_label, each.declared_probability) for each in doubts
    ] == [
        ("0", "DRESSES", 0.001),
        # Only written as the model writes it.
        ("1", "Dresses", 0.001),
        # One of the three labels that were kept.
        ("3", "Tops", 0.05),
    ]
    # Corrected to what the photo shows, or to what this row cannot tell of.
    quality = world.tables.quality("job", "article_type", "catalogue")
    assert (quality.photos, quality.left_out, quality.accuracy) == (4, 2, 0.25)


def test_rows_of_an_earlier_release_and_uploads_are_compared_by_their_three_labels(world: World) -> None:
    rows = [
        # Its declared label is one of the three.
        predicted("1", article_type=[("Shirts", 0.9), ("Tshirts", 0.06), ("Tops", 0.03)]),
        # It has at most the remaining probability, which is less than that of the third.
        predicted("2", article_type=[("Shirts", 0.5), ("Tops", 0.3), ("Jackets", 0.19)]),
        # It has at most the probability of the third.
        predicted("3", article_type=[("Shirts", 0.5), ("Tops", 0.1), ("Jackets", 0.02)], unfamiliar=True),
        # No photo shows that the model has such a label.
        predicted("4", article_type=[("Shirts", 0.9), ("Tshirts", 0.06), ("Tops", 0.03)]),
        predicted("5", article_type=[("Shirts", 0.9), ("Tshirts", 0.06), ("Tops", 0.03)]),
    ]
    types = ["Tshirts", "Tshirts", "Tshirts", "Watches", "Shirts"]
    products = [Product.of(str(number), article_type=each) for number, each in enumerate(types, start=1)]
    fill(world, rows, products)
    uploaded = {"job_id": None, "predicted_at": NOW + timedelta(minutes=1)}
    for job_id in ("job", None):
        doubts = world.tables.disagreements(job_id, limit=20)
        assert [each.prediction.product_id for each in doubts] == ["2", "3", "1"]
        assert [each.declared_probability for each in doubts] == pytest.approx([0.01, 0.02, 0.06])
        assert [each.unsure for each in doubts] == [False, True, False]
        assert {each.prediction.job_id for each in doubts} == {job_id}
        fill(world, [row.model_copy(update=uploaded) for row in rows])
    assert ids(world.tables.results("job", 3)) == ["2", "3", "1"]
    quality = world.tables.quality("job", "article_type", "catalogue")
    assert (quality.photos, quality.left_out, quality.accuracy) == (4, 1, 0.25)


@pytest.mark.parametrize(
    ("verdict", "label"), [("accepted", None), ("corrected", "Jackets"), ("dismissed", None)]
)
def test_what_a_human_has_judged_is_not_asked_again(
    reviewed: World, verdict: Verdict, label: str | None
) -> None:
    (row,) = reviewed.tables.results("job", 1, where=ResultFilter(product_id="1"))
    judge(reviewed, row, "article_type", verdict, label)
    assert found(reviewed, unsure=False) == [("1", "base_colour")]
    # Nor of another job's prediction of the same photo.
    contradicting = predicted("1", "next", article_type=[("Tshirts", 0.9), ("Shirts", 0.1)])
    fill(reviewed, [contradicting])
    assert found(reviewed, "next") == []


def test_without_a_job_the_newest_prediction_of_each_photo_counts(world: World) -> None:
    def both(best: str, other: str) -> list[tuple[str, float]]:
        return [(best, 0.9), (other, 0.1)]

    fill(
        world,
        [
            # A newer model agrees with the catalogue.
            predicted("1", "old", at=NOW - timedelta(days=2), article_type=both("Tshirts", "Shirts")),
            predicted("1", "new", at=NOW - timedelta(days=1), article_type=both("Shirts", "Tshirts")),
            # A newer one contradicts it; that a later job could not read the photo says nothing.
            predicted("2", "old", at=NOW - timedelta(days=2), article_type=both("Shirts", "Tshirts")),
            predicted("2", "new", at=NOW - timedelta(days=1), article_type=both("Tshirts", "Shirts")),
            predicted("2", "last", error="photo-corrupt"),
            # Nobody classified it lately.
            predicted("5", "ancient", at=NOW - timedelta(days=31), article_type=both("Tshirts", "Shirts")),
        ],
        SHOP,
    )
    (doubt,) = world.tables.disagreements(None, limit=10)
    assert doubt.prediction.prediction_id == "new-2-original"
    judge(world, Result(doubt.prediction, doubt.declared, ()), "article_type", "dismissed")
    assert world.tables.disagreements(None, limit=10) == []


@pytest.mark.usefixtures("emulators")
def test_a_table_of_an_earlier_release_gets_the_new_columns_and_keeps_its_rows() -> None:
    client = bigquery.Client(PROJECT, credentials=AnonymousCredentials())
    dataset = f"review_{uuid4().hex}"
    client.create_dataset(dataset)
    schema = client.schema_from_json(table_schema_path("predictions"))[:-2]
    client.create_table(bigquery.Table(f"{PROJECT}.{dataset}.predictions", schema=schema))
    row = JOB[0].model_dump(mode="json", exclude={"declared", "learnt"})
    assert client.insert_rows_json(f"{PROJECT}.{dataset}.predictions", [row]) == []
    for _ in range(2):
        provision_dataset(PROJECT, dataset)
    world = World(BigQueryTables(PROJECT, dataset), BigQueryWarehouse(PROJECT, dataset), dataset)
    fill(world, JOB[2:3], SHOP)
    doubts = world.tables.disagreements("job", limit=20)
    assert [doubt.prediction for doubt in doubts] == [
        JOB[0].model_copy(update={"declared": (), "learnt": None}),
        JOB[2],
        JOB[0].model_copy(update={"declared": (), "learnt": None}),
    ]


# ------------------------------------------------------------------------------------- labels


def test_a_verdict_comes_back_as_it_was(reviewed: World) -> None:
    (row,) = reviewed.tables.results("job", 1, where=ResultFilter(product_id="1"))
    judged = judge(reviewed, row, "article_type", "corrected", "Jackets")
    assert reviewed.tables.labels("job", 10) == [judged]
    assert (judged.predicted, judged.declared, judged.label) == ("Tshirts", "Shirts", "Jackets")


def test_the_last_verdict_of_a_photo_and_head_counts_newest_first(reviewed: World) -> None:
    rows = {row.prediction.product_id: row for row in reviewed.tables.results("job", None)}
    judge(reviewed, rows["1"], "article_type", "accepted", at=NOW - timedelta(minutes=3))
    other = judge(reviewed, rows["1"], "base_colour", "dismissed", at=NOW - timedelta(minutes=2))
    last = judge(reviewed, rows["1"], "article_type", "corrected", "Jackets", at=NOW - timedelta(minutes=1))
    newest = judge(reviewed, rows["4"], "article_type", "accepted")
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
        predicted(str(number), article_type=[("Shirts", 0.9)]).model_copy(update={"product_id": None})
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
    # The model has no Watches, the catalogue no product 7; variants and errors do not count.
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
    rows = {row.prediction.product_id: row for row in reviewed.tables.results("job", None)}
    judge(reviewed, rows["1"], "article_type", "accepted")
    judge(reviewed, rows["3"], "article_type", "corrected", "Jackets")
    judge(reviewed, rows["4"], "article_type", "accepted", at=NOW - timedelta(minutes=1))
    judge(reviewed, rows["4"], "article_type", "corrected", "Watches")
    judge(reviewed, rows["5"], "article_type", "dismissed")
    judge(reviewed, rows["1"], "base_colour", "corrected", "Red")
    quality = reviewed.tables.quality("job", "article_type", "labels")
    assert (quality.photos, quality.left_out) == (3, 1)
    assert sorted((each.truth, each.predicted) for each in quality.confusion) == [
        ("Jackets", "Shirts"),
        ("Tshirts", "Tshirts"),
        ("Watches", "Shirts"),
    ]


def test_what_was_accepted_is_the_truth_for_a_later_model_too(reviewed: World) -> None:
    (row,) = reviewed.tables.results("job", 1, where=ResultFilter(product_id="1"))
    judge(reviewed, row, "article_type", "accepted")
    fill(reviewed, [predicted("1", "next", article_type=[("Shirts", 0.9), ("Tshirts", 0.1)])])
    (wrong,) = reviewed.tables.quality("next", "article_type", "labels").confusion
    assert (wrong.truth, wrong.predicted) == ("Tshirts", "Shirts")


def test_quality_of_nothing_is_nothing(world: World) -> None:
    quality = world.tables.quality("nobody", "article_type", "labels")
    assert (quality.photos, quality.accuracy, quality.ece, quality.classes) == (0, 0.0, 0.0, ())
