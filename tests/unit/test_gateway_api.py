import asyncio
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

from services.gateway import asyncapi, openapi
from services.model.learnt import Learnt, photo_digest
from services.shared.events import Product
from services.shared.layout import photo_uri
from tests.unit.gateway_shop import DARK, Shop, kind
from tests.unit.gateway_world import URL
from tests.unit.memory_pipeline import BUCKET
from tests.unit.photos import BAD_PHOTOS, encoded, grey, jpeg

DOCUMENT: Mapping[str, Any] = json.loads(openapi.FILE.read_text())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# ------------------------------------------------------------------------------------- documents


def test_the_written_openapi_is_current() -> None:
    assert openapi.FILE.read_text() == openapi.rendered(), "python -m services.gateway.openapi"


def test_the_written_asyncapi_is_current() -> None:
    assert asyncapi.FILE.read_text() == asyncapi.rendered(), "python -m services.gateway.asyncapi"


def test_the_documents_and_the_page_of_events_are_served(shop: Shop) -> None:
    client = shop.gateway.client("viewer")
    assert client.get("/openapi.json").json() == DOCUMENT
    assert client.get("/asyncapi.json").json() == json.loads(asyncapi.FILE.read_text())
    page = client.get("/events").text
    for topic in json.loads(asyncapi.FILE.read_text())["channels"]:
        assert f'<section id="{topic}"' in page
    assert "//cdn" not in client.get("/docs").text


def operations() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in operations()])
def test_no_route_answers_who_has_no_credential(shop: Shop, method: str, path: str) -> None:
    answer = shop.gateway.client().request(method, path.replace("{", "").replace("}", ""))
    assert (answer.status_code, kind(answer)) == (401, "unauthenticated")


CHANGING = [
    (method, path)
    for method, path, _ in operations()
    if method == "POST" and path not in ("/v1/estimates", "/v1/labels")
]


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_who_may_only_look_or_judge_runs_nothing(shop: Shop, method: str, path: str, role: Any) -> None:
    answer = shop.gateway.client(role).request(method, path.replace("{", "").replace("}", ""))
    assert (answer.status_code, kind(answer)) == (403, "forbidden")


def test_every_operation_and_every_field_of_a_request_is_described() -> None:
    for _, path, operation in operations():
        assert operation["operationId"].isidentifier()
        assert "_v1_" not in operation["operationId"]
        assert operation["description"], path
        assert operation["tags"], path


# ------------------------------------------------------------------------------------- jobs


def test_a_job_is_asked_for_followed_and_listed(shop: Shop) -> None:
    answer = shop.admin.post("/v1/jobs", json={"gender": "Men", "limit": 3, "job_id": "spring"})
    assert answer.status_code == 202
    assert answer.headers["Location"] == "/v1/jobs/spring"
    assert shop.admin.get("/v1/jobs/spring").json()["state"] == "accepted"
    shop.run()
    # A look is good for a second.
    shop.gateway.app.state.board().forget("spring")
    done = shop.admin.get("/v1/jobs/spring").json()
    assert (done["state"], done["images"], done["predictions"]) == ("completed", 3, 3)
    (listed,) = shop.admin.get("/v1/jobs").json()["jobs"]
    assert (listed["job_id"], listed["state"], listed["predictions"]) == ("spring", "completed", 3)


def test_a_job_is_listed_while_it_runs_and_pages_lead_on(shop: Shop) -> None:
    asked = {shop.job(limit=1) for _ in range(4)} | {shop.begun()}
    listed: list[str] = []
    after = None
    while True:
        page = shop.admin.get("/v1/jobs", params={"limit": 2} | ({"after": after} if after else {})).json()
        listed += [job["job_id"] for job in page["jobs"]]
        states = {job["state"] for job in page["jobs"]}
        assert states <= {"running", "completed"}
        if (after := page["next"]) is None:
            break
    assert len(listed) == 5
    assert set(listed) == asked


def test_a_job_without_a_name_gets_one_of_its_own(shop: Shop) -> None:
    names = {shop.admin.post("/v1/jobs", json={"limit": 1}).json()["job_id"] for _ in range(3)}
    assert len(names) == 3


