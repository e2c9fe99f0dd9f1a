"""Random and hostile answers: refused with the reason, or kept by the service as typed."""

from __future__ import annotations

import ast
import os
import re
import tempfile
import tomllib
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from itertools import count
from pathlib import Path

import pytest
from conftest import Bake
from conftest import Project
from conftest import QUESTIONS
from cookiecutter.exceptions import FailedHookException
from cookiecutter.exceptions import UndefinedVariableInTemplate
from hypothesis import event
from hypothesis import example
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from jinja2 import TemplateError
from markdown_it import MarkdownIt
from markdown_it.token import Token
from test_rendering import parse

NIGHTLY = os.environ.get("NIGHTLY") == "1"
EXAMPLES = 2000 if NIGHTLY else 200
# of the services that come out green, one in so many runs its whole gate at night
SAMPLE = 40
greens = count()
# what check() returns where no hook ran
COOKIECUTTER = {"Cookiecutter"}

HOSTILE = [
    *[
        '"',
        "'",
        "\\",
        '"""',
        "'''",
        "\\n",
        "`id`",
        "$(id)",
        "$HOME",
        "%s %(x)s",
        "${{ x }}",
    ],
    *["{", "}", "{{", "{% raw %}", "{# x", "{{ 7*7 }}", "<b>&amp;", "</title>", "<!--"],
    *[
        "a: b",
        "- a",
        "# a",
        "[a](b)",
        "*a* _b_ ~~c~~",
        "| a |",
        "1. a",
        "2) a",
        "=",
        "@a",
    ],
    *[
        "!tag",
        "&anchor",
        "null",
        "yes",
        "0x10",
        "1e3",
        "---",
        "...",
        "\u00a0",
        "\ufeff",
    ],
    *["a\nb", "a\r\nb", "a\tb", "\x00", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202e"],
    *[
        "\ud800",
        "\uffff",
        "שלום",
        "e\u0301",
        "👩‍🚀",
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "🫨",
        "İ",
        "x" * 300,
        "",
        " ",
    ],
    *[
        "class",
        "print",
        "test",
        "flask",
        "nocache",
        "json",
        "con",
        "../evil",
        "/etc",
        "C:\\",
    ],
    *[
        "/api/",
        "//",
        "/static",
        "/é",
        "/api/v1",
        "a@b",
        "a@b.co",
        "a@b.co>",
        "https://a_b.c",
    ],
]
TEXT = st.one_of(
    st.sampled_from(HOSTILE),
    st.lists(st.sampled_from(HOSTILE), min_size=2, max_size=4).map("".join),
    st.text(max_size=90),
    st.text(
        st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), min_size=1
    ),
)
NEAR = {
    "project_slug": st.from_regex(
        r"[a-z][a-z0-9]{0,9}(-[a-z0-9]{1,5}){0,3}", fullmatch=True
    ),
    "author_email": st.from_regex(
        r"[a-z.+_'-]{1,9}@([a-z0-9-]{1,9}\.){1,2}[a-z]{2,3}", fullmatch=True
    ),
    "api_prefix": st.from_regex(r"(/[A-Za-z0-9._-]{1,9}){1,3}/?", fullmatch=True),
}
FREE = [
    name
    for name, default in QUESTIONS.items()
    if name[0] != "_" and isinstance(default, str)
]
CHOICES = {
    name: st.sampled_from(value)
    for name, value in QUESTIONS.items()
    if isinstance(value, list) and name[0] != "_"
}
# the others stay good, or every bake would be a refusal
ANSWERS = st.lists(st.sampled_from(FREE), min_size=1, max_size=2, unique=True).flatmap(
    lambda names: st.fixed_dictionaries(
        {name: st.one_of(NEAR.get(name, TEXT), TEXT) for name in names},
        optional=CHOICES,
    )
)


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(answers=ANSWERS)
@example(answers={"description": "{{ 7*7 }}"})
@example(answers={"author_name": "Ada", "description": '🚀 "it\'s" \\ fine'})
def test_any_answers(bake_into: Bake, answers: dict[str, str]) -> None:
    # --hypothesis-show-statistics counts them
    event("refused" if check(bake_into, answers) else "green")


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_hostile_answer(bake_into: Bake, value: str) -> None:
    """To every question at once: a refusal names all that are bad, the rest is good."""
    refused = check(bake_into, dict.fromkeys(FREE, value))
    if refused == COOKIECUTTER:
        # it stops at the first
        for name in FREE:
            check(bake_into, {name: value})
        return
    good = {name: value for name in FREE if name not in refused}
    if "project_name" in good:
        # the slug that is made of it may be bad
        check(bake_into, {"project_name": value})
    if good:
        assert check(bake_into, {"project_slug": "saved-items"} | good) == set()


