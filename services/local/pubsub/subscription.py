import asyncio
import itertools
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.local.pubsub.filters import compile_filter
from services.local.pubsub.messages import Proto
from services.local.pubsub.storage import Message, Storage

ACK_ID = re.compile(r"\d+-\d+", re.ASCII)

# What Pub/Sub documents for a push subscription without a retry policy. A pull one retries at once.
_PUSH_BACKOFF_SECONDS = (0.1, 60.0)
# Exponential growth needs something to grow from where the minimum is 0.
_LEAST_GROWTH_SECONDS = 0.1


@dataclass(eq=False, slots=True)
class Entry:
    """A message in one subscription."""

    message: Message
    failures: int = 0  # nacks and expired deadlines
    acked: bool = False
    lease: "Lease | None" = None


@dataclass(eq=False, slots=True)
class Lane:
    """Unacknowledged messages that go out in order: those of one ordering key, or one without a key."""

    key: str
    entries: deque[Entry] = field(default_factory=deque)
    outstanding: int = 0
    not_before: float = 0.0  # by the clock of the event loop
    queued: bool = False  # ready, or waiting for its back-off


@dataclass(eq=False, slots=True)
class Lease:
    """One delivery: the message is the consumer's until it acknowledges or refuses, or until the deadline."""

    ack_id: str
    entry: Entry
    lane: Lane
    consumer: "Consumer"
    timer: asyncio.TimerHandle | None = None

    @property
    def attempt(self) -> int:
        """1 for the first delivery."""
        return self.entry.failures + 1


@dataclass(eq=False, slots=True)
class Consumer:
    """Whoever takes messages: a pull, a stream or a push loop. `wake` is set when there may be some."""

    max_messages: int
    max_bytes: int = 0  # no limit
    one_per_key: bool = False
    messages: int = 0
    bytes: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_room(self) -> bool:
        """Whether flow control allows one more message."""
        return self.messages < self.max_messages and not 0 < self.max_bytes <= self.bytes


