"""Images of many threads in one call of the model, the oldest first, and no thread left waiting."""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import numpy as np
import pytest
from numpy.typing import NDArray

from services.inference.batcher import Batcher
from services.inference.predictors import Answers
from services.inference.stage import Answer

WAIT = 20.0  # seconds; generous, for a machine that is busy


class GatedPredictor:
    """Says of each image the number that it is made of, once the gate is open; keeps every batch it got."""

    name = "gated"
    version = "1"
    image_size = 2
    labels: Mapping[str, Sequence[str]] = {"number": ("it",), "twice": ("it", "its double")}
    thresholds: Mapping[str, float] = {}
    learnt = None

    def __init__(self, max_batch: int) -> None:
        self.max_batch = max_batch
        self.batches: list[list[int]] = []
        self.problem: Exception | None = None
        self.gate = threading.Event()
        self.at_the_gate = threading.Semaphore(0)

    def predict(self, images: NDArray[np.uint8]) -> Answers:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (2, 2, 3)
        numbers = images[:, 0, 0, 0].astype(np.float32)
        self.batches.append([int(number) for number in numbers])
        self.at_the_gate.release()
        assert self.gate.wait(WAIT)
        if self.problem:
            raise self.problem
        twice = np.stack([numbers, 2 * numbers], axis=1)
        return Answers({"number": numbers[:, None], "twice": twice}, unfamiliar=numbers % 2 == 1)

    def combine(self, answers: Sequence[Answer]) -> Answer:
        return answers[0]


def image(number: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), number, np.uint8)


def start(batcher: Batcher, number: int) -> Future[Answer]:
    """Lets a thread of its own wait for an image's prediction; one that never comes holds up no test run."""
    future: Future[Answer] = Future()

    def run() -> None:
        try:
            future.set_result(batcher.predict(image(number)))
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def occupy(batcher: Batcher, predictor: GatedPredictor, workers: int = 1) -> list[Future[Answer]]:
    """One image for each worker, until all of them wait at the gate."""
    futures = []
    for _ in range(workers):
        futures.append(start(batcher, 0))
        assert predictor.at_the_gate.acquire(timeout=WAIT)
    return futures


def enqueue(batcher: Batcher, *numbers: int) -> list[Future[Answer]]:
    """Lets threads come with these images, one after the other."""
    futures = []
    waiting = batcher._waiting  # nowhere else can one see that a thread has come
    for number in numbers:
        expected = waiting.qsize() + 1
        futures.append(start(batcher, number))
        deadline = time.monotonic() + WAIT
        while waiting.qsize() < expected:
            assert time.monotonic() < deadline
            time.sleep(0.001)
    return futures


def test_one_image_is_not_kept_waiting_for_company() -> None:
    predictor = GatedPredictor(max_batch=8)
    predictor.gate.set()
    answer = start(Batcher(predictor, workers=1), 7).result(WAIT)
    said = {head: values.tolist() for head, values in answer.probabilities.items()}
    assert said == {"number": [7], "twice": [7, 14]}
    assert answer.unfamiliar is True
    assert predictor.batches == [[7]]


def test_images_that_wait_go_together_the_oldest_first_and_no_more_than_the_model_takes() -> None:
    predictor = GatedPredictor(max_batch=4)
    batcher = Batcher(predictor, workers=1)
    occupy(batcher, predictor)
    futures = enqueue(batcher, *range(1, 11))
    predictor.gate.set()
    answers = [future.result(WAIT).probabilities["number"].tolist() for future in futures]
    assert answers == [[number] for number in range(1, 11)]
    assert predictor.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_every_thread_gets_the_answer_to_its_own_image() -> None:
    predictor = GatedPredictor(max_batch=16)
    predictor.gate.set()
    batcher = Batcher(predictor, workers=2)
    futures = [start(batcher, number) for number in range(200)]
    answers = [future.result(WAIT) for future in futures]
    assert [answer.probabilities["twice"].tolist() for answer in answers] == [[n, 2 * n] for n in range(200)]
    assert [answer.unfamiliar for answer in answers] == [number % 2 == 1 for number in range(200)]
    assert sorted(number for batch in predictor.batches for number in batch) == list(range(200))
    assert max(map(len, predictor.batches)) <= 16


def test_a_failure_reaches_all_who_wait_for_that_batch_and_the_next_goes_on() -> None:
    predictor = GatedPredictor(max_batch=8)
    batcher = Batcher(predictor, workers=1)
    (first,) = occupy(batcher, predictor)
    predictor.problem = RuntimeError("the GPU is gone")
    futures = enqueue(batcher, 1, 2, 3)
    predictor.gate.set()
    for future in (first, *futures):
        with pytest.raises(RuntimeError, match="the GPU is gone"):
            future.result(WAIT)
    predictor.problem = None
    assert start(batcher, 4).result(WAIT).probabilities["number"].tolist() == [4]


def test_workers_predict_at_the_same_time() -> None:
    predictor = GatedPredictor(max_batch=8)
    # `occupy` only returns when three batches wait at the gate together.
    futures = occupy(Batcher(predictor, workers=3), predictor, workers=3)
    predictor.gate.set()
    assert [future.result(WAIT).probabilities["number"].tolist() for future in futures] == [[0], [0], [0]]
