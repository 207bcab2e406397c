"""Servers, clients and a push endpoint for the tests of the Pub/Sub broker."""

import json
import queue
import shutil
import subprocess
import sys
import threading
import time
import uuid
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient as GapicPublisherClient
from google.pubsub_v1 import types
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.schema_service.transports import SchemaServiceGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

START_SECONDS = 30
STOP_SECONDS = 5
WAIT_SECONDS = 15


def google_emulator() -> list[str] | None:
    """The command of the gcloud SDK's emulator, without its port; None where it is not installed."""
    gcloud, java = shutil.which("gcloud"), shutil.which("java")
    if not gcloud or not java:
        return None
    info = subprocess.run(
        [gcloud, "info", "--format=value(installation.sdk_root)"], capture_output=True, text=True, check=False
    )
    jars = sorted(Path(info.stdout.strip() or "/nowhere").glob("platform/pubsub-emulator/lib/*.jar"))
    return [java, "-jar", str(jars[-1]), "--host=127.0.0.1"] if jars else None


def broker_command(port: int, data_dir: Path | None = None) -> list[str]:
    command = [sys.executable, "-m", "services.local.pubsub", "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--data-dir", str(data_dir)] if data_dir else command


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server process, once it answers; killed at the end if it still runs."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ready = grpc.channel_ready_future(channel)
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    ready.result(timeout=0.1)
                    break
                except grpc.FutureTimeoutError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(f"{command} did not start: {log.read_text()}") from None
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Pubsub:
    """One server through the google-cloud-pubsub clients, with short names for what every test does."""

    def __init__(self, port: int, channel: grpc.Channel) -> None:
        self.port = port
        self.publisher = pubsub_v1.PublisherClient(
            publisher_options=pubsub_v1.types.PublisherOptions(enable_message_ordering=True),
            transport=PublisherGrpcTransport(channel=channel),
        )
        self.subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        self.schemas = pubsub_v1.SchemaServiceClient(transport=SchemaServiceGrpcTransport(channel=channel))

    def topic(self, **config: Any) -> str:
        name = new_name("topics")
        self.publisher.create_topic(request={"name": name, **config})
        return name

    def subscription(self, topic: str, **config: Any) -> str:
        name = new_name("subscriptions")
        self.subscriber.create_subscription(request={"name": name, "topic": topic, **config})
        return name

    def publish(self, topic: str, *data: bytes, key: str = "", **attributes: str) -> list[str]:
        """One request with a message for each of `data`; the ids."""
        return self.publish_all(
            topic, [{"data": item, "ordering_key": key, "attributes": attributes} for item in data]
        )

    def publish_all(self, topic: str, messages: list[Any]) -> list[str]:
        # The client's own publish() batches, checks and tries again for itself.
        response = GapicPublisherClient.publish(self.publisher, topic=topic, messages=messages, retry=None)
        return list(response.message_ids)

    def pull(self, subscription: str, limit: int = 100) -> list[types.ReceivedMessage]:
        """What is there now."""
        request = {"subscription": subscription, "max_messages": limit, "return_immediately": True}
        return list(self.subscriber.pull(request=request).received_messages)

    def receive(
        self, subscription: str, count: int, timeout: float = WAIT_SECONDS
    ) -> list[types.ReceivedMessage]:
        """So many messages, waiting for them; fails if they do not come."""
        received = self.pull(subscription, count)
        deadline = time.monotonic() + timeout
        while len(received) < count:
            assert time.monotonic() < deadline, f"{len(received)} of {count} messages came"
            time.sleep(0.05)
            received += self.pull(subscription, count - len(received))
        return received

    def is_empty(self, subscription: str) -> bool:
        """Whether nothing is there, and nothing comes shortly."""
        time.sleep(0.2)
        return not self.pull(subscription)

    def ack(self, subscription: str, *received: types.ReceivedMessage) -> None:
        self.subscriber.acknowledge(subscription=subscription, ack_ids=[item.ack_id for item in received])

    def deadline(self, subscription: str, seconds: int, *received: types.ReceivedMessage) -> None:
        ack_ids = [item.ack_id for item in received]
        self.subscriber.modify_ack_deadline(
            subscription=subscription, ack_ids=ack_ids, ack_deadline_seconds=seconds
        )

    def nack(self, subscription: str, *received: types.ReceivedMessage) -> None:
        self.deadline(subscription, 0, *received)


