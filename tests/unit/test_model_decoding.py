"""From logits to the probabilities that are served."""

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from services.model.calibration import softmax
from services.model.decoding import Decoder
from services.model.hierarchy import HierarchyError
from services.model.manifest import Manifest

LOGITS = {
    "kind": np.array([[2.0, 1.9]], np.float32),
    "group": np.array([[0.0, 3.0]], np.float32),
    "colour": np.array([[1.0, 0.0, 0.0]], np.float32),
}


def manifest(**changes: Any) -> Manifest:
    content: dict[str, Any] = {
        "name": "small",
        "version": "abc",
        "created": date(2026, 11, 28),
        "image_size": 32,
        "heads": {
            "kind": ("Shirts", "Heels"),
            "group": ("Topwear", "Shoes"),
            "colour": ("Red", "Blue", "Grey"),
        },
        "temperatures": {"kind": 0.5, "group": 0.5, "colour": 2.0},
        "figures": {},
        "files": {"model.tflite": "00"},
    }
    return Manifest.model_validate(content | changes)


def test_each_head_has_its_temperature() -> None:
    probabilities = Decoder.of(manifest())(LOGITS)

    assert probabilities.keys() == LOGITS.keys()
    np.testing.assert_allclose(probabilities["kind"], softmax(LOGITS["kind"], 0.5))
    np.testing.assert_allclose(probabilities["colour"], softmax(LOGITS["colour"], 2.0))


def test_heads_of_a_tree_answer_together_and_others_alone() -> None:
    tree = manifest(hierarchy=("group", "kind"), parents={"kind": {"Shirts": "Topwear", "Heels": "Shoes"}})

    probabilities = Decoder.of(tree)(LOGITS)

    assert [*probabilities] == [*LOGITS]
    assert probabilities["kind"].argmax() == 1
    assert probabilities["group"].argmax() == 1
    np.testing.assert_allclose(probabilities["kind"], probabilities["group"], rtol=1e-5)
    np.testing.assert_allclose(probabilities["colour"], softmax(LOGITS["colour"], 2.0))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"hierarchy": ("group", "size")}, "hierarchy: size is no head"),
        ({"hierarchy": ("group", "kind")}, "kind: 'Heels' has no group|kind: 'Shirts' has no group"),
        (
            {
                "hierarchy": ("group", "kind"),
                "parents": {"kind": {"Shirts": "Topwear", "Heels": "Shoes"}},
                "temperatures": {"kind": 0.5, "group": 0.6, "colour": 1.0},
            },
            "the heads of the hierarchy have one temperature together",
        ),
    ],
)
def test_labels_that_form_no_tree_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(HierarchyError, match=complaint):
        Decoder.of(manifest(**changes))


SLEEVES: dict[str, Any] = {
    "heads": {"kind": ("Shirts", "Heels"), "sleeve": ("Long", "Not applicable", "Short")},
    "temperatures": {"kind": 1, "sleeve": 1},
    "applies_to": {"sleeve": {"kind": ("Shirts", "Skirts")}},
}


@pytest.mark.parametrize(
    ("kind", "sleeve", "answer"),
    [
        ([0, 4], [2, 1, 0], "Not applicable"),
        ([4, 0], [1, 2, 0], "Long"),
        ([4, 0], [0, 1, 2], "Short"),
        ([4, 0], [0, 3, 0], "Long"),  # equally likely
        ([0, 4], [0, 3, 2], "Not applicable"),
        # The kind abstains: the head answers by itself.
        ([0, 0.1], [2, 1, 0], "Long"),
        ([0.1, 0], [1, 2, 0], "Not applicable"),
    ],
)
def test_what_does_not_apply_is_as_the_other_head_answers(
    kind: list[float], sleeve: list[float], answer: str
) -> None:
    decode = Decoder.of(manifest(**SLEEVES, thresholds={"kind": 0.7}))

    probabilities = decode({"kind": np.array([kind], np.float32), "sleeve": np.array([sleeve], np.float32)})

    assert SLEEVES["heads"]["sleeve"][probabilities["sleeve"].argmax()] == answer
    assert sorted(probabilities["sleeve"][0]) == pytest.approx(
        sorted(softmax(np.array([sleeve], np.float32), 1)[0])
    )


def test_a_head_that_depends_on_none_is_refused() -> None:
    with pytest.raises(HierarchyError, match="applies_to: size is no head"):
        Decoder.of(manifest(**SLEEVES | {"applies_to": {"sleeve": {"size": ("S",)}}}))


TREE: dict[str, Any] = {
    "heads": {"kind": ("Shirts", "Jeans", "Heels", "Boots"), "group": ("Clothes", "Shoes")},
    "temperatures": {"kind": 1, "group": 1},
    "hierarchy": ("group", "kind"),
    "parents": {"kind": {"Shirts": "Clothes", "Jeans": "Clothes", "Heels": "Shoes", "Boots": "Shoes"}},
}


@given(arrays(np.float32, st.tuples(st.integers(1, 8), st.just(6)), elements=st.floats(-6, 6, width=32)))
def test_the_answer_for_several_photos_is_on_one_path_of_the_tree(logits: NDArray[np.float32]) -> None:
    decoder = Decoder.of(manifest(**TREE))

    answer, _ = decoder.combine(decoder({"kind": logits[:, :4], "group": logits[:, 4:]}))

    kind, group = (TREE["heads"][head][answer[head][0].argmax()] for head in ("kind", "group"))
    assert TREE["parents"]["kind"][kind] == group
    assert answer["kind"].shape == (1, 4)
    assert answer["group"].sum() == pytest.approx(1, abs=1e-4)


def test_the_answer_for_several_photos_says_not_applicable_as_its_other_head_does() -> None:
    decoder = Decoder.of(manifest(**SLEEVES))
    kind = np.array([[0.9, 0.1], [0.001, 0.999]], np.float32)
    sleeve = np.array([[0.9, 0.05, 0.05], [0.5, 0.4, 0.1]], np.float32)

    answer, _ = decoder.combine({"kind": kind, "sleeve": sleeve})

    assert answer["kind"].argmax() == 1
    assert SLEEVES["heads"]["sleeve"][answer["sleeve"].argmax()] == "Not applicable"


def test_a_label_of_several_is_combined_by_itself_and_has_its_threshold() -> None:
    worn_on = {"labels": ("upper", "lower", "feet"), "temperature": 1, "thresholds": (0.5, 0.7, 0.5)}
    one_head = {"heads": {"kind": ("Shirts", "Heels")}, "temperatures": {"kind": 1}}
    decoder = Decoder.of(manifest(**one_head, several={"worn_on": worn_on}))
    kind = np.full((2, 2), 0.5, np.float32)
    values = np.array([[0.9, 0.6, 0.01], [0.7, 0.6, 0.6]], np.float32)

    _, sets = decoder.combine({"kind": kind}, {"worn_on": values})

    assert sets["worn_on"].chosen.tolist() == [[True, False, False]]
    upper, lower, feet = sets["worn_on"].probabilities[0]
    assert upper > 0.8  # photos that agree are surer together than their mean
    assert 0.6 < lower < 0.7
    assert feet < 0.1
