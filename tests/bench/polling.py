"""Many clients that poll one job, and how many calls to Cloud Storage that costs."""

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Thread

import pytest
import uvloop
from google.cloud.storage import Client

from services.local.cloud import LocalCloud
from services.shared.events import BATCH_IMAGES, ClassificationRequested
from services.shared.jobs import Manifest
from services.shared.layout import JobLayout

# A look at a running job that is not new: the ledger, the predictions, the metadata.
LOOK_CALLS = 3
CONNECTED_AT_ONCE = 50


class CountingProxy:
    """A TCP proxy that counts the HTTP requests that pass it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.calls = 0
        self.port = 0

    async def serve(self, ready: asyncio.Event) -> None:
        """Passes on whatever comes, until it is cancelled."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await server.serve_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(self._pass(reader, back, count=True), self._pass(there, writer, count=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        try:
            while data := await reader.read(65536):
                if count:
                    # The reads and listings that are counted here have no body: each begins with its line.
                    self.calls += data.count(b" HTTP/1.1\r\n")
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@contextmanager
def counting_proxy(target: int) -> Iterator[CountingProxy]:
    """A proxy before a local port."""
    proxy = CountingProxy(target)
    loop = asyncio.new_event_loop()
    ready = asyncio.Event()
    task = loop.create_task(proxy.serve(ready))

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = Thread(target=run, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(ready.wait(), loop).result(10)
    yield proxy
    loop.call_soon_threadsafe(task.cancel)
    thread.join(10)


def write_job(cloud: LocalCloud, photos: int) -> str:
    """Writes a job by hand of which all batches but one are recorded, and so none will ever be; its id."""
    job_id = "polled"
    layout = JobLayout(cloud.environment["VITRINE_BUCKET"], job_id)
    batches = -(-photos // BATCH_IMAGES)
    manifest = Manifest(
        job_id=job_id,
        request=ClassificationRequested(job_id=job_id),
        model="fashion",
        model_version="1",
        images=photos,
        batches=batches,
        requested_at=datetime.now(UTC),
    )
    tally = json.dumps({"predictions": BATCH_IMAGES - 1, "errors": {"photo-missing": 1}}).encode()
    objects = {layout.manifest: manifest.model_dump_json().encode()}
    for batch in range(batches - 1):
        objects |= {layout.metadata(batch): b"", layout.predictions(batch): b"", layout.ledger(batch): tally}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", cloud.environment["STORAGE_EMULATOR_HOST"])
        bucket = Client(cloud.environment["GOOGLE_CLOUD_PROJECT"]).bucket(layout.bucket)

    def put(uri: str) -> None:
        bucket.blob(uri.removeprefix(f"gs://{layout.bucket}/")).upload_from_string(objects[uri])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, objects))
    return job_id


def polled(url: str, path: str, token: str, *, clients: int, rounds: int, pause: float = 0.0) -> list[float]:
    """Has clients ask for a path, each on its connection, spread over the pause; seconds of each answer."""
    host, port = url.removeprefix("http://").split(":")
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    gate = asyncio.Semaphore(CONNECTED_AT_ONCE)

    async def poll(number: int) -> list[float]:
        async with gate:
            reader, writer = await asyncio.open_connection(host, int(port))
        seconds: list[float] = []
        begin = time.monotonic() + pause + pause * number / clients
        for turn in range(rounds):
            await asyncio.sleep(max(0.0, begin + turn * pause - time.monotonic()) if pause else 0.0)
            started = time.monotonic()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            seconds.append(time.monotonic() - started)
            assert head.startswith(b"HTTP/1.1 200"), head
        writer.close()
        return seconds

    async def all_of_them() -> list[float]:
        return [each for found in await asyncio.gather(*map(poll, range(clients))) for each in found]

    return uvloop.run(all_of_them())
