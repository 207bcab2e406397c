"""Every module is described as it is, tested, and shown in an example that Terraform plans."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.terraform.plans import ENVIRONMENTS, ROOT, copied, init, terraform
from tests.terraform.readmes import INPUTS, MODULES, OUTPUTS, blocks, examples, renew

NAMES = [module.name for module in MODULES]
# Beside the environments, which `copied` initialises.
ROOTS = sorted(file.parent.name for file in (ROOT / "terraform").glob("*/versions.tf"))
EXAMPLES = "examples"
TESTED = [EXAMPLES, *(f"modules/{name}" for name in NAMES)]
# A module is validated by its tests.
VALIDATED = [*ROOTS, *(f"environments/{name}" for name in ENVIRONMENTS)]
TEST_OF_EXAMPLES = 'mock_provider "google" {}\nrun "examples" {\n  command = plan\n}\n'

type Findings = dict[tuple[str, str], Future[str]]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which everything is initialised, and the examples of all READMEs are one root."""
    copy = copied(tmp_path_factory.mktemp("vitrine")) / "terraform"
    _show_examples(copy / EXAMPLES)
    # What was downloaded once is not downloaded for every module.
    downloaded = copy / "environments" / ENVIRONMENTS[0] / ".terraform" / "providers"
    for root in (*ROOTS, *TESTED):
        init(copy / root, "-backend=false", *([f"-plugin-dir={downloaded}"] if downloaded.is_dir() else []))
    return copy


@pytest.fixture(scope="module")
def findings(copy: Path) -> Iterator[Findings]:
    """What Terraform finds wrong, by root and command: several at a time, as it mostly waits."""

    def find(root: str, command: str) -> str:
        try:
            terraform(copy / root, command, "-no-color")
        except subprocess.CalledProcessError as error:
            return f"{error.stdout}\n{error.stderr}"
        return ""

    with ThreadPoolExecutor(4) as threads:
        yield {
            (root, command): threads.submit(find, root, command)
            for command, roots in (("validate", VALIDATED), ("test", TESTED))
            for root in roots
        }


@pytest.fixture(params=MODULES, ids=NAMES)
def module(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_a_module_has_its_parts(module: Path) -> None:
    parts = (
        "README.md",
        "main.tf",
        "outputs.tf",
        "variables.tf",
        "versions.tf",
        f"tests/{module.name}.tftest.hcl",
    )
    assert [part for part in parts if not (module / part).is_file()] == []


@pytest.mark.parametrize(("file", "kind"), [("variables.tf", "variable"), ("outputs.tf", "output")])
def test_what_goes_in_and_out_is_described_in_order(module: Path, file: str, kind: str) -> None:
    found = list(blocks(module / file, kind))
    # The tables are made of what is found: it must be all.
    assert len(found) == (module / file).read_text().count(f'{kind} "')
    names = [name for name, _ in found]
    assert names == sorted(names)
    wanted = {"description", "type"} if kind == "variable" else {"description"}
    assert {name: wanted - each.keys() for name, each in found if wanted - each.keys()} == {}


def test_a_readme_tells_what_goes_in_and_out(module: Path) -> None:
    text = (module / "README.md").read_text()
    assert text.startswith(f"# {module.name}\n")
    assert INPUTS in text
    assert OUTPUTS in text
    assert text == renew(text, module), "write the tables anew: python -m tests.terraform.readmes"


def test_a_readme_shows_one_call(module: Path) -> None:
    (example,) = examples(module)
    assert re.search(rf'^  source += "\.\./modules/{module.name}"$', example, re.MULTILINE)


def test_each_validation_is_seen_to_refuse(module: Path) -> None:
    tests = "".join(file.read_text() for file in sorted((module / "tests").glob("*.tftest.hcl")))
    refused = re.findall(
        r"var\.(\w+)", "\n".join(re.findall(r"expect_failures = \[(.*?)\]", tests, re.DOTALL))
    )
    text = (module / "variables.tf").read_text()
    for name, body in re.findall(r'^variable "(\w+)" {\n(.*?)^}$', text, re.MULTILINE | re.DOTALL):
        assert refused.count(name) >= body.count("  validation {\n"), f"a validation of {name} is not tested"


# The examples of all READMEs, and each module.
@pytest.mark.parametrize("root", TESTED)
def test_what_is_to_be_planned_is_planned(findings: Findings, root: str) -> None:
    assert findings[root, "test"].result() == ""


@pytest.mark.parametrize("root", VALIDATED)
def test_a_root_is_valid(findings: Findings, root: str) -> None:
    assert findings[root, "validate"].result() == ""


def test_everything_is_in_terraforms_form(tmp_path: Path) -> None:
    everything = shutil.copytree(
        ROOT / "terraform", tmp_path / "terraform", ignore=shutil.ignore_patterns(".terraform*")
    )
    _show_examples(everything / EXAMPLES)
    terraform(everything, "fmt", "-check", "-recursive", "-diff")


def _show_examples(root: Path) -> None:
    root.mkdir()
    for module in MODULES:
        (root / f"{module.name}.tf").write_text("\n".join(examples(module)))
    shutil.copy(MODULES[0] / "versions.tf", root)
    (root / "examples.tftest.hcl").write_text(TEST_OF_EXAMPLES)