def test_the_same_key_is_the_same_job_and_published_once_it_has_begun(shop: Shop) -> None:
    headers = {"Idempotency-Key": "once"}

    def ask(role: Any = "admin") -> str:
        answer = shop.gateway.client(role).post("/v1/jobs", json={"limit": 1}, headers=headers)
        return str(answer.json()["job_id"])

    job_id = ask()
    assert ask() == job_id
    shop.run()
    assert ask() == job_id
    assert shop.delivered() == []
    assert ask("operator") != job_id


def test_a_request_that_names_a_version_nobody_serves_is_refused_at_once(shop: Shop) -> None:
    answer = shop.admin.post("/v1/jobs", json={"model": "v9"})
    assert kind(answer) == "model-not-found"
    assert answer.json()["errors"] == [{"field": "model", "expected": "one of 7", "got": "v9"}]


def test_a_method_that_a_path_has_not_is_told_those_it_has(shop: Shop) -> None:
    answer = shop.admin.delete("/v1/jobs")
    assert (answer.status_code, kind(answer)) == (405, "method-not-allowed")
    assert answer.headers["Allow"] == "GET, POST"
    assert shop.admin.delete("/v1/models/rollback").headers["Allow"] == "POST"
    assert shop.admin.put("/v1/jobs/spring").headers["Allow"] == "GET"


def test_each_wrong_field_is_named(shop: Shop) -> None:
    answer = shop.admin.post(
        "/v1/jobs", json={"limit": 0, "colour": "Red", "augmentation": {"blur": {"radius": 99}}}
    )
    fields = {error["field"] for error in answer.json()["errors"]}
    assert fields == {"limit", "colour", "augmentation.blur.radius"}


def test_no_number_is_a_number_of_json(shop: Shop) -> None:
    answer = shop.admin.post(
        "/v1/jobs",
        content=b'{"augmentation": {"blur": {"radius": NaN}}}',
        headers={"Content-Type": "application/json"},
    )
    assert kind(answer) == "invalid-request"


@pytest.mark.parametrize(
    "body", [rb'{"gender": "\ud800"}', rb'{"limit": "\ud800"}', rb'{"\uDFFF": 1}', b"\xff\xfe"]
)
def test_what_is_no_text_is_refused(shop: Shop, body: bytes) -> None:
    answer = shop.admin.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert kind(answer) in ("malformed-request", "invalid-request")


def test_a_form_that_is_none_is_refused_as_it_is_documented(shop: Shop) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = shop.admin.post("/v1/images", content=b"--b\r\n1e+96--b--\r\n", headers=headers)
    assert (answer.status_code, kind(answer)) == (400, "malformed-request")
    assert "400" in DOCUMENT["paths"]["/v1/images"]["post"]["responses"]


