"""How often anybody may ask: requests of an identity, wrong credentials of an address."""

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from services.gateway.problems import Problem

WRONG_CREDENTIALS = parse("20/minute")  # of an address


class Limits:
    """Counts in this process's memory: each instance of the gateway counts for itself.

    Two counters a key and not a time for each request, so that a count costs the same however many
    there were.

    Args:
        rate: of an identity, such as `600/minute`.

    """

    def __init__(self, rate: str) -> None:
        self._rate = parse(rate)
        self._window = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count_request(self, identity: str) -> None:
        """Counts a request of somebody.

        Raises:
            Problem: 429, there were too many.

        """
        if not self._window.hit(self._rate, "identity", identity):
            raise self._too_many(self._rate, "identity", identity)

    def count_wrong_credential(self, address: str) -> None:
        """Counts a credential that was refused.

        Raises:
            Problem: 429, there were too many from this address.

        """
        if not self._window.hit(WRONG_CREDENTIALS, "address", address):
            raise self._too_many(WRONG_CREDENTIALS, "address", address)

    def _too_many(self, rate: RateLimitItem, *key: str) -> Problem:
        seconds = max(1, math.ceil(self._window.get_window_stats(rate, *key).reset_time - time.time()))
        return Problem(
            429,
            "too-many-requests",
            f"more than {rate}; try again in {seconds} s",
            headers={"Retry-After": str(seconds)},
        )
