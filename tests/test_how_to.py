"""Every snippet of the service's documents, pasted into a baked service.

The line before a snippet says where it goes:

- ``in `file`:`` its imports among the file's own, the rest at the file's end;
- ``in the new file `file`:`` as it is;
- ``in `file`, below `line`:`` and ``in `file`, in place of `line`:`` as far in as the line.

Commands of make run where they stand.
What a recipe does on the wire is in tests/service/recipes.py, a test for each heading.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from http.client import HTTPResponse
from importlib.metadata import version
from textwrap import indent
from typing import NamedTuple
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import urlopen

import pytest
from conftest import Bake
from conftest import clean_environ
from conftest import Project
from conftest import ROOT
from conftest import TEMPLATE
from markdown_it import MarkdownIt

REQUESTS = (ROOT / "tests" / "service" / "recipes.py").read_text("utf-8")
HOW_TO = "docs/how-to.md"
# what a recipe adds to
BEFORE = {"A test of a cacheable route": ["Let a response be cached"]}
PLACE = re.compile(
    r"\bin (?P<new>the new file )?`(?P<file>[\w./-]+)`"
    r"(?:, (?P<how>below|in place of) `(?P<line>[^`]+)`)?",
    re.IGNORECASE,
)
LIBRARY = re.compile(r"`([a-z-]+)>=([\d.]+)`")
# make check in parts, its audit being one of the tests
LINT = [["ruff", "check"], ["ruff", "format", "--check"]]
AUDIT = "tests/test_route_audit.py"
MYPY = ["python", "-m", "mypy"]
# the environment is there, and not in .venv
NO_SETUP = ["--old-file", ".venv/.ready"]
SERVED = pytest.mark.skipif(
    os.name == "nt", reason="make and gunicorn do not run there"
)
PYTEST = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]


class Snippet(NamedTuple):
    """A block of a document.

    :param before: the last line before it.
    :param language: as the block is marked.
    """

    before: str
    language: str
    text: str


def sections(document: str) -> dict[str, list[Snippet]]:
    """Return the snippets below each heading, commands in a sentence among them."""
    matches: dict[str, list[Snippet]] = {}
    snippets: list[Snippet] = []
    before = ""
    tokens = MarkdownIt().parse(document)
    for place, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            snippets = matches.setdefault(tokens[place + 1].content, [])
        elif token.type == "fence":
            snippets.append(Snippet(before, token.info, token.content))
        elif token.type == "inline":
            before = token.content.rpartition("\n")[2]
            snippets += [
                Snippet("", "sh", f"{command}\n")
                for command in re.findall(r"Then `(make \w+)`", token.content)
            ]
    return matches


def headings(name: str) -> list[str]:
    """Return the headings of a document of the template that have a test.

    Each recipe, and of the other documents what shows Python.
    """
    text = (TEMPLATE / name).read_text("utf-8")
    matches = sections(re.sub(r"\{% (end)?raw %\}", "", text))
    return [
        heading
        for heading, snippets in matches.items()
        if name == HOW_TO or "python" in {snippet.language for snippet in snippets}
    ]


RECIPES = [*headings("README.md"), *headings(HOW_TO)]
FRAGMENTS = headings("docs/caching.md")


def slug(heading: str) -> str:
    return f"test_{re.sub(r'[^a-z0-9]+', '_', heading.lower()).strip('_')}"


def test_every_heading_has_its_test() -> None:
    tests = re.findall(r"^def (test_\w+)", REQUESTS, re.MULTILINE)

    assert tests == [slug(heading) for heading in RECIPES + FRAGMENTS]


def test_contents_of_how_to_are_its_headings(baked: Project) -> None:
    text = baked.read(HOW_TO)
    listed = re.findall(r"^- \[(.+)\]\(#(.+)\)$", text, re.MULTILINE)

    assert listed == [
        (heading, heading.lower().replace(" ", "-"))
        for heading in re.findall(r"^## (.+)", text, re.MULTILINE)
    ]


@pytest.mark.parametrize("heading", RECIPES)
def test_recipe_needs_no_other(bake: Bake, heading: str) -> None:
    project = bake()
    before = set(project.files())
    for needed in [*BEFORE.get(heading, []), heading]:
        paste(project, needed)
    own = [n for n in set(project.files()) - before if n.startswith("tests/test_")]

    for command in [*LINT]:
        project.check(*command)
    request_recipes(project, AUDIT, *own, f"tests/recipes.py::{slug(heading)}")


@pytest.mark.parametrize("deploy", ["kubernetes", "none"])
@pytest.mark.parametrize("heading", ["A background job", "WebSockets"])
def test_recipe_that_edits_the_deployment_fits_every_one(
    bake: Bake, deploy: str, heading: str
) -> None:
    paste(bake(deploy=deploy), heading)


def test_recipes_are_green_together(bake: Bake) -> None:
    """With another prefix, as it is in many of them."""
    project = bake(api_prefix="/v2/json")
    for heading in RECIPES:
        paste(project, heading)

    for command in [*LINT, MYPY]:
        project.check(*command)
    tests = [f"tests/recipes.py::{slug(heading)}" for heading in RECIPES]
    request_recipes(project, "tests", *tests)


def test_fragments_do_what_caching_md_says(bake: Bake) -> None:
    project = bake()

    request_recipes(project, *(f"tests/recipes.py::{slug(h)}" for h in FRAGMENTS))


def test_endpoint_of_readme_changes_one_file(bake: Bake) -> None:
    """Issue: a new endpoint is written in one place, and the gate is green."""
    project = bake()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    commit = ["commit", "--quiet", "--message", "baked"]
    project.check(*git, "add", "--all")
    project.check(*git, *commit)
    paste(project, "Add an endpoint")

    for command in [*LINT, MYPY, PYTEST]:
        project.check(*command)

    changed = project.run("git", "status", "--porcelain").stdout
    assert changed == f" M {project.package}/api.py\n"


@SERVED
def test_commands_serve_and_probe(bake: Bake) -> None:
    """What README begins with, and what docs/caching.md has for a deployed service."""
    project = bake()
    readme, caching = project.read("README.md"), project.read("docs/caching.md")
    assert "\nmake run\n" in readme
    (url,) = re.findall(r"^curl -i (\S+)", readme, re.MULTILINE)
    (probe,) = re.findall(r"^flask (nocache probe) https://", caching, re.MULTILINE)
    port = str(free_port())
    url = url.replace("5000", port)
    with serving(project, "run", port, url) as response:
        assert response.headers["Cache-Control"].startswith("no-store")
        project.check("python", "-m", "flask", *probe.split(), urljoin(url, "/"))


@SERVED
def test_serve_migrates_the_database_that_it_serves(bake: Bake) -> None:
    """Not that of .env, which the flask command reads and gunicorn does not."""
    project = bake()
    (project.path / ".env").write_text("DATABASE_URL=sqlite:///other.sqlite3\n")
    port = str(free_port())
    url = f"http://127.0.0.1:{port}/api/items"
    with serving(project, "serve", port, url) as response:
        assert response.status == 200
    assert project.has("instance/app.sqlite3")
    assert not project.has("instance/other.sqlite3")


@contextmanager
def serving(
    project: Project, target: str, port: str, url: str
) -> Iterator[HTTPResponse]:
    """Run a server by make until the block ends, with its response for a URL."""
    make = ["make", target, f"PORT={port}", f"PY={sys.executable}", *NO_SETUP]
    with (project.path / "log").open("w") as log:
        server = subprocess.Popen(
            make,
            cwd=project.path,
            env=clean_environ(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield wait_for(url, server)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def wait_for(url: str, server: subprocess.Popen[bytes]) -> HTTPResponse:
    response: HTTPResponse
    while server.poll() is None:
        try:
            with urlopen(url) as response:
                return response
        except URLError:
            time.sleep(0.1)
    raise AssertionError("The server ended.")


def paste(project: Project, heading: str) -> None:
    """Do what a section of README or docs/how-to.md says."""
    documents = [project.read(name) for name in ("README.md", HOW_TO)]
    (snippets,) = (s[heading] for s in map(sections, documents) if heading in s)
    for before, language, text in snippets:
        for library, least in LIBRARY.findall(before):
            assert numbers(version(library)) >= numbers(least)
            add(project, "requirements.in", f"{library}>={least}\n")
        if language == "sh":
            run(project, text)
        else:
            put(project, before, text)
    project.check("ruff", "check", "--fix", "--select", "I")


def numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def run(project: Project, commands: str) -> None:
    for command in commands.splitlines():
        if not command.startswith("make "):
            # it does not end: the recipe's test starts it
            assert command in REQUESTS
            continue
        project.check(*shlex.split(command), f"PY={sys.executable}", *NO_SETUP)


def put(project: Project, before: str, text: str) -> None:
    """Put a snippet where the line before it says."""
    places = list(PLACE.finditer(before))
    assert places and before.endswith(":"), before
    new, name, how, line = places[-1].groups()
    path = project.path / name
    assert path.exists() is not bool(new), before
    if new:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        return
    imports, rest = split(text) if name.endswith(".py") else ("", text)
    if not how:
        add(project, name, rest)
    else:
        matches = re.findall(rf"^( *)({re.escape(line)})\n", project.read(name), re.M)
        assert len(matches) == 1, before
        whole = "".join(matches[0]) + "\n"
        kept = whole if how == "below" else ""
        moved = kept + indent(rest, matches[0][0])
        path.write_text(project.read(name).replace(whole, moved), "utf-8")
    if imports:
        first = "from __future__ import annotations\n"
        source = project.read(name)
        if first in source:
            source = source.replace(first, first + imports, 1)
        else:
            source = imports + source
        path.write_text(source, "utf-8")


def split(text: str) -> tuple[str, str]:
    """Return the imports that Python begins with, and the rest."""
    imports = re.match(r"(?:(?:from|import) .+\n|\n)*", text)
    assert imports
    return imports[0], text[imports.end() :]


def add(project: Project, name: str, text: str) -> None:
    gap = {".py": "\n\n", ".toml": "\n"}.get(name[name.rindex(".") :], "")
    path = project.path / name
    path.write_text(f"{project.read(name)}{gap}{text}", "utf-8")


def request_recipes(project: Project, *arguments: str) -> None:
    requests = REQUESTS.replace("saved_items", project.package)
    (project.path / "tests" / "recipes.py").write_text(requests, "utf-8")
    project.check(*PYTEST, *arguments)
