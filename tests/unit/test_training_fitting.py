from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from services.shared.memory import MemoryObjects
from services.training import snapshot as snapshots
from services.training.config import Augmentation, Fitting
from services.training.examples import UNKNOWN, Example, Side
from services.training.fitting import Checkpoint, FittingError, class_weights, fit, shuffled
from tests.unit.training_world import HEADS, SEVERAL, SIZE, Squares, frozen, small_network

STATE = "gs://bucket/run/fitting.npz"
# Photos whose sides carry the label are not to be mirrored.
PLAIN = Augmentation(mirrored=0, erased=0.2, mixed=0.5)
SETTINGS = Fitting(epochs=4, batch=16, learning_rate=0.03, warm_up_steps=4, averaging=0.9, augmentation=PLAIN)


class Interrupted(BaseException):
    """As the process ends: nothing may catch it."""


class Fragile(Checkpoint):
    """Writes after every step, and ends the process before a step."""

    def __init__(self, objects: MemoryObjects, last: int | None = None) -> None:
        super().__init__(objects, STATE, seconds=0)
        self._left = last

    @property
    def due(self) -> bool:
        if self._left is not None:
            if not self._left:
                raise Interrupted
            self._left -= 1
        return True


def weights(settings: Fitting = SETTINGS, checkpoint: Checkpoint | None = None) -> list[NDArray[np.float32]]:
    """What a network's weights are after fitting."""
    network = small_network()
    fit(network, frozen(), settings, 7, checkpoint or Fragile(MemoryObjects()), lambda line: None)
    return list(network.get_weights())


@pytest.fixture(autouse=True, scope="module")
def deterministic() -> None:
    tf.config.experimental.enable_op_determinism()


def test_it_learns_and_says_how_it_goes() -> None:
    lines: list[str] = []

    history = fit(small_network(), frozen(), SETTINGS, 7, Checkpoint(MemoryObjects(), STATE), lines.append)

    assert [epoch.number for epoch in history] == [1, 2, 3, 4]
    assert history[-1].loss < history[0].loss
    assert history[-1].accuracy == {"shade": 1.0, "half": 1.0}
    assert "epoch 4 of 4" in lines[-1]
    assert " min left" in lines[0]


