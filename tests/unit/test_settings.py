"""Settings: from the environment, once; what is wrong with them is said all at once, at boot."""

import io
from contextlib import redirect_stderr
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from services.shared import settings

ENVIRONMENT = {
    "GOOGLE_CLOUD_PROJECT": "a-project",
    "VITRINE_BUCKET": "a-bucket",
    "VITRINE_DATASET": "a_dataset",
}


class Settings(settings.Settings):
    service = "example"
    dataset: Annotated[settings.DatasetName, Field(alias="VITRINE_DATASET")]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A complete environment."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def complaints() -> str:
    with redirect_stderr(io.StringIO()) as said, pytest.raises(SystemExit) as stop:
        settings.read(Settings)
    assert stop.value.code == settings.CANNOT_START
    return said.getvalue()


def test_settings_are_read_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    read = settings.read(Settings)
    assert (read.project, read.bucket, read.dataset) == ("a-project", "a-bucket", "a_dataset")


def test_all_that_is_missing_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        environment.delenv(name)
    text = complaints()
    assert [name for name in ENVIRONMENT if f"  {name}: Field required" not in text] == []
    assert text.startswith("example cannot start")


def test_what_is_malformed_is_named_beside_what_is_missing(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("VITRINE_BUCKET", "gs://a-bucket")
    environment.setenv("GOOGLE_CLOUD_PROJECT", "")
    environment.delenv("VITRINE_DATASET")
    lines = complaints().splitlines()
    assert {line.strip().partition(":")[0] for line in lines[1:]} == ENVIRONMENT.keys()


@pytest.mark.parametrize(
    "bucket", ["ab", "a-bucket/", "A-bucket", "-bucket", "bucket-", "a bucket", "a" * 223]
)
def test_what_is_no_bucket_is_refused(environment: pytest.MonkeyPatch, bucket: str) -> None:
    environment.setenv("VITRINE_BUCKET", bucket)
    assert "VITRINE_BUCKET: " in complaints()


@pytest.mark.parametrize("dataset", ["a-dataset", "project.dataset", "a dataset", "`", ""])
def test_what_is_no_dataset_is_refused(environment: pytest.MonkeyPatch, dataset: str) -> None:
    """A dataset's name becomes part of SQL text."""
    environment.setenv("VITRINE_DATASET", dataset)
    assert "VITRINE_DATASET: " in complaints()


def test_settings_do_not_change_after_boot(environment: pytest.MonkeyPatch) -> None:
    read = settings.read(Settings)
    environment.setenv("VITRINE_BUCKET", "another")
    assert read.bucket == "a-bucket"
    with pytest.raises(ValidationError, match="frozen"):
        read.bucket = "another"


def test_what_else_is_in_the_environment_does_not_matter(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("VITRINE_ELSE", "1")
    environment.setenv("BUCKET", "another")
    assert settings.read(Settings).bucket == "a-bucket"
