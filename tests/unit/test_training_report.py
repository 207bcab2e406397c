import re
from collections.abc import Mapping
from datetime import date
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.model.manifest import Manifest
from services.training.examples import UNKNOWN, LeftOut
from services.training.measures import (
    MINIMUM_SLICE,
    PHOTO,
    Agreement,
    AnsweredPhotos,
    Evaluation,
    Export,
    Latency,
    Share,
    Unfamiliar,
    measure,
)
from services.training.report import MATRIX_CLASSES, OPEN_ROWS, render
from tests.unit.evaluations import LABELS, MADE, answers, evaluation, photos
from tests.unit.photos import jpeg

VOID = {"br", "circle", "hr", "img", "input", "link", "meta", "path", "polyline"}
PHOTO_PIXELS = np.full((20, 10, 3), 90, np.uint8)


class Page(HTMLParser):
    """A page, as far as it is looked at: its tags with their attributes, and its text.

    Raises:
        AssertionError: a tag is not closed, or closed out of turn, or has an attribute twice.

    """

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._texts: list[str] = []
        self._open: list[str] = []
        self.feed(document)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self._texts += data.split()

    @property
    def text(self) -> str:
        return " ".join(self._texts)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def manifest_of(whole: Evaluation) -> Manifest:
    return Manifest(
        name="fashion",
        version="7",
        created=date(2026, 11, 24),
        image_size=112,
        heads={name: head.labels for name, head in whole.heads.items()},
        temperatures=dict.fromkeys(whole.heads, 1.0),
        figures=whole.figures(),
        files={"model.tflite": "00"},
    )


def page(whole: Evaluation, pictures: Mapping[str, bytes | NDArray[np.uint8]] | None = None) -> Page:
    if pictures is None:
        pictures = dict.fromkeys(whole.shown(), PHOTO_PIXELS)
    return Page(render(whole, manifest_of(whole), pictures))


def of_answers(test: AnsweredPhotos) -> Page:
    return page(evaluation(test))


def everything() -> Evaluation:
    """Something of all that a page may have."""
    half = MINIMUM_SLICE
    test = photos(
        {
            "article_type": answers([0, 1] * half, [0] * (half + 2) + [1] * (half - 2)),
            "base_colour": answers(
                [UNKNOWN] * half + [1] * half, [1] * 2 * half, labels=("Red", "Blue"), threshold=0.9
            ),
        },
        origins=[PHOTO] * half + ["drawn"] * half,
        years=[2016, 2017] * half,
        columns={"season": ["Summer", None] * half},
    )
    return Evaluation(
        made=MADE,
        heads=measure(test, test),
        exports={
            "model.tflite": Export(size=4_866_040, latency=Latency(photos=30, median=1.25, p95=2.5)),
            "saved_model": Export(size=17_000_000),
        },
        agreements=(
            Agreement(one="model.tflite", other="saved_model", head="article_type", same=Share.of(99, 100)),
        ),
        unfamiliar=(
            Unfamiliar(kind="digits", images=10, auroc=0.991),
            Unfamiliar(kind="photo crops", images=10, auroc=0.953),
        ),
        left_out=tuple(LeftOut(f"line {line}", 1, "no id") for line in range(2, 602)),
    )


def test_the_head_of_the_page_says_how_good_it_is_and_of_what() -> None:
    shown = of_answers(photos({"article_type": answers([0, 0, 1, 1], [0, 0, 0, 1])}))
    assert "fashion gets the article type right on 75.0 % of photos" in shown.text
    assert "Version 7 of 24 November 2026 . Products from 2016 on." in shown.text
    assert "article type right, on 4 photos" in shown.text
    assert "of 4 photos; 95 % sure: 30.1 % to 95.4 %" in shown.text


def test_a_page_with_everything_has_everything() -> None:
    text = page(everything()).text
    for said in (
        "0.953 AUROC, unfamiliar photos, worst kind",
        "4.9 MB model.tflite, 1.2 ms a photo",
        "digits 10 0.991",
        "model.tflite 4.9 1.25 2.50 30",
        "saved_model 17.0 not timed",
        "model.tflite and saved_model article type 99.0 % 100",
        "vitrine train --seed 7",
        "2026-11-01T00:00:00Z",
        "0123abc",
        "line 2 1 no id",
        "580 more",
        "These are the first 500 of 600",
    ):
        assert said in text


