"""An audit: what it finds, what it cannot judge, and that it ends alike however often it is interrupted."""

import json
import re
from collections.abc import Callable

import pytest

from services.audit.embeddings import PART_PRODUCTS
from services.audit.job import AuditError, audit
from services.model.learnt import Learnt, photo_digest
from services.shared.audits import AuditRequest, AuditSummary, find_summary
from services.shared.catalogue_config import bundled_config
from services.shared.events import Filters
from services.shared.layout import AuditLayout, photo_uri
from services.shared.memory import MemoryObjects
from services.shared.ports import Stored
from tests.unit.audit_world import BUCKET, NOW, ColourEmbedder, Shop, photo, ranked
from tests.unit.photos import BAD_PHOTOS

LAYOUT = AuditLayout(BUCKET, "autumn")


def test_wrong_labels_are_the_least_likely_ones() -> None:
    shop = Shop().fill(60)
    wrong = {"1000": "Jeans", "1004": "Dresses", "1008": "Shirts"}
    for product_id, label in wrong.items():
        shop.declare(product_id, label)

    summary = shop.audit()

    rows = shop.rows()
    assert set(ranked(rows.values())[:3]) == set(wrong)
    assert {product_id: rows[product_id].best for product_id in wrong} == {
        "1000": "Dresses",
        "1004": "Shirts",
        "1008": "Jeans",
    }
    found = summary.attributes["article_type"]
    assert (found.labels, found.judged, found.doubted, found.undeclared) == (3, 60, 3, 0)
    assert (summary.products, summary.photos, summary.pictures, summary.errors) == (60, 60, 60, {})
    row = rows["1000"]
    assert (row.declared, row.known, row.unjudged) == ("Jeans", "Jeans", None)
    assert (row.model_version, row.audited_at, row.learnt) == ("c1", NOW, None)
    assert row.fold in range(5)


def test_a_near_duplicate_does_not_vouch_for_a_wrong_label() -> None:
    shop = Shop().fill(60)
    # The same wrong label on many copies of one photo: whoever has learnt one of them agrees.
    for copy in range(8):
        shop.add(str(2000 + copy), photo("Dresses", 900, quality=80 + copy), article_type="Jeans")

    summary = shop.audit()

    rows = shop.rows()
    copies = [rows[str(2000 + copy)] for copy in range(8)]
    assert len({row.fold for row in copies}) == 1
    assert {row.best for row in copies} == {"Dresses"}
    assert set(ranked(rows.values())[:8]) == {row.product_id for row in copies}
    assert (summary.photos, summary.pictures) == (68, 61)


def test_labels_that_differ_in_case_and_blanks_are_one() -> None:
    shop = Shop().fill(60)
    shop.declare("1000", "dresses")
    shop.declare("1003", " DRESSES ")

    summary = shop.audit()

    rows = shop.rows()
    assert summary.attributes["article_type"].labels == 3
    assert (rows["1000"].declared, rows["1000"].known) == ("dresses", "Dresses")
    assert (rows["1003"].declared, rows["1003"].known) == (" DRESSES ", "Dresses")
    assert min(rows[product_id].probability or 0 for product_id in ("1000", "1003")) > 0.5


@pytest.mark.parametrize("folds", [2, 5])
def test_a_label_of_fewer_pictures_than_folds_is_not_judged(folds: int) -> None:
    shop = Shop().fill(60)
    for number in range(folds - 1):
        shop.add(str(2000 + number), photo("Dresses", 902 + number), article_type="Capes")
    # Copies make no more pictures.
    shop.add("2100", photo("Dresses", 902, quality=88), article_type="Capes")

    summary = shop.audit(folds=folds)

    row = shop.rows()["2000"]
    assert (row.declared, row.known, row.probability, row.unjudged) == ("Capes", None, None, "label-too-rare")
    assert row.best == "Dresses"
    assert row.best_probability is not None
    assert summary.attributes["article_type"].unjudged == {"label-too-rare": folds}


