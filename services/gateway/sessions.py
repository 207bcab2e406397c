"""Sessions of the console: a signed cookie that says who signed in, and not what they may do.

Roles are looked up at every request; a session of an API key ends with the key. One that was signed out of is
kept in the bucket as ended for as long as its cookie would be good.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

from fastapi import Request
from fastapi.responses import Response
from itsdangerous import BadData, URLSafeTimedSerializer
from pydantic import BaseModel, ConfigDict, ValidationError

from services.gateway.credentials import Refused
from services.gateway.ports import Ports
from services.shared.layout import digest

LIFETIME = 12 * 3600  # seconds
LOOK_INTERVAL = 30.0  # seconds for which a session that had not ended is taken to go on
REMEMBERED = 10_000  # sessions
HEADER, FIELD = "X-CSRF-Token", "csrf_token"


class Session(BaseModel):
    """Who signed in: by an API key, or as a person of an ID token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nonce: str
    key: str | None = None  # its id
    email: str | None = None
    domain: str | None = None


class Sessions:
    """Issues and reads cookies.

    Args:
        secret: signs them.
        secure: whether they travel by https only.

    """

    def __init__(self, secret: str, *, secure: bool) -> None:
        self._secret, self._secure = secret.encode(), secure
        # The prefix makes browsers hold that it came by https, from this very host.
        self.cookie = "__Host-vitrine" if secure else "vitrine"
        self._serializer = URLSafeTimedSerializer(
            secret, salt="session", signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        )

    def start(
        self,
        response: Response,
        *,
        key: str | None = None,
        email: str | None = None,
        domain: str | None = None,
    ) -> None:
        """Signs somebody in with this response."""
        session = Session(nonce=secrets.token_urlsafe(16), key=key, email=email, domain=domain)
        value = self._serializer.dumps(session.model_dump(exclude_none=True))
        assert isinstance(value, str)
        response.set_cookie(
            self.cookie, value, max_age=LIFETIME, path="/", httponly=True, samesite="lax", secure=self._secure
        )

    def end(self, response: Response) -> None:
        """Signs them out."""
        response.delete_cookie(self.cookie, path="/", httponly=True, samesite="lax", secure=self._secure)

    def read(self, request: Request) -> Session | None:
        """The session that a request comes with.

        Raises:
            Refused: a cookie that we did not sign, or that is over.

        """
        cookie = request.cookies.get(self.cookie)
        if cookie is None:
            return None
        try:
            return Session.model_validate(self._serializer.loads(cookie, max_age=LIFETIME))
        except (BadData, ValidationError) as error:
            raise Refused(f"session: {type(error).__name__}") from error

    def csrf_token(self, session: Session) -> str:
        """What its changing requests have to carry."""
        return hmac.new(self._secret, f"csrf {session.nonce}".encode(), hashlib.sha256).hexdigest()


class Ended:
    """The sessions that somebody signed out of, on whichever instance.

    Args:
        ports: with the bucket that they are kept in.
        clock: seconds that only go forward.

    """

    def __init__(self, ports: Callable[[], Ports], clock: Callable[[], float] = time.monotonic) -> None:
        self._ports, self._clock = ports, clock
        self._until: dict[str, float] = {}  # nonce -> when it is looked at again

    def add(self, session: Session) -> None:
        """Ends a session for good."""
        vitrine = self._ports().vitrine
        vitrine.objects.create(self._uri(session), b"", "text/plain")
        self._until.pop(session.nonce, None)

    def check(self, session: Session) -> None:
        """Looks whether a session goes on; elsewhere its end is known LOOK_INTERVAL later.

        Raises:
            Refused: it has ended.

        """
        now = self._clock()
        if self._until.get(session.nonce, now) > now:
            return
        if self._ports().vitrine.objects.exists(self._uri(session)):
            raise Refused("session: signed out")
        if len(self._until) >= REMEMBERED:
            self._until.clear()
        self._until[session.nonce] = now + LOOK_INTERVAL

    def _uri(self, session: Session) -> str:
        return f"gs://{self._ports().vitrine.bucket}/sessions/ended/{digest(session.nonce)}"
