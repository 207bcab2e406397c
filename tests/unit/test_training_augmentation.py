import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from services.training.augmentation import mix, vary
from services.training.config import Augmentation

SEED = (1, 2)
NONE = Augmentation(mirrored=0, erased=0, mixed=0)


def photos(count: int = 64, size: int = 24) -> NDArray[np.uint8]:
    """White, with a dark garment whose left half is darker."""
    pixels = np.full((count, size, size, 3), 255, np.uint8)
    pixels[:, 6:18, 6:12] = 40
    pixels[:, 6:18, 12:18] = 120
    return pixels


def varied(settings: Augmentation, seed: tuple[int, int] = SEED) -> NDArray[np.float32]:
    return np.asarray(vary(photos(), settings, tf.constant(seed)))


def test_the_draws_are_the_seeds() -> None:
    np.testing.assert_array_equal(varied(Augmentation()), varied(Augmentation()))
    assert not np.array_equal(varied(Augmentation()), varied(Augmentation(), (1, 3)))


def test_photos_are_moved_a_little_over_a_white_ground() -> None:
    moved = varied(NONE)

    assert moved.shape == (64, 24, 24, 3)
    assert (moved[:, 0] > 250).all()
    assert (moved[:, -1] > 250).all()
    dark = (moved[..., 0] < 200).mean(axis=(1, 2))
    assert ((dark > 0.15) & (dark < 0.36)).all()  # 0.25, zoomed to 0.88 to 1.1
    assert len(np.unique(moved.reshape(64, -1), axis=0)) == 64


def test_as_many_as_asked_for_are_mirrored() -> None:
    for share in (0, 0.5, 1):
        moved = varied(NONE.model_copy(update={"mirrored": share}))
        mirrored = _middle(moved[..., 0] < 70) > _middle((moved[..., 0] > 90) & (moved[..., 0] < 150))
        assert abs(mirrored.mean() - share) < 0.2


def _middle(marked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean column [N] of what is marked [N, S, S]."""
    return np.asarray((marked * np.arange(24)).sum(axis=(1, 2)) / marked.sum(axis=(1, 2)))


def test_erasing_paints_a_rectangle_over_the_share_asked_for() -> None:
    whole, erased = varied(NONE), varied(NONE.model_copy(update={"erased": 0.5}))

    changed = np.abs(whole - erased).max(axis=3) > 0
    touched = changed.any(axis=(1, 2))
    assert 0.25 < touched.mean() < 0.75
    assert changed[touched].mean(axis=(1, 2)).max() <= 0.4 * 0.4 + 0.1


def test_mixing_blends_photos_and_targets_alike() -> None:
    pixels = np.stack([np.zeros((4, 4, 3)), np.full((4, 4, 3), 100)]).astype(np.float32)
    targets = {
        "type": np.array([[1, 0], [0, 1]], np.float32),
        "colour": np.array([[1, 0], [0, 0]], np.float32),
    }

    blended, wanted = mix(pixels, targets, Augmentation(mixed=1, mixed_share=0.2), tf.constant(SEED))

    share = float(blended[0, 0, 0, 0]) / 100
    assert 0 < share <= 0.2
    np.testing.assert_allclose(wanted["type"], [[1 - share, share], [share, 1 - share]], atol=1e-6)
    # What is mixed with something unknown is not known.
    np.testing.assert_array_equal(wanted["colour"], np.zeros((2, 2)))


def test_what_is_not_mixed_stays() -> None:
    targets = {"colour": np.array([[1, 0], [0, 0]], np.float32)}

    blended, wanted = mix(photos(2).astype(np.float32), targets, NONE, tf.constant(SEED))

    np.testing.assert_array_equal(blended, photos(2))
    np.testing.assert_array_equal(wanted["colour"], targets["colour"])


def test_a_white_background_gets_another_colour_and_the_garment_stays() -> None:
    plain, grounded = varied(NONE), varied(NONE.model_copy(update={"grounded": 0.5}))

    corners = grounded[:, 0, 0]
    changed = np.abs(corners - plain[:, 0, 0]).max(axis=1) > 4
    assert 0.25 < changed.mean() < 0.75
    assert len(np.unique(corners[changed].round(), axis=0)) > 20
    garment = np.abs(plain[..., 0] - 40) < 0.5  # not its edges, which are mixed with the background
    np.testing.assert_allclose(grounded[garment], plain[garment], atol=1)


def test_photos_are_blurred_as_those_of_fewer_pixels_are() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3)).astype(np.uint8)
    contrast = [
        float(
            np.asarray(
                vary(noise, NONE.model_copy(update={"resampled": share}), tf.constant((7, step)))
            ).std()
        )
        for share in (0, 1)
        for step in range(4)
    ]
    assert max(contrast[4:]) < min(contrast[:4])


def test_photos_are_made_narrower_or_a_little_wider() -> None:
    def widths(settings: Augmentation) -> NDArray[np.float64]:
        return np.asarray((varied(settings)[..., 0] < 200).any(axis=1).sum(axis=1), np.float64)

    relative = widths(NONE.model_copy(update={"stretched": 1.0})) / widths(NONE)
    assert relative.min() < 0.9
    assert relative.min() > 0.7
    assert relative.max() < 1.25
