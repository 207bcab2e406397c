"""Commands that people and builds are told to type exist, and take the flags that they are given."""

import json
import re
import runpy
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.plans import ENVIRONMENTS, ROOT, Plan, plan_of

# What is written by the shell, or by make, where a command has a name.
PLACEHOLDER = re.compile(r"\$\$?\(.*?\)|\$\$?\{?\w+\}?")
WRITTEN_IN = ["Makefile", "cloudbuild.yaml", "README.md", "terraform/README.md"]


def written(text: str, program: str) -> Iterator[list[str]]:
    """The commands of a text, with their words; continued lines are one, and a comment ends it."""
    for line in text.replace("\\\n", " ").splitlines():
        for match in re.finditer(rf"(?:^|[\s(`$]){program} ([a-z-][^|&;)`]*)", line):
            # A quote that a bracket or pipe cut off in the middle ends the command as well.
            plain = PLACEHOLDER.sub("NAME", match[1])
            cut = plain if plain.count("'") % 2 == 0 else plain[: plain.rindex("'")]
            yield shlex.split(cut, comments=True)


def documents() -> dict[str, str]:
    return {name: (ROOT / name).read_text() for name in WRITTEN_IN}


@cache
def gcloud() -> Mapping[str, Any]:
    """All commands and flags of the gcloud that is installed."""
    found = shutil.which("gcloud")
    table = (
        Path(found or "/").resolve().parents[1] / "data" / "cli" / "gcloud_completions.py" if found else None
    )
    if table is None or not table.exists():
        pytest.skip("gcloud is not installed")
    tree: Mapping[str, Any] = runpy.run_path(str(table))["STATIC_COMPLETION_CLI_TREE"]
    return tree


def wrong_with(words: list[str]) -> str:
    """What gcloud would not take of a command; nothing if it takes it all."""
    node, flags = gcloud(), dict(gcloud()["flags"])
    rest = iter(words)
    for word in rest:
        if word.startswith("-"):
            name, given, _ = word.partition("=")
            if name.removeprefix("--no-") in flags or name.replace("--no-", "--") in flags:
                name = name.replace("--no-", "--")
            if name not in flags:
                return f"{shlex.join(words)}: there is no {name}"
            if flags[name] == "value" and not given and next(rest, None) is None:
                return f"{shlex.join(words)}: {name} has no value"
        elif word in node["commands"]:
            node = node["commands"][word]
            flags |= node["flags"]
        elif node["commands"]:
            return f"{shlex.join(words)}: there is no {word}"
    return f"{shlex.join(words)}: is a group of commands" if node["commands"] else ""


def test_gcloud_has_the_commands_and_flags_that_are_written() -> None:
    commands = [words for text in documents().values() for words in written(text, "gcloud")]
    assert len(commands) > 10
    assert [wrong for words in commands if (wrong := wrong_with(words))] == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("run services update-trafic inference", "there is no update-trafic"),
        ("run services update-traffic inference --to-revision=x", "there is no --to-revision"),
        ("storage buckets create gs://b --location", "--location has no value"),
        ("run services", "is a group of commands"),
    ],
)
def test_a_command_that_gcloud_does_not_have_is_noticed(command: str, expected: str) -> None:
    assert expected in wrong_with(command.split())


def test_gcloud_has_the_commands_that_alerts_name(plans: Mapping[str, Plan]) -> None:
    texts = [
        each.values["documentation"][0]["content"]
        for each in plans["prod"].of("google_monitoring_alert_policy")
    ]
    commands = [words for text in texts for words in written(text, "gcloud")]
    assert commands
    assert [wrong for words in commands if (wrong := wrong_with(words))] == []


def test_terraform_has_the_commands_and_flags_that_are_written() -> None:
    if not shutil.which("terraform"):
        pytest.skip("terraform is not installed")
    makefile = (ROOT / "Makefile").read_text().replace("$(TERRAFORM)", "terraform")
    used: dict[str, set[str]] = {}
    for text in (makefile, documents()["terraform/README.md"]):
        for command, *words in written(text, "terraform"):
            if not command.startswith("-"):
                used.setdefault(command, set()).update(
                    word.partition("=")[0] for word in words if word.startswith("-")
                )
    assert {"init", "plan", "apply", "output", "destroy"} <= used.keys()
    for command, flags in used.items():
        answered = subprocess.run(
            ["terraform", command, "-help"], capture_output=True, text=True, check=False
        ).stdout
        known = set(re.findall(r"^  (-[a-z-]+)", answered, re.MULTILINE))
        assert flags <= known, f"terraform {command}"


def test_make_has_the_targets_that_are_written() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = {name: text for name, text in documents().items() if name != "Makefile"}
    commands = [words for text in texts.values() for words in written(text, "make") if words]
    in_code = [words for words in commands if words[0] in targets]
    assert {words[0] for words in in_code} >= {"bootstrap", "plan", "apply", "deploy", "rollout", "destroy"}
    for words in in_code:
        for word in words[1:]:
            assert re.fullmatch(r"(ENV|SERVICE|LIMIT)=\w[\w-]*|CATALOGUE=\w[\w./-]*", word), shlex.join(words)


def test_every_make_target_for_the_cloud_says_what_is_missing(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for target in ("bootstrap", "plan", "apply", "destroy"):
        done = subprocess.run(
            ["make", "--dry-run", target], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode
        assert "ENV: write which, such as ENV=dev" in done.stderr
    for target in ("bootstrap", "plan", "destroy"):
        done = subprocess.run(
            ["make", "--dry-run", target, "ENV=dev"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode
        assert "terraform/environments/dev/terraform.tfvars: copy terraform.tfvars.example" in done.stderr


@pytest.mark.parametrize("environment", [*ENVIRONMENTS, "build"])
def test_the_example_of_an_environments_variables_is_all_that_make_needs(
    environment: str, tmp_path: Path
) -> None:
    root = "terraform/build" if environment == "build" else f"terraform/environments/{environment}"
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / root).mkdir(parents=True)
    shutil.copy(ROOT / root / "terraform.tfvars.example", tmp_path / root / "terraform.tfvars")
    planned = subprocess.run(
        ["make", "--dry-run", "bootstrap", "plan", f"ENV={environment}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    project = f"acme-{environment}"
    assert f"gs://{project}-terraform --project={project} --location=europe-west4" in planned
    assert f"terraform -chdir={root} init -input=false -reconfigure" in planned
    assert f"-backend-config=bucket={project}-terraform" in planned


def test_the_examples_of_variables_are_planned(copy: Path) -> None:
    """With every line that is commented out, too."""
    for environment in ENVIRONMENTS:
        root = copy / "terraform" / "environments" / environment
        example = (ROOT / "terraform" / "environments" / environment / "terraform.tfvars.example").read_text()
        told = json.loads((root / "test.auto.tfvars.json").read_text())
        for text in (example, re.sub(r"(?m)^# ?(?=\w+ +=|  |[}\]]|EOT$)", "", example)):
            (root / "terraform.tfvars").write_text(text)
            try:
                assert plan_of(root, {"images": told["images"]}).resources
            finally:
                (root / "terraform.tfvars").unlink()