def test_a_character_of_two_halves_is_whole(shop: Shop) -> None:
    body = rb'{"gender": "\ud83d\ude00"}'
    answer = shop.admin.post("/v1/estimates", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "no product has '\N{GRINNING FACE}'" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/estimates"])
def test_a_value_that_no_product_has_is_refused_with_the_nearest(shop: Shop, path: str) -> None:
    answer = shop.admin.post(path, json={"article_type": ["Light", "Lihgt"]})
    assert (answer.status_code, kind(answer)) == (422, "invalid-request")
    (error,) = answer.json()["errors"]
    assert error["field"] == "article_type"
    assert error["expected"] == "no product has 'Lihgt'; did you mean 'Light'?"
    assert shop.admin.get("/v1/jobs").json()["jobs"] == []


def test_an_estimate_says_what_a_job_would_take_and_begins_nothing(shop: Shop) -> None:
    request = {"gender": "Men", "classify": "both", "augmentation": {"rotation": {"degrees": 5}, "copies": 2}}
    estimate = shop.gateway.client("viewer").post("/v1/estimates", json=request).json()
    assert (estimate["images"], estimate["variants"], estimate["predictions"]) == (6, 12, 18)
    assert estimate["cost"] == pytest.approx(sum(estimate["costs"].values()))
    assert not estimate["needs_confirmation"]
    assert shop.admin.get("/v1/jobs").json()["jobs"] == []
    assert [row for row in shop.gateway.audit() if row["action"].endswith("estimates")] == []


def test_a_pointer_to_production_that_is_none_is_said_and_no_failure_of_ours(shop: Shop) -> None:
    shop.bucket.put(f"gs://{BUCKET}/models/fashion/production.json", b"{", "application/json")
    answer = shop.admin.get("/v1/models")
    assert (answer.status_code, kind(answer)) == (409, "model-refused")
    assert "production.json" in answer.json()["detail"]
    assert shop.admin.get("/models", headers={"Accept": "text/html"}).status_code == 409


def test_prices_are_those_of_the_settings(tmp_path: Path) -> None:
    prices = {"currency": "EUR", "gpu_second": 100, "classified_a_second": 1}
    shop = Shop(tmp_path, VITRINE_PRICES=json.dumps(prices))
    estimate = shop.admin.post("/v1/estimates", json={}).json()
    assert estimate["currency"] == "EUR"
    assert estimate["costs"]["inference"] == pytest.approx(600, rel=0.01)


def test_a_job_over_the_limit_is_begun_once_it_is_confirmed(tmp_path: Path) -> None:
    shop = Shop(tmp_path, VITRINE_COST_LIMIT="0.00001")
    request = {"job_id": "spring"}
    refused = shop.admin.post("/v1/jobs", json=request)
    assert kind(refused) == "confirmation-needed"
    assert refused.json()["estimate"]["images"] == 6
    assert kind(shop.admin.get("/v1/jobs/spring")) == "job-not-found"
    assert shop.admin.post("/v1/jobs", json=request, params={"confirm_cost": True}).status_code == 202
    # It was confirmed: a repeat need not be.
    assert shop.admin.post("/v1/jobs", json=request).status_code == 202


@pytest.mark.parametrize("what", ["retry", "classify"])
def test_what_follows_a_job_needs_to_be_confirmed_too(tmp_path: Path, what: str) -> None:
    shop = Shop(tmp_path, VITRINE_COST_LIMIT="0.00001")
    shop.admin.post("/v1/jobs", json={"job_id": "spring", "classify": "none"}, params={"confirm_cost": True})
    shop.run()
    refused = shop.admin.post(f"/v1/jobs/spring/{what}")
    assert kind(refused) == "confirmation-needed"
    assert refused.json()["estimate"]["images"] in (1, 6)
    asked = shop.admin.post(f"/v1/jobs/spring/{what}", params={"confirm_cost": True})
    assert asked.status_code == 202
    assert shop.admin.post(f"/v1/jobs/spring/{what}").json() == asked.json()


def test_the_estimate_of_what_is_prepared_has_its_variants_and_writes_none(shop: Shop) -> None:
    shop.job(job_id="spring", classify="none", augmentation={"rotation": {"degrees": 5}, "copies": 2})
    request = {"prepared_by": "spring", "classify": "both"}
    estimate = shop.admin.post("/v1/estimates", json=request).json()
    assert (estimate["images"], estimate["predictions"], estimate["variants"]) == (6, 18, 0)
    assert estimate["storage_operations"] == 16


def test_what_selection_would_refuse_is_refused_and_holds_no_name(shop: Shop) -> None:
    prepared, running = shop.job(classify="none"), shop.begun()
    for request, problem in (
        ({"prepared_by": running}, "job-not-ended"),
        ({"retry_of": running}, "job-not-ended"),
        ({"prepared_by": prepared, "classify": "both"}, "job-not-suitable"),
        ({"prepared_by": "nobodys"}, "job-not-found"),
    ):
        assert kind(shop.admin.post("/v1/jobs", json={"job_id": "next", **request})) == problem
    assert shop.bucket.names(f"gs://{BUCKET}/jobs/next/") == []


def test_a_job_is_cancelled_also_before_it_begins_and_once_more(shop: Shop) -> None:
    job_id = shop.begun()
    for _ in range(2):
        assert shop.admin.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    waiting = shop.admin.post("/v1/jobs", json={}).json()["job_id"]
    assert shop.admin.post(f"/v1/jobs/{waiting}/cancel").status_code == 202
    assert kind(shop.admin.post("/v1/jobs/nobodys/cancel")) == "job-not-found"


def test_a_retry_is_a_job_of_just_what_failed_and_asked_twice_the_same(shop: Shop) -> None:
    job_id = shop.job(job_id="spring")
    assert shop.admin.get("/v1/jobs/spring").json()["errors"] == {"photo-missing": 1}
    shop.bucket.put(photo_uri(BUCKET, "6"), jpeg(), "image/jpeg")
    asked = {shop.admin.post(f"/v1/jobs/{job_id}/retry").json()["job_id"] for _ in range(2)}
    assert asked == {"spring-r1"}
    assert shop.admin.get("/v1/jobs/spring-r1").json()["state"] == "accepted"
    shop.run()
    (row,) = shop.admin.get("/v1/jobs/spring-r1/results").json()["results"]
    assert (row["product_id"], row["error"]) == ("6", None)
    assert shop.admin.post(f"/v1/jobs/{job_id}/retry").json()["job_id"] == "spring-r1"
    assert shop.delivered() == []


def test_what_was_only_prepared_is_classified_later(shop: Shop) -> None:
    job_id = shop.job(job_id="spring", classify="none")
    assert shop.admin.get("/v1/jobs/spring").json()["predictions"] == 0
    asked = {shop.admin.post(f"/v1/jobs/{job_id}/classify").json()["job_id"] for _ in range(2)}
    assert len(asked) == 1
    shop.run()
    (classified,) = asked
    assert shop.admin.get(f"/v1/jobs/{classified}").json()["predictions"] == 5
    # Its photos are those of the job that prepared them.
    row = shop.admin.get(f"/v1/jobs/{classified}/results").json()["results"][-1]
    assert shop.admin.get(row["photo"]).headers["Content-Type"] == "image/jpeg"


# ------------------------------------------------------------------------------------- results


def test_results_come_in_pages_or_as_a_stream_and_are_the_same(shop: Shop) -> None:
    path = f"/v1/jobs/{shop.job()}/results"
    paged: list[Any] = []
    after = None
    while True:
        page = shop.admin.get(path, params={"limit": 4} | ({"after": after} if after else {})).json()
        paged += page["results"]
        if (after := page["next"]) is None:
            break
    streamed = shop.admin.get(path, headers={"Accept": "application/x-ndjson"})
    assert streamed.headers["Content-Type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in streamed.text.splitlines()]
    assert sorted(rows, key=lambda row: row["product_id"]) == sorted(paged, key=lambda row: row["product_id"])
    assert {row["product_id"] for row in paged} == set("123456")
    assert (paged[0]["product_id"], paged[0]["disagreements"]) == ("5", ["article_type"])


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ({"error": "photo-missing"}, {"6"}),
        ({"error": "any"}, {"6"}),
        ({"disagreements": True}, {"5"}),
        ({"head": "article_type", "label": "Light"}, {"1", "2", "3", "4"}),
        ({"head": "article_type", "declared": "Light", "label": "Dark"}, {"5"}),
        ({"min_confidence": 0.99}, set()),
        ({"unfamiliar": True}, set()),
    ],
)
def test_results_are_filtered(shop: Shop, question: Mapping[str, Any], expected: set[str]) -> None:
    page = shop.admin.get(f"/v1/jobs/{shop.job()}/results", params=question).json()
    assert {row["product_id"] for row in page["results"]} == expected


