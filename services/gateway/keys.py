"""API keys of callers: the file of their hashes, watched while it changes."""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from services.gateway.credentials import Refused
from services.shared.keys import ApiKey, read_keys, split_key

LOOK_INTERVAL = 1.0  # seconds between looks at whether the file is another one
READ_INTERVAL = 60.0  # seconds after which it is read whatever it looks like: not every mount keeps a time

_logger = logging.getLogger("vitrine.gateway")


class Keys:
    """The keys of a file. A file that cannot be read leaves the keys as they were.

    Args:
        path: the file; None for no keys at all.
        clock: seconds that only go forward.

    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._keys: Mapping[str, ApiKey] = {}
        self._looked = self._read = float("-inf")
        self._seen: tuple[int, ...] | None = None
        self._lock = Lock()

    def due(self) -> bool:
        """Whether the next one that looks for a key has to wait for the file."""
        return self._path is not None and (
            self._read == float("-inf") or self._clock() - self._looked >= LOOK_INTERVAL
        )

    def find(self, key_id: str) -> ApiKey:
        """The key of an id.

        Raises:
            Refused: there is none, or it has expired.

        """
        self._look()
        key = self._keys.get(key_id)
        if key is None:
            raise Refused("no such API key")
        if key.expired(datetime.now(UTC)):
            raise Refused(f"API key {key_id} has expired")
        return key

    def verify(self, credential: str) -> ApiKey:
        """The key that this is.

        Raises:
            Refused: it is none of them.

        """
        key_id, secret = split_key(credential)
        key = self.find(key_id)
        if not key.opens_with(secret):
            raise Refused(f"not the secret of API key {key_id}")
        return key

    def _look(self) -> None:
        # While one reads it, the others go on with what was there before, if there was anything.
        if not self._lock.acquire(blocking=self._read == float("-inf")):
            return
        try:
            now = self._clock()
            if self._path is None or now - self._looked < LOOK_INTERVAL:
                return
            self._looked = now
            try:
                status = self._path.stat()
                seen = (status.st_mtime_ns, status.st_size, status.st_ino)
                if seen == self._seen and now - self._read < READ_INTERVAL:
                    return
                self._keys = {key.id: key for key in read_keys(self._path.read_bytes())}
                self._seen, self._read = seen, now
            except (OSError, ValueError) as error:
                # A validation error would repeat the file's content.
                _logger.warning("the API keys cannot be read, the last ones stay: %s", type(error).__name__)
        finally:
            self._lock.release()
