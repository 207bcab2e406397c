"""Fitting a network to a snapshot: streamed, masked where labels are missing, resumable, the same each time.

Memory does not grow with the snapshot: a few shards are read ahead and shuffled with each other. Order, draws
and arithmetic derive from the seed and the number of the step alone, so that a run which was killed and begun
again from its checkpoint ends where an uninterrupted one does.
"""

import ctypes
import io
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from services.model.several import decisions
from services.shared.errors import ObjectNotFoundError
from services.shared.ports import Objects
from services.training.augmentation import mix, vary
from services.training.config import Fitting
from services.training.snapshot import Shard, Snapshot

# Shards that are shuffled with each other.
SHUFFLED_SHARDS = 8
PREFETCHED_BATCHES = 8
PACE_STEPS = 200
# Of a batch: a head is weighted as if so much of it were known at least.
KNOWN_SHARE = 0.25


class FittingError(RuntimeError):
    """The run cannot go on; the message says why."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to."""

    number: int  # from 1
    loss: float  # mean over its steps
    # Head -> share of the validation side that is right, by the averaged weights: of its photos, or, if they
    # may have several labels, of each label of each photo.
    accuracy: dict[str, float]

    @property
    def score(self) -> float:
        """What early stopping looks at: the mean over heads."""
        return float(np.mean(list(self.accuracy.values())))


