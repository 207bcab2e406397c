import asyncio
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from services.local.pubsub.messages import Proto, PubsubMessage

_TABLES = """
CREATE TABLE IF NOT EXISTS resource (kind TEXT, name TEXT, body BLOB, UNIQUE (kind, name));
CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, body BLOB);
CREATE TABLE IF NOT EXISTS backlog (
    holder TEXT, message INTEGER, failures INTEGER DEFAULT 0, acked INTEGER DEFAULT 0,
    PRIMARY KEY (holder, message)
) WITHOUT ROWID;
"""
_COMMIT_DELAY_SECONDS = 0.02


@dataclass(eq=False, slots=True)
class Message:
    """A published message, shared by all that hold it: subscriptions, snapshots, topics."""

    id: int
    proto: Proto
    size: int
    holders: int = 0
    wrapped: str = field(default="")  # its JSON in a push request, made once for all deliveries

    @classmethod
    def of(cls, proto: Proto) -> "Message":
        """Take a PubsubMessage whose message_id is set."""
        return cls(int(proto.message_id), proto, proto.ByteSize())

    @property
    def published(self) -> float:
        """Publish time in seconds since the epoch."""
        return float(self.proto.publish_time.ToNanoseconds() / 1e9)


class Storage:
    """Resources, messages and who still holds which message, in SQLite.

    What is committed survives a SIGKILL: the write-ahead log then lies in the page cache of the system.
    A power cut may lose the last commits. Without a directory everything stays in memory.

    Raises:
        OSError: the directory cannot be made.
        sqlite3.OperationalError: another broker uses the directory, or it cannot be written.

    """

    def __init__(self, directory: Path | None) -> None:
        if directory:
            directory.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(directory / "pubsub.sqlite" if directory else ":memory:", timeout=0)
        # The exclusive lock keeps a second broker off the same directory.
        self._database.executescript(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
            + _TABLES
        )
        self._messages: dict[int, Message] = {}
        self._commit_due = False
        rows = self._database.execute("SELECT body FROM message ORDER BY id")
        for message in (Message.of(PubsubMessage.FromString(body)) for (body,) in rows):
            self._messages[message.id] = message
        for (message_id,) in self._database.execute("SELECT message FROM backlog"):
            self._messages[message_id].holders += 1

    def close(self) -> None:
        """Commit and close."""
        self.commit()
        self._database.close()

    def commit(self) -> None:
        """Make every write so far durable."""
        self._commit_due = False
        self._database.commit()

    def commit_soon(self) -> None:
        """Commit within a few milliseconds: for what, if lost, only makes a message come again."""
        if not self._commit_due:
            self._commit_due = True
            asyncio.get_running_loop().call_later(_COMMIT_DELAY_SECONDS, self._commit_if_due)

    def _commit_if_due(self) -> None:
        if self._commit_due:
            self.commit()

    def last_message_id(self) -> int:
        """The highest message id in use, 0 if none."""
        return max(self._messages, default=0)

    def save(self, kind: str, name: str, body: bytes) -> None:
        """Write a resource, in place of the one of that kind and name."""
        self._database.execute(
            "INSERT INTO resource VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
            (kind, name, body),
        )
        self.commit()

    def delete(self, kind: str, name: str) -> None:
        """Remove a resource."""
        self._database.execute("DELETE FROM resource WHERE kind = ? AND name = ?", (kind, name))
        self.commit()

    def resources(self, kind: str) -> Iterator[bytes]:
        """The bodies of all resources of a kind, oldest first."""
        rows = self._database.execute("SELECT body FROM resource WHERE kind = ? ORDER BY rowid", (kind,))
        return (body for (body,) in rows.fetchall())

    def hold(self, holder: str, messages: Iterable[Message]) -> None:
        """Keep messages for a holder. Not yet committed."""
        for message in messages:
            if not message.holders:
                self._messages[message.id] = message
                self._database.execute(
                    "INSERT INTO message VALUES (?, ?)", (message.id, message.proto.SerializeToString())
                )
            message.holders += 1
            self._database.execute(
                "INSERT INTO backlog (holder, message) VALUES (?, ?)", (holder, message.id)
            )

    def release(self, holder: str, messages: Iterable[Message]) -> None:
        """Drop messages for a holder, and for good with their last holder. Not yet committed."""
        for message in messages:
            self._database.execute(
                "DELETE FROM backlog WHERE holder = ? AND message = ?", (holder, message.id)
            )
            message.holders -= 1
            if not message.holders:
                del self._messages[message.id]
                self._database.execute("DELETE FROM message WHERE id = ?", (message.id,))

    def update(self, holder: str, message: Message, *, failures: int, acked: bool) -> None:
        """Write the state of a held message. Not yet committed."""
        self._database.execute(
            "UPDATE backlog SET failures = ?, acked = ? WHERE holder = ? AND message = ?",
            (failures, acked, holder, message.id),
        )

    def backlog(self, holder: str) -> Iterator[tuple[Message, int, bool]]:
        """What a holder holds, in the order of publishing: message, failures, acked."""
        rows = self._database.execute(
            "SELECT message, failures, acked FROM backlog WHERE holder = ? ORDER BY message", (holder,)
        )
        return ((self._messages[i], failures, bool(acked)) for i, failures, acked in rows.fetchall())
