"""Who is let in by the gateway, as what, and what a session of the console needs."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Annotated

import pytest
from fastapi import Depends, Request
from fastapi.responses import Response
from fastapi.testclient import TestClient

from services.gateway import security
from services.gateway.audit import audited
from services.gateway.credentials import Refused
from services.gateway.identity import Identity, Right
from services.gateway.keys import Keys
from services.gateway.security import csrf_token, require
from services.gateway.sessions import LOOK_INTERVAL, Ended, Session
from services.shared.keys import ApiKey, Role, make_key, write_keys
from tests.unit.gateway_world import URL, Gateway
from tests.unit.google_accounts import AUDIENCE, Server, Signer, serving

GOOGLE = Signer("google-1")
CLIENT_ID = "1.apps.googleusercontent.com"
ORIGIN = {"Origin": URL}
PATH = "/try"


def with_routes(gateway: Gateway) -> Gateway:
    """Adds a route for each right, and routes like those of the console."""
    rights: tuple[Right, ...] = ("read", "operate", "review", "administer")
    for right in rights:

        def who(
            request: Request, identity: Annotated[Identity, Depends(require(right))]
        ) -> dict[str, object]:
            return {
                "name": identity.name,
                "roles": sorted(identity.roles),
                "by": identity.credential,
                "csrf": csrf_token(request),
            }

        gateway.app.add_api_route(f"{PATH}/{right}", who, methods=["GET", "POST"])

    @gateway.app.post("/try-sign-in", dependencies=[Depends(audited("session.start"))])
    async def sign_in(request: Request) -> Response:
        return await security.sign_in(request)

    @gateway.app.post(
        "/try-sign-out", dependencies=[Depends(audited("session.end")), Depends(require("read"))]
    )
    def sign_out(request: Request) -> Response:
        return security.sign_out(request)

    return gateway


@pytest.fixture(scope="module")
def certs() -> Iterator[Server]:
    with serving({"/certs": {"google-1": GOOGLE.certificate}}) as server:
        yield server


@pytest.fixture
def gateway(tmp_path: Path, certs: Server) -> Gateway:
    return with_routes(
        Gateway(
            tmp_path,
            VITRINE_AUDIENCES=f" {AUDIENCE} , https://other.example",
            VITRINE_CERTS_URL=f"{certs.url}/certs",
            VITRINE_OAUTH_CLIENT_ID=CLIENT_ID,
            VITRINE_ROLES='{"operator": ["ann@shop.example"], "viewer": ["domain:shop.example"]}',
        )
    )


# ------------------------------------------------------------------------------------- bearer credentials


@pytest.mark.parametrize(
    ("role", "rights"),
    [
        ("viewer", {"read"}),
        ("operator", {"read", "operate"}),
        ("reviewer", {"read", "review"}),
        ("admin", {"read", "operate", "review", "administer"}),
    ],
)
def test_a_role_may_what_is_its_and_nothing_else(gateway: Gateway, role: Role, rights: set[str]) -> None:
    client = gateway.client(role)
    answers = {right: client.post(f"{PATH}/{right}").status_code for right in ("read", "operate", "review")}
    answers["administer"] = client.post(f"{PATH}/administer").status_code
    assert answers == {right: 200 if right in rights else 403 for right in answers}


def test_an_api_key_is_somebody_by_its_name(gateway: Gateway) -> None:
    document = gateway.client("operator").get(f"{PATH}/read").json()
    assert document == {"name": "key:operator", "roles": ["operator"], "by": "api-key", "csrf": ""}


def test_an_id_token_is_somebody_by_their_address(gateway: Gateway) -> None:
    document = gateway.client(bearer=GOOGLE.token(hd="shop.example")).get(f"{PATH}/read").json()
    assert document["name"] == "ann@shop.example"
    assert document["roles"] == ["operator", "viewer"]
    assert document["by"] == "id-token"


def test_somebody_without_a_role_is_known_and_may_nothing(gateway: Gateway) -> None:
    answer = gateway.client(bearer=GOOGLE.token(email="eve@shop.example")).get(f"{PATH}/read")
    assert answer.status_code == 403
    assert answer.json()["detail"] == "eve@shop.example has no role here"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer vtr_",
        "Bearer vtr_000000000000_secret",
        "Basic dXNlcjpwYXNz",
        "vtr_000000000000_secret",
        f"Bearer {GOOGLE.token(exp=1)}",
        f"Bearer {GOOGLE.token(aud='https://elsewhere.example')}",
        f"Bearer {GOOGLE.forged('none')}",
        f"Bearer {GOOGLE.forged('HS256')}",
    ],
)
def test_a_wrong_credential_is_refused_in_the_same_words_whatever_is_wrong(
    gateway: Gateway, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = gateway.client()
    refused = client.get(f"{PATH}/read", headers={"Authorization": header})
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="vitrine"'
    assert refused.json() == client.get(f"{PATH}/read").json()
    assert [record.getMessage() for record in caplog.records] == ["refused: GET /try/read"] * 2
    reasons = [vars(record)["fields"]["refusal"]["reason"] for record in caplog.records]
    assert reasons[1] == "no credential"
    assert reasons[0] != reasons[1]
    assert "secret" not in reasons[0].replace("not the secret", "")


def test_a_good_key_by_another_scheme_than_bearer_is_refused(gateway: Gateway) -> None:
    headers = {"Authorization": f"Basic {gateway.secrets['viewer']}"}
    assert gateway.client().get(f"{PATH}/read", headers=headers).status_code == 401


def test_a_wrong_bearer_credential_is_not_made_good_by_a_session(gateway: Gateway) -> None:
    client = signed_in(gateway)
    assert client.get(f"{PATH}/read", headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_where_certificates_are_out_of_reach_nobody_is_told_that_a_token_is_wrong(tmp_path: Path) -> None:
    with serving({}) as nothing:
        gateway = with_routes(
            Gateway(tmp_path, VITRINE_AUDIENCES=AUDIENCE, VITRINE_CERTS_URL=f"{nothing.url}/certs")
        )
        answer = gateway.client(bearer=GOOGLE.token()).get(f"{PATH}/read")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "60"


# ------------------------------------------------------------------------------------- the file of keys


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def new_key(*, expires: datetime | None = None) -> tuple[ApiKey, str]:
    return make_key("name", "viewer", datetime.now(UTC), expires)


def test_a_key_is_taken_and_refused_as_the_file_says_without_a_restart(tmp_path: Path) -> None:
    path, (old, old_secret), (new, new_secret) = tmp_path / "keys", new_key(), new_key()
    keys = Keys(path, Time())
    write_keys(path, [old])
    assert keys.verify(old_secret) == old
    write_keys(path, [old, new])
    assert keys.verify(old_secret) == old
    assert keys.verify(new_secret) == new
    write_keys(path, [new])
    assert keys.verify(new_secret) == new
    with pytest.raises(Refused):
        keys.verify(old_secret)


def test_the_file_is_looked_at_once_a_second_at_most(tmp_path: Path) -> None:
    path, (key, secret) = tmp_path / "keys", new_key()
    now = 0.0
    keys = Keys(path, lambda: now)
    write_keys(path, [])
    with pytest.raises(Refused):
        keys.verify(secret)
    write_keys(path, [key])
    now = 0.5
    with pytest.raises(Refused):
        keys.verify(secret)
    now = 1.0
    assert keys.verify(secret) == key


class SlowFile(type(Path())):  # type: ignore[misc]
    """A file that is read when a test lets it be."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.opened, self.open_now = Event(), Event()

    def read_bytes(self) -> bytes:
        self.opened.set()
        assert self.open_now.wait(10)
        return Path(self).read_bytes()


