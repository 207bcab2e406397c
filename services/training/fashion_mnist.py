"""Fashion-MNIST (https://github.com/zalandoresearch/fashion-mnist, MIT): 70,000 real product photos.

Its authors published Zalando's photos in grey, 28x28, with the intensity negated: bright garments on black.
Here they are turned back into what was photographed, garments on white, which is a fixed, invertible
mapping. The official split into 60,000 training and 10,000 test photos is kept.
"""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.model.learnt import photo_digest
from services.model.preprocessing import to_array
from services.shared.clothing_dataset import ClothingError, LabelMap
from services.shared.nearest import nearest
from services.training.examples import UNKNOWN, Example, LeftOut, Side

# Where Debian's package dataset-fashion-mnist puts it.
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

# Fashion-MNIST's classes, in its own order, under the article types of the Fashion Product Images catalogue.
ARTICLE_TYPES = (
    "Tshirts",
    "Trousers",
    "Sweaters",
    "Dresses",
    "Coats",
    "Sandals",
    "Shirts",
    "Casual Shoes",
    "Handbags",
    "Boots",
)

# As its authors name them, in their order.
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

type Split = Literal["train", "test"]


def load(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Photos [N, 28, 28], 255 is the white background, and classes [N], indices into `ARTICLE_TYPES`.

    Read from Debian's package where it is installed, else downloaded by Keras.
    """
    if DEBIAN_FOLDER.is_dir():
        prefix = {"train": "train", "test": "t10k"}[split]
        negatives = _read_idx(DEBIAN_FOLDER / f"{prefix}-images-idx3-ubyte.gz")
        classes = _read_idx(DEBIAN_FOLDER / f"{prefix}-labels-idx1-ubyte.gz")
    else:
        from tf_keras.datasets import fashion_mnist  # takes seconds to import

        negatives, classes = fashion_mnist.load_data()[("train", "test").index(split)]
    return 255 - negatives, classes


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """MNIST's IDX format: two zeros, the type (8: bytes), the number of axes, big-endian sizes, values."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of bytes")
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


class FashionMnistSource:
    """A `services.training.examples.Source` of all photos, in the terms of a catalogue.

    The official test split is the test side. Of the training split, the first photos of a fixed random order
    validate.

    Args:
        labels: what its classes mean.
        validate: photos of the training split that validate.

    """

    ORIGIN = "grey_photo"

    def __init__(self, labels: LabelMap, validate: int) -> None:
        for name in [*CLASSES, *labels]:
            if name not in CLASSES or name not in labels:
                near = nearest(name, (labels.keys() | {*CLASSES}) - {name})
                hint = f"; did you mean {near!r}?" if near else ""
                missing = "label map" if name in CLASSES else "data set"
                raise ClothingError(f"fashion-mnist: the {missing} has no class {name!r}{hint}")
        self._labels, self._validate = labels, validate
        known: dict[str, dict[str, None]] = {}
        for name in CLASSES:
            for column, value in labels[name].items():
                known.setdefault(column, {})[value] = None
        self.heads: Mapping[str, Sequence[str]] = {column: sorted(values) for column, values in known.items()}
        self.left_out: Sequence[LeftOut] = ()
        self.several: Mapping[str, Sequence[str]] = {}
        self.applies_to: Mapping[str, Mapping[str, Sequence[str]]] = {}
        self.description: Mapping[str, str] = {"data set": "Fashion-MNIST", "validate": str(validate)}

    def examples(self, image_size: int) -> Iterator[tuple[Side, Example]]:
        """As `services.training.examples.Source`; the training side in a fixed random order."""
        targets = [
            {
                head: labels.index(self._labels[name][head]) if head in self._labels[name] else UNKNOWN
                for head, labels in self.heads.items()
            }
            for name in CLASSES
        ]
        splits: Sequence[Split] = ("train", "test")
        for split in splits:
            photos, classes = load(split)
            order = np.random.default_rng(0).permutation(len(photos))
            for place, index in enumerate(order):
                side: Side = "test" if split == "test" else "validate" if place < self._validate else "train"
                pixels = to_array(Image.fromarray(photos[index]).convert("RGB"), image_size)
                digest = photo_digest(photos[index].tobytes())
                yield (
                    side,
                    Example(
                        f"fashion-mnist-{split}-{index}",
                        pixels,
                        targets[classes[index]],
                        self.ORIGIN,
                        None,
                        digest,
                    ),
                )
