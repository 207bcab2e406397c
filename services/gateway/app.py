"""The gateway as an ASGI application."""

import base64
import hashlib
import logging
import re
from collections.abc import Callable
from threading import Lock

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from fastapi_offline import FastAPIOffline

from services.gateway import api, asyncapi, console, openapi, problems
from services.gateway.audit import Trail
from services.gateway.middleware import BodyLimit, Frame, policy
from services.gateway.ports import Ports
from services.gateway.progress import Board
from services.gateway.security import Security
from services.gateway.settings import Settings
from services.gateway.tokens import Groups

DOCS_STATIC = "/static-offline-docs"

_logger = logging.getLogger("vitrine.gateway")


def create_app(settings: Settings, ports: Callable[[], Ports], groups: Groups | None = None) -> FastAPI:
    """The application.

    Args:
        settings: read at boot.
        ports: makes the ports, at their first use.
        groups: says who is in a group; else the Cloud Identity API is asked with the service's account.

    """
    app = FastAPIOffline(
        title="Vitrine",
        version="1",
        docs_url=None,
        redoc_url=None,
        static_url=DOCS_STATIC,
        # They would go to the host that whoever asks says, by http behind a proxy.
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.ports = _Once(ports)
    app.state.board = _Once(lambda: Board(app.state.ports().vitrine, app.state.ports().clock))
    app.state.security = Security(settings, app.state.ports, groups)
    problems.install(app, console.problem_page)
    app.include_router(api.router)
    app.include_router(asyncapi.router)
    app.include_router(console.router)
    openapi.install(app)

    # The start-up probe waits for the ports, and traffic for the probe.
    @app.get("/health", include_in_schema=False)
    async def health() -> PlainTextResponse:
        try:
            await app.state.ports.ready()
        except Exception:
            _logger.exception("not ready")
            return PlainTextResponse("not ready", 503)
        return PlainTextResponse("ok")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return _docs(app)

    # The last one added is the outermost.
    app.add_middleware(BodyLimit)
    app.add_middleware(Trail, ports=app.state.ports)
    app.add_middleware(Frame, settings=settings)
    return app


class _Once[T]:
    """Makes a thing at its first use, and once even where two threads want it first."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._lock = make, Lock()
        self._made: list[T] = []

    def __call__(self) -> T:
        if not self._made:
            with self._lock:
                if not self._made:
                    self._made.append(self._make())
        return self._made[0]

    async def ready(self) -> T:
        """The thing; a thread is taken only to make it, so that later on none need be free."""
        return self._made[0] if self._made else await run_in_threadpool(self)


def _docs(app: FastAPI) -> HTMLResponse:
    """Swagger UI. Its page has a script in it, which a policy of its own allows by its hash."""
    page = get_swagger_ui_html(
        openapi_url=app.openapi_url or "",
        title=app.title,
        swagger_js_url=f"{DOCS_STATIC}/swagger-ui-bundle.js",
        swagger_css_url=f"{DOCS_STATIC}/swagger-ui.css",
        swagger_favicon_url=f"{DOCS_STATIC}/favicon.png",
    )
    scripts = re.findall(rb"<script>(.*?)</script>", bytes(page.body), re.DOTALL)
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(each).digest()).decode()}'" for each in scripts]
    page.headers["Content-Security-Policy"] = policy({"script-src": ("'self'", *hashes)})
    return page
