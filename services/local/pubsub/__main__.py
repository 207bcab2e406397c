"""A Pub/Sub broker on this machine: python -m services.local.pubsub --port P [--data-dir D]."""

import argparse
import asyncio
import logging
import signal
import sqlite3
import sys
from pathlib import Path

from services.local.pubsub.broker import Broker
from services.local.pubsub.server import create_server
from services.local.pubsub.storage import Storage

_GRACE_SECONDS = 0.5
_LOG = logging.getLogger("pubsub")


async def serve(host: str, port: int, data_dir: Path | None) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        OSError: the port is taken, or the directory cannot be made.
        sqlite3.OperationalError: another broker uses the directory, or it cannot be written.

    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = Broker(Storage(data_dir))
    server = create_server(broker)
    try:
        try:
            bound = server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(f"port {port} on {host} cannot be listened on: is it taken?") from error
        await server.start()
        _LOG.info("listening on %s:%d", host, bound)
        await stop.wait()
        # Streaming pulls never end by themselves.
        await server.stop(_GRACE_SECONDS)
    finally:
        await broker.close()


def main() -> int:
    """Returns the exit code: 0 after a signal, 1 if it could not start."""
    parser = argparse.ArgumentParser(
        prog="python -m services.local.pubsub", description="A local Pub/Sub broker."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8085, help="port to listen on, 0 for any (%(default)s)")
    parser.add_argument("--data-dir", type=Path, help="keep everything here; without it, in memory only")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    try:
        asyncio.run(serve(arguments.host, arguments.port, arguments.data_dir))
    except OSError as error:
        _LOG.error("cannot start: %s", error)
        return 1
    except sqlite3.OperationalError as error:
        _LOG.error("cannot use the data directory %s: %s", arguments.data_dir, error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