def test_a_photo_is_a_small_jpeg_that_only_its_browser_may_keep(shop: Shop) -> None:
    shop.bucket.put(photo_uri(BUCKET, "1"), jpeg(90, 900, 1200), "image/jpeg")
    path = f"/v1/jobs/{shop.job()}/photos/1"
    answer = shop.admin.get(path, params={"side": 100})
    assert Image.open(io.BytesIO(answer.content)).size == (75, 100)
    assert answer.headers["Cache-Control"].startswith("private")
    again = shop.admin.get(path, params={"side": 100}, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = shop.admin.get(path, params={"side": 50}, headers={"If-None-Match": answer.headers["ETag"]})
    assert other.status_code == 200


def test_variants_and_the_catalogues_photo_are_shown_too(shop: Shop) -> None:
    job_id = shop.job(augmentation={"resize": {"width": 32, "height": 16}}, classify="both", limit=1)
    row = next(
        row
        for row in shop.admin.get(f"/v1/jobs/{job_id}/results").json()["results"]
        if row["variant"] == "augmented-0"
    )
    variant = Image.open(io.BytesIO(shop.admin.get(row["photo"]).content))
    assert variant.size == (32, 16)
    path = f"/v1/jobs/{job_id}/photos/5"
    assert shop.admin.get(path, params={"variant": "catalogue"}).status_code == 200


@pytest.mark.parametrize("product_id", ["a/b c%2F", "a/../b", "/", "%", "a?side=1#b", "0090230", "\N{DRESS}"])
def test_a_photo_is_found_by_an_id_of_any_characters(shop: Shop, product_id: str) -> None:
    product = Product.of(product_id, gender="Women", article_type="Light")
    shop.world.pipeline.catalogue.products.append(product)
    shop.bucket.put(photo_uri(BUCKET, product_id), jpeg(), "image/jpeg")
    job_id = shop.job(gender="Women")
    (row,) = shop.admin.get(f"/v1/jobs/{job_id}/results").json()["results"]
    assert (row["product_id"], row["error"]) == (product_id, None)
    assert row["photo"] == f"/v1/jobs/{job_id}/photos/{quote(product_id, safe='')}"
    answer = asyncio.run(requested(shop, row["photo"]))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")


async def requested(shop: Shop, path: str) -> httpx.Response:
    """The answer to a request whose path is decoded once, as servers do it; TestClient decodes it twice."""
    transport, headers = httpx.ASGITransport(shop.gateway.app), dict(shop.admin.headers)
    async with httpx.AsyncClient(transport=transport, base_url=URL, headers=headers) as client:
        return await client.get(path)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/jobs/spring/photos/..%2F..%2Fmanifest.json", (404, 422)),
        ("/v1/jobs/spring/photos/1?variant=../../manifest.json", (422,)),
        ("/v1/jobs/spring/photos/1?variant=augmented-../0", (422,)),
        ("/v1/jobs/..%2F..%2Frejected/photos/1", (404, 422)),
        ("/v1/jobs/spring/photos/..%2Fphotos%2F1", (404,)),
        ("/v1/jobs/spring/photos/%2E%2E%2F%2E%2E%2Fmanifest", (404,)),
        ("/v1/jobs/spring/photos/-1", (404,)),
        ("/v1/jobs/spring/photos/%20", (422,)),
        ("/v1/jobs/spring/photos/1%20", (422,)),
        ("/v1/jobs/spring/photos/1%0A2", (404, 422)),
        (f"/v1/jobs/spring/photos/{'9' * 200}", (404,)),
        (f"/v1/jobs/spring/photos/{'9' * 201}", (422,)),
    ],
)
def test_no_photo_lies_outside_of_its_job(shop: Shop, path: str, status: Sequence[int]) -> None:
    shop.job(job_id="spring")
    assert shop.admin.get(path).status_code in status


