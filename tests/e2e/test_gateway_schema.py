"""Schemathesis over the running gateway, as an administrator: all its checks, the same questions always."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.gateway import openapi
from services.local.cloud import LocalCloud
from tests.e2e.gateways import another_gateway

FOLDER = Path(__file__).parent
TIMEOUT = 560  # seconds


@pytest.fixture(scope="module")
def url(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # It asks more often than anybody may.
    folder = tmp_path_factory.mktemp("gateway")
    with another_gateway(cloud, folder, VITRINE_RATE_LIMIT="1000000/minute") as (url, _process):
        yield url


@pytest.mark.parametrize(
    ("phases", "left_out"),
    [
        ("examples,fuzzing", ()),
        # Every limit of every field, in turn: of a request's body alone that is a thousand questions.
        ("coverage", ("create_job", "estimate_job")),
    ],
)
def test_the_fuzzer_finds_nothing(
    cloud: LocalCloud, url: str, tmp_path: Path, phases: str, left_out: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--no-color"),
            *("--config-file", str(FOLDER / "schemathesis.toml"), "run", f"{url}/openapi.json"),
            *("--header", f"Authorization: Bearer {cloud.token}", "--phases", phases),
            *(option for name in left_out for option in ("--exclude-operation-id", name)),
        ],
        env=os.environ
        | {"SCHEMATHESIS_HOOKS": "tests.e2e.schemathesis_hooks", "PYTHONPATH": str(FOLDER.parents[1])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # It really asked: a document without operations would find nothing either.
    document = json.loads(openapi.FILE.read_text())
    operations = sum(len(methods) for methods in document["paths"].values())
    assert f"{operations - len(left_out)} selected / {operations} total" in done.stdout
