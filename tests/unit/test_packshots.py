import numpy as np
import pytest

from services.training.packshots import BASE_COLOURS, GARMENTS, Seed, draw, packshots

GROUND = 235


@pytest.mark.parametrize("article_type", GARMENTS)
def test_a_garment_stands_on_a_plain_ground(article_type: str) -> None:
    shot = draw(article_type, "Red", np.random.default_rng(0))
    pixels = np.asarray(shot.image).astype(int)
    red = (pixels[..., 0] - pixels[..., 1]) > 60

    assert shot.image.size == (60, 80)
    assert 0.02 < red.mean() < 0.75
    assert np.median(np.concatenate([pixels[0], pixels[-1]])) > GROUND


@pytest.mark.parametrize("base_colour", BASE_COLOURS)
def test_its_middle_has_the_named_colour(base_colour: str) -> None:
    """By the nearest of the 14, most of the time: light and shade move a colour, but not to another name."""
    names, values = list(BASE_COLOURS), np.array(list(BASE_COLOURS.values()))
    nearest = []
    for seed in range(20):
        pixels = np.asarray(draw("Trousers", base_colour, np.random.default_rng(seed)).image)
        cloth = np.median(pixels[15:40, 24:36].reshape(-1, 3), axis=0)
        nearest.append(names[np.abs(values - cloth).sum(axis=1).argmin()])

    assert nearest.count(base_colour) >= 15


def test_the_same_seed_draws_the_same_and_another_one_draws_others() -> None:
    once, again, other = (list(packshots(5, seed)) for seed in (Seed.DEMO, Seed.DEMO, Seed.TRAINING))

    assert [shot.image.tobytes() for shot in once] == [shot.image.tobytes() for shot in again]
    assert not {shot.image.tobytes() for shot in once} & {shot.image.tobytes() for shot in other}


def test_a_longer_series_begins_with_the_shorter_one() -> None:
    short, long = list(packshots(3, Seed.TEST)), list(packshots(6, Seed.TEST))

    assert [shot.image.tobytes() for shot in long[:3]] == [shot.image.tobytes() for shot in short]


def test_a_series_has_every_type_and_every_colour() -> None:
    series = list(packshots(200, Seed.TEST))

    assert {shot.article_type for shot in series} == set(GARMENTS)
    assert {shot.base_colour for shot in series} == set(BASE_COLOURS)


def test_no_two_drawings_of_a_garment_are_equal() -> None:
    drawings = {draw("Heels", "Black", np.random.default_rng(seed)).image.tobytes() for seed in range(10)}

    assert len(drawings) == 10