# ------------------------------------------------------------------------------------- single photos


def test_an_uploaded_photo_is_answered_with_what_the_model_says(shop: Shop) -> None:
    answer = shop.admin.post("/v1/images", files={"photo": ("any.jpg", encoded(DARK, "JPEG"))})
    assert answer.status_code == 200, answer.text
    prediction = answer.json()
    assert prediction["heads"][0]["label"] == "Dark"
    assert shop.admin.get(f"/v1/images/{prediction['prediction_id']}").json() == prediction


@pytest.mark.parametrize(
    ("data", "name"),
    [(encoded(grey(9), "TIFF"), "TIFF"), (b"<svg/>", "SVG"), (b"%PDF-1.7\n", "PDF")],
    ids=["tiff", "svg", "pdf"],
)
def test_a_photo_of_a_format_that_is_not_supported_is_answered_with_its_name(
    shop: Shop, data: bytes, name: str
) -> None:
    answer = shop.admin.post("/v1/images", files={"photo": ("1.jpg", data)})
    assert answer.status_code == 415
    assert answer.json()["type"] == "urn:vitrine:problem:photo-format-unsupported"
    assert answer.json()["detail"].endswith(f"Its format: {name}.")
    assert [error["got"] for error in answer.json()["errors"]] == [name]


def test_a_heic_is_answered(shop: Shop) -> None:
    answer = shop.admin.post("/v1/images", files={"photo": ("IMG_1.HEIC", encoded(DARK, "HEIC"))})
    assert answer.json()["heads"][0]["label"] == "Dark"


