"""Every problem that is documented of an operation can be produced there. What any operation may answer is
documented where it can be produced, and nowhere else.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient

from services.gateway import openapi
from services.gateway.openapi import PROBLEMS
from services.gateway.security import Security
from services.gateway.sessions import HEADER
from services.shared.layout import JobLayout, photo_uri
from tests.unit.gateway_shop import Shop, kind
from tests.unit.memory_pipeline import BUCKET
from tests.unit.photos import BAD_PHOTOS, jpeg

type Produce = Callable[[Shop], Any]
type Ask = Callable[[Shop, str], Any]

OPERATIONS: dict[str, tuple[str, str]] = {}
DOCUMENTED: dict[str, set[str]] = {}
for _path, _methods in json.loads(openapi.FILE.read_text())["paths"].items():
    for _method, _operation in _methods.items():
        OPERATIONS[_operation["operationId"]] = _method.upper(), _path
        DOCUMENTED[_operation["operationId"]] = {
            name
            for response in _operation["responses"].values()
            for name in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
        }

# ------------------------------------------------------------------------------------- of any operation

NOBODYS = "0" * 32
PLACES = {
    "job_id": "spring",
    "product_id": "1",
    "version": "v1",
    "prediction_id": NOBODYS,
    "rejection_id": NOBODYS,
}
WRONG_PLACES = {
    "job_id": "S",
    "product_id": "x" * 201,
    "version": "v" * 101,
    "prediction_id": "x",
    "rejection_id": "x",
}
JUDGEMENT = {"job_id": "spring", "product_id": "1", "head": "article_type", "verdict": "accepted"}
# What an operation is asked with.
GIVEN: Mapping[str, Mapping[str, Any]] = {
    "create_job": {"json": {}},
    "estimate_job": {"json": {}},
    "classify_image": {"files": {"photo": ("1.jpg", jpeg())}},
    "create_label": {"json": JUDGEMENT},
    "get_quality": {"params": {"job": "spring", "head": "article_type"}},
    "rollback_model": {"json": {"why": "worse"}},
    "promote_model": {"json": {"why": "better"}},
}
WRONG: Mapping[str, Mapping[str, Any]] = {
    "create_job": {"json": {"limit": 0}},
    "estimate_job": {"json": {"limit": 0}},
    "create_label": {"json": {}},
    "rollback_model": {"json": {}},
}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def ask(client: TestClient, name: str, places: Mapping[str, str] = PLACES, **given: Any) -> Any:
    method, path = OPERATIONS[name]
    return client.request(method, path.format(**places), **(given or GIVEN.get(name, {})))


def ask_without_a_right(shop: Shop, name: str) -> Any:
    return ask(
        shop.gateway.client(),
        name,
        headers=signed_in(shop, email="nobody@example.com"),
        **GIVEN.get(name, {}),
    )


def ask_as_another_page_would(shop: Shop, name: str) -> Any:
    admin = next(key for key in shop.gateway.keys if key.role == "admin")
    headers = signed_in(shop, key=admin.id)
    return ask(shop.gateway.client(), name, headers={**headers, HEADER: "guessed"}, **GIVEN.get(name, {}))


def ask_wrongly(shop: Shop, name: str) -> Any:
    if "{" in OPERATIONS[name][1]:
        return ask(shop.admin, name, WRONG_PLACES)
    return ask(shop.admin, name, **WRONG.get(name, {"params": {"limit": 0}}))


def ask_too_often(shop: Shop, name: str) -> Any:
    ask(shop.admin, name)
    answer = ask(shop.admin, name)
    assert answer.headers["Retry-After"].isdecimal()
    return answer


def ask_with_a_token_that_nobody_can_verify(shop: Shop, name: str) -> Any:
    token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.c2ln"
    return ask(shop.gateway.client(bearer=token), name)


def ask_too_much(shop: Shop, name: str) -> Any:
    return ask(shop.admin, name, content=bytes(52 * 1024 * 1024))


def ask_for_nonsense(shop: Shop, name: str) -> Any:
    if "files" in GIVEN.get(name, {}):
        return ask(shop.admin, name, content=b"--b\r\n1e+96--b--\r\n", headers=FORM)
    return ask(shop.admin, name, content=b'{"limit": ', headers={"Content-Type": "application/json"})


def signed_in(shop: Shop, **who: str) -> dict[str, str]:
    """The headers of a request of somebody's session, from our own page."""
    response = PlainTextResponse()
    security: Security = shop.gateway.app.state.security
    security.sessions.start(response, **who)
    cookie = response.headers["Set-Cookie"].partition(";")[0]
    session = security.sessions.read(Request({"type": "http", "headers": [(b"cookie", cookie.encode())]}))
    assert session
    return {
        "Cookie": cookie,
        "Origin": shop.gateway.settings.url,
        HEADER: security.sessions.csrf_token(session),
    }


