"""Who asks, and whether they may: `identity: Annotated[Identity, Depends(require("operate"))]`.

A bearer credential is an API key or an ID token of Google's; browsers have a session, whose changing requests
need its CSRF token and an origin that is ours.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from services.gateway.credentials import Refused
from services.gateway.identity import Identity, Right
from services.gateway.keys import Keys
from services.gateway.limits import Limits
from services.gateway.ports import Ports
from services.gateway.problems import Problem
from services.gateway.sessions import FIELD, HEADER, Ended, Session, Sessions
from services.gateway.settings import Settings
from services.gateway.tokens import Groups, IdTokens, Person, Roles, UnverifiableError
from services.shared.keys import PREFIX, ApiKey

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
GOOGLE_FIELD = "g_csrf_token"  # of the form that Google's button sends, and of its cookie


class Security:
    """Everything that knows credentials, one for an application."""

    def __init__(self, settings: Settings, ports: Callable[[], Ports], groups: Groups | None = None) -> None:
        self.settings = settings
        self.keys = Keys(Path(settings.api_keys) if settings.api_keys else None)
        self.tokens = IdTokens(settings.certs_url)
        self.roles = Roles(settings.roles, groups or Groups(settings.groups_url))
        self.sessions = Sessions(settings.session_secret, secure=settings.secure)
        self.ended = Ended(ports)
        self.limits = Limits(settings.rate_limit)

    def of_key(self, key: ApiKey) -> Identity:
        """Who has an API key."""
        return Identity(f"key:{key.name}", frozenset({key.role}), "api-key")

    def of_person(self, person: Person) -> Identity:
        """Who has an ID token."""
        return Identity(person.email, self.roles.of(person), "id-token")

    def of_bearer(self, credential: str) -> Identity:
        """Who has a bearer credential.

        Raises:
            Refused: nobody.
            UnverifiableError: that cannot be said now.

        """
        if credential.startswith(PREFIX):
            return self.of_key(self.keys.verify(credential))
        return self.of_person(self.tokens.verify(credential, self.settings.audiences))

    def of_session(self, session: Session) -> Identity:
        """Who signed in.

        Raises:
            Refused: they have signed out, or their API key is no more.

        """
        self.ended.check(session)
        if session.key is not None:
            identity = self.of_key(self.keys.find(session.key))
        elif session.email is not None:
            identity = self.of_person(Person(session.email, session.domain))
        else:
            raise Refused("session of nobody")
        return Identity(identity.name, identity.roles, "session")


def get_security(request: Request) -> Security:
    """What knows credentials."""
    security: Security = request.app.state.security
    return security


def authenticate(request: Request) -> Identity:
    """Who sent a request, from its bearer credential or its session.

    Raises:
        Problem: 401, nobody whom we know; 429, too many requests; 503, it cannot be found out now.

    """
    known: Identity | None = getattr(request.state, "identity", None)
    if known is not None:
        return known
    security = get_security(request)
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")

    def of_bearer() -> Identity:
        if scheme.lower() != "bearer":
            raise Refused(f"the scheme {scheme[:20]!r}")
        return security.of_bearer(credential.strip())

    def of_session() -> Identity:
        session = security.sessions.read(request)
        if session is None:
            raise Refused("no credential")
        identity = security.of_session(session)
        request.state.session = session
        return identity

    # A session that is over is no attempt at guessing one: a page may ask with it for hours.
    identity = _guessed(request, of_bearer) if scheme else _verified(request, of_session)
    request.state.identity = identity
    security.limits.count_request(identity.name)
    return identity


def require(right: Right) -> Callable[[Request], Awaitable[Identity]]:
    """A dependency that gives the identity of who may do this.

    Raises:
        Problem: as `authenticate`; 403, none of the roles has the right, or the request is a forged one.

    """

    async def identified(request: Request) -> Identity:
        # A key is compared in memory: a poll need not wait for a thread that others keep busy.
        in_memory = (
            request.headers.get("Authorization", "").partition(" ")[2].startswith(PREFIX)
            and not get_security(request).keys.due()
        )
        identity = authenticate(request) if in_memory else await run_in_threadpool(authenticate, request)
        await check_not_forged(request)
        if not identity.roles:
            raise Problem(403, "forbidden", f"{identity.name} has no role here")
        if not identity.may(right):
            raise Problem(403, "forbidden", f"this needs a role that may {right}")
        return identity

    return identified


async def check_not_forged(request: Request) -> None:
    """Looks whether a changing request of a session was made by a page of ours.

    Raises:
        Problem: 403, it was not.

    """
    session: Session | None = getattr(request.state, "session", None)
    if session is None or request.method in SAFE_METHODS:
        return
    check_origin(request)
    given = request.headers.get(HEADER)
    if given is None and request.headers.get("Content-Type", "").startswith(
        ("multipart/form-data", "application/x-www-form-urlencoded")
    ):
        given = _field(await request.form(), FIELD)
    if not _same(given or "", get_security(request).sessions.csrf_token(session)):
        raise Problem(403, "forged-request", f"this needs the session's {HEADER} or {FIELD}: reload the page")


def check_origin(request: Request) -> None:
    """Looks whether a request comes from a page of ours, by what the browser says.

    Raises:
        Problem: 403, it does not.

    """
    ours = get_security(request).settings.url
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if not (origin == ours if origin is not None else site in ("same-origin", "none")):
        raise Problem(403, "forged-request", f"this may be asked for by pages of {ours} only")


def csrf_token(request: Request) -> str:
    """What every changing request of this session has to carry, as X-CSRF-Token or as form field csrf_token;
    empty where nobody is signed in.
    """
    session: Session | None = getattr(request.state, "session", None)
    return "" if session is None else get_security(request).sessions.csrf_token(session)


# ------------------------------------------------------------------------------------- signing in


async def sign_in(request: Request) -> Response:
    """Answers POST /sign-in: the field `api_key`, or `credential` from Google's button; then `next`.

    Returns:
        A redirection to the path `next`, with the session's cookie.

    Raises:
        Problem: 401, 403, 429 or 503, and nobody is signed in.

    """
    form = await request.form()
    api_key, credential = _field(form, "api_key"), _field(form, "credential")
    # Google's button posts from Google's origin: its own cookie, which only a page of ours can have, stands
    # for ours.
    if credential is not None and not api_key:
        if not _same(_field(form, GOOGLE_FIELD) or "", request.cookies.get(GOOGLE_FIELD, "")):
            raise Problem(403, "forged-request", "this did not come from the button on the sign-in page")
    else:
        check_origin(request)
    security = get_security(request)
    response = RedirectResponse(_local(_field(form, "next")), status_code=303)

    def verified() -> Identity:
        if api_key:
            key = security.keys.verify(api_key.strip())
            security.sessions.start(response, key=key.id)
            return security.of_key(key)
        if credential is None:
            raise Refused("no credential")
        client = security.settings.oauth_client_id
        person = security.tokens.verify(credential, [client] if client else [])
        security.sessions.start(response, email=person.email, domain=person.domain)
        return security.of_person(person)

    identity = await run_in_threadpool(_guessed, request, verified)
    request.state.identity = identity
    if not identity.roles:
        raise Problem(403, "forbidden", f"{identity.name} has no role here")
    return response


def sign_out(request: Request) -> Response:
    """Answers POST /sign-out; the route has to `require` a right, so that nobody else's page signs out."""
    response = RedirectResponse("/sign-in", status_code=303)
    security, session = get_security(request), getattr(request.state, "session", None)
    if session is not None:
        # Else a copy of the cookie would still be good.
        security.ended.add(session)
    security.sessions.end(response)
    return response


