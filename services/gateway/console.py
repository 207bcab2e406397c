"""The console."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from services.gateway.problems import Problem, json_response

router = APIRouter(include_in_schema=False)


def problem_page(request: Request, problem: Problem) -> Response:
    """A problem as a browser shows it; who is not signed in (401) goes to the sign-in page."""
    return json_response(request.url.path, problem)