@dataclass
class _State:
    """All that a run needs to go on from `step`."""

    step: int
    losses: list[float]  # of the epoch so far
    history: list[Epoch]
    variables: list[NDArray[Any]]  # the network's, the optimizer's, the average's
    best: list[NDArray[Any]] = field(default_factory=list)  # the averaged weights of the best epoch

    def to_bytes(self) -> bytes:
        file = io.BytesIO()
        header = {
            "step": self.step,
            "losses": self.losses,
            "history": [vars(epoch) for epoch in self.history],
        }
        arrays = {f"variable{index}": array for index, array in enumerate(self.variables)}
        arrays |= {f"best{index}": array for index, array in enumerate(self.best)}
        np.savez(file, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "_State":
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            header = json.loads(str(arrays["header"]))

            def numbered(prefix: str) -> list[NDArray[Any]]:
                names = [name for name in arrays.files if name.startswith(prefix)]
                return [arrays[f"{prefix}{index}"] for index in range(len(names))]

            return cls(
                header["step"],
                header["losses"],
                [Epoch(**epoch) for epoch in header["history"]],
                numbered("variable"),
                numbered("best"),
            )


class Checkpoint:
    """Where a run's state is kept: one object, which only the run that wrote it last may replace.

    Args:
        objects: Cloud Storage, or a folder.
        uri: the object's.
        seconds: between two writes within an epoch.

    """

    def __init__(self, objects: Objects, uri: str, seconds: float = 300.0) -> None:
        self._objects, self._uri, self._seconds = objects, uri, seconds
        self._generation = 0
        self._written = time.monotonic()

    def read(self) -> bytes | None:
        """What was written last, if anything."""
        try:
            stored = self._objects.read(self._uri)
        except ObjectNotFoundError:
            return None
        self._generation = stored.generation
        return stored.data

    @property
    def due(self) -> bool:
        """Whether the last write is long enough ago."""
        return time.monotonic() - self._written >= self._seconds

    def write(self, data: bytes) -> None:
        """Replaces what was written last.

        Raises:
            FittingError: another run has written here since.

        """
        if not self._objects.replace(self._uri, data, "application/octet-stream", self._generation):
            raise FittingError(
                f"{self._uri} was written by another run meanwhile: two must not share a place"
            )
        self._generation = self._objects.read(self._uri).generation
        self._written = time.monotonic()


def fit(
    network: tf_keras.Model,
    snapshot: Snapshot,
    settings: Fitting,
    seed: int,
    checkpoint: Checkpoint,
    say: Callable[[str], None],
    *,
    shown: Mapping[str, float] = MappingProxyType({}),
    after_first_epoch: Callable[[], None] = lambda: None,
    later: float = 0.0,
) -> list[Epoch]:
    """Fit a network, from the checkpoint on if there is one; it ends with the best epoch's averaged weights.

    Args:
        network: `services.model.network.build`'s, of either form; what is not trainable in it stays. Photos
            are made smaller to the size that it takes.
        snapshot: has the network's heads.
        settings: how.
        seed: of order and augmentation.
        checkpoint: where to begin, and what is written to on the way.
        say: is told how it goes, in lines for people.
        shown: origin -> how often an epoch shows each of its photos; else once.
        after_first_epoch: is called while the network has the averaged weights of the first epoch.
        later: how long what comes after this takes, in multiples of this; for the time that is left.

    Raises:
        FittingError: the snapshot has less than a batch to train on, or another run uses the checkpoint.

    """
    heads, several = list(snapshot.manifest.heads), list(snapshot.manifest.several)
    epoch_steps = _epoch_steps(snapshot, settings.batch, shown)
    size = network.input_shape[1]
    if not epoch_steps:
        raise FittingError(
            f"{snapshot.manifest.examples['train']} examples to train on are less than a batch of "
            f"{settings.batch}"
        )
    steps = epoch_steps * settings.epochs
    warm_up = min(settings.warm_up_steps, steps // 2)
    optimizer = tf_keras.optimizers.AdamW(
        tf_keras.optimizers.schedules.CosineDecay(
            0.0, steps - warm_up, warmup_target=settings.learning_rate, warmup_steps=warm_up
        ),
        weight_decay=settings.weight_decay,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(network.trainable_variables)
    average = [tf.Variable(weight) for weight in network.weights]
    variables = [*network.weights, *optimizer.variables, *average]
    weights = {head: tf.constant(class_weights(snapshot, head, settings.class_balance)) for head in heads}

    def update(pixels: tf.Tensor, targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = network(pixels, training=True)
            losses = [_loss(logits[head], targets[head], weights[head], settings) for head in heads]
            losses += [_loss_of_several(logits[head], targets[head], settings) for head in several]
            loss = tf.add_n(losses)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        # Young averages forget faster, so that they do not remember the untrained network.
        taken = tf.cast(optimizer.iterations, tf.float32)
        kept = tf.minimum(settings.averaging, (1 + taken) / (10 + taken))
        for mean, weight in zip(average, network.weights, strict=True):
            mean.assign(kept * mean + (1 - kept) * weight)
        return loss

    step = tf.function(update)
    state = _restored(checkpoint, variables) or _State(0, [], [], [])
    if state.step:
        say(f"goes on from step {state.step} of {steps}")

    def save() -> None:
        state.variables = [variable.numpy() for variable in variables]
        checkpoint.write(state.to_bytes())

    clock = _Clock(state.step, steps, later)
    first = state.step
    if not _stopped(state.history, settings):
        for pixels, targets in _batches(snapshot, settings, seed, size, shown, state.step, steps):
            if state.step == first:
                # TensorFlow's generator data set has set it to little when its first batch is there.
                _keep_memory()
            state.losses.append(float(step(pixels, targets)))
            state.step += 1
            clock.passed(state.step)
            if state.step % epoch_steps == 0:
                now = network.get_weights()
                network.set_weights([mean.numpy() for mean in average])
                epoch = Epoch(
                    state.step // epoch_steps, float(np.mean(state.losses)), accuracy(network, snapshot)
                )
                state.history.append(epoch)
                state.losses = []
                if max(state.history, key=_score) is epoch:
                    state.best = network.get_weights()
                if epoch.number == 1:
                    after_first_epoch()
                network.set_weights(now)
                save()
                say(
                    f"epoch {epoch.number} of {settings.epochs}: loss {epoch.loss:.4f}, right on held photos "
                    + ", ".join(f"{head} {value:.4f}" for head, value in epoch.accuracy.items())
                    + f"; {clock.left()}"
                )
                if _stopped(state.history, settings) and state.step < steps:
                    say(f"no better for {settings.patience} epochs: stops early")
                    break
            elif checkpoint.due:
                save()
                say(
                    f"step {state.step} of {steps}: loss {np.mean(state.losses):.4f}, checkpoint written; "
                    f"{clock.left()}"
                )
    network.set_weights(state.best)
    return state.history


class _Clock:
    """How long a run will still take, by the pace of its last steps."""

    def __init__(self, first: int, steps: int, later: float) -> None:
        self._steps, self._later = steps, later
        # When a step was done; the first of a process also compiles, and does not count.
        self._done: deque[tuple[int, float]] = deque(maxlen=PACE_STEPS)
        self._step = first

    def passed(self, step: int) -> None:
        self._step = step
        self._done.append((step, time.monotonic()))

    def left(self) -> str:
        """The time that is left, for people."""
        (one, then), (other, now) = self._done[0], self._done[-1]
        if one == other:
            return "the time left is not known yet"
        minutes = (now - then) / (other - one) * (self._steps * (1 + self._later) - self._step) / 60
        return f"about {minutes // 60:.0f} h {minutes % 60:02.0f} min left"


def accuracy(network: tf_keras.Model, snapshot: Snapshot) -> dict[str, float]:
    """Head -> share of the validation side's known labels that a network gives, where any is known."""
    right: dict[str, list[NDArray[np.bool_]]] = {}
    size = network.input_shape[1]
    for shard in snapshot.shards("validate"):
        logits = network.predict_on_batch(_smaller(tf.cast(shard.pixels, tf.float32), size))
        for column, head in enumerate(snapshot.manifest.heads):
            target = shard.targets[:, column]
            known = target >= 0
            right.setdefault(head, []).append(logits[head].argmax(axis=1)[known] == target[known])
        for head, place in snapshot.manifest.places.items():
            pairs, wanted = decisions(logits[head], shard.several[:, place])
            right.setdefault(head, []).append(pairs.argmax(axis=1) == wanted)
    joined = {head: np.concatenate(parts) for head, parts in right.items()}
    return {head: float(values.mean()) for head, values in joined.items() if values.size}


def shuffled(
    snapshot: Snapshot,
    seed: int,
    epoch: int,
    batch: int,
    shown: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[Shard]:
    """The whole batches of an epoch of the training side, in another order each epoch."""
    draw = np.random.default_rng([seed, epoch])
    left = _epoch_steps(snapshot, batch, shown)
    rest: list[Shard] = []
    # A second pass is begun only where the draws showed a little less of the first than is expected.
    while left:
        names = draw.permutation(snapshot.manifest.shards["train"])
        for start in range(0, len(names), SHUFFLED_SHARDS):
            shards = [snapshot.shard(str(name)) for name in names[start : start + SHUFFLED_SHARDS]]
            group = Shard.concatenate([*rest, *(shard.take(_drawn(shard, shown, draw)) for shard in shards)])
            order = draw.permutation(len(group))
            whole = min(len(order) // batch, left) * batch
            for first in range(0, whole, batch):
                yield group.take(order[first : first + batch])
            left -= whole // batch
            if not left:
                return
            rest = [group.take(order[whole:])]


def _drawn(shard: Shard, shown: Mapping[str, float], draw: np.random.Generator) -> NDArray[np.int64]:
    """Which examples of a shard an epoch shows, some of them repeatedly."""
    times = np.array([shown.get(str(origin), 1.0) for origin in shard.origins])
    whole = np.floor(times)
    repeats = whole + (draw.random(len(shard)) < times - whole)
    return np.repeat(np.arange(len(shard)), repeats.astype(np.int64))


def _epoch_steps(snapshot: Snapshot, batch: int, shown: Mapping[str, float]) -> int:
    examples = sum(count * shown.get(origin, 1.0) for origin, count in snapshot.manifest.origins.items())
    return int(examples) // batch


def _keep_memory() -> None:
    """Has glibc keep what is freed.

    Activations are so large that it asks the kernel for each anew, and to clear the pages takes longer than
    many an operation. M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of mallopt(3).
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**29)):
            library.mallopt(option, value)


def _smaller(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """Photos [N, S, S, 3] with `size` pixels a side."""
    return pixels if pixels.shape[1] == size else tf.image.resize(pixels, (size, size), antialias=True)


def _batches(
    snapshot: Snapshot,
    settings: Fitting,
    seed: int,
    size: int,
    shown: Mapping[str, float],
    first: int,
    steps: int,
) -> Iterator[tuple[tf.Tensor, dict[str, tf.Tensor]]]:
    """The augmented batches of steps `first` to `steps`, of photos of `size` pixels a side."""
    heads = {head: len(labels) for head, labels in snapshot.manifest.heads.items()}
    stored, batch = snapshot.manifest.image_size, settings.batch
    epoch_steps = _epoch_steps(snapshot, batch, shown)

    places = snapshot.manifest.places
    columns = sum(map(len, snapshot.manifest.several.values()))

    def plain() -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.int16], NDArray[np.int8]]]:
        epoch, skipped = divmod(first, epoch_steps)
        step = first
        while step < steps:
            for index, shard in enumerate(shuffled(snapshot, seed, epoch, batch, shown)):
                if index >= skipped:
                    yield step, shard.pixels, shard.targets, shard.several
                    step += 1
            epoch, skipped = epoch + 1, 0

    def augmented(
        step: tf.Tensor, pixels: tf.Tensor, targets: tf.Tensor, several: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        wanted = {
            head: tf.one_hot(tf.cast(targets[:, column], tf.int32), count)
            for column, (head, count) in enumerate(heads.items())
        }
        yes, no = (tf.cast(several == each, tf.float32) for each in (1, 0))
        wanted |= {head: tf.concat([yes[:, place], no[:, place]], axis=1) for head, place in places.items()}
        smaller = _smaller(tf.cast(pixels, tf.float32), size)
        varied = vary(smaller, settings.augmentation, tf.stack([seed, 2 * step]))
        return mix(varied, wanted, settings.augmentation, tf.stack([seed, 2 * step + 1]))

    signature = (
        tf.TensorSpec((), tf.int32),
        tf.TensorSpec((batch, stored, stored, 3), tf.uint8),
        tf.TensorSpec((batch, len(heads)), tf.int16),
        tf.TensorSpec((batch, columns), tf.int8),
    )
    return iter(
        tf.data.Dataset.from_generator(plain, output_signature=signature)
        .map(augmented, num_parallel_calls=2, deterministic=True)
        .prefetch(PREFETCHED_BATCHES)
    )


def _loss(logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, settings: Fitting) -> tf.Tensor:
    """Mean cross-entropy over the photos whose label is known.

    Where few are known the mean is over a quarter of the batch, so that a rare label does not shout.
    """
    known = _known(targets)
    labels = targets.shape[1]
    smooth = targets * (1 - settings.label_smoothing) + settings.label_smoothing / labels
    costs = tf.nn.softmax_cross_entropy_with_logits(smooth, logits)
    return tf.reduce_sum(costs * known * tf.reduce_sum(targets * weights, axis=1)) / _counted(known)


def _loss_of_several(logits: tf.Tensor, targets: tf.Tensor, settings: Fitting) -> tf.Tensor:
    """Mean over photos of the binary cross-entropy, summed over the labels that are known.

    Args:
        logits: [N, labels].
        targets: [N, 2 * labels], how much each label is there, then how much it is not; both 0 where it is
            not known.
        settings: says how far targets are smoothed.

    """
    yes, no = tf.split(targets, 2, axis=1)
    doubt = settings.label_smoothing / 2 * (yes + no)
    there = yes * (1 - settings.label_smoothing) + doubt
    not_there = no * (1 - settings.label_smoothing) + doubt
    costs = there * tf.nn.softplus(-logits) + not_there * tf.nn.softplus(logits)
    return tf.reduce_sum(costs) / _counted(_known(targets))


def _known(targets: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.reduce_sum(targets, axis=1) > 0, tf.float32)


def _counted(known: tf.Tensor) -> tf.Tensor:
    return tf.maximum(tf.reduce_sum(known), KNOWN_SHARE * tf.cast(tf.size(known), tf.float32))


def class_weights(snapshot: Snapshot, head: str, balance: float) -> NDArray[np.float32]:
    """Weights [labels] whose mean over the training examples is 1."""
    counts = np.array(list(snapshot.manifest.labels[head].values()), np.float64)
    weights = np.maximum(counts, 1) ** -balance
    return np.asarray(weights * counts.sum() / max((weights * counts).sum(), 1e-12), np.float32)


def _restored(checkpoint: Checkpoint, variables: Sequence[tf.Variable]) -> _State | None:
    data = checkpoint.read()
    if data is None:
        return None
    state = _State.from_bytes(data)
    found, wanted = [each.shape for each in state.variables], [tuple(each.shape) for each in variables]
    if found != wanted:
        raise FittingError("the checkpoint is of another network: name a new run, or remove it")
    for variable, value in zip(variables, state.variables, strict=True):
        variable.assign(value)
    return state


def _stopped(history: Sequence[Epoch], settings: Fitting) -> bool:
    if not history:
        return False
    best = max(history, key=_score)
    return history[-1].number - best.number >= settings.patience or history[-1].number >= settings.epochs


def _score(epoch: Epoch) -> float:
    return epoch.score
