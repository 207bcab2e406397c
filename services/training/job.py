"""The training job: from data to a version of the model, measured and ready to publish.

It reads from top to bottom: data, model, update, quantise, export, calibrate, evaluate, describe. All that it
needs to go on after an interruption stands under the run's root in Cloud Storage:

<root>/snapshot/             the data, frozen
<root>/fitting.npz           the state of the fit, replaced every few minutes
<root>/rounding.npz          the state of the epochs in 8 bits
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from services.model import network
from services.model.calibration import fit_temperature, fit_threshold
from services.model.decoding import Decoder
from services.model.familiarity import EMBEDDING, FAMILIARITY_FILE, Familiarity
from services.model.hierarchy import Hierarchy, parents_of
from services.model.learnt import LEARNT_FILE, Learnt
from services.model.manifest import (
    MODEL_FILE,
    SAVED_MODEL,
    Manifest,
    SeveralValues,
    digests,
    save_manifest,
)
from services.model.several import decisions, fit_label_threshold, sigmoid
from services.model.weights import Range, Weights, pretrained_checkpoint, quantize
from services.shared.ports import Objects
from services.training import exports, measures, snapshot, temporal
from services.training.card import card
from services.training.config import Config, Fitting
from services.training.examples import Side, Source
from services.training.exports import (
    EXPORTS,
    FLOAT16_FILE,
    WEIGHTS_FILE,
    ExportError,
    Run,
)
from services.training.fitting import Checkpoint, fit, shuffled
from services.training.foreign import foreign_images
from services.training.measures import (
    MADE_BY_A_PROGRAM,
    PHOTO,
    Agreement,
    AnsweredPhotos,
    Answers,
    Evaluation,
    Export,
    Made,
    Unfamiliar,
)
from services.training.report import render
from services.training.snapshot import Shard, Snapshot, SnapshotError

# Batches of training photos on which the ranges of activations are observed.
RANGE_BATCHES = 20
# What exports are compared on, and what familiarity is told by: at most so many photos.
COMPARED_PHOTOS = 4_096
KNOWN_PHOTOS = 16_384
# Of each origin's held photos, as many are to be familiar.
FAMILIAR_SHARE = 0.97
TRIED_PHOTOS = 512
TRIAL_MARGIN = 0.02  # by which a trial may agree less: after one epoch a network is sure of little
NOT_LEARNT = "test photos without a label that is learnt"
# An epoch with rounded activations takes so many times as long as one without.
ROUNDING_COST = 1.5
TIMED_PHOTOS = 200
PROGRESS_SECONDS = 10.0


def train(
    config: Config,
    source: Callable[[], Source],
    objects: Objects,
    root: str,
    out: Path,
    say: Callable[[str], None],
    *,
    command: str,
    revision: str,
) -> Manifest:
    """Run the job; a repeat with the same root goes on where the last one ended.

    Args:
        config: what to do.
        source: opens the data, where the root has no snapshot yet.
        objects: Cloud Storage, or a folder.
        root: the run's own place, a gs:// URI without a slash at its end.
        out: the directory that the version is written to.
        say: is told how it goes, in lines for people.
        command: makes the same again; stands in the card.
        revision: of the code.

    Returns:
        The version's manifest.

    Raises:
        ConfigError: the configuration names a head that the data does not have.
        SnapshotError, FittingError: the run cannot begin or go on.
        ExportError: an export answers otherwise than its network.

    """
    tf_keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()

    # ---- data --------------------------------------------------------------------------------------------
    data = _snapshot(config, source, objects, f"{root}/snapshot", say)
    heads, size = data.manifest.heads, config.image_size
    all_heads = data.manifest.all_heads
    config.check_heads(heads, data.manifest.several)
    parents = _parents(config.hierarchy, data)
    tree = Hierarchy(config.hierarchy, heads, parents) if config.hierarchy else None

    # ---- model -------------------------------------------------------------------------------------------
    model = network.build(all_heads, size, small_photos=config.small_photos)
    network.load_pretrained(model, pretrained_checkpoint())
    network.fix_large_filters(model)
    shown = config.shown()

    def cost(fitting: Fitting, pixels: int, factor: float = 1.0) -> float:
        return factor * fitting.epochs * pixels**2

    def trial() -> None:
        say("a trial export, of the first epoch's weights")
        with TemporaryDirectory() as folder:
            _try_export(config, model, data, Path(folder))

    # ---- update ------------------------------------------------------------------------------------------
    if config.coarse is not None:
        coarse = network.build(all_heads, config.coarse.image_size, small_photos=config.small_photos)
        coarse.set_weights(model.get_weights())
        network.fix_large_filters(coarse)
        say(f"first at {config.coarse.image_size} pixels")

        def coarse_trial() -> None:
            model.set_weights(coarse.get_weights())
            trial()

        fit(
            coarse,
            data,
            config.coarse,
            config.seed + 2,
            Checkpoint(objects, f"{root}/coarse.npz"),
            say,
            shown=shown,
            after_first_epoch=coarse_trial,
            later=(cost(config.fitting, size) + cost(config.rounding, size, ROUNDING_COST))
            / cost(config.coarse, config.coarse.image_size),
        )
        model.set_weights(coarse.get_weights())
        say(f"now at {size} pixels")
    fit(
        model,
        data,
        config.fitting,
        config.seed,
        Checkpoint(objects, f"{root}/fitting.npz"),
        say,
        shown=shown,
        after_first_epoch=trial if config.coarse is None else lambda: None,
        later=cost(config.rounding, size, ROUNDING_COST) / cost(config.fitting, size),
    )

    # ---- quantise ----------------------------------------------------------------------------------------
    # Rounding to 8 bits moves the features. A few steps with the rounding in place move them back.
    ranges = _ranges(config, model, data)
    rounded = network.build_served(
        all_heads, size, Weights(quantize(network.layers_of(model)), ranges), small_photos=config.small_photos
    )
    network.fix_large_filters(rounded)
    say("now with activations rounded to 8 bits")
    fit(
        rounded,
        data,
        config.rounding,
        config.seed + 1,
        Checkpoint(objects, f"{root}/rounding.npz"),
        say,
        shown=shown,
    )
    weights = Weights(quantize(network.layers_of(rounded)), ranges)

    # ---- export ------------------------------------------------------------------------------------------
    say("exports")
    out.mkdir(parents=True, exist_ok=True)
    weights.save(out / WEIGHTS_FILE)
    served = network.build_served(all_heads, size, weights, small_photos=config.small_photos)
    compared = Shard.concatenate([*_some(data, "validate", COMPARED_PHOTOS)])
    integers, sizes, agreements = _export(config, data.manifest, model, served, compared, out)

    # ---- calibrate ---------------------------------------------------------------------------------------
    held = _answered(data, "validate", integers)
    decoder = _calibrated(heads, tree, held)
    thresholds = _thresholds(config, decoder, held)
    if data.manifest.applies_to:
        # What a dependent head says changes with what the others are sure of; these do not change.
        decoder = replace(decoder, applies_to=data.manifest.applies_to, thresholds=thresholds)
        thresholds = _thresholds(config, decoder, held)
    several = _several(data.manifest, held)
    decoder = replace(decoder, several=several)
    thresholds |= _set_thresholds(config, decoder, held)
    batch = config.fitting.batch
    typical = islice(shuffled(data, config.seed, 0, batch, shown), KNOWN_PHOTOS // batch)
    trained = _seen(typical, integers)
    familiarity = Familiarity.fit(
        trained.outputs[EMBEDDING],
        held.outputs[EMBEDDING],
        groups=held.origins.tolist(),
        share=FAMILIAR_SHARE,
        seed=config.seed,
    )
    familiarity.save(out / FAMILIARITY_FILE)
    Learnt.of(photo for photo in data.column("train", "photos").tolist() if photo).save(out / LEARNT_FILE)

    # ---- evaluate ----------------------------------------------------------------------------------------
    say("measures on the test side")
    tested = _answered(data, "test", integers)
    photos = tested.photos(decoder, thresholds)
    distances = familiarity.distance(tested.outputs[EMBEDDING])
    strange = {
        kind: familiarity.distance(integers(images)[EMBEDDING])
        for kind, images in foreign_images(size).items()
    }
    nothing_known = (tested.targets < 0).all(axis=1) & (tested.several < 0).all(axis=1)
    if nothing_known.any():
        strange[NOT_LEARNT] = distances[nothing_known]
    known_distances = distances[~nothing_known & ~np.isin(tested.origins, MADE_BY_A_PROGRAM)]
    aged = temporal.probe(trained.dated(), held.dated().joined(tested.dated()), [*heads], config.seed)
    evaluation = Evaluation(
        made=Made(
            command=command,
            seed=config.seed,
            snapshot=data.manifest.digest,
            revision=revision,
            machine=f"{platform.machine()}, {os.cpu_count()} cores",
            held_out=config.held_out,
        ),
        heads=measures.measure(photos, held.photos(decoder, thresholds)),
        several={
            head: measures.measure_several(
                each.labels,
                decoder.sets(tested.outputs, decoder(tested.outputs))[head],
                tested.several[:, data.manifest.places[head]],
                tested.origins,
                min(1.0, thresholds.get(head, 0.0)),
            )
            for head, each in several.items()
        },
        exports={
            name: Export(
                size=size,
                latency=measures.latency(
                    integers, compared.pixels.__getitem__, min(TIMED_PHOTOS, len(compared))
                )
                if name == MODEL_FILE
                else None,
            )
            for name, size in sizes.items()
        },
        agreements=agreements,
        unfamiliar=tuple(
            Unfamiliar(
                kind=kind,
                images=len(far),
                auroc=measures.auroc(known_distances, far),
                near=kind == NOT_LEARNT,
            )
            for kind, far in strange.items()
        ),
        origins=measures.by_origin(photos, distances > familiarity.threshold),
        unreliable={head: str(each) for head, each in aged.items() if each.unreliable},
        left_out=data.manifest.left_out,
    )

    # ---- describe ----------------------------------------------------------------------------------------
    parts = [MODEL_FILE, WEIGHTS_FILE, FAMILIARITY_FILE, LEARNT_FILE, *config.ships]
    files = digests(out, sorted(str(path.relative_to(out)) for part in parts for path in _files(out / part)))
    manifest = Manifest(
        name=config.name,
        version=_version(
            files[WEIGHTS_FILE],
            files[FAMILIARITY_FILE],
            decoder.temperatures,
            thresholds,
            parents,
            *filter(None, [data.manifest.applies_to, several]),
        ),
        created=datetime.now(UTC).date(),
        image_size=size,
        small_photos=config.small_photos,
        heads={head: tuple(labels) for head, labels in heads.items()},
        several=several,
        temperatures=dict(decoder.temperatures),
        hierarchy=config.hierarchy,
        parents=parents,
        applies_to=data.manifest.applies_to,
        thresholds=thresholds,
        unreliable=evaluation.unreliable,
        figures=evaluation.figures(),
        files=files,
    )
    save_manifest(out, manifest)
    (out / "CARD.md").write_text(card(manifest, evaluation, data.manifest, config.about), encoding="utf-8")
    (out / "evaluation.json").write_text(evaluation.model_dump_json(indent=1), encoding="utf-8")
    pictures = _pixels(data, set(evaluation.shown())) if config.photos_in_report else {}
    (out / "evaluation.html").write_text(render(evaluation, manifest, pictures), encoding="utf-8")
    say(f"{manifest.name} {manifest.version} is written to {out}")
    return manifest


@dataclass(frozen=True)
class _Answered:
    """What a network says of a side, and what is known of it."""

    keys: Sequence[str]
    origins: NDArray[np.str_]  # [N]
    years: NDArray[np.int16]  # [N]; 0 where it is not known
    targets: NDArray[np.int16]  # [N, heads]
    several: NDArray[np.int8]  # [N, labels of all heads of several]
    outputs: Mapping[str, NDArray[np.float32]]

    def dated(self) -> temporal.Photos:
        """As the probe of newer photos wants it."""
        return temporal.Photos(self.outputs[EMBEDDING], self.targets, self.years)

    def photos(self, decoder: Decoder, thresholds: Mapping[str, float]) -> AnsweredPhotos:
        """As the measures want it; slices are by what the other heads' labels are."""
        heads, probabilities = decoder.labels, decoder(self.outputs)
        return AnsweredPhotos(
            keys=self.keys,
            origins=self.origins.tolist(),
            years=[int(year) or None for year in self.years],
            heads={
                head: Answers(
                    labels=labels,
                    probabilities=probabilities[head],
                    targets=self.targets[:, column].astype(np.int64),
                    temperature=decoder.temperatures[head],
                    threshold=min(1.0, thresholds.get(head, 0.0)),
                )
                for column, (head, labels) in enumerate(heads.items())
            },
            columns={
                head: [None if index < 0 else labels[index] for index in self.targets[:, column]]
                for column, (head, labels) in enumerate(heads.items())
            },
        )


