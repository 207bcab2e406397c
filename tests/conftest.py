"""One local cloud for all tests that want the real thing."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from services.local.cloud import LocalCloud, down, up

# Of the tables that are printed. Consoles read it when they are made, which is when their module is imported.
os.environ["COLUMNS"] = "120"

FIRST_PORT, LAST_PORT = 10_000, 32_000

_given: set[int] = set()


def free_ports(count: int) -> int:
    """The first of so many consecutive ports that nobody listens on, and that were not given out before."""
    # Each process that runs tests has a range of its own: two that look at once must not find the same. All
    # are below those of outgoing connections: a look there may connect to itself, and hold the port.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    width = (LAST_PORT - FIRST_PORT) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    start = FIRST_PORT + worker * width
    # Not always the same ones: those of a run that was broken off may not be free yet.
    for first in range(start + os.getpid() * 20 % (width // 2), start + width - count, count):
        ports = range(first, first + count)
        if _given.isdisjoint(ports) and all(_free(port) for port in ports):
            _given.update(ports)
            return first
    raise AssertionError("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module", autouse=True)
def environment_as_before() -> Iterator[None]:
    """Takes back what a file's tests wrote into the environment, as whoever connects a client here does."""
    with patch.dict(os.environ):
        yield


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A running local cloud: its tables, buckets and topics are there, and empty."""
    with running_cloud(tmp_path_factory) as local:
        yield local


@contextmanager
def running_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A local cloud of one's own, for tests that what other tests add would disturb."""
    home: Path = tmp_path_factory.mktemp("vitrine")
    local = LocalCloud(home, free_ports(16))
    with pytest.MonkeyPatch.context() as patch:
        # As on a machine where nothing was ever started: what DuckDB keeps at home is not there.
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        up(local, progress=lambda line: None)
    try:
        yield local
    finally:
        down(home)