COMMON: Mapping[str, Ask] = {
    "unauthenticated": lambda shop, name: ask(shop.gateway.client(), name),
    "forbidden": ask_without_a_right,
    "invalid-request": ask_wrongly,
    "too-many-requests": ask_too_often,
    "credential-unverifiable": ask_with_a_token_that_nobody_can_verify,
    "forged-request": ask_as_another_page_would,
}
# Of operations that change something.
WITH_A_BODY: Mapping[str, Ask] = {"too-large": ask_too_much, "malformed-request": ask_for_nonsense}
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "confirmation-needed": {"VITRINE_COST_LIMIT": "0"},
    "too-many-requests": {"VITRINE_RATE_LIMIT": "1/minute"},
    "credential-unverifiable": {
        "VITRINE_AUDIENCES": "vitrine",
        "VITRINE_CERTS_URL": "http://127.0.0.1:1/certs",
    },
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_any_operation_may_answer_is_documented_where_it_does(name: str, tmp_path: Path) -> None:
    asks = {**COMMON, **(WITH_A_BODY if OPERATIONS[name][0] == "POST" else {})}
    produced = set()
    for problem, produce in asks.items():
        folder = tmp_path / problem
        folder.mkdir()
        answer = produce(Shop(folder, **SETTINGS.get(problem, {})), name)
        if answer.status_code == PROBLEMS[problem][0] and kind(answer) == problem:
            produced.add(problem)
    assert produced == DOCUMENTED[name] & {*COMMON, *WITH_A_BODY}


# ------------------------------------------------------------------------------------- of one operation


def without_variants(shop: Shop, path: str, **more: Any) -> Any:
    return shop.admin.post(
        path.format(shop.job(job_id="plain", classify="none")), json={"classify": "both", **more}
    )


def retry_of_what_lost_its_variants(shop: Shop) -> Any:
    prepared = shop.job(job_id="prepared", classify="none", augmentation={"blur": {"radius": 1}})
    job_id = shop.job(prepared_by=prepared, classify="both")
    shop.bucket.lost.add(JobLayout(BUCKET, prepared).manifest)
    return shop.admin.post(f"/v1/jobs/{job_id}/retry")


def reused(shop: Shop) -> Any:
    headers = {"Idempotency-Key": "once"}
    shop.admin.post("/v1/jobs", json={"limit": 1}, headers=headers)
    return shop.admin.post("/v1/jobs", json={"limit": 2}, headers=headers)


def reused_for_another_photo(shop: Shop) -> Any:
    headers = {"Idempotency-Key": "once"}
    shop.admin.post("/v1/images", files={"photo": ("1.jpg", jpeg(10))}, headers=headers)
    return shop.admin.post("/v1/images", files={"photo": ("1.jpg", jpeg(20))}, headers=headers)


def taken(shop: Shop) -> Any:
    shop.job(job_id="spring", limit=1)
    return shop.admin.post("/v1/jobs", json={"job_id": "spring", "limit": 2})


def other_results(shop: Shop) -> Any:
    path = f"/v1/jobs/{shop.job()}/results"
    token = shop.admin.get(path, params={"limit": 1}).json()["next"]
    return shop.admin.get(path, params={"after": token, "error": "any"})


def cannot_replay(shop: Shop) -> Any:
    rejection_id = shop.reject()
    rows: list[Any] = shop.world.pipeline.warehouse.tables["rejected"]
    rows[0] = {**rows[0], "topic": "unheard-of"}
    return shop.admin.post(f"/v1/rejected/{rejection_id}/replay")


def damaged(shop: Shop) -> Any:
    version = shop.publish_model()
    shop.bucket.put(f"gs://{BUCKET}/models/fashion/{version}/model.tflite", b"another", "")
    return shop.admin.post(f"/v1/models/{version}/promote", json={"why": "better"})


def refused(shop: Shop, version: str, path: str) -> Any:
    shop.bucket.put(f"gs://{BUCKET}/models/fashion/{version}.json", b"{}", "")
    return shop.admin.get(path)


def uploaded(code: str) -> Produce:
    return lambda shop: shop.admin.post("/v1/images", files={"photo": ("1.jpg", BAD_PHOTOS[code]())})


def shown(code: str) -> Produce:
    def produce(shop: Shop) -> Any:
        job_id = shop.job(limit=1, classify="none")
        shop.bucket.put(photo_uri(BUCKET, "1"), BAD_PHOTOS[code](), "image/jpeg")
        return shop.admin.get(f"/v1/jobs/{job_id}/photos/1", params={"variant": "catalogue"})

    return produce


