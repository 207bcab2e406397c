"""Processes that are killed in the middle of a job: the supervisor starts them again, and nothing is lost."""

import json
import os
import signal
from collections import Counter

import psutil
import pytest

from services.local.cloud import LocalCloud
from tests.e2e.plain import Outsider, new_job, until
from tests.unit.photos import jpeg


def kill(cloud: LocalCloud, name: str) -> None:
    """SIGKILLs the process that listens for `name`, and its workers."""
    port = cloud.port(name)
    state = json.loads(cloud.state_file.read_text())
    for identity in state["processes"]:
        process = psutil.Process(identity["pid"])
        family = [process, *process.children(recursive=True)]
        if any(connection.laddr.port == port for connection in process.net_connections("tcp")):
            for member in family:
                os.kill(member.pid, signal.SIGKILL)
            return
    raise AssertionError(f"nobody listens on {port}")


@pytest.fixture(scope="module")
def shop(cloud: LocalCloud) -> tuple[str, list[str]]:
    """The `usage` and the ids of products, of which each job here is."""
    with pytest.MonkeyPatch.context() as patch:
        return Outsider(cloud, patch).add_products([jpeg(level % 250) for level in range(600)])


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "victim", ["selection", "staging", "inference", "recording", "pubsub", "storage", "bigquery"]
)
def test_a_killed_process_costs_no_row(
    outsider: Outsider, cloud: LocalCloud, shop: tuple[str, list[str]], victim: str
) -> None:
    usage, ids = shop
    job = new_job()
    if victim == "bigquery":
        # While it does nothing: the emulator takes a job that it died over for running, for ever.
        kill(cloud, victim)
    outsider.publish({"job_id": job, "usage": usage})
    if victim in ("staging", "inference", "recording"):
        prefix = {"staging": "metadata", "inference": "images", "recording": "predictions"}[victim]
        until(
            lambda: list(
                outsider.storage.list_blobs(outsider.bucket, prefix=f"jobs/{job}/{prefix}/", max_results=1)
            ),
            f"{victim} to be at work",
        )
    if victim != "bigquery":
        kill(cloud, victim)
    assert outsider.completed(job)["predictions"] == len(ids)
    assert Counter(row["product_id"] for row in outsider.predictions(job)) == dict.fromkeys(ids, 1)
