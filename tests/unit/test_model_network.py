from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras
from numpy.typing import NDArray

from services.model import network
from services.model.familiarity import EMBEDDING
from services.model.manifest import MODEL_FILE
from services.model.preprocessing import to_array
from services.model.weights import Weights, pretrained_checkpoint, quantize
from services.training import exports
from services.training.packshots import Seed, packshots

SIZE = 64
HEADS = {"article_type": ("Shirts", "Boots", "Handbags"), "base_colour": ("Red", "Blue")}


@pytest.fixture(scope="module")
def photos() -> NDArray[np.uint8]:
    return np.stack([to_array(shot.image, SIZE) for shot in packshots(24, Seed.TEST)])


@pytest.fixture(scope="module")
def trainable() -> tf_keras.Model:
    tf_keras.utils.set_random_seed(0)
    model = network.build(HEADS, SIZE)
    network.load_pretrained(model, pretrained_checkpoint())
    return model


@pytest.fixture(scope="module")
def weights(trainable: tf_keras.Model, photos: NDArray[np.uint8]) -> Weights:
    def batches() -> Iterator[NDArray[np.float32]]:
        yield from np.split(photos.astype(np.float32), 4)

    return Weights(quantize(network.layers_of(trainable)), network.observed_ranges(trainable, batches()))


@pytest.fixture(scope="module")
def served(weights: Weights) -> tf_keras.Model:
    return network.build_served(HEADS, SIZE, weights)


@pytest.fixture(scope="module")
def litert_file(served: tf_keras.Model) -> bytes:
    return exports.integers(served)


def _logits(model: tf_keras.Model, photos: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    return {head: np.asarray(logits) for head, logits in model(photos.astype(np.float32)).items()}


def test_heads_come_from_the_mapping(trainable: tf_keras.Model, photos: NDArray[np.uint8]) -> None:
    assert {head: logits.shape for head, logits in _logits(trainable, photos).items()} == {
        "article_type": (24, 3),
        "base_colour": (24, 2),
        EMBEDDING: (24, network.HIDDEN_UNITS),
    }


def test_the_network_normalises_by_itself(trainable: tf_keras.Model) -> None:
    scaled = tf_keras.Model(trainable.input, trainable.get_layer("scale").output)
    greys = np.broadcast_to(np.array([0, 127, 255], np.float32)[:, None, None, None], (3, SIZE, SIZE, 3))

    np.testing.assert_array_equal(np.asarray(scaled(greys))[:, 0, 0, 0], [-127 / 128, 0, 1])


def test_every_pretrained_weight_finds_its_place(trainable: tf_keras.Model) -> None:
    checkpoint = pretrained_checkpoint()
    used = sum(values.size for name, values in checkpoint.items() if "_fc" not in name and values.ndim)
    untrained = ("hidden", *(f"{head}_logits" for head in HEADS))

    placed = [layer for layer in trainable.layers if layer.weights and layer.name not in untrained]

    assert sum(np.asarray(weight).size for layer in placed for weight in layer.weights) == used
    np.testing.assert_array_equal(
        trainable.get_layer("block15_depthwise").get_weights()[0][..., 0],
        checkpoint["_blocks.15._depthwise_conv.weight"][:, 0].transpose(1, 2, 0),
    )


def test_ranges_hold_zero_and_the_input_is_exact(weights: Weights) -> None:
    assert weights.ranges["pixels"] == (0, 255)
    assert weights.ranges["scaled"] == (-127 / 128, 1)
    assert all(low <= 0 < high for low, high in weights.ranges.values())


def test_rounding_moves_the_answers_little_and_litert_hardly_at_all(
    trainable: tf_keras.Model,
    served: tf_keras.Model,
    litert_file: bytes,
    photos: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    exact, rounded = _logits(trainable, photos), _logits(served, photos)
    path = tmp_path / MODEL_FILE
    path.write_bytes(litert_file)
    integers = exports.of_litert(path)(photos)

    for head in HEADS:
        # ImageNet's weights, before any training with the rounding in place, are hit hard by it.
        assert _correlation(exact[head], rounded[head]) > 0.9
        assert _correlation(integers[head], rounded[head]) > 0.98
        assert (
            np.abs(integers[head] - rounded[head]).mean() < np.abs(exact[head] - rounded[head]).mean() / 1.5
        )


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_the_file_holds_the_very_weights(weights: Weights, litert_file: bytes) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=litert_file)
    interpreter.allocate_tensors()
    found = [
        interpreter.get_tensor(tensor["index"]).astype(np.float32) * _broadcast(tensor)
        for tensor in interpreter.get_tensor_details()
        if tensor["quantization_parameters"]["scales"].size > 1 and tensor["dtype"] == np.int8
    ]

    for name, layer in weights.layers.items():
        kernel, _ = layer.dequantized()
        # LiteRT keeps output channels first, but those of a depthwise convolution last.
        expected = kernel[np.newaxis] if kernel.ndim == 3 else np.moveaxis(kernel, -1, 0)
        assert any(
            kernel.shape == expected.shape and np.abs(kernel - expected).max() < 1e-6 for kernel in found
        ), name


def _broadcast(tensor: dict[str, Any]) -> NDArray[np.float32]:
    """The scales of a tensor's channels, in a shape that multiplies it."""
    shape = np.ones(len(tensor["shape"]), int)
    shape[tensor["quantization_parameters"]["quantized_dimension"]] = -1
    return np.asarray(tensor["quantization_parameters"]["scales"].reshape(shape))


def test_the_served_form_can_be_trained_further(weights: Weights, photos: NDArray[np.uint8]) -> None:
    model = network.build_served(HEADS, SIZE, weights)
    targets = {"article_type": np.arange(24) % 3, "base_colour": np.arange(24) % 2}
    model.compile(
        tf_keras.optimizers.Adam(1e-4),
        {head: tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True) for head in HEADS},
    )

    losses = model.fit(photos, targets, 24, epochs=3, verbose=0).history["loss"]

    assert losses[-1] < losses[0]
    before, after = (
        weights.layers["block1_expand"].dequantized()[0],
        network.layers_of(model)["block1_expand"][0],
    )
    assert not np.array_equal(before, after)


def test_small_photos_are_seen_at_twice_the_resolution(trainable: tf_keras.Model) -> None:
    fine = network.build(HEADS, SIZE // 2, small_photos=True)
    coarse = network.build(HEADS, SIZE // 2)

    # From the second stage on it is the very network that larger photos have.
    for layer in ("block1_project", "top"):
        assert fine.get_layer(layer).output.shape == trainable.get_layer(layer).output.shape
        assert coarse.get_layer(layer).output.shape[1] == trainable.get_layer(layer).output.shape[1] / 2
    assert [weight.shape for weight in fine.weights] == [weight.shape for weight in trainable.weights]


def test_only_large_filters_are_fixed(trainable: tf_keras.Model) -> None:
    model = network.build(HEADS, SIZE)

    network.fix_large_filters(model)

    fixed = {layer.name for layer in model.layers if not layer.trainable}
    assert fixed == {f"block{block}_depthwise" for block in (3, 4, 8, 9, 10, 11, 12, 13, 14)}


def test_missing_weights_are_named(weights: Weights) -> None:
    layers = {name: layer for name, layer in weights.layers.items() if name != "block7_project"}

    with pytest.raises(KeyError, match="block7_project"):
        network.build_served(HEADS, SIZE, Weights(layers, weights.ranges))
