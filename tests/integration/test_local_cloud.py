"""The local cloud itself: what it says when it cannot start, how it stops, what a restart finds."""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from services.local import cloud as local
from services.local.cloud import LocalCloud
from services.local.processes import LocalCloudError, Process, port_holder
from tests.conftest import free_ports
from tests.e2e.plain import Outsider, new_job
from tests.unit.photos import jpeg


def silent(line: str) -> None:
    """Nobody watches."""


def test_a_taken_port_is_named_with_who_has_it(tmp_path: Path) -> None:
    first = free_ports(16)
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", first + 1))
        squatter.listen()
        with pytest.raises(LocalCloudError) as refused:
            local.up(LocalCloud(tmp_path, first), silent)
    assert f"{first + 1} for storage: taken by pid {os.getpid()}" in str(refused.value)
    assert "--first-port" in str(refused.value)


def test_a_free_port_has_no_holder() -> None:
    assert port_holder(free_ports(1)) is None


def test_a_process_that_does_not_come_up_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('loading the moon', flush=True); import time; time.sleep(60)"]
    process = Process("moon", command, {}, tmp_path / "moon.log")
    process.start()
    try:
        with pytest.raises(LocalCloudError, match=r"moon did not come up in 1 s.*\n.*loading the moon"):
            process.wait_until(lambda: False, timeout=1)
    finally:
        process.terminate()
        process.join()


def test_a_process_that_dies_while_starting_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    process = Process(
        "moon", [sys.executable, "-c", "raise SystemExit('no fuel')"], {}, tmp_path / "moon.log"
    )
    process.start()
    with pytest.raises(LocalCloudError, match=r"moon stopped while starting.*\n.*no fuel"):
        process.wait_until(lambda: False, timeout=30)


def test_nothing_runs_from_a_new_folder(tmp_path: Path) -> None:
    assert local.running(tmp_path) is None
    assert local.down(tmp_path) is False


@pytest.mark.timeout(240)
def test_ctrl_c_stops_everything_and_a_restart_finds_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = LocalCloud(tmp_path, free_ports(16))
    local.up(here, silent)
    outsider = Outsider(here, monkeypatch)
    usage, ids = outsider.add_products([jpeg(), jpeg(10)])
    before, after = new_job(), new_job()
    outsider.publish({"job_id": before, "usage": usage})
    assert outsider.completed(before)["predictions"] == 2
    token = here.token
    state = json.loads(here.state_file.read_text())
    pids = [identity["pid"] for identity in state["processes"]]
    os.kill(state["supervisor"]["pid"], signal.SIGINT)
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=30)
    assert not alive, f"still running: {alive}"
    assert local.running(tmp_path) is None

    local.up(here, silent)
    try:
        outsider = Outsider(here, monkeypatch)
        assert outsider.completed(before)["predictions"] == 2
        outsider.publish({"job_id": after, "usage": usage})
        assert outsider.completed(after)["images"] == len(ids)
        assert here.token == token
        _kill_the_supervisor(here)
    finally:
        local.down(tmp_path)
    assert all(port_holder(here.port(name)) is None for name in here.names)


def _kill_the_supervisor(here: LocalCloud) -> None:
    """Leaves its children to `down`, which must find them."""
    supervisor = json.loads(here.state_file.read_text())["supervisor"]["pid"]
    os.kill(supervisor, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while local.running(here.home) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert port_holder(here.port("pubsub")) is not None
