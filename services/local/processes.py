"""The processes of the local cloud: started, watched, restarted when they die, stopped in order."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

STOP_TIMEOUT = 10.0  # seconds a process gets to finish what it is at
LOG_TAIL = 25  # lines


class LocalCloudError(Exception):
    """The local cloud cannot do what was asked; the message says what to do about it."""


@dataclass
class Process:
    """One process, whose output goes to a log file."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    handle: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Starts it, in a session of its own: a Ctrl-C is for whoever watches it."""
        with self.log.open("ab") as log:
            self.handle = subprocess.Popen(  # noqa: S603 - our own commands
                self.command,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id; 0 before it started."""
        return self.handle.pid if self.handle else 0

    def alive(self) -> bool:
        """Whether it runs."""
        return self.handle is not None and self.handle.poll() is None

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Waits until `ready` says so.

        Raises:
            LocalCloudError: it died, or was not ready in time; with the end of its log.

        """
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.alive():
                raise LocalCloudError(
                    f"{self.name} stopped while starting. The end of {self.log}:\n{self.tail()}"
                )
            if time.monotonic() > deadline:
                raise LocalCloudError(
                    f"{self.name} did not come up in {timeout:.0f} s. The end of {self.log}:\n{self.tail()}"
                )
            time.sleep(0.05)

    def tail(self) -> str:
        """The end of its log."""
        return tail(self.log)

    def terminate(self) -> None:
        """Asks it to stop."""
        if self.alive():
            os.kill(self.pid, signal.SIGTERM)

    def join(self) -> None:
        """Waits until it has stopped; kills it where it does not."""
        if self.handle is None:
            return
        try:
            self.handle.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.handle.kill()
            self.handle.wait()


def tail(log: Path, lines: int = LOG_TAIL) -> str:
    """The last lines of a log."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join("    " + line for line in text.splitlines()[-lines:])


def port_holder(port: int) -> str | None:
    """Who listens on a TCP port of this machine: `pid 123 (name)`; None where nobody does."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            if connection.pid is None:
                return "another user's process"
            return f"pid {connection.pid} ({' '.join(psutil.Process(connection.pid).cmdline())[:120]})"
    return None
