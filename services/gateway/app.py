"""The gateway as an ASGI application."""

from collections.abc import Callable
from functools import cache

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi_offline import FastAPIOffline

from services.gateway import api, asyncapi, console, openapi, problems
from services.gateway.ports import Ports
from services.gateway.settings import Settings


def create_app(settings: Settings, ports: Callable[[], Ports]) -> FastAPI:
    """The application.

    Args:
        settings: read at boot.
        ports: makes the ports, at their first use.

    """
    app = FastAPIOffline(title="Vitrine", version="1", redoc_url=None)
    app.state.settings = settings
    app.state.ports = cache(ports)
    problems.install(app, console.problem_page)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok")

    app.include_router(api.router)
    app.include_router(asyncapi.router)
    app.include_router(console.router)
    openapi.install(app)
    return app