@pytest.mark.parametrize("code", BAD_PHOTOS)
def test_of_a_photo_that_cannot_be_used_nothing_is_written(shop: Shop, code: str) -> None:
    shop.admin.post("/v1/images", files={"photo": ("1.jpg", BAD_PHOTOS[code]())})
    assert shop.bucket.uploads == []
    assert shop.bucket.names("gs://uploads/") == []


def test_a_photo_that_takes_longer_is_answered_with_where_to_look(shop: Shop) -> None:
    shop.bucket.notifies = False
    photo = {"photo": ("any.jpg", jpeg())}
    answer = shop.admin.post("/v1/images", files=photo, params={"wait": 0})
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/images/{answer.json()['prediction_id']}"
    assert shop.admin.get(answer.headers["Location"]).headers["Retry-After"] == "1"


def test_the_same_key_is_the_same_photo(shop: Shop) -> None:
    def ask(photo: bytes) -> Any:
        return shop.admin.post(
            "/v1/images", files={"photo": ("any.jpg", photo)}, headers={"Idempotency-Key": "once"}
        )

    first = ask(jpeg())
    assert shop.bucket.read_back == []
    assert ask(jpeg()).json() == first.json()
    assert len(shop.bucket.uploads) == 1
    assert kind(ask(jpeg(9))) == "idempotency-key-reused"


# ------------------------------------------------------------------------------------- review


def test_a_disagreement_is_judged_once_and_counts_for_the_quality(shop: Shop) -> None:
    job_id = shop.job()
    reviewer = shop.gateway.client("reviewer")
    (found,) = reviewer.get("/v1/disagreements", params={"job": job_id}).json()["disagreements"]
    assert (found["product_id"], found["label"], found["declared"]) == ("5", "Dark", "Light")
    verdict = {
        "job_id": job_id,
        "product_id": "5",
        "head": "article_type",
        "verdict": "accepted",
        "comment": "yes",
    }
    answer = reviewer.post("/v1/labels", json=verdict)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["label"], answer.json()["judged_by"]) == ("Dark", "key:reviewer")
    assert reviewer.get("/v1/disagreements", params={"job": job_id}).json()["disagreements"] == []
    (label,) = reviewer.get("/v1/labels", params={"job": job_id}).json()["labels"]
    assert label == answer.json()
    question = {"job": job_id, "head": "article_type"}
    assert reviewer.get("/v1/quality", params=question).json()["accuracy"] == pytest.approx(0.8)
    quality = reviewer.get("/v1/quality", params=question | {"against": "labels"}).json()
    assert (quality["photos"], quality["accuracy"]) == (1, 1.0)


