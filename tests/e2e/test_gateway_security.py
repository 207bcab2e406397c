"""The gateway as strangers and colleagues find it: a process of its own, the local cloud behind it."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from services.local.cloud import LocalCloud
from services.local.processes import Process
from tests.e2e.gateways import another_gateway
from tests.e2e.plain import Outsider, new_job, until
from tests.unit.google_accounts import AUDIENCE, Signer, serving

GOOGLE, STRANGER = Signer("google-1"), Signer("google-1")
GIGABYTE = 1024**3


@dataclass
class Guarded:
    """A gateway that takes ID tokens and API keys, and is found behind one proxy."""

    url: str
    keys: Path
    process: Process

    def client(self, bearer: str | None = None, **headers: str) -> httpx.Client:
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def vitrine(self, *arguments: str) -> str:
        """Runs `vitrine keys ... --file`."""
        command = [sys.executable, "-m", "services.client.cli", "keys", *arguments, "--file", str(self.keys)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()


@pytest.fixture(scope="module")
def guarded(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    home = tmp_path_factory.mktemp("gateway")
    keys = home / "keys.json"
    environment = {
        "VITRINE_AUDIENCES": AUDIENCE,
        "VITRINE_API_KEYS": str(keys),
        "VITRINE_ROLES": json.dumps(
            {"viewer": ["ann@shop.example"], "operator": ["bob@shop.example", "fast@shop.example"]}
        ),
        "VITRINE_RATE_LIMIT": "100/minute",
        "VITRINE_PROXIES": "1",
    }
    with (
        serving({"/certs": {"google-1": GOOGLE.certificate}}) as certs,
        another_gateway(cloud, home, VITRINE_CERTS_URL=f"{certs.url}/certs", **environment) as (url, process),
    ):
        yield Guarded(url, keys, process)


def log(guarded: Guarded) -> list[dict[str, Any]]:
    return [json.loads(line) for line in guarded.process.log.read_text().splitlines() if line.startswith("{")]


def audit(outsider: Outsider, request_id: str) -> dict[str, Any]:
    """Waits for the row of a request."""
    sql = "SELECT * FROM `{dataset}.audit` WHERE request_id = @id"
    (row,) = until(lambda: outsider.query(sql, id=request_id), f"request {request_id} to be recorded")
    return row


# ------------------------------------------------------------------------------------- credentials

BAD = {
    "nothing": None,
    "expired": GOOGLE.token(exp=int(time.time()) - 60),
    "of another audience": GOOGLE.token(aud="https://other.example"),
    "of another issuer": GOOGLE.token(iss="https://accounts.example"),
    "of an unverified address": GOOGLE.token(email_verified=False),
    "signed by a stranger": STRANGER.token(),
    "unsigned": GOOGLE.forged("none"),
    "signed with the public key": GOOGLE.forged("HS256"),
    "an API key that is none": "vtr_000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "nonsense": "nonsense",
}


def test_a_bad_credential_opens_nothing_and_is_told_nothing(guarded: Guarded) -> None:
    addresses: dict[str, str] = {}  # by request
    for number, (name, credential) in enumerate(BAD.items()):
        # Each from an address of its own, so that the limit of wrong credentials is another test's.
        address = f"192.0.2.{number}"
        with guarded.client(credential, **{"X-Forwarded-For": address}) as client:
            answers = [client.get("/v1/jobs"), client.post("/v1/jobs", json={}), client.get("/v1/models")]
        for answer in answers:
            assert answer.status_code == 401, name
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="vitrine"'
            document = answer.json()
            assert document["detail"] == (
                "this needs a valid credential: an API key, a Google ID token or a session"
            )
            assert document.keys() == {"type", "title", "status", "detail", "instance"}
            addresses[answer.headers["X-Request-Id"]] = address

    def logged() -> dict[str, dict[str, Any]]:
        refusals = [entry["refusal"] for entry in log(guarded) if "refusal" in entry]
        ours = {each["request_id"]: each for each in refusals if each["request_id"] in addresses}
        return ours if ours.keys() == addresses.keys() else {}

    ours = until(logged, "the refusals to be logged", 10)
    assert {request: each["address"] for request, each in ours.items()} == addresses
    assert all(each["reason"] for each in ours.values())


def test_guesses_are_counted_and_the_guesser_waits(guarded: Guarded) -> None:
    with guarded.client("vtr_000000000000_guess", **{"X-Forwarded-For": "198.51.100.7"}) as client:
        statuses = [client.get("/v1/jobs").status_code for _ in range(22)]
    assert statuses == [401] * 20 + [429] * 2


def test_a_viewer_reads_and_does_no_operators_work(guarded: Guarded, outsider: Outsider) -> None:
    with guarded.client(
        GOOGLE.token(), **{"X-Forwarded-For": "203.0.113.9", "User-Agent": "test/1"}
    ) as client:
        assert client.get("/v1/jobs").status_code == 200
        job = new_job()
        refused = client.post("/v1/jobs", json={"job_id": job, "limit": 1})
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:vitrine:problem:forbidden")
        assert client.post("/v1/models/rollback").status_code == 403
    row = audit(outsider, refused.headers["X-Request-Id"])
    assert (row["who"], row["credential"], row["roles"]) == ("ann@shop.example", "id-token", ["viewer"])
    assert (row["action"], row["status"]) == ("job.create", 403)
    assert (row["address"], row["user_agent"]) == ("203.0.113.9", "test/1")
    assert row["detail"] == "this needs a role that may operate"
    assert outsider.query("SELECT 1 FROM `{dataset}.jobs` WHERE job_id = @job", job=job) == []


def test_an_operators_work_is_recorded(guarded: Guarded, outsider: Outsider) -> None:
    job = new_job()
    with guarded.client(GOOGLE.token(email="bob@shop.example")) as client:
        answer = client.post("/v1/jobs", json={"job_id": job, "start_year": 2099})
    assert answer.status_code == 202, answer.text
    row = audit(outsider, answer.headers["X-Request-Id"])
    assert (row["who"], row["action"], row["status"]) == ("bob@shop.example", "job.create", 202)
    assert outsider.completed(job)["images"] == 0


def test_a_key_is_renewed_without_a_restart(guarded: Guarded, outsider: Outsider) -> None:
    def opens(credential: str) -> bool:
        with guarded.client(credential) as client:
            return client.get("/v1/jobs").status_code == 200

    old = guarded.vitrine("add", "shop", "--role", "operator")
    until(lambda: opens(old), "the first key to be taken", 10)
    new = guarded.vitrine("add", "shop", "--role", "operator")
    until(lambda: opens(new), "the second key to be taken", 10)
    assert opens(old)
    guarded.vitrine("remove", old.split("_")[1])
    until(lambda: not opens(old), "the first key to be refused", 10)
    assert opens(new)
    guarded.keys.write_text("[{")  # as while somebody edits it
    time.sleep(1.2)
    assert opens(new)


# ------------------------------------------------------------------------------------- bodies and rates


def raw(guarded: Guarded, head: str, body: Iterator[bytes]) -> bytes:
    """Sends a request as it is, and reads the first line of the answer as soon as one comes."""
    address = urlsplit(guarded.url)
    assert address.hostname
    assert address.port
    with closing(socket.create_connection((address.hostname, address.port), timeout=60)) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode())
        connection.setblocking(False)
        deadline = time.monotonic() + 60
        pending = b""
        while time.monotonic() < deadline:
            try:
                return connection.recv(65536)
            except BlockingIOError:
                pass
            try:
                pending = pending or next(body, b"")
                pending = pending[connection.send(pending) :]
            except BlockingIOError:
                time.sleep(0.01)
        raise AssertionError("no answer")


def head(guarded: Guarded, *lines: str) -> str:
    token = GOOGLE.token(email="bob@shop.example")
    return "\n".join(
        ["POST /v1/images HTTP/1.1", "Host: gateway", f"Authorization: Bearer {token}", *lines, "", ""]
    )


def test_an_upload_of_5_gb_is_refused_before_it_is_sent(guarded: Guarded) -> None:
    request = head(
        guarded, f"Content-Length: {5 * GIGABYTE}", "Content-Type: multipart/form-data; boundary=b"
    )
    assert raw(guarded, request, iter(())).startswith(b"HTTP/1.1 413 ")


def test_an_upload_of_5_gb_that_nobody_announced_is_cut_off(guarded: Guarded) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        form = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
        yield f"{len(form):x}\r\n".encode() + form + b"\r\n"
        while sent < 5 * GIGABYTE:
            sent += 1024 * 1024
            yield b"100000\r\n" + b"x" * 1024 * 1024 + b"\r\n"

    request = head(guarded, "Transfer-Encoding: chunked", "Content-Type: multipart/form-data; boundary=b")
    assert raw(guarded, request, endless()).startswith(b"HTTP/1.1 413 ")
    assert sent < 200 * 1024 * 1024


def test_a_stranger_uploads_nothing_at_all(guarded: Guarded) -> None:
    request = f"POST /v1/images HTTP/1.1\nHost: gateway\nContent-Length: {40 * 1024 * 1024}\n\n"
    assert raw(guarded, request, iter(())).startswith(b"HTTP/1.1 401 ")


def test_who_asks_too_often_waits_and_others_do_not(guarded: Guarded) -> None:
    with guarded.client(GOOGLE.token(email="fast@shop.example")) as client:
        answers = [client.get("/v1/jobs/none") for _ in range(101)]
    assert answers[99].status_code != 429
    assert answers[100].status_code == 429
    assert 1 <= int(answers[100].headers["Retry-After"]) <= 60
    with guarded.client(GOOGLE.token()) as client:
        assert client.get("/v1/jobs").status_code == 200


# ------------------------------------------------------------------------------------- paths

ESCAPES = [
    "..", "../x", "..%2Fx", "%2E%2E%2Fx", "..%5Cx", "x%2F..%2F..", "%252E%252E", "x%00", "x%0Ay", ".",
    "x'%20OR%201=1", "a" * 2000,
]  # fmt: skip


def test_a_name_does_not_lead_out_of_its_folder(guarded: Guarded) -> None:
    address = urlsplit(guarded.url)
    token = GOOGLE.token()
    statuses: dict[str, int] = {}
    folders = ("/v1/jobs/{}", "/v1/jobs/{}/photos/1", "/v1/jobs/{}/results", "/v1/models/{}")
    for path in (folder.format(name) for name in ESCAPES for folder in folders):
        # As it is: a client would tidy the path first.
        with closing(socket.create_connection((address.hostname, address.port), timeout=60)) as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            statuses[path] = int(connection.makefile("rb").readline().split()[1])
    assert {path: status for path, status in statuses.items() if status not in (404, 422)} == {}


def test_a_job_cannot_be_named_out_of_its_folder(guarded: Guarded) -> None:
    with guarded.client(GOOGLE.token(email="bob@shop.example")) as client:
        for job_id in ("../x", "a/../../b", "..", "a\u0000b", "a/b", "A"):
            answer = client.post("/v1/jobs", json={"job_id": job_id})
            assert answer.status_code == 422, job_id
            assert [error["field"] for error in answer.json()["errors"]] == ["job_id"]


# ------------------------------------------------------------------------------------- the local cloud's own


def test_the_local_clouds_key_opens_its_gateway(cloud: LocalCloud) -> None:
    url = cloud.environment["VITRINE_GATEWAY_URL"]
    headers = {"Authorization": f"Bearer {cloud.token}"}
    assert httpx.get(f"{url}/v1/jobs", headers=headers, timeout=60).status_code == 200
    assert httpx.get(f"{url}/v1/jobs", timeout=60).status_code == 401
    assert (cloud.home / "token").stat().st_mode & 0o077 == 0
    assert cloud.token not in cloud.key_file.read_text()
    assert f"{url}\n" in cloud.welcome
    assert cloud.token in cloud.welcome


def test_a_gateway_that_is_told_to_stop_stops(guarded: Guarded) -> None:
    """The last one: it takes the gateway away."""
    guarded.process.terminate()
    assert guarded.process.handle is not None
    assert guarded.process.handle.wait(15) in (0, -15)
