"""The gateway's settings: all that is wrong is named at boot."""

import pytest
from pydantic import JsonValue, ValidationError

from services.gateway.settings import Settings
from services.shared.settings import read
from tests.unit.gateway_world import ENVIRONMENT


def settings(**environment: JsonValue) -> Settings:
    return Settings.model_validate({**ENVIRONMENT, **environment})


def test_what_is_optional_has_a_value_that_lets_nobody_in() -> None:
    empty = settings()
    assert (empty.audiences, empty.roles, empty.api_keys, empty.oauth_client_id) == ((), {}, None, None)
    assert (empty.rate_limit, empty.proxies, empty.cost_limit) == ("3000/minute", 0, None)
    assert empty.prices.currency == "USD"


def test_lists_and_documents_are_read_as_environments_have_them() -> None:
    given = settings(
        VITRINE_AUDIENCES="https://a.example, https://b.example,",
        VITRINE_ROLES='{"viewer": ["domain:Shop.example"], "admin": ["group:Team@shop.example", "a@b.c"]}',
        VITRINE_PROXIES="1",
        VITRINE_COST_LIMIT="12.5",
    )
    assert given.audiences == ("https://a.example", "https://b.example")
    assert given.roles == {"viewer": ("domain:shop.example",), "admin": ("group:team@shop.example", "a@b.c")}
    assert (given.proxies, given.cost_limit) == (1, 12.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VITRINE_GATEWAY_URL", "vitrine.example"),
        ("VITRINE_GATEWAY_URL", "https://vitrine.example/console"),
        ("VITRINE_SESSION_SECRET", "short"),
        ("VITRINE_ROLES", "{"),
        ("VITRINE_ROLES", '{"king": ["a@b.c"]}'),
        ("VITRINE_ROLES", '{"viewer": ["everybody"]}'),
        ("VITRINE_ROLES", '{"viewer": ["user:a@b.c"]}'),
        ("VITRINE_ROLES", '{"viewer": "a@b.c"}'),
        ("VITRINE_RATE_LIMIT", "often"),
        ("VITRINE_RATE_LIMIT", "0/minute"),
        ("VITRINE_PROXIES", "-1"),
        ("VITRINE_COST_LIMIT", "-1"),
        ("VITRINE_PRICES", '{"gpu_secnod": 1}'),
        ("VITRINE_PRICES", '{"bigquery_tib": -1}'),
        ("VITRINE_PRICES", '{"currency": "euros"}'),
    ],
)
def test_what_is_malformed_is_named(name: str, value: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**{name: value})
    assert {error["loc"][0] for error in refused.value.errors()} == {name}


def test_everything_that_is_missing_is_named_at_once_and_no_secret_is_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VITRINE_SESSION_SECRET", "swordfish")
    with pytest.raises(SystemExit):
        read(Settings)
    said = capsys.readouterr().err
    assert all(name in said for name in ENVIRONMENT)
    assert "swordfish" not in said


def test_no_secret_is_shown_with_the_settings() -> None:
    assert str(ENVIRONMENT["VITRINE_SESSION_SECRET"]) not in repr(settings())