def test_a_disagreement_says_how_likely_the_declared_value_is_and_what_to_think_of_it(shop: Shop) -> None:
    shop.bucket.put(photo_uri(BUCKET, "4"), encoded(grey(120), "JPEG"), "image/jpeg")
    shop.world.pipeline.models.learnt["1"] = Learnt.of([photo_digest(encoded(DARK, "JPEG"))])
    job_id = shop.job()

    def ask(**question: Any) -> list[Any]:
        answer = shop.admin.get("/v1/disagreements", params={"job": job_id, **question})
        assert answer.status_code == 200, answer.text
        found: list[Any] = answer.json()["disagreements"]
        return found

    dark, grey_one = ask()
    assert (dark["product_id"], dark["unsure"], dark["learnt"]) == ("5", False, True)
    assert dark["declared_probability"] == pytest.approx(0.9 * 15 / 255, rel=1e-5)
    assert (grey_one["product_id"], grey_one["unsure"], grey_one["learnt"]) == ("4", True, False)
    assert grey_one["declared_probability"] == pytest.approx(0.9 * 120 / 255, rel=1e-5)
    assert (ask(unsure=True), ask(unsure=False)) == ([grey_one], [dark])
    first, *_ = shop.admin.get(f"/v1/jobs/{job_id}/results").json()["results"]
    assert (first["product_id"], first["declared"]["article_type"], first["learnt"]) == ("5", "Light", True)
    assert first["declared_labels"] == [
        {
            "head": "article_type",
            "label": "Light",
            "known": "Light",
            "probability": dark["declared_probability"],
        }
    ]


def test_a_page_goes_on_with_the_same_question_only(shop: Shop) -> None:
    shop.bucket.put(photo_uri(BUCKET, "4"), encoded(DARK, "JPEG"), "image/jpeg")
    job_id = shop.job()
    question = {"job": job_id, "limit": 1}
    page = shop.admin.get("/v1/disagreements", params=question | {"unsure": False}).json()
    following = question | {"after": page["next"]}
    second = shop.admin.get("/v1/disagreements", params=following | {"unsure": False}).json()
    assert [page["disagreements"][0]["product_id"], second["disagreements"][0]["product_id"]] == ["4", "5"]
    for other in ({}, {"unsure": True}):
        assert (
            kind(shop.admin.get("/v1/disagreements", params=following | other)) == "page-of-another-question"
        )


@pytest.mark.parametrize(
    ("verdict", "field"),
    [
        ({"verdict": "corrected"}, "label"),
        ({"verdict": "accepted", "label": "Dark"}, "label"),
        ({"verdict": "corrected", "label": "Dark"}, "label"),
        ({"verdict": "accepted", "head": "season"}, "head"),
        ({"verdict": "maybe"}, "verdict"),
    ],
)
def test_a_verdict_that_makes_no_sense_is_refused_by_its_field(
    shop: Shop, verdict: Mapping[str, str], field: str
) -> None:
    body = {"job_id": shop.job(), "product_id": "5", "head": "article_type", **verdict}
    answer = shop.gateway.client("reviewer").post("/v1/labels", json=body)
    assert kind(answer) == "invalid-request"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def corrected(shop: Shop) -> str:
    """A job in which 1, 2 and 5 are corrected; since then the catalogue has changed 2, and 1 accordingly."""
    job_id = shop.job()
    reviewer = shop.gateway.client("reviewer")
    verdict = {"job_id": job_id, "head": "article_type", "verdict": "corrected", "label": "Dusk"}
    for number in "125":
        assert reviewer.post("/v1/labels", json=verdict | {"product_id": number}).status_code == 201
    shop.world.tables.merge_products(
        [Product.of("1", article_type="Dusk"), Product.of("2", article_type="Dawn")]
    )
    return job_id


def test_corrections_say_where_the_catalogue_is_with_them(shop: Shop) -> None:
    job_id = corrected(shop)
    viewer = shop.gateway.client("viewer")
    found: list[Any] = []
    question: dict[str, Any] = {"job": job_id, "limit": 2}
    while True:
        page = viewer.get("/v1/corrections", params=question).json()
        found += page["corrections"]
        if page["next"] is None:
            break
        question["after"] = page["next"]
    rows = {row["product_id"]: row for row in found}
    assert {number: row["status"] for number, row in rows.items()} == {
        "5": "pending",
        "2": "changed",
        "1": "applied",
    }
    (row,) = [row for row in found if row["product_id"] == "5"]
    assert (row["attribute"], row["declared"], row["corrected"]) == ("article_type", "Light", "Dusk")
    assert (row["reviewer"], row["job_id"], row["left_out"]) == ("key:reviewer", job_id, None)
    assert "says 'Dawn' now" in rows["2"]["left_out"]
    other = viewer.get("/v1/corrections", params=question | {"job": "another"})
    assert kind(other) == "page-of-another-question"