def test_while_one_reads_the_file_the_others_go_on_with_what_it_was(tmp_path: Path) -> None:
    path, (old, secret) = SlowFile(tmp_path / "keys"), new_key()
    keys = Keys(path, Time())
    write_keys(path, [old])
    path.open_now.set()
    keys.verify(secret)
    path.opened.clear()
    path.open_now.clear()
    write_keys(path, [])
    assert keys.due()

    def refused() -> None:
        with pytest.raises(Refused):
            keys.verify(secret)

    reader = Thread(target=refused)
    reader.start()
    assert path.opened.wait(10)
    assert keys.verify(secret) == old
    path.open_now.set()
    reader.join()
    with pytest.raises(Refused):
        keys.verify(secret)


def test_a_look_at_the_file_is_made_by_a_thread_of_its_own(gateway: Gateway) -> None:
    threads: set[str] = set()

    class Watched(type(Path())):  # type: ignore[misc]
        def read_bytes(self) -> bytes:
            threads.add(current_thread().name)
            return Path(self).read_bytes()

    gateway.app.state.security.keys = Keys(Watched(gateway.key_file), Time())
    assert gateway.client("viewer").get(f"{PATH}/read").status_code == 200
    assert {name for name in threads if "AnyIO worker" not in name} == set()
    assert threads


