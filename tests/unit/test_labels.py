"""What a catalogue calls a label is found among a model's labels, whatever case and blanks it is typed in."""

import csv
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.labels import Vocabulary, normalised

# Blanks that shops' exports have, and characters that nobody sees.
BLANKS = [
    "\t",
    "\n",
    "\r",
    "\x0b",
    "\x1f",
    "\x85",
    "\u00a0",
    "\u1680",
    "\u2003",
    "\u202f",
    "\u205f",
    "\u3000",
]
UNSEEN = ["\u00ad", "\u034f", "\u180e", "\u200b", "\u200d", "\u200e", "\u2060", "\u3164", "\ufe0f", "\ufeff"]
UNSEEN += ["\x00", "\x07", "\x7f", "\U000e0100"]

texts = st.text(max_size=30)
words = st.text(st.characters(categories=("Lu", "Ll", "Nd")), min_size=1, max_size=8)
labels = st.lists(words, min_size=1, max_size=3).map(" ".join)


@given(texts)
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


@given(texts)
def test_what_is_normalised_has_no_characters_that_nobody_sees_and_single_blanks(text: str) -> None:
    found = normalised(text)
    assert found == found.strip()
    assert "  " not in found
    assert not any(unicodedata.category(letter) in ("Cc", "Cf") for letter in found)
    assert not any(letter.isspace() for letter in found.replace(" ", ""))


@given(texts)
def test_equivalent_texts_are_the_same(text: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert normalised(unicodedata.normalize(form, text)) == normalised(text)
    for other in (text.casefold(), f" {text}\n"):
        assert normalised(other) == normalised(text)


@given(labels, st.data())
def test_a_label_is_found_in_any_case_with_any_blanks_and_characters_that_nobody_sees(
    label: str, data: st.DataObject
) -> None:
    typed = "".join(
        data.draw(st.sampled_from(["", *UNSEEN])) + letter + data.draw(st.sampled_from(["", *UNSEEN]))
        for letter in data.draw(st.sampled_from([label, label.upper(), label.lower(), label.swapcase()]))
    )
    typed = typed.replace(" ", data.draw(st.sampled_from(BLANKS)) + data.draw(st.sampled_from(["", *BLANKS])))
    typed = data.draw(st.sampled_from(["", *BLANKS])) + typed + data.draw(st.sampled_from(["", *BLANKS]))
    # A letter such as the dotless i has no way back from its upper case.
    if normalised(label.upper()) == normalised(label.lower()) == normalised(label.swapcase()):
        assert Vocabulary({"article_type": ["Other one", label]}).find("article_type", typed) == 1


@given(st.lists(st.text("aAb ", max_size=3), unique=True, max_size=8), st.text("aAb ", max_size=3))
def test_an_equal_label_comes_first_and_then_the_order_of_the_manifest(known: list[str], typed: str) -> None:
    place = Vocabulary({"article_type": known}).find("article_type", typed)
    if typed in known:
        assert place == known.index(typed)
    else:
        same = [number for number, label in enumerate(known) if normalised(label) == normalised(typed)]
        assert place == (same[0] if same else None)


@pytest.mark.parametrize("typed", ["Tshirt", "T-shirts", "Tshirts!", "Tshirts Shirts", "T shirts", ""])
def test_a_label_that_is_spelt_differently_is_another_one(typed: str) -> None:
    assert Vocabulary({"article_type": ["Shirts", "Tshirts"]}).find("article_type", typed) is None


def test_a_label_belongs_to_its_head() -> None:
    vocabulary = Vocabulary({"article_type": ["Shirts"], "base_colour": ["Red"]})
    assert vocabulary.find("base_colour", "red") == 0
    assert vocabulary.find("article_type", "Red") is None
    assert vocabulary.find("season", "Red") is None


def catalogue(name: str) -> dict[int, str]:
    """The article types of one of the catalogues that people really have."""
    folder = os.environ.get("VITRINE_CASES")
    if folder is None:
        pytest.skip("VITRINE_CASES does not say where the catalogues are that people really have")
    text = (Path(folder) / "catalogues" / name / "styles.csv").read_text(encoding="utf-8")
    return {int(row["id"]): row["articleType"] for row in csv.DictReader(text.splitlines())}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("value-case", ["Shirts"] * 4),
        ("right-label-other-case", ["Caps", "Sandals", "Trousers", "Dresses", "Skirts", "Shirts"]),
        ("wrong-label-other-case", ["Dresses"] * 6 + [None, "Skirts"]),
        ("wrong-label-mixed", ["Dresses"] * 5 + ["Skirts", "Skirts", "Dresses"]),
    ],
)
def test_the_values_of_real_catalogues_are_found(name: str, found: list[str | None]) -> None:
    known = ["Caps", "Dresses", "Sandals", "Shirts", "Skirts", "Trousers"]
    vocabulary = Vocabulary({"article_type": known})
    places = [vocabulary.find("article_type", typed) for typed in catalogue(name).values()]
    assert [None if place is None else known[place] for place in places] == found
