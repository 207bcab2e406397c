"""A training run whose process is killed, and the same run begun again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from services.training.folder import FolderObjects

RUN = """
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from services.training.config import Augmentation, Fitting
from services.training.fitting import Checkpoint, fit
from services.training.folder import FolderObjects
from tests.unit.training_world import Squares, frozen, small_network

tf.config.experimental.enable_op_determinism()
augmentation = Augmentation(mirrored=0)
settings = Fitting(epochs=40, batch=16, learning_rate=0.01, augmentation=augmentation, patience=40)
for folder in map(Path, sys.argv[1:]):
    objects = FolderObjects(folder)
    network = small_network()
    snapshot = frozen(Squares(train=320), objects)
    fit(network, snapshot, settings, 7, Checkpoint(objects, "gs://bucket/run/fitting.npz", seconds=0), print)
    np.savez(folder.with_suffix(".npz"), *network.get_weights())
"""


def start(*folders: Path) -> subprocess.Popen[bytes]:
    """One run in each folder, one after the other; their weights are written beside them."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", RUN, *map(str, folders)], env=environment)


def weights(result: Path) -> list[np.ndarray]:
    with np.load(result) as arrays:
        return [arrays[name] for name in arrays.files]


def test_a_run_that_was_killed_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    checkpoint = "gs://bucket/run/fitting.npz"
    folder = tmp_path / "killed"
    objects = FolderObjects(folder)

    killed = start(folder)
    while not objects.exists(checkpoint):
        assert killed.poll() is None
        time.sleep(0.01)
    # Somewhere in the run, which takes seconds; also in the middle of a write.
    time.sleep(random.uniform(0, 1))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed.npz").exists()

    assert start(folder, tmp_path / "whole").wait() == 0

    for one, other in zip(weights(tmp_path / "killed.npz"), weights(tmp_path / "whole.npz"), strict=True):
        np.testing.assert_array_equal(one, other)


CATALOGUE = """
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import tf_keras
from PIL import Image
from tf_keras import layers

from services.shared.events import Filters, Product
from services.shared.memory import MemoryCatalogue
from services.shared.ports import Stored
from services.training import snapshot
from services.training.catalogue import CatalogueSource, TestSide
from services.training.config import Fitting
from services.training.fitting import Checkpoint, fit
from services.training.folder import FolderObjects
from tests.unit.photos import encoded

PRODUCTS, SIZE = int(sys.argv[2]), 32
rss = []


def look(*_: object) -> None:
    rss.append(psutil.Process().memory_info().rss)


class Photos:
    '''A photo of its own for each product, made when it is asked for.'''

    def names(self, prefix: str) -> Sequence[str]:
        uris = (f"gs://bucket/images/{number}.jpg" for number in range(PRODUCTS))
        return [uri for uri in uris if uri.startswith(prefix)]

    def read(self, uri: str, *, generation: int | None = None, max_bytes: int | None = None) -> Stored:
        number = int(uri.rpartition("/")[2].removesuffix(".jpg"))
        fields = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        return Stored(encoded(Image.fromarray(fields).resize((SIZE, SIZE)), "JPEG", quality=90), 1)


products = [
    Product.of(str(number), gender=("Men", "Women")[number % 2], year=2010 + 8 * number // PRODUCTS)
    for number in range(PRODUCTS)
]
source = CatalogueSource(
    MemoryCatalogue(products), Photos(), "bucket", Filters(), selection_id="all", minimum_photos=10,
    validate_share=0.05, test=TestSide(), read_from={},
)
objects = FolderObjects(Path(sys.argv[1]))
data = snapshot.write(objects, "gs://bucket/run/snapshot", source, SIZE, look)
reading = rss[len(rss) // 10 :]
rss = []
pixels = layers.Input((SIZE, SIZE, 3))
flat = layers.Flatten()(layers.Conv2D(4, 5, 4)(layers.Rescaling(1 / 128, -1)(pixels)))
network = tf_keras.Model(pixels, {"gender": layers.Dense(2)(flat)})


class Watched(Checkpoint):
    @property
    def due(self) -> bool:
        look()
        return False


fit(network, data, Fitting(epochs=2, batch=64), 0, Watched(objects, "gs://bucket/run/fitting.npz"), print)
fitting = rss[len(rss) // 4 :]
print(json.dumps({
    "examples": sum(data.manifest.examples.values()),
    "reading": max(reading) - reading[0],
    "fitting": max(fitting) - fitting[0],
}))
"""
PRODUCTS = 44_000
ALLOWED = 60 * 2**20  # bytes; the photos as pixels are 135 MB, and at 224 pixels they would be 7 GB


@pytest.mark.timeout(600)
def test_a_catalogue_of_44_000_products_is_read_and_fitted_in_flat_memory(tmp_path: Path) -> None:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", CATALOGUE, str(tmp_path), str(PRODUCTS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]

    grown = json.loads(done.stdout.splitlines()[-1])

    print({name: f"{value / 2**20:.0f} MB" for name, value in grown.items() if name != "examples"})
    assert grown["examples"] > 0.99 * PRODUCTS
    assert grown["reading"] < ALLOWED
    assert grown["fitting"] < ALLOWED
