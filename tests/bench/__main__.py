"""What we claim, measured: both sides in one run, interleaved, medians and ratios. `make bench`.

Absolute times say what this machine was busy with; only the ratios of one run mean something.
"""

import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from services.inference.predictors import LiteRTPredictor
from services.local.cloud import LocalCloud, down, up
from services.model.manifest import DEFAULT_DIRECTORY, load_manifest
from tests.bench.polling import LOOK_CALLS, counting_proxy, polled, write_job
from tests.conftest import free_ports
from tests.e2e.gateways import another_gateway
from tests.e2e.plain import Outsider, new_job, until
from tests.integration.pubsub_servers import (
    Endpoint,
    Pubsub,
    broker_command,
    connected,
    google_emulator,
    running,
)

ROUNDS = 7
BURST = 300  # messages
JOB_PHOTOS = 1_000
FASHIONNET_ROUNDS = 3
FASHIONNET_BATCH = 8
HANDLER_SECONDS = 0.05
POLLERS = 1_000
POLL_ROUNDS = 10
POLL_PAUSES = (1.0, 2.0)  # seconds; the console asks once a second
POLLED_PHOTOS = 100_000


class PushBench:
    """A broker with one push subscription to an endpoint of ours."""

    def __init__(self, pubsub: Pubsub, answer: Callable[[Any], int]) -> None:
        self._pubsub, self._endpoint = pubsub, Endpoint(answer)
        self._topic = pubsub.topic()
        pubsub.subscription(
            self._topic, push_config={"push_endpoint": self._endpoint.url}, ack_deadline_seconds=60
        )

    def latency(self) -> float:
        """Seconds from a publish to its push."""
        started = time.monotonic()
        self._pubsub.publish(self._topic, b"x")
        return self._endpoint.next().at - started

    def burst(self) -> float:
        """Seconds until BURST messages, published at once, were pushed and answered."""
        started = time.monotonic()
        self._pubsub.publish(self._topic, *[b"x"] * BURST)
        self._endpoint.take(BURST)
        return time.monotonic() - started


def slow(_push: Any) -> int:
    """A handler that works for a while, as ours do."""
    time.sleep(HANDLER_SECONDS)
    return 200


def interleaved(
    sides: Mapping[str, Callable[[], float]], what: str, rounds: int = ROUNDS
) -> dict[str, float]:
    """The median of so many measurements of each side, taken in turns after one to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in track(range(rounds + 1), what, transient=True):
        for name, measure in sides.items():
            measured = measure()
            if number:
                seconds[name].append(measured)
    return {name: statistics.median(values) for name, values in seconds.items()}


def brokers(table: Table) -> None:
    """The project's broker beside Google's emulator."""
    google = google_emulator()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {"ours": free_ports(1), "google": free_ports(1)}
        commands = {"ours": broker_command(ports["ours"], folder / "data")}
        if google:
            commands["google"] = [*google, f"--port={ports['google']}"]
        sides = {}
        for name, command in commands.items():
            stack.enter_context(running(command, ports[name], folder / f"{name}.log"))
            sides[name] = stack.enter_context(connected(ports[name]))
        quick = {name: PushBench(pubsub, lambda push: 200) for name, pubsub in sides.items()}
        busy = {name: PushBench(pubsub, slow) for name, pubsub in sides.items()}
        for what, measured in (
            ("publish to push", interleaved({n: b.latency for n, b in quick.items()}, "latency")),
            (f"push of {BURST}", interleaved({n: b.burst for n, b in quick.items()}, "burst")),
            (
                f"push of {BURST}, handler of {1000 * HANDLER_SECONDS:.0f} ms",
                interleaved({n: b.burst for n, b in busy.items()}, "slow handlers"),
            ),
        ):
            ours, theirs = measured["ours"], measured.get("google")
            table.add_row(
                f"broker: {what}",
                f"{1000 * ours:.1f} ms",
                f"{1000 * theirs:.1f} ms" if theirs else "not installed",
                f"{theirs / ours:.1f}" if theirs else "",
            )


def predictors(table: Table) -> None:
    """The shipped LiteRT model beside `model.predict`, one photo at a time."""
    # TensorFlow: only where it is measured.
    from services.model.network import build_served
    from services.model.weights import Weights

    served = LiteRTPredictor(DEFAULT_DIRECTORY)
    network = build_served(
        served.labels,
        served.image_size,
        Weights.load(DEFAULT_DIRECTORY / "weights.npz"),
        small_photos=load_manifest(DEFAULT_DIRECTORY).small_photos,
    )
    photo = np.random.default_rng(0).integers(0, 256, (1, served.image_size, served.image_size, 3), np.uint8)

    def seconds_each(predict: Callable[[], object], count: int) -> Callable[[], float]:
        def measure() -> float:
            started = time.monotonic()
            for _ in range(count):
                predict()
            return (time.monotonic() - started) / count

        return measure

    measured = interleaved(
        {
            "litert": seconds_each(lambda: served.predict(photo), 100),
            "keras": seconds_each(lambda: network.predict(photo.astype(np.float32), verbose=0), 5),
        },
        "predictors",
    )
    table.add_row(
        "one photo: LiteRT beside model.predict",
        f"{1000 * measured['litert']:.2f} ms",
        f"{1000 * measured['keras']:.2f} ms",
        f"{measured['keras'] / measured['litert']:.1f}",
    )


def fashionnet(table: Table) -> None:
    """FashionNet of full width: 8-bit LiteRT and `model.predict`, in batches, beside `model.predict` on one.

    Its weights are drawn, not learnt: they do not change how long it takes.
    """
    # TensorFlow: only where it is measured.
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    from services.model.fashionnet import IMAGE_SIZE, build

    network = build()
    shape = (FASHIONNET_BATCH, IMAGE_SIZE, IMAGE_SIZE, 3)
    photos = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([photo[np.newaxis]] for photo in photos[:4])
    interpreter = Interpreter(model_content=converter.convert(), num_threads=os.cpu_count())
    integers = interpreter.get_signature_runner()

    def seconds_each(predict: Callable[[NDArray[np.float32]], object], at_once: int) -> Callable[[], float]:
        def measure() -> float:
            started = time.monotonic()
            for first in range(0, FASHIONNET_BATCH, at_once):
                predict(photos[first : first + at_once])
            return (time.monotonic() - started) / FASHIONNET_BATCH

        return measure

    def keras(pixels: NDArray[np.float32]) -> object:
        return network.predict(pixels, batch_size=len(pixels), verbose=0)

    batches = {
        "8-bit LiteRT": seconds_each(lambda pixels: integers(pixels=pixels), FASHIONNET_BATCH),
        "model.predict": seconds_each(keras, FASHIONNET_BATCH),
    }
    measured = interleaved(batches | {"single": seconds_each(keras, 1)}, "fashionnet", FASHIONNET_ROUNDS)
    for name in batches:
        table.add_row(
            f"FashionNet: {name} in batches of {FASHIONNET_BATCH} beside model.predict on single photos",
            f"{1 / measured[name]:.1f} photos/s",
            f"{1 / measured['single']:.1f} photos/s",
            f"{measured['single'] / measured[name]:.1f}",
        )


def pipeline(table: Table) -> None:
    """The local cloud: an upload's way to its row, a job's photos a second."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        cloud = LocalCloud(Path(folder), free_ports(16))
        up(cloud, progress=lambda line: None)
        try:
            outsider = Outsider(cloud, monkeypatch)
            noise = np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(noise).save(buffer, "JPEG", quality=88)
            photo = buffer.getvalue()
            sql = "SELECT prediction_id FROM `{dataset}.predictions` WHERE image_uri = @uri"

            def upload() -> float:
                started = time.monotonic()
                uri = outsider.upload(f"{new_job()}.jpg", photo)
                until(lambda: outsider.query(sql, uri=uri), "the upload's row")
                return time.monotonic() - started

            usage, _ = outsider.add_products([photo] * JOB_PHOTOS)

            def job() -> float:
                started = time.monotonic()
                name = new_job()
                outsider.publish({"job_id": name, "usage": usage})
                # Cheap to look for: queries as frequent would slow down what is measured.
                summary = outsider.bucket.blob(f"jobs/{name}/summary.json")
                until(summary.exists, "the job's end")
                return time.monotonic() - started

            uploads = interleaved({"upload": upload}, "uploads")["upload"]
            jobs = interleaved({"job": job}, "jobs")["job"]
            table.add_row("an upload's row is there after", f"{uploads:.2f} s", "", "")
            table.add_row(f"a job of {JOB_PHOTOS} photos", f"{JOB_PHOTOS / jobs:.0f} photos/s", "", "")
        finally:
            down(Path(folder))


