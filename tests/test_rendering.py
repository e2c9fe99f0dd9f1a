from __future__ import annotations

import ast
import json
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from conftest import Bake
from conftest import COMBINATIONS
from conftest import KIT
from conftest import Project
from conftest import read_files
from conftest import ROOT
from conftest import SAME_PYTHON
from conftest import TEMPLATE

Combination = tuple[str, Project]
# Flask's own templates and the code host's expressions keep their braces
OWN_BRACES = re.compile(
    r"/templates/|/report\.html$|^\.github/workflows/|^\.gitlab-ci\.yml$"
)
ILLEGAL_ON_WINDOWS = re.compile(r'[<>:"\\|?*\x00-\x1f]|[ .]$')


def test_rendering_leaves_no_jinja(combination: Combination) -> None:
    _, project = combination
    left = [
        name
        for name in project.files()
        if re.search(r"cookiecutter\.|\{%", project.read(name))
        and not OWN_BRACES.search(name)
        and not re.search(r"^(README|docs/).*", name)
    ]
    assert left == []


def test_rendering_leaves_no_jinja_in_docs(combination: Combination) -> None:
    _, project = combination
    docs = [name for name in project.files() if name.endswith(".md")]
    assert docs
    assert [
        name
        for name in docs
        if re.search(
            r"\{\{ *cookiecutter|\{%-? *(end)?(if|raw|set)\b", project.read(name)
        )
    ] == []


def test_files_end_with_one_newline(combination: Combination) -> None:
    _, project = combination
    empty = [name for name in project.files() if not project.read(name)]
    assert [
        name for name in empty if not name.endswith(("__init__.py", "py.typed"))
    ] == []
    for name in set(project.files()) - set(empty):
        text = project.read(name)
        assert text.endswith("\n") and not text.endswith("\n\n"), name
        assert not re.search(r"[ \t\r]$|\A\n", text, re.M), name


def test_files_parse(combination: Combination) -> None:
    _, project = combination
    parsed = {name: parse(project, name) for name in project.files()}
    assert {".toml", ".py", ".yaml"} <= {
        "." + n.rpartition(".")[2] for n, p in parsed.items() if p
    }


def test_kit_is_the_same_in_every_service(
    combination: Combination, template: Path
) -> None:
    _, project = combination
    assert read_files(project.kit) == read_files(template / KIT.relative_to(ROOT))


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff_passes(combination: Combination, command: str) -> None:
    _, project = combination
    project.check("ruff", *command.split(), "--no-cache")


@pytest.mark.parametrize("name", [n for n in COMBINATIONS if n not in SAME_PYTHON])
def test_mypy_passes(bake: Bake, name: str) -> None:
    bake(**COMBINATIONS[name]).check("python", "-m", "mypy")


@pytest.mark.parametrize("name", SAME_PYTHON)
def test_same_python_is_the_defaults(baked: Project, bake: Bake, name: str) -> None:
    assert code(bake(**COMBINATIONS[name])) == code(baked)


@pytest.mark.parametrize("name", [n for n in COMBINATIONS if n not in SAME_PYTHON])
def test_other_python_differs_in_names_only(
    baked: Project, bake: Bake, name: str
) -> None:
    assert nameless(bake(**COMBINATIONS[name])) == nameless(baked)


def nameless(project: Project) -> dict[str, str]:
    constant = re.compile(r'^((?:PROJECT_NAME|API_PREFIX) = )"(?:[^"\\]|\\.)+"', re.M)
    return {
        name.replace(project.package, "?"): constant.sub(
            r"\1?", text.replace(project.package, "?")
        )
        for name, text in code(project).items()
    }


def code(project: Project) -> dict[str, str]:
    kinds = re.compile(
        r"^(?!deploy/).*\.(py|html|in|txt|mako|flaskenv)$|^Makefile$|-config\.yaml$"
    )
    return {name: project.read(name) for name in project.files() if kinds.search(name)}


def test_python_files_hold_no_jinja_blocks() -> None:
    sources = list(TEMPLATE.rglob("*.py"))
    assert sources
    assert [str(p) for p in sources if "{%" in p.read_text("utf-8")] == []


def test_tool_files_hold_no_jinja() -> None:
    """So that the bots that renew them can read them here too."""
    names = [
        ".pre-commit-config.yaml",
        "Makefile",
        "requirements.txt",
        "requirements-dev.txt",
        "deploy/*Dockerfile*",
        "deploy/*image.mk*",
    ]
    for name in names:
        (path,) = TEMPLATE.glob(name)
        assert not re.search(r"\{[{%]", path.read_text("utf-8")), name


def test_template_names_are_legal_on_windows() -> None:
    names = [
        part for p in TEMPLATE.rglob("*") for part in p.relative_to(TEMPLATE).parts
    ]
    assert [name for name in names if ILLEGAL_ON_WINDOWS.search(name)] == []
    assert [name for name in names if len(name) > 120] == []


def parse(project: Project, name: str) -> object:
    """Parse a file by its kind; anything else is only read."""
    return parse_text(name.rpartition(".")[2], project.read(name))


# most files are the same in every service
@cache
def parse_text(kind: str, text: str) -> object:
    match kind:
        case "toml":
            return tomllib.loads(text)
        case "json":
            return json.loads(text)
        case "yaml" | "yml":
            return list(yaml.compose_all(text))
        case "py":
            return ast.parse(text)
    return None
