"""ID tokens that a key of our own signed, its certificate served from this machine; groups likewise."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests

from services.gateway.credentials import Refused
from services.gateway.tokens import Groups, IdTokens, Person, Roles, UnverifiableError
from tests.unit.google_accounts import AUDIENCE, Server, Signer, serving

ANN = Person("ann@shop.example", None)
GOOGLE, STRANGER = Signer("google-1"), Signer("google-1")  # a stranger may well name the right key


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def certs() -> Iterator[Server]:
    with serving(
        {"/certs": {"google-1": GOOGLE.certificate}}, {"Cache-Control": "public, max-age=100"}
    ) as server:
        yield server


def tokens(certs: Server, clock: Time | None = None) -> IdTokens:
    return IdTokens(f"{certs.url}/certs", clock or Time())


@pytest.mark.parametrize("issuer", ["accounts.google.com", "https://accounts.google.com"])
def test_a_token_of_googles_names_its_person(certs: Server, issuer: str) -> None:
    token = GOOGLE.token(iss=issuer, email="Ann@Shop.example", hd="Shop.example")
    assert tokens(certs).verify(token, ["other", AUDIENCE]) == Person("ann@shop.example", "shop.example")


BAD: dict[str, tuple[str, str]] = {
    "expired": (GOOGLE.token(exp=int(time.time()) - 60), "expired"),
    "not yet valid": (GOOGLE.token(iat=int(time.time()) + 3600), "too early"),
    "meant for another": (GOOGLE.token(aud="https://other.example"), "audience"),
    "meant for nobody": (GOOGLE.token(aud=None), "audience"),
    "of another issuer": (GOOGLE.token(iss="https://accounts.example"), "issuer"),
    "of an address that is not verified": (GOOGLE.token(email_verified=False), "not verified"),
    "of an address that is verified in words": (GOOGLE.token(email_verified="true"), "not verified"),
    "without an address": (GOOGLE.token(email=None), "not verified"),
    "without an end": (GOOGLE.token(exp=None), "exp"),
    "whose end is no time": (GOOGLE.token(exp="tomorrow"), ""),
    "signed by somebody else": (STRANGER.token(), "signature"),
    "cut off": (GOOGLE.token()[:-20], "signature"),
    "unsigned": (GOOGLE.token().rpartition(".")[0] + ".", "signature"),
    "of two parts": (GOOGLE.token().rpartition(".")[0], "segments"),
    "alg none": (GOOGLE.forged("none"), "algorithm 'none'"),
    "HS256 with the certificate as the secret": (GOOGLE.forged("HS256"), "algorithm 'HS256'"),
    "without a key": (GOOGLE.token(header={"kid": None}), "key None"),
    "whose header is a list": ("W10.e30.", "JSON object"),
    "no token": ("letmein", "segments"),
    "not ASCII": ("é.é.é", ""),
    "nothing": ("", "segments"),
}


@pytest.mark.parametrize(("token", "reason"), BAD.values(), ids=BAD)
def test_what_proves_nothing_is_refused(certs: Server, token: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        tokens(certs).verify(token, [AUDIENCE])


def test_without_an_audience_no_token_is_taken(certs: Server) -> None:
    with pytest.raises(Refused, match="no audience"):
        tokens(certs).verify(GOOGLE.token(), [])


def test_certificates_are_fetched_once_in_their_lifetime(certs: Server) -> None:
    clock = Time()
    verifier = tokens(certs, clock)
    for _ in range(3):
        verifier.verify(GOOGLE.token(), [AUDIENCE])
    assert len(certs.asked) == 1
    clock.now = 101
    verifier.verify(GOOGLE.token(), [AUDIENCE])
    assert len(certs.asked) == 2


def test_the_time_that_an_answer_spent_in_a_cache_counts(certs: Server) -> None:
    certs.headers["Age"] = "60"
    clock = Time()
    verifier = tokens(certs, clock)
    verifier.verify(GOOGLE.token(), [AUDIENCE])
    clock.now = 41
    verifier.verify(GOOGLE.token(), [AUDIENCE])
    assert len(certs.asked) == 2


def test_a_new_key_is_looked_for_at_once_but_not_for_every_token(certs: Server) -> None:
    clock, newer = Time(), Signer("google-2")
    verifier = tokens(certs, clock)
    verifier.verify(GOOGLE.token(), [AUDIENCE])
    for _ in range(3):
        with pytest.raises(Refused):
            verifier.verify(newer.token(), [AUDIENCE])
    assert len(certs.asked) == 1
    certs.documents["/certs"]["google-2"] = newer.certificate
    clock.now = 31
    assert verifier.verify(newer.token(), [AUDIENCE]) == ANN
    assert len(certs.asked) == 2


@pytest.mark.parametrize("document", [None, [], {"keys": []}], ids=["404", "a list", "JWK"])
def test_without_certificates_nothing_is_said_of_a_token(certs: Server, document: Any) -> None:
    certs.documents["/certs"] = document
    clock = Time()
    verifier = tokens(certs, clock)
    for _ in range(3):
        with pytest.raises(UnverifiableError):
            verifier.verify(GOOGLE.token(), [AUDIENCE])
    assert len(certs.asked) == 1  # who asks meanwhile does not wait for a timeout each
    certs.documents["/certs"] = {"google-1": GOOGLE.certificate}
    clock.now = 31
    assert verifier.verify(GOOGLE.token(), [AUDIENCE]) == ANN


# ------------------------------------------------------------------------------------- roles


def lookup(group: str) -> str:
    return f"/v1/groups:lookup?groupKey.id={quote(group, safe='')}"


def check(name: str, query: str) -> str:
    return (
        f"/v1/{name}/memberships:checkTransitiveMembership?query={quote(query, safe='').replace('%20', '+')}"
    )


@pytest.fixture
def identity() -> Iterator[Server]:
    """Cloud Identity: ann is in the group team@shop.example, and o'neill is; bob is not."""
    documents: dict[str, Any] = {lookup("team@shop.example"): {"name": "groups/1"}}
    members = {"ann@shop.example": True, "o\\'neill@shop.example": True, "bob@shop.example": False}
    for email, member in members.items():
        documents[check("groups/1", f"member_key_id == '{email}'")] = {"hasMembership": member}
    with serving(documents) as server:
        yield server


