"""The audit trail: who changed what, and who was refused what. Rows of the table `audit`.

A row is written for each request that may change something, and for each refusal, of everybody who is known.
Of strangers, and of whoever asks too often, there is only a log line. The row is written before the answer is
sent: an instance may have no CPU any more afterwards.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.identity import Identity
from services.gateway.ports import Ports
from services.gateway.problems import Problem

TABLE = "audit"
REFUSALS = (401, 403, 409, 413, 415, 422, 429)
TEXT = 1000  # characters that are kept of what a caller chose

_logger = logging.getLogger("vitrine.gateway.audit")


def audited(action: str) -> Callable[[Request], None]:
    """A dependency that names what a route does: `dependencies=[Depends(audited("job.cancel"))]`.

    Without it a changing request is recorded under its method and path. The subject is what the path's
    parameters say, unless `record` says more.
    """

    def named(request: Request) -> None:
        request.state.action = action

    return named


def changes_nothing(request: Request) -> None:
    """A dependency of a route that is asked by POST and only reads: it is recorded where it is refused."""
    request.state.changes_nothing = True


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


class Trail:
    """The middleware that records. Requests have their `request_id` and `address` already."""

    def __init__(self, app: ASGIApp, ports: Callable[[], Ports]) -> None:
        self._app, self._ports = app, ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request, and writes down what came of it before the caller is told."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answered = False

        async def watched(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                request = Request(scope)
                problem: Problem | None = _of(request, "problem")
                # A browser that is not signed in is led to the sign-in page: it was refused all the same.
                await self._record(request, problem.status if problem else message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if not answered:
                await self._record(Request(scope), 500)

    async def _record(self, request: Request, status: int) -> None:
        if status in REFUSALS:
            _log_refusal(request, status)
        if _belongs_in_the_table(request, status):
            await run_in_threadpool(self._append, request, status)

    def _append(self, request: Request, status: int) -> None:
        entry: dict[str, Any] = {}
        try:
            entry = _entry(request, status)
            ports = self._ports()
            ports.warehouse.append(TABLE, [entry | {"recorded_at": ports.clock()}])
        except Exception:
            # Whatever it was: the log is what is left to keep the entry.
            _logger.exception("an audit entry could not be appended", extra={"fields": {"audit": entry}})


def _belongs_in_the_table(request: Request, status: int) -> bool:
    # Of who asks too often there would be a row for each time.
    if _of(request, "identity") is None or status == 429:
        return False
    changing = request.method not in ("GET", "HEAD", "OPTIONS") and not _of(request, "changes_nothing")
    return changing or (status in REFUSALS and status != 401)


def _entry(request: Request, status: int) -> dict[str, Any]:
    identity: Identity = request.state.identity
    return {
        "audit_id": uuid4().hex,
        "who": identity.name,
        "credential": identity.credential,
        "roles": sorted(identity.roles),
        "action": _action(request),
        "subject": _short(_of(request, "subject") or "/".join(request.path_params.values())),
        "status": status,
        "address": request.state.address,
        "user_agent": _short(request.headers.get("User-Agent")),
        "request_id": request.state.request_id,
        "detail": _short(_of(request, "detail") or _reason(request)),
    }


def _log_refusal(request: Request, status: int) -> None:
    identity: Identity | None = _of(request, "identity")
    fields: Mapping[str, Any] = {
        "status": status,
        "method": request.method,
        "path": _short(request.url.path),
        "who": identity and identity.name,
        "address": request.state.address,
        "request_id": request.state.request_id,
        "reason": _short(_reason(request)),
    }
    _logger.warning("refused: %s %s", fields["method"], fields["path"], extra={"fields": {"refusal": fields}})


def _action(request: Request) -> str:
    route = request.scope.get("route")
    return str(
        _of(request, "action") or f"{request.method} {getattr(route, 'path', request.url.path)}"[:TEXT]
    )


def _reason(request: Request) -> str | None:
    """Why it was refused: the true reason, where it was not for who asked."""
    problem: Problem | None = _of(request, "problem")
    reason: str | None = _of(request, "reason")
    return reason or (problem.detail if problem else None)


def _short(text: str | None) -> str | None:
    return text[:TEXT] if text else None


def _of(request: Request, name: str) -> Any:
    return getattr(request.state, name, None)
