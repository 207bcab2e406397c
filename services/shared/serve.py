"""How a stage is served, in its container and in the local cloud: `python -m services.shared.serve STAGE`."""

import argparse
import os
import sys
from pathlib import Path

import yaml

SERVICES = Path(__file__).parents[1]


def main() -> None:
    """Becomes gunicorn. functions-framework's own command would import the stage before it forks."""
    parser = argparse.ArgumentParser(prog="python -m services.shared.serve")
    parser.add_argument("stage", choices=sorted(path.parent.name for path in SERVICES.glob("*/stage.yaml")))
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a container's port is its only way in
    # Cloud Run says by PORT where it will look.
    parser.add_argument("--port", type=int, default=os.environ.get("PORT", "8080"))
    arguments = parser.parse_args()
    command = [
        *(sys.executable, "-m", "gunicorn", "--bind", f"{arguments.host}:{arguments.port}"),
        # A probe is answered as well while all requests are at work: who does not answer is killed with them.
        *("--workers", "1", "--threads", str(_concurrency(arguments.stage) + 1)),
        # Pub/Sub and Cloud Run end what takes too long; after SIGTERM Cloud Run waits for 10 s.
        *("--timeout", "0", "--graceful-timeout", "5", "--no-control-socket"),
        f'functions_framework:create_app("main", "{SERVICES / arguments.stage / "main.py"}")',
    ]
    os.execv(sys.executable, command)  # noqa: S606 - our own command


def _concurrency(stage: str) -> int:
    """The requests that Cloud Run sends an instance at once, for each of which there is to be a thread."""
    asked = yaml.safe_load((SERVICES / stage / "stage.yaml").read_text())
    if os.environ.get("VITRINE_REQUIRE_GPU") == "true":
        asked |= asked["gpu"]
    return int(asked["concurrency"])


if __name__ == "__main__":
    main()
