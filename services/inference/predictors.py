"""A model, loaded: pixels in, probabilities out.

The only code of the pipeline that imports LiteRT or TensorFlow, each within the predictor that needs it,
because a container has only one of them.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.inference.stage import Answer, AnswerSet
from services.model.decoding import Decoder
from services.model.familiarity import EMBEDDING, FAMILIARITY_FILE, Familiarity
from services.model.hierarchy import HierarchyError
from services.model.learnt import LEARNT_FILE, Learnt
from services.model.manifest import (
    DEFAULT_DIRECTORY,
    MANIFEST,
    MODEL_FILE,
    SAVED_MODEL,
    Manifest,
    ModelError,
    load_manifest,
)
from services.model.several import Sets

__all__ = ["DEFAULT_DIRECTORY", "LiteRTPredictor", "Predictor", "SavedModelPredictor", "load_predictor"]


# What a SavedModel may be made of: arithmetic, and what restores variables. TensorFlow has operators that
# read and write any file or call Python, and some of a graph runs as soon as it is loaded.
# fmt: off
OPERATORS = frozenset((
    "AddV2", "ArgMax", "AssignVariableOp", "AvgPool", "BatchMatMulV2", "BiasAdd", "Cast", "ConcatV2",
    "Const", "Conv2D", "CropAndResize", "DepthwiseConv2dNative", "DisableCopyOnRead", "Exp",
    "ExpandDims", "FakeQuantWithMinMaxArgs", "Fill", "FusedBatchNormV3", "GatherV2", "Greater",
    "GreaterEqual", "Identity", "IdentityN", "Less", "LessEqual", "MatMul", "Max", "MaxPool", "Maximum",
    "Mean", "MergeV2Checkpoints", "Min", "Minimum", "Mul", "Neg", "NoOp", "Pack", "Pad", "PadV2",
    "PartitionedCall", "Placeholder", "Prod", "Range", "ReadVariableOp", "RealDiv", "Relu", "Relu6",
    "Reshape", "ResizeBilinear", "RestoreV2", "Round", "Rsqrt", "SaveV2", "Select", "SelectV2", "Shape",
    "ShardedFilename", "Sigmoid", "Slice", "Softmax", "Split", "SplitV", "Sqrt", "Square", "Squeeze",
    "StatefulPartitionedCall", "StaticRegexFullMatch", "StridedSlice", "StringJoin", "Sub", "Sum",
    "Tanh", "Tile", "Transpose", "Unpack", "VarHandleOp",
))
# fmt: on


@dataclass(frozen=True)
class Answers:
    """What a model says of N photos."""

    probabilities: Mapping[str, NDArray[np.float32]]  # head of one label -> [N, labels]
    # [N]: whether a photo is unlike all that the model was trained on; None: this model cannot tell.
    unfamiliar: NDArray[np.bool_] | None = None
    sets: Mapping[str, Sets] = field(default_factory=dict)  # head of several labels -> answers

    def of(self, row: int) -> Answer:
        """What is said of one of them."""
        return Answer(
            {head: probabilities[row] for head, probabilities in self.probabilities.items()},
            None if self.unfamiliar is None else bool(self.unfamiliar[row]),
            {
                head: AnswerSet(sets.probabilities[row], sets.chosen[row], bool(sets.sure[row]))
                for head, sets in self.sets.items()
            },
        )


class Predictor(Protocol):
    """What inference needs of a model. `predict` may be called from any number of threads at once."""

    @property
    def name(self) -> str:
        """The model's name, as rows of `predictions` carry it."""

    @property
    def version(self) -> str:
        """The model's version; two models never share one."""

    @property
    def image_size(self) -> int:
        """Pixels of a side of the square that `services.model.preprocessing.to_array` is to make."""

    @property
    def labels(self) -> Mapping[str, Sequence[str]]:
        """Head -> labels, in the order of the probabilities: of all heads."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Head -> the probability under which the model abstains; a head without one always answers."""

    @property
    def learnt(self) -> Learnt | None:
        """The photos that it was trained on; None where that is not known."""

    @property
    def max_batch(self) -> int:
        """The number of photos beyond which a larger batch is not faster."""

    def predict(self, images: NDArray[np.uint8]) -> Answers:
        """Answers on images [N, image_size, image_size, 3].

        Raises:
            ValueError: the images have another shape or type.

        """

    def combine(self, answers: Sequence[Answer]) -> Answer:
        """The answer for a product, of those for its photos, at least one; not whether it is unfamiliar."""


