"""The READMEs of Terraform's modules: their tables of inputs and outputs are written from the modules.

`python -m tests.terraform.readmes` writes them anew; the rest of a README is written by hand.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.terraform.plans import ROOT

MODULES = sorted(path for path in (ROOT / "terraform" / "modules").iterdir() if path.is_dir())
INPUTS = "| name | type | default | what it is |\n| --- | --- | --- | --- |\n"
OUTPUTS = "| name | what it is |\n| --- | --- |\n"


def blocks(file: Path, kind: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The blocks of a kind in a file that `terraform fmt` leaves alone: name, and attributes as written."""
    for name, body in re.findall(
        rf'^{kind} "(\w+)" {{\n(.*?)^}}$', file.read_text(), re.MULTILINE | re.DOTALL
    ):
        # An attribute begins two spaces from the left, and ends where the next one or a block does.
        yield name, dict(re.findall(r"^  (\w+) += (.*?)\n(?=^  [\w#]|\Z)", body, re.MULTILINE | re.DOTALL))


def tables(module: Path) -> tuple[str, str]:
    """The tables of a module's inputs and outputs."""
    inputs = "".join(
        _row(
            f"`{name}`",
            f"`{_line(each.get('type', 'any'))}`",
            f"`{_line(each['default'])}`" if "default" in each else "required",
            _words(each),
        )
        for name, each in blocks(module / "variables.tf", "variable")
    )
    outputs = "".join(
        _row(f"`{name}`", _words(each)) for name, each in blocks(module / "outputs.tf", "output")
    )
    return INPUTS + inputs, OUTPUTS + outputs


def examples(module: Path) -> list[str]:
    """The calls of a module that its README shows."""
    return re.findall(r"^```hcl\n(.*?)^```$", (module / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def renew(text: str, module: Path) -> str:
    """A README's text with the module's tables."""
    for head, table in zip((INPUTS, OUTPUTS), tables(module), strict=True):
        # A table is its head and all the lines below it that are rows.
        text = table.join(re.split(rf"{re.escape(head)}(?:\|.*\n)*", text))
    return text


def _words(block: Mapping[str, str]) -> str:
    # Outside of code, <email> would be taken for HTML.
    return re.sub(r"(`[^`]*`)|<", lambda found: found[1] or r"\<", json.loads(block["description"]))


def _row(*cells: str) -> str:
    return "".join(f"| {cell.replace('|', '\\|')} " for cell in cells) + "|\n"


def _line(value: str) -> str:
    """A type or a value that is written on several lines, on one."""
    lines = [re.sub(r" +", " ", line).strip().removesuffix(",") for line in value.splitlines()]
    line = lines[0]
    for following in lines[1:]:
        inside = not line.endswith(("{", "[", "(")) and not following.startswith(("}", "]", ")"))
        line += (", " if inside else " ") + following
    return line


if __name__ == "__main__":
    for path in MODULES:
        readme = path / "README.md"
        readme.write_text(renew(readme.read_text(), path))
