"""A broker that is killed loses nothing that it has confirmed."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.protobuf.duration_pb2 import Duration

from tests.conftest import free_ports
from tests.integration.pubsub_servers import (
    Endpoint,
    Pubsub,
    Push,
    broker_command,
    connected,
    running,
)

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

KILLS = 4
DELIVERY_SECONDS = 60


@contextmanager
def killed_at_the_end(port: int, directory: Path) -> Iterator[Pubsub]:
    command = broker_command(port, directory / "data")
    with running(command, port, directory / "log") as process, connected(port) as pubsub:
        yield pubsub
        process.kill()
        process.wait()


class Publisher(threading.Thread):
    """Publishes until its broker is gone; `confirmed` has the ids that it was told."""

    def __init__(self, pubsub: Pubsub, topic: str) -> None:
        super().__init__()
        self.confirmed: set[str] = set()
        self._pubsub = pubsub
        self._topic = topic

    def run(self) -> None:
        try:
            while True:
                self.confirmed.update(self._pubsub.publish(self._topic, *[b"x" * 1000] * 10))
        except GoogleAPICallError:
            return


def test_no_published_message_is_lost_when_the_broker_is_killed_while_publishing_and_pushing(
    tmp_path: Path,
) -> None:
    answers = iter(range(10**9))

    def answer(push: Push) -> int:
        return 500 if next(answers) % 5 == 0 else 200

    port, endpoint = free_ports(1), Endpoint(answer)
    confirmed: set[str] = set()
    topic = ""
    for _ in range(KILLS):
        with killed_at_the_end(port, tmp_path) as pubsub:
            if not topic:
                topic = pubsub.topic()
                pubsub.subscription(
                    topic,
                    push_config={"push_endpoint": endpoint.url},
                    retry_policy={
                        "minimum_backoff": Duration(nanos=50_000_000),
                        "maximum_backoff": Duration(seconds=1),
                    },
                )
            publisher = Publisher(pubsub, topic)
            publisher.start()
            before = endpoint.waiting
            while endpoint.waiting < before + 100 or len(publisher.confirmed) < 300:
                assert publisher.is_alive()
                time.sleep(0.01)
        publisher.join()
        confirmed |= publisher.confirmed
    pushed: set[str] = set()
    with killed_at_the_end(port, tmp_path):
        deadline = time.monotonic() + DELIVERY_SECONDS
        while not confirmed <= pushed and time.monotonic() < deadline:
            pushed.add(endpoint.next().json["message"]["messageId"])
    endpoint.close()
    assert len(confirmed) >= KILLS * 300
    assert confirmed - pushed == set()


def test_a_pulled_message_comes_again_after_a_kill_unless_it_was_acknowledged(tmp_path: Path) -> None:
    port = free_ports(1)
    with killed_at_the_end(port, tmp_path) as pubsub:
        topic = pubsub.topic()
        policy = {"dead_letter_topic": pubsub.topic()}
        subscription = pubsub.subscription(
            topic, enable_exactly_once_delivery=True, dead_letter_policy=policy
        )
        pubsub.publish(topic, b"acknowledged", b"outstanding", b"refused")
        received = {item.message.data: item for item in pubsub.receive(subscription, 3)}
        pubsub.nack(subscription, received[b"refused"])
        # Confirmed, as delivery is exactly once, so it must hold; and it commits what came before it.
        pubsub.ack(subscription, received[b"acknowledged"])
    with killed_at_the_end(port, tmp_path) as pubsub:
        again = {item.message.data: item.delivery_attempt for item in pubsub.receive(subscription, 2)}
        assert again == {b"outstanding": 1, b"refused": 2}
        assert pubsub.is_empty(subscription)
