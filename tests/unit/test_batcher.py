"""Images of many threads in one call of the model, the oldest first, and no thread left waiting."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from services.inference.batcher import Batcher

WAIT = 20.0  # seconds; generous, for a machine that is busy


class GatedPredictor:
    """Says of each image the number that it is made of, once the gate is open; keeps every batch it got."""

    name = "gated"
    version = "1"
    image_size = 2
    labels: Mapping[str, Sequence[str]] = {"number": ("it",), "twice": ("it", "its double")}

    def __init__(self, max_batch: int) -> None:
        self.max_batch = max_batch
        self.batches: list[list[int]] = []
        self.problem: Exception | None = None
        self.gate = threading.Event()
        self.at_the_gate = threading.Semaphore(0)

    def predict(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (2, 2, 3)
        numbers = images[:, 0, 0, 0].astype(np.float32)
        self.batches.append([int(number) for number in numbers])
        self.at_the_gate.release()
        assert self.gate.wait(WAIT)
        if self.problem:
            raise self.problem
        return {"number": numbers[:, None], "twice": np.stack([numbers, 2 * numbers], axis=1)}


def image(number: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), number, np.uint8)


class Crowd:
    """Threads that each want one image predicted, behind a first image that holds the model up."""

    def __init__(self, predictor: GatedPredictor, threads: ThreadPoolExecutor, workers: int = 1) -> None:
        self.batcher = Batcher(predictor, workers)
        self._predictor = predictor
        self._threads = threads
        self._workers = workers

    def occupy(self) -> list[Future[Mapping[str, NDArray[np.float32]]]]:
        """One image for each worker, until all of them wait at the gate."""
        first = []
        for _ in range(self._workers):
            first.append(self._threads.submit(self.batcher.predict, image(0)))
            assert self._predictor.at_the_gate.acquire(timeout=WAIT)
        return first

    def enqueue(self, *numbers: int) -> list[Future[Mapping[str, NDArray[np.float32]]]]:
        """Lets threads come with these images, one after the other."""
        waiting = self.batcher._waiting  # the only place where one can see that a thread has come
        futures = []
        for number in numbers:
            expected = waiting.qsize() + 1
            futures.append(self._threads.submit(self.batcher.predict, image(number)))
            deadline = time.monotonic() + WAIT
            while waiting.qsize() < expected:
                assert time.monotonic() < deadline
                time.sleep(0.001)
        return futures


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """More threads than any test has images at once."""
    with ThreadPoolExecutor(50) as executor:
        yield executor


def test_one_image_is_not_kept_waiting_for_company() -> None:
    predictor = GatedPredictor(max_batch=8)
    predictor.gate.set()
    heads = Batcher(predictor, workers=1).predict(image(7))
    assert {head: values.tolist() for head, values in heads.items()} == {"number": [7], "twice": [7, 14]}
    assert predictor.batches == [[7]]


def test_images_that_wait_go_together_the_oldest_first_and_no_more_than_the_model_takes(
    threads: ThreadPoolExecutor,
) -> None:
    predictor = GatedPredictor(max_batch=4)
    crowd = Crowd(predictor, threads)
    crowd.occupy()
    futures = crowd.enqueue(*range(1, 11))
    predictor.gate.set()
    answers = [future.result(WAIT)["number"].tolist() for future in futures]
    assert answers == [[number] for number in range(1, 11)]
    assert predictor.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_every_thread_gets_the_answer_to_its_own_image(threads: ThreadPoolExecutor) -> None:
    predictor = GatedPredictor(max_batch=16)
    predictor.gate.set()
    batcher = Batcher(predictor, workers=2)
    numbers = [number % 256 for number in range(500)]
    answers = threads.map(lambda number: batcher.predict(image(number))["twice"].tolist(), numbers)
    assert list(answers) == [[number, 2 * number] for number in numbers]
    assert sum(map(len, predictor.batches)) == 500
    assert max(map(len, predictor.batches)) <= 16


def test_a_failure_reaches_all_who_wait_for_that_batch_and_nobody_else(threads: ThreadPoolExecutor) -> None:
    predictor = GatedPredictor(max_batch=8)
    crowd = Crowd(predictor, threads)
    (first,) = crowd.occupy()
    predictor.problem = RuntimeError("the GPU is gone")
    futures = crowd.enqueue(1, 2, 3)
    predictor.gate.set()
    for future in (first, *futures):
        with pytest.raises(RuntimeError, match="the GPU is gone"):
            future.result(WAIT)
    predictor.problem = None
    assert crowd.batcher.predict(image(4))["number"].tolist() == [4]


def test_workers_predict_at_the_same_time(threads: ThreadPoolExecutor) -> None:
    predictor = GatedPredictor(max_batch=8)
    crowd = Crowd(predictor, threads, workers=3)
    # `occupy` only returns when three batches wait at the gate together.
    first = crowd.occupy()
    predictor.gate.set()
    assert [future.result(WAIT)["number"].tolist() for future in first] == [[0], [0], [0]]
