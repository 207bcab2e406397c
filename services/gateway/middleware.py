"""What holds for every request and every answer: ids, addresses, headers, the size of bodies."""

import logging
from collections.abc import Mapping, Sequence
from uuid import uuid4

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway import problems
from services.gateway.problems import Problem
from services.gateway.security import SAFE_METHODS, authenticate
from services.gateway.settings import Settings
from services.shared.images import MAX_BYTES

BODY_BYTES = 1024 * 1024
UPLOAD_BYTES = MAX_BYTES + 1024 * 1024  # a photo, and the form around it
UPLOADS = ("/v1/images", "/upload")
API = "/v1/"
STATIC = ("/static/", "/static-offline-docs/")
SIGN_IN = "/sign-in"

POLICY: Mapping[str, tuple[str, ...]] = {
    "default-src": ("'self'",),
    "img-src": ("'self'", "data:"),
    "script-src": ("'self'",),
    "object-src": ("'none'",),
    "base-uri": ("'none'",),
    "frame-ancestors": ("'none'",),
    "form-action": ("'self'",),
}
# https://developers.google.com/identity/gsi/web/guides/get-google-api-clientid#content_security_policy
GOOGLE_POLICY: Mapping[str, tuple[str, ...]] = {
    "script-src": ("'self'", "https://accounts.google.com/gsi/client"),
    "connect-src": ("'self'", "https://accounts.google.com/gsi/"),
    "frame-src": ("https://accounts.google.com/gsi/",),
    "style-src": ("'self'", "https://accounts.google.com/gsi/style"),
}
HSTS = "max-age=31536000"

_logger = logging.getLogger("vitrine.gateway")


def policy(extra: Mapping[str, Sequence[str]] | None = None) -> str:
    """A Content-Security-Policy: the gateway's own, with other sources for some directives."""
    directives = {**POLICY, **(extra or {})}
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in directives.items())


class Frame:
    """Gives each request its id and its address, each answer its headers, and each failure an answer."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._policy, self._google_policy = policy(), policy(GOOGLE_POLICY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        request.state.request_id = uuid4().hex
        request.state.address = address(request, self._settings.proxies)
        begun = False

        async def framed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                for name, value in self._headers(request).items():
                    MutableHeaders(scope=message).setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, framed)
        except Exception as error:
            _logger.exception(
                "failed: %s %s",
                request.method,
                request.url.path,
                extra={"fields": {"request_id": request.state.request_id}},
            )
            if begun:
                raise  # the connection breaks: nobody takes half an answer for a whole one
            answer = problems.answer(request, error)
            await answer(scope, receive, framed)

    def _headers(self, request: Request) -> dict[str, str]:
        path = request.url.path
        google = path == SIGN_IN and self._settings.oauth_client_id is not None
        headers = {
            "X-Request-Id": request.state.request_id,
            "Content-Security-Policy": self._google_policy if google else self._policy,
            "X-Content-Type-Options": "nosniff",
            # Google's button has to know whose page it is on.
            "Referrer-Policy": "strict-origin-when-cross-origin" if google else "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin-allow-popups" if google else "same-origin",
        }
        if self._settings.secure:
            headers["Strict-Transport-Security"] = HSTS
        if not path.startswith(STATIC):
            headers["Cache-Control"] = "no-store"
        return headers


def address(request: Request, proxies: int) -> str:
    """Whom a request came from, as the last proxy that is trusted saw them.

    Args:
        request: the request.
        proxies: how many proxies of ours are in front; what stands further left in X-Forwarded-For anybody
            may have written there.

    """
    peer = request.client.host if request.client else "unknown"
    header = ",".join(request.headers.getlist("X-Forwarded-For"))
    hops = [hop.strip() for hop in header.split(",") if hop.strip()]
    return [*hops, peer][-1 - min(proxies, len(hops))]


class BodyLimit:
    """Refuses a body that is too large, before or while it is read; what strangers send before that."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        changing, path = scope["method"] not in SAFE_METHODS, scope["path"]
        upload = changing and path in UPLOADS
        most = UPLOAD_BYTES if upload else BODY_BYTES
        problem: Problem | None = None
        # A body is parsed before a route's own dependencies are asked.
        if upload or (changing and path.startswith(API)):
            problem = await _stranger(request)
        announced = Headers(scope=scope).get("Content-Length", "0")
        if problem is None and (not announced.isdecimal() or int(announced) > most):
            problem = await self._too_large(request, most)
        if problem is not None:
            await _refuse(request, problem, send)
            return
        await self._counting(request, most, receive, send)

    async def _counting(self, request: Request, most: int, receive: Receive, send: Send) -> None:
        """Also counts what nobody announced: a chunked body has no length."""
        got, exceeded, begun = 0, False, False

        async def counted() -> Message:
            nonlocal got, exceeded
            message = await receive()
            got += len(message.get("body", b""))
            if got > most:
                exceeded = True
                raise _TooLargeError
            return message

        async def unless_exceeded(message: Message) -> None:
            nonlocal begun
            # Whatever the application made of our exception is not the answer.
            if not exceeded or begun:
                begun = True
                await send(message)

        try:
            await self._app(request.scope, counted, unless_exceeded)
        except _TooLargeError:
            if begun:
                raise
        if exceeded and not begun:
            await _refuse(request, await self._too_large(request, most), send)

    async def _too_large(self, request: Request, most: int) -> Problem:
        await _stranger(request)  # for the audit trail, which wants to know who it was
        return Problem(413, "too-large", f"the body may have at most {most} bytes")


class _TooLargeError(Exception):
    """More bytes came than may."""


async def _stranger(request: Request) -> Problem | None:
    """Why a request is nobody's; None where its sender is known."""
    try:
        await run_in_threadpool(authenticate, request)
    except Problem as problem:
        return problem
    return None


async def _refuse(request: Request, problem: Problem, send: Send) -> None:
    """Answers without the application, and ends the connection: the rest of the body is not wanted."""
    answer = problems.answer(request, problem)
    answer.headers["Connection"] = "close"
    await answer(request.scope, request.receive, send)
