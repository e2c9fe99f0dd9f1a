"""The structure of the kit: the imports between its modules, and their size."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import KIT

MODULES = sorted(KIT.rglob("*.py"))
# the modules that a running service needs
ENFORCING = (
    "app",
    "static",
    "guard",
    "response",
    "declare",
    "arguments",
    "conditional",
    "blueprint",
    "policy",
)


def name_of(path: Path) -> str:
    parts = path.relative_to(KIT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each module of the kit that a module imports, and whether in a function."""
    tree = ast.parse(path.read_text("utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    inside = {id(n) for function in functions for n in ast.walk(function)}
    names = {name_of(module) for module in MODULES}
    package = path.parent.relative_to(KIT).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - node.level + 1]
            base = ".".join([*above, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".strip(".")
                yield (full if full in names else base), id(node) in inside


GRAPH = {name_of(path): [*imports(path)] for path in MODULES}


def reachable(name: str) -> set[str]:
    names: set[str] = set()
    todo = [name]
    while todo:
        imports_ = {other for other, _ in GRAPH[todo.pop()]} - names
        names |= imports_
        todo += imports_
    return names


@pytest.mark.parametrize("name", GRAPH)
def test_imports_run_downwards(name: str) -> None:
    # imports inside functions count too, because they can hide a circle
    assert name not in reachable(name)


def test_enforcing_modules_need_no_audit() -> None:
    # the app has the commands
    for name in set(ENFORCING) - {"app"}:
        assert not [other for other in reachable(name) if "audit" in other]


def test_guard_is_wsgi_only() -> None:
    assert reachable("guard") == {"policy", "response"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_has_at_most_300_lines(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 300


def test_enforcing_modules_stay_small() -> None:
    lines = [
        line
        for name in ENFORCING
        for line in (KIT / f"{name}.py").read_text("utf-8").splitlines()
    ]
    assert len(lines) <= 1500