def _parents(hierarchy: Sequence[str], data: Snapshot) -> dict[str, dict[str, str]]:
    """The tree over the hierarchy's labels, as most of the training examples have it.

    Raises:
        HierarchyError: a label has no clear parent.

    """
    names = [*data.manifest.heads]
    targets = data.column("train", "targets") if hierarchy else np.empty((0, 0), np.int16)
    parents = {}
    for broader, head in pairwise(hierarchy):
        above, below = targets[:, names.index(broader)], targets[:, names.index(head)]
        both = (above >= 0) & (below >= 0)
        pairs = np.zeros((len(data.manifest.heads[head]), len(data.manifest.heads[broader])), np.int64)
        np.add.at(pairs, (below[both], above[both]), 1)
        parents[head] = dict(
            parents_of(data.manifest.heads[head], data.manifest.heads[broader], pairs, (head, broader))
        )
    return parents


def _calibrated(heads: Mapping[str, Sequence[str]], tree: Hierarchy | None, held: "_Answered") -> Decoder:
    """With the temperatures at which held labels are likeliest; the heads of a tree have one together."""
    temperatures: dict[str, float] = {}
    for column, head in enumerate(heads):
        known = _telling(held, column)
        logits = {name: outputs[known] for name, outputs in held.outputs.items()}
        if tree is not None and head in tree.heads:
            if head == tree.heads[-1]:
                paths = tree.path_logits(logits)
                joint = fit_temperature(paths, held.targets[known, column]) if known.any() else 1.0
                temperatures |= dict.fromkeys(tree.heads, joint)
        else:
            targets = held.targets[known, column]
            temperatures[head] = fit_temperature(logits[head], targets) if known.any() else 1.0
    return Decoder(heads, {head: temperatures[head] for head in heads}, tree)


