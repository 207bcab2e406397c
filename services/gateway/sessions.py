"""Sessions of the console: a signed cookie that says who signed in, and not what they may do.

Roles are looked up at every request; a session of an API key ends with the key.
"""

import hashlib
import hmac
import secrets

from fastapi import Request
from fastapi.responses import Response
from itsdangerous import BadData, URLSafeTimedSerializer
from pydantic import BaseModel, ConfigDict, ValidationError

from services.gateway.credentials import Refused

LIFETIME = 12 * 3600  # seconds
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