def test_the_page_is_well_formed_and_needs_nothing_beside_itself() -> None:
    whole = everything()
    document = render(whole, manifest_of(whole), dict.fromkeys(whole.shown(), PHOTO_PIXELS))
    shown = Page(document)
    images = [image["src"] or "" for image in shown.all("img")]
    assert images
    assert all(image.startswith("data:image/jpeg;base64,") for image in images)
    assert not shown.all("link")
    assert not shown.all("script")
    assert not re.search(r"https?://|url\(|@import", document)
    assert "default-src 'none'" in document


def test_links_lead_somewhere_and_names_are_given_once() -> None:
    for shown in (page(everything()), of_answers(photos({"kind": answers([UNKNOWN], [0])}))):
        ids = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert {(link["href"] or "")[1:] for link in shown.all("a")} <= set(ids)
        assert {section["aria-labelledby"] for section in shown.all("section")} <= set(ids)


def test_whoever_does_not_see_the_charts_is_told_what_they_show() -> None:
    shown = page(everything())
    assert shown.all("html")[0]["lang"] == "en"
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in shown.all("svg"))
    assert all(image["alt"] for image in shown.all("img"))
    # What is wider than a phone scrolls, and so must be reached by the keyboard.
    wide = [each for each in shown.all("div") if each.get("class") == "wide"]
    assert wide
    assert all(each["tabindex"] == "0" and each["aria-label"] for each in wide)


def test_made_images_never_stand_for_photos() -> None:
    drawn = photos({"base_colour": answers([0, 1, 1], [0, 1, 1])}, origins=["drawn"] * 3)
    shown = of_answers(drawn)
    assert "fashion was not measured on photos" in shown.text
    assert "what this head is worth on photos was not measured" in shown.text
    assert "On 3 drawn images, which are not photos: 100 %" in shown.text
    assert "no accuracy on photos" in shown.text
    assert "class images precision" in shown.text
    assert "100 % of photos" not in shown.text


def test_a_head_without_a_known_label_says_so() -> None:
    shown = of_answers(photos({"kind": answers([UNKNOWN, UNKNOWN], [0, 1])}))
    assert "Of 2 photos the label is not known, they do not count." in shown.text
    assert "There is no photo whose kind is known" in shown.text
    assert not shown.all("svg")


def test_one_photo_makes_a_page() -> None:
    shown = of_answers(photos({"kind": answers([0], [0])}, years=[2016]))
    assert "100 % of photos" in shown.text
    assert "None: every answer is what is declared." in shown.text


def test_a_class_without_a_photo_has_dashes() -> None:
    shown = of_answers(photos({"kind": answers([0, 0], [0, 3])}))
    dashes = " ".join("\N{EN DASH}" * 3)
    assert f"Ties said of 1 photo 0 {dashes}" in shown.text
    assert f"Coats 0 {dashes}" in shown.text


def test_a_class_says_what_it_is_taken_for() -> None:
    shown = of_answers(photos({"kind": answers([0, 0, 0, 0], [0, 1, 1, 2])}))
    assert "Shirts 50.0 % called Coats 4 100 25.0 40.0" in shown.text


def test_the_surely_weak_classes_come_first() -> None:
    # The only boot is wrong, and so are thirty of forty coats, which is worse than one photo can tell.
    said = [0] * 9 + [0] * 30 + [1] * 10 + [0]
    whole = evaluation(photos({"kind": answers([0] * 9 + [1] * 40 + [2], said)}))
    document = render(whole, manifest_of(whole), {})
    table = document[document.index('<table class="classes">') : document.index('<table class="matrix">')]
    assert re.findall(r'<th scope="row">(\w+)', table) == ["Coats", "Boots", "Shirts", "Ties"]


