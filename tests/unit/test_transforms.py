"""The augmentations: the same seed gives the same pixels, and each step does what the request says."""

import colorsys
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from services.augmentation.transforms import augment, border_colour, encode
from services.shared.events import Augmentation
from services.shared.images import decode
from tests.unit.photos import grey

SEEDS = [f"seed-{number}" for number in range(40)]
EVERYTHING = {
    "cropping": {"height": {"min": 20, "max": 40}},
    "resize": {"width": 30, "height": 24},
    "flip": {"horizontal": 0.5, "vertical": 0.5},
    "rotation": {"degrees": 30.0},
    "colour_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2},
    "blur": {"radius": 2.0},
}


def augmentation(**steps: Any) -> Augmentation:
    return Augmentation.model_validate(steps)


def coordinates(width: int = 60, height: int = 48) -> Image.Image:
    """A photo whose pixels say where they are: red is x, green is y."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x, y, np.full_like(x, 90)], axis=2).astype(np.uint8))


def garment(width: int = 60, height: int = 48) -> Image.Image:
    """A coloured shape, off the centre, on white."""
    image = Image.new("RGB", (width, height), "white")
    image.paste((180, 40, 70), (width // 6, height // 4, width // 2, 3 * height // 4))
    return image


def pixels(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image, np.int16)


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and bool((pixels(one) == pixels(other)).all())


# ------------------------------------------------------------------------------------- all steps


def test_the_same_seed_gives_the_same_bytes() -> None:
    everything = augmentation(**EVERYTHING)
    assert encode(augment(garment(), everything, "a")) == encode(augment(garment(), everything, "a"))


def test_other_seeds_give_other_pixels() -> None:
    everything = augmentation(**EVERYTHING)
    variants = {augment(garment(), everything, seed).tobytes() for seed in SEEDS}
    assert len(variants) == len(SEEDS)


def test_the_photo_itself_is_left_alone() -> None:
    photo = garment()
    augment(photo, augmentation(**EVERYTHING), "a")
    assert same(photo, garment())


@pytest.mark.parametrize("step", EVERYTHING)
def test_each_step_alone_does_something_that_shows(step: str) -> None:
    only = augmentation(**{step: EVERYTHING[step]})
    assert any(not same(augment(garment(), only, seed), garment()) for seed in SEEDS[:10])


@given(
    st.tuples(st.integers(1, 80), st.integers(1, 80)),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.sets(st.sampled_from(sorted(EVERYTHING)), min_size=1),
    st.text(),
)
@settings(max_examples=60)
def test_whatever_the_photo_the_size_is_the_one_that_was_asked_for(
    photo: tuple[int, int], size: tuple[int, int], steps: set[str], seed: str
) -> None:
    resize = {"width": size[0], "height": size[1]}
    chosen = {step: EVERYTHING[step] for step in steps} | {"resize": resize}
    variant = augment(garment(*photo), augmentation(**chosen), seed)
    assert (variant.mode, variant.size) == ("RGB", size)


def test_a_variant_is_stored_as_a_jpeg_that_is_close_to_it() -> None:
    variant = augment(garment(), augmentation(resize={"width": 64, "height": 64}), "a")
    data = encode(variant)
    assert Image.open(io.BytesIO(data)).format == "JPEG"
    assert np.abs(pixels(decode(data)) - pixels(variant)).mean() < 4


# ------------------------------------------------------------------------------------- cropping


@given(st.integers(1, 48), st.integers(0, 47), st.text())
def test_a_window_is_of_the_height_asked_for_and_inside_the_photo(low: int, spread: int, seed: str) -> None:
    high = min(48, low + spread)
    window = augment(coordinates(), augmentation(cropping={"height": {"min": low, "max": high}}), seed)
    assert low <= window.height <= high
    # Its proportions are the photo's, to a pixel.
    assert abs(window.width - window.height * 60 / 48) <= 0.5 or window.width == 1
    left, top, _ = pixels(window)[0, 0]
    y, x = np.mgrid[top : top + window.height, left : left + window.width]
    assert (pixels(window)[..., 0] == x).all()
    assert (pixels(window)[..., 1] == y).all()
    assert top + window.height <= 48
    assert left + window.width <= 60


def test_windows_are_of_all_heights_and_everywhere() -> None:
    cropping = augmentation(cropping={"height": {"min": 10, "max": 12}})
    windows = [augment(coordinates(), cropping, f"{number}") for number in range(300)]
    assert {window.height for window in windows} == {10, 11, 12}
    corners = np.array([pixels(window)[0, 0, :2] for window in windows])
    assert corners.min(axis=0).tolist() == [0, 0]
    assert (corners.max(axis=0) >= [44, 36]).all()


def test_a_window_has_the_proportions_of_the_size_it_is_brought_to() -> None:
    """A square window, so that a circle stays one."""
    square = augmentation(cropping={"height": {"min": 20, "max": 20}}, resize={"width": 100, "height": 100})
    variant = pixels(augment(coordinates(), square, "a"))
    across, down = np.ptp(variant[..., 0]), np.ptp(variant[..., 1])
    assert 18 <= across <= 21
    assert abs(int(across) - int(down)) <= 1


def test_a_window_larger_than_the_photo_is_the_photo() -> None:
    larger = augmentation(cropping={"height": {"min": 500, "max": 900}})
    assert same(augment(coordinates(), larger, "a"), coordinates())


# ------------------------------------------------------------------------------------- flip and rotation


@pytest.mark.parametrize(
    ("flip", "turn"),
    [
        ({"horizontal": 1.0}, Image.Transpose.FLIP_LEFT_RIGHT),
        ({"vertical": 1.0}, Image.Transpose.FLIP_TOP_BOTTOM),
        ({"horizontal": 1.0, "vertical": 1.0}, Image.Transpose.ROTATE_180),
    ],
)
def test_a_certain_flip_always_mirrors(flip: dict[str, float], turn: Image.Transpose) -> None:
    for seed in SEEDS:
        assert same(augment(garment(), augmentation(flip=flip), seed), garment().transpose(turn))


def test_an_impossible_flip_never_mirrors() -> None:
    for seed in SEEDS:
        assert same(augment(garment(), augmentation(flip={"horizontal": 0.0}), seed), garment())


def test_a_flip_of_one_in_four_happens_about_as_often() -> None:
    flip = augmentation(flip={"horizontal": 0.25})
    flipped = sum(not same(augment(garment(6, 6), flip, f"{n}"), garment(6, 6)) for n in range(1_000))
    assert 200 <= flipped <= 300


def test_a_rotation_stays_within_its_angle_and_shows_the_background_in_the_corners() -> None:
    photo = Image.new("RGB", (101, 101), (240, 230, 220))
    photo.paste((0, 0, 0), (48, 20, 53, 81))  # an upright bar
    angles = []
    for seed in SEEDS:
        turned = augment(photo, augmentation(rotation={"degrees": 20.0}), seed)
        assert turned.size == photo.size
        for corner in ((0, 0), (100, 0), (0, 100), (100, 100)):
            assert turned.getpixel(corner) == (240, 230, 220)
        dark = np.argwhere(pixels(turned)[..., 0] < 60)
        ends = [dark[dark[:, 0] == row, 1].mean() for row in (dark[:, 0].min(), dark[:, 0].max())]
        angles.append(np.degrees(np.arctan2(ends[1] - ends[0], np.ptp(dark[:, 0]))))
    assert max(angles) <= 24
    assert min(angles) >= -24
    assert max(angles) > 10
    assert min(angles) < -10


def test_the_border_colour_is_the_mean_of_the_corners() -> None:
    photo = Image.new("RGB", (5, 5), (7, 7, 7))
    for corner, level in zip(((0, 0), (4, 0), (0, 4), (4, 4)), (0, 40, 80, 120), strict=True):
        photo.putpixel(corner, (level, level, 0))
    assert border_colour(photo) == (60, 60, 0)


# ------------------------------------------------------------------------------------- colours and blur


@given(st.floats(0.05, 1), st.text())
def test_brightness_stays_within_its_factor(strength: float, seed: str) -> None:
    variant = augment(grey(100), augmentation(colour_jitter={"brightness": strength}), seed)
    level = variant.getpixel((0, 0))
    assert isinstance(level, tuple)
    assert 100 * (1 - strength) - 1 <= level[0] <= 100 * (1 + strength) + 1


@pytest.mark.parametrize("channel", ["brightness", "contrast", "saturation", "hue"])
def test_each_kind_of_jitter_goes_both_ways(channel: str) -> None:
    jitter = augmentation(colour_jitter={channel: 0.5})
    colours = {augment(garment(), jitter, seed).getpixel((15, 20)) for seed in SEEDS}
    reds = [colour[0] if channel != "hue" else colour[2] for colour in colours if isinstance(colour, tuple)]
    original = garment().getpixel((15, 20))
    assert isinstance(original, tuple)
    middle = original[0] if channel != "hue" else original[2]
    assert min(reds) < middle < max(reds)


def test_saturation_leaves_greys_alone() -> None:
    for seed in SEEDS:
        assert same(augment(grey(77), augmentation(colour_jitter={"saturation": 1.0}), seed), grey(77))


def hue_of(colour: object) -> float:
    assert isinstance(colour, tuple)
    return colorsys.rgb_to_hsv(*(level / 255 for level in colour))[0]


@given(st.floats(0.02, 0.5), st.sampled_from([(200, 20, 20), (20, 200, 20), (150, 90, 220)]), st.text())
def test_hue_moves_by_at_most_its_share_of_the_circle(
    share: float, colour: tuple[int, int, int], seed: str
) -> None:
    photo = Image.new("RGB", (2, 2), colour)
    variant = augment(photo, augmentation(colour_jitter={"hue": share}), seed).getpixel((0, 0))
    apart = abs(hue_of(variant) - hue_of(colour))
    assert min(apart, 1 - apart) <= share + 0.02
    assert isinstance(variant, tuple)
    assert abs(max(variant) - max(colour)) <= 2  # as bright as before


def test_hue_reaches_around_the_circle() -> None:
    photo = Image.new("RGB", (2, 2), (200, 20, 20))
    jitter = augmentation(colour_jitter={"hue": 0.5})
    hues = [hue_of(augment(photo, jitter, seed).getpixel((0, 0))) for seed in SEEDS]
    assert all(any(abs(hue - third) < 0.17 for hue in hues) for third in (1 / 3, 2 / 3))


def test_a_blur_softens_edges_and_keeps_the_rest() -> None:
    edge = Image.new("RGB", (64, 64), "white")
    edge.paste((0, 0, 0), (0, 0, 32, 64))
    steepest = []
    for seed in SEEDS:
        blurred = pixels(augment(edge, augmentation(blur={"radius": 4.0}), seed))[..., 0]
        assert (blurred[32, 0], blurred[32, 63]) == (0, 255)
        steepest.append(int(np.diff(blurred[32]).max()))
    assert min(steepest) < 40
    assert max(steepest) > 100
