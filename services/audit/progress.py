"""How far a long piece of work is, and how long the rest takes at the speed of the last minutes."""

import time
from collections import deque
from collections.abc import Callable

EVERY_SECONDS = 10.0
WINDOW_SECONDS = 180.0


class Progress:
    """Tells every few seconds.

    Args:
        total: how much there is to do.
        what: its unit.
        say: is told, in lines for people.
        clock: seconds.

    """

    def __init__(
        self,
        total: int,
        what: str,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._what, self._say, self._clock = total, what, say, clock
        self._done = 0
        self._told = clock()
        self._marks: deque[tuple[float, int]] = deque([(self._told, 0)])

    def skip(self, count: int) -> None:
        """So much was done before, and says nothing of the speed."""
        self._done += count
        self._marks = deque([(self._clock(), self._done)])
        if count:
            self._say(f"{count} of {self._total} {self._what} are done already")

    def add(self, count: int) -> None:
        """So much is done since the last call."""
        self._done += count
        now = self._clock()
        self._marks.append((now, self._done))
        while self._marks[0][0] < now - WINDOW_SECONDS and len(self._marks) > 2:
            self._marks.popleft()
        if now - self._told >= EVERY_SECONDS:
            self._told = now
            self._say(f"{self._done} of {self._total} {self._what}{self._left(now)}")

    def _left(self, now: float) -> str:
        (since, before), left = self._marks[0], self._total - self._done
        speed = (self._done - before) / (now - since) if now > since else 0
        if not left or not speed:
            return ""
        seconds = left / speed
        return f", about {seconds:.0f} s left" if seconds < 90 else f", about {seconds / 60:.0f} min left"
