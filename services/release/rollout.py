"""Rolling out a revision: tested without traffic, given a tenth of it, then all; taken back if it fails.

Terraform makes revisions and leaves traffic alone; this moves traffic and leaves revisions alone. It ends
with all traffic pinned to one revision by name, so that the next one that Terraform makes gets none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

TAG = "candidate"
FIRST_SHARE = 10  # percent


class RolloutError(Exception):
    """The revision is not rolled out; the message says why, and what serves."""


@dataclass(frozen=True)
class Target:
    """Who gets which share of a service's requests."""

    revision: str | None  # None: always the newest that is ready, as in a service that was just made
    percent: int
    tag: str | None = None  # a name under which the revision is reached, whatever its share


@dataclass(frozen=True)
class State:
    """What a service has, and who serves."""

    created: str  # the newest revision
    ready: str  # the newest revision that started
    traffic: Sequence[Target]


class Service(Protocol):
    """A Cloud Run service."""

    def state(self) -> State:
        """As it is now."""
        ...

    def route(self, traffic: Sequence[Target]) -> None:
        """Sends its requests elsewhere; returns when that holds."""
        ...

    def url(self, tag: str) -> str:
        """Where the revision of this tag is reached."""
        ...


def roll_out(service: Service, test: Callable[[str], None], say: Callable[[str], None]) -> None:
    """Rolls out the newest revision.

    Args:
        service: whose.
        test: sends a request to a URL; raises where the answer is not right.
        say: is told how it goes, in lines for people.

    Raises:
        RolloutError: it did not start, or failed its test; what served before serves again.

    """
    state = service.state()
    candidate = state.created
    if state.ready != candidate:
        raise RolloutError(f"{candidate} does not start; {_shown(state.traffic)}")
    if list(state.traffic) == [Target(candidate, 100)]:
        say(f"{candidate} has all requests already")
        return
    stable = _stable(state.traffic, candidate)
    if stable is None:
        # The first revision serves from its start on.
        before, steps = state.traffic, [[Target(candidate, 100, TAG)]]
    else:
        before = [Target(stable, 100)]
        steps = [[Target(stable, 100 - share), Target(candidate, share, TAG)] for share in (0, FIRST_SHARE)]
    try:
        for traffic in steps:
            service.route(traffic)
            say(f"{_shown(traffic)}; {candidate} is tested")
            test(service.url(TAG))
            say(f"{candidate} answers as it should")
        service.route([Target(candidate, 100)])
    except BaseException as error:
        # Whatever it was, even that somebody stopped it: half rolled out is the one state that is not wanted.
        service.route(before)
        raise RolloutError(f"{candidate} is taken back, {_shown(before)}: {error!r}") from error
    say(f"{candidate} has all requests")


def _stable(traffic: Sequence[Target], candidate: str) -> str | None:
    """What to fall back to: of the revisions that serve, the one with most requests."""
    others = [each for each in traffic if each.revision not in (None, candidate)]
    return max(others, key=lambda target: target.percent).revision if others else None


def _shown(traffic: Sequence[Target]) -> str:
    serving = [f"{each.revision or 'the newest'} has {each.percent} %" for each in traffic if each.percent]
    return ", ".join(serving)
