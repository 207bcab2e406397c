"""Schemathesis over a running gateway, as an administrator: all its checks, the same questions always."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread

import uvicorn

from services.gateway import openapi
from services.local.cloud import LocalCloud
from tests.conftest import free_ports
from tests.e2e.gateways import another_gateway, client, ended
from tests.e2e.plain import Outsider
from tests.e2e.schemathesis_hooks import JOB
from tests.unit.gateway_shop import Shop
from tests.unit.photos import jpeg

FOLDER = Path(__file__).parent
TIMEOUT = 900  # seconds
OFTEN = "1000000/minute"  # it asks more often than anybody may
# `make fuzz` asks the cloud the questions of the coverage phase too: most are refused, and the emulator of
# BigQuery, which has an audit row of each refusal, is all that is slow in it.
PHASES = os.environ.get("VITRINE_FUZZ_PHASES", "examples,fuzzing,stateful")


def assert_nothing_is_found(
    url: str, token: str, folder: Path, phases: str, values: Mapping[str, Sequence[str]]
) -> None:
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--no-color"),
            *("--config-file", str(FOLDER / "schemathesis.toml"), "run", f"{url}/openapi.json"),
            *("--header", f"Authorization: Bearer {token}", "--phases", phases),
        ],
        env=os.environ
        | {
            "SCHEMATHESIS_HOOKS": "tests.e2e.schemathesis_hooks",
            "PYTHONPATH": str(FOLDER.parents[1]),
            "VITRINE_FUZZ_VALUES": json.dumps(values),
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # It really asked: a document without operations would find nothing either.
    document = json.loads(openapi.FILE.read_text())
    operations = sum(len(methods) for methods in document["paths"].values())
    assert f"{operations} selected / {operations} total" in done.stdout
    for phase in phases.split(","):
        assert f"✅ {phase.capitalize()}" in done.stdout, done.stdout


def test_the_fuzzer_finds_nothing(cloud: LocalCloud, outsider: Outsider, tmp_path: Path) -> None:
    usage, _ = outsider.add_products([jpeg(), None], article_type="Dresses")
    with another_gateway(cloud, tmp_path, VITRINE_RATE_LIMIT=OFTEN) as (url, _process):
        api = client(cloud, url)
        assert api.post("/v1/jobs", json={"job_id": JOB, "usage": usage}).status_code == 202
        assert ended(api, JOB)["state"] == "completed"
        assert_nothing_is_found(
            url, cloud.token, tmp_path, PHASES, {"usage": [usage], "article_type": ["Dresses"]}
        )


def test_the_fuzzer_finds_nothing_at_any_limit_of_any_field(tmp_path: Path) -> None:
    port = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    shop = Shop(tmp_path, VITRINE_RATE_LIMIT=OFTEN, VITRINE_GATEWAY_URL=url)
    shop.job(job_id=JOB)
    shop.reject()
    server = uvicorn.Server(uvicorn.Config(shop.gateway.app, "127.0.0.1", port, log_level="error"))
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        values = {"gender": ["Men"], "article_type": ["Light"]}
        assert_nothing_is_found(url, shop.gateway.secrets["admin"], tmp_path, "coverage", values)
    finally:
        server.should_exit = True
        thread.join()
