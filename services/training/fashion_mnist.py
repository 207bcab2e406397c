"""Fashion-MNIST (https://github.com/zalandoresearch/fashion-mnist, MIT): 70,000 real product photos.

Its authors published Zalando's photos in grey, 28x28, with the intensity negated: bright garments on black.
Here they are turned back into what was photographed, garments on white, which is a fixed, invertible
mapping. The official split into 60,000 training and 10,000 test photos is kept.
"""

import gzip
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
