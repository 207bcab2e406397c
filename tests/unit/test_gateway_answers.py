"""What every answer of the gateway has: its headers, its problem, its entry in the audit trail."""

import base64
import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, Request
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from services.client.client import parse_request
from services.client.errors import ClientError
from services.gateway import audit
from services.gateway.app import create_app
from services.gateway.audit import audited
from services.gateway.identity import Identity
from services.gateway.ports import Ports
from services.gateway.problems import Problem, problem_of
from services.gateway.security import require
from services.shared.memory import MemoryWarehouse
from services.shared.wiring import SCHEMAS
from tests.unit.client_world import NOW
from tests.unit.gateway_world import Gateway

Operator = Annotated[Identity, Depends(require("operate"))]


class Order(BaseModel):
    """A body."""

    limit: Annotated[int, Field(ge=1)]
    note: str = ""


def with_routes(gateway: Gateway) -> Gateway:
    """Adds routes that do something, and routes that fail."""
    app = gateway.app

    @app.post("/v1/try/{job}/cancel", dependencies=[Depends(audited("job.cancel"))])
    def cancel(job: str, identity: Operator) -> str:
        return job

    @app.post("/v1/try", dependencies=[Depends(audited("job.request"))])
    def make(request: Request, order: Order, identity: Operator) -> str:
        audit.record(request, subject="job-9", detail=f"limit {order.limit}")
        return "made"

    @app.post("/v1/try/estimates", dependencies=[Depends(audit.changes_nothing)])
    def estimate(order: Order, identity: Operator) -> str:
        return "much"

    @app.delete("/v1/try/{job}/photos/{photo}")
    def unnamed(job: str, photo: int, identity: Operator) -> str:
        return "gone"

    @app.get("/v1/try/{job}")
    def fail(job: str, identity: Operator) -> str:
        raise {
            "problem": Problem(404, "job-not-found", "there is no job", headers={"X-More": "1"}),
            "client": ClientError("the job has ended"),
            "http": HTTPException(418),
            "bug": RuntimeError("the password is swordfish"),
        }[job]

    @app.get("/v1/cached")
    def cached(identity: Operator) -> PlainTextResponse:
        return PlainTextResponse("photo", headers={"Cache-Control": "private, max-age=60"})

    return gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return with_routes(Gateway(tmp_path))


# ------------------------------------------------------------------------------------- problems


def test_a_problem_is_told_as_rfc_9457_says(gateway: Gateway) -> None:
    answer = gateway.client("operator").get("/v1/try/problem")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-More"] == "1"
    assert answer.json() == {
        "type": "urn:vitrine:problem:job-not-found",
        "title": "Job not found",
        "status": 404,
        "detail": "there is no job",
        "instance": "/v1/try/problem",
    }


@pytest.mark.parametrize(
    ("job", "status", "kind", "detail"),
    [
        ("client", 409, "conflict", "the job has ended"),
        ("http", 418, "im-a-teapot", "I'm a Teapot"),
        ("bug", 500, "internal-error", "something went wrong here; it was recorded"),
    ],
)
def test_other_errors_are_problems_too(
    gateway: Gateway, job: str, status: int, kind: str, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = gateway.client("operator").get(f"/v1/try/{job}")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.json()["type"] == f"urn:vitrine:problem:{kind}"
    assert answer.json()["detail"] == detail
    assert ("swordfish" in caplog.text) == (job == "bug")


def test_a_path_that_is_none_and_a_method_that_is_not_allowed_are_problems(gateway: Gateway) -> None:
    client = gateway.client("operator")
    assert client.get("/v1/nowhere").json()["type"] == "urn:vitrine:problem:not-found"
    refused = client.put("/v1/try")
    assert refused.json()["type"] == "urn:vitrine:problem:method-not-allowed"
    assert "POST" in refused.headers["Allow"]


def test_wrong_fields_are_named_with_what_was_expected_and_what_came(gateway: Gateway) -> None:
    answer = gateway.client("operator").post("/v1/try", json={"limit": 0, "note": ["x" * 500]})
    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        "limit: Input should be greater than or equal to 1; note: Input should be a valid string"
    )
    limit, note = answer.json()["errors"]
    assert limit == {
        "field": "limit", "expected": "Input should be greater than or equal to 1", "got": 0
    }  # fmt: skip
    assert len(note["got"]) < 250


def test_a_missing_field_is_told_without_all_that_was_sent(gateway: Gateway) -> None:
    (error,) = gateway.client("operator").post("/v1/try", json={"note": "secret"}).json()["errors"]
    assert error == {"field": "limit", "expected": "Field required", "got": None}