def load_predictor(directory: Path = DEFAULT_DIRECTORY, *, require_gpu: bool = False) -> Predictor:
    """The predictor for what stands in a directory: a LiteRT file or a TensorFlow SavedModel.

    Raises:
        ModelError: there is neither, the files are not those of the manifest, or the promised GPU is missing.

    """
    has_litert = (directory / MODEL_FILE).is_file()
    # A published version may have both; on a CPU the LiteRT file is the faster one.
    if (directory / SAVED_MODEL).is_dir() and (require_gpu or not has_litert):
        return SavedModelPredictor(directory, require_gpu=require_gpu)
    if has_litert:
        if require_gpu:
            raise ModelError(f"{directory} holds a LiteRT file, which does not use the promised GPU")
        return LiteRTPredictor(directory)
    raise ModelError(f"{directory} holds neither {MODEL_FILE} nor {SAVED_MODEL}/")


class _Described:
    """What both kinds of predictor read of a model, and how they make answers of its outputs."""

    def __init__(self, directory: Path) -> None:
        self._manifest: Manifest = load_manifest(directory)
        try:
            self._decode = Decoder.of(self._manifest)
        except HierarchyError as error:
            raise ModelError(f"{directory / MANIFEST}: {error}") from error
        known = FAMILIARITY_FILE in self._manifest.files
        self._familiarity = Familiarity.load(directory / FAMILIARITY_FILE) if known else None
        has_learnt = LEARNT_FILE in self._manifest.files
        self._learnt = Learnt.load(directory / LEARNT_FILE) if has_learnt else None

    @property
    def name(self) -> str:
        return self._manifest.name

    @property
    def version(self) -> str:
        return self._manifest.version

    @property
    def image_size(self) -> int:
        return self._manifest.image_size

    @property
    def labels(self) -> Mapping[str, Sequence[str]]:
        return self._manifest.labels

    @property
    def thresholds(self) -> Mapping[str, float]:
        return self._manifest.thresholds

    @property
    def learnt(self) -> Learnt | None:
        return self._learnt

    def combine(self, answers: Sequence[Answer]) -> Answer:
        """As in `Predictor`."""
        first = answers[0]
        probabilities, sets = self._decode.combine(
            {head: np.stack([each.probabilities[head] for each in answers]) for head in first.probabilities},
            {head: np.stack([each.sets[head].probabilities for each in answers]) for head in first.sets},
        )
        return Answers(probabilities, sets=sets).of(0)

    def _check(self, images: NDArray[np.uint8]) -> None:
        expected = (self.image_size, self.image_size, 3)
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise ValueError(f"images must be uint8 [N, *{expected}], not {images.dtype} {images.shape}")

    def _answers(self, outputs: Sequence[Mapping[str, NDArray[np.float32]]]) -> Answers:
        def joined(name: str, width: int) -> NDArray[np.float32]:
            return np.concatenate([np.empty((0, width), np.float32), *(part[name] for part in outputs)])

        logits = {head: joined(head, len(labels)) for head, labels in self.labels.items()}
        probabilities = self._decode(logits)
        sets = self._decode.sets(logits, probabilities)
        if self._familiarity is None:
            return Answers(probabilities, sets=sets)
        embeddings = joined(EMBEDDING, self._familiarity.centres.shape[1])
        unfamiliar = self._familiarity.distance(embeddings) > self._familiarity.threshold
        return Answers(probabilities, unfamiliar, sets)


