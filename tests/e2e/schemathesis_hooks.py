"""Makes what fits the schemas right where JSON Schema has no words, and jobs small. What is wrong stays wrong."""

from copy import deepcopy
from typing import Any

import schemathesis
from hypothesis import strategies
from schemathesis import Case, HookContext

from services.shared.images import FORMATS
from tests.unit.photos import encoded, grey

for kind in FORMATS:
    schemathesis.openapi.media_type(f"image/{kind.lower()}", strategies.just(encoded(grey(200), kind)))


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Changes a question that is to be accepted, whichever phase asks it."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    match case.operation.label:
        case "POST /v1/jobs" | "POST /v1/estimates" as label:
            case.body = _request(case.body, jobs=label == "POST /v1/jobs")
        case "POST /v1/labels":
            # Which heads a photo has, its model says.
            case.body = {**case.body, "head": "article_type"}
        case "GET /v1/jobs/{job_id}/results" | "GET /v1/disagreements" if "after" in case.query:
            case.query = _next_page(case, kwargs)


def _request(body: Any, *, jobs: bool) -> Any:
    request = deepcopy(body)
    years = [request[name] for name in ("start_year", "end_year") if request.get(name) is not None]
    if len(years) == 2:
        request["start_year"], request["end_year"] = sorted(years)
    cropping = (request.get("augmentation") or {}).get("cropping")
    if cropping:
        height = cropping["height"]
        height["min"], height["max"] = sorted((height["min"], height["max"]))
    if jobs and request.get("prepared_by") is None:
        # It is to find what is wrong with the API, not to fill a machine.
        request["limit"] = 2
    return request


def _next_page(case: Case, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The question with the `after` that its first page leads on with; without one where it does not."""
    question = {name: value for name, value in case.query.items() if name != "after"}
    first = case.operation.Case(
        path_parameters=case.path_parameters, query={**question, "limit": 1}, headers=case.headers
    )
    answer = first.call(**kwargs)
    after = answer.json().get("next") if answer.status_code == 200 else None
    return {**question, "after": after} if after else question
