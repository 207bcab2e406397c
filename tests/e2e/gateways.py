"""The gateway over HTTP, as a program uses it."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from services.local.cloud import LocalCloud
from services.local.processes import Process
from tests.conftest import free_ports
from tests.e2e.plain import WAIT

START_TIMEOUT = 60.0  # seconds


def client(cloud: LocalCloud, url: str | None = None) -> httpx.Client:
    """A client with the administrator's key."""
    return httpx.Client(
        base_url=url or cloud.environment["VITRINE_GATEWAY_URL"],
        headers={"Authorization": f"Bearer {cloud.token}"},
        timeout=WAIT,
    )


@contextmanager
def another_gateway(cloud: LocalCloud, folder: Path, **environment: str) -> Iterator[tuple[str, Process]]:
    """One more gateway over a local cloud, with settings of its own: its address and its process."""
    port = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    process = Process(
        "gateway",
        [sys.executable, "-m", "services.gateway", "--host", "127.0.0.1", "--port", str(port)],
        {**cloud.processes["gateway"].environment, "VITRINE_GATEWAY_URL": url, **environment},
        folder / "gateway.log",
    )

    def healthy() -> bool:
        try:
            return httpx.get(f"{url}/health", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    process.start()
    try:
        process.wait_until(healthy, START_TIMEOUT)
        yield url, process
    finally:
        process.terminate()
        process.join()


def ended(api: httpx.Client, job_id: str, timeout: float = WAIT) -> dict[str, Any]:
    """Waits for a job; its last progress."""
    deadline = time.monotonic() + timeout
    while True:
        answer = api.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        seen: dict[str, Any] = answer.json()
        if seen["state"] in ("completed", "cancelled"):
            return seen
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {job_id}: {seen}"
        time.sleep(0.2)
