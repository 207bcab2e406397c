"""How the console's pages are made of templates, and how they put names, numbers and times."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.datastructures import FormData
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from services.client.ports import Disagreement, Result
from services.client.report import LEARNT, MEANINGS, UNSURE, misfits_of, percent, templates, words
from services.gateway.identity import Identity, Right
from services.gateway.security import csrf_token
from services.shared.events import Prediction, Product
from services.shared.layout import digest

PAGES = Path(__file__).parent / "pages"

# What was just done, as the page that comes after it says it.
DONE: Mapping[str, str] = {
    "cancelled": "The job is asked to end. What is classified already stays.",
    "judged": "Kept. It counts for the quality figures from now on.",
    "replayed": "The message is published again.",
    "promoted": "The version is in production: jobs that start from now on use it, uploads within seconds.",
    "rolled-back": "What was in production before is back.",
}


class _Errors(dict[str, str]):
    """What is wrong, by field; of a field that is right templates may ask all the same."""

    def __missing__(self, field: str) -> str:
        return ""


def page(
    request: Request,
    name: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> HTMLResponse:
    """Renders a page for whoever asked.

    Args:
        request: with the identity, if it has one.
        name: of the template, without its ending.
        status: of the answer.
        headers: of the answer.
        context: what the template shows.

    """
    identity: Identity | None = getattr(request.state, "identity", None)

    def may(right: Right) -> bool:
        return identity is not None and identity.may(right)

    context = {
        "identity": identity,
        "may": may,
        "here": "/" + request.url.path.split("/")[1],
        "address": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "csrf_token": csrf_token(request),
        "done": DONE.get(request.query_params.get("done", "")),
        "form": FormData(),
        "errors": {},
    } | context
    context["errors"] = _Errors(context["errors"])
    content = environment().get_template(f"{name}.html.j2").render(context)
    return HTMLResponse(content, status, headers)


def ago(at: datetime, now: datetime | None = None) -> str:
    """How long ago, in words."""
    seconds = ((now or datetime.now(at.tzinfo)) - at).total_seconds()
    if seconds < 45:
        return "just now"
    for unit, size, until in (("minute", 60, 90 * 60), ("hour", 3600, 36 * 3600), ("day", 86400, 45 * 86400)):
        if seconds < until:
            count = max(1, round(seconds / size))
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return f"{at:%-d %B %Y}"


def duration(seconds: float | timedelta) -> str:
    """How long, in words."""
    total = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    if total < 10:
        return f"{max(total, 0.1):.1f} seconds"
    if total < 90:
        return f"{total:.0f} seconds"
    if total < 90 * 60:
        return f"{total / 60:.0f} minutes"
    return f"{total / 3600:.1f} hours"


def money(amount: float, currency: str) -> str:
    """What something costs, as far as that can be said before."""
    if 0 < amount < 0.01:
        return f"less than 0.01 {currency}"
    return f"about {amount:,.2f} {currency}"


def photo(prediction: Prediction, side: int | None = 320, head: str | None = None) -> str:
    """Where the gateway serves the photo of a prediction; of several, the one that decided the head.

    Args:
        prediction: a row of a job.
        side: pixels; without one, the size that is usual.
        head: Default: the first one.

    """
    first = prediction.heads[0].head if prediction.heads else ""
    number = prediction.decided_by(head or first)
    return photo_of(prediction.job_id or "", prediction.product_id or "", prediction.variant, side, number)


def photo_of(
    job_id: str,
    product_id: str,
    variant: str = "original",
    side: int | None = 320,
    photo_number: int | None = None,
) -> str:
    """Where the gateway serves a photo of a job; without a side in the size that is usual."""
    asked: dict[str, str | int] = {"side": side} if side else {}
    if variant != "original":
        asked["variant"] = variant
    if photo_number is not None:
        asked["photo_number"] = photo_number
    return f"/v1/jobs/{job_id}/photos/{quote(product_id, safe='')}" + (
        f"?{urlencode(asked)}" if asked else ""
    )


def _deciding(doubt: Disagreement, side: int = 320) -> str:
    """Where the gateway serves the photo that decided a disagreement."""
    return photo(doubt.prediction, side, doubt.head)


def name_of(declared: Product | None, product_id: str | None) -> str:
    """What the catalogue calls a product, or else its id."""
    return (declared.display_name if declared else None) or f"Product {product_id}"


def _product(row: Result | Disagreement) -> str:
    return name_of(row.declared, row.prediction.product_id)


def _variant(variant: str) -> str:
    """`augmented-0` as people count."""
    copy = variant.removeprefix("augmented-")
    return f"variant {int(copy) + 1}" if copy.isdecimal() else variant


def _figure_name(name: str) -> str:
    """`article_type.macro_f1` as people write it."""
    return words(name.replace(".", " ")).replace("auroc", "AUROC").replace(" f1", " F1")


def _figure(value: float, name: str) -> str:
    kind = name.rpartition(".")[2]
    if kind in ("accuracy", "coverage", "accuracy_answered"):
        return share(value)
    return f"{value:,.1f}" if kind in ("megabytes", "milliseconds") else f"{value:.3f}"


def share(value: float) -> str:
    """A measured share in per cent."""
    return f"{100 * value:.1f} %"


@cache
def environment() -> Environment:
    """Where the templates are, and what they may ask for."""
    made = templates(PAGES)
    made.globals |= {"digest": digest, "unsure_note": UNSURE, "learnt_note": LEARNT}
    made.filters |= {
        "ago": ago,
        "duration": duration,
        "figure": _figure,
        "figure_name": _figure_name,
        "heading": lambda name: words(name).capitalize(),
        "meaning": lambda code: MEANINGS.get(code, code),
        "moment": lambda at: f"{at:%-d %B %Y, %H:%M:%S %Z}",
        "money": money,
        "percent": percent,
        "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
        "photo": photo,
        "deciding_photo": _deciding,
        "misfits": misfits_of,
        "product": _product,
        "rate": lambda value: f"{value:,.0f}" if value >= 10 else f"{value:.1f}",
        "share": share,
        "thousands": lambda number: f"{number or 0:,}",
        "variant": _variant,
        "words": lambda name: words(name).replace("-", " "),
    }
    return made
