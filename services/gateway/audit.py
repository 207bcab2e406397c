"""The audit trail: who changed what, and who was refused what."""

from collections.abc import Callable

from fastapi import Request


def audited(action: str) -> Callable[[Request], None]:
    """A dependency that names what a route does: `dependencies=[Depends(audited("job.cancel"))]`.

    Every request that may change something is recorded with or without it; this gives the action its name,
    and the subject is the route's path parameters, unless `record` says more.
    """

    def named(request: Request) -> None:
        request.state.action = action

    return named


def record(request: Request, *, subject: str | None = None, detail: str | None = None) -> None:
    """Adds to the entry of this request what only its handler knows.

    Args:
        request: the request.
        subject: what was changed, such as the id of a job that was just made.
        detail: more about it.

    """
    if subject is not None:
        request.state.subject = subject
    if detail is not None:
        request.state.detail = detail
