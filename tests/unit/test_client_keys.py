"""`vitrine keys`: the file of API keys from a terminal."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.client.cli import app
from services.shared.keys import read_keys, split_key


def keys(folder: Path, *arguments: str) -> Result:
    """Runs a command for the local cloud of a folder."""
    return CliRunner().invoke(app, ["keys", *arguments, "--home", str(folder)])


def test_a_key_is_printed_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    added = keys(tmp_path, "add", "shop", "--role", "operator")
    credential = added.stdout.strip()
    (key,) = read_keys((tmp_path / "api-keys.json").read_bytes())
    key_id, secret = split_key(credential)
    assert (key.id, key.name, key.role, key.expires) == (key_id, "shop", "operator", None)
    assert key.opens_with(secret)
    assert secret not in (tmp_path / "api-keys.json").read_text()
    assert secret not in keys(tmp_path, "list").stdout


def test_keys_are_listed_with_what_they_may_and_until_when(tmp_path: Path) -> None:
    keys(tmp_path, "add", "shop", "--role", "operator", "--expires", "30")
    keys(tmp_path, "add", "report", "--role", "viewer")
    until = f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%d}"
    shop, report = [line for line in keys(tmp_path, "list").stdout.splitlines() if "20" in line]
    assert shop.split()[1:3] + shop.split()[4:] == ["shop", "operator", until]
    assert report.split()[1:3] + report.split()[4:] == ["report", "viewer", "never"]


def test_a_key_that_is_over_is_listed_as_expired(tmp_path: Path) -> None:
    keys(tmp_path, "add", "shop", "--role", "operator", "--expires", "1")
    file = tmp_path / "api-keys.json"
    document = json.loads(file.read_text())
    document[0]["expires"] = "2020-01-01T00:00:00Z"
    file.write_text(json.dumps(document))
    assert "2020-01-01 expired" in keys(tmp_path, "list").stdout


def test_the_old_key_of_a_name_is_removed_by_its_id(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.json"
    old, new = [
        keys(tmp_path, "add", "shop", "--role", "viewer", "--file", str(file)).stdout.strip()
        for _ in range(2)
    ]
    assert keys(tmp_path, "remove", split_key(old)[0], "--file", str(file)).exit_code == 0
    assert [key.id for key in read_keys(file.read_bytes())] == [split_key(new)[0]]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["add", "Shop", "--role", "viewer"], "name: expected small letters, digits and -._, got 'Shop'"),
        (
            ["add", "shop", "--role", "king"],
            "role: expected one of viewer, operator, reviewer, admin, got 'king'",
        ),
        (["remove", "0123"], "there is no key '0123' in"),
    ],
)
def test_what_is_wrong_is_a_line(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    refused = keys(tmp_path, *arguments)
    assert refused.exit_code == 1
    assert f"error: {complaint}" in refused.stderr
    assert not (tmp_path / "api-keys.json").exists()


def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "api-keys.json").write_text('{"a": 1}')
    refused = keys(tmp_path, "add", "shop", "--role", "viewer")
    assert "is not a file of API keys" in refused.stderr
    assert (tmp_path / "api-keys.json").read_text() == '{"a": 1}'