@pytest.mark.parametrize(
    "body", [b"{", rb"\ud", b"\xff", b"[" * 100_000], ids=["cut", "half", "bytes", "deep"]
)
def test_what_is_not_json_is_a_malformed_request(gateway: Gateway, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = gateway.client("operator").post("/v1/try", content=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:vitrine:problem:malformed-request")
    assert gateway.client().post("/v1/try", content=body, headers=headers).status_code == 401


@pytest.mark.parametrize("path", ["/v1/jobs/", "/jobs/", "/v1/models/"])
def test_a_path_that_ends_with_a_slash_leads_to_no_host_of_the_callers(gateway: Gateway, path: str) -> None:
    answer = gateway.client("admin").get(path, headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers.get("Location")) == (404, None)


def test_a_request_that_the_pipeline_would_refuse_names_its_fields() -> None:
    with pytest.raises(ClientError) as refused:
        parse_request('{"limit": 0, "colour": "red"}')
    problem = problem_of(refused.value)
    assert problem.status == 422
    assert [error["field"] for error in problem.errors] == ["limit", "colour"]


# ------------------------------------------------------------------------------------- headers


def policy(headers: Mapping[str, str]) -> dict[str, list[str]]:
    """The sources of each directive."""
    directives = [each.split() for each in headers["Content-Security-Policy"].split(";")]
    return {name: sources for name, *sources in directives}


@pytest.mark.parametrize(
    "path", ["/health", "/v1/try/problem", "/v1/try/bug", "/v1/nowhere", "/openapi.json"]
)
def test_every_answer_has_the_headers_that_protect(gateway: Gateway, path: str) -> None:
    headers = gateway.client("operator").get(path).headers
    assert policy(headers) == {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "script-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    assert headers["Cache-Control"] == "no-store"
    assert re.fullmatch(r"[0-9a-f]{32}", headers["X-Request-Id"])


def test_a_handler_may_say_how_long_its_answer_keeps(gateway: Gateway) -> None:
    assert gateway.client("operator").get("/v1/cached").headers["Cache-Control"] == "private, max-age=60"


def test_what_came_by_plain_http_is_not_told_to_come_by_https(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, VITRINE_GATEWAY_URL="http://127.0.0.1:8080")
    assert "Strict-Transport-Security" not in gateway.client().get("/health").headers


@pytest.mark.parametrize(("client_id", "path", "allowed"), [
    ("1.apps.googleusercontent.com", "/sign-in", True),
    ("1.apps.googleusercontent.com", "/", False),
    (None, "/sign-in", False),
])  # fmt: skip
def test_googles_script_may_run_on_the_sign_in_page_where_it_is_used(
    tmp_path: Path, client_id: str | None, path: str, allowed: bool
) -> None:
    gateway = Gateway(tmp_path, VITRINE_OAUTH_CLIENT_ID=client_id)
    scripts = policy(gateway.client().get(path).headers)["script-src"]
    assert scripts == ["'self'", *(["https://accounts.google.com/gsi/client"] if allowed else [])]


def test_the_page_of_the_api_runs_its_own_scripts_and_no_other(gateway: Gateway) -> None:
    page = gateway.client().get("/docs")
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy(page.headers)["script-src"] == ["'self'", f"'sha256-{digest}'"]
    elsewhere = [url for url in re.findall(r"(?:src|href)=\"(.*?)\"", page.text) if not url.startswith("/")]
    assert elsewhere == []
    for url in re.findall(r"(?:src|href)=\"(.*?)\"", page.text):
        assert gateway.client().get(url).status_code == 200


# ------------------------------------------------------------------------------------- health


def test_the_gateway_is_healthy_once_it_reaches_what_it_needs(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    waiting = [OSError("nothing answers"), None]

    def ports() -> Ports:
        if error := waiting.pop(0):
            raise error
        return gateway.ports

    client = TestClient(create_app(gateway.settings, ports))
    assert [client.get("/health").status_code for _ in range(3)] == [503, 200, 200]


# ------------------------------------------------------------------------------------- audit


def test_what_changed_is_written_down_with_who_did_it(gateway: Gateway) -> None:
    headers = {"User-Agent": "curl/8"}
    answer = gateway.client("operator").post("/v1/try/job-7/cancel", headers=headers)
    (row,) = gateway.audit()
    assert len(row["audit_id"]) == 32
    assert {name: value for name, value in row.items() if name != "audit_id"} == {
        "recorded_at": NOW,
        "who": "key:operator",
        "credential": "api-key",
        "roles": ["operator"],
        "action": "job.cancel",
        "subject": "job-7",
        "status": 200,
        "address": "testclient",
        "user_agent": "curl/8",
        "request_id": answer.headers["X-Request-Id"],
        "detail": None,
    }


def test_a_row_has_the_columns_of_the_table(gateway: Gateway) -> None:
    gateway.client("operator").post("/v1/try/job-7/cancel")
    columns = json.loads((SCHEMAS / "tables" / "audit.json").read_text())
    (row,) = gateway.audit()
    assert row.keys() == {column["name"] for column in columns}
    unknown = {name for name, value in row.items() if value is None}
    assert unknown <= {column["name"] for column in columns if column["mode"] == "NULLABLE"}


def test_a_handler_says_what_only_it_knows(gateway: Gateway) -> None:
    gateway.client("operator").post("/v1/try", json={"limit": 3})
    (row,) = gateway.audit()
    assert (row["action"], row["subject"], row["detail"]) == ("job.request", "job-9", "limit 3")


def test_a_route_that_nobody_named_is_recorded_under_its_path(gateway: Gateway) -> None:
    gateway.client("operator").delete("/v1/try/job-7/photos/5")
    (row,) = gateway.audit()
    assert (row["action"], row["subject"]) == ("DELETE /v1/try/{job}/photos/{photo}", "job-7/5")


def test_what_only_reads_is_not_recorded(gateway: Gateway) -> None:
    client = gateway.client("operator")
    assert client.get("/v1/cached").status_code == 200
    assert client.post("/v1/try/estimates", json={"limit": 1}).status_code == 200
    assert client.get("/v1/try/problem").status_code == 404
    assert gateway.audit() == []


@pytest.mark.parametrize(
    ("role", "method", "path", "body", "status"),
    [
        ("viewer", "POST", "/v1/try/job-7/cancel", {}, 403),
        ("viewer", "GET", "/v1/cached", None, 403),
        ("operator", "GET", "/v1/try/client", None, 409),
        ("operator", "POST", "/v1/try", {"limit": 0}, 422),
        ("operator", "POST", "/v1/try/estimates", {"limit": 0}, 422),
        ("operator", "POST", "/v1/try", {"limit": 1, "note": "x" * 2_000_000}, 413),
    ],
)
def test_a_refusal_of_somebody_we_know_is_recorded_with_its_reason(
    gateway: Gateway, role: Any, method: str, path: str, body: Any, status: int
) -> None:
    answer = gateway.client(role).request(method, path, json=body)
    assert answer.status_code == status
    (row,) = gateway.audit()
    assert (row["who"], row["status"]) == (f"key:{role}", status)
    assert row["detail"] == answer.json()["detail"]


def test_who_asks_too_often_fills_the_log_and_not_the_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = with_routes(Gateway(tmp_path, VITRINE_RATE_LIMIT="1/minute"))
    client = gateway.client("operator")
    statuses = [client.get("/v1/cached").status_code, client.get("/v1/cached").status_code]
    statuses.append(client.post("/v1/try/job-7/cancel").status_code)
    assert statuses == [200, 429, 429]
    assert gateway.audit() == []
    refusals = [vars(record)["fields"]["refusal"] for record in caplog.records]
    assert [(each["who"], each["status"]) for each in refusals] == [("key:operator", 429)] * 2


def test_a_browser_that_is_led_to_the_sign_in_page_was_refused(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    answer = gateway.client().get("/jobs", headers={"Accept": "text/html"})
    assert answer.status_code == 303
    (line,) = caplog.records
    refusal = vars(line)["fields"]["refusal"]
    assert (refusal["status"], refusal["path"], refusal["reason"]) == (401, "/jobs", "no credential")


def test_strangers_are_logged_and_not_recorded(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    answer = gateway.client(bearer="vtr_000000000000_guess").post("/v1/try/job-7/cancel")
    assert gateway.audit() == []
    (line,) = caplog.records
    assert vars(line)["fields"]["refusal"] == {
        "status": 401,
        "method": "POST",
        "path": "/v1/try/job-7/cancel",
        "who": None,
        "address": "testclient",
        "request_id": answer.headers["X-Request-Id"],
        "reason": "no such API key",
    }


class BrokenWarehouse(MemoryWarehouse):
    """Takes nothing."""

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        raise OSError("BigQuery is out")


def test_an_entry_that_cannot_be_written_is_kept_in_the_log(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.ports = replace(gateway.ports, warehouse=BrokenWarehouse(gateway.world.objects.memory))
    answer = gateway.client("operator").post("/v1/try/job-7/cancel")
    assert answer.status_code == 200
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    entry = vars(line)["fields"]["audit"]
    assert (entry["who"], entry["action"], entry["subject"]) == ("key:operator", "job.cancel", "job-7")


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        ("0", "192.0.2.1", "testclient"),
        ("1", "192.0.2.1", "192.0.2.1"),
        ("1", "10.9.9.9, 192.0.2.1", "192.0.2.1"),
        ("2", "10.9.9.9, 192.0.2.1, 192.0.2.2", "192.0.2.1"),
        ("2", "192.0.2.1", "192.0.2.1"),
        ("1", "", "testclient"),
        ("1", "192.0.2.1, ", "192.0.2.1"),
        ("1", None, "testclient"),
    ],
)
def test_an_address_is_what_the_proxies_say_that_are_ours(
    tmp_path: Path, proxies: str, forwarded: str | None, expected: str
) -> None:
    gateway = with_routes(Gateway(tmp_path, VITRINE_PROXIES=proxies))
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    gateway.client("operator").post("/v1/try/job-7/cancel", headers=headers)
    (row,) = gateway.audit()
    assert row["address"] == expected
