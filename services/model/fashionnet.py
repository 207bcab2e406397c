"""FashionNet in tf-keras: categories and attributes of clothes, told with the help of their landmarks.

Liu et al., "DeepFashion: Powering Robust Clothes Recognition and Retrieval with Rich Annotations", CVPR 2016.
The convolutions are VGG16's (Simonyan and Zisserman, 2014), without batch normalisation. Up to conv4_3 there
is one trunk; behind it

- the pose branch finds eight landmarks and says which of them can be seen;
- the local branch looks at the trunk's features around each landmark that can be seen;
- the global branch looks at the whole photo;

and what the last two found, concatenated, gives categories and attributes.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras
from tf_keras import layers

IMAGE_SIZE = 224  # pixels of a side

# The positions of the eight landmarks in every tensor.
LANDMARKS = (
    "left collar",
    "right collar",
    "left sleeve",
    "right sleeve",
    "left waistline",
    "right waistline",
    "left hem",
    "right hem",
)
ATTRIBUTES = 1000

# The target of which nothing is known: it takes no part in a loss.
UNKNOWN = -1


class ClothesType(IntEnum):
    """What part of the body is clothed, by DeepFashion's numbers."""

    UPPER = 1
    LOWER = 2
    FULL = 3


class Category(NamedTuple):
    """A class of the category head."""

    name: str
    clothes_type: ClothesType


# DeepFashion's categories, in the order of the logits.
CATEGORIES = tuple(
    Category(name, clothes_type)
    for clothes_type, names in {
        ClothesType.UPPER: "Anorak Blazer Blouse Bomber Button-Down Cardigan Flannel Halter Henley Hoodie "
        "Jacket Jersey Parka Peacoat Poncho Sweater Tank Tee Top Turtleneck",
        ClothesType.LOWER: "Capris Chinos Culottes Cutoffs Gauchos Jeans Jeggings Jodhpurs Joggers Leggings "
        "Sarong Shorts Skirt Sweatpants Sweatshorts Trunks",
        ClothesType.FULL: "Caftan Cape Coat Coverup Dress Jumpsuit Kaftan Kimono Nightdress Onesie Robe "
        "Romper Shirtdress Sundress",
    }.items()
    for name in names.split()
)

# ImageNet's mean, red, green, blue. VGG was trained on pixels less this mean, not scaled.
PIXEL_MEAN = (123.68, 116.779, 103.939)

BINS = 3  # a landmark's surroundings are summed up in BINS x BINS maxima,
BIN_CELLS = 2  # each of BIN_CELLS x BIN_CELLS cells of the trunk, of 8x8 pixels


def build(
    attributes: int = ATTRIBUTES,
    categories: int = len(CATEGORIES),
    width: float = 1.0,
    dropout: float = 0.0,
) -> tf_keras.Model:
    """Pixels [N, 224, 224, 3], RGB, values 0 to 255 -> what is seen, as a mapping of outputs.

    - `landmarks` [N, 8, 2]: x and y in sides of the photo, 0 is left and top, 1 is right and bottom;
    - `visibility` [N, 8]: logits of each landmark's being seen;
    - `attributes` [N, attributes]: logits, each for itself: their sigmoids are probabilities;
    - `categories` [N, categories]: logits of one choice: their softmax are probabilities.

    Args:
        attributes: how many there are.
        categories: how many there are.
        width: of all hidden layers, as a share of the published network's 194 million parameters' worth.
        dropout: share of each fully connected layer that is left out of a training step.

    """
    pixels = layers.Input((IMAGE_SIZE, IMAGE_SIZE, 3), name="pixels")
    features = trunk(pixels, width)

    def fully_connected(x: Any, size: int, name: str) -> Any:
        x = layers.Dense(_units(size, width), activation="relu", name=name)(x)
        return layers.Dropout(dropout, name=f"{name}_dropout")(x)

    pose = fully_connected(_conv5(features, "pose", width), 1024, "pose_fc6")
    pose = fully_connected(pose, 1024, "pose_fc7")
    # Training begins with all landmarks in the middle of the photo.
    middle = tf_keras.initializers.Constant(0.5)
    coordinates = layers.Dense(2 * len(LANDMARKS), bias_initializer=middle, name="coordinates")(pose)
    landmarks = layers.Reshape((len(LANDMARKS), 2), name="landmarks")(coordinates)
    visibility = layers.Dense(len(LANDMARKS), name="visibility")(pose)

    seen = layers.Activation("sigmoid", name="seen")(visibility)
    around = LandmarkPooling(name="around_landmarks")([features, landmarks, seen])
    local = fully_connected(layers.Flatten(name="local")(around), 1024, "local_fc6")
    overall = fully_connected(_conv5(features, "global", width), 4096, "global_fc6")
    both = layers.Concatenate(name="features")([local, overall])
    return tf_keras.Model(
        pixels,
        {
            "landmarks": landmarks,
            "visibility": visibility,
            "attributes": layers.Dense(attributes, name="attributes")(both),
            "categories": layers.Dense(categories, name="categories")(both),
        },
        name="fashionnet",
    )


def trunk(pixels: Any, width: float = 1.0) -> Any:
    """VGG16 up to conv4_3: pixels [N, 224, 224, 3], 0 to 255 -> features [N, 28, 28, 512 * width]."""
    x = layers.Rescaling(1.0, [-mean for mean in PIXEL_MEAN], name="centre")(pixels)
    for block, (convolutions, filters) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512)), start=1):
        if block > 1:
            x = layers.MaxPooling2D(name=f"block{block - 1}_pool")(x)
        x = _convolutions(x, convolutions, _units(filters, width), f"block{block}")
    return x


