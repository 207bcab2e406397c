"""What goes wrong, told as RFC 9457 (application/problem+json) or, to a browser, as a page."""

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from math import isfinite
from typing import Any, TypedDict

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from services.client.errors import ClientError, InvalidRequestError
from services.model.manifest import ModelError
from services.shared.errors import ObjectNotFoundError

MEDIA_TYPE = "application/problem+json"
SHOWN = 200  # characters of a wrong value


class FieldError(TypedDict):
    """What is wrong with one field: `got` is null where nothing was given."""

    field: str
    expected: str
    got: Any


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An answer that says what is wrong.

    Args:
        status: of the answer, 4xx or 5xx.
        type: names the kind of problem for programs, for example `job-not-found`.
        detail: one sentence for who asked.
        errors: the fields that are wrong.
        headers: further headers of the answer.
        more: further members of the document, as the type says.

    """

    def __init__(
        self,
        status: int,
        type: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.type = type
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    @property
    def title(self) -> str:
        """The type in words."""
        return self.type.replace("-", " ").capitalize()

    def document(self, instance: str) -> dict[str, Any]:
        """The problem as JSON; `instance` is the path that was asked for."""
        document: dict[str, Any] = {
            "type": f"urn:vitrine:problem:{self.type}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        return document | self.more | ({"errors": list(self.errors)} if self.errors else {})


# Renders a problem for a browser.
type Page = Callable[[Request, Problem], Response]


def install(app: FastAPI, page: Page) -> None:
    """Makes every error that has something to say an answer; `page` renders it for browsers."""
    app.state.problem_page = page
    for kind in (
        Problem,
        RequestValidationError,
        HTTPException,
        ClientError,
        ModelError,
        ObjectNotFoundError,
    ):
        app.add_exception_handler(kind, answer)


def answer(request: Request, error: Exception) -> Response:
    """The answer to an error: a page for who asked for HTML, else JSON."""
    problem = problem_of(error)
    request.state.problem = problem
    if wants_page(request):
        page: Page = request.app.state.problem_page
        return page(request, problem)
    return json_response(request.url.path, problem)


def wants_page(request: Request) -> bool:
    """Whether it is a browser that shows the answer."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/")


def json_response(instance: str, problem: Problem) -> Response:
    """The answer to a program."""
    # ASCII: what is repeated of a request may be half a character, which no other encoding has.
    body = json.dumps(problem.document(instance))
    return Response(body, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """What to tell of an error."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            errors = field_errors(error.errors())
            if any(each["type"] == "json_invalid" for each in error.errors()):
                return Problem(400, "malformed-request", "the body is not JSON", errors=errors)
            return Problem(422, "invalid-request", _summary(errors), errors=errors)
        case HTTPException(status_code=400):
            return Problem(400, "malformed-request", str(error.detail))
        case HTTPException():
            phrase = HTTPStatus(error.status_code).phrase
            kind = phrase.lower().replace(" ", "-").replace("'", "")
            return Problem(error.status_code, kind, str(error.detail), headers=error.headers)
        case InvalidRequestError(__cause__=ValidationError() as cause):
            errors = field_errors(cause.errors(include_url=False))
            return Problem(422, "invalid-request", str(error), errors=errors)
        case InvalidRequestError(field=str() as field):
            wrong: FieldError = {"field": field, "expected": error.expected, "got": shown(error.got)}
            return Problem(422, "invalid-request", str(error), errors=[wrong])
        case InvalidRequestError():
            return Problem(422, "invalid-request", str(error))
        case ClientError():
            return Problem(409, "conflict", str(error))
        case ModelError():
            return Problem(409, "model-refused", str(error))
        case ObjectNotFoundError():
            return Problem(404, "not-found", "what belongs to it is not stored any more")
        case _:
            return Problem(500, "internal-error", "something went wrong here; it was recorded")


def field_errors(errors: Sequence[Any]) -> list[FieldError]:
    """Pydantic's errors as ours."""
    return [
        {
            "field": ".".join(str(part) for part in error["loc"] if part not in ("body", "query", "path"))
            or "body",
            "expected": error["msg"],
            "got": None if error["type"] in ("missing", "json_invalid") else shown(error["input"]),
        }
        for error in errors
    ]


def shown(value: Any) -> Any:
    """A wrong value as it may be repeated to who sent it: whole where it is short."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _summary(errors: Sequence[FieldError]) -> str:
    return "; ".join(f"{error['field']}: {error['expected']}" for error in errors)