def test_markdown_text_is_literal() -> None:
    assert plain("# a\\_b \\*c\\*\n\n[x](y) `z`\n") == "a_b *c*\nx z\n"


def check(bake_into: Bake, answers: dict[str, str]) -> set[str]:
    """Bake, and return which answers were refused."""
    with tempfile.TemporaryDirectory() as folder, errors() as messages:
        try:
            project = bake_into(Path(folder), **answers)
        except FailedHookException:
            named = set(re.findall(r"^error: (\w+) .*; e\.g\. ", messages(), re.M))
            assert named & {*answers, "project_slug"} == named != set()
            assert os.listdir(folder) == []
            return named
        except (TemplateError, UndefinedVariableInTemplate):
            # Cookiecutter itself evaluates the command line before any hook
            assert any(re.search(r"\{[{%#]", value) for value in answers.values())
            assert os.listdir(folder) == []
            return COOKIECUTTER
        assert messages() == ""
        assert os.listdir(folder) == [project.path.name]
        check_service(project, answers)
        if NIGHTLY and next(greens) % SAMPLE == 0:
            check_gate(project)
        return set()


def check_service(project: Project, answers: dict[str, str]) -> None:
    for name in project.files():
        parse(project, name)
        if name.endswith(".md"):
            assert list(dead_links(project, name)) == []
    for command in ("check", "format --check"):
        project.check("ruff", *command.split(), "--no-cache", "-q")
    values = read_answers(project)
    for name in answers.keys() & values.keys():
        assert values[name] == answers[name], name
    readme = plain(project.read("README.md")).splitlines()
    for name in answers.keys() & {"project_name", "description"}:
        assert answers[name] in readme
    if project.has("LICENSE") and answers.get("license") != "Apache-2.0":
        lines = project.read("LICENSE").splitlines()
        assert f"Copyright (c) {values['author_name']}" in lines


def check_gate(project: Project) -> None:
    for command in ("mypy", "pytest -q -p no:cacheprovider", "flask nocache audit"):
        project.check("python", "-m", *command.split())


def read_answers(project: Project) -> dict[str, str]:
    """Read the answers back from the files that hold them."""
    metadata = tomllib.loads(project.read("pyproject.toml"))["project"]
    config = ast.parse(project.read(f"{project.package}/config.py"))
    constants = {
        node.targets[0].id: node.value.value
        for node in config.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    return {
        "project_name": str(constants["PROJECT_NAME"]),
        "api_prefix": str(constants["API_PREFIX"]),
        "project_slug": metadata["name"],
        "description": metadata["description"],
        "author_name": metadata["authors"][0]["name"],
        "author_email": metadata["authors"][0]["email"],
    }


def dead_links(project: Project, name: str) -> Iterator[str]:
    """Yield the links of a document that lead to no file of the service."""
    targets = {
        str(token.attrs.get("href") or token.attrs.get("src") or "")
        for token in chain.from_iterable(inline(project.read(name)))
    }
    for target in targets:
        path = (project.path / name).parent / target.partition("#")[0]
        if ":" not in target and not path.exists():
            yield target


def plain(markdown: str) -> str:
    """The text that a reader of rendered Markdown sees."""
    return "".join(
        "".join(t.content for t in children) + "\n" for children in inline(markdown)
    )


# most documents are the same in every service
@cache
def inline(markdown: str) -> list[list[Token]]:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    return [token.children or [] for token in tokens if token.type == "inline"]


@contextmanager
def errors() -> Iterator[Callable[[], str]]:
    """Catch what subprocesses write to standard error."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: (file.seek(0), file.read())[1].decode("utf-8")
        finally:
            os.dup2(kept, 2)
            os.close(kept)
