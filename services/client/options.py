"""The options of all commands, and the connection that they describe."""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.client.target import Names, Target, resolve

if TYPE_CHECKING:
    # At run time they are imported where they are used: `--help` should not wait for Google's clients.
    from services.client.client import Vitrine
    from services.local.cloud import LocalCloud


@dataclass(frozen=True)
class Options:
    """The options of all commands."""

    names: Names
    home: Path

    def target(self) -> Target:
        """Where they say to connect.

        Raises:
            ClientError: nowhere.

        """

        def running() -> Mapping[str, str] | None:
            try:
                from services.local.cloud import running
            except ImportError:
                return None  # a client without the extra `local` may still know emulators
            cloud: LocalCloud | None = running(self.home)
            return cloud.environment if cloud else None

        return resolve(self.names, os.environ, running)

    def connect(self) -> "Vitrine":
        """A client that is connected there.

        Raises:
            ClientError: there is nowhere to connect to, or nothing answers there.

        """
        from services.client.client import Vitrine

        return Vitrine.connect(self.target())

    def account(self) -> str:
        """Who is signed in: on Google Cloud where its clients know, else on this machine."""
        if not self.target().emulators:
            import google.auth

            credentials, _project = google.auth.default()
            for attribute in ("account", "service_account_email"):
                if account := getattr(credentials, attribute, None):
                    return str(account)
        return getpass.getuser()