def _telling(held: "_Answered", column: int) -> NDArray[np.bool_]:
    """Of held photos, those that tell how sure to be of a head.

    The photos that the model is for, where their labels are known; else those of all other origins.
    """
    return _real(held, held.targets[:, column] >= 0)


def _real(held: "_Answered", known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    known = known & ~np.isin(held.origins, MADE_BY_A_PROGRAM)
    own = known & (held.origins == PHOTO)
    return own if own.any() else known


def _several(manifest: snapshot.Manifest, held: "_Answered") -> dict[str, SeveralValues]:
    """The heads of several labels, with what is fitted to held photos: a temperature, a threshold a label."""
    found = {}
    for head, place in manifest.places.items():
        known = _real(held, (held.several[:, place] >= 0).any(axis=1))
        logits, targets = held.outputs[head][known], held.several[known, place]
        temperature = fit_temperature(*decisions(logits, targets)) if known.any() else 1.0
        probabilities = sigmoid(logits, temperature)
        thresholds = [
            fit_label_threshold(probabilities[told, index], targets[told, index])
            for index in range(targets.shape[1])
            for told in [targets[:, index] >= 0]
        ]
        found[head] = SeveralValues(
            labels=manifest.several[head], temperature=temperature, thresholds=tuple(thresholds)
        )
    return found


def _set_thresholds(config: Config, decoder: Decoder, held: "_Answered") -> dict[str, float]:
    """Head of several labels -> the probability from which on answers are as accurate as asked for.

    An answer is right if it has all labels of the photo, and no other.
    """
    sets = decoder.sets(held.outputs, decoder(held.outputs))
    thresholds, start = {}, 0
    for head, answers in sets.items():
        targets = held.several[:, start : start + answers.chosen.shape[1]]
        start += answers.chosen.shape[1]
        known = _real(held, (targets >= 0).all(axis=1))
        if known.any():
            right = (answers.chosen == (targets == 1)).all(axis=1) & answers.sure
            confidence = np.stack([answers.confidence, np.zeros(len(right), np.float32)], axis=1)
            thresholds[head] = fit_threshold(
                confidence[known], np.where(right, 0, 1)[known], config.accuracy_of(head)
            )
    return thresholds


def _thresholds(config: Config, decoder: Decoder, held: "_Answered") -> dict[str, float]:
    """Head -> the probability from which on its answers are as accurate as asked for."""
    probabilities, thresholds = decoder(held.outputs), {}
    for column, head in enumerate(decoder.labels):
        known = _telling(held, column)
        if known.any():
            thresholds[head] = fit_threshold(
                probabilities[head][known], held.targets[known, column], config.accuracy_of(head)
            )
    return thresholds


def _snapshot(
    config: Config, source: Callable[[], Source], objects: Objects, root: str, say: Callable[[str], None]
) -> Snapshot:
    if snapshot.stands(objects, root):
        data = Snapshot(objects, root)
        say(f"goes on with the snapshot {data.manifest.digest}")
    else:
        told = time.monotonic()

        def progress(count: int) -> None:
            nonlocal told
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                say(f"{count} photos read")

        data = snapshot.write(objects, root, source(), config.image_size, progress)
    sides = ", ".join(f"{count} to {side}" for side, count in data.manifest.examples.items())
    say(f"snapshot {data.manifest.digest}: {sides}")
    for side, count in data.manifest.examples.items():
        if not count:
            raise SnapshotError(f"{root}: no example is to {side}, and it takes some of each side")
    for left_out in data.manifest.left_out:
        say(f"left out: {left_out.what} ({left_out.count}): {left_out.why}")
    return data


def _ranges(config: Config, model: tf_keras.Model, data: Snapshot) -> Mapping[str, Range]:
    """The ranges of a trainable network's activations over typical photos."""
    typical = islice(shuffled(data, config.seed, 0, config.fitting.batch, config.shown()), RANGE_BATCHES)
    return network.observed_ranges(model, (shard.pixels.astype(np.float32) for shard in typical))


def _try_export(config: Config, model: tf_keras.Model, data: Snapshot, folder: Path) -> None:
    """Whether the 8-bit file can be made of a network and answers as it does.

    Raises:
        ExportError: the file answers otherwise.

    """
    weights = Weights(quantize(network.layers_of(model)), _ranges(config, model, data))
    served = network.build_served(
        data.manifest.all_heads, config.image_size, weights, small_photos=config.small_photos
    )
    photos = Shard.concatenate([*_some(data, "validate", TRIED_PHOTOS)])
    (folder / MODEL_FILE).write_bytes(exports.integers(served))
    said, wanted = (
        exports.of_litert(folder / MODEL_FILE)(photos.pixels),
        exports.of_network(served)(photos.pixels),
    )
    for head in data.manifest.all_heads:
        answers, targets = _classes(data.manifest, head, wanted, photos)
        if len(targets):
            same = measures.agreement(answers, _classes(data.manifest, head, said, photos)[0])
            _hold(same, head, MODEL_FILE, config.file_agreement - TRIAL_MARGIN)


def _classes(
    manifest: snapshot.Manifest, head: str, outputs: Mapping[str, NDArray[np.float32]], photos: Shard
) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
    """Logits [M, classes] and targets [M] of what is known of photos.

    Of a head of several labels, each label of a photo is a decision between two classes.
    """
    if head in manifest.several:
        return decisions(outputs[head], photos.several[:, manifest.places[head]])
    targets = photos.targets[:, [*manifest.heads].index(head)]
    return outputs[head][targets >= 0], targets[targets >= 0]


def _hold(same: measures.Share, head: str, name: str, least: float) -> None:
    if same.value < least:
        raise ExportError(
            f"{name} gives the label of its own network for {head} to {same.value:.2%} of {same.whole} held "
            f"photos, and {least:.2%} are needed"
        )


def _some(data: Snapshot, side: Side, most: int) -> Iterator[Shard]:
    """Shards of a side from its beginning to its end, as many as it takes for `most` examples."""
    names = data.manifest.shards[side]
    step = max(1, len(names) * snapshot.SHARD_EXAMPLES // most)
    return (data.shard(name) for name in names[::step])


def _answered(data: Snapshot, side: Side, run: Run) -> _Answered:
    """Runs a side through a network."""
    return _seen(data.shards(side), run)


def _seen(shards: Iterable[Shard], run: Run) -> _Answered:
    """Runs photos through a network; only what is said of them is kept."""
    known, said = [], []
    for shard in shards:
        said.append(run(shard.pixels))
        known.append((shard.keys, shard.origins, shard.years, shard.targets, shard.several))
    keys, origins, years, targets, several = (np.concatenate(arrays) for arrays in zip(*known, strict=True))
    outputs = {name: np.concatenate([each[name] for each in said]) for name in said[0]}
    return _Answered([str(key) for key in keys], origins, years, targets, several, outputs)


def _export(
    config: Config,
    manifest: snapshot.Manifest,
    model: tf_keras.Model,
    served: tf_keras.Model,
    held: Shard,
    out: Path,
) -> tuple[Run, dict[str, int], tuple[Agreement, ...]]:
    """Writes all exports, holds each against the network that it was made of, and leaves those that ship.

    Returns:
        The 8-bit file, running; the exports' sizes in bytes; how often each gives its network's labels.

    """
    photos, agreements = held.pixels, []
    said = {"fitted": exports.of_network(model)(photos), "rounded": exports.of_network(served)(photos)}
    for head in manifest.all_heads:
        answers = {name: _classes(manifest, head, outputs, held) for name, outputs in said.items()}
        if len(answers["fitted"][1]):
            right = {name: logits.argmax(axis=1) == targets for name, (logits, targets) in answers.items()}
            # What rounding has spoilt is not worth exporting.
            if measures.least_loss(right["fitted"], right["rounded"]) > config.rounding_loss:
                raise ExportError(
                    f"{head}: rounded to 8 bits the network is right on {right['rounded'].mean():.2%} of "
                    f"{len(right['rounded'])} held photos, unrounded on {right['fitted'].mean():.2%}; "
                    f"`rounding_loss` allows {config.rounding_loss:.2%} less. More epochs of `rounding` help"
                )

    def compare(one: str, other: str) -> None:
        for head in manifest.all_heads:
            # Of a photo of which nothing could be learnt, an answer is as good as another.
            first, targets = _classes(manifest, head, said[one], held)
            if not len(targets):
                continue
            same = measures.agreement(first, _classes(manifest, head, said[other], held)[0])
            _hold(same, head, other, config.file_agreement)
            agreements.append(Agreement(one=one, other=other, head=head, same=same))

    (out / MODEL_FILE).write_bytes(exports.integers(served))
    (out / FLOAT16_FILE).write_bytes(exports.halves(model))
    exports.save(served, out / SAVED_MODEL)
    integers = exports.of_litert(out / MODEL_FILE)
    said |= {
        MODEL_FILE: integers(photos),
        SAVED_MODEL: exports.of_saved_model(out / SAVED_MODEL)(photos),
        FLOAT16_FILE: exports.of_litert(out / FLOAT16_FILE)(photos),
    }
    compare("rounded", MODEL_FILE)
    compare("rounded", SAVED_MODEL)
    compare("fitted", FLOAT16_FILE)
    sizes = {name: sum(path.stat().st_size for path in _files(out / name)) for name in EXPORTS}
    for name in set(EXPORTS) - {MODEL_FILE, *config.ships}:
        for path in _files(out / name):
            path.unlink()
    return integers, sizes, tuple(agreements)


def _files(path: Path) -> list[Path]:
    """A file, or all files of a folder."""
    return [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]


def _version(*parts: object) -> str:
    """Of all that decides on answers; exports are made of these, in other bytes each time."""
    return sha256(repr(parts).encode()).hexdigest()[:12]


def _pixels(data: Snapshot, keys: set[str]) -> dict[str, NDArray[np.uint8]]:
    return {
        str(key): shard.pixels[row]
        for shard in data.shards("test")
        for row, key in enumerate(shard.keys)
        if str(key) in keys
    }