@pytest.mark.parametrize(
    ("form", "media_type", "name", "lines"),
    [
        ("csv", "text/csv", "corrections.csv", ["5,article_type,Light,Dusk,key:reviewer,"]),
        ("merge", "application/sql", "corrections.sql", ["    ('5', 'Light', 'Dusk') -- 'key:reviewer' at "]),
        ("merchant-center", "text/tab-separated-values", "merchant-center.tsv", ["1\tDusk", "5\tDusk"]),
    ],
)
def test_corrections_are_downloaded_in_a_form(
    shop: Shop, form: str, media_type: str, name: str, lines: Sequence[str]
) -> None:
    corrected(shop)
    answer = shop.gateway.client("viewer").get("/v1/corrections", params={"format": form})
    assert answer.headers["Content-Type"] == f"{media_type}; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    values = [line for line in answer.text.splitlines() if "Dusk" in line]
    assert len(values) == len(lines)
    assert all(value.startswith(line) for value, line in zip(values, lines, strict=True))
    assert ("`project.vitrine.products`" in answer.text) == (form == "merge")
    assert "Dawn" not in answer.text


def test_corrections_are_of_a_time(shop: Shop) -> None:
    corrected(shop)
    viewer = shop.gateway.client("viewer")

    def count(since: str) -> int:
        return len(viewer.get("/v1/corrections", params={"since": since}).json()["corrections"])

    assert count("2020-01-01T00:00:00Z") == 3
    assert count("2100-01-01T00:00:00.5+02:00") == 0
    # In UTC this is before the first year, and this behind the last.
    assert count("0001-01-01T00:00:00+02:00") == 3
    assert count("9999-12-31T23:59:59-02:00") == 0


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "1700000000"])
def test_a_time_that_there_is_not_is_refused(shop: Shop, since: str) -> None:
    answer = shop.gateway.client("viewer").get("/v1/corrections", params={"since": since})
    assert (answer.status_code, kind(answer)) == (422, "invalid-request")
    assert [error["field"] for error in answer.json()["errors"]] == ["since"]


# ------------------------------------------------------------------------------------- models, rejections


def test_a_version_is_promoted_once_and_rolled_back(shop: Shop) -> None:
    version = shop.publish_model()
    (listed,) = shop.admin.get("/v1/models").json()["versions"]
    # It is the one that ships, which serves until another one is promoted.
    assert (listed["version"], listed["production"]) == (version, True)
    for _ in range(2):
        pointer = shop.admin.post(f"/v1/models/{version}/promote", json={"why": "better on shoes"}).json()
        assert (pointer["version"], pointer["by"], pointer["previous"]) == (version, "key:admin", None)
    assert shop.admin.get("/v1/models").json()["versions"][0]["production"]
    assert shop.admin.get(f"/v1/models/{version}").json()["version"] == version
    assert shop.admin.post("/v1/models/rollback", json={"why": "worse"}).json()["version"] is None


def test_a_rejected_message_is_replayed_once(shop: Shop) -> None:
    rejection_id = shop.reject()
    (message,) = shop.admin.get("/v1/rejected").json()["messages"]
    assert (message["rejection_id"], message["replayed"]) == (rejection_id, False)
    assert message["reason"].startswith("limit: ")
    answers = [shop.admin.post(f"/v1/rejected/{rejection_id}/replay") for _ in range(2)]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["message_id"] for answer in answers}) == 1
    assert shop.admin.get("/v1/rejected").json()["messages"][0]["replayed"]


def test_what_was_done_is_in_the_audit_trail_by_its_name(shop: Shop) -> None:
    job_id = shop.job()
    shop.admin.post(f"/v1/jobs/{job_id}/cancel")
    assert [(row["action"], row["subject"], row["status"]) for row in shop.gateway.audit()] == [
        ("job.create", job_id, 202),
        ("job.cancel", job_id, 202),
    ]