def test_an_attribute_of_one_label_is_not_judged() -> None:
    shop = Shop()
    for number in range(30):
        shop.add(str(1000 + number), photo("Dresses", number), gender="Women", article_type="Dresses")
    shop.add("1030", photo("Dresses", 30), gender=None, article_type="Dresses")

    summary = shop.audit("gender")

    row = shop.rows("gender")["1000"]
    assert (row.probability, row.best, row.unjudged) == (None, None, "only-one-label")
    found = summary.attributes["gender"]
    assert (found.labels, found.judged, found.unjudged, found.undeclared) == (1, 0, {"only-one-label": 30}, 1)


def test_what_the_catalogue_does_not_say_has_no_row() -> None:
    shop = Shop().fill(30)
    shop.add("2000", photo("Dresses", 900))

    summary = shop.audit("article_type", "usage")

    assert "2000" not in shop.rows()
    assert shop.rows("usage") == {}
    assert summary.attributes["usage"].undeclared == 31


def test_a_catalogue_of_which_nothing_is_declared_is_audited_to_its_end() -> None:
    shop = Shop().fill(10)
    assert shop.audit("usage").attributes["usage"].undeclared == 10
    assert "audited_labels" not in shop.warehouse.tables


@pytest.mark.parametrize("code", ["photo-missing", *BAD_PHOTOS])
def test_a_photo_that_cannot_be_used_is_a_row_with_its_code(code: str) -> None:
    shop = Shop().fill(30)
    shop.add("2000", BAD_PHOTOS[code]() if code in BAD_PHOTOS else None, article_type="Dresses")

    summary = shop.audit()

    row = shop.rows()["2000"]
    assert (row.unjudged, row.probability, row.best, row.fold) == (code, None, None, None)
    assert summary.errors == {code: 1}
    assert summary.attributes["article_type"].unjudged == {code: 1}
    assert (summary.products, summary.photos) == (31, 30)


def test_a_catalogue_without_a_usable_photo_is_audited_to_its_end() -> None:
    shop = Shop()
    for number in range(3):
        shop.add(str(number), None, article_type="Dresses")
    summary = shop.audit()
    assert (summary.photos, summary.errors) == (0, {"photo-missing": 3})
    assert {row.unjudged for row in shop.rows().values()} == {"photo-missing"}


def test_a_refused_audit_leaves_nothing_behind_and_its_name_free() -> None:
    shop = Shop().fill(30)
    before = set(shop.objects.names("gs://"))
    for filters, reason in (
        ({"article_type": "Dreses"}, "article_type: no product has 'Dreses'; did you mean 'Dresses'?"),
        ({"start_year": 2100}, "0 products match the filters"),
    ):
        request = AuditRequest.model_validate_json(
            json.dumps({"audit_id": "autumn", "attributes": ["article_type"], "filters": filters})
        )
        with pytest.raises(AuditError) as refusal:
            audit(request, shop.ports(), lambda pinned: shop.embedder, shop.said.append)
        assert reason in str(refusal.value)
    assert set(shop.objects.names("gs://")) == before
    assert shop.audit().products == 30


def test_another_request_of_the_same_name_is_told_what_differs() -> None:
    shop = Shop().fill(30)
    shop.audit()
    with pytest.raises(
        AuditError, match="exists with attributes article_type instead of season, folds 5 instead of 3"
    ):
        shop.audit("season", folds=3)


def test_an_empty_catalogue_is_refused_in_words() -> None:
    with pytest.raises(AuditError, match="0 products match the filters"):
        Shop().audit()


def test_photos_that_the_version_has_learnt_are_marked_and_counted() -> None:
    shop = Shop().fill(30)
    learnt = [shop.objects.read(photo_uri(BUCKET, str(1000 + number))).data for number in range(0, 30, 3)]
    shop.embedder = ColourEmbedder(Learnt.of(map(photo_digest, [*learnt, b"of another shop"])))
    shop.add("2000", None, article_type="Dresses")

    summary = shop.audit()

    assert summary.learnt == 10
    marked = {product_id: row.learnt for product_id, row in shop.rows().items()}
    assert marked == {str(1000 + number): number % 3 == 0 for number in range(30)} | {"2000": None}


