"""A training run whose process is killed, and the same run begun again."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

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
objects = FolderObjects(Path(sys.argv[1]))
augmentation = Augmentation(mirrored=0)
settings = Fitting(epochs=40, batch=16, learning_rate=0.01, augmentation=augmentation, patience=40)
network = small_network()
snapshot = frozen(Squares(train=320), objects)
fit(network, snapshot, settings, 7, Checkpoint(objects, "gs://bucket/run/fitting.npz", seconds=0), print)
np.savez(sys.argv[2], *network.get_weights())
"""


def start(folder: Path, result: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", RUN, str(folder), str(result)], env=environment)


def weights(result: Path) -> list[np.ndarray]:
    with np.load(result) as arrays:
        return [arrays[name] for name in arrays.files]


def test_a_run_that_was_killed_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    checkpoint = "gs://bucket/run/fitting.npz"
    folder = tmp_path / "killed"
    objects = FolderObjects(folder)

    killed = start(folder, tmp_path / "killed.npz")
    while not objects.exists(checkpoint):
        assert killed.poll() is None
        time.sleep(0.01)
    # Somewhere in the run, which takes seconds; also in the middle of a write.
    time.sleep(random.uniform(0, 1))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed.npz").exists()

    assert start(folder, tmp_path / "killed.npz").wait() == 0
    assert start(tmp_path / "whole", tmp_path / "whole.npz").wait() == 0

    for one, other in zip(weights(tmp_path / "killed.npz"), weights(tmp_path / "whole.npz"), strict=True):
        np.testing.assert_array_equal(one, other)
