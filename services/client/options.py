"""The options of all commands, and the connection that they describe."""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.client.target import Names, Target, catalogue_of, resolve

if TYPE_CHECKING:
    # At run time they are imported where they are used: `--help` should not wait for Google's clients.
    from services.client.client import Vitrine
    from services.local.cloud import LocalCloud
    from services.shared.catalogue_config import CatalogueConfig


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
        return resolve(self.names, os.environ, self._running)

    def _running(self) -> Mapping[str, str] | None:
        """The variables of the local cloud, if one runs."""
        try:
            from services.local.cloud import running
        except ImportError:
            return None  # a client without the extra `local` may still know emulators
        cloud: LocalCloud | None = running(self.home)
        return cloud.environment if cloud else None

    def catalogue(self) -> "CatalogueConfig":
        """What the catalogue's columns mean; nothing needs to run.

        Raises:
            ClientError: the catalogue.yaml is not valid.

        """
        named = self.names.catalogue is not None or self.names.project is not None
        return catalogue_of(self.names.catalogue, (not named and self._running()) or os.environ)

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
