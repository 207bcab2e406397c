"""cloudbuild.yaml: its steps, run as by Cloud Build, with programs that only remember what they are asked."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.terraform.plans import DIGEST, ROOT

BUILD: Mapping[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
IDS = [step["id"] for step in BUILD["steps"]]
TARGETS = ("cpu", "audit", "gateway", "inference", "inference-gpu", "training")
REGISTRY = "europe-west4-docker.pkg.dev/acme-build/vitrine"
# What Cloud Build sets by itself.
BUILT_IN = {"PROJECT_ID": "acme-build", "LOCATION": "europe-west4", "COMMIT_SHA": "0a1b2c3"}

GCLOUD = f"""
case "$*" in
  "artifacts docker images describe"*)
    tag=${{5##*/}}
    if [ -f "registry/$tag" ]; then echo {DIGEST}; else cat registry-says >&2; exit 1; fi ;;
  "artifacts docker images scan"*) echo scans/of-"$5" ;;
  *list-vulnerabilities*) cat findings 2>/dev/null || echo "MEDIUM old libraries" ;;
esac
"""
DOCKER = f"""
case "$1" in
  inspect) echo "${{3%:*}}@{DIGEST}" ;;
  push) [ ! -f registry-is-down ] && mkdir -p registry && touch "registry/${{3##*/}}" ;;
