import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.model.occlusion import STEPS, occlusion, shown

SIZE = 56


def photo() -> NDArray[np.uint8]:
    """A dark square in the upper left and one in the lower right, on white."""
    pixels = np.full((SIZE, SIZE, 3), 255, np.uint8)
    pixels[8:20, 8:20] = 20
    pixels[36:48, 36:48] = 20
    return pixels


def sees_the_upper_left(photos: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Surer, the more of that square is there."""
    return 0.9 * (photos[:, 8:20, 8:20, 0] < 128).mean(axis=(1, 2)).astype(np.float32)


def test_what_the_answer_rests_on_costs_most() -> None:
    lost = occlusion(sees_the_upper_left, photo())

    assert lost.shape == (SIZE, SIZE)
    assert lost[8:20, 8:20].mean() > 5 * np.abs(lost[36:48, 36:48]).mean()
    assert max(np.unravel_index(lost.argmax(), lost.shape)) < 24


def test_what_contradicts_the_answer_gains() -> None:
    lost = occlusion(lambda photos: 1 - sees_the_upper_left(photos), photo())

    assert lost[8:20, 8:20].mean() < 0


def test_all_covers_are_asked_for_at_once() -> None:
    asked = []

    def predict(photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(len(photos))
        return np.zeros(len(photos), np.float32)

    assert not occlusion(predict, photo()).any()
    assert asked == [STEPS**2 + 1]


def test_the_picture_is_tinted_there() -> None:
    picture = np.asarray(shown(photo(), occlusion(sees_the_upper_left, photo()), side=SIZE)).astype(int)

    redness = picture[..., 0] - picture[..., 2]
    assert redness[10:18, 10:18].mean() > 100
    assert np.abs(redness[38:46, 38:46]).mean() < 20


@given(size=st.integers(1, 40), level=st.integers(0, 255))
def test_any_size_can_be_explained(size: int, level: int) -> None:
    pixels = np.full((size, size, 3), level, np.uint8)

    lost = occlusion(lambda photos: np.full(len(photos), 0.5, np.float32), pixels)

    assert lost.shape == (size, size)
    assert shown(pixels, lost).size == (448, 448)
