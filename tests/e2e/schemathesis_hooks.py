"""Makes right what fits the schemas where JSON Schema has no words; what is wrong stays wrong."""

import json
import os
from copy import deepcopy
from typing import Any

import schemathesis
from hypothesis import strategies
from schemathesis import Case, HookContext
from schemathesis.generation.meta import TestPhase

from services.shared.events import Filters
from services.shared.images import FORMATS
from tests.unit.photos import encoded, grey

JOB = "summer-dresses"  # the documents' example; it has ended before the fuzzer begins
HEAD = "article_type"
# Values that products have, by column: no schema can say which these are.
VALUES: dict[str, list[str]] = json.loads(os.environ.get("VITRINE_FUZZ_VALUES", "{}"))

for kind in FORMATS:
    schemathesis.openapi.media_type(f"image/{kind.lower()}", strategies.just(encoded(grey(200), kind)))


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Changes a question that is to be accepted, whichever phase asks it."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    body: Any = case.body
    match case.operation.label:
        case "POST /v1/estimates":
            case.body = _request(body)
        case "POST /v1/jobs":
            # Few jobs, and none of the whole catalogue: it is to find what is wrong with the API, not to fill
            # a machine. Each has a name of its own, but for the hundreds that try every limit.
            limit = {} if body.get("prepared_by") else {"limit": 2}
            named = {"job_id": f"fuzz-{case.id.lower()}", "model": None}
            tries = case.meta.phase.name == TestPhase.COVERAGE
            case.body = _request(body) | limit | ({} if tries else named)
        case "POST /v1/labels":
            # Which heads a photo has, its model says.
            case.body = body | {"head": HEAD}
        case "GET /v1/jobs/{job_id}/results" | "GET /v1/disagreements" | "GET /v1/corrections" if (
            "after" in case.query
        ):
            case.query = _next_page(case, kwargs)


def _request(body: Any) -> dict[str, Any]:
    request: dict[str, Any] = deepcopy(body)
    _order(request, "start_year", "end_year")
    if cropping := (request.get("augmentation") or {}).get("cropping"):
        _order(cropping["height"], "min", "max")
    for column in Filters.COLUMNS:
        if request.get(column):
            request[column] = VALUES.get(column, [])
    if request.get("filters"):
        others = {column: values for column, values in VALUES.items() if not request.get(column)}
        request["filters"] = others or None
    return request | {name: JOB for name in ("retry_of", "prepared_by") if request.get(name)}


def _order(numbers: dict[str, Any], low: str, high: str) -> None:
    given = [numbers[name] for name in (low, high) if numbers.get(name) is not None]
    if len(given) == 2:
        numbers[low], numbers[high] = sorted(given)


def _next_page(case: Case[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The question with the `after` that its first page leads on with; without one where it does not."""
    question = {name: value for name, value in case.query.items() if name != "after"}
    # Only JSON comes in pages.
    paged = {name: value for name, value in question.items() if name != "format"} | {"limit": 1}
    first = case.operation.Case(path_parameters=case.path_parameters, query=paged, headers=case.headers)
    answer = first.call(**kwargs)
    after = answer.json().get("next") if answer.status_code == 200 else None
    return {**question, "after": after} if after else question
