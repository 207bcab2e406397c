"""Google's ID tokens, and whom they speak of."""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import google.auth
import requests
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport import Request
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import id_token
from pydantic import TypeAdapter

from services.gateway.credentials import Refused
from services.shared.keys import Role

ISSUERS = ("accounts.google.com", "https://accounts.google.com")
TIMEOUT = 10.0  # seconds, of each call to Google
CLOCK_SKEW = 10  # seconds
CERTS_INTERVAL = 30.0  # seconds at least between fetches of the certificates
CERTS_LIFETIME = 3600.0  # seconds, where the answer names none
MEMBERSHIP_LIFETIME = 300.0  # seconds for which a membership is believed
FAILURE_LIFETIME = 10.0  # seconds for which one that could not be looked up is not asked for again
MEMBERSHIPS = 10_000  # kept at most

_BY_KEY = TypeAdapter(dict[str, str])

_logger = logging.getLogger("vitrine.gateway")


class UnverifiableError(Exception):
    """Google's certificates are out of reach: nothing can be said of a token."""


@dataclass(frozen=True)
class Person:
    """Whom an ID token speaks of: a user's or a service account's address, in small letters."""

    email: str
    # The Workspace that the account belongs to. An address alone does not tell: anybody may have made an
    # account with an address of a domain while it was theirs.
    domain: str | None