def load_pretrained(network: tf_keras.Model, vgg16: tf_keras.Model) -> None:
    """Put the convolutions of `tf_keras.applications.VGG16` into a network of full width, or its trunk.

    Raises:
        ValueError: the widths differ.

    """
    for layer in network.layers:
        if isinstance(layer, layers.Conv2D):
            # Both branches have a conv5 of their own: `pose_block5_conv1` is `block5_conv1`.
            name = layer.name[layer.name.index("block") :]
            kernel, bias = vgg16.get_layer(name).get_weights()
            # Keras keeps the weights of Caffe, which reads the channels as blue, green, red.
            layer.set_weights([kernel[:, :, ::-1] if name == "block1_conv1" else kernel, bias])


class LandmarkPooling(layers.Layer):  # type: ignore[misc]
    """The trunk's features around each landmark, as maxima; zero as far as the landmark is not seen.

    Features [N, H, W, C], landmarks [N, L, 2] (x and y in sides of the photo) and how far each is seen
    [N, L] (0 to 1) -> [N, L, BINS, BINS, C]. The window has BINS * BIN_CELLS cells a side. Its middle is the
    corner of cells nearest to the landmark, or, where it would then leave the features, the nearest one that
    keeps it inside.

    All windows are one gather of flat indices: no loop over photos or landmarks, and nothing that XLA or
    LiteRT could not compile, as `crop_and_resize` and `reduce_max` are.
    """

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:  # noqa: D102
        features, landmarks, seen = inputs
        _, height, width, channels = features.shape
        count, side = landmarks.shape[1], BINS * BIN_CELLS
        left = _window_start(landmarks[..., 0], width, side)
        top = _window_start(landmarks[..., 1], height, side)
        cells = tf.range(side)
        rows = (top[..., tf.newaxis] + cells)[..., tf.newaxis]
        columns = (left[..., tf.newaxis] + cells)[..., tf.newaxis, :]
        indices = tf.reshape(rows * width + columns, (-1, count * side * side))
        flat = tf.reshape(features, (-1, height * width, channels))
        windows = tf.reshape(tf.gather(flat, indices, batch_dims=1), (-1, side, side, channels))
        maxima = tf.nn.max_pool2d(windows, BIN_CELLS, BIN_CELLS, "VALID")
        gate = tf.reshape(seen, (-1, count, 1))
        gated = tf.reshape(maxima, (-1, count, BINS * BINS * channels)) * gate
        return tf.reshape(gated, (-1, count, BINS, BINS, channels))


def landmarks_loss(truth: tf.Tensor, visible: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Mean squared distance of the landmarks that can be seen; 0 where there are none.

    Args:
        truth: [N, 8, 2], in sides of the photo; of landmarks that are not seen, any finite value.
        visible: [N, 8], 1 for those that are seen, else 0 or UNKNOWN.
        predicted: [N, 8, 2], the network's `landmarks`.

    """
    distances = tf.reduce_sum(tf.square(predicted - tf.cast(truth, predicted.dtype)), axis=-1)
    return _mean_where(tf.equal(visible, 1), distances)


def visibility_loss(visible: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of [N, 8]: 1 seen, 0 not seen, UNKNOWN left out."""
    losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(visible, logits.dtype), logits)
    return _mean_where(tf.not_equal(visible, UNKNOWN), losses)


def attributes_loss(truth: tf.Tensor, logits: tf.Tensor, positive_weights: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of [N, attributes]: 1 has it, 0 has it not, UNKNOWN left out.

    Args:
        truth: the labels.
        logits: the network's `attributes`.
        positive_weights: [attributes], what a photo that has it counts, where one that has it not counts 1.
            An attribute that one photo in fifty has is learnt with about 49.

    """
    losses = tf.nn.weighted_cross_entropy_with_logits(
        tf.cast(truth, logits.dtype), logits, tf.cast(positive_weights, logits.dtype)
    )
    return _mean_where(tf.not_equal(truth, UNKNOWN), losses)


def categories_loss(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of indices [N] into the categories, UNKNOWN left out."""
    # What UNKNOWN is replaced by does not matter, but it must be an index.
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(truth, 0), logits)
    return _mean_where(tf.not_equal(truth, UNKNOWN), losses)


def _units(published: int, width: float) -> int:
    """How many units a layer of the published network has in one of this width."""
    return max(1, round(published * width))


def _convolutions(x: Any, count: int, filters: int, name: str) -> Any:
    for index in range(1, count + 1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"{name}_conv{index}")(x)
    return x


def _conv5(features: Any, branch: str, width: float) -> Any:
    """VGG16 from the pooling behind conv4_3 on, flattened [N, 7 * 7 * 512 * width]."""
    x = layers.MaxPooling2D(name=f"{branch}_block4_pool")(features)
    x = _convolutions(x, 3, _units(512, width), f"{branch}_block5")
    x = layers.MaxPooling2D(name=f"{branch}_block5_pool")(x)
    return layers.Flatten(name=f"{branch}_flatten")(x)


def _window_start(coordinate: tf.Tensor, cells: int, side: int) -> tf.Tensor:
    """Coordinates of middles, in sides of the photo -> the first cell of each window of `side` cells."""
    start = tf.round(coordinate * cells) - side // 2
    # A float may be too large for an integer: clipped first, then cast.
    return tf.cast(tf.clip_by_value(start, 0, cells - side), tf.int32)


def _mean_where(known: tf.Tensor, losses: tf.Tensor) -> tf.Tensor:
    weights = tf.cast(known, losses.dtype)
    # Multiplied, a loss that is not finite would stay so.
    total = tf.reduce_sum(tf.where(known, losses, tf.zeros_like(losses)))
    return tf.math.divide_no_nan(total, tf.reduce_sum(weights))
