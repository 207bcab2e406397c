"""How the API is described: every problem by its type. `python -m services.gateway.openapi` writes it."""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response

from services.client.report import MEANINGS
from services.gateway.ports import Ports
from services.gateway.problems import MEDIA_TYPE, Problem, answer
from services.shared.wiring import SCHEMAS

FILE = SCHEMAS / "openapi.json"

DESCRIPTION = """\
Classifies a marketplace's product photos and tells where its catalogue is wrong.

Every request carries a credential: `Authorization: Bearer <API key or Google ID token>`. A role says what
it may do: a viewer reads, an operator runs jobs, a reviewer judges predictions, an admin does all of it and
promotes models.

What goes wrong is answered as [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) says, with a `type` for
programs, a `detail` for people, and in `errors` each field that is wrong. Changing requests may be repeated:
with an `Idempotency-Key`, or because the same thing asked twice is the same thing.

The topics behind it are at [/events](/events).
"""

TAGS = [
    {"name": "jobs", "description": "Ask for photos to be classified, and follow what becomes of it."},
    {"name": "results", "description": "What came out of a job."},
    {"name": "single photos", "description": "One photo, and the answer."},
    {"name": "review", "description": "Where the catalogue is wrong, and how good the model is."},
    {"name": "models", "description": "Which version answers."},
    {"name": "rejected messages", "description": "What the pipeline refused, and once more."},
]

# Type -> its status, and what it means.
PROBLEMS: Mapping[str, tuple[int, str]] = {
    "malformed-request": (400, "The body is not JSON, or not the form that it says it is."),
    "unauthenticated": (401, "There is no credential, or it is not valid."),
    "forbidden": (403, "No role of who asks has the right."),
    "forged-request": (403, "A browser's session without the token of our page, or from a page of others."),
    "job-not-found": (404, "There is no such job."),
    "photo-not-found": (404, "The job has no such photo."),
    "prediction-not-found": (404, "There is no such prediction, or not yet."),
    "model-not-found": (404, "No such version of the model is published."),
    "rejection-not-found": (404, "There is no such rejected message."),
    "job-id-taken": (409, "The job_id belongs to another request."),
    "idempotency-key-reused": (409, "The Idempotency-Key came with other content before."),
    "confirmation-needed": (409, "The job would cost more than the limit; `estimate` says what."),
    "job-not-ended": (409, "It runs still."),
    "job-not-suitable": (409, "The job has not what this would go on from."),
    "nothing-to-retry": (409, "No photo of the job failed."),
    "cannot-replay": (409, "The message's topic is not known, or its bytes are not stored."),
    "cannot-promote": (409, "The version is damaged or refused, or somebody else was faster."),
    "cannot-roll-back": (409, "Nothing was ever promoted, or somebody else was faster."),
    "model-refused": (409, "What stands there is not a version that would be served."),
    "too-large": (413, "The body has more bytes than are taken."),
    "photo-too-large": (413, MEANINGS["photo-too-large"]),
    "photo-not-an-image": (415, MEANINGS["photo-not-an-image"]),
    "photo-format-unsupported": (415, MEANINGS["photo-format-unsupported"]),
    "photo-empty": (422, MEANINGS["photo-empty"]),
    "photo-too-many-pixels": (422, MEANINGS["photo-too-many-pixels"]),
    "photo-animated": (422, MEANINGS["photo-animated"]),
    "photo-corrupt": (422, MEANINGS["photo-corrupt"]),
    "page-of-another-question": (422, "`after` is of a page with other filters."),
    "invalid-request": (422, "A field is wrong; `errors` names each."),
    "too-many-requests": (429, "Ask again after the seconds that Retry-After names."),
    "credential-unverifiable": (503, "Google's certificates cannot be asked now."),
}
# What any route may answer.
EVERYWHERE = ("unauthenticated", "forbidden", "too-many-requests", "credential-unverifiable")
PHOTO_PROBLEMS = tuple(name for name in PROBLEMS if name in MEANINGS)

