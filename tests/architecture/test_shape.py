"""The shape of a service: a thin main, a stage of handlers, adapters in pairs."""

import ast
from pathlib import Path

import pytest

from tests.architecture.source import SERVICES, packages, shown, sources, tree

STAGES = sorted(SERVICES.glob("*/stage.py"))
MAIN_LINES = 45
SPEAKS_ON_A_TERMINAL = ("local", "client", "training", "release")


def name_of_service(path: Path) -> str:
    return path.parent.name


def functions(path: Path) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in tree(path).body if isinstance(node, ast.FunctionDef)}


def classes(path: Path) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree(path).body if isinstance(node, ast.ClassDef)}


def public_methods(node: ast.ClassDef) -> set[str]:
    return {
        each.name for each in node.body if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")
    }


def handlers(stage: Path) -> dict[str, set[str]]:
    """Handler -> the events that HANDLERS gives it."""
    (table,) = [
        node.value
        for node in tree(stage).body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "HANDLERS"
    ]
    assert isinstance(table, ast.Dict)
    found: dict[str, set[str]] = {}
    for event, handler in zip(table.keys, table.values, strict=True):
        assert isinstance(event, ast.Name)
        assert isinstance(handler, ast.Name)
        found.setdefault(handler.id, set()).add(event.id)
    return found


@pytest.mark.parametrize("stage", STAGES, ids=name_of_service)
def test_a_handler_takes_its_event_and_the_ports_and_returns_events(stage: Path) -> None:
    for name, events in handlers(stage).items():
        handler = functions(stage)[name]
        event, ports = handler.args.args
        assert handler.args.kwonlyargs == []
        assert event.annotation is not None
        assert set(ast.unparse(event.annotation).split(" | ")) == events, name
        assert (ports.arg, ports.annotation and ast.unparse(ports.annotation)) == ("ports", "Ports"), name
        assert handler.returns is not None
        assert ast.unparse(handler.returns) == "list[Event]", name


@pytest.mark.parametrize("stage", STAGES, ids=name_of_service)
def test_ports_are_a_frozen_dataclass(stage: Path) -> None:
    decorators = [ast.unparse(each) for each in classes(stage)["Ports"].decorator_list]
    assert decorators == ["dataclass(frozen=True)"]


@pytest.mark.parametrize("stage", STAGES, ids=name_of_service)
def test_a_main_is_short_and_only_wires(stage: Path) -> None:
    main = stage.with_name("main.py")
    assert len(main.read_text(encoding="utf-8").splitlines()) <= MAIN_LINES
    assert functions(main).keys() == {"ports"}
    assert classes(main).keys() == {"Settings"}
    loops = [node.lineno for node in ast.walk(tree(main)) if isinstance(node, ast.For | ast.While | ast.Try)]
    assert loops == []


def test_every_adapter_has_its_twin_in_memory() -> None:
    shared = SERVICES / "shared"
    protocols = classes(shared / "ports.py")
    google = {
        name.removeprefix(prefix): node
        for path in sorted(shared.glob("google_*.py"))
        for prefix in ("Cloud", "BigQuery")
        for name, node in classes(path).items()
        if name.startswith(prefix)
    }
    memory = {
        name.removeprefix("Memory"): node
        for name, node in classes(shared / "memory.py").items()
        if name.startswith("Memory")
    }
    assert google.keys() == memory.keys()
    assert google.keys() <= protocols.keys()
    for port, adapter in google.items():
        promised = public_methods(protocols[port]) - {"config", "total"}
        assert promised == public_methods(adapter), port
        # The fakes may have more: what a test looks at.
        assert promised <= public_methods(memory[port]), port


def test_only_what_speaks_on_a_terminal_prints() -> None:
    quiet = [
        path for path in sources(*packages()) if path.parts[len(SERVICES.parts)] not in SPEAKS_ON_A_TERMINAL
    ]
    offences = [
        f"{shown(path)}:{node.lineno}"
        for path in quiet
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write")
    ]
    assert quiet
    assert offences == []
