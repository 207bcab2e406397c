"""--filter: conditions on attributes, as people type them."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from services.client.errors import ClientError

FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="NAME=VALUE|NAME=FROM..TO",
        help="Filter by any attribute; NAME= several times means any of the values. Ranges are of numbers or "
        "dates, such as price=10..20 or listed=2026-01-01..",
        show_default=False,
    ),
]

_BOUND = r"[+-]?[0-9]+(?:\.[0-9]+)?|[0-9]{4}-[0-9]{2}-[0-9]{2}"
_RANGE = re.compile(rf"({_BOUND})?\.\.({_BOUND})?")


def filters_of(options: Sequence[str] | None) -> Mapping[str, object] | None:
    """The `filters` of a request; None where there are none.

    Raises:
        ClientError: one is not NAME=VALUE, or an attribute has a range and something else.

    """
    values: dict[str, list[str]] = {}
    ranges: dict[str, dict[str, str]] = {}
    for option in options or ():
        name, equals, text = option.partition("=")
        if not (name and equals and text):
            raise ClientError(f"--filter: expected NAME=VALUE or NAME=FROM..TO (got {option!r})")
        found = _RANGE.fullmatch(text)
        if found and text != "..":
            bounds = dict(zip(("from", "to"), found.groups(), strict=True))
            if name in ranges:
                raise ClientError(f"--filter: {name} has two ranges; give it once")
            ranges[name] = {bound: value for bound, value in bounds.items() if value is not None}
        else:
            values.setdefault(name, []).append(text)
    if both := sorted(values.keys() & ranges.keys()):
        raise ClientError(f"--filter: {both[0]} has a range and a value; give one of them")
    return {**values, **ranges} or None
