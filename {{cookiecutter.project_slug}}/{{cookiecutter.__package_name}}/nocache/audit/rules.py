from __future__ import annotations

import contextlib
import inspect
import typing as t
from pathlib import Path

from ..declare import policy_of
from ..declare import TRACES
from ..policy import REVALIDATE
from . import source
from . import version
from .findings import Finding
from .findings import finding
from .policy_file import policy_file_findings
from .policy_file import project_root
from .routes import code_location
from .routes import Registration
from .routes import short
from .routes import survey
from .server import server_findings

if t.TYPE_CHECKING:
    from flask import Flask

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# what the decorators of caches leave on a function
SERVER_CACHES = {
    "cache_info": "functools.lru_cache",
    "make_cache_key": "Flask-Caching",
    "delete_memoized": "Flask-Caching",
}


def audit_app(app: Flask) -> list[Finding]:
    """Return what is wrong with the cache policies of an app, sorted by place.

    Reads the routes and the source, and never calls a view.
    """
    registrations = list(survey(app))
    findings = list(_route_findings(app, registrations))
    for path, line, id, subject, fact in source.scan(source_files(app)):
        findings.append(finding(id, (short(path), line), subject, fact))
    # what a module gives the server may be seen in its source already
    bypasses = {(f.path, f.line) for f in findings if f.id == "NC002"}
    findings += [f for f in server_findings(app) if (f.path, f.line) not in bypasses]
    for file, fact in version.edits():
        where = (short(str(file)), 1)
        findings.append(finding("NC011", where, f"'{file.name}'", fact))
    faulty = {(f.path, f.line) for f in findings}
    table = [registration.route for registration in registrations]
    findings += policy_file_findings(app, table, faulty)
    return sorted(set(findings))


def source_files(app: Flask) -> t.Iterator[str]:
    """Yield the app's own Python files: below its folder, and the modules beside it."""
    root = project_root(app)
    if Path(app.root_path) != root:
        yield from map(str, sorted(root.glob("*.py")))
    yield from source.below(app.root_path)


def _route_findings(
    app: Flask, registrations: list[Registration]
) -> t.Iterator[Finding]:
    effective = {id(registration.policy) for registration in registrations}
    prefixes = sorted(filter(None, app.extensions.get("nocache", ())))
    for route, view, policy, api, redirect, _ in registrations:
        where, subject = route.place, f"'{route.endpoint}'"
        inside = list(_inside(view))
        lost = list(_lost(view, inside, route.methods, effective))
        for fact, place in lost:
            yield finding("NC006", place or where, subject, fact)
        if policy is not None and policy.storable and policy.text != REVALIDATE:
            unsafe = ", ".join(UNSAFE.intersection(route.methods))
            if api:
                yield finding("NC003", where, subject)
            elif unsafe:
                yield finding("NC004", where, subject, unsafe)
        below = [p for p in prefixes if f"{route.rule}/".startswith(f"{p}/")]
        if below and not api:
            yield finding("NC005", where, subject, f"'{below[0]}'")
        elif policy is None and not (api or redirect or lost):
            yield finding("NC001", where, subject)
        if api or policy is None or not policy.storable:
            for fact in _server_caches(inside):
                yield finding("NC009", where, subject, fact)


def _lost(
    view: t.Any, inside: list[t.Any], methods: t.Iterable[str], effective: set[int]
) -> t.Iterator[tuple[str, tuple[str, int] | None]]:
    """Yield what was declared for a view but does not reach the route."""
    for function in inside:
        for policy in getattr(function, TRACES, ()):
            if id(policy) not in effective:
                fact = "has a @cacheable without effect, above its route or lost in a decorator"
                yield fact, code_location(function)
    if (view_class := getattr(view, "view_class", None)) is not None:
        for method in methods:
            function = getattr(view_class, method.lower(), None)
            if policy_of(function) is not None:
                yield (
                    "has a cache policy without effect, on a method of its class",
                    code_location(function),
                )


def _inside(view: t.Any) -> t.Iterator[t.Any]:
    """Yield a view and the functions it wraps, through closures where need be."""
    seen: set[int] = set()
    todo = [view]
    while todo and len(seen) < 20:
        function = todo.pop()
        if id(function) in seen:
            continue
        seen.add(id(function))
        yield function
        if (wrapped := getattr(function, "__wrapped__", None)) is not None:
            todo.append(wrapped)
            continue
        for cell in getattr(function, "__closure__", None) or ():
            with contextlib.suppress(ValueError):  # a cell not filled yet
                if inspect.isfunction(cell.cell_contents):
                    todo.append(cell.cell_contents)


def _server_caches(inside: list[t.Any]) -> list[str]:
    return sorted(
        {
            name
            for mark, name in SERVER_CACHES.items()
            for function in inside
            if hasattr(function, mark)
        }
    )
