from __future__ import annotations

import ast
import os
import re
import typing as t
from pathlib import Path

from . import entry

KIT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIPPED = frozenset({"node_modules", "site-packages", "tests"})
FIELD = re.compile(
    r"expires|pragma|surrogate-control|edge-control|x-accel-expires|(.+-)?cache-control",
    re.IGNORECASE,
)
# most files hold none of this and need no parsing
WORTH_PARSING = re.compile(
    r"cache.control|expires|pragma|(surrogate|edge).control|make_conditional|add_etag"
    r"|max_age",
    re.IGNORECASE,
)
SETTERS = frozenset({"add", "add_header", "set", "setdefault"})
TAKERS = frozenset({"Headers", "Response", "extend", "make_response", "update"})
VALIDATORS = frozenset({"add_etag", "make_conditional"})
FILE_SENDERS = frozenset({"send_file", "send_from_directory"})

Spotted = tuple[int, str, str, str]


def below(folder: str) -> t.Iterator[str]:
    """Yield the Python files below a folder, without the kit, tests and environments."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in SKIPPED
            and os.path.join(parent, name) != KIT
            and not os.path.exists(os.path.join(parent, name, "pyvenv.cfg"))
        )
        yield from (os.path.join(parent, f) for f in sorted(files) if f.endswith(".py"))


def line_of_app(path: str) -> int:
    """Return the line that makes the app, the first one where none is seen."""
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    made = re.search(r"\bFlask\(", text)
    return text.count("\n", 0, made.start()) + 1 if made else 1


def scan(paths: t.Iterable[str]) -> t.Iterator[tuple[str, *Spotted]]:
    """Yield the path, line, id, subject and fact of what source files do past the guard.

    :param paths: the files to read.
    """
    for path in paths:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
        if not (WORTH_PARSING.search(text) or entry.WORTH_PARSING.search(text)):
            continue
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue  # no part of an app that could be loaded
        yield from ((path, *spotted) for spotted in entry.spot(tree))
        for node in ast.walk(tree):
            for spotted in _spot(node):
                yield (path, *spotted)


def _spot(node: ast.AST) -> t.Iterator[Spotted]:
    match node:
        case ast.Call():
            yield from _spot_call(node)
        case ast.Assign(targets=[ast.Name(id=name)]) if "headers" in name.lower():
            yield from _by_hand(node.lineno, _fields_in(node.value))
        case ast.Return(value=ast.Tuple(elts=parts)):
            for part in parts:
                yield from _by_hand(node.lineno, _fields_in(part))
        case ast.Subscript(slice=key, ctx=ast.Store()) if _is_headers(node.value):
            yield from _by_hand(node.lineno, _field(key))
        case ast.Attribute(attr=attr, ctx=ast.Store()):
            yield from _by_hand(node.lineno, _attribute(attr, node.value))


def _spot_call(node: ast.Call) -> t.Iterator[Spotted]:
    name = _name(node.func)
    arguments = [*node.args, *(k.value for k in node.keywords)]
    if name in VALIDATORS:
        yield from _by_hand(node.lineno, [f"{name}()"])
    elif name in FILE_SENDERS and any(k.arg == "max_age" for k in node.keywords):
        yield from _by_hand(node.lineno, [f"{name}(max_age=...)"])
    elif name in SETTERS and node.args and isinstance(node.func, ast.Attribute):
        if _is_headers(node.func.value):
            yield from _by_hand(node.lineno, _field(node.args[0]))
    elif name in TAKERS:
        for argument in arguments:
            yield from _by_hand(node.lineno, _fields_in(argument))


def _by_hand(line: int, written: t.Iterable[str]) -> t.Iterator[Spotted]:
    for what in written:
        yield line, "NC007", f"'{what}'", ""


def _fields_in(node: ast.AST) -> t.Iterator[str]:
    """Yield the cache fields in a dict, or in a list of pairs."""
    match node:
        case ast.Dict(keys=keys):
            for key in keys:
                yield from _field(key)
        case ast.List(elts=pairs):
            for pair in pairs:
                if isinstance(pair, ast.Tuple) and len(pair.elts) == 2:
                    yield from _field(pair.elts[0])


def _field(node: ast.AST | None) -> t.Iterator[str]:
    match node:
        case ast.Constant(value=str(name)) if FIELD.fullmatch(name.strip()):
            yield name


def _attribute(attr: str, owner: ast.AST) -> t.Iterator[str]:
    """Yield what is set through `response.cache_control` and `response.expires`."""
    inner = owner.attr if isinstance(owner, ast.Attribute) else ""
    if "cache_control" in (attr, inner):
        yield "cache_control"
    elif attr == "expires" and "resp" in _name(owner):
        yield "expires"


def _is_headers(node: ast.AST) -> bool:
    return "headers" in _name(node).lower()


def _name(node: ast.AST) -> str:
    """Return the last part of a dotted name, as `headers` of `response.headers`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