def test_without_attributes_all_of_the_catalogue_are_meant_in_its_order() -> None:
    config = bundled_config()
    everything = AuditRequest(audit_id="autumn").of_catalogue(config)
    assert everything.attributes == config.named("value")
    chosen = AuditRequest(audit_id="autumn", attributes=("season", "gender")).of_catalogue(config)
    assert chosen.attributes == ("gender", "season")


def test_filters_choose_the_products() -> None:
    shop = Shop().fill(60)
    request = AuditRequest(
        audit_id="autumn",
        attributes=("season",),
        filters=Filters(article_type=("Dresses",)),
    )
    summary = audit(request, shop.ports(), lambda pinned: shop.embedder, shop.said.append)
    assert summary.products == 20
    assert set(shop.rows("season")) == {str(1000 + number) for number in range(0, 60, 3)}


def test_an_audit_that_is_done_is_not_repeated() -> None:
    shop = Shop().fill(30)
    first = shop.audit()
    rows = shop.rows()
    embedded = shop.embedder.embedded
    shop.declare("1000", "Jeans")

    assert shop.audit() == first == find_summary(shop.objects, BUCKET, "autumn")

    assert shop.rows() == rows
    assert shop.embedder.embedded == embedded


def test_one_name_is_one_audit() -> None:
    shop = Shop().fill(30)
    shop.audit()
    with pytest.raises(AuditError, match="'autumn' exists with"):
        shop.audit("season")


def test_an_audit_goes_on_with_the_version_that_it_began_with() -> None:
    shop = Shop().fill(30)
    with pytest.raises(KilledError):
        shop.audit(objects=Mortal(shop.objects, writes=3))
    asked: list[str | None] = []
    other = ColourEmbedder()
    other.version = "c2"
    request = AuditRequest(audit_id="autumn", attributes=("article_type",))

    def promoted(pinned: str | None) -> ColourEmbedder:
        asked.append(pinned)
        return other

    with pytest.raises(AuditError, match="began with version c1 of the model, not with c2"):
        audit(request, shop.ports(), promoted, shop.said.append)
    assert asked == ["c1"]


class KilledError(Exception):
    """The process is gone."""


class Mortal(MemoryObjects):
    """The objects of a shop, for a process that is killed when it would write once more than it may."""

    def __init__(self, objects: MemoryObjects, writes: int) -> None:
        super().__init__()
        self._of_the_shop, self._left = objects, writes

    def create(self, uri: str, data: bytes, content_type: str) -> bool:
        if not self._left:
            raise KilledError(uri)
        self._left -= 1
        return self._of_the_shop.create(uri, data, content_type)

    def read(self, uri: str, *, generation: int | None = None, max_bytes: int | None = None) -> Stored:
        return self._of_the_shop.read(uri, generation=generation, max_bytes=max_bytes)

    def exists(self, uri: str) -> bool:
        return self._of_the_shop.exists(uri)


def shop_of_two_parts() -> Shop:
    return Shop().fill(PART_PRODUCTS + 20)


def test_an_audit_that_is_killed_anywhere_ends_as_an_uninterrupted_one() -> None:
    whole = shop_of_two_parts()
    summary = whole.audit("article_type", "season")
    written = whole.objects.names(f"{LAYOUT.root}/")
    assert len(written) == 1 + 2 + 1 + 2 + 2 * (2 + 1) + 1
    for writes in range(len(written)):
        shop = shop_of_two_parts()
        with pytest.raises(KilledError):
            shop.audit("article_type", "season", objects=Mortal(shop.objects, writes))
        if shop.objects.exists(LAYOUT.selection):
            # What changes from now on is not what the audit is about.
            shop.declare("1000", "Jeans")

        assert shop.audit("article_type", "season") == summary

        for attribute in ("article_type", "season"):
            assert shop.rows(attribute) == whole.rows(attribute)
        # Only the part that was not complete is embedded again.
        assert shop.embedder.embedded <= whole.embedder.embedded + PART_PRODUCTS


