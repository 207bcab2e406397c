import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.client import report
from services.client.client import JobResults, parse_request
from services.client.ports import Result
from services.client.report import LEARNT, MEANINGS, percent, render
from services.shared.errors import ImageErrorCode
from services.shared.events import Declared, JobCompleted, Product
from services.shared.jobs import Manifest
from services.shared.memory import MemoryObjects
from tests.unit.client_world import NOW, OwnedObjects, result, tally
from tests.unit.photos import jpeg

TIE = Product.of("1", article_type="Handbags", base_colour="Red", display_name="Silk tie, striped")
SURE = {"article_type": [("Ties", 0.97), ("Belts", 0.02)], "base_colour": [("Red", 0.9)]}
UNSURE = {"article_type": [("Ties", 0.4), ("Belts", 0.3)], "base_colour": [("Red", 0.9)]}


class Page(HTMLParser):
    """What of a page is looked at: its tags with their attributes, and its text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._silent = False
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._silent = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.text = " ".join(f"{self.text} {data}".split())

    def all(self, tag: str, css_class: str | None = None) -> list[dict[str, str | None]]:
        return [
            attributes
            for name, attributes in self.tags
            if name == tag and css_class in (None, *(attributes.get("class") or "").split())
        ]


def page(
    rows: Sequence[Result],
    shown: int | None = None,
    request: str = "{}",
    completed: bool = True,
    objects: MemoryObjects | None = None,
) -> tuple[str, Page]:
    asked = parse_request(request)
    manifest = Manifest(
        job_id="job-1",
        request=asked,
        model="fashion",
        model_version="7",
        images=len(rows),
        batches=1,
        requested_at=NOW,
    )
    done = JobCompleted(
        job_id="job-1",
        status="completed",
        request="{}",
        model="fashion",
        model_version="7",
        images=len(rows),
        batches=1,
        predictions=0,
        errors=0,
        requested_at=NOW,
        completed_at=NOW,
    )
    results = JobResults(manifest, done if completed else None, tally(rows), iter(rows[:shown]))
    document = render(results, OwnedObjects(objects or photos_of(rows)))
    return document, Page(document)


def photos_of(rows: Sequence[Result]) -> MemoryObjects:
    objects = MemoryObjects()
    for row in rows:
        objects.put(row.prediction.image_uri, jpeg())
    return objects


def test_a_disagreement_shows_both_sides_and_how_sure_the_model_is() -> None:
    _, shown = page([result("1", SURE, declared=TIE, disagreements=["article_type"])])
    assert "1 of 1 photos disagree with the catalogue" in shown.text
    assert "article type declared Handbags → looks like Ties 97 % sure" in shown.text
    assert len(shown.all("li", "disagree")) == 1
    assert len(shown.all("li", "card")) == 1


def test_a_disagreement_that_the_model_is_unsure_of_says_so_in_its_place() -> None:
    _, shown = page(
        [
            result("1", UNSURE, declared=TIE, disagreements=["article_type"], abstained=["article_type"]),
            result("2", SURE, declared=TIE, disagreements=["article_type"]),
            result("3", SURE, declared=TIE, disagreements=["article_type"], unfamiliar=True),
        ]
    )
    assert "The model is unsure of 2 of these photos." in shown.text
    assert shown.text.count(report.UNSURE) == 2
    assert len(shown.all("li", "disagree")) == 3
    assert not shown.all("details")
    _, sure = page([result("2", SURE, declared=TIE, disagreements=["article_type"])])
    assert "unsure" not in sure.text


@pytest.mark.parametrize("learnt", [True, False, None])
def test_a_disagreement_says_how_likely_the_declared_label_is_and_whether_the_photo_was_learnt(
    learnt: bool | None,
) -> None:
    declared = Declared(head="article_type", label="Handbags", known="Handbags", probability=0.0004)
    row = result("1", SURE, declared=TIE, disagreements=["article_type"], carried=[declared], learnt=learnt)
    _, shown = page([row])
    assert "Handbags: <1 %" in shown.text
    assert (LEARNT in shown.text) == bool(learnt)


def test_a_job_without_disagreements_says_so() -> None:
    _, shown = page([result("1", SURE, declared=TIE)])
    assert "none against the catalogue" in shown.text
    assert "the photos agree with it" in shown.text


def test_the_page_needs_nothing_beside_itself() -> None:
    rows = [result(product_id, SURE, declared=TIE, disagreements=["article_type"]) for product_id in "12"]
    document, shown = page(rows)
    images = [image["src"] or "" for image in shown.all("img")]
    assert len(images) == 4
    assert all(image.startswith("data:image/jpeg;base64,") for image in images)
    assert not shown.all("link")
    assert not [script for script in shown.all("script") if "src" in script]
    assert all((link["href"] or "").startswith("#") for link in shown.all("a"))
    assert not re.search(r"https?://|url\(|@import", document)


def test_every_image_says_what_it_shows_and_every_field_has_a_name() -> None:
    _, shown = page([result("1", SURE, declared=TIE), result("2", SURE)])
    assert [image["alt"] for image in shown.all("img")] == ["Silk tie, striped", "Product 2"]
    fields = [field for field in shown.all("input") + shown.all("select") if field.get("type") != "checkbox"]
    assert len(fields) == 2
    assert all(field["aria-label"] for field in fields)
    assert shown.all("html")[0]["lang"] == "en"


def test_links_within_the_page_lead_somewhere() -> None:
    for rows in ([], [result("1", SURE, declared=TIE)], [result("1", error="photo-missing")]):
        _, shown = page(rows)
        anchors = {attributes["id"] for _, attributes in shown.tags if "id" in attributes}
        assert {(link["href"] or "")[1:] for link in shown.all("a")} <= anchors


def test_errors_say_what_they_mean_and_which_products_they_are_of() -> None:
    _, shown = page(
        [
            result("1", error="photo-missing", declared=TIE),
            result("2", SURE),
            result("3", error="photo-corrupt"),
        ]
    )
    assert f"photo-missing 1 {MEANINGS['photo-missing']} 1 Silk tie, striped" in shown.text
    assert f"photo-corrupt 1 {MEANINGS['photo-corrupt']} 3 not in the catalogue" in shown.text
    assert len(shown.all("li", "card")) == 1


def test_every_error_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(get_args(ImageErrorCode))


def test_a_page_of_a_part_says_so() -> None:
    rows = [result(product_id, SURE) for product_id in "12345"]
    _, shown = page(rows, shown=3)
    assert "The page shows 3 of 5 results" in shown.text
    assert len(shown.all("li", "card")) == 3
    _, whole = page(rows)
    assert "The page shows" not in whole.text


def test_a_job_that_is_not_completed_says_so() -> None:
    _, shown = page([result("1", SURE)], completed=False)
    assert "not completed: this page has what is recorded so far" in shown.text


def test_a_photo_that_is_gone_or_broken_since_leaves_a_gap() -> None:
    rows = [result("1", SURE), result("2", SURE), result("3", SURE)]
    objects = photos_of(rows[:1])
    objects.put(rows[1].prediction.image_uri, b"no image")
    _, shown = page(rows, objects=objects)
    assert len(shown.all("img")) == 1
    assert len(shown.all("span", "no-photo")) == 2


def test_what_was_asked_for_stands_in_the_page() -> None:
    request = (
        '{"gender": ["Men", "Women"], "start_year": 2010, "limit": 9, "classify": "both",'
        ' "augmentation": {"blur": {"radius": 2}, "copies": 3}}'
    )
    _, shown = page([result("1", SURE)], request=request)
    for asked in (
        "gender Men, Women",
        "years 2010\N{EN DASH}",
        "at most 9 products",
        "variants 3 of each",
        "photos and variants classified",
    ):
        assert asked in shown.text


def test_an_empty_job_is_a_page_too() -> None:
    _, shown = page([])
    assert "All predictions None." in shown.text


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_whatever_a_product_is_called_stays_text(name: str) -> None:
    hostile = f"<script>alert(1)</script>\"'><img src=x> {name}"
    product = Product.of("1", article_type=hostile, display_name=hostile)
    labels = {"article_type": [(hostile, 0.9)]}
    _, plain = page([result("1", SURE, declared=TIE, disagreements=["article_type"])])
    _, shown = page([result(hostile.strip()[:200], labels, declared=product, disagreements=["article_type"])])
    assert len(shown.all("script")) == len(plain.all("script"))
    assert [image["alt"] for image in shown.all("img")] == [hostile, hostile]


@pytest.mark.parametrize(
    ("probability", "written"),
    [
        *((0.0, "0 %"), (1e-9, "<1 %"), (0.0049, "<1 %"), (0.005, "<1 %"), (0.0051, "1 %")),
        *((0.456, "46 %"), (0.9949, "99 %"), (0.995, ">99 %"), (1.0, ">99 %")),
    ],
)
def test_no_probability_is_called_certain(probability: float, written: str) -> None:
    assert percent(probability) == written
