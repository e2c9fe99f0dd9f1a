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
from .policy_file import POLICY_FILE
from .policy_file import policy_file
from .policy_file import policy_lines
from .policy_file import project_root
from .routes import app_location
from .routes import code_location
from .routes import Route
from .routes import shown
from .routes import survey
from .routes import Surveyed

if t.TYPE_CHECKING:
    from flask import Flask

GUARDED = f"{__package__.rpartition('.')[0]}.app"
UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# Flask's setting for static files, whose policy does not heed it
STATIC_AGE = "SEND_FILE_MAX_AGE_DEFAULT"
STATIC_AGE_HINT = (
    "remove it, and link static files with url_for('static', filename=...):"
    " by the digest in their URL browsers keep them for a year."
)
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
    surveyed = list(survey(app))
    found = [*_entry_findings(app), *_route_findings(app, surveyed)]
    for path, line, id, subject, fact in source.scan(source_files(app)):
        found.append(finding(id, (shown(path), line), subject, fact))
    found += _setting_findings(app, found)
    for edited, fact in version.edits():
        where = (shown(str(edited)), 1)
        found.append(finding("NC011", where, f"'{edited.name}'", fact))
    faulty = {(f.path, f.line) for f in found}
    found += _policy_file_findings(app, [s.route for s in surveyed], faulty)
    return sorted(set(found))


def source_files(app: Flask) -> t.Iterator[str]:
    """Yield the app's own Python files: below its folder, and the modules beside it."""
    root = project_root(app)
    if Path(app.root_path) != root:
        yield from map(str, sorted(root.glob("*.py")))
    yield from source.below(app.root_path)


def _entry_findings(app: Flask) -> t.Iterator[Finding]:
    call = type(app).__call__
    if "nocache" not in app.extensions:
        yield finding(
            "NC002", app_location(app), f"'{app.name}'", "is not a NoCacheFlask"
        )
    elif call.__module__ != GUARDED:
        where = code_location(call) or app_location(app)
        name = type(app).__name__
        yield finding("NC002", where, f"'{name}.__call__'", "replaces the guard")


def _setting_findings(app: Flask, found: list[Finding]) -> list[Finding]:
    """Return what the configuration says of static files, unless the source showed it."""
    subject = f"'{STATIC_AGE}'"
    if app.config.get(STATIC_AGE) is None or any(subject in f.message for f in found):
        return []
    where = app_location(app)
    return [finding("NC007", where, subject, hint=STATIC_AGE_HINT)]


def _route_findings(app: Flask, surveyed: list[Surveyed]) -> t.Iterator[Finding]:
    effective = {id(s.policy) for s in surveyed}
    prefixes = sorted(filter(None, app.extensions.get("nocache", ())))
    for route, view, policy, api, redirect in surveyed:
        where, subject = (route.file, route.line), f"'{route.endpoint}'"
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
                fact = "has a @cacheable above its route or lost in a decorator"
                yield fact, code_location(function)
    if (view_class := getattr(view, "view_class", None)) is not None:
        for method in methods:
            function = getattr(view_class, method.lower(), None)
            if policy_of(function) is not None:
                yield (
                    "has a cache policy on a method of its class",
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


def _policy_file_findings(
    app: Flask, declared: list[Route], faulty: set[tuple[str, int]]
) -> t.Iterator[Finding]:
    path = policy_file(app)
    place = shown(str(path))
    if not path.exists():
        yield finding("NC010", (place, 1), f"'{POLICY_FILE}'", "does not exist")
        return
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    accepted = {line: n for n, line in lines if line and not line.startswith("#")}
    expected = set(policy_lines(declared))
    # a route that has to change anyway is not worth accepting yet
    spared = {_key(str(r)) for r in declared if (r.file, r.line) in faulty}
    for line in expected - accepted.keys():
        if _key(line) not in spared:
            yield finding("NC010", (place, 1), f"'{line}'", "is not accepted")
    for line in accepted.keys() - expected:
        if _key(line) not in spared:
            where = (place, accepted[line])
            yield finding("NC010", where, f"'{line}'", "is accepted, but not declared")


def _key(line: str) -> str:
    return line.partition(" -> ")[0]