@pytest.mark.parametrize(
    "stage", ["audit.json", "selection.json", "embeddings/000000", "rows/", "attributes/"]
)
def test_two_runs_of_one_name_at_once_make_one_audit(stage: str) -> None:
    """As when Cloud Run starts a second attempt before the first has ended."""
    whole, shop = shop_of_two_parts(), shop_of_two_parts()
    expected = whole.audit()

    class Interrupting(MemoryObjects):
        create, read, exists = shop.objects.create, shop.objects.read, shop.objects.exists

    racing = Interrupting()
    begun: list[AuditSummary] = []

    def create(uri: str, data: bytes, content_type: str) -> bool:
        if stage in uri and not begun:
            begun.append(shop.audit())
        return shop.objects.create(uri, data, content_type)

    racing.create = create  # type: ignore[method-assign]
    assert shop.audit(objects=racing) == begun[0] == expected
    assert shop.rows() == whole.rows()


def test_it_is_said_how_it_goes() -> None:
    shop = Shop().fill(30)
    shop.audit()
    assert any(re.fullmatch(r"30 products, with the embeddings of colours c1", line) for line in shop.said)
    assert any("30 photos can be used" in line for line in shop.said)


def test_rows_are_what_the_table_takes() -> None:
    shop = Shop().fill(30)
    shop.audit()
    (uri,) = [name for name in shop.objects.names(LAYOUT.root) if "/rows/" in name]
    row = json.loads(shop.objects.read(uri).data.splitlines()[0])
    assert set(row) == set(shop.rows()["1000"].model_dump())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda: AuditRequest(audit_id="Autumn"), "audit_id"),
        (lambda: AuditRequest(audit_id="autumn", folds=1), "folds"),
        (
            lambda: AuditRequest(audit_id="autumn", attributes=("colour",)).of_catalogue(bundled_config()),
            "there is no attribute 'colour'; did you mean 'base_colour'",
        ),
    ],
)
def test_a_wrong_request_is_refused_in_words(change: Callable[[], AuditRequest], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        change()


def test_all_photos_of_a_product_are_audited_together() -> None:
    shop = Shop().fill(60)
    for number in range(6):
        shop.objects.put(f"gs://{BUCKET}/front/{number}.jpg", photo("Dresses", 300 + number))
        shop.objects.put(f"gs://{BUCKET}/back/{number}.jpg", photo("Dresses", 400 + number))
    # One product's first photo is missing, and the last one has a photo of the first product.
    shop.add_with_photos("2000", ["none.jpg", "front/0.jpg", "back/0.jpg"], article_type="Jeans")
    shop.add_with_photos("2001", ["none.jpg", "nothing.jpg"], article_type="Jeans")
    shop.add_with_photos("2002", ["front/1.jpg", "back/0.jpg"], article_type="Dresses")

    summary = shop.audit()

    rows = shop.rows()
    assert ranked(rows.values())[0] == "2000"
    assert (rows["2000"].best, rows["2002"].best) == ("Dresses", "Dresses")
    assert rows["2000"].fold == rows["2002"].fold
    assert rows["2001"].unjudged == "photo-missing"
    assert summary.errors == {"photo-missing": 3}
    assert (summary.products, summary.usable, summary.photos, summary.pictures) == (63, 62, 64, 61)


def test_a_product_is_learnt_if_the_model_has_learnt_any_of_its_photos() -> None:
    shop = Shop().fill(30)
    back = photo("Dresses", 400)
    shop.objects.put(f"gs://{BUCKET}/front.jpg", photo("Dresses", 300))
    shop.objects.put(f"gs://{BUCKET}/back.jpg", back)
    shop.add_with_photos("2000", ["front.jpg", "back.jpg"], article_type="Dresses")
    shop.embedder = ColourEmbedder(Learnt.of([photo_digest(back)]))

    assert shop.audit().learnt == 1

    assert [product_id for product_id, row in shop.rows().items() if row.learnt] == ["2000"]
