"""Several sources as one: a label is one label wherever it comes from, and a picture is on one side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.clothing_dataset import LabelMap, label_map
from services.shared.events import Filters
from services.training import catalogue
from services.training.clothing import ClothingSource
from services.training.examples import UNKNOWN, Example, LeftOut, Side, Source
from services.training.fashion_products import folder_source
from services.training.mixture import Mixture, MixtureError, Part
from services.training.sides import Sides
from tests.unit.archives import unzipped
from tests.unit.test_catalogue_files import HEADER
from tests.unit.training_photos import photo

type Labelled = Mapping[str, str]


@dataclass
class Told:
    """A source of examples whose labels are given by name."""

    heads: Mapping[str, Sequence[str]]
    labelled: Sequence[tuple[Side, Labelled]] = ()
    left_out: Sequence[LeftOut] = ()
    description: Mapping[str, str] = field(default_factory=dict)
    several: Mapping[str, Sequence[str]] = field(default_factory=dict)
    applies_to: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    def examples(self, image_size: int) -> Iterator[tuple[Side, Example]]:
        pixels = np.zeros((image_size, image_size, 3), np.uint8)
        for number, (side, labels) in enumerate(self.labelled):
            targets = {
                head: names.index(labels[head]) if head in labels else UNKNOWN
                for head, names in self.heads.items()
            }
            yield side, Example(f"{number}", pixels, targets, f"origin-{number}", 2000 + number, number)


SHOP = Told(
    {"article_type": ["Shirts", "Ties"], "gender": ["Men", "Women"]},
    [("train", {"article_type": "Ties", "gender": "Men"}), ("test", {"article_type": "Shirts"})],
)


def named(mixture: Mixture) -> dict[str, tuple[Side, dict[str, str]]]:
    """Key -> side and labels by name; what is unknown is left out."""
    return {
        example.key: (
            side,
            {head: mixture.heads[head][index] for head, index in example.labels.items() if index >= 0},
        )
        for side, example in mixture.examples(8)
    }


def test_examples_of_all_parts_come_in_turn_with_the_labels_that_they_had() -> None:
    worn = Told({"article_type": ["Ties"], "garment": ["Tie"]}, [("train", {"article_type": "Ties"})])
    mixture = Mixture([Part("shop", SHOP), Part("worn", worn)])

    assert mixture.heads == {
        "article_type": ["Shirts", "Ties"],
        "gender": ["Men", "Women"],
        "garment": ["Tie"],
    }
    assert named(mixture) == {
        "shop/0": ("train", {"article_type": "Ties", "gender": "Men"}),
        "shop/1": ("test", {"article_type": "Shirts"}),
        "worn/0": ("train", {"article_type": "Ties"}),
    }
    examples = [example for _, example in mixture.examples(8)]
    assert [(each.origin, each.year, each.photo) for each in examples] == [
        ("origin-0", 2000, 0),
        ("origin-1", 2001, 1),
        ("origin-0", 2000, 0),
    ]


def test_a_label_that_no_other_source_has_is_refused() -> None:
    misspelt = Told({"article_type": ["Shirts", "Tie"]})
    with pytest.raises(MixtureError) as refused:
        Mixture([Part("shop", SHOP), Part("worn", misspelt)])
    assert str(refused.value) == (
        "worn: article_type: no other source has the label 'Tie'; did you mean 'Ties'? "
        "Correct the label map, or list the label in worn.adds"
    )


def test_a_label_that_only_one_source_has_is_learnt_if_it_is_named() -> None:
    worn = Told({"article_type": ["Boots", "Ties"]}, [("train", {"article_type": "Boots"})])
    mixture = Mixture([Part("shop", SHOP), Part("worn", worn, frozenset([("article_type", "Boots")]))])
    assert mixture.heads["article_type"] == ["Shirts", "Ties", "Boots"]
    assert named(mixture)["worn/0"] == ("train", {"article_type": "Boots"})


@pytest.mark.parametrize(
    ("added", "complaint"),
    [
        (
            ("article_type", "Tie"),
            r"worn\.adds\.article_type: no photo of it has 'Tie'; did you mean 'Ties'\?",
        ),
        (
            ("artcle_type", "Ties"),
            r"worn\.adds: it has no attribute 'artcle_type'; did you mean 'article_type'\?",
        ),
    ],
)
def test_a_label_that_is_named_and_that_no_photo_has_is_refused(
    added: tuple[str, str], complaint: str
) -> None:
    worn = Told({"article_type": ["Ties"]})
    with pytest.raises(MixtureError, match=complaint):
        Mixture([Part("shop", SHOP), Part("worn", worn, frozenset([added]))])


def test_labels_of_the_same_taxonomy_that_the_first_has_not_learnt_are_masked() -> None:
    larger = Told(
        {"article_type": ["Belts", "Ties"], "season": ["Fall", "Summer"]},
        [
            ("train", {"article_type": "Ties", "season": "Fall"}),
            ("train", {"article_type": "Belts"}),
            ("validate", {"season": "Fall"}),
            ("test", {"article_type": "Belts"}),
        ],
    )
    mixture = Mixture([Part("shop", SHOP), Part("larger", larger)], same_taxonomy=frozenset(["larger"]))

    assert mixture.heads == SHOP.heads
    found = {key: value for key, value in named(mixture).items() if key.startswith("larger")}
    # Of what nothing is known, nothing is learnt; it may still test whether the model is in doubt.
    assert found == {"larger/0": ("train", {"article_type": "Ties"}), "larger/3": ("test", {})}


def test_what_is_left_out_and_described_names_its_part() -> None:
    parts = [
        Part(name, Told(SHOP.heads, left_out=[LeftOut("photos", count, why)], description={"folder": name}))
        for name, count, why in (("shop", 2, "photo-empty"), ("worn", 3, "photo-missing"))
    ]
    mixture = Mixture(parts)
    assert mixture.left_out == [
        LeftOut("shop: photos", 2, "photo-empty"),
        LeftOut("worn: photos", 3, "photo-missing"),
    ]
    assert mixture.description == {"shop: folder": "shop", "worn: folder": "worn"}


heads = st.dictionaries(
    st.sampled_from(["article_type", "gender", "garment"]),
    st.lists(st.sampled_from("ABCD"), min_size=1, unique=True),
    max_size=3,
)


@given(parts=st.lists(heads, min_size=1, max_size=4), data=st.data())
def test_every_label_keeps_its_name(parts: list[dict[str, list[str]]], data: st.DataObject) -> None:
    first = parts[0]
    sources: list[Part] = []
    for number, known in enumerate(parts):
        labels = st.fixed_dictionaries(
            {}, optional={head: st.sampled_from(names) for head, names in known.items()}
        )
        sides: st.SearchStrategy[Side] = st.sampled_from(("train", "validate", "test"))
        told = data.draw(st.lists(st.tuples(sides, labels), max_size=4))
        new = frozenset(
            (head, label)
            for head, names in known.items()
            for label in names
            if head in first and label not in first[head]
        )
        sources.append(Part(f"part-{number}", Told(known, told), new if number else frozenset()))
    mixture = Mixture(sources)

    assert all(len(set(labels)) == len(labels) for labels in mixture.heads.values())
    assert all(list(mixture.heads[head])[: len(names)] == names for head, names in first.items())
    expected = {
        f"{part.name}/{number}": (side, dict(labels))
        for part in sources
        for number, (side, labels) in enumerate(part.source.labelled)  # type: ignore[attr-defined]
        if side == "test" or labels
    }
    assert named(mixture) == expected


# ------------------------------------------------------------------------------------- the public sets

SENT_LABELS: LabelMap = {kind: label_map("clothing-dataset")[kind] for kind in ("Hat", "T-Shirt")}


def shop(path: Path, photos: Mapping[int, bytes]) -> Path:
    """A catalogue of shirts and caps, the same for each set of photos."""
    kinds = ("Accessories,Headwear,Caps", "Apparel,Topwear,Tshirts")
    rows = [f"{number},Men,{kinds[number % 2]},Blue,,2012,," for number in photos]
    files = {"styles.csv": "\n".join([HEADER, *rows]).encode()}
    return unzipped(path, files | {f"images/{number}.jpg": data for number, data in photos.items()})


def shop_source(path: Path, sides: Sides) -> Source:
    return folder_source(
        path,
        Filters(),
        minimum_photos=1,
        validate_share=0.2,
        test=catalogue.TestSide(share=0.3),
        origin=path.name,
        sides=sides,
    )


def worn(path: Path, photos: Mapping[int, bytes]) -> Path:
    rows = [f"sent-{number},{number},{'T-Shirt' if number % 2 else 'Hat'},False" for number in photos]
    files = {"images.csv": "\n".join(["image,sender_id,label,kids", *rows]).encode()}
    return unzipped(path, files | {f"images/sent-{number}.jpg": data for number, data in photos.items()})


def worn_source(path: Path, sides: Sides, labels: LabelMap = SENT_LABELS) -> Source:
    return ClothingSource(
        path, labels, official_split=None, validate_share=0.3, new_sender_share=0.3, sides=sides
    )


def test_near_duplicates_across_sources_are_on_one_side(tmp_path: Path) -> None:
    # The same pictures in each source: in two sizes, under other numbers, and once more as people's photos.
    pictures = range(40)
    small = shop(tmp_path / "small", {number: photo(number) for number in pictures})
    large = shop(tmp_path / "large", {number + 7: photo(number, 96, 80) for number in pictures})
    sent = worn(tmp_path / "sent", {number + 3: photo(number, quality=70) for number in pictures})
    sides = Sides()
    mixture = Mixture(
        [
            Part("small", shop_source(small, sides)),
            Part("large", shop_source(large, sides)),
            Part("sent", worn_source(sent, sides)),
        ],
        same_taxonomy=frozenset(["small", "large"]),
    )

    first = {"small/": 0, "large/": 7, "sent/sent-": 3}
    found: dict[int, set[Side]] = {}
    counts = dict.fromkeys(first, 0)
    for side, example in mixture.examples(32):
        part = next(part for part in first if example.key.startswith(part))
        counts[part] += 1
        found.setdefault(int(example.key.removeprefix(part)) - first[part], set()).add(side)

    assert {len(each) for each in found.values()} == {1}
    assert {side for each in found.values() for side in each} == {"train", "validate", "test"}
    assert counts["small/"] == 40
    assert counts["large/"] == 40
    # A person's photo that would be on another side takes no part.
    assert 0 < counts["sent/sent-"] < 40
    moved = [each for each in mixture.left_out if "near-duplicates" in each.why]
    assert sum(each.count for each in moved if each.what.startswith("sent")) == 40 - counts["sent/sent-"]


def test_a_mapping_that_names_a_label_no_source_has_is_refused(tmp_path: Path) -> None:
    photos = {number: photo(number, 24) for number in range(12)}
    small, sent = shop(tmp_path / "small", photos), worn(tmp_path / "sent", photos)
    wrong = {**SENT_LABELS, "Hat": {**SENT_LABELS["Hat"], "article_type": "Cap"}}
    with pytest.raises(
        MixtureError, match="sent: article_type: no other source has the label 'Cap'; did you mean 'Caps'\\?"
    ):
        Mixture([Part("small", shop_source(small, Sides())), Part("sent", worn_source(sent, Sides(), wrong))])