_PROBLEM_SCHEMA = {
    "title": "Problem",
    "type": "object",
    "description": "What is wrong, as RFC 9457 has it.",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "The kind of problem."},
        "title": {"type": "string", "description": "The kind of problem, in words."},
        "status": {"type": "integer", "description": "The status of the answer."},
        "detail": {"type": "string", "description": "What is wrong, in a sentence."},
        "instance": {"type": "string", "description": "The path that was asked for."},
        "errors": {
            "type": "array",
            "description": "The fields that are wrong.",
            "items": {
                "type": "object",
                "required": ["field", "expected", "got"],
                "properties": {
                    "field": {"type": "string"},
                    "expected": {"type": "string"},
                    "got": {"description": "What was given; null where nothing was."},
                },
            },
        },
        "estimate": {"$ref": "#/components/schemas/Estimate"},
    },
}


def may_raise(*types: str, fields: bool = True) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: the problems that any may answer, and these.

    Args:
        types: of the problems.
        fields: whether it takes any field, which may be wrong.

    """
    by_status: dict[int, list[str]] = {}
    for name in (*EVERYWHERE, *(["invalid-request"] if fields else []), *types):
        by_status.setdefault(PROBLEMS[name][0], []).append(name)
    return {status: _response(status, names) for status, names in sorted(by_status.items())}


def changing(*types: str) -> dict[int | str, dict[str, Any]]:
    """As `may_raise`, of a route that takes a body or changes something."""
    return may_raise("forged-request", "too-large", *types)


def _response(status: int, names: list[str]) -> dict[str, Any]:
    examples: dict[str, Any] = {
        name: {
            "summary": PROBLEMS[name][1],
            "value": Problem(status, name, PROBLEMS[name][1]).document("/v1/..."),
        }
        for name in names
    }
    kinds = [example["value"]["type"] for example in examples.values()]
    schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": {"type": {"enum": kinds}}}]}
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{name}`' for name in names)}",
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def install(app: FastAPI) -> None:
    """Makes the application describe itself so."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title="Vitrine", version=app.version, description=DESCRIPTION, tags=TAGS, routes=app.routes
            )
            components = document["components"]
            components["schemas"]["Problem"] = _PROBLEM_SCHEMA
            components["securitySchemes"] = {
                "credential": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, or an ID token that Google signed for this audience.",
                }
            }
            document["security"] = [{"credential": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.add_exception_handler(405, _not_allowed)
    app.openapi = openapi  # type: ignore[method-assign]


def _not_allowed(request: Request, _error: Exception) -> Response:
    """Names all methods of a path: the router would name those of its first route alone."""
    paths, asked = request.app.openapi()["paths"], request.url.path
    # A path that stands there as it is comes before those with a parameter in that place.
    path = next((path for path in [asked, *paths] if path in paths and _matches(path, asked)), None)
    methods = sorted(method.upper() for method in paths[path]) if path else ["GET", "POST"]
    allowed = ", ".join(methods)
    detail = f"{request.method} is none of the methods of {asked}: {allowed}"
    return answer(request, Problem(405, "method-not-allowed", detail, headers={"Allow": allowed}))


def _matches(path: str, asked: str) -> bool:
    return re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), asked) is not None


def rendered() -> str:
    """The document as it is written."""
    # Imported here: the application is made of the routes, which are described by this module.
    from services.gateway.app import create_app
    from services.gateway.settings import Settings

    settings = Settings(
        project="vitrine",
        bucket="vitrine",
        upload_bucket="vitrine-uploads",
        dataset="vitrine",
        model="vitrine",
        model_version="1",
        url="http://127.0.0.1",
        session_secret="-" * 32,
    )
    return json.dumps(create_app(settings, _no_ports).openapi(), indent=2, ensure_ascii=False) + "\n"


def _no_ports() -> Ports:
    raise AssertionError("nothing is asked of it")


if __name__ == "__main__":
    FILE.write_text(rendered(), encoding="utf-8")
