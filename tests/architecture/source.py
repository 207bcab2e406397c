"""The code of services/ as syntax: nothing here imports what it looks at."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "services"


@dataclass(frozen=True)
class Import:
    """One imported name, in full: `from a import b` is a.b."""

    name: str
    line: int
    lazy: bool  # inside a function
    typing_only: bool  # under `if TYPE_CHECKING`

    @property
    def package(self) -> str | None:
        """The part of services/ that it comes from; None for what is not ours."""
        parts = self.name.split(".")
        return parts[1] if parts[0] == "services" and len(parts) > 1 else None

    @property
    def module(self) -> Path | None:
        """The file of ours that is imported; None for what is not ours."""
        parts = self.name.split(".")
        # The last part may be a name within the module.
        for candidate in (parts, parts[:-1]):
            path = ROOT.joinpath(*candidate).with_suffix(".py")
            if candidate[:1] == ["services"] and path.is_file():
                return path
        return None


def packages() -> list[str]:
    """The folders of services/."""
    return sorted(path.parent.name for path in SERVICES.glob("*/__init__.py"))


def sources(*names: str) -> list[Path]:
    """All modules of these folders of services/."""
    return sorted(path for name in names for path in (SERVICES / name).rglob("*.py"))


def shown(path: Path) -> str:
    """A file as a message names it."""
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    """The parsed module."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Everything that a module imports, wherever it does.

    Raises:
        ValueError: a relative import, whose target cannot be read off.

    """
    return tuple(_imports(tree(path), lazy=False, typing_only=False))


def reached(entries: Iterable[Path]) -> set[Path]:
    """The modules of ours that run when these are imported."""
    found: set[Path] = set()
    waiting = list(entries)
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting += [
            each.module for each in imports(path) if each.module and not each.lazy and not each.typing_only
        ]
    return found


def _imports(node: ast.AST, *, lazy: bool, typing_only: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, lazy, typing_only) for alias in node.names)
        return
    if isinstance(node, ast.ImportFrom):
        if node.level:
            raise ValueError(f"relative import in line {node.lineno}")
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (Import(name, node.lineno, lazy, typing_only) for name in names)
        return
    lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    typing_only = typing_only or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, lazy=lazy, typing_only=typing_only)