class Subscription:
    """The messages of one subscription and their way from waiting over leased to acknowledged.

    `dead_letter` publishes an exhausted message and says whether it could.
    """

    # Ack ids of an earlier run must not match those of this one.
    _ack_numbers = itertools.count(time.time_ns())

    def __init__(
        self, config: Proto, storage: Storage, dead_letter: Callable[["Subscription", Entry], bool]
    ) -> None:
        self.config = config
        self.matches = compile_filter(config.filter)
        self._storage = storage
        self._dead_letter = dead_letter
        self._loop = asyncio.get_running_loop()
        self._consumers: set[Consumer] = set()
        self._entries: dict[int, Entry] = {}
        self._lanes: dict[str, Lane] = {}
        self._ready: deque[Lane] = deque()
        self._delayed: dict[Lane, asyncio.TimerHandle] = {}
        self._leases: dict[str, Lease] = {}
        self.closed = False
        for message, failures, acked in storage.backlog(self.name):
            self._entries[message.id] = Entry(message, failures, acked)
        self._queue_again()

    @property
    def name(self) -> str:
        """projects/{project}/subscriptions/{id}."""
        return str(self.config.name)

    @property
    def dead_letters(self) -> bool:
        """Whether deliveries are counted for the subscriber to see."""
        return bool(self.config.dead_letter_policy.dead_letter_topic)

    def unacked(self) -> list[Message]:
        """The backlog, in the order of publishing."""
        return [entry.message for entry in self._entries.values() if not entry.acked]

    # Consumers

    @contextmanager
    def consumer(self, consumer: Consumer) -> Iterator[Consumer]:
        """Wake a consumer for as long as the context lasts. Its leases outlive it."""
        self._consumers.add(consumer)
        consumer.wake.set()
        try:
            yield consumer
        finally:
            self._consumers.discard(consumer)

    def _wake_consumers(self) -> None:
        for consumer in self._consumers:
            consumer.wake.set()

    def take(self, consumer: Consumer, deadline_seconds: float | None = None) -> list[Lease]:
        """Lease what is ready to a consumer, as far as its flow control allows.

        Without a deadline the consumer itself must acknowledge or refuse.
        """
        leases: list[Lease] = []
        while self._ready and consumer.has_room:
            lane = self._ready.popleft()
            lane.queued = False
            for entry in itertools.islice(lane.entries, 1 if consumer.one_per_key else None):
                if not consumer.has_room:
                    break
                leases.append(self._lease(entry, lane, consumer, deadline_seconds))
        return leases

    def _lease(self, entry: Entry, lane: Lane, consumer: Consumer, deadline_seconds: float | None) -> Lease:
        ack_id = f"{entry.message.id}-{next(self._ack_numbers)}"
        lease = entry.lease = self._leases[ack_id] = Lease(ack_id, entry, lane, consumer)
        if deadline_seconds is not None:
            lease.timer = self._loop.call_later(deadline_seconds, self._refuse, lease)
        lane.outstanding += 1
        consumer.messages += 1
        consumer.bytes += entry.message.size
        return lease

    def _end(self, lease: Lease) -> None:
        del self._leases[lease.ack_id]
        lease.entry.lease = None
        lease.lane.outstanding -= 1
        if lease.timer:
            lease.timer.cancel()
        consumer = lease.consumer
        consumer.messages -= 1
        consumer.bytes -= lease.entry.message.size
        consumer.wake.set()

    # Outcomes

    def acknowledge(self, ack_ids: Iterable[str]) -> list[str]:
        """Acknowledge deliveries; the ack ids whose lease is over are returned and have no effect."""
        invalid = []
        for ack_id in ack_ids:
            if lease := self._leases.get(ack_id):
                self._end(lease)
                lease.entry.acked = True
                self._settle(lease.lane)
            else:
                invalid.append(ack_id)
        # Exactly-once delivery must not forget a confirmed acknowledgement.
        if self.config.enable_exactly_once_delivery:
            self._storage.commit()
        else:
            self._storage.commit_soon()
        return invalid

    def modify_deadline(self, ack_id: str, seconds: int) -> bool:
        """Give a lease so much more time from now; 0 refuses the message. False if the lease is over."""
        lease = self._leases.get(ack_id)
        if lease is None:
            return False
        if lease.timer:
            lease.timer.cancel()
        if seconds == 0:
            self._refuse(lease)
        else:
            lease.timer = self._loop.call_later(seconds, self._refuse, lease)
        return True

    def _refuse(self, lease: Lease) -> None:
        """A nack, or a deadline that passed: try again after the back-off, or give the message up."""
        entry, lane = lease.entry, lease.lane
        self._end(lease)
        entry.failures += 1
        self._storage.update(self.name, entry.message, failures=entry.failures, acked=False)
        self._storage.commit_soon()
        policy = self.config.dead_letter_policy
        if self.dead_letters and entry.failures >= policy.max_delivery_attempts:
            entry.acked = self._dead_letter(self, entry)
        if not entry.acked:
            lane.not_before = self._loop.time() + self._backoff_seconds(entry.failures)
            # A redelivered message brings all later ones of its key again, acknowledged or not.
            for follower in itertools.dropwhile(lambda other: other is not entry, lane.entries):
                follower.acked = False
                if follower.lease:
                    self._end(follower.lease)
        self._settle(lane)

    def _backoff_seconds(self, failures: int) -> float:
        if self.config.HasField("retry_policy"):
            policy = self.config.retry_policy
            least, most = (
                policy.minimum_backoff.ToTimedelta().total_seconds(),
                policy.maximum_backoff.ToTimedelta().total_seconds(),
            )
        elif self.config.push_config.push_endpoint:
            least, most = _PUSH_BACKOFF_SECONDS
        else:
            return 0.0
        if failures == 1:
            return float(least)
        return float(min(most, max(least, _LEAST_GROWTH_SECONDS) * 2 ** min(failures - 1, 20)))

    # The queue

    def offer(self, message: Message) -> None:
        """Take a message in. Not yet committed."""
        self._storage.hold(self.name, [message])
        entry = self._entries[message.id] = Entry(message)
        self._queue(entry)

    def _queue(self, entry: Entry) -> None:
        key = entry.message.proto.ordering_key if self.config.enable_message_ordering else ""
        lane = self._lanes.get(key) or Lane(key)
        if key:
            self._lanes[key] = lane
        lane.entries.append(entry)
        self._settle(lane)

    def _settle(self, lane: Lane) -> None:
        """Let go of what is acknowledged at the head of a lane, and send what follows."""
        while lane.entries and lane.entries[0].acked:
            self._keep_or_forget(lane.entries.popleft())
        if lane.outstanding or lane.queued:
            return
        if not lane.entries:
            self._lanes.pop(lane.key, None)
            return
        lane.queued = True
        delay = lane.not_before - self._loop.time()
        if delay > 0:
            self._delayed[lane] = self._loop.call_later(delay, self._make_ready, lane)
        else:
            self._make_ready(lane)

    def _make_ready(self, lane: Lane) -> None:
        self._delayed.pop(lane, None)
        self._ready.append(lane)
        self._wake_consumers()

    def _keep_or_forget(self, entry: Entry) -> None:
        if self.config.retain_acked_messages:
            self._storage.update(self.name, entry.message, failures=entry.failures, acked=True)
        else:
            self._forget([entry])

    def _forget(self, entries: Collection[Entry]) -> None:
        for entry in entries:
            del self._entries[entry.message.id]
        self._storage.release(self.name, [entry.message for entry in entries])

    def _queue_again(self) -> None:
        """Start over with everything unacknowledged; outstanding deliveries become void."""
        for lease in list(self._leases.values()):
            self._end(lease)
        for timer in self._delayed.values():
            timer.cancel()
        self._delayed.clear()
        self._lanes.clear()
        self._ready.clear()
        for entry in list(self._entries.values()):
            if not entry.acked:
                self._queue(entry)
            elif not self.config.retain_acked_messages:
                self._forget([entry])

    # Changes to the whole subscription

    def reconfigure(self, config: Proto) -> None:
        """Take a changed configuration over."""
        self.config = config
        if config.detached:
            self.clear()
        if not config.retain_acked_messages:
            # In a lane an acknowledged message may still come again, behind one that is refused.
            waiting = {entry for lane in self._lanes.values() for entry in lane.entries}
            self._forget([entry for entry in self._entries.values() if entry.acked and entry not in waiting])
        self._wake_consumers()

    def seek(self, is_unacked: Callable[[Message], bool], others: Iterable[Message] = ()) -> None:
        """Set the state of every retained message and of `others`, which this subscription may have let go.

        Not yet committed.
        """
        missing = {message.id: message for message in others if message.id not in self._entries}
        self._storage.hold(self.name, missing.values())
        self._entries |= {message.id: Entry(message, acked=True) for message in missing.values()}
        self._entries = dict(sorted(self._entries.items()))
        for entry in list(self._entries.values()):
            acked = not is_unacked(entry.message)
            if acked != entry.acked:
                entry.acked, entry.failures = acked, 0
                self._storage.update(self.name, entry.message, failures=0, acked=acked)
        self._queue_again()

    def expire(self, before: float) -> None:
        """Drop what was published before that time, acknowledged or not. Not yet committed."""
        expired = [entry for entry in self._entries.values() if entry.message.published < before]
        if expired:
            self._forget(expired)
            self._queue_again()

    def clear(self) -> None:
        """Drop every message. Not yet committed."""
        self._forget(list(self._entries.values()))
        self._queue_again()

    def close(self) -> None:
        """End all deliveries: the subscription is deleted."""
        self.closed = True
        self.clear()
        self._wake_consumers()
