import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.model.weights import CheckpointError, Weights, pretrained_checkpoint, quantize, read_checkpoint


class GlobalReference:
    """Pickles as a call of any module's function, as a crafted checkpoint would."""

    def __init__(self, call: Callable[..., Any], *arguments: object) -> None:
        self._reduced = (call, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self._reduced


def _stream(*pickled: object) -> io.BytesIO:
    return io.BytesIO(b"".join(pickle.dumps(item, protocol=2) for item in pickled))


HEADER = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})


def test_the_pretrained_checkpoint_holds_efficientnet_lite0() -> None:
    checkpoint = pretrained_checkpoint()

    assert checkpoint["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert checkpoint["_fc.weight"].shape == (1000, 1280)
    assert sum(values.size for values in checkpoint.values()) == pytest.approx(4.7e6, rel=0.02)
    # Strides of the file are respected: read in the wrong order, a filter would not be smooth like this.
    assert np.isfinite(checkpoint["_conv_stem.weight"]).all()


@pytest.mark.parametrize("call", [eval, print, __import__, Path, np.dtype, getattr])
def test_a_pickle_that_names_anything_but_tensors_is_refused(call: Callable[..., Any]) -> None:
    with pytest.raises(CheckpointError, match="not a tensor"):
        read_checkpoint(_stream(*HEADER, GlobalReference(call, "1 + 1")))


def test_a_refused_pickle_has_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    with pytest.raises(CheckpointError):
        read_checkpoint(_stream(*HEADER, GlobalReference(exec, f"open({str(trace)!r}, 'w')")))

    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04 a zip file", b"plain text", pickle.dumps(5), pickle.dumps(HEADER[0])],
    ids=["empty", "zip", "text", "another number", "cut short"],
)
def test_what_is_no_checkpoint_is_refused(content: bytes) -> None:
    with pytest.raises(CheckpointError):
        read_checkpoint(io.BytesIO(content))


def test_a_checkpoint_cut_anywhere_is_refused() -> None:
    complete = _stream(*HEADER, OrderedDict(), []).getvalue()
    assert read_checkpoint(io.BytesIO(complete)) == {}

    for length in range(len(complete)):
        with pytest.raises(CheckpointError):
            read_checkpoint(io.BytesIO(complete[:length]))


finite = st.floats(-100, 100, width=32)
kernels = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=finite)


@given(kernel=kernels)
def test_quantising_is_off_by_at_most_half_a_step(kernel: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    bias = np.zeros(kernel.shape[-1], np.float32)

    rounded, _ = quantize({"layer": (kernel, bias)})["layer"].dequantized()

    channels = kernel.reshape(-1, kernel.shape[-1])
    step = np.abs(channels).max(axis=0) / 127
    assert (np.abs(rounded - kernel).reshape(channels.shape) <= step / 2 * 1.001 + 1e-30).all()


@given(kernel=kernels)
def test_quantising_twice_finds_the_same_integers(kernel: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    bias = np.zeros(kernel.shape[-1], np.float32)

    once = quantize({"layer": (kernel, bias)})["layer"]
    twice = quantize({"layer": once.dequantized()})["layer"]

    np.testing.assert_array_equal(twice.kernel, once.kernel)


def test_saved_weights_come_back_and_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    layers = quantize(
        {name: (rng.random((3, 3, 4), np.float32), rng.random(4, np.float32)) for name in ("a", "b/c")}
    )
    weights = Weights(layers, {"a": (-1.25, 2.5), "pixels": (0.0, 255.0)})

    weights.save(tmp_path / "one.npz")
    loaded = Weights.load(tmp_path / "one.npz")
    Weights(dict(reversed(list(loaded.layers.items()))), loaded.ranges).save(tmp_path / "two.npz")

    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert loaded.ranges == weights.ranges
    assert loaded.layers.keys() == layers.keys()
    for name, layer in layers.items():
        for part, expected in layer._asdict().items():
            np.testing.assert_array_equal(getattr(loaded.layers[name], part), expected)


def test_weights_hold_no_pickles(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"a/range": np.array([GlobalReference(print, "run")], dtype=object)}
    np.savez(tmp_path / "evil.npz", **arrays)

    with pytest.raises(ValueError, match="allow_pickle"):
        Weights.load(tmp_path / "evil.npz")


def test_a_storage_that_is_cut_short_is_refused() -> None:
    class Writer(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return value.args if isinstance(value, StorageStub) else None

    class StorageStub:
        args = ("storage", "not a type", "0", "cpu", 4)

    file = io.BytesIO()
    for item in HEADER:
        pickle.dump(item, file, protocol=2)
    Writer(file, protocol=2).dump({"weight": StorageStub()})
    pickle.dump(["0"], file, protocol=2)
    file.write(struct.pack("<q", 4) + bytes(15))
    file.seek(0)

    with pytest.raises(CheckpointError):
        read_checkpoint(file)
