"""Folds: near-duplicates are in one, the ids decide which, and no label reaches the heads of its own fold."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.audit.folds import folds, pictures
from services.audit.labels import NONE
from services.audit.regression import cross_fit
from services.model.duplicates import COARSE, COLOUR, FINE, Signature

signatures = st.builds(
    # Few signs set, so that many are near each other, on both sides of the bounds.
    lambda coarse, fine, colour: Signature(
        np.array([sum(1 << bit for bit in coarse), sum(1 << bit for bit in fine), 0, 0], np.uint64),
        np.array([colour, 0, 0], np.uint8),
    ),
    st.sets(st.sampled_from([0, 9, 10, 11, 21, 32, 33, 43, 53, 54, 63]), max_size=8),
    st.sets(st.integers(0, 40), max_size=30),
    st.sampled_from([0, 4, 8, 12]),
)


def near(first: Signature, second: Signature) -> bool:
    """The definition, by comparing two signatures."""
    differing = np.bitwise_count(first.hash ^ second.hash)
    colours = np.abs(first.colour.astype(int) - second.colour)
    return bool(differing[0] <= COARSE and differing.sum() <= FINE and colours.max() <= COLOUR)


def connected(photos: Sequence[Signature]) -> list[set[int]]:
    """The photos that are near each other, directly or by way of others."""
    sets: list[set[int]] = []
    for number, photo in enumerate(photos):
        touched = [each for each in sets if any(near(photo, photos[other]) for other in each)]
        sets = [each for each in sets if each not in touched] + [{number}.union(*touched)]
    return sets


@settings(max_examples=200, deadline=None)
@given(st.lists(signatures, max_size=25))
def test_a_picture_is_all_that_is_connected_by_near_duplicates(photos: list[Signature]) -> None:
    found = pictures(enumerate(photos), len(photos))
    expected = {frozenset(each) for each in connected(photos)}
    assert {frozenset(np.flatnonzero(found == first).tolist()) for first in found} == expected
    assert all(first == min(np.flatnonzero(found == first)) for first in found)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.text(), signatures), max_size=25, unique_by=lambda pair: pair[0]),
    st.integers(2, 20),
    st.randoms(),
)
def test_near_duplicates_share_a_fold_in_whatever_order_the_products_come(
    products: list[tuple[str, Signature]], count: int, random: object
) -> None:
    def cut(listed: list[tuple[str, Signature]]) -> dict[str, int]:
        ids = [product_id for product_id, _ in listed]
        found = folds(ids, pictures(enumerate(photo for _, photo in listed), len(listed)), count)
        return dict(zip(ids, found.tolist(), strict=True))

    first = cut(products)
    assert all(0 <= fold < count for fold in first.values())
    for one, photo in products:
        assert all(first[one] == first[other] for other, copy in products if near(photo, copy))
    assert cut(sorted(products, key=lambda pair: pair[0], reverse=True)) == first


def test_a_fold_is_the_same_for_ever() -> None:
    """An audit with another model is compared product by product."""
    assert folds(["1163", "1164", "1165", "1525", "1526"], np.arange(5), 5).tolist() == [1, 2, 0, 1, 4]


def test_folds_are_about_as_large() -> None:
    sizes = np.bincount(folds([*map(str, range(10_000))], np.arange(10_000), 5))
    assert len(sizes) == 5
    assert min(sizes) > 1_850


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int8]]:
    """Inputs, labels and folds of some products; each label is in all three folds."""
    count = draw(st.integers(0, 20))
    labels = draw(st.integers(2, 3))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    certain = [(label, fold) for label in range(labels) for fold in range(3)]
    drawn = [(int(rng.integers(NONE, labels)), int(rng.integers(0, 3))) for _ in range(count)]
    targets, placed = zip(*certain, *drawn, strict=True)
    inputs = rng.normal(size=(len(targets), 3)).astype(np.float32)
    return inputs, np.array(targets, np.int32), np.array(placed, np.int8)


@settings(max_examples=50, deadline=None)
@given(catalogues(), st.data())
def test_no_label_reaches_the_heads_that_judge_its_product(
    catalogue: tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int8]], data: st.DataObject
) -> None:
    inputs, targets, placed = catalogue
    labels = int(targets.max()) + 1
    fold = data.draw(st.sampled_from(sorted(set(placed.tolist()))))
    changed = targets.copy()
    own = np.flatnonzero(placed == fold)
    changed[own] = data.draw(
        st.lists(st.integers(NONE, labels - 1), min_size=len(own), max_size=len(own)).map(np.array)
    )

    before = cross_fit(inputs, targets, placed, labels)[fold]
    after = cross_fit(inputs, changed, placed, labels)[fold]

    np.testing.assert_array_equal(before.weights, after.weights)
    np.testing.assert_array_equal(before.bias, after.bias)