esac
"""


@dataclass
class Worker:
    """What Cloud Build runs steps on: one after the other, in one folder, until one fails."""

    workspace: Path
    calls: list[list[str]] = field(default_factory=list)

    def run(self, environment: str = "dev") -> tuple[str, str]:
        """Runs the build; the step that it failed at (or nothing), and what that said."""
        programs = self.workspace / "programs"
        programs.mkdir(exist_ok=True)
        for name, body in {
            "gcloud": GCLOUD,
            "docker": DOCKER,
            "make": "echo planned",
            "terraform": "",
        }.items():
            script = '#!/bin/bash\\necho "$(basename "$0") $*" >> calls\\n'.replace("\\n", "\n") + body
            (programs / name).write_text(script)
            (programs / name).chmod(0o755)
        told = BUILT_IN | {"_ENVIRONMENT": environment}
        for name, value in (each.split("=", 1) for each in BUILD["options"]["env"]):
            told[name] = value.replace("$LOCATION", told["LOCATION"]).replace(
                "$PROJECT_ID", told["PROJECT_ID"]
            )
        failed = ("", "")
        for step in BUILD["steps"]:
            (self.workspace / "script").write_text(step["script"])
            (self.workspace / "script").chmod(0o755)
            done = subprocess.run(
                [self.workspace / "script"],
                cwd=self.workspace,
                env=told | {"PATH": f"{programs}:{os.environ['PATH']}"},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                failed = (step["id"], done.stdout + done.stderr)
                break
        self.calls = [shlex.split(line) for line in (self.workspace / "calls").read_text().splitlines()]
        (self.workspace / "calls").unlink()
        # The next build begins with a folder of its own.
        shutil.rmtree(self.workspace / "digests")
        return failed

    def called(self, *words: str) -> list[list[str]]:
        """The calls that have these words, in this order."""
        return [call for call in self.calls if [word for word in call if word in words] == list(words)]


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    for environment in ("dev", "prod"):
        (tmp_path / "terraform" / "environments" / environment).mkdir(parents=True)
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry-says").write_text("ERROR: Image not found.")
    return Worker(tmp_path)


def images(workspace: Path, environment: str) -> Mapping[str, str]:
    text = (workspace / "terraform" / "environments" / environment / "images.auto.tfvars.json").read_text()
    told: Mapping[str, str] = yaml.safe_load(text)["images"]
    return told


EXPECTED = {target.replace("-", "_"): f"{REGISTRY}/{target}@{DIGEST}" for target in TARGETS}


def test_a_push_is_checked_built_scanned_pushed_planned_applied_and_rolled_out(worker: Worker) -> None:
    assert worker.run() == ("", "")
    assert [call for call in worker.calls if call[0] == "make"] == [
        ["make", "test"],
        ["make", "plan", "ENV=dev"],
        ["make", "apply", "ENV=dev"],
        ["make", "rollout", "ENV=dev"],
    ]
    for target in TARGETS:
        tag = f"{REGISTRY}/{target}:0a1b2c3"
        (built,) = [call for call in worker.called("docker", "build") if f"--tag={tag}" in call]
        assert f"--target={target}" in built
        assert f"--build-arg=BASE=python@{DIGEST}" in built
        scanned = next(i for i, call in enumerate(worker.calls) if "scan" in call and tag in call)
        pushed = worker.calls.index(["docker", "push", "--quiet", tag])
        assert worker.calls.index(built) < scanned < pushed
    assert images(worker.workspace, "dev") == EXPECTED
    ((*_, told, plan, kept),) = worker.called("gcloud", "storage")
    assert [told, plan] == ["plans/images.auto.tfvars.json", "plans/plan.txt"]
    assert kept == "gs://acme-build-terraform/plans/dev/0a1b2c3/"
    assert (worker.workspace / "plans" / "plan.txt").read_text() == "planned\n"


def test_what_was_built_is_promoted_and_not_built_again(worker: Worker) -> None:
    assert worker.run() == ("", "")
    assert worker.run("prod") == ("", "")
    assert not {"build", "push", "scan", "test"} & {word for call in worker.calls for word in call}
    assert [call for call in worker.calls if call[0] == "make"] == [
        ["make", "plan", "ENV=prod"],
        ["make", "apply", "ENV=prod"],
        ["make", "rollout", "ENV=prod"],
    ]
    assert images(worker.workspace, "prod") == EXPECTED


def test_a_build_that_was_broken_off_goes_on_with_what_it_has_not_pushed(worker: Worker) -> None:
    for target in TARGETS[:2]:
        (worker.workspace / "registry" / f"{target}:0a1b2c3").touch()
    assert worker.run() == ("", "")
    built = [
        word for call in worker.called("docker", "build") for word in call if word.startswith("--target")
    ]
    assert built == [f"--target={target}" for target in TARGETS[2:]]
    assert len(worker.called("docker", "push")) == len(built)
    assert images(worker.workspace, "dev") == EXPECTED


def test_a_registry_that_cannot_be_asked_is_not_an_empty_one(worker: Worker) -> None:
    (worker.workspace / "registry-says").write_text("ERROR: PERMISSION_DENIED: may not read")
    step, said = worker.run()
    assert step == "look"
    assert "PERMISSION_DENIED" in said


def test_what_has_a_critical_vulnerability_is_not_pushed(worker: Worker) -> None:
    (worker.workspace / "findings").write_text("MEDIUM old\nCRITICAL open door\n")
    step, said = worker.run()
    assert step == "scan"
    assert "cpu has critical vulnerabilities" in said
    assert "open door" in said
    assert not worker.called("docker", "push")


def test_nothing_is_applied_that_could_not_be_pushed(worker: Worker) -> None:
    (worker.workspace / "registry-is-down").touch()
    assert worker.run()[0] == "push"
    assert not worker.called("make", "ENV=dev")


def test_every_step_stops_at_its_first_failure() -> None:
    for step in BUILD["steps"]:
        assert step["script"].startswith("#!"), step["id"]
        assert "set -euo pipefail" in step["script"] or "&&" in step["script"], step["id"]


def test_builders_are_of_one_version_and_the_log_is_where_its_identity_may_write() -> None:
    for step in BUILD["steps"]:
        assert not step["name"].endswith(":latest"), step["id"]
    assert BUILD["options"]["logging"] == "CLOUD_LOGGING_ONLY"
    assert BUILD["options"]["automapSubstitutions"] is True
    # Each environment's trigger names its own.
    assert "serviceAccount" not in BUILD
