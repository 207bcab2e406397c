"""Who asks, and whether they may: `identity: Annotated[Identity, Depends(require("operate"))]`."""

from collections.abc import Awaitable, Callable

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from services.gateway.identity import Identity, Right
from services.gateway.problems import Problem


def authenticate(request: Request) -> Identity:
    """Who sent a request, from its bearer credential or its session.

    Raises:
        Problem: 401, nobody whom we know; 429, too many requests.

    """
    raise Problem(401, "unauthenticated", "a credential is needed", headers={"WWW-Authenticate": "Bearer"})


def require(right: Right) -> Callable[[Request], Awaitable[Identity]]:
    """A dependency that gives the identity of who may do this.

    Raises:
        Problem: as `authenticate`; 403, none of the roles has the right.

    """

    async def identified(request: Request) -> Identity:
        identity = await run_in_threadpool(authenticate, request)
        if not identity.may(right):
            raise Problem(403, "forbidden", f"this needs a role that may {right}")
        return identity

    return identified
