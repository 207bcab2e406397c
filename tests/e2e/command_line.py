"""`vitrine` as its user runs it, told of the cloud by its home only."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from typer.testing import CliRunner

from services.client.cli import app
from services.local.cloud import LocalCloud

TIMEOUT = 600  # seconds: generous, because the machines that run this are shared


class CommandLine:
    """The commands, in this process: each process of their own would spend its first seconds on imports."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.endswith("EMULATOR_HOST") and not name.startswith("VITRINE_")
        } | {"VITRINE_HOME": str(cloud.home)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What came of a command."""
        with patch.dict(os.environ, self._environment, clear=True):
            done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    def __call__(self, *arguments: str) -> str:
        """What a command that is to succeed prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """What a command that is to fail complains of."""
        done = self.run(*arguments)
        assert done.returncode == 1, done.stdout
        assert done.stdout == ""
        return done.stderr

    def json(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self(*arguments, "--json"))


class Shell(CommandLine):
    """The installed command, each in a process of its own."""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What came of a command."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("vitrine")), *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done
