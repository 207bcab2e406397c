"""What services/Dockerfile and .dockerignore say, held against who reads them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.architecture.source import SERVICES, reached
from tests.containers.dockerfile import DOCKERFILE, ROOT, entrypoint, environment, lineage, read, sources

ARGUMENTS, STAGES = read()
STAGE_FILES = {path.parent.name: yaml.safe_load(path.read_text()) for path in SERVICES.glob("*/stage.yaml")}
# Target -> the stages that it is started as; Terraform writes _ where a target has -.
SERVED = {
    "cpu": [name for name, stage in STAGE_FILES.items() if stage["image"] == "cpu"],
    "inference": [name for name, stage in STAGE_FILES.items() if stage["image"] == "inference"],
    "inference-gpu": [
        name for name, stage in STAGE_FILES.items() if stage.get("gpu", {}).get("image") == "inference_gpu"
    ],
}
GATEWAY = yaml.safe_load((SERVICES / "gateway" / "service.yaml").read_text())
# What is no stage: target -> its folders of services/.
OTHERS = {
    "audit": {"audit", "client"},
    "gateway": {"gateway", "client"},
    "training": {"training", "client"},
}
TARGETS = [*SERVED, *OTHERS]


def copied(target: str) -> set[Path]:
    """The files of ours that an image has."""
    found: set[Path] = set()
    for stage in lineage(target):
        for copy in stage.arguments("COPY"):
            origin = re.match(r"--from=(\S+)", copy)
            if origin and origin[1] == "code":
                found |= copied("code")
            elif not origin:
                for path in sources(copy):
                    found |= (
                        {path} if path.is_file() else {each for each in path.rglob("*") if each.is_file()}
                    )
    return found


def test_every_image_that_a_stage_asks_for_is_a_target() -> None:
    asked = {
        image
        for stage in STAGE_FILES.values()
        for image in (stage["image"], stage.get("gpu", {}).get("image"))
        if image
    }
    assert {image.replace("_", "-") for image in asked} == SERVED.keys()
    assert GATEWAY["image"] == "gateway"
    assert STAGES.keys() >= {*TARGETS}
    assert sorted(SERVED["cpu"] + SERVED["inference"]) == sorted(STAGE_FILES)


def test_every_base_is_an_argument_so_that_a_build_can_give_its_digest() -> None:
    bases = {stage.base for stage in STAGES.values()} - STAGES.keys()
    assert bases == {f"${{{name}}}" for name in ARGUMENTS}
    assert all(re.fullmatch(r"[\w./-]+:\d[\w.-]+", default) for default in ARGUMENTS.values())


@pytest.mark.parametrize("target", TARGETS)
def test_a_container_runs_as_nobody_and_says_at_once_what_it_logs(target: str) -> None:
    (*_, user) = [line for stage in lineage(target) for line in stage.arguments("USER")]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert environment(target)["PYTHONUNBUFFERED"] == "1"
    assert Path(entrypoint(target)[0]).name == "python"


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_takes_packages_and_not_what_installs_them(target: str) -> None:
    assert not [
        line for stage in lineage(target) for line in stage.arguments("RUN") if "install" in line.split()
    ]
    copies = [line for stage in lineage(target) for line in stage.arguments("COPY")]
    assert f"--from={target}-packages /app/.venv .venv" in copies
    assert not [line for line in copies if line.startswith("--from=uv")]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_has_the_code_that_it_runs_and_no_other_stage(target: str) -> None:
    if target in OTHERS:
        entries, folders = sorted((SERVICES / target).glob("*.py")), OTHERS[target]
    else:
        entries = [SERVICES / "shared" / "serve.py"]
        entries += [SERVICES / name / "main.py" for name in SERVED[target]]
        folders = {*SERVED[target]}
    files = copied(target)
    assert reached(entries) <= files
    ours = {path.relative_to(SERVICES).parts[0] for path in files if path.is_relative_to(SERVICES)}
    assert ours == {*folders, "shared", "model", "__init__.py"}
    assert {path.relative_to(ROOT).parts[0] for path in files} == {"services", "schemas"}


def test_nothing_secret_is_in_the_file() -> None:
    text = DOCKERFILE.read_text()
    assert not re.search(r"(?i)secret|password|credential|api.?key|token|://", text)
    assert not re.search(r"(?m)^ADD ", text)


def test_a_build_is_sent_what_it_copies_and_not_much_else(tmp_path: Path) -> None:
    # The few forms that .dockerignore uses mean the same to Git, whether or not we are in a repository here.
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    shutil.copy(ROOT / ".dockerignore", tmp_path / ".gitignore")

    def is_sent(path: str) -> bool:
        command = ["git", "check-ignore", "--no-index", "--quiet", path]
        return subprocess.run(command, cwd=tmp_path).returncode == 1

    copies = [line for stage in STAGES.values() for line in stage.arguments("COPY")]
    wanted = [path for line in copies if not line.startswith("--from") for path in sources(line)]
    assert len(wanted) > 10
    assert [path for path in wanted if not is_sent(str(path.relative_to(ROOT)))] == []
    unwanted = [
        ".env",
        ".vitrine/x",
        "terraform/x",
        "tests/x",
        "services/local/demo",
        "services/gateway/screenshots/check.png",
        "schemas/examples/x",
    ]
    assert [path for path in unwanted if is_sent(path)] == []
