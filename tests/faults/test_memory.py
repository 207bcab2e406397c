"""A selection of a hundred thousand rows needs no more memory than one of ten."""

import threading
import time

import psutil
import pytest
from google.pubsub_v1.types import PushConfig

from services.local.cloud import LocalCloud
from services.shared.wiring import subscription_name
from tests.e2e.plain import Outsider, new_job, until

ROWS = 100_000
ALLOWED = 50 * 1024 * 1024


def worker_of(cloud: LocalCloud, service: str) -> psutil.Process:
    """The gunicorn worker of a service."""
    for process in psutil.process_iter(["cmdline"]):
        if f"127.0.0.1:{cloud.port(service)}" in (process.info["cmdline"] or []) and process.children():
            return process.children()[0]
    raise AssertionError(f"{service} does not run")


class Peak(threading.Thread):
    """Watches a process's resident memory."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__(daemon=True)
        self.highest = 0
        self._process = process
        self._watching = True

    def run(self) -> None:
        while self._watching:
            self.highest = max(self.highest, self._process.memory_info().rss)
            time.sleep(0.01)

    def stop(self) -> int:
        self._watching = False
        self.join()
        return self.highest


@pytest.mark.timeout(240)
def test_a_hundred_thousand_rows_pass_in_flat_memory(outsider: Outsider, cloud: LocalCloud) -> None:
    usage = new_job()
    outsider.query(
        "INSERT INTO `{dataset}.products` (product_id, usage, display_name) "
        "SELECT CAST(90000000 + n AS STRING), @usage, "
        "CONCAT('A product of some name, number ', CAST(n AS STRING)) "
        f"FROM UNNEST(GENERATE_ARRAY(1, {ROWS})) AS n",
        usage=usage,
    )
    staging = outsider.subscriber.subscription_path(
        outsider.project, subscription_name("batch-selected", "staging")
    )
    pushed = outsider.subscriber.get_subscription(subscription=staging).push_config
    # Only selection is under test: what it publishes is pulled here instead of being staged.
    outsider.subscriber.modify_push_config(subscription=staging, push_config=PushConfig())
    try:
        worker = worker_of(cloud, "selection")
        idle = worker.memory_info().rss
        peak = Peak(worker)
        peak.start()
        job = new_job()
        outsider.publish({"job_id": job, "usage": usage})
        seen: set[str] = set()

        def pull() -> bool:
            received = outsider.subscriber.pull(
                subscription=staging, max_messages=100, timeout=20
            ).received_messages
            seen.update(message.message.attributes["batch"] for message in received)
            if received:
                outsider.subscriber.acknowledge(
                    subscription=staging, ack_ids=[message.ack_id for message in received]
                )
            return len(seen) == -(-ROWS // 256)

        until(pull, "all batches")
        grown = peak.stop() - idle
        assert grown < ALLOWED, f"selection grew by {grown / 2**20:.0f} MB over {idle / 2**20:.0f} MB"
        print(f"selection: idle {idle / 2**20:.0f} MB, grew by {grown / 2**20:.1f} MB over {ROWS} rows")
    finally:
        outsider.subscriber.modify_push_config(subscription=staging, push_config=pushed)