def test_mistakes_and_weak_slices_show_their_photos() -> None:
    half = MINIMUM_SLICE
    test = photos(
        {"kind": answers([0] * 2 * half, [0] * (2 * half - 2) + [1, 2])},
        columns={"season": ["Summer"] * half + ["Winter"] * half},
    )
    shown = of_answers(test)
    assert "season: Winter 90.0 % of 20 photos" in shown.text
    assert "said Coats 70.0 % declared Shirts 0038" in shown.text
    # Both mistakes, in the slice and among the surest ones.
    assert [image["alt"] for image in shown.all("img")] == ["0038", "0039"] * 2


def test_photos_may_be_files_or_pixels_and_what_is_none_leaves_a_gap() -> None:
    whole = evaluation(photos({"kind": answers([0] * 4, [1] * 4)}))
    shown = page(whole, {"0000": jpeg(), "0001": PHOTO_PIXELS, "0002": b"no photo at all"})
    assert [image["alt"] for image in shown.all("img")] == ["0000", "0001"]
    assert shown.text.count("no photo ") == 2


def test_a_thousand_classes_stay_readable() -> None:
    labels = [f"label {number}" for number in range(1_000)]
    declared = list(range(1_000))
    # Each is taken for the next one once, but the first ones are taken for each other a hundred times.
    said = [(number + 1) % 1_000 for number in declared]
    declared += [3] * 100
    said += [7] * 100
    whole = evaluation(photos({"kind": answers(declared, said, labels=labels)}))
    document = render(whole, manifest_of(whole), {})
    shown = Page(document)

    assert f"Only the {MATRIX_CLASSES} of 1,000 classes that are most often confused" in shown.text
    (matrix,) = re.findall(r'<table class="matrix">.*?</table>', document, re.DOTALL)
    assert matrix.count('<th scope="row">') == MATRIX_CLASSES
    assert "label 3<" in matrix
    assert "label 7<" in matrix
    assert f"{1_000 - OPEN_ROWS} more classes" in shown.text
    assert len(document) < 1_000_000


def test_a_small_matrix_says_nothing_of_being_a_part() -> None:
    shown = of_answers(photos({"kind": answers([0, 1], [0, 1])}))
    assert "most often confused" not in shown.text


def test_an_evaluation_of_another_model_is_refused() -> None:
    whole = evaluation(photos({"kind": answers([0], [0])}))
    other = evaluation(photos({"kind": answers([0], [0], labels=LABELS[:2])}))
    with pytest.raises(ValueError, match="other heads or labels"):
        render(whole, manifest_of(other), {})


@settings(deadline=None, max_examples=20)
@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_whatever_things_are_called_stays_text(name: str) -> None:
    hostile = f"<script>alert(1)</script>\"'><img src=x> {name}"
    half = MINIMUM_SLICE

    def named(label: str) -> Page:
        labels = (label, *LABELS[1:])
        test = photos(
            {f"kind {label}": answers([0] * 2 * half, [0] * half + [1] * half, labels=labels)},
            origins=[label] * 2 * half,
            columns={label: [label] * half + [None] * half},
        )
        left_out = (LeftOut(label, 1, label),)
        return page(Evaluation(made=MADE, heads=measure(test), left_out=left_out))

    assert [tag for tag, _ in named(hostile).tags] == [tag for tag, _ in named("Shirts").tags]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.floats(0.3, 1)), min_size=1, max_size=60), st.floats(0, 1))
def test_charts_stay_within_their_frame(drawn: list[tuple[bool, float]], threshold: float) -> None:
    said = [0 if right else 1 for right, _ in drawn]
    sure = [confidence for _, confidence in drawn]
    years: list[int | None] = [2000 + index for index in range(len(drawn))]
    test = photos({"kind": answers([0] * len(drawn), said, sure, threshold=threshold)}, years=years)
    shown = page(Evaluation(made=MADE, heads=measure(test, test)), {})
    for dot in shown.all("circle"):
        assert 44 <= float(dot["cx"] or "nan") <= 350
        assert 20 <= float(dot["cy"] or "nan") <= 213
