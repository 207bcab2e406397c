import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from services.training import fashion_mnist, samples
from services.training.packshots import BASE_COLOURS, Seed

PHOTOS = 12


@pytest.fixture
def photos() -> NDArray[np.uint8]:
    """Grey garments with a light left and a dark right half, on white."""
    photos = np.full((PHOTOS, 28, 28), 255, np.uint8)
    photos[:, 6:22, 8:14] = 140
    photos[:, 6:22, 14:20] = 90
    return photos


@pytest.fixture
def classes() -> NDArray[np.uint8]:
    return (np.arange(PHOTOS) % 10).astype(np.uint8)


def test_the_labels_are_fashion_mnists_first_then_the_drawn_ones() -> None:
    types = samples.HEADS["article_type"]

    assert tuple(types[:10]) == fashion_mnist.ARTICLE_TYPES
    assert len(types) == len(set(types)) == 20
    assert tuple(samples.HEADS["base_colour"]) == tuple(BASE_COLOURS)


def test_a_grey_photo_has_a_type_and_no_colour(photos: NDArray[np.uint8], classes: NDArray[np.uint8]) -> None:
    for made in (samples.real_photos(photos, classes), samples.delivered_photos(photos, classes)):
        assert made.pixels.shape == (PHOTOS, samples.IMAGE_SIZE, samples.IMAGE_SIZE, 3)
        assert made.targets["article_type"].tolist() == classes.tolist()
        assert set(made.targets["base_colour"]) == {samples.UNKNOWN}


def test_a_tinted_photo_has_the_colour_that_it_is_said_to_have(
    photos: NDArray[np.uint8], classes: NDArray[np.uint8]
) -> None:
    made = samples.varied_photos(photos, classes, seed=0, tinted=1.0)

    values = np.array(list(BASE_COLOURS.values()))
    for pixels, colour in zip(made.pixels, made.targets["base_colour"], strict=True):
        garment = pixels[40:72, 44:68].reshape(-1, 3).mean(axis=0)
        assert np.abs(garment - values[colour]).mean() < 40
        assert pixels[0, 0].min() > 235  # the ground stays white


def test_a_share_is_tinted_and_the_rest_is_grey_of_unknown_colour(
    photos: NDArray[np.uint8], classes: NDArray[np.uint8]
) -> None:
    many = samples.varied_photos(photos.repeat(20, axis=0), classes.repeat(20), seed=1, tinted=0.4)

    unknown = many.targets["base_colour"] == samples.UNKNOWN
    assert 0.5 < unknown.mean() < 0.7
    assert np.ptp(many.pixels[unknown].astype(int), axis=-1).max() <= 3


def test_tinting_keeps_the_relief(photos: NDArray[np.uint8]) -> None:
    red = list(BASE_COLOURS).index("Red")
    tinted = np.asarray(samples.tint(photos[0], red, np.random.default_rng(0))).astype(int)

    assert tinted[14, 10].sum() > tinted[14, 17].sum() + 20
    assert tinted[14, 10, 0] > tinted[14, 10, 1] + 80


def test_the_same_seed_varies_the_same_way(photos: NDArray[np.uint8], classes: NDArray[np.uint8]) -> None:
    once, again, other = (samples.varied_photos(photos, classes, seed, 0.5).pixels for seed in (3, 3, 4))

    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)


def test_drawings_have_both_labels() -> None:
    drawn = samples.drawn_packshots(30, Seed.TEST)

    assert len(drawn) == 30
    assert all(target.min() >= 0 for target in drawn.targets.values())


def test_parts_are_joined_in_order(photos: NDArray[np.uint8], classes: NDArray[np.uint8]) -> None:
    real, drawn = samples.real_photos(photos, classes), samples.drawn_packshots(3, Seed.TEST)

    joined = samples.concatenate([real, drawn])

    assert len(joined) == PHOTOS + 3
    np.testing.assert_array_equal(joined.pixels[-3:], drawn.pixels)
    assert joined.targets["base_colour"][:PHOTOS].tolist() == [samples.UNKNOWN] * PHOTOS


def test_a_jpeg_is_a_jpeg() -> None:
    content = samples.jpeg(Image.new("L", (28, 28), 200), 90)

    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.size) == ("JPEG", (28, 28))
