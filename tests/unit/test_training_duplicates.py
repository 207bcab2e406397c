"""Copies of a photo are found, other photos are not, and no picture is on two sides."""

import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from services.model.duplicates import COARSE, COLOUR, FINE, Signature, signature
from services.training import fashion_mnist
from services.training.demo import tint
from services.training.examples import Side
from services.training.sides import Sides
from tests.unit.training_photos import picture, saved_again

SIDES: tuple[Side, ...] = ("train", "validate", "test")
GARMENTS = 40
BICUBIC = Image.Resampling.BICUBIC


def together(first: Image.Image, second: Image.Image) -> bool:
    """Whether the second photo is put where the first one is."""
    sides = Sides()
    sides.place(signature(first), "train")
    return sides.place(signature(second), "test") == "train"


def near(first: Signature, second: Signature) -> bool:
    """The definition, by comparing two signatures."""
    differing = np.bitwise_count(first.hash ^ second.hash)
    colours = np.abs(first.colour.astype(int) - second.colour)
    return bool(differing[0] <= COARSE and differing.sum() <= FINE and colours.max() <= COLOUR)


def garments() -> list[Image.Image]:
    """Real garments as a shop shows them: large, on a white ground."""
    photos, _ = fashion_mnist.load("train")
    framed = []
    for small in photos[:GARMENTS]:
        photo = Image.new("RGB", (868, 1041), "white")
        photo.paste(Image.fromarray(small).convert("RGB").resize((700, 700), BICUBIC), (84, 170))
        framed.append(photo)
    return framed


def cropped(image: Image.Image) -> Image.Image:
    """Without 4 % of its width and height."""
    width, height = image.size
    return image.crop((round(0.01 * width), round(0.03 * height), round(0.97 * width), round(0.99 * height)))


def padded(image: Image.Image) -> Image.Image:
    """On a wider white ground."""
    wide = Image.new("RGB", (image.width + 120, image.height + 30), "white")
    wide.paste(image, (50, 20))
    return wide


@pytest.mark.parametrize(
    "copy",
    [
        lambda image: saved_again(image, 90),
        lambda image: saved_again(image, 50),
        lambda image: saved_again(image.resize((434, 520), BICUBIC), 80),
        lambda image: saved_again(image.resize((1475, 1770), BICUBIC), 85),
        lambda image: saved_again(cropped(image), 85),
        lambda image: saved_again(padded(image), 85),
    ],
    ids=["quality-90", "quality-50", "half", "larger", "cropped", "padded"],
)
def test_a_copy_is_found(copy: Callable[[Image.Image], Image.Image]) -> None:
    found = sum(together(image, copy(image)) for image in garments())
    assert found >= GARMENTS - 1


def test_similar_garments_are_different_products() -> None:
    photos, _ = fashion_mnist.load("train")
    signatures = [signature(Image.fromarray(photo).convert("RGB")) for photo in photos[:3000]]
    sides = Sides()
    for each in signatures[::2]:
        sides.place(each, "train")
    swallowed = sum(sides.place(each, "test") != "test" for each in signatures[1::2])
    # Measured over all 60,000: 46 pairs, most of which do show the same picture.
    assert swallowed <= 2


def test_a_garment_in_another_colour_is_another_product() -> None:
    photos, _ = fashion_mnist.load("train")
    rng = np.random.default_rng(0)
    assert not any(
        together(tint(photo, "Grey", rng), tint(photo, "Olive", rng)) for photo in photos[:GARMENTS]
    )


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_photos_of_one_colour_are_the_same_picture(level: int) -> None:
    blank = Image.new("RGB", (60, 80), (level, level, level))
    assert together(blank, Image.new("RGB", (90, 90), (level, level, level)))
    assert not together(blank, Image.new("RGB", (60, 80), (level, 60, 200)))
    assert not together(blank, picture(1))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2)])
def test_any_size_has_a_signature(size: tuple[int, int]) -> None:
    assert signature(Image.new("RGB", size, "navy")).hash.shape == (4,)


def test_what_is_near_both_of_two_sides_is_on_none() -> None:
    base = Signature(np.zeros(4, np.uint64), np.zeros(3, np.uint8))

    def differing(bits: int) -> Signature:
        return Signature(np.array([0, (1 << bits) - 1, 0, 0], np.uint64), base.colour)

    def placed(photo: Signature) -> Side | None:
        sides = Sides()
        assert sides.place(base, "train") == "train"
        assert sides.place(differing(2 * FINE), "validate") == "validate"
        return sides.place(photo, "test")

    assert placed(differing(FINE)) is None
    assert placed(differing(FINE - 1)) == "train"
    assert placed(differing(FINE + 1)) == "validate"


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


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(signatures, st.sampled_from(SIDES)), max_size=25))
def test_no_two_near_duplicates_are_on_two_sides(photos: list[tuple[Signature, Side]]) -> None:
    sides = Sides()
    placed: list[tuple[Signature, Side]] = []
    for photo, side in photos:
        before = {where for other, where in placed if near(photo, other)}
        result = sides.place(photo, side)
        if len(before) > 1:
            assert result is None
        else:
            assert result == (before.pop() if before else side)
            placed.append((photo, result))


def test_one_of_many_photos_is_found() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, (20_000, 4), dtype=np.uint64)
    sides = Sides()
    for each in hashes:
        sides.place(Signature(each, np.zeros(3, np.uint8)), "train")
    assert sides.place(Signature(hashes[7] ^ np.uint64(1), np.zeros(3, np.uint8)), "test") == "train"


def test_equal_photos_take_no_more_room_than_one() -> None:
    sides = Sides()
    once = signature(picture(1))
    sides.place(once, "train")
    before = sys.getsizeof(sides._pictures._records)
    for _ in range(1000):
        assert sides.place(once, "test") == "train"
    assert sys.getsizeof(sides._pictures._records) == before
