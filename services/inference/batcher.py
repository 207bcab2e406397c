"""Gathers images of concurrent requests into the batches that the model is fast at."""

import queue
import threading
import time
import weakref
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from services.inference.predictors import Predictor
from services.inference.stage import Answer

type Pixels = NDArray[np.uint8]
# None: no more will come.
type Waiting = queue.SimpleQueue[tuple[Pixels, Future[Answer]] | None]

MAX_WAIT = 0.005  # seconds that the first image of a batch waits for company


class Batcher:
    """A predictor for one image at a time, that many threads call at once; the oldest images go first.

    Its threads end, and the predictor is let go, when nobody holds the batcher any more.

    Args:
        predictor: what the batches go to.
        workers: batches predicted at the same time.

    """

    def __init__(self, predictor: Predictor, workers: int) -> None:
        self._waiting: Waiting = queue.SimpleQueue()
        for number in range(workers):
            # They must not hold the batcher itself, whose end is theirs.
            threading.Thread(
                target=_work, args=(self._waiting, predictor), name=f"batcher-{number}", daemon=True
            ).start()
            weakref.finalize(self, self._waiting.put, None)

    def predict(self, image: Pixels) -> Answer:
        """Waits for what is said of one image.

        Args:
            image: [S, S, 3], as the predictor's preprocessing gives it.

        """
        future: Future[Answer] = Future()
        self._waiting.put((image, future))
        return future.result()


def _work(waiting: Waiting, predictor: Predictor) -> None:
    while batch := _gather(waiting, predictor.max_batch):
        try:
            answers = predictor.predict(np.stack([image for image, _ in batch]))
        except Exception as error:
            for _, future in batch:
                future.set_exception(error)
            continue
        for row, (_, future) in enumerate(batch):
            future.set_result(answers.of(row))


def _gather(waiting: Waiting, max_batch: int) -> list[tuple[Pixels, Future[Answer]]]:
    """The next images; none when no more will come."""
    first = waiting.get()
    if first is None:
        return []
    batch = [first]
    deadline = time.monotonic() + MAX_WAIT
    while len(batch) < max_batch:
        try:
            image = waiting.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if image is None:
            waiting.put(None)
            break
        batch.append(image)
    return batch
