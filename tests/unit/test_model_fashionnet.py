from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.model import fashionnet
from services.model.fashionnet import BIN_CELLS, BINS, CATEGORIES, IMAGE_SIZE, LANDMARKS, UNKNOWN

ATTRIBUTES = 17
OUTPUTS = {"landmarks": (8, 2), "visibility": (8,), "attributes": (ATTRIBUTES,), "categories": (50,)}

type Arrays = Mapping[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def narrow() -> tf_keras.Model:
    tf_keras.utils.set_random_seed(0)
    return fashionnet.build(attributes=ATTRIBUTES, width=1 / 32)


@pytest.fixture(scope="module")
def photos() -> NDArray[np.uint8]:
    # Each with a bright part of its own, so that the network has something to tell them by.
    pixels = np.random.default_rng(0).integers(0, 128, (4, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for index, photo in enumerate(pixels):
        photo[40 * index : 40 * index + 60, 60:120, index % 3] += 120
    return pixels


def _run(network: tf_keras.Model, photos: NDArray[np.uint8]) -> Arrays:
    return {name: np.asarray(output) for name, output in network(photos.astype(np.float32)).items()}


def _assert_close(actual: Arrays, expected: Arrays, atol: float = 1e-4) -> None:
    assert actual.keys() == expected.keys() == OUTPUTS.keys()
    for name in OUTPUTS:
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-3, atol=atol, err_msg=name)


def test_there_are_the_50_published_categories() -> None:
    assert Counter(category.clothes_type.name for category in CATEGORIES) == {
        "UPPER": 20,
        "LOWER": 16,
        "FULL": 14,
    }
    assert len({category.name for category in CATEGORIES}) == 50
    assert [CATEGORIES[index].name for index in (0, 2, 4, 20, 36, 49)] == [
        "Anorak",
        "Blouse",
        "Button-Down",
        "Capris",
        "Caftan",
        "Sundress",
    ]


def test_outputs_have_their_shapes(narrow: tf_keras.Model, photos: NDArray[np.uint8]) -> None:
    outputs = _run(narrow, photos)

    assert {name: output.shape[1:] for name, output in outputs.items()} == OUTPUTS
    assert all(len(output) == len(photos) for output in outputs.values())
    # Untrained, it looks into the middle; and the photos are not all the same to it.
    assert np.abs(outputs["landmarks"] - 0.5).max() < 0.5
    assert np.ptp(outputs["categories"], axis=0).max() > 1e-3


def test_of_full_width_it_is_the_published_network() -> None:
    """Counted layer by layer on paper: building it would take 780 MB."""
    width = 1 / 8
    network = fashionnet.build(width=width)
    features, pooled = round(512 * width), 7 * 7 * round(512 * width)
    expected = {
        "pose_fc6": (pooled, 1024 * width),
        "pose_fc7": (1024 * width, 1024 * width),
        "coordinates": (1024 * width, 16),
        "visibility": (1024 * width, 8),
        "local_fc6": (8 * 3 * 3 * features, 1024 * width),
        "global_fc6": (pooled, 4096 * width),
        "attributes": (5120 * width, 1000),
        "categories": (5120 * width, 50),
    }

    dense = {
        layer.name: tuple(layer.kernel.shape)
        for layer in network.layers
        if isinstance(layer, tf_keras.layers.Dense)
    }

    assert dense == expected
    assert sum(isinstance(layer, tf_keras.layers.Conv2D) for layer in network.layers) == 10 + 3 + 3


def test_the_trunk_is_vgg16_on_its_own_preprocessing(photos: NDArray[np.uint8]) -> None:
    tf_keras.utils.set_random_seed(0)
    vgg16 = tf_keras.applications.VGG16(include_top=False, weights=None)
    expected = tf_keras.Model(vgg16.input, vgg16.get_layer("block4_conv3").output)
    pixels = tf_keras.layers.Input((IMAGE_SIZE, IMAGE_SIZE, 3))
    trunk = tf_keras.Model(pixels, fashionnet.trunk(pixels))
    photo = photos[:1].astype(np.float32)

    fashionnet.load_pretrained(trunk, vgg16)

    features = np.asarray(trunk(photo))
    assert features.shape == (1, 28, 28, 512)
    wanted = np.asarray(expected(tf_keras.applications.vgg16.preprocess_input(photo.copy())))
    np.testing.assert_allclose(features, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_pretrained_weights_of_another_width_are_refused(narrow: tf_keras.Model) -> None:
    vgg16 = tf_keras.applications.VGG16(include_top=False, weights=None)
    with pytest.raises(ValueError, match="shape"):
        fashionnet.load_pretrained(narrow, vgg16)


def _pooled_in_loops(
    features: NDArray[np.float32], landmarks: NDArray[np.float32], seen: NDArray[np.float32]
) -> NDArray[np.float32]:
    photos, height, width, channels = features.shape
    half = BINS * BIN_CELLS // 2
    pooled = np.zeros((photos, len(LANDMARKS), BINS, BINS, channels), np.float32)
    for photo, landmark, i, j in np.ndindex(photos, len(LANDMARKS), BINS, BINS):
        x, y = landmarks[photo, landmark]
        left = int(min(max(np.round(x * np.float32(width)) - half, 0), width - 2 * half))
        top = int(min(max(np.round(y * np.float32(height)) - half, 0), height - 2 * half))
        row, column = top + BIN_CELLS * i, left + BIN_CELLS * j
        window = features[photo, row : row + BIN_CELLS, column : column + BIN_CELLS]
        pooled[photo, landmark, i, j] = window.max(axis=(0, 1)) * seen[photo, landmark]
    return pooled


# Inside, on both borders, a little and very far outside.
coordinates = (
    st.floats(-0.5, 1.5, width=32)
    | st.sampled_from([0.0, 1.0, 0.5, 1 / 28, 27 / 28])
    | st.floats(-(2.0**100), 2.0**100, width=32)
)


@settings(deadline=None, max_examples=60)
@given(
    places=st.lists(st.tuples(coordinates, coordinates), min_size=16, max_size=16),
    # Not so small that products would be denormal, which TensorFlow takes for 0 and NumPy does not.
    seen=st.lists(st.sampled_from([0.0, 1.0]) | st.floats(2**-20, 1, width=32), min_size=16, max_size=16),
    seed=st.integers(0, 2**32 - 1),
)
def test_pooling_around_landmarks_equals_the_plain_loop(
    places: list[tuple[float, float]], seen: list[float], seed: int
) -> None:
    features = np.random.default_rng(seed).normal(size=(2, 28, 28, 3)).astype(np.float32)
    landmarks = np.array(places, np.float32).reshape(2, 8, 2)
    gates = np.array(seen, np.float32).reshape(2, 8)

    pooled = fashionnet.LandmarkPooling()([features, landmarks, gates]).numpy()

    np.testing.assert_array_equal(pooled, _pooled_in_loops(features, landmarks, gates))
    assert not pooled[gates == 0].any()


def test_a_batch_gives_what_its_photos_give_alone(narrow: tf_keras.Model, photos: NDArray[np.uint8]) -> None:
    alone = [_run(narrow, photos[index : index + 1]) for index in range(len(photos))]
    expected = {name: np.concatenate([outputs[name] for outputs in alone]) for name in OUTPUTS}

    _assert_close(_run(narrow, photos), expected)


def _total_loss(outputs: Mapping[str, tf.Tensor], truth: Mapping[str, NDArray[np.generic]]) -> tf.Tensor:
    return (
        fashionnet.landmarks_loss(truth["landmarks"], truth["visibility"], outputs["landmarks"])
        + fashionnet.visibility_loss(truth["visibility"], outputs["visibility"])
        + fashionnet.attributes_loss(truth["attributes"], outputs["attributes"], np.full(ATTRIBUTES, 3.0))
        + fashionnet.categories_loss(truth["categories"], outputs["categories"])
    )


@pytest.fixture(scope="module")
def truth(photos: NDArray[np.uint8]) -> dict[str, NDArray[np.generic]]:
    rng = np.random.default_rng(1)
    return {
        "landmarks": rng.random((len(photos), 8, 2)),
        "visibility": rng.integers(UNKNOWN, 2, (len(photos), 8)),
        "attributes": rng.integers(UNKNOWN, 2, (len(photos), ATTRIBUTES)),
        "categories": np.array([3, UNKNOWN, 49, 0]),
    }


def test_gradients_reach_every_layer(
    narrow: tf_keras.Model, photos: NDArray[np.uint8], truth: dict[str, NDArray[np.generic]]
) -> None:
    with tf.GradientTape() as tape:
        loss = _total_loss(narrow(photos.astype(np.float32), training=True), truth)
    gradients = tape.gradient(loss, narrow.trainable_variables)

    untouched = [
        variable.name
        for variable, gradient in zip(narrow.trainable_variables, gradients, strict=True)
        if gradient is None or not np.abs(gradient).max() > 0
    ]
    assert untouched == []


def test_the_categories_train_the_gates(
    narrow: tf_keras.Model, photos: NDArray[np.uint8], truth: dict[str, NDArray[np.generic]]
) -> None:
    with tf.GradientTape() as tape:
        loss = fashionnet.categories_loss(
            truth["categories"], narrow(photos.astype(np.float32), training=True)["categories"]
        )
    assert np.abs(tape.gradient(loss, narrow.get_layer("visibility").kernel)).max() > 0


def test_training_steps_reduce_the_loss(
    photos: NDArray[np.uint8], truth: dict[str, NDArray[np.generic]]
) -> None:
    tf_keras.utils.set_random_seed(0)
    network = fashionnet.build(attributes=ATTRIBUTES, width=1 / 32, dropout=0.1)
    optimizer = tf_keras.optimizers.Adam(1e-3)
    before = float(_total_loss(network(photos.astype(np.float32)), truth))
    for _ in range(8):
        with tf.GradientTape() as tape:
            loss = _total_loss(network(photos.astype(np.float32), training=True), truth)
        variables = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    assert float(_total_loss(network(photos.astype(np.float32)), truth)) < before


def test_xla_gives_the_same(narrow: tf_keras.Model, photos: NDArray[np.uint8]) -> None:
    compiled = tf.function(narrow, jit_compile=True)

    outputs = {name: np.asarray(output) for name, output in compiled(photos.astype(np.float32)).items()}

    _assert_close(outputs, _run(narrow, photos))


def test_litert_gives_the_same(narrow: tf_keras.Model, photos: NDArray[np.uint8]) -> None:
    model = tf.lite.TFLiteConverter.from_keras_model(narrow).convert()
    serve = Interpreter(model_content=model, num_threads=1).get_signature_runner()

    for size in (1, 3):
        _assert_close(serve(pixels=photos[:size].astype(np.float32)), _run(narrow, photos[:size]))


def test_it_is_the_same_after_saving_and_loading(
    narrow: tf_keras.Model, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    narrow.export(tmp_path)

    loaded = tf.saved_model.load(tmp_path)

    outputs = {name: np.asarray(output) for name, output in loaded.serve(photos.astype(np.float32)).items()}
    _assert_close(outputs, _run(narrow, photos), atol=1e-5)


def test_only_visible_landmarks_count() -> None:
    truth = np.zeros((1, 8, 2), np.float32)
    predicted = np.full((1, 8, 2), 9.0, np.float32)
    predicted[0, 3] = (3.0, 4.0)
    predicted[0, 5] = (0.0, 1.0)
    visible = np.array([[0, UNKNOWN, 0, 1, 0, 1, UNKNOWN, 0]])

    assert float(fashionnet.landmarks_loss(truth, visible, predicted)) == pytest.approx((25 + 1) / 2)


def test_unknown_labels_take_no_part() -> None:
    sure = np.array([[20.0, -20.0, 20.0]], np.float32)
    known = np.array([[1, 0, UNKNOWN]])

    assert float(fashionnet.visibility_loss(known, sure)) == pytest.approx(0, abs=1e-6)
    assert float(fashionnet.attributes_loss(known, sure, np.ones(3))) == pytest.approx(0, abs=1e-6)
    logits = np.array([[0.0, 0.0], [-50.0, 50.0]], np.float32)
    assert float(fashionnet.categories_loss(np.array([1, UNKNOWN]), logits)) == pytest.approx(np.log(2))


def test_positives_count_by_their_weight() -> None:
    logits = np.zeros((1, 2), np.float32)
    weights = np.array([5.0, 7.0])

    loss = fashionnet.attributes_loss(np.array([[1, 0]]), logits, weights)

    assert float(loss) == pytest.approx((5 + 1) * np.log(2) / 2)


def test_a_batch_of_which_nothing_is_known_costs_nothing() -> None:
    logits = np.full((2, 8), np.inf, np.float32)
    unknown = np.full((2, 8), UNKNOWN)

    losses = [
        fashionnet.landmarks_loss(np.zeros((2, 8, 2)), unknown, np.ones((2, 8, 2), np.float32)),
        fashionnet.visibility_loss(unknown, logits),
        fashionnet.attributes_loss(unknown, logits, np.ones(8)),
        fashionnet.categories_loss(unknown[:, 0], np.ones((2, 5), np.float32)),
    ]

    assert [float(loss) for loss in losses] == [0, 0, 0, 0]