@pytest.mark.parametrize("content", [None, b"", b"[{", b'[{"id": 1}]'], ids=["gone", "empty", "cut", "other"])
def test_a_file_that_cannot_be_read_leaves_the_keys_as_they_were(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path, (key, secret) = tmp_path / "keys", new_key()
    keys = Keys(path, Time())
    write_keys(path, [key])
    keys.verify(secret)
    path.unlink() if content is None else path.write_bytes(content)
    assert keys.verify(secret) == key
    assert "the API keys cannot be read" in caplog.text


def test_a_file_is_read_again_now_and_then_though_it_looks_the_same(tmp_path: Path) -> None:
    path, (old, _), (new, new_secret) = tmp_path / "keys", new_key(), new_key()
    now = 0.0
    keys = Keys(path, lambda: now)
    write_keys(path, [old])
    keys.find(old.id)
    before = path.stat()
    text = path.read_text().replace(old.id, new.id).replace(old.sha256, new.sha256)
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    now = 61.0
    assert keys.verify(new_secret).id == new.id


def test_a_key_ends_when_it_expires(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    over, over_secret = new_key(expires=now - timedelta(seconds=1))
    good, good_secret = new_key(expires=now + timedelta(hours=1))
    write_keys(tmp_path / "keys", [over, good])
    keys = Keys(tmp_path / "keys")
    assert keys.verify(good_secret) == good
    with pytest.raises(Refused, match="expired"):
        keys.verify(over_secret)


def test_the_secret_of_one_key_does_not_open_another(tmp_path: Path) -> None:
    (one, one_secret), (other, _) = new_key(), new_key()
    write_keys(tmp_path / "keys", [one, other])
    with pytest.raises(Refused, match="not the secret"):
        Keys(tmp_path / "keys").verify(one_secret.replace(one.id, other.id))


def test_the_file_holds_no_secret_and_is_its_owners(tmp_path: Path) -> None:
    key, secret = new_key()
    write_keys(tmp_path / "keys", [key])
    assert secret.rpartition("_")[2] not in (tmp_path / "keys").read_text()
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0


# ------------------------------------------------------------------------------------- sessions


def signed_in(gateway: Gateway, role: Role = "operator") -> TestClient:
    """A browser after signing in with an API key."""
    client = gateway.client()
    answer = client.post("/try-sign-in", data={"api_key": gateway.secrets[role]}, headers=ORIGIN)
    assert answer.status_code == 303, answer.text
    return client


def google_sign_in(
    gateway: Gateway, token: str, *, cookie: str = "c", field: str = "c"
) -> tuple[TestClient, int]:
    """What Google's button sends, from Google's origin."""
    client = gateway.client()
    answer = client.post(
        "/try-sign-in",
        data={"credential": token, "g_csrf_token": field},
        headers={"Origin": "https://accounts.google.com", "Cookie": f"g_csrf_token={cookie}"},
    )
    return client, answer.status_code


def test_a_session_by_an_api_key_is_its_owner(gateway: Gateway) -> None:
    document = signed_in(gateway).get(f"{PATH}/read").json()
    assert (document["name"], document["roles"], document["by"]) == ("key:operator", ["operator"], "session")


def test_a_session_by_google_is_its_person(gateway: Gateway) -> None:
    client, status = google_sign_in(gateway, GOOGLE.token(aud=CLIENT_ID))
    assert status == 303
    document = client.get(f"{PATH}/read").json()
    assert (document["name"], document["by"]) == ("ann@shop.example", "session")


@pytest.mark.parametrize(("cookie", "field"), [("a", "b"), ("", ""), ("a", ""), ("", "b")])
def test_what_is_not_sent_by_googles_button_on_our_page_signs_nobody_in(
    gateway: Gateway, cookie: str, field: str
) -> None:
    _, status = google_sign_in(gateway, GOOGLE.token(aud=CLIENT_ID), cookie=cookie, field=field)
    assert status == 403


def test_a_token_for_the_api_signs_nobody_in_to_the_console(gateway: Gateway) -> None:
    assert google_sign_in(gateway, GOOGLE.token(aud=AUDIENCE))[1] == 401


def test_a_token_for_the_console_is_none_for_the_api(gateway: Gateway) -> None:
    assert gateway.client(bearer=GOOGLE.token(aud=CLIENT_ID)).get(f"{PATH}/read").status_code == 401


def test_somebody_without_a_role_is_not_signed_in(gateway: Gateway) -> None:
    client, status = google_sign_in(gateway, GOOGLE.token(aud=CLIENT_ID, email="eve@shop.example"))
    assert status == 403
    assert "__Host-vitrine" not in client.cookies


@pytest.mark.parametrize("fields", [{}, {"api_key": ""}, {"api_key": "vtr_000000000000_x"}, {"api_key": "x"}])
def test_without_a_good_key_nobody_is_signed_in(gateway: Gateway, fields: dict[str, str]) -> None:
    client = gateway.client()
    answer = client.post("/try-sign-in", data=fields, headers=ORIGIN)
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers


def test_another_site_cannot_sign_somebody_in(gateway: Gateway) -> None:
    key = {"api_key": gateway.secrets["viewer"]}
    evil = {"Origin": "https://evil.example"}
    assert gateway.client().post("/try-sign-in", data=key, headers=evil).status_code == 403
    assert gateway.client().post("/try-sign-in", data=key).status_code == 403


def test_the_cookie_is_kept_from_scripts_from_other_sites_and_from_plain_http(gateway: Gateway) -> None:
    answer = gateway.client().post(
        "/try-sign-in", data={"api_key": gateway.secrets["viewer"]}, headers=ORIGIN
    )
    name, *attributes = answer.headers["Set-Cookie"].split("; ")
    assert name.startswith("__Host-vitrine=")
    assert {each.lower() for each in attributes} == {
        "httponly", "max-age=43200", "path=/", "samesite=lax", "secure"
    }  # fmt: skip
    assert gateway.secrets["viewer"] not in answer.headers["Set-Cookie"]


def test_signing_in_leads_to_pages_of_ours_only(gateway: Gateway) -> None:
    for following, location in {
        "/jobs?limit=3": "/jobs?limit=3",
        "": "/",
        "https://evil.example": "/",
        "//evil.example": "/",
        "/\\evil.example": "/",
        "/\t/evil.example": "/",
        "/\r\nSet-Cookie: a=b": "/",
        "javascript:alert(1)": "/",
    }.items():
        fields = {"api_key": gateway.secrets["viewer"], "next": following}
        answer = gateway.client().post("/try-sign-in", data=fields, headers=ORIGIN)
        assert answer.headers["Location"] == location, following


def looked_at(gateway: Gateway, seconds: list[float]) -> None:
    """Has the file of keys looked at by this clock, which stands still; a look is good for a second."""
    gateway.app.state.security.keys = Keys(gateway.key_file, lambda: seconds[-1])


def test_a_session_ends_with_its_key(gateway: Gateway) -> None:
    looked_at(gateway, seconds := [0.0])
    client = signed_in(gateway)
    assert client.get(f"{PATH}/read").status_code == 200
    write_keys(gateway.key_file, [key for key in gateway.keys if key.role != "operator"])
    seconds.append(1.1)
    assert client.get(f"{PATH}/read").status_code == 401


def test_a_session_is_worth_what_its_key_is_worth_now(gateway: Gateway) -> None:
    looked_at(gateway, seconds := [0.0])
    client = signed_in(gateway, "admin")
    assert client.get(f"{PATH}/administer").status_code == 200
    changed = [key.model_copy(update={"role": "viewer"}) for key in gateway.keys]
    write_keys(gateway.key_file, changed)
    seconds.append(1.1)
    assert client.get(f"{PATH}/administer").status_code == 403


def test_a_cookie_that_was_changed_or_signed_by_another_gateway_is_nobodys(
    gateway: Gateway, tmp_path: Path
) -> None:
    (cookie,) = signed_in(gateway).cookies.values()
    payload, _, rest = cookie.partition(".")
    other = Gateway(tmp_path, VITRINE_SESSION_SECRET="f" * 32)
    for headers in ({"Cookie": f"__Host-vitrine={payload}A.{rest}"}, {"Cookie": "__Host-vitrine=x"}):
        assert gateway.client().get(f"{PATH}/read", headers=headers).status_code == 401
    headers = {"Cookie": f"__Host-vitrine={cookie}"}
    assert with_routes(other).client().get(f"{PATH}/read", headers=headers).status_code == 401
    assert gateway.client().get(f"{PATH}/read", headers=headers).status_code == 200


def test_signing_out_takes_the_cookie(gateway: Gateway) -> None:
    client = signed_in(gateway)
    token = client.get(f"{PATH}/read").json()["csrf"]
    answer = client.post("/try-sign-out", data={"csrf_token": token}, headers=ORIGIN)
    assert answer.headers["Location"] == "/sign-in"
    assert client.get(f"{PATH}/read").status_code == 401


def test_a_copy_of_the_cookie_is_good_no_more_after_signing_out(gateway: Gateway, tmp_path: Path) -> None:
    client, other = signed_in(gateway), signed_in(gateway)
    copied = {"Cookie": f"__Host-vitrine={client.cookies['__Host-vitrine']}"}
    token = client.get(f"{PATH}/read").json()["csrf"]
    assert gateway.client().get(f"{PATH}/read", headers=copied).status_code == 200
    client.post("/try-sign-out", data={"csrf_token": token}, headers=ORIGIN)
    assert gateway.client().get(f"{PATH}/read", headers=copied).status_code == 401
    assert other.get(f"{PATH}/read").status_code == 200
    # Another instance, with the same keys and the same bucket behind it.
    gateway.app.state.security.ended = Ended(lambda: gateway.ports)
    assert gateway.client().get(f"{PATH}/read", headers=copied).status_code == 401


def test_an_instance_learns_of_a_session_that_ended_elsewhere(gateway: Gateway) -> None:
    now = 0.0
    here, there = Ended(lambda: gateway.ports, lambda: now), Ended(lambda: gateway.ports)
    session = Session(nonce="nonce", key="key")
    here.check(session)
    there.add(session)
    now = LOOK_INTERVAL - 1
    here.check(session)
    now = LOOK_INTERVAL
    with pytest.raises(Refused):
        here.check(session)


def test_signing_in_and_out_is_recorded(gateway: Gateway) -> None:
    client = signed_in(gateway)
    token = client.get(f"{PATH}/read").json()["csrf"]
    client.post("/try-sign-out", data={"csrf_token": token}, headers=ORIGIN)
    google_sign_in(gateway, GOOGLE.token(aud=CLIENT_ID, email="eve@shop.example"))
    rows = [(row["who"], row["credential"], row["action"], row["status"]) for row in gateway.audit()]
    assert rows == [
        ("key:operator", "api-key", "session.start", 303),
        ("key:operator", "session", "session.end", 303),
        ("eve@shop.example", "id-token", "session.start", 403),
    ]


# ------------------------------------------------------------------------------------- forged requests


def test_a_changing_request_of_a_session_needs_its_token_and_our_origin(gateway: Gateway) -> None:
    client = signed_in(gateway)
    token = client.get(f"{PATH}/read").json()["csrf"]
    good = {"X-CSRF-Token": token}
    assert client.post(f"{PATH}/operate", headers=ORIGIN | good).status_code == 200
    assert client.post(f"{PATH}/operate", headers=ORIGIN, data={"csrf_token": token}).status_code == 200
    files = {"photo": b"bytes"}
    form = {"csrf_token": token}
    assert client.post(f"{PATH}/operate", headers=ORIGIN, data=form, files=files).status_code == 200
    same = {"Sec-Fetch-Site": "same-origin"}
    assert client.post(f"{PATH}/operate", headers=same | good).status_code == 200

    evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}
    assert client.post(f"{PATH}/operate", headers=evil | good).status_code == 403
    assert client.post(f"{PATH}/operate", headers={"Origin": "null"} | good).status_code == 403
    assert client.post(f"{PATH}/operate", headers={"Sec-Fetch-Site": "same-site"} | good).status_code == 403
    assert client.post(f"{PATH}/operate", headers=good).status_code == 403
    assert client.post(f"{PATH}/operate", headers=ORIGIN).status_code == 403
    assert client.post(f"{PATH}/operate", headers=ORIGIN | {"X-CSRF-Token": "x"}).status_code == 403
    assert client.post(f"{PATH}/operate", headers=ORIGIN | {"X-CSRF-Token": ""}).status_code == 403
    assert client.post(f"{PATH}/operate", headers=ORIGIN, json={"csrf_token": token}).status_code == 403


def test_the_token_of_one_session_is_none_for_another(gateway: Gateway) -> None:
    token = signed_in(gateway).get(f"{PATH}/read").json()["csrf"]
    headers = ORIGIN | {"X-CSRF-Token": token}
    assert signed_in(gateway).post(f"{PATH}/operate", headers=headers).status_code == 403


def test_a_bearer_credential_needs_no_token(gateway: Gateway) -> None:
    evil = {"Origin": "https://evil.example"}
    assert gateway.client("operator").post(f"{PATH}/operate", headers=evil).status_code == 200