def gateway(table: Table) -> None:
    """The gateway: so many clients who poll one running job, beside one client alone.

    The job is written by hand: nothing of it is classified. Calls to Cloud Storage are counted by a proxy
    between the gateway and it.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        cloud = LocalCloud(Path(folder), free_ports(16))
        up(cloud, progress=lambda line: None)
        stack.callback(down, Path(folder))
        storage = stack.enter_context(counting_proxy(cloud.port("storage")))
        job_id = write_job(cloud, POLLED_PHOTOS)
        url, _process = stack.enter_context(
            another_gateway(
                cloud,
                Path(folder),
                VITRINE_RATE_LIMIT="10000000/minute",
                STORAGE_EMULATOR_HOST=f"http://127.0.0.1:{storage.port}",
            )
        )
        path = f"/v1/jobs/{job_id}"
        first = polled(url, path, cloud.token, clients=1, rounds=1)
        reads = storage.calls
        p50 = statistics.median(polled(url, path, cloud.token, clients=1, rounds=200))
        for pause in POLL_PAUSES:
            storage.calls = 0
            started = time.monotonic()
            busy = polled(url, path, cloud.token, clients=POLLERS, rounds=POLL_ROUNDS, pause=pause)
            seconds = time.monotonic() - started
            looks = storage.calls / LOOK_CALLS / seconds
            p99 = statistics.quantiles(busy, n=100)[98]
            what = f"{POLLERS} clients poll a job of {POLLED_PHOTOS} photos, each every {pause:g} s"
            table.add_row(f"{what}: p50 beside one alone", *beside(statistics.median(busy), p50))
            table.add_row(f"{what}: p99 beside one alone's p50", *beside(p99, p50))
            table.add_row(
                f"{what}: answers a second, looks at Cloud Storage a second",
                f"{len(busy) / seconds:.0f}",
                f"{looks:.2f}",
                "",
            )
        table.add_row(
            f"the first look at it: {reads} calls", f"{1000 * first[0]:.0f} ms", "", f"{first[0] / p50:.0f}"
        )


def beside(ours: float, other: float) -> tuple[str, str, str]:
    """Two times in milliseconds, and how many times the other ours is."""
    return f"{1000 * ours:.1f} ms", f"{1000 * other:.1f} ms", f"{ours / other:.1f}"


def main() -> None:
    """Measures everything, or what the arguments name, and prints one table."""
    benchmarks = {
        measure.__name__: measure for measure in (brokers, predictors, fashionnet, pipeline, gateway)
    }
    table = Table("what", "ours", "the other", "ratio")
    for name in sys.argv[1:] or benchmarks:
        benchmarks[name](table)
    Console().print(table)


if __name__ == "__main__":
    main()
