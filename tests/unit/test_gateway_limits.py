"""How much may be asked of the gateway: requests, wrong credentials, bytes."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, Request

from services.gateway.identity import Identity
from services.gateway.middleware import BODY_BYTES, UPLOAD_BYTES, UPLOADS
from services.gateway.security import require
from tests.unit.gateway_world import Gateway

Who = Annotated[Identity, Depends(require("read"))]


def with_routes(gateway: Gateway) -> Gateway:
    """Adds what takes a body; it says how many bytes it was given."""

    @gateway.app.get("/try")
    def look(identity: Who) -> str:
        return identity.name

    @gateway.app.post("/try/json")
    def take_json(identity: Who, body: dict[str, str]) -> int:
        return len(body["text"])

    async def take_bytes(request: Request, identity: Who) -> int:
        return len(await request.body())

    # In front of the ones that are there: these are about bodies only.
    for path in ("/try/bytes", *UPLOADS):
        gateway.app.add_api_route(path, take_bytes, methods=["POST"])
        gateway.app.router.routes.insert(0, gateway.app.router.routes.pop())
    return gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return with_routes(Gateway(tmp_path, VITRINE_RATE_LIMIT="5/minute"))


# ------------------------------------------------------------------------------------- rates


def test_who_asks_too_often_is_told_when_to_come_back(gateway: Gateway) -> None:
    client = gateway.client("viewer")
    assert [client.get("/try").status_code for _ in range(6)] == [200] * 5 + [429]
    refused = client.get("/try")
    assert refused.json()["type"] == "urn:vitrine:problem:too-many-requests"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


def test_the_limit_of_one_is_not_the_limit_of_another(gateway: Gateway) -> None:
    for _ in range(6):
        gateway.client("viewer").get("/try")
    assert gateway.client("operator").get("/try").status_code == 200


def test_an_address_that_tries_wrong_credentials_has_to_wait_and_good_ones_of_it_do_not(
    tmp_path: Path,
) -> None:
    gateway = with_routes(Gateway(tmp_path, VITRINE_PROXIES="1"))
    guesser = {"X-Forwarded-For": "192.0.2.1"}
    wrong = gateway.client(bearer="vtr_000000000000_guess")
    statuses = [wrong.get("/try", headers=guesser).status_code for _ in range(21)]
    assert statuses == [401] * 20 + [429]
    assert gateway.client("viewer").get("/try", headers=guesser).status_code == 200
    assert wrong.get("/try", headers=guesser).status_code == 429
    neighbour = {"X-Forwarded-For": "192.0.2.1, 192.0.2.2"}
    assert wrong.get("/try", headers=neighbour).status_code == 401


def test_a_page_that_asks_on_with_a_session_that_is_over_locks_nobody_out(gateway: Gateway) -> None:
    client = gateway.client()
    for _ in range(30):
        assert client.get("/try", headers={"Cookie": "__Host-vitrine=over"}).status_code == 401
    assert gateway.client("viewer").get("/try").status_code == 200


# ------------------------------------------------------------------------------------- bodies


def chunks(size: int) -> Iterator[bytes]:
    """A body that nobody announces the length of."""
    for start in range(0, size, 65536):
        yield b"x" * min(65536, size - start)


SENDERS: dict[str, Callable[[int], Any]] = {"announced": lambda size: b"x" * size, "chunked": chunks}


@pytest.mark.parametrize("path", ["/try/bytes", *UPLOADS])
@pytest.mark.parametrize("sent", SENDERS.values(), ids=SENDERS)
def test_a_body_may_be_as_large_as_its_path_says_and_not_a_byte_more(
    gateway: Gateway, path: str, sent: Callable[[int], Any]
) -> None:
    most = UPLOAD_BYTES if path in UPLOADS else BODY_BYTES
    client = gateway.client("operator")
    whole = client.post(path, content=sent(most))
    assert (whole.status_code, whole.json()) == (200, most)
    refused = client.post(path, content=sent(most + 1))
    assert refused.status_code == 413
    assert refused.headers["Connection"] == "close"
    assert refused.json()["detail"] == f"the body may have at most {most} bytes"


@pytest.mark.parametrize("sent", SENDERS.values(), ids=SENDERS)
def test_a_document_that_is_too_large_is_refused_as_too_large_by_a_route_that_parses(
    gateway: Gateway, sent: Callable[[int], Any]
) -> None:
    assert gateway.client("viewer").post("/try/json", content=sent(BODY_BYTES + 1)).status_code == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "many"])
def test_a_length_that_is_none_is_refused(gateway: Gateway, length: str) -> None:
    answer = gateway.client("viewer").post("/try/bytes", content=b"x", headers={"Content-Length": length})
    assert answer.status_code == 413


class Upload:
    """The ASGI side of an upload without end, which knows how much of it was taken."""

    def __init__(self, path: str, **headers: str) -> None:
        encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": encoded, "client": ("192.0.2.1", 1), "http_version": "1.1", "scheme": "https",
            "server": ("vitrine.example", 443), "root_path": "", "state": {},
        }  # fmt: skip
        self.taken = 0
        self.status = 0

    async def receive(self) -> dict[str, Any]:
        self.taken += 65536
        return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)

    def to(self, gateway: Gateway) -> "Upload":
        asyncio.run(gateway.app(self.scope, self.receive, self.send))
        return self


@pytest.mark.parametrize("path", [*UPLOADS, "/v1/jobs", "/v1/estimates"])
def test_of_what_strangers_send_nothing_is_read(gateway: Gateway, path: str) -> None:
    upload = Upload(path, authorization="Bearer vtr_000000000000_guess").to(gateway)
    assert (upload.status, upload.taken) == (401, 0)


def test_of_what_is_announced_as_too_large_nothing_is_read(gateway: Gateway) -> None:
    key = f"Bearer {gateway.secrets['operator']}"
    upload = Upload("/v1/images", authorization=key, content_length=str(5 * 1024**3)).to(gateway)
    assert (upload.status, upload.taken) == (413, 0)


def test_of_an_upload_without_end_no_more_is_read_than_may_be(gateway: Gateway) -> None:
    key = f"Bearer {gateway.secrets['operator']}"
    upload = Upload("/v1/images", authorization=key, transfer_encoding="chunked").to(gateway)
    assert upload.status == 413
    assert upload.taken <= UPLOAD_BYTES + 65536