@pytest.mark.parametrize("steps", [1, 7, 13])
def test_an_interrupted_run_ends_exactly_where_an_uninterrupted_one_does(steps: int) -> None:
    objects = MemoryObjects()

    with pytest.raises(Interrupted):
        weights(checkpoint=Fragile(objects, last=steps))
    resumed = weights(checkpoint=Fragile(objects))

    for one, other in zip(resumed, weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_finished_run_is_not_run_again() -> None:
    objects = MemoryObjects()
    first = weights(checkpoint=Fragile(objects))

    # It would end in `Interrupted`, were there any step.
    for one, other in zip(first, weights(checkpoint=Fragile(objects, last=0)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_seed_decides() -> None:
    network = small_network()
    fit(network, frozen(), SETTINGS, 8, Fragile(MemoryObjects()), lambda line: None)

    assert not np.array_equal(network.get_weights()[0], weights()[0])


def test_a_head_of_which_nothing_is_known_is_not_moved() -> None:
    class Shadeless(Squares):
        def examples(self, image_size: int) -> Iterator[tuple[Side, Example]]:
            for side, example in super().examples(image_size):
                yield side, replace(example, labels={**example.labels, "shade": UNKNOWN})

    network = small_network()
    before = network.get_layer("shade").get_weights()
    moved = network.get_layer("half").get_weights()
    settings = SETTINGS.model_copy(update={"weight_decay": 0.0, "epochs": 1})

    history = fit(network, frozen(Shadeless()), settings, 7, Fragile(MemoryObjects()), lambda line: None)

    np.testing.assert_allclose(network.get_layer("shade").get_weights()[0], before[0], atol=1e-6)
    assert np.abs(network.get_layer("half").get_weights()[0] - moved[0]).max() > 1e-3
    assert history[0].accuracy.keys() == {"half"}


def test_it_stops_when_nothing_gets_better_and_keeps_the_best() -> None:
    lines: list[str] = []
    settings = SETTINGS.model_copy(update={"epochs": 30, "patience": 2})
    network = small_network()

    history = fit(network, frozen(), settings, 7, Fragile(MemoryObjects()), lines.append)

    best = max(history, key=lambda epoch: epoch.score)
    assert len(history) == best.number + 2 < 30
    assert "stops early" in lines[-1]


def test_two_runs_cannot_share_a_place() -> None:
    objects = MemoryObjects()

    class Intruded(Checkpoint):
        def write(self, data: bytes) -> None:
            objects.put(STATE, b"of another run")
            super().write(data)

    with pytest.raises(FittingError, match="another run"):
        weights(checkpoint=Intruded(objects, STATE))


def test_a_checkpoint_of_another_network_is_refused() -> None:
    objects = MemoryObjects()
    weights(checkpoint=Fragile(objects))
    wider = {**HEADS, "shade": ("dark", "light", "grey")}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.unit.training_world.HEADS", wider)
        network = small_network()
    with pytest.raises(FittingError, match="another network"):
        fit(network, frozen(Squares(heads=wider)), SETTINGS, 7, Fragile(objects), lambda line: None)


def test_less_than_a_batch_is_told() -> None:
    with pytest.raises(FittingError, match="12 examples to train on are less than a batch of 16"):
        fit(small_network(), frozen(Squares(train=12)), SETTINGS, 7, Fragile(MemoryObjects()), print)


def test_each_epoch_has_every_example_once_in_another_order() -> None:
    snapshot = frozen(Squares(train=600))

    orders = [
        [str(key) for shard in shuffled(snapshot, 3, epoch, 16) for key in shard.keys] for epoch in (0, 1, 1)
    ]

    for order in orders:
        assert len(order) == len(set(order)) == 592
    assert orders[1] == orders[2] != orders[0]
    assert any(int(one[6:]) > int(other[6:]) + 256 for one, other in pairwise(orders[0]))


def test_rare_labels_count_more_the_more_balance_is_asked_for() -> None:
    snapshot = frozen(Squares(train=400))

    np.testing.assert_allclose(class_weights(snapshot, "shade", 0.0), [1, 1])
    dark, light = class_weights(snapshot, "shade", 1.0)  # of 200 and 100
    assert light / dark == pytest.approx(2)
    assert (200 * dark + 100 * light) / 300 == pytest.approx(1)


@dataclass
class TwoOrigins(Squares):
    """Squares of which every third training photo is of another origin."""

    def examples(self, image_size: int) -> Iterator[tuple[Side, Example]]:
        for index, (side, example) in enumerate(super().examples(image_size)):
            yield side, replace(example, origin="rare" if index % 3 == 0 else "photo")


def test_an_epoch_shows_photos_as_often_as_their_origin_is_to_be() -> None:
    snapshot = frozen(TwoOrigins(train=3_000))
    shown = {"rare": 2.5, "photo": 0.5}

    batches = [*shuffled(snapshot, 0, 0, 16, shown)]

    origins = np.concatenate([batch.origins for batch in batches])
    assert len(origins) == (1_000 * 2.5 + 2_000 * 0.5) // 16 * 16
    assert (origins == "rare").sum() == pytest.approx(2_500, rel=0.03)
    keys, times = np.unique(np.concatenate([batch.keys for batch in batches]), return_counts=True)
    assert (times > 3).mean() < 0.02  # of those that a second pass shows
    assert len(keys) < 3_000
    again = np.concatenate([batch.keys for batch in shuffled(snapshot, 0, 0, 16, shown)])
    assert (again == np.concatenate([batch.keys for batch in batches])).all()


def test_a_network_for_fewer_pixels_is_fitted_to_photos_made_smaller() -> None:
    larger = snapshots.write(
        MemoryObjects(), "gs://bucket/run/snapshot", Squares(), 2 * SIZE, lambda count: None
    )

    history = fit(small_network(), larger, SETTINGS, 7, Checkpoint(MemoryObjects(), STATE), lambda line: None)

    assert history[-1].accuracy["half"] > 0.9


@pytest.mark.parametrize("epochs", [1, 3])
def test_what_is_to_be_tried_is_tried_once_with_the_first_epochs_weights(epochs: int) -> None:
    network, seen = small_network(), list[NDArray[np.float32]]()

    history = fit(
        network,
        frozen(),
        SETTINGS.model_copy(update={"epochs": epochs}),
        7,
        Checkpoint(MemoryObjects(), STATE),
        lambda line: None,
        after_first_epoch=lambda: seen.append(network.get_weights()[0]),
    )

    assert (len(history), len(seen)) == (epochs, 1)
    if epochs == 1:
        np.testing.assert_array_equal(seen[0], network.get_weights()[0])


def test_heads_of_several_labels_are_learnt_from_what_is_known_of_each() -> None:
    data = frozen(Squares(several=SEVERAL))
    assert data.manifest.labels["marks"] == {"light": 24, "left": 48, "right": 48}
    assert data.column("validate", "several").shape == (24, 3)

    history = fit(small_network(SEVERAL), data, SETTINGS, 7, Fragile(MemoryObjects()), lambda line: None)

    assert history[-1].accuracy.keys() == {"shade", "half", "marks"}
    assert history[-1].accuracy["marks"] == 1.0