class LiteRTPredictor(_Described):
    """Runs `model.tflite` on the CPU, in 8-bit integers; starts in a few hundredths of a second.

    One photo at a time, because batches are not faster here. An interpreter is not thread-safe, so each
    thread has its own; they share the file's memory.
    """

    # Only shares the cost of a call; a larger batch would just delay its first photo.
    max_batch = 16

    def __init__(self, directory: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        super().__init__(directory)
        self._interpreter = partial(Interpreter, model_path=str(directory / MODEL_FILE), num_threads=1)
        self._local = threading.local()
        try:
            # Not at the first photo, but now it is to fail: operators that LiteRT does not have built in,
            # which would be code from elsewhere, and heads that are not those of the manifest.
            self.predict(np.zeros((1, self.image_size, self.image_size, 3), np.uint8))
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{directory / MODEL_FILE} is refused: {error}") from error

    def predict(self, images: NDArray[np.uint8]) -> Answers:
        """As in `Predictor`."""
        self._check(images)
        run = self._runner()
        return self._answers([run(pixels=image[np.newaxis]) for image in images])

    def _runner(self) -> Any:
        if not hasattr(self._local, "runner"):
            self._local.runner = self._interpreter().get_signature_runner()
        return self._local.runner


class SavedModelPredictor(_Described):
    """Runs `saved_model/` in TensorFlow, for the GPU.

    A batch is padded to the next of a few sizes, all of them compiled before the first request, so that no
    request waits for a compilation.
    """

    BATCH_SIZES = (1, 8, 32, 128)
    max_batch = BATCH_SIZES[-1]

    def __init__(self, directory: Path, *, require_gpu: bool) -> None:
        import tensorflow as tf  # takes seconds and 500 MB, which the LiteRT predictor does without

        super().__init__(directory)
        gpus = tf.config.list_physical_devices("GPU")
        if require_gpu and not gpus:
            raise ModelError("a GPU is promised, but TensorFlow sees none")
        _check_operators(directory / SAVED_MODEL)
        try:
            # TensorFlow frees what it loaded when the object that `load` returns is collected.
            self._loaded = tf.saved_model.load(str(directory / SAVED_MODEL))
            # XLA fuses the network's many small operations on a GPU, and is slower than TensorFlow alone on
            # a CPU.
            self._run = tf.function(self._loaded.signatures["serving_default"], jit_compile=bool(gpus))
            for size in self.BATCH_SIZES:
                self.predict(np.zeros((size, self.image_size, self.image_size, 3), np.uint8))
        except (ValueError, KeyError, TypeError, tf.errors.InvalidArgumentError) as error:
            raise ModelError(f"{directory / SAVED_MODEL} is refused: {error}") from error

    def predict(self, images: NDArray[np.uint8]) -> Answers:
        """As in `Predictor`."""
        self._check(images)
        batches = [images[start : start + self.max_batch] for start in range(0, len(images), self.max_batch)]
        return self._answers([self._run_padded(batch) for batch in batches])

    def _run_padded(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        size = next(size for size in self.BATCH_SIZES if size >= len(images))
        padded = np.zeros((size, *images.shape[1:]), np.uint8)
        padded[: len(images)] = images
        return {head: logits.numpy()[: len(images)] for head, logits in self._run(pixels=padded).items()}


def _check_operators(saved_model: Path) -> None:
    """Reads a SavedModel's graph without loading it.

    Raises:
        ModelError: it is none, or has operators that are not of OPERATORS.

    """
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    try:
        graphs = [meta_graph.graph_def for meta_graph in parse_saved_model(str(saved_model)).meta_graphs]
    except OSError as error:
        raise ModelError(f"{saved_model} is refused: {error}") from error
    used = {node.op for graph in graphs for node in graph.node}
    used |= {node.op for graph in graphs for function in graph.library.function for node in function.node_def}
    if strange := sorted(used - OPERATORS):
        raise ModelError(
            f"{saved_model} is refused: it has operators beyond arithmetic: {', '.join(strange)}"
        )
