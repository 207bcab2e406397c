"""The broker as a command: how it starts and ends."""

import contextlib
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from google.api_core.exceptions import GoogleAPICallError

from tests.conftest import free_ports
from tests.integration.pubsub_servers import (
    Pubsub,
    broker_command,
    connected,
    opened_stream,
    running,
)

END_SECONDS = 30


def refusal(command: list[str]) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=END_SECONDS, check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} on 127.0.0.1" in refusal(broker_command(port))


def test_a_data_directory_has_one_broker(tmp_path: Path) -> None:
    port = free_ports(1)
    with running(broker_command(port, tmp_path / "data"), port, tmp_path / "log"):
        problem = refusal(broker_command(free_ports(1), tmp_path / "data"))
    assert f"cannot use the data directory {tmp_path / 'data'}" in problem


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_even_with_open_streams_and_pulls(tmp_path: Path, number: signal.Signals) -> None:
    port, log = free_ports(1), tmp_path / "log"
    with running(broker_command(port, tmp_path / "data"), port, log) as process, connected(port) as pubsub:
        subscription = pubsub.subscription(pubsub.topic())
        pull = threading.Thread(target=wait_for_a_message, args=[pubsub, subscription])
        pull.start()
        with opened_stream(pubsub, subscription=subscription):
            time.sleep(0.3)
            process.send_signal(number)
            assert process.wait(END_SECONDS) == 0
            pull.join(END_SECONDS)
    lines = log.read_text().splitlines()
    assert lines == [f"listening on 127.0.0.1:{port}"]


def wait_for_a_message(pubsub: Pubsub, subscription: str) -> None:
    with contextlib.suppress(GoogleAPICallError):
        pubsub.subscriber.pull(subscription=subscription, max_messages=1, retry=None, timeout=END_SECONDS)