def new_name(kind: str) -> str:
    return f"projects/contract/{kind}/t{uuid.uuid4().hex}"


@contextmanager
def connected(port: int) -> Iterator[Pubsub]:
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_receive_message_length", -1)]) as channel:
        yield Pubsub(port, channel)


@dataclass(frozen=True)
class Push:
    """A push request as the endpoint got it."""

    headers: dict[str, str]  # names in lower case
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> bytes:
        return b64decode(self.json["message"]["data"])


class Endpoint:
    """An HTTP server that records pushes and answers with what `answer` returns, by default 200.

    `answer` gets the push and may block: every request has its own thread.
    """

    def __init__(self, answer: Callable[[Push], int] = lambda push: 200) -> None:
        self._pushes: queue.Queue[Push] = queue.Queue()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                push = Push(headers, body, time.monotonic())
                endpoint._pushes.put(push)
                status = answer(push)
                try:
                    self.send_response(status)
                    if status >= 200 and status != 204:
                        self.send_header("Content-Length", "0")
                    self.end_headers()
                except ConnectionError:
                    pass  # the server gave up waiting

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        # The interval is how long close() takes.
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/push"

    def next(self, timeout: float = WAIT_SECONDS) -> Push:
        """The next push; raises queue.Empty if none comes in time."""
        return self._pushes.get(timeout=timeout)

    @property
    def waiting(self) -> int:
        """How many pushes came that nobody took."""
        return self._pushes.qsize()

    def take(self, count: int) -> list[Push]:
        return [self.next() for _ in range(count)]

    def quiet(self, seconds: float) -> bool:
        """Whether no push comes for so long."""
        try:
            self._pushes.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Stream:
    """A streaming pull without the client library's own flow control around it."""

    def __init__(self, pubsub: Pubsub, first: dict[str, Any]) -> None:
        self._requests: queue.Queue[types.StreamingPullRequest | None] = queue.Queue()
        self._received: queue.Queue[types.ReceivedMessage] = queue.Queue()
        self._code: queue.Queue[grpc.StatusCode | None] = queue.Queue()
        self._requests.put(types.StreamingPullRequest(first))
        # The call blocks until the server answers, which it does with its first message.
        threading.Thread(target=self._read, args=[pubsub], daemon=True).start()

    def _read(self, pubsub: Pubsub) -> None:
        try:
            for response in pubsub.subscriber.streaming_pull(requests=iter(self._requests.get, None)):
                for item in response.received_messages:
                    self._received.put(item)
        except GoogleAPICallError as error:
            self._code.put(error.grpc_status_code)

    def send(self, **request: Any) -> None:
        self._requests.put(types.StreamingPullRequest(request))

    def close(self) -> None:
        self._requests.put(None)

    def receive(self, count: int) -> list[types.ReceivedMessage]:
        return [self._received.get(timeout=WAIT_SECONDS) for _ in range(count)]

    def is_quiet(self, seconds: float) -> bool:
        """Whether no message comes for so long."""
        try:
            self._received.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def code(self) -> grpc.StatusCode | None:
        """The status the server ends the stream with."""
        return self._code.get(timeout=WAIT_SECONDS)


@contextmanager
def opened_stream(pubsub: Pubsub, **first: Any) -> Iterator[Stream]:
    stream = Stream(pubsub, {"stream_ack_deadline_seconds": 60} | first)
    try:
        yield stream
    finally:
        stream.close()