def groups(identity: Server, clock: Time | None = None) -> Groups:
    return Groups(identity.url, requests.Session, clock or Time())


@pytest.mark.parametrize(
    ("email", "member"),
    [("ann@shop.example", True), ("o'neill@shop.example", True), ("bob@shop.example", False)],
)
def test_a_group_has_its_members(identity: Server, email: str, member: bool) -> None:
    assert groups(identity).has("team@shop.example", email) is member


def test_a_membership_is_believed_for_some_minutes(identity: Server) -> None:
    clock = Time()
    asked = groups(identity, clock)
    for _ in range(3):
        assert asked.has("team@shop.example", "ann@shop.example")
    assert len(identity.asked) == 2
    path = check("groups/1", "member_key_id == 'ann@shop.example'")
    identity.documents[path] = {"hasMembership": False}
    clock.now = 301
    assert not asked.has("team@shop.example", "ann@shop.example")


def test_what_cannot_be_looked_up_is_no_membership_and_is_logged(
    identity: Server, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Time()
    asked = groups(identity, clock)
    assert not asked.has("lost@shop.example", "ann@shop.example")
    assert not asked.has("lost@shop.example", "ann@shop.example")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "membership of ann@shop.example in lost@shop.example could not be looked up"
    ]
    identity.documents[lookup("lost@shop.example")] = {"name": "groups/1"}
    clock.now = 11
    assert asked.has("lost@shop.example", "ann@shop.example")


def test_roles_come_by_address_by_domain_and_by_group(identity: Server) -> None:
    roles = Roles(
        {
            "viewer": ("domain:shop.example",),
            "operator": ("group:team@shop.example",),
            "admin": ("ann@shop.example", "bob@shop.example"),
        },
        groups(identity),
    )
    assert roles.of(ANN) == {"operator", "admin"}
    assert roles.of(Person("bob@shop.example", "shop.example")) == {"viewer", "admin"}
    assert roles.of(Person("eve@shop.example.evil", "shop.example.evil")) == frozenset()


def test_an_address_of_a_domain_does_not_make_an_account_of_that_domain(identity: Server) -> None:
    roles = Roles({"viewer": ("domain:shop.example",)}, groups(identity))
    assert roles.of(Person("eve@shop.example", None)) == frozenset()
    assert roles.of(Person("eve@elsewhere.example", "shop.example")) == {"viewer"}


def test_no_group_is_asked_for_a_role_that_is_had_already(identity: Server) -> None:
    roles = Roles({"viewer": ("group:team@shop.example", "ann@shop.example")}, groups(identity))
    assert roles.of(ANN) == {"viewer"}
    assert identity.asked == []
