"""Findings in the files of a project, which are read and never run."""

from __future__ import annotations

import ast
import os
import re
import typing as t
from pathlib import Path

from . import browser
from . import edge
from . import entry
from . import handwritten
from .urls import UNKNOWN
from .urls import Urls

KIT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXCLUDED = frozenset({"node_modules", "site-packages", "tests"})
# hidden folders with the configuration of hosts
HIDDEN = frozenset({".ebextensions", ".platform"})
# files without a match need no parsing
WORTH_PARSING = re.compile(
    r"cache.control|expires|pragma|(surrogate|edge).control|make_conditional|send_file"
    r"|(add|set)_etag|freeze|max_age|cache_timeout|\.age\b",
    re.IGNORECASE,
)

VERBS = frozenset({"delete", "get", "patch", "post", "put", "route"})
ROUTES = re.compile(rf"@[\w.]+\.({'|'.join(sorted(VERBS))})\(")

# the line, id, subject and fact of a finding
Occurrence = tuple[int, str, str, str]


class Outline(t.NamedTuple):
    """The part of an app that its files are compared with.

    :param urls: how to classify the URLs in templates and scripts.
    :param prefixes: the prefixes of the API.
    """

    urls: Urls = UNKNOWN
    prefixes: tuple[str, ...] = ("/api/",)


# for files that are read without an app
OUTLINE = Outline()


def below(folder: str) -> t.Iterator[str]:
    """Yield the files below a folder, except the kit, tests and virtual environments."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if (not name.startswith(".") or name in HIDDEN)
            and name not in EXCLUDED
            and os.path.join(parent, name) != KIT
            and not os.path.exists(os.path.join(parent, name, "pyvenv.cfg"))
        )
        yield from (os.path.join(parent, name) for name in sorted(files))


def is_relevant(path: str) -> bool:
    """Return whether a file is a template, a script or a configuration file."""
    is_page = path.endswith((*browser.TEMPLATES, *browser.SCRIPTS))
    return is_page or bool(edge.CONFIGURATIONS.search(path.replace(os.sep, "/")))


def read(path: str) -> str:
    """Return the content of a file, empty if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def line_of_app(path: str) -> int:
    """Return the line of a file that makes the app, 1 if there is none."""
    text = read(path)
    match = re.search(r"(?<!class )\b\w*Flask\(", text)
    return text.count("\n", 0, match.start()) + 1 if match else 1


def route_lines(text: str) -> t.Iterator[int]:
    """Yield the line of each view that a Python file registers by a decorator."""
    if not ROUTES.search(text):
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        for decorator in getattr(node, "decorator_list", ()):
            match decorator:
                case ast.Call(
                    func=ast.Attribute(attr=attr),
                    args=[ast.Constant(value=str(rule)), *_],
                ) if attr in VERBS and rule.startswith("/"):
                    yield t.cast("t.Any", node).decorator_list[0].lineno
                    break


def scan(paths: t.Iterable[str]) -> t.Iterator[tuple[str, *Occurrence]]:
    """Yield the path, line, id, subject and fact of each finding in some files.

    :param paths: the paths of the files.
    """
    for path in paths:
        yield from ((path, *occurrence) for occurrence in spot(path, read(path)))


def spot(path: str, text: str, outline: Outline = OUTLINE) -> t.Iterator[Occurrence]:
    """Yield the line, id, subject and fact of each finding in a file.

    :param path: the path of the file, which tells its format.
    :param text: the content of the file.
    :param outline: the outline of the app.
    """
    if path.endswith(".py"):
        yield from _spot_python(text)
        return
    for line, subject, fact in browser.spot(path, text, outline.urls):
        yield line, "NC013", subject, fact
    for line, subject, fact in edge.spot(path, text, outline.prefixes):
        yield line, "NC014", subject, fact


def _spot_python(text: str) -> t.Iterator[Occurrence]:
    may_set_fields = WORTH_PARSING.search(text)
    if not (may_set_fields or entry.WORTH_PARSING.search(text)):
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return  # an app with this file would not start
    for line, subject, fact in entry.spot(tree):
        yield line, "NC002", subject, fact
    for line, name in handwritten.spot(tree) if may_set_fields else ():
        yield line, "NC007", f"'{name}'", ""
