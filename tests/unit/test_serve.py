"""What a stage is served with is what Cloud Run was told of it."""

import os
import sys
from pathlib import Path

import pytest
import yaml

from services.shared import serve

STAGES = {path.parent.name: yaml.safe_load(path.read_text()) for path in serve.SERVICES.glob("*/stage.yaml")}


def served(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[str]:
    """The command that is started."""
    started: list[list[str]] = []
    monkeypatch.setattr(sys, "argv", ["serve", *arguments])
    monkeypatch.setattr(os, "execv", lambda _, command: started.append(command))
    serve.main()
    return started[0]


def after(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


@pytest.mark.parametrize("stage", STAGES)
def test_one_worker_has_a_thread_for_each_request_at_once_and_one_for_probes(
    monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.delenv("PORT", raising=False)
    command = served(monkeypatch, stage)
    assert after(command, "--workers") == "1"
    assert after(command, "--threads") == str(STAGES[stage]["concurrency"] + 1)
    assert after(command, "--bind") == "0.0.0.0:8080"
    assert Path(command[-1].split('"')[3]) == serve.SERVICES / stage / "main.py"


@pytest.mark.parametrize("stage", [name for name, stage in STAGES.items() if "gpu" in stage])
def test_with_a_gpu_it_has_more(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    assert "VITRINE_REQUIRE_GPU" in STAGES[stage]["environment"]
    monkeypatch.setenv("VITRINE_REQUIRE_GPU", "true")
    assert after(served(monkeypatch, stage), "--threads") == str(STAGES[stage]["gpu"]["concurrency"] + 1)


def test_the_port_is_the_one_that_cloud_run_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9090")
    assert after(served(monkeypatch, "staging", "--host", "127.0.0.1"), "--bind") == "127.0.0.1:9090"
