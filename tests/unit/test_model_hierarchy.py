"""Heads that form a tree: their answers never contradict it."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.model.hierarchy import Hierarchy, HierarchyError, parents_of

LABELS = {
    "master": ("Apparel", "Footwear", "Home"),
    "sub": ("Shoes", "Topwear", "Sandal", "Curtains"),
    "article": ("Shirts", "Tshirts", "Heels", "Flats", "Sandals"),
}
PARENTS = {
    "sub": {"Shoes": "Footwear", "Topwear": "Apparel", "Sandal": "Footwear", "Curtains": "Home"},
    "article": {
        "Shirts": "Topwear",
        "Tshirts": "Topwear",
        "Heels": "Shoes",
        "Flats": "Shoes",
        "Sandals": "Sandal",
    },
}
TREE = Hierarchy(("master", "sub", "article"), LABELS, PARENTS)


def logits(**favourites: Mapping[str, float]) -> dict[str, NDArray[np.float32]]:
    """Of one photo; labels that are not named have the logit 0."""
    return {
        head: np.array([[favourites.get(head, {}).get(label, 0.0) for label in labels]], np.float32)
        for head, labels in LABELS.items()
    }


def answers(probabilities: Mapping[str, NDArray[np.float32]]) -> dict[str, str]:
    return {head: LABELS[head][values[0].argmax()] for head, values in probabilities.items()}


@given(
    st.lists(st.floats(-30, 30), min_size=12, max_size=12),
    st.floats(0.2, 5),
)
def test_answers_never_contradict_the_tree(values: list[float], temperature: float) -> None:
    flat, at = np.array(values, np.float32), 0
    given_logits = {}
    for head, labels in LABELS.items():
        given_logits[head] = flat[np.newaxis, at : at + len(labels)]
        at += len(labels)

    probabilities = TREE.decode(given_logits, temperature)

    said = answers(probabilities)
    assert PARENTS["article"][said["article"]] == said["sub"]
    assert PARENTS["sub"][said["sub"]] == said["master"]
    for values_of_head in probabilities.values():
        assert values_of_head.sum() == pytest.approx(1, abs=1e-4)
        assert (values_of_head >= 0).all()


def test_broad_heads_correct_a_narrow_one() -> None:
    probabilities = TREE.decode(
        logits(article={"Shirts": 2.0, "Heels": 1.9}, sub={"Shoes": 3.0}, master={"Footwear": 3.0}), 1.0
    )
    assert answers(probabilities) == {"master": "Footwear", "sub": "Shoes", "article": "Heels"}


def test_a_broad_label_is_as_likely_as_its_children_together() -> None:
    probabilities = TREE.decode(logits(), 1.0)
    assert probabilities["article"][0] == pytest.approx([0.2] * 5)
    assert dict(zip(LABELS["sub"], probabilities["sub"][0], strict=True)) == pytest.approx(
        {"Shoes": 0.4, "Topwear": 0.4, "Sandal": 0.2, "Curtains": 0.0}
    )


def test_the_likeliest_broad_label_decides_where_its_children_share_the_probability() -> None:
    # Each of the two shoes is less likely than the shirt, but shoes are likelier than tops.
    probabilities = TREE.decode(
        logits(article={"Shirts": 1.5, "Heels": 1.2, "Flats": 1.2, "Tshirts": -9}), 1.0
    )
    said = answers(probabilities)
    assert said == {"master": "Footwear", "sub": "Shoes", "article": said["article"]}
    assert said["article"] in ("Heels", "Flats")


def test_a_label_without_a_path_to_the_top_is_named() -> None:
    with pytest.raises(HierarchyError, match="article: 'Flats' has no sub"):
        Hierarchy(
            ("master", "sub", "article"),
            LABELS,
            PARENTS | {"article": {k: v for k, v in PARENTS["article"].items() if k != "Flats"}},
        )
    with pytest.raises(HierarchyError, match="article: 'Flats' has the sub 'Boots', which is not learnt"):
        Hierarchy(
            ("master", "sub", "article"),
            LABELS,
            PARENTS | {"article": PARENTS["article"] | {"Flats": "Boots"}},
        )


def test_the_parent_is_the_one_that_most_examples_have() -> None:
    pairs = np.array([[4, 3], [0, 4]])
    assert parents_of(("Kajal", "Belts"), ("Eyes", "Belts"), pairs, ("article_type", "sub_category")) == {
        "Kajal": "Eyes",
        "Belts": "Belts",
    }


def test_a_label_with_two_parents_is_named_with_both() -> None:
    with pytest.raises(
        HierarchyError,
        match="article_type: 'Wristbands' has two parents: 3 examples have the sub_category 'Sports', 3 have",
    ):
        parents_of(("Wristbands",), ("Sports", "Bands"), np.array([[3, 3]]), ("article_type", "sub_category"))


def test_a_label_without_examples_of_its_parent_is_named() -> None:
    with pytest.raises(HierarchyError, match="article_type: no example of 'Hat' has a sub_category"):
        parents_of(("Hat",), ("Headwear", "Belts"), np.array([[0, 0]]), ("article_type", "sub_category"))
