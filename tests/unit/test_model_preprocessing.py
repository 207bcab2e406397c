import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from services.model.preprocessing import to_array


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 400), height=st.integers(1, 400), size=st.integers(8, 160))
def test_any_photo_becomes_a_square_of_bytes(width: int, height: int, size: int) -> None:
    pixels = to_array(Image.new("RGB", (width, height), (10, 200, 30)), size)

    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == (10, 200, 30)).all()  # one colour stays that colour, padding included


def test_the_proportions_are_kept_and_the_rest_continues_the_background() -> None:
    photo = Image.new("RGB", (60, 80), (250, 248, 246))
    photo.paste((200, 0, 0), (20, 20, 40, 60))  # half as wide as high

    pixels = to_array(photo, 80)

    red = np.argwhere((pixels[..., 0] > 150) & (pixels[..., 1] < 60))
    height, width = red.max(axis=0) - red.min(axis=0) + 1
    assert (height, width) == (40, 20)
    assert (pixels[:, :10] == (250, 248, 246)).all()
    assert (pixels[:, -10:] == (250, 248, 246)).all()


def test_a_garment_that_touches_one_edge_does_not_colour_the_padding() -> None:
    photo = Image.new("RGB", (60, 80), "white")
    photo.paste((0, 0, 120), (10, 40, 50, 80))

    assert (to_array(photo, 80)[:, :10] == 255).all()


def test_reducing_averages_instead_of_skipping() -> None:
    checks = Image.fromarray((np.indices((448, 448)).sum(axis=0) % 2 * 255).astype(np.uint8)).convert("RGB")

    pixels = to_array(checks, 112)

    assert pixels.min() >= 120
    assert pixels.max() <= 135


def test_fashion_mnist_is_enlarged_fourfold_without_padding() -> None:
    photo = np.full((28, 28), 255, np.uint8)
    photo[:, 0] = 0

    pixels = to_array(Image.fromarray(photo).convert("RGB"), 112)

    assert pixels[:, :2].max() < 60
    assert pixels[:, 8:].min() > 240
