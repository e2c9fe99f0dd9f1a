"""What the files of a project say past the guard, read and never run."""

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
SKIPPED = frozenset({"node_modules", "site-packages", "tests"})
# hosts read their configuration there
HIDDEN = frozenset({".ebextensions", ".platform"})
# most files hold none of this and need no parsing
WORTH_PARSING = re.compile(
    r"cache.control|expires|pragma|(surrogate|edge).control|make_conditional|send_file"
    r"|(add|set)_etag|freeze|max_age|cache_timeout|\.age\b",
    re.IGNORECASE,
)

VERBS = frozenset({"delete", "get", "patch", "post", "put", "route"})
ROUTES = re.compile(rf"@[\w.]+\.({'|'.join(sorted(VERBS))})\(")

Spotted = tuple[int, str, str, str]


class Outline(t.NamedTuple):
    """What the app tells about the addresses in its files.

    :param urls: where an address in a template or script leads.
    :param prefixes: the prefixes of its API.
    """

    urls: Urls = UNKNOWN
    prefixes: tuple[str, ...] = ("/api/",)


# where there is no app to tell
OUTLINE = Outline()


def below(folder: str) -> t.Iterator[str]:
    """Yield the files below a folder, without the kit, tests and environments."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if (not name.startswith(".") or name in HIDDEN)
            and name not in SKIPPED
            and os.path.join(parent, name) != KIT
            and not os.path.exists(os.path.join(parent, name, "pyvenv.cfg"))
        )
        yield from (os.path.join(parent, name) for name in sorted(files))


def is_read(path: str) -> bool:
    """Return whether a file is one in which something may be found, but for Python."""
    known = path.endswith((*browser.TEMPLATES, *browser.SCRIPTS))
    return known or bool(edge.CONFIGURATIONS.search(path.replace(os.sep, "/")))


def read(path: str) -> str:
    """Return what is in a file, empty where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def line_of_app(path: str) -> int:
    """Return the line that makes the app, the first one where none is seen."""
    text = read(path)
    made = re.search(r"(?<!class )\b\w*Flask\(", text)
    return text.count("\n", 0, made.start()) + 1 if made else 1


def declared_routes(text: str) -> t.Iterator[int]:
    """Yield the lines of the views that a Python file registers by decorators."""
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


def scan(paths: t.Iterable[str]) -> t.Iterator[tuple[str, *Spotted]]:
    """Yield the path, line, id, subject and fact of what files do past the guard.

    :param paths: the files to read.
    """
    for path in paths:
        yield from ((path, *spotted) for spotted in spot(path, read(path)))


def spot(path: str, text: str, outline: Outline = OUTLINE) -> t.Iterator[Spotted]:
    """Yield the line, id, subject and fact of what one file does past the guard.

    :param path: its path, by which its format is told.
    :param text: what is in it.
    :param outline: what the app tells about the addresses in it.
    """
    if path.endswith(".py"):
        yield from _spot_python(text)
        return
    for line, subject, fact in browser.spot(path, text, outline.urls):
        yield line, "NC013", subject, fact
    for line, subject, fact in edge.spot(path, text, outline.prefixes):
        yield line, "NC014", subject, fact


def _spot_python(text: str) -> t.Iterator[Spotted]:
    by_hand = WORTH_PARSING.search(text)
    if not (by_hand or entry.WORTH_PARSING.search(text)):
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return  # no part of an app that could be loaded
    yield from entry.spot(tree)
    for line, what in handwritten.spot(tree) if by_hand else ():
        yield line, "NC007", f"'{what}'", ""