class IdTokens:
    """Verifies ID tokens that Google signed.

    Args:
        certs_url: where its certificates are.
        clock: seconds that only go forward.

    """

    def __init__(self, certs_url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._certs = _Certs(certs_url, clock)

    def verify(self, token: str, audiences: Sequence[str]) -> Person:
        """The person that a token speaks of.

        Args:
            token: a JWT.
            audiences: of which the token must be meant for one.

        Raises:
            Refused: it proves nothing.
            UnverifiableError: the certificates cannot be had.

        """
        if not audiences:
            raise Refused("no audience is configured, so that no ID token is taken")
        try:
            header = jwt.decode_header(token)
            # Nothing else is signed with these certificates, whatever a header says.
            if header.get("alg") != "RS256" or not isinstance(header.get("kid"), str):
                raise Refused(f"ID token: algorithm {header.get('alg')!r}, key {header.get('kid')!r}")
            self._certs.expect(header["kid"])
            claims: Mapping[str, Any] = id_token.verify_token(
                token, self._certs, list(audiences), self._certs.url, CLOCK_SKEW
            )
        except (Refused, UnverifiableError):
            raise
        except TransportError as error:
            raise UnverifiableError(str(error)) from error
        except Exception as error:
            # What strangers send breaks decoders in many ways, TypeError and RecursionError included.
            raise Refused(f"ID token: {error}") from error
        if claims.get("iss") not in ISSUERS:
            raise Refused(f"ID token: issuer {claims.get('iss')!r}")
        email, domain = claims.get("email"), claims.get("hd")
        if claims.get("email_verified") is not True or not isinstance(email, str):
            raise Refused(f"ID token: the address {email!r} is not verified")
        return Person(email.lower(), domain.lower() if isinstance(domain, str) else None)


@dataclass(frozen=True)
class _Answer:
    """What google.auth wants of a transport."""

    status: int
    data: bytes
    headers: Mapping[str, str]


class _Certs(Request):
    """Google's certificates by key id: fetched once in their lifetime, and when a key is not among them."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self.url, self._clock = url, clock
        self._data = b"{}"
        self._known: Mapping[str, str] = {}
        self._expires = self._tried = float("-inf")
        self._lock = Lock()

    def expect(self, key_id: str) -> None:
        """Sees to it that the certificates are fresh, and this one is among them if Google has it."""
        with self._lock:
            now = self._clock()
            stale = now >= self._expires
            if (stale or key_id not in self._known) and now - self._tried >= CERTS_INTERVAL:
                self._tried = now
                self._fetch(now)
            elif stale:
                raise UnverifiableError("the certificates could not be fetched a moment ago")

    def __call__(self, *_: Any, **__: Any) -> _Answer:
        """Google's library asks for the certificates at each token; it is given what was fetched."""
        return _Answer(200, self._data, {})

    def _fetch(self, now: float) -> None:
        try:
            answer = requests.get(self.url, timeout=TIMEOUT)
            answer.raise_for_status()
            known = _BY_KEY.validate_json(answer.content)
        except (requests.RequestException, ValueError) as error:
            raise UnverifiableError(f"no certificates from {self.url}: {error}") from error
        self._data, self._known, self._expires = answer.content, known, now + _lifetime(answer.headers)


def _lifetime(headers: Mapping[str, str]) -> float:
    """The seconds for which an answer may be kept."""
    named = re.search(r"max-age=(\d+)", headers.get("Cache-Control", ""))
    age = headers.get("Age", "0")
    lifetime = float(named[1]) if named else CERTS_LIFETIME
    return max(lifetime - (float(age) if age.isdecimal() else 0.0), CERTS_INTERVAL)


class Groups:
    """Memberships of Google groups, direct or through other groups, by the Cloud Identity API.

    Args:
        url: of the API.
        session: makes a session with the service's own credentials, at the first question.
        clock: seconds that only go forward.

    """

    def __init__(
        self,
        url: str,
        session: Callable[[], requests.Session] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._clock = url, clock
        self._make_session = session or _own_session
        self._session: requests.Session | None = None
        self._names: dict[str, str] = {}
        self._members: dict[tuple[str, str], tuple[float, bool]] = {}
        self._lock = Lock()

    def has(self, group: str, email: str) -> bool:
        """Whether somebody is a member; if that cannot be found out, nobody is."""
        known = self._members.get((group, email))
        now = self._clock()
        if known is not None and now < known[0]:
            return known[1]
        try:
            member, lifetime = self._ask(group, email), MEMBERSHIP_LIFETIME
        except (requests.RequestException, GoogleAuthError, ValueError, KeyError) as error:
            _logger.warning("membership of %s in %s could not be looked up: %s", email, group, error)
            member, lifetime = False, FAILURE_LIFETIME
        with self._lock:
            if len(self._members) >= MEMBERSHIPS:
                self._members.clear()
            self._members[group, email] = (now + lifetime, member)
        return member

    def _ask(self, group: str, email: str) -> bool:
        with self._lock:
            session = self._session = self._session or self._make_session()
        if group not in self._names:
            found = self._get(session, "groups:lookup", {"groupKey.id": group})
            self._names[group] = str(found["name"])
        quoted = email.replace("\\", "\\\\").replace("'", "\\'")
        answer = self._get(
            session,
            f"{self._names[group]}/memberships:checkTransitiveMembership",
            {"query": f"member_key_id == '{quoted}'"},
        )
        return answer.get("hasMembership") is True

    def _get(self, session: requests.Session, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        answer = session.get(f"{self._url}/v1/{path}", params=parameters, timeout=TIMEOUT)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document


def _own_session() -> requests.Session:
    credentials, _ = google.auth.default(
        scopes=["https://www.googleapis.com/auth/cloud-identity.groups.readonly"]
    )
    session: requests.Session = AuthorizedSession(credentials)
    return session


class Roles:
    """Which roles people have, by their address, their domain or their groups.

    Args:
        members: role -> `a@b.c`, `domain:b.c`, `group:team@b.c`.
        groups: says who is in a group.

    """

    def __init__(self, members: Mapping[Role, Sequence[str]], groups: Groups) -> None:
        self._members, self._groups = members, groups

    def of(self, person: Person) -> frozenset[Role]:
        """The roles of a person; they may be none."""
        return frozenset(
            role
            for role, members in self._members.items()
            if any(self._means(member, person) for member in sorted(members, key=_dear))
        )

    def _means(self, member: str, person: Person) -> bool:
        kind, _, name = member.rpartition(":")
        if kind == "group":
            return self._groups.has(name, person.email)
        if kind == "domain":
            return name == person.domain
        return name == person.email


def _dear(member: str) -> bool:
    """A group costs a call: it is asked for when nothing else gave the role."""
    return member.startswith("group:")
