"""The house of the kit: who may import whom, and how large its rooms are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import KIT

MODULES = sorted(KIT.rglob("*.py"))
# what a running service needs; the rest is for developers, tests and CI
ENFORCING = (
    "app",
    "static",
    "guard",
    "response",
    "declare",
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
    seen: set[str] = set()
    todo = [name]
    while todo:
        found = {other for other, _ in GRAPH[todo.pop()]} - seen
        seen |= found
        todo += found
    return seen


@pytest.mark.parametrize("name", GRAPH)
def test_imports_run_downwards(name: str) -> None:
    # imports inside of functions count too: none is there to get around a circle
    assert name not in reachable(name)


def test_enforcing_modules_need_no_audit() -> None:
    for name in (
        "static",
        "guard",
        "response",
        "declare",
        "arguments",
        "conditional",
        "blueprint",
        "policy",
    ):
        assert not [other for other in reachable(name) if "audit" in other]


def test_guard_is_wsgi_only() -> None:
    assert reachable("guard") == {"policy", "response"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 300


def test_what_enforces_stays_small() -> None:
    lines = [
        line
        for name in ENFORCING
        for line in (KIT / f"{name}.py").read_text("utf-8").splitlines()
    ]
    assert len(lines) <= 1500
