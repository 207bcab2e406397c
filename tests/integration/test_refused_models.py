"""What would execute code of a model's maker is refused before it is loaded, with the reason."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from services.inference.predictors import load_predictor
from services.model.manifest import DEFAULT_DIRECTORY, ModelError, digests, load_manifest, save_manifest
from services.model.weights import Weights
from tests.unit.models import write_model

SIDE = 2


def litert_with(change: Callable[[Any], None]) -> bytes:
    """The shipped network, changed."""
    network = schema.ModelT.InitFromPackedBuf((DEFAULT_DIRECTORY / "model.tflite").read_bytes())
    change(network)
    builder = flatbuffers.Builder(0)
    builder.Finish(network.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def unchanged(_network: Any) -> None:
    pass


def with_a_custom_op(network: Any) -> None:
    code = network.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"RunAnything"


def with_tensorflows_ops(network: Any) -> None:
    with_a_custom_op(network)
    network.operatorCodes[0].customCode = b"FlexReadFile"


def shipped_with(directory: Path, network: bytes) -> Path:
    """The shipped model around another network; its manifest has the right digests."""
    directory.mkdir(exist_ok=True)
    (directory / "model.tflite").write_bytes(network)
    files = digests(directory, ["model.tflite"])
    save_manifest(directory, load_manifest(DEFAULT_DIRECTORY).model_copy(update={"files": files}))
    return directory


def test_a_network_that_was_only_written_again_is_loaded(tmp_path: Path) -> None:
    assert load_predictor(shipped_with(tmp_path, litert_with(unchanged))).image_size == 128


@pytest.mark.parametrize(
    ("change", "complaint"),
    [(with_a_custom_op, "custom op: RunAnything"), (with_tensorflows_ops, "FlexReadFile")],
)
def test_a_custom_op_in_a_litert_file_is_refused(
    tmp_path: Path, change: Callable[[Any], None], complaint: str
) -> None:
    with pytest.raises(ModelError, match=complaint):
        load_predictor(shipped_with(tmp_path, litert_with(change)))


@pytest.mark.parametrize("data", [b"", b"cos\nsystem\n(S'true'\ntR.", b"\0" * 1_000])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ModelError, match=r"model\.tflite is refused"):
        load_predictor(shipped_with(tmp_path, data))


def test_heads_that_are_not_those_of_the_network_are_refused(tmp_path: Path) -> None:
    directory = shipped_with(tmp_path, litert_with(unchanged))
    manifest = load_manifest(directory)
    for heads in ({"colour": ("Red", "Blue")}, {"article_type": ("Shirts", "Boots")}):
        flat: Mapping[str, Any] = {"hierarchy": (), "parents": {}, "thresholds": {}}
        other = {"heads": heads, "temperatures": dict.fromkeys(heads, 1.0), **flat}
        save_manifest(directory, manifest.model_copy(update=other))
        with pytest.raises(ModelError, match=r"model\.tflite is refused"):
            load_predictor(directory)


def saved_model(directory: Path, compute: Callable[[Any], Any]) -> Path:
    """A model of one SavedModel; `compute` makes logits [N, 2] of pixels."""
    import tensorflow as tf

    module = tf.Module()
    signature = [tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8, "pixels")]
    serve = tf.function(lambda pixels: {"article_type": compute(pixels)}, input_signature=signature)
    tf.saved_model.save(module, str(directory / "saved_model"), serve)
    return described(directory)


def described(directory: Path) -> Path:
    paths = [path for path in (directory / "saved_model").rglob("*") if path.is_file()]
    files = {str(path.relative_to(directory)): path.read_bytes() for path in paths}
    return write_model(
        directory,
        "v1",
        **{name.replace("/", "__").replace(".", "_dot_"): data for name, data in files.items()},
    )


def mean(pixels: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_mean(tf.cast(pixels, tf.float32), [1, 2])[:, :2]


def reads_a_file(pixels: Any) -> Any:
    import tensorflow as tf

    return mean(pixels) + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)


def calls_python(pixels: Any) -> Any:
    import tensorflow as tf

    return tf.ensure_shape(tf.py_function(lambda values: values, [mean(pixels)], tf.float32), (None, 2))


def test_a_saved_model_that_only_computes_is_loaded(tmp_path: Path) -> None:
    predictor = load_predictor(saved_model(tmp_path, mean))
    answer = predictor.predict(np.zeros((3, SIDE, SIDE, 3), np.uint8))
    assert answer.probabilities["article_type"].tolist() == [[0.5, 0.5]] * 3


@pytest.mark.parametrize(("compute", "named"), [(reads_a_file, "ReadFile"), (calls_python, "EagerPyFunc")])
def test_a_saved_model_that_does_more_than_compute_is_refused(
    tmp_path: Path, compute: Callable[[Any], Any], named: str
) -> None:
    with pytest.raises(ModelError, match=f"operators beyond arithmetic: .*{named}"):
        load_predictor(saved_model(tmp_path, compute))


def test_a_custom_op_in_a_saved_model_is_refused(tmp_path: Path) -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved_model(tmp_path, mean)
    path = tmp_path / "saved_model" / "saved_model.pb"
    graph = SavedModel.FromString(path.read_bytes())
    graph.meta_graphs[0].graph_def.node.add(name="strange", op="RunAnything")
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError, match="operators beyond arithmetic: RunAnything"):
        load_predictor(described(tmp_path))


@pytest.mark.parametrize("data", [b"", b"cos\nsystem\n(S'true'\ntR."])
def test_a_file_that_is_no_saved_model_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "saved_model" / "saved_model.pb"
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.raises(ModelError, match="refused"):
        load_predictor(described(tmp_path))


def test_weights_that_are_a_pickle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    pickled = np.array([{"an": "object"}], dtype=object)
    np.savez(
        path, allow_pickle=True, **{f"layer/{part}": pickled for part in ("kernel", "scale", "bias", "range")}
    )
    with pytest.raises(ValueError, match="allow_pickle=False"):
        Weights.load(path)
