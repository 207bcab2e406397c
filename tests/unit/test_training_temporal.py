"""Attributes that photos of new collections do not tell."""

import numpy as np

from services.training.temporal import Photos, probe

HEADS = ("type", "season")


def photos(
    count: int, seed: int, years: tuple[int, ...] = (2010, 2011, 2012, 2013, 2014, 2015, 2016)
) -> Photos:
    """Photos that tell a type in all years, and a season until 2015: then the shop exchanged them."""
    draw = np.random.default_rng(seed)
    targets = np.stack([draw.integers(3, size=count), draw.integers(2, size=count)], axis=1)
    when = draw.choice(years, count)
    shown = np.where(when >= 2016, 1 - targets[:, 1], targets[:, 1])
    embeddings = draw.normal(0, 0.1, (count, 8))
    embeddings[np.arange(count), targets[:, 0]] += 1
    embeddings[np.arange(count), 4 + shown] += 1
    return Photos(embeddings.astype(np.float32), targets.astype(np.int16), when.astype(np.int16))


def test_an_attribute_that_newer_photos_do_not_tell_is_found() -> None:
    aged = probe(photos(3_000, 0), photos(3_000, 1), HEADS, 0)

    assert {head for head, each in aged.items() if each.unreliable} == {"season"}
    assert aged["season"].from_year == 2016
    assert aged["season"].older > 0.95
    assert aged["season"].newer < 0.05
    assert str(aged["season"]).startswith("Learnt from photos before 2016, it is right on ")
    assert aged["type"].newer > 0.95


def test_nothing_is_said_without_photos_of_two_times() -> None:
    assert probe(photos(500, 0, (2015,)), photos(500, 1, (2015,)), HEADS, 0) == {}
    without = photos(500, 0, (0,))
    assert probe(without, without, HEADS, 0) == {}


def test_nothing_is_said_of_an_attribute_with_few_photos() -> None:
    train, held = photos(3_000, 0), photos(3_000, 1)
    held.targets[50:, 1] = -1
    assert probe(train, held, HEADS, 0).keys() == {"type"}


def test_a_change_of_the_mix_of_products_makes_no_attribute_unreliable() -> None:
    # Until 2015 nearly all photos are of types that are told apart; then the shop sells what looks alike.
    def mixed(seed: int) -> Photos:
        found = photos(6_000, seed)
        draw = np.random.default_rng([seed, 1])
        alike = draw.random(6_000) < np.where(found.years >= 2016, 0.9, 0.15)
        found.embeddings[alike, :3] = draw.normal(0, 0.1, (int(alike.sum()), 3))
        found.targets[alike, 0] = 3 + draw.integers(2, size=int(alike.sum()))
        return found

    aged = probe(mixed(0), mixed(1), HEADS, 0)
    assert aged["type"].newer < 0.7
    assert not aged["type"].unreliable
    assert aged["season"].unreliable


def test_a_label_that_the_older_photos_hardly_have_takes_no_part() -> None:
    train, held = photos(3_000, 0), photos(3_000, 1)
    for each in (train, held):
        each.targets[each.years >= 2016, 0] = np.where(
            np.arange((each.years >= 2016).sum()) % 2, 3, each.targets[each.years >= 2016, 0]
        )
        each.targets[np.flatnonzero(each.years < 2016)[:3], 0] = 3
    assert probe(train, held, HEADS, 0)["type"].newer > 0.95
