from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
import typing as t
from pathlib import Path

from flask.sansio.scaffold import find_package

from . import source
from . import version
from .findings import Finding
from .findings import finding
from .policy import on_api
from .policy import Policy
from .policy import policy_of
from .policy import REVALIDATE
from .policy import TRACES

if t.TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule

POLICY_FILE = "cache-policy.txt"
POLICY_HEADER = (
    "# The accepted cache policy, one line a route: review every change of it.\n"
    "# Written by 'flask nocache accept', compared by 'flask nocache audit'.\n"
)
UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
AUTOMATIC = frozenset({"HEAD", "OPTIONS"})
# what the decorators of caches leave on a function
SERVER_CACHES = {
    "cache_info": "functools.lru_cache",
    "make_cache_key": "Flask-Caching",
    "delete_memoized": "Flask-Caching",
}


class Route(t.NamedTuple):
    """One route and its cache policy.

    :param rule: the rule, behind its host or subdomain if it has one.
    :param endpoint: the endpoint.
    :param methods: the methods, sorted, without the automatic HEAD and OPTIONS.
    :param policy: ``no-store``, ``undeclared``, or the Cache-Control of its answers.
    :param reason: why its answers may be stored.
    :param file: the file of the view.
    :param line: the line of the view in the file, from 1.
    """

    rule: str
    endpoint: str
    methods: tuple[str, ...]
    policy: str
    reason: str
    file: str
    line: int

    def __str__(self) -> str:
        line = f"{self.endpoint} {','.join(self.methods)} {self.rule} -> {self.policy}"
        return f"{line}: {self.reason}" if self.reason else line


def routes(app: Flask) -> list[Route]:
    """Return the routes of an app with their policies, sorted by rule."""
    return sorted(route for route, *_ in _survey(app))


def audit_app(app: Flask) -> list[Finding]:
    """Return what is wrong with the cache policies of an app, sorted by place.

    Reads the routes and the source, and never calls a view.
    """
    surveyed = list(_survey(app))
    found = [*_entry_findings(app), *_route_findings(app, surveyed)]
    for path, line, id, subject, fact in source.scan(source_files(app)):
        found.append(finding(id, (_shown(path), line), subject, fact))
    for edited, fact in version.edits():
        where = (_shown(str(edited)), 1)
        found.append(finding("NC011", where, f"'{edited.name}'", fact))
    faulty = {(f.path, f.line) for f in found}
    found += _policy_file_findings(app, [s.route for s in surveyed], faulty)
    return sorted(set(found))


def project_root(app: Flask) -> Path:
    """Return the folder that holds an app's package, the working directory if installed."""
    prefix, folder = find_package(app.import_name)
    return Path(folder) if prefix is None else Path.cwd()


def policy_file(app: Flask) -> Path:
    """Return where the accepted policy of an app is kept."""
    return project_root(app) / POLICY_FILE


def source_files(app: Flask) -> t.Iterator[str]:
    """Yield the app's own Python files: below its folder, and the modules beside it."""
    root = project_root(app)
    if Path(app.root_path) != root:
        yield from map(str, sorted(root.glob("*.py")))
    yield from source.below(app.root_path)


def write_policy_file(app: Flask) -> Path:
    """Accept what the app declares: write the policy file and return its path."""
    path = policy_file(app)
    text = POLICY_HEADER + "".join(f"{line}\n" for line in policy_lines(routes(app)))
    # a whole file or the old one, whatever happens in between
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(text, encoding="utf-8", newline="\n")
    draft.replace(path)
    return path


def policy_lines(found: t.Iterable[Route]) -> list[str]:
    """Return the lines of the policy file for some routes, sorted."""
    return sorted({str(route) for route in found})


class _Surveyed(t.NamedTuple):
    route: Route
    view: t.Any
    policy: Policy | None
    api: bool
    redirect: bool


