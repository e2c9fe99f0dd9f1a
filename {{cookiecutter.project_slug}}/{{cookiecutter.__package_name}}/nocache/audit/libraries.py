"""NC001 for routes that a library registers: the library, and the line to change."""

from __future__ import annotations

import ast
import contextlib
import functools
import os
import re
import sys
import typing as t

from .entry import last_name
from .routes import app_location
from .routes import short

if t.TYPE_CHECKING:
    from flask import Flask

Place = tuple[str, int]


def library_of(app: Flask, view: t.Any) -> str:
    """Return the installed package that defines a view, empty if the app defines it."""
    package = (getattr(view, "__module__", None) or "").partition(".")[0]
    path = getattr(sys.modules.get(package), "__file__", None)
    if not path or package == app.import_name.partition(".")[0]:
        return ""
    folder = os.path.dirname(path)
    if os.path.basename(path) == "__init__.py":
        folder = os.path.dirname(folder)
    return package if _installed_in(folder) else ""


def registered_at(
    app: Flask, package: str, sources: t.Mapping[str, str]
) -> Place | None:
    """Return where an app registers the routes of a package, or where the app is made.

    None is returned if the app has no file.

    :param app: the app.
    :param package: the package.
    :param sources: the contents of the app's Python files, by path.
    """
    first: Place | None = None
    names: set[str] = set()
    trees = []
    for path, text in sources.items():
        if package in text or ".init_app(" in text:
            try:
                trees.append((path, ast.parse(text)))
            except (SyntaxError, ValueError):
                continue
    for path, tree in trees:
        imports = _imports(tree, package)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _root(node.func) in imports:
                if first is None or (short(path), node.lineno) < first:
                    first = short(path), node.lineno
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=func)):
                    names |= {name} if _root(func) in imports else set()
    # an extension may get the app in another place than the one that makes it
    for path, tree in trees:
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(value=owner, attr="init_app")):
                    if last_name(owner) in names:
                        return short(path), node.lineno
    where = first or app_location(app)
    return where if os.path.exists(where[0]) else None


def declares(app: Flask, view: t.Any, decorator: t.Any) -> bool:
    """Return whether a setting of the app declares the view of a library.

    APIFlask applies SPEC_DECORATORS when it calls the view.

    :param app: the app.
    :param view: the view.
    :param decorator: the decorator to look for in the setting.
    """
    for cell in getattr(view, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # an empty cell
            name = cell.cell_contents
            setting = app.config.get(name, ()) if isinstance(name, str) else ()
            if isinstance(setting, list | tuple) and decorator in setting:
                return True
    return False


@functools.lru_cache(maxsize=64)
def _installed_in(folder: str) -> bool:
    """Return whether packages are installed in a folder."""
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(folder))
    except OSError:
        return False


def _imports(tree: ast.Module, package: str) -> set[str]:
    """Return the names that a module imports from a package, and their subclasses."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    if re.match(rf"{package}\b", alias.name):
                        names.add(alias.asname or package)
            case ast.ImportFrom(module=str(module), level=0, names=aliases):
                if re.match(rf"{package}\b", module):
                    names.update(alias.asname or alias.name for alias in aliases)
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name, bases=bases):
                names |= {name} if not names.isdisjoint(map(_root, bases)) else set()
    return names


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
