"""--filter, as people type it."""

from collections.abc import Mapping

import pytest

from services.client.errors import ClientError
from services.client.filters import filters_of


@pytest.mark.parametrize(
    ("options", "filters"),
    [
        ([], None),
        (["colour=Red"], {"colour": ["Red"]}),
        (["colour=Red", "colour=Blue=Green", "kind=a b"], {"colour": ["Red", "Blue=Green"], "kind": ["a b"]}),
        (["price=10..19.90"], {"price": {"from": "10", "to": "19.90"}}),
        (["price=..20", "listed=2026-01-01.."], {"price": {"to": "20"}, "listed": {"from": "2026-01-01"}}),
        (["name=S..M", "dots=.."], {"name": ["S..M"], "dots": [".."]}),
    ],
)
def test_options_become_conditions(options: list[str], filters: Mapping[str, object] | None) -> None:
    assert filters_of(options) == filters


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["colour"], "expected NAME=VALUE or NAME=FROM..TO (got 'colour')"),
        (["=Red"], "expected NAME=VALUE"),
        (["colour="], "expected NAME=VALUE"),
        (["price=1..2", "price=5..6"], "price has two ranges"),
        (["price=1..2", "price=5"], "price has a range and a value"),
    ],
)
def test_what_is_no_condition_is_named(options: list[str], complaint: str) -> None:
    with pytest.raises(ClientError) as refusal:
        filters_of(options)
    assert complaint in str(refusal.value)