def _survey(app: Flask) -> t.Iterator[_Surveyed]:
    blueprints: dict[str, bool] = {}
    for rule in app.url_map.iter_rules():
        if rule.build_only:
            continue
        view = app.view_functions.get(rule.endpoint)
        policy = policy_of(view)
        owner = rule.endpoint.rpartition(".")[0]
        if owner not in blueprints:
            blueprints[owner] = on_api(app, _lineage(owner))
        api, redirect = blueprints[owner], rule.redirect_to is not None
        methods = rule.methods or ()
        yield _Surveyed(
            Route(
                rule_text(rule),
                rule.endpoint,
                tuple(sorted(m for m in methods if m not in AUTOMATIC)) or ("OPTIONS",),
                *_policy_text(policy, api or redirect),
                *_location(app, view, methods),
            ),
            view,
            policy,
            api,
            redirect,
        )


def _lineage(blueprint: str) -> t.Iterator[str]:
    while blueprint:
        yield blueprint
        blueprint = blueprint.rpartition(".")[0]


def _policy_text(policy: Policy | None, closed: bool) -> tuple[str, str]:
    if closed:
        return "no-store", ""
    return (policy.text, policy.reason) if policy is not None else ("undeclared", "")


def rule_text(rule: Rule) -> str:
    return (
        f"//{rule.host or rule.subdomain}{rule}"
        if rule.host or rule.subdomain
        else str(rule)
    )


def _entry_findings(app: Flask) -> t.Iterator[Finding]:
    from .guard import NoCacheFlask  # which imports the commands, and so this module

    call = type(app).__call__
    if not isinstance(app, NoCacheFlask):
        yield finding(
            "NC002", app_location(app), f"'{app.name}'", "is not a NoCacheFlask"
        )
    elif call is not NoCacheFlask.__call__:
        where = _code_location(call) or app_location(app)
        name = type(app).__name__
        yield finding("NC002", where, f"'{name}.__call__'", "replaces the guard")


def _route_findings(app: Flask, surveyed: list[_Surveyed]) -> t.Iterator[Finding]:
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
                yield fact, _code_location(function)
    if (view_class := getattr(view, "view_class", None)) is not None:
        for method in methods:
            function = getattr(view_class, method.lower(), None)
            if policy_of(function) is not None:
                yield (
                    "has a cache policy on a method of its class",
                    _code_location(function),
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
    shown = _shown(str(path))
    if not path.exists():
        yield finding("NC010", (shown, 1), f"'{POLICY_FILE}'", "does not exist")
        return
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    accepted = {line: n for n, line in lines if line and not line.startswith("#")}
    expected = set(policy_lines(declared))
    # a route that has to change anyway is not worth accepting yet
    spared = {_key(str(r)) for r in declared if (r.file, r.line) in faulty}
    for line in expected - accepted.keys():
        if _key(line) not in spared:
            yield finding("NC010", (shown, 1), f"'{line}'", "is not accepted")
    for line in accepted.keys() - expected:
        if _key(line) not in spared:
            where = (shown, accepted[line])
            yield finding("NC010", where, f"'{line}'", "is accepted, but not declared")


def _key(line: str) -> str:
    return line.partition(" -> ")[0]


def app_location(app: Flask) -> tuple[str, int]:
    module = sys.modules.get(app.import_name)
    path = getattr(module, "__file__", None)
    return (_shown(path), source.line_of_app(path)) if path else (app.import_name, 1)


def _location(app: Flask, view: t.Any, methods: t.Iterable[str]) -> tuple[str, int]:
    view_class = getattr(view, "view_class", None)
    if view_class is not None:
        handlers = (getattr(view_class, m.lower(), None) for m in sorted(methods))
        view = next(filter(None, handlers), view_class.dispatch_request)
    return _code_location(view) or app_location(app)


def _code_location(function: t.Any) -> tuple[str, int] | None:
    for _ in range(20):  # as deep as decorators go
        inner = getattr(function, "__wrapped__", None) or getattr(
            function, "func", None
        )
        if inner is None:
            break
        function = inner
    if not inspect.isroutine(function):
        function = vars(type(function)).get("__call__")
    code = getattr(function, "__code__", None)
    return (_shown(code.co_filename), code.co_firstlineno) if code else None


@functools.lru_cache(maxsize=1024)
def _shown(path: str) -> str:
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return path
    return path if relative.startswith(os.pardir) else relative