# (operation, problem) -> what produces it.
PRODUCED: Mapping[tuple[str, str], Produce] = {
    ("create_job", "job-not-found"): lambda shop: shop.admin.post("/v1/jobs", json={"retry_of": "nobodys"}),
    ("create_job", "job-not-ended"): lambda shop: shop.admin.post(
        "/v1/jobs", json={"retry_of": shop.begun()}
    ),
    ("create_job", "job-not-suitable"): lambda shop: without_variants(shop, "/v1/jobs", prepared_by="plain"),
    ("create_job", "model-not-found"): lambda shop: shop.admin.post("/v1/jobs", json={"model": "v9"}),
    ("create_job", "idempotency-key-reused"): reused,
    ("create_job", "job-id-taken"): taken,
    ("create_job", "confirmation-needed"): lambda shop: shop.admin.post("/v1/jobs", json={}),
    ("estimate_job", "job-not-found"): lambda shop: shop.admin.post(
        "/v1/estimates", json={"prepared_by": "nobodys"}
    ),
    ("estimate_job", "job-not-ended"): lambda shop: shop.admin.post(
        "/v1/estimates", json={"prepared_by": shop.begun()}
    ),
    ("estimate_job", "job-not-suitable"): lambda shop: without_variants(
        shop, "/v1/estimates", prepared_by="plain"
    ),
    ("get_job", "job-not-found"): lambda shop: shop.admin.get("/v1/jobs/nobodys"),
    ("cancel_job", "job-not-found"): lambda shop: shop.admin.post("/v1/jobs/nobodys/cancel"),
    ("retry_job", "job-not-found"): lambda shop: shop.admin.post("/v1/jobs/nobodys/retry"),
    ("retry_job", "job-not-ended"): lambda shop: shop.admin.post(f"/v1/jobs/{shop.begun()}/retry"),
    ("retry_job", "nothing-to-retry"): lambda shop: shop.admin.post(
        f"/v1/jobs/{shop.job(start_year=2099)}/retry"
    ),
    ("retry_job", "job-not-suitable"): retry_of_what_lost_its_variants,
    ("retry_job", "confirmation-needed"): lambda shop: shop.admin.post(f"/v1/jobs/{shop.job()}/retry"),
    ("classify_job", "job-not-found"): lambda shop: shop.admin.post("/v1/jobs/nobodys/classify"),
    ("classify_job", "job-not-ended"): lambda shop: shop.admin.post(f"/v1/jobs/{shop.begun()}/classify"),
    ("classify_job", "job-not-suitable"): lambda shop: without_variants(shop, "/v1/jobs/plain/classify"),
    ("classify_job", "model-not-found"): lambda shop: shop.admin.post(
        f"/v1/jobs/{shop.job(classify='none')}/classify", json={"model": "v9"}
    ),
    ("classify_job", "confirmation-needed"): lambda shop: shop.admin.post(
        f"/v1/jobs/{shop.job(classify='none')}/classify"
    ),
    ("list_results", "job-not-found"): lambda shop: shop.admin.get("/v1/jobs/nobodys/results"),
    ("list_results", "page-of-another-question"): other_results,
    ("get_photo", "job-not-found"): lambda shop: shop.admin.get("/v1/jobs/nobodys/photos/1"),
    ("get_photo", "photo-not-found"): lambda shop: shop.admin.get(f"/v1/jobs/{shop.job()}/photos/6"),
    ("classify_image", "idempotency-key-reused"): reused_for_another_photo,
    ("get_image", "prediction-not-found"): lambda shop: shop.admin.get(f"/v1/images/{NOBODYS}"),
    ("create_label", "photo-not-found"): lambda shop: shop.admin.post(
        "/v1/labels", json=JUDGEMENT | {"job_id": shop.job(), "product_id": "7"}
    ),
    ("list_disagreements", "page-of-another-question"): lambda shop: shop.admin.get(
        "/v1/disagreements", params={"after": "1-00000000"}
    ),
    ("list_corrections", "page-of-another-question"): lambda shop: shop.admin.get(
        "/v1/corrections", params={"after": "1-00000000"}
    ),
    ("get_quality", "job-not-found"): lambda shop: ask(shop.admin, "get_quality"),
    ("list_models", "model-refused"): lambda shop: refused(shop, "production", "/v1/models"),
    ("get_model", "model-not-found"): lambda shop: shop.admin.get("/v1/models/v1"),
    ("get_model", "model-refused"): lambda shop: refused(shop, "v9/model", "/v1/models/v9"),
    ("rollback_model", "cannot-roll-back"): lambda shop: ask(shop.admin, "rollback_model"),
    ("promote_model", "model-not-found"): lambda shop: ask(shop.admin, "promote_model"),
    ("promote_model", "cannot-promote"): damaged,
    ("replay_rejected", "rejection-not-found"): lambda shop: ask(shop.admin, "replay_rejected"),
    ("replay_rejected", "cannot-replay"): cannot_replay,
    **{("classify_image", code): uploaded(code) for code in BAD_PHOTOS},
    **{("get_photo", code): shown(code) for code in BAD_PHOTOS},
}


def test_every_documented_problem_is_produced_by_a_test() -> None:
    common = {*COMMON, *WITH_A_BODY}
    documented = {(name, problem) for name, problems in DOCUMENTED.items() for problem in problems - common}
    assert documented == PRODUCED.keys()
    assert common | {problem for _, problem in documented} == PROBLEMS.keys()


@pytest.mark.parametrize(("name", "problem"), PRODUCED)
def test_a_problem_is_answered_as_it_is_documented(name: str, problem: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path, **SETTINGS.get(problem, {}))
    answer = PRODUCED[name, problem](shop)
    assert (answer.status_code, kind(answer)) == (PROBLEMS[problem][0], problem)
    assert answer.json()["detail"]
    method, path = OPERATIONS[name]
    assert answer.request.method == method
    assert len(answer.request.url.path.split("/")) == len(path.split("/"))
