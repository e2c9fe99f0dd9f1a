"""NC002 in the running process: the object that a server serves is not the guard."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
import typing as t
from contextlib import suppress
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from types import ModuleType

from flask import Flask

from .entry import ADAPTERS
from .entry import own_nodes
from .findings import Finding
from .findings import finding
from .policy_file import project_root
from .routes import app_location
from .routes import code_location
from .routes import short

KIT = __package__.rpartition(".")[0]
# the entry points that Flask and servers look up by default
DEFAULTS = [("wsgi", "app"), ("wsgi", "application")]
COMMAND = re.compile(
    r"\b(?:gunicorn|granian|mod_wsgi-express|uwsgi|waitress-serve)\b"
    r"[^\n]*?[\s\"'=]([A-Za-z_][\w.]*):([A-Za-z_]\w*)"
)


def server_findings(app: Flask) -> t.Iterator[Finding]:
    """Yield findings for objects that servers call in place of the guard.

    It reads imported modules, and imports none.

    :param app: the app.
    """
    above = [*takewhile(lambda c: not _of_kit(c), type(app).__mro__)]
    if "nocache" not in app.extensions or len(above) == len(type(app).__mro__):
        where = app_location(app)
        yield finding("NC002", where, f"'{app.name}'", "is not a NoCacheFlask")
    else:
        for cls in above:
            call = vars(cls).get("__call__")
            if call is not None and not calls_guard(call):
                where = code_location(call) or app_location(app)
                subject = f"'{cls.__name__}.__call__'"
                yield finding("NC002", where, subject, "replaces the guard")
    for module, name in dict.fromkeys([*_entry_points(project_root(app)), *DEFAULTS]):
        target = getattr(sys.modules.get(module), name, None)
        path = Path(getattr(sys.modules.get(module), "__file__", None) or "")
        if project_root(app) in path.parents and (kind := _unguarded(target)):
            where = short(str(path)), _line_of(path, name)
            subject, fact = f"'{module}:{name}'", f"is a {kind} and not the guarded app"
            yield finding("NC002", where, subject, fact)


def import_entry_points(app: Flask) -> None:
    """Import the modules that the configuration of a server names, if that is possible.

    :param app: the app, whose project has the configuration.
    """
    for module, _ in _entry_points(project_root(app)):
        # it may need the configuration of another machine; the source is read anyway
        with suppress(Exception, SystemExit):
            import_module(module)


def calls_guard(call: t.Callable[..., t.Any]) -> bool:
    """Return whether a WSGI method returns the result of its base class's method.

    :param call: the method; True is returned if its source cannot be read.
    """
    try:
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(call))).body
    except (OSError, SyntaxError, TypeError, ValueError):
        return True
    if not isinstance(function, ast.FunctionDef):
        return True
    last = (function.args.args or [ast.arg("")])[-1].arg
    if function.args.vararg is not None:
        last = function.args.vararg.arg
    nodes = list(own_nodes(function))
    if any(
        isinstance(n, ast.Name) and n.id == last and isinstance(n.ctx, ast.Store)
        for n in nodes
    ):
        return False
    names = {
        target.id
        for n in nodes
        if isinstance(n, ast.Assign) and _calls_base(n.value, function.name, last)
        for target in n.targets
        if isinstance(target, ast.Name)
    }
    values = [n.value for n in nodes if isinstance(n, ast.Return | ast.YieldFrom)]
    return bool(values) and all(
        _calls_base(v, function.name, last)
        or (isinstance(v, ast.Name) and v.id in names)
        for v in values
    )


def _calls_base(node: ast.AST | None, method: str, last: str) -> bool:
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=attr),
            args=[*_, ast.Name(id=name) | ast.Starred(value=ast.Name(id=name))],
        ):
            return attr == method and name == last
    return False


def _of_kit(cls: type) -> bool:
    return cls.__module__.startswith(f"{KIT}.")


def _entry_points(root: Path) -> t.Iterator[tuple[str, str]]:
    """Yield the module and the name of each entry point in the configuration."""
    with suppress(OSError, SyntaxError, ValueError):
        for node in ast.parse((root / "gunicorn.conf.py").read_bytes()).body:
            match node:
                case ast.Assign(
                    targets=[ast.Name(id="wsgi_app")],
                    value=ast.Constant(value=str(target)),
                ):
                    module, _, name = target.partition(":")
                    yield module, name or "application"
    for file in ("Procfile", "pyproject.toml"):
        with suppress(OSError):
            text = (root / file).read_text(encoding="utf-8", errors="replace")
            yield from COMMAND.findall(text)


def _unguarded(target: t.Any) -> str:
    """Return the type of an entry point without the guard, empty if it has it."""
    if isinstance(target, Flask):
        return "" if "nocache" in target.extensions else type(target).__name__
    owner = getattr(target, "__self__", None)
    if isinstance(owner, Flask):
        # app.wsgi_app is guarded too, because servers may get it
        return _unguarded(owner)
    if isinstance(target, ModuleType) or not callable(target):
        return ""
    kind = type(target).__name__
    if kind in ADAPTERS:
        return _unguarded(getattr(target, "wsgi_application", None))
    return kind


def _line_of(path: Path, name: str) -> int:
    """Return the line of a module that assigns a name, 1 if there is none."""
    line = 1
    with suppress(OSError, SyntaxError, ValueError):
        for node in ast.parse(path.read_bytes()).body:
            for child in ast.walk(node):
                match child:
                    case ast.Name(id=id, ctx=ast.Store()) | ast.FunctionDef(name=id):
                        line = node.lineno if id == name else line
    return line
