"""Erasing products in a whole pipeline in memory: what goes, what stays, and what an interruption leaves."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.client.client import parse_request
from services.client.erasing import Erasing, Found
from services.client.errors import ClientError
from services.client.review import judgement
from services.model.learnt import LEARNT_FILE, Learnt, photo_digest
from services.recording.stage import HANDLERS, Ports
from services.shared.audits import AuditRequest
from services.shared.events import MessageRejected, Product
from services.shared.layout import AuditLayout, JobLayout, fetched_uri, photo_uri
from services.training.snapshot import Shard
from tests.unit.audit_world import COLOURS, ColourEmbedder, photo
from tests.unit.client_world import World
from tests.unit.erasing_world import MemoryRows
from tests.unit.memory_pipeline import BUCKET

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
AUGMENTED: Mapping[str, Any] = {
    "augmentation": {"copies": 2, "flip": {"horizontal": 0.5}},
    "classify": "both",
}

type State = tuple[Mapping[str, bytes], Mapping[str, Sequence[Mapping[str, Any]]]]


class Shop:
    """Products with photos, a pipeline, and what erases from them."""

    def __init__(self, *ids: str, bundled: Path = Path("/nowhere")) -> None:
        labels = [*COLOURS]
        self.products = [Product.of(each, article_type=labels[number % 3]) for number, each in enumerate(ids)]
        self.world = World(self.products)
        self.pipeline = self.world.pipeline
        self.photos = {each: photo(labels[number % 3], number) for number, each in enumerate(ids)}
        for each, data in self.photos.items():
            self.pipeline.objects.put(photo_uri(BUCKET, each), data)
        self.rows = MemoryRows(
            self.pipeline.warehouse,
            lambda: self.pipeline.catalogue.products,
            self._forget,
        )
        self.erasing = Erasing(self.world.vitrine, self.rows, lambda: NOW, bundled)

    def _forget(self, ids: Sequence[str]) -> None:
        kept = [each for each in self.pipeline.catalogue.products if each.product_id not in ids]
        self.pipeline.catalogue.products[:] = kept

    def job(self, job_id: str = "spring", **request: Any) -> None:
        """A job that has ended."""
        self.world.vitrine.request(parse_request(json.dumps({"job_id": job_id, **request})))
        self.pipeline.run()

    def upload(self, name: str) -> None:
        """A photo that was dropped into the upload bucket and classified."""
        generation = self.pipeline.objects.put(f"gs://uploads/{name}", photo("Jeans", 99))
        resource = {"bucket": "uploads", "name": name, "generation": generation}
        self.pipeline.publish(
            "image-uploaded", json.dumps(resource).encode(), {"eventType": "OBJECT_FINALIZE"}
        )
        self.pipeline.run()

    def review(self, product_id: str, job_id: str = "spring") -> None:
        prediction = next(
            each
            for each in self.world.tables.predictions()
            if (each.job_id, each.product_id, each.variant) == (job_id, product_id, "original")
        )
        judged = judgement(
            prediction, "article_type", "dismissed", label=None, declared=None, by="ann", at=NOW, comment=None
        )
        self.world.tables.add_label(judged)

    def reject(self, message_id: str, data: bytes) -> None:
        """A message that was rejected."""
        ports = Ports(self.pipeline.objects, self.pipeline.warehouse, clock=lambda: NOW, bucket=BUCKET)
        message = MessageRejected(
            data=data,
            original_attributes={},
            topic="batch-selected",
            subscription="batch-selected-to-staging",
            message_id=message_id,
            attempts=1,
            reason="",
            published_at=NOW,
        )
        HANDLERS[MessageRejected](message, ports)

    def audit(self, audit_id: str = "autumn") -> None:
        """An audit that has ended."""
        from services.audit import job

        ports = job.Ports(
            self.pipeline.objects, self.pipeline.catalogue, self.pipeline.warehouse, lambda: NOW, BUCKET
        )
        request = AuditRequest(audit_id=audit_id, attributes=("article_type",), folds=2)
        job.audit(request, ports, lambda pinned: ColourEmbedder(), lambda line: None)

    def snapshot(self, run: str, key: str, data: bytes) -> None:
        """A training snapshot of one photo."""
        shard = Shard(
            several=np.empty((1, 0), np.int8),
            keys=np.array([key]),
            pixels=np.zeros((1, 2, 2, 3), np.uint8),
            targets=np.zeros((1, 1), np.int16),
            origins=np.array(["photo"]),
            years=np.zeros(1, np.int16),
            photos=np.array([photo_digest(data)], np.uint64),
        )
        self.pipeline.objects.put(f"gs://{BUCKET}/training/{run}/snapshot/shards/{key}.npz", shard.to_bytes())

    def model(self, version: str, folder: Path, *learnt: bytes) -> None:
        """A published version that was trained on these photos."""
        Learnt.of(map(photo_digest, learnt)).save(folder / LEARNT_FILE)
        uri = f"gs://{BUCKET}/models/free/{version}/{LEARNT_FILE}"
        self.pipeline.objects.put(uri, (folder / LEARNT_FILE).read_bytes())

    def look(self, *ids: str) -> Found:
        return self.erasing.look(ids)

    def erase(self, *ids: str) -> None:
        self.erasing.erase(self.look(*ids), "ann")

    def erased(self) -> list[Mapping[str, Any]]:
        """The records."""
        return [*self.pipeline.warehouse.tables.get("erased", [])]

    def state(self) -> State:
        """All objects and all rows but the records."""
        objects = self.pipeline.objects
        stored = {uri: objects.read(uri).data for uri in objects.names("gs://")}
        tables = {**self.pipeline.warehouse.tables, "products": self._products()}
        return stored, {name: [*rows] for name, rows in tables.items() if name != "erased"}

    def _products(self) -> list[Mapping[str, Any]]:
        return [each.model_dump() for each in self.pipeline.catalogue.products]


def busy(*ids: str) -> Shop:
    """A shop where everything that can hold a product does."""
    shop = Shop(*ids)
    shop.job(**AUGMENTED)
    for each in ids:
        shop.review(each)
    shop.audit()
    return shop


def about(line: bytes) -> str | None:
    found: str | None = json.loads(line).get("product_id")
    return found


def without(state: State, product_id: str) -> State:
    """What is to be left of a state when a product is gone, said in another way than the code does."""
    objects, tables = state
    job, audit = JobLayout(BUCKET, "spring"), AuditLayout(BUCKET, "autumn")
    gone = {photo_uri(BUCKET, product_id), audit.embeddings(0)}
    gone |= {job.image(product_id, variant) for variant in ("original", "augmented-0", "augmented-1")}
    left = {}
    for uri, data in objects.items():
        if uri in gone:
            continue
        if uri.endswith(".ndjson") and "/ledger/" not in uri:
            lines = data.splitlines(keepends=True)
            data = b"".join(line for line in lines if about(line) != product_id)
        left[uri] = data
    return left, {
        name: [row for row in rows if row.get("product_id") != product_id] for name, rows in tables.items()
    }


# Ids that differ in what names and patterns could confuse.
PIECES = st.sampled_from(
    ["1", "2", "12", "-", "-1", ".jpg", ".", "/", "%", "%2F", "..", "*", "ä", "Ä", "🧥", "#", "_", "'"]
)
IDS = st.lists(PIECES, min_size=1, max_size=4).map("".join)


@settings(max_examples=25, deadline=None)
@given(st.lists(IDS, min_size=2, max_size=5, unique=True), st.data())
def test_exactly_the_product_goes_whatever_the_ids_are(ids: list[str], data: st.DataObject) -> None:
    shop = busy(*ids)
    product_id = data.draw(st.sampled_from(ids))
    expected = without(shop.state(), product_id)
    shop.erase(product_id)
    assert shop.state() == expected
    assert [row["product_id"] for row in shop.erased()] == [product_id]


@pytest.mark.parametrize(
    ("product_id", "neighbour"),
    [("12", "123"), ("12", "12-1"), ("12", "12.jpg"), ("a/b", "a%2Fb"), ("a", "A"), ("x" * 160, "x" * 161)],
)
def test_a_product_whose_id_another_one_begins_with_goes_alone(product_id: str, neighbour: str) -> None:
    for erased, left in ((product_id, neighbour), (neighbour, product_id)):
        shop = busy(erased, left)
        expected = without(shop.state(), erased)
        shop.erase(erased)
        assert shop.state() == expected
        assert shop.look(left).traces[0].lines.total() == 6  # metadata, three predictions, two of the audit


def test_what_was_uploaded_under_the_id_goes_with_its_rows() -> None:
    shop = Shop("12", "13")
    for name in ("a/12.jpg", "b/12.PNG", "a/13.jpg", "a/12/13.jpg", "a/112.jpg"):
        shop.upload(name)
    shop.erase("12")
    left = shop.pipeline.objects.names("gs://uploads/")
    assert left == [f"gs://uploads/{name}" for name in ("a/112.jpg", "a/12/13.jpg", "a/13.jpg")]
    assert {row["product_id"] for row in shop.pipeline.warehouse.tables["predictions"]} == {"112", "13"}


def test_a_photo_with_another_extension_goes() -> None:
    shop = Shop("12")
    for name in ("12.webp", "12.JPEG", "12.5.jpg", "12.txt"):
        shop.pipeline.objects.put(f"gs://{BUCKET}/images/{name}", b"photo")
    shop.erase("12")
    left = shop.pipeline.objects.names(f"gs://{BUCKET}/images/")
    assert left == [f"gs://{BUCKET}/images/{name}" for name in ("12.5.jpg", "12.txt")]


def test_a_rejected_message_that_holds_the_product_goes() -> None:
    shop = Shop("12", "13")
    shop.reject("1", b'{"products": [{"product_id": "13"}, {"product_id" : "12"}]}')
    shop.reject("2", b'{"products": [{"product_id": "123"}, {"product_id": "13"}]}')
    shop.reject("3", b'{"bucket": "uploads", "name": "a/12.jpg", "generation": 1}')
    shop.reject("4", b'\xff{"product_id": "12", broken')
    shop.erase("12")
    (row,) = shop.pipeline.warehouse.tables["rejected"]
    assert row["message_id"] == "2"
    assert shop.pipeline.objects.names(f"gs://{BUCKET}/rejected/") == [row["payload_uri"]]


def test_what_release_0_1_wrote_of_the_product_goes() -> None:
    shop = Shop("12", "13")
    shop.job()
    file = JobLayout(BUCKET, "spring").metadata(0)
    shop.pipeline.objects.put(file, b'{"image_id":12,"gender":"Men"}\n{"image_id":13,"gender":"Men"}\n')
    shop.reject("1", b'{"products": [{"image_id": 13}, {"image_id": 12}]}')
    shop.erase("12")
    assert shop.pipeline.objects.read(file).data == b'{"image_id":13,"gender":"Men"}\n'
    assert shop.pipeline.warehouse.tables["rejected"] == []


def test_snapshots_and_models_that_hold_the_product_are_named(tmp_path: Path) -> None:
    shop = Shop("12", "13")
    ours, other, replaced = shop.photos["12"], shop.photos["13"], photo("Jeans", 50)
    shop.snapshot("by-id", "12", replaced)
    shop.snapshot("by-photo", "zip-7", ours)
    shop.snapshot("another", "13", other)
    shop.model("a", tmp_path, ours)
    shop.model("b", tmp_path, other)
    shop.model("c", tmp_path, other, replaced)
    mistakes = {"heads": {"usage": {"mistakes": [{"key": "12"}]}}}
    shop.pipeline.objects.put(f"gs://{BUCKET}/models/free/d/evaluation.json", json.dumps(mistakes).encode())
    shop.pipeline.objects.put(f"gs://{BUCKET}/models/free/e/{LEARNT_FILE}", b"damaged")
    before = {uri for uri in shop.state()[0] if "/images/" not in uri}
    shop.erase("12")
    (row,) = shop.erased()
    assert row["kept_in"] == tuple(
        f"gs://{BUCKET}/{name}"
        for name in (
            *("models/free/a", "models/free/c", "models/free/d", "models/free/e"),
            *("training/by-id/snapshot", "training/by-photo/snapshot"),
        )
    )
    assert before <= shop.state()[0].keys()


def test_the_bundled_model_is_named_if_it_was_trained_on_the_photo(tmp_path: Path) -> None:
    shop = Shop("12", "13", bundled=tmp_path)
    Learnt.of([photo_digest(shop.photos["12"])]).save(tmp_path / LEARNT_FILE)
    # A product of another catalogue that has the same id.
    (tmp_path / "evaluation.json").write_text('{"mistakes": [{"key": "13"}]}')
    found = shop.look("12", "13")
    assert [trace.kept_in for trace in found.traces] == [{"the bundled model"}, set()]


def test_a_dry_look_changes_nothing() -> None:
    shop = busy("12", "13")
    before = shop.state()
    (trace,) = shop.look("12").traces
    assert (len(trace.photos), len(trace.copies), len(trace.embeddings)) == (1, 3, 1)
    # The product, its three predictions, its review, its audited label.
    assert trace.rows == 6
    assert shop.state() == before


def test_the_record_says_who_and_when_and_a_repetition_changes_nothing() -> None:
    shop = busy("12", "13")
    shop.erase("12")
    assert shop.erased() == [{"product_id": "12", "erased_by": "ann", "erased_at": NOW, "kept_in": ()}]
    before = shop.state()
    shop.erase("12")
    assert (shop.state(), len(shop.erased())) == (before, 1)
    # One that comes again under the same id is erased again.
    shop.pipeline.objects.put(photo_uri(BUCKET, "12"), b"photo")
    shop.erase("12")
    assert (shop.state(), len(shop.erased())) == (before, 2)


def test_an_unknown_product_is_named_with_the_nearest_and_nothing_is_erased() -> None:
    shop = busy("90012", "90013")
    before = shop.state()
    with pytest.raises(
        ClientError, match="nothing was erased: there is no product '9012'; the nearest is '90012'"
    ):
        shop.erase("90013", "9012")
    assert (shop.state(), shop.erased()) == (before, [])


def test_an_open_job_or_audit_keeps_an_erasure_from_beginning() -> None:
    shop = busy("12", "13")
    shop.world.vitrine.request(parse_request('{"job_id": "summer"}'))
    objects = shop.pipeline.objects
    objects.put(AuditLayout(BUCKET, "winter").manifest, b"{}")
    before = shop.state()
    with pytest.raises(
        ClientError, match=r"nothing was erased: job 'summer' is open: .*; audit 'winter' is open"
    ):
        shop.erase("12")
    assert shop.state() == before
    objects.delete(AuditLayout(BUCKET, "winter").manifest)
    shop.pipeline.run()
    shop.erase("12")
    assert not shop.look("12").traces[0].is_there


def test_a_job_that_was_rejected_keeps_nobody_waiting() -> None:
    shop = Shop("12", "13")
    shop.pipeline.models.production = "1"
    shop.world.vitrine.request(parse_request('{"job_id": "summer", "model": "never"}'))
    shop.pipeline.run()
    assert not shop.pipeline.objects.exists(JobLayout(BUCKET, "summer").manifest)
    assert shop.look("12").waiting == []


def test_a_job_that_began_meanwhile_makes_the_erasure_be_repeated() -> None:
    shop = busy("12", "13")
    found = shop.look("12")
    shop.job("summer")
    with pytest.raises(ClientError, match=r"job 'summer' began meanwhile: repeat this command .*"):
        shop.erasing.erase(found, "ann")
    assert shop.erased() == []
    assert shop.look("12").traces[0].lines.total() == 2
    shop.erase("12")
    assert len(shop.erased()) == 1
    assert not shop.look("12").traces[0].is_there


def test_an_erasure_that_is_interrupted_anywhere_ends_whole_when_it_is_repeated(tmp_path: Path) -> None:
    def interrupted(steps: int) -> bool:
        """Erases until so many changes were made, then again; whether the first run was interrupted."""
        shop = busy("12", "13")
        shop.model("a", tmp_path, shop.photos["12"])
        expected = without(shop.state(), "12")
        made = 0

        def mortal(change: Callable[..., Any]) -> Callable[..., Any]:
            def changing(*arguments: Any) -> Any:
                nonlocal made
                made += 1
                if made > steps:
                    raise InterruptedError
                return change(*arguments)

            return changing

        objects, rows = shop.world.objects, shop.rows
        changes = [(objects, name) for name in ("put", "delete", "replace")]
        with_rows = [(rows, name) for name in ("delete", "delete_rejected", "record")]
        patches = [
            patch.object(owner, name, mortal(getattr(owner, name))) for owner, name in (*changes, *with_rows)
        ]
        for each in patches:
            each.start()
        try:
            shop.erase("12")
        except InterruptedError:
            ended = False
        else:
            ended = True
        finally:
            for each in patches:
                each.stop()
        shop.erase("12")
        assert shop.state() == expected
        assert {row["kept_in"] for row in shop.erased()} == {(f"gs://{BUCKET}/models/free/a",)}
        return not ended

    steps = 0
    while interrupted(steps):
        steps += 1
    # The marker, the rows, five objects, four files, the record, the marker again.
    assert steps == 13


def test_photos_that_were_fetched_from_web_addresses_are_erased() -> None:
    """Also those of an address that the catalogue has no more, and none of an id that begins the same."""
    own, other = "x" * 160, "x" * 160 + "a" * 32
    shop = Shop(own, other)
    web = ("https://shop.example/1.jpg", "https://shop.example/old.jpg")
    for product_id in (own, other):
        for address in web:
            shop.pipeline.objects.put(fetched_uri(BUCKET, product_id, address), photo("Jeans", 5))

    shop.erase(own)

    left = shop.pipeline.objects.names(f"gs://{BUCKET}/fetched/")
    assert left == sorted(fetched_uri(BUCKET, other, address) for address in web)


def test_photos_that_the_catalogue_names_are_erased_in_our_bucket_and_left_elsewhere() -> None:
    shop = Shop("1", "2", "3")
    objects, products = shop.pipeline.objects, shop.pipeline.catalogue.products
    own = f"gs://{BUCKET}/front/1.png"
    kept = (
        f"gs://{BUCKET}/front/both.png",
        f"gs://{BUCKET}/models/free/production.json",
        "gs://team/1.png",
        "https://shop.example/1.jpg",
        photo_uri(BUCKET, "3"),
    )
    shared, model, team, web, third = kept
    for uri in (own, shared, model, team):
        objects.put(uri, photo("Jeans", 7))
    named = {
        "1": ("front/1.png", shared, model, team, web, "front/gone.png", third),
        "2": ("front/both.png",),
    }
    products[:] = [each.model_copy(update={"photos": named.get(each.product_id, ())}) for each in products]

    (trace,) = shop.look("1").traces
    assert sorted(trace.photos) == sorted([own, photo_uri(BUCKET, "1")])
    shop.erase("1")

    assert not objects.exists(own)
    assert all(map(objects.exists, (shared, model, team, third)))
    (record,) = shop.erased()
    assert sorted(record["kept_in"]) == sorted(kept)


def test_an_erasure_that_was_interrupted_still_knows_where_the_photos_are() -> None:
    shop = Shop("1", "2")
    own = f"gs://{BUCKET}/front/1.png"
    shop.pipeline.objects.put(own, photo("Jeans", 7))
    products = shop.pipeline.catalogue.products
    products[:] = [each.model_copy(update={"photos": ("front/1.png",)}) for each in products[:1]]
    with (
        patch.object(shop.world.objects, "delete", side_effect=ConnectionError),
        pytest.raises(ConnectionError),
    ):
        shop.erase("1")
    assert not products
    assert shop.pipeline.objects.exists(own)

    shop.erase("1")

    assert not shop.pipeline.objects.exists(own)
    assert len(shop.erased()) == 1


def test_a_product_of_a_teams_table_of_which_nothing_is_kept_is_known() -> None:
    shop = Shop("1")
    shop.pipeline.objects.delete(photo_uri(BUCKET, "1"))
    with patch.object(shop.rows, "count", return_value={}):
        (trace,) = shop.look("1").traces
    assert (trace.is_known, trace.is_there) == (True, False)