# -------------------------------------------------------------------------------------


def _guessed(request: Request, verify: Callable[[], Identity]) -> Identity:
    """As `_verified`, for a secret that somebody may be guessing. A good one always passes: behind the same
    address there may be others, who cannot help it.
    """
    try:
        return _verified(request, verify)
    except Problem as problem:
        if problem.status == 401:
            get_security(request).limits.count_wrong_credential(request.state.address)
        raise


def _verified(request: Request, verify: Callable[[], Identity]) -> Identity:
    """Who it is; what fails is told to the log in full, and to who asked hardly at all."""
    try:
        return verify()
    except Refused as refused:
        request.state.reason = str(refused)
        raise Problem(
            401,
            "unauthenticated",
            "this needs a valid credential: an API key, a Google ID token or a session",
            headers={"WWW-Authenticate": 'Bearer realm="vitrine"'},
        ) from None
    except UnverifiableError as error:
        request.state.reason = str(error)
        raise Problem(
            503, "credential-unverifiable", "try again in a minute", headers={"Retry-After": "60"}
        ) from error


def _field(form: Mapping[str, object], name: str) -> str | None:
    value = form.get(name)
    return value if isinstance(value, str) else None


def _same(given: str, expected: str) -> bool:
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())


def _local(path: str | None) -> str:
    """A path of ours to go on to; browsers take a backslash for a slash, and two slashes for another host."""
    if path is None or not path.startswith("/") or path.startswith("//"):
        return "/"
    return path if path.isprintable() and "\\" not in path else "/"
