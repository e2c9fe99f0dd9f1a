"""NC001 where a library registers the route: in whose hands it is, and where."""

from __future__ import annotations

import ast
import functools
import os
import re
import sys
import typing as t

from .routes import app_location
from .routes import short

if t.TYPE_CHECKING:
    from flask import Flask

Place = tuple[str, int]


def library_of(app: Flask, view: t.Any) -> str:
    """Return the installed package that a view is from, empty if it is the app's own."""
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
    """Return where an app registers what a package brings, or where the app is made.

    :param app: the app; None is returned if no file of its own is known.
    :param package: the package.
    :param sources: the Python files of the app, with what is in them.
    """
    made: Place | None = None
    names: set[str] = set()
    trees = []
    for path, text in sources.items():
        if package in text or ".init_app(" in text:
            try:
                trees.append((path, ast.parse(text)))
            except (SyntaxError, ValueError):
                continue
    for path, tree in trees:
        imported = _imported(tree, package)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _root(node.func) in imported:
                if made is None or (short(path), node.lineno) < made:
                    made = short(path), node.lineno
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=func)):
                    names |= {name} if _root(func) in imported else set()
    # made in one place, and given to the app in another
    for path, tree in trees:
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(value=owner, attr="init_app")):
                    if _last(owner) in names:
                        return short(path), node.lineno
    where = made or app_location(app)
    return where if os.path.exists(where[0]) else None


def declares(app: Flask, view: t.Any, decorator: t.Any) -> bool:
    """Return whether a setting of the app lists a decorator for a library's view.

    APIFlask applies those of SPEC_DECORATORS as it calls the view.
    """
    for cell in getattr(view, "__closure__", None) or ():
        name = cell.cell_contents
        listed = app.config.get(name, ()) if isinstance(name, str) else ()
        if isinstance(listed, list | tuple) and decorator in listed:
            return True
    return False


@functools.lru_cache(maxsize=64)
def _installed_in(folder: str) -> bool:
    """Return whether a folder is one into which packages are installed."""
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(folder))
    except OSError:
        return False


def _imported(tree: ast.Module, package: str) -> set[str]:
    """Return the names that a module has from a package."""
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


def _last(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
