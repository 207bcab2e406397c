"""Rolling out a revision: what is served at each moment, and what is served after a failure."""

from collections.abc import Callable, Sequence

import pytest

from services.release.rollout import TAG, RolloutError, State, Target, roll_out

OLD, NEW = "inference-1", "inference-2"


class MemoryService:
    """A service that Terraform has just given a revision."""

    def __init__(self, *traffic: Target, created: str = NEW, ready: str = NEW) -> None:
        self.created, self.ready = created, ready
        self.traffic: Sequence[Target] = traffic
        self.history: list[Sequence[Target]] = []

    def state(self) -> State:
        return State(self.created, self.ready, self.traffic)

    def route(self, traffic: Sequence[Target]) -> None:
        assert sum(each.percent for each in traffic) == 100
        self.traffic = traffic
        self.history.append(traffic)

    def url(self, tag: str) -> str:
        (revision,) = [each.revision for each in self.traffic if each.tag == tag]
        return f"https://{tag}---{revision}"


class Tester:
    """Fails at the given call, and remembers what it was sent to."""

    def __init__(self, service: MemoryService, fails_at: int = 0, error: BaseException | None = None) -> None:
        self._service, self._fails_at, self._error = service, fails_at, error or ValueError("wrong label")
        self.calls: list[tuple[str, int]] = []

    def __call__(self, url: str) -> None:
        share = sum(each.percent for each in self._service.traffic if each.revision == NEW)
        self.calls.append((url, share))
        if len(self.calls) == self._fails_at:
            raise self._error


def silent(_: str) -> None:
    """Nobody listens."""


def test_a_revision_is_tested_without_traffic_then_with_a_tenth_and_then_has_it_all() -> None:
    service = MemoryService(Target(OLD, 100))
    test = Tester(service)
    roll_out(service, test, silent)
    assert test.calls == [(f"https://{TAG}---{NEW}", 0), (f"https://{TAG}---{NEW}", 10)]
    assert service.history == [
        [Target(OLD, 100), Target(NEW, 0, TAG)],
        [Target(OLD, 90), Target(NEW, 10, TAG)],
        [Target(NEW, 100)],
    ]


@pytest.mark.parametrize("fails_at", [1, 2])
@pytest.mark.parametrize("error", [ValueError("wrong label"), KeyboardInterrupt(), SystemExit("stopped")])
def test_a_revision_that_fails_is_taken_back(fails_at: int, error: BaseException) -> None:
    service = MemoryService(Target(OLD, 100))
    with pytest.raises(RolloutError, match=f"{NEW} is taken back, {OLD} has 100 %") as refused:
        roll_out(service, Tester(service, fails_at, error), silent)
    assert service.traffic == [Target(OLD, 100)]
    assert refused.value.__cause__ is error


def test_traffic_that_cannot_be_moved_is_moved_back() -> None:
    class Stubborn(MemoryService):
        def route(self, traffic: Sequence[Target]) -> None:
            super().route(traffic)
            if traffic == [Target(NEW, 100)]:
                raise TimeoutError("still moving")

    service = Stubborn(Target(OLD, 100))
    with pytest.raises(RolloutError, match="still moving"):
        roll_out(service, Tester(service), silent)
    assert service.traffic == [Target(OLD, 100)]


def test_a_revision_that_does_not_start_gets_no_traffic() -> None:
    service = MemoryService(Target(OLD, 100), ready=OLD)
    with pytest.raises(RolloutError, match=f"{NEW} does not start; {OLD} has 100 %"):
        roll_out(service, Tester(service), silent)
    assert service.history == []


def test_the_first_revision_serves_already_is_tested_and_then_pinned() -> None:
    service = MemoryService(Target(None, 100))
    roll_out(service, Tester(service), silent)
    assert service.traffic == [Target(NEW, 100)]


def test_the_first_revision_stays_where_there_is_nothing_to_fall_back_to() -> None:
    service = MemoryService(Target(None, 100))
    with pytest.raises(RolloutError, match="the newest has 100 %"):
        roll_out(service, Tester(service, fails_at=1), silent)
    assert service.traffic == (Target(None, 100),)


@pytest.mark.parametrize(
    "left", [(Target(OLD, 90), Target(NEW, 10, TAG)), (Target(OLD, 90), Target("inference-failed", 10, TAG))]
)
def test_what_a_killed_roll_out_left_behind_is_cleared_away(left: Sequence[Target]) -> None:
    service = MemoryService(*left)
    with pytest.raises(RolloutError):
        roll_out(service, Tester(service, fails_at=1), silent)
    assert service.traffic == [Target(OLD, 100)]
    service = MemoryService(*left)
    roll_out(service, Tester(service), silent)
    assert service.traffic == [Target(NEW, 100)]


def test_a_revision_that_serves_is_left_alone() -> None:
    said: list[str] = []
    tell: Callable[[str], None] = said.append
    service = MemoryService(Target(NEW, 100))
    roll_out(service, Tester(service, fails_at=1), tell)
    assert service.history == []
    assert said == [f"{NEW} has all requests already"]
