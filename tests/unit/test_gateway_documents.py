"""What the OpenAPI document says of a body is what the gateway takes."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from services.client.errors import InvalidRequestError
from services.client.review import judgement
from services.gateway import openapi
from services.gateway.api import Judgement
from services.shared.events import ClassificationRequested, Label, Prediction
from tests.contracts.examples import bad_examples, good_examples

DOCUMENT: Mapping[str, Any] = json.loads(openapi.FILE.read_text())
# What a schema has no words for: which of two numbers is the larger.
BEYOND = {"bad-end-before-start", "bad-cropping-max-below-min", "bad-filter-twice"}


def document_takes(schema: str, body: object) -> bool:
    reference = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(reference).is_valid(body)


def model_takes(model: type[BaseModel], body: object) -> bool:
    try:
        model.model_validate_json(json.dumps(body))
    except ValidationError:
        return False
    return True


def test_the_document_takes_every_request_that_is_an_example_and_no_bad_one() -> None:
    good = [each for each in good_examples() if each.event is ClassificationRequested]
    bad = [each for each in bad_examples() if each.event is ClassificationRequested]
    assert len(good) > 5
    assert len(bad) > 20
    for example in good:
        assert document_takes("ClassificationRequested-Input", json.loads(example.path.read_bytes()))
    taken = {
        each.path.stem
        for each in bad
        if document_takes("ClassificationRequested-Input", each.expected["message"])
    }
    assert taken == BEYOND


def test_the_document_has_every_request_that_is_an_example_as_jobs_show_it() -> None:
    for example in good_examples():
        if example.event is ClassificationRequested:
            request = ClassificationRequested.model_validate_json(example.path.read_bytes())
            shown = json.loads(request.model_dump_json())
            assert document_takes("ClassificationRequested-Output", shown), shown


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


job_ids = st.sampled_from([None, "spring", "S", 1])
values = st.sampled_from([[], ["Men", "Women"], "Men", "", [""], None])
shares = st.sampled_from([0, 0.5, 1, 2])
augmentations = some(
    cropping=st.sampled_from([None, {"height": {"min": 1, "max": 2}}, {}]),
    resize=st.sampled_from([None, {"width": 1, "height": 2048}, {"width": 1}]),
    flip=st.none() | some(horizontal=shares),
    rotation=st.sampled_from([None, {"degrees": 180}, {"degrees": 0}]),
    colour_jitter=st.none() | some(hue=shares),
    blur=st.sampled_from([None, {"radius": 20}, {"radius": 21}]),
    copies=st.sampled_from([1, 10, 11, True, None]),
)
requests = some(
    gender=values,
    usage=values,
    start_year=st.sampled_from([None, 1900, 2011, 2011.0, 2011.5]),
    end_year=st.sampled_from([None, 2012, 2101]),
    limit=st.sampled_from([None, 1, 0, 10**9]),
    retry_of=job_ids,
    job_id=job_ids,
    augmentation=st.none() | augmentations,
    classify=st.sampled_from(["originals", "augmented", "both", "none", "all", None]),
    model=st.sampled_from([None, "7", ""]),
    prepared_by=job_ids,
    colour=st.just("Red"),
)


@settings(max_examples=1_000, deadline=None)  # machines that run this are shared
@given(requests)
def test_the_document_takes_the_requests_that_the_event_takes(request: dict[str, Any]) -> None:
    taken = model_takes(ClassificationRequested, request)
    assert document_takes("ClassificationRequested-Input", request) == taken


@given(requests)
def test_what_a_request_became_is_as_the_document_says(request: dict[str, Any]) -> None:
    if model_takes(ClassificationRequested, request):
        event = ClassificationRequested.model_validate_json(json.dumps(request))
        assert document_takes("ClassificationRequested-Output", event.model_dump(mode="json"))


JUDGED = Prediction(
    prediction_id="1",
    image_uri="gs://bucket/1.jpg",
    variant="original",
    heads=(Label(head="gender", rank=1, label="Men", probability=0.9),),
    predicted_at=datetime(2026, 11, 28, tzinfo=UTC),
)


@given(
    some(
        job_id=st.sampled_from(["spring", "S", None]),
        product_id=st.sampled_from(
            ["1", "a/b", "a b", "\N{DRESS}", "x" * 200, "x" * 201, "", " a", "a ", "a\tb", "a\x7f", 1, None]
        ),
        verdict=st.sampled_from(["accepted", "corrected", "dismissed", "doubted"]),
        label=st.sampled_from([None, "Women", " Women ", " ", "\u2003", "a\tb", "", "x" * 201]),
        comment=st.sampled_from([None, "", "because", "x" * 2001]),
    ).map(
        lambda body: {"head": "gender", "job_id": "spring", "product_id": "1", "verdict": "corrected", **body}
    )
)
def test_the_document_takes_the_judgements_that_can_be_made(body: dict[str, Any]) -> None:
    assert document_takes("Judgement", body) == can_be_made(body)


def can_be_made(body: dict[str, Any]) -> bool:
    if not model_takes(Judgement, body):
        return False
    given = Judgement.model_validate(body)
    try:
        judgement(
            JUDGED,
            given.head,
            given.verdict,
            label=given.label,
            by="somebody",
            at=JUDGED.predicted_at,
            comment=given.comment,
        )
    except InvalidRequestError:
        return False
    return True
