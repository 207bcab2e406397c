"""Gathers images of concurrent requests into the batches that the model is fast at."""

import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from services.inference.predictors import Predictor

type Pixels = NDArray[np.uint8]
type Probabilities = Mapping[str, NDArray[np.float32]]

MAX_WAIT = 0.005  # seconds that the first image of a batch waits for company


class Batcher:
    """A predictor for one image at a time, that many threads call at once; the oldest images go first.

    Args:
        predictor: what the batches go to.
        workers: batches predicted at the same time.

    """

    def __init__(self, predictor: Predictor, workers: int) -> None:
        self._predictor = predictor
        self._waiting: queue.SimpleQueue[tuple[Pixels, Future[Probabilities]]] = queue.SimpleQueue()
        for number in range(workers):
            threading.Thread(target=self._work, name=f"batcher-{number}", daemon=True).start()

    def predict(self, image: Pixels) -> Probabilities:
        """Waits for one image's probabilities: head -> [classes].

        Args:
            image: [S, S, 3], as the predictor's preprocessing gives it.

        """
        future: Future[Probabilities] = Future()
        self._waiting.put((image, future))
        return future.result()

    def _work(self) -> None:
        while True:
            batch = self._gather()
            try:
                heads = self._predictor.predict(np.stack([image for image, _ in batch]))
            except Exception as error:
                for _, future in batch:
                    future.set_exception(error)
                continue
            for row, (_, future) in enumerate(batch):
                future.set_result({head: probabilities[row] for head, probabilities in heads.items()})

    def _gather(self) -> list[tuple[Pixels, Future[Probabilities]]]:
        batch = [self._waiting.get()]
        deadline = time.monotonic() + MAX_WAIT
        while len(batch) < self._predictor.max_batch:
            try:
                batch.append(self._waiting.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                break
        return batch
