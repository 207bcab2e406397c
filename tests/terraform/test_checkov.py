"""checkov over prod's plan: it finds what .checkov.yaml says why it may, all of that, and nothing else."""

import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.terraform.plans import ROOT, Plan

CHECKOV = ROOT / ".venv" / "checkov" / "bin" / "checkov"
ALLOWED = set(yaml.safe_load((ROOT / ".checkov.yaml").read_text())["skip-check"])


def findings(document: str, folder: Path) -> set[str]:
    if not CHECKOV.exists():
        pytest.skip("checkov is not installed: `make test` does that")
    (folder / "plan.json").write_text(document)
    # Elsewhere than the configuration, so that nothing is skipped.
    done = subprocess.run(
        [CHECKOV, "-f", "plan.json", "--framework=terraform_plan", "--output=json", "--skip-download"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 50
    return {check["check_id"] for check in report["results"]["failed_checks"]}


def test_checkov_finds_nothing_but_what_is_explained(
    plans: Mapping[str, Plan], tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = json.dumps(plans["prod"].document)
    opened = document.replace(
        '"public_access_prevention": "enforced"', '"public_access_prevention": "inherited"'
    )
    assert opened != document
    with ThreadPoolExecutor(2) as threads:
        as_it_is, broken = threads.map(
            lambda text: findings(text, tmp_path_factory.mktemp("checkov")), (document, opened)
        )
    assert as_it_is == ALLOWED
    assert broken == ALLOWED | {"CKV_GCP_114"}
