"""The gateway as a process: `python -m services.gateway`."""

import argparse
import os
from datetime import UTC, datetime

import uvicorn

from services.client.client import Vitrine
from services.client.target import EMULATOR_VARIABLES, Target
from services.gateway.app import create_app
from services.gateway.ports import Ports
from services.gateway.settings import Settings
from services.model.registry import Registry
from services.shared import telemetry
from services.shared.google_bigquery import BigQueryWarehouse
from services.shared.settings import read

GRACE = 8  # seconds for what is under way; after SIGTERM Cloud Run waits for 10


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m services.gateway", description=__doc__)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a container's port is its only way in
    # Cloud Run says by PORT where it will look.
    parser.add_argument("--port", type=int, default=os.environ.get("PORT", "8080"))
    arguments = parser.parse_args()
    settings = read(Settings)
    telemetry.configure(settings.service, settings.project)
    uvicorn.run(
        create_app(settings, lambda: _ports(settings)),
        host=arguments.host,
        port=arguments.port,
        # Else anybody on this machine could say by a header who they are; middleware.address reads it better.
        proxy_headers=False,
        server_header=False,
        # Cloud Run has a log of requests, and refusals are logged by us.
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=GRACE,
    )


def _ports(settings: Settings) -> Ports:
    emulators = {name: os.environ[name] for name in EMULATOR_VARIABLES if os.environ.get(name)}
    vitrine = Vitrine.connect(
        Target(
            settings.project,
            settings.bucket,
            settings.upload_bucket,
            settings.dataset,
            emulators,
            settings.catalogue,
        )
    )
    return Ports(
        vitrine=vitrine,
        registry=Registry(vitrine.objects, settings.bucket, settings.model),
        warehouse=BigQueryWarehouse(settings.project, settings.dataset),
        clock=lambda: datetime.now(UTC),
    )


if __name__ == "__main__":
    main()
