from __future__ import annotations

import itertools
import typing as t
from pathlib import Path

from ..declare import nocache
from ..declare import policy_of
from ..declare import TRACES
from ..policy import REVALIDATE
from . import libraries
from . import silence
from . import source
from . import version
from .caches import around
from .caches import is_plain
from .caches import server_caches
from .findings import Finding
from .findings import finding
from .policy_file import policy_file_findings
from .policy_file import project_root
from .routes import app_location
from .routes import code_location
from .routes import Registration
from .routes import routes
from .routes import short
from .routes import survey
from .server import server_findings
from .silence import Silenced
from .urls import urls

if t.TYPE_CHECKING:
    from flask import Flask

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# where Flask keeps the views, whoever registered them
BY_ENDPOINT = (
    "declare it where the app is made:"
    " app.view_functions[{0!r}] = nocache(app.view_functions[{0!r}])."
)
# Flask's setting for static files, whose policy does not heed it
STATIC_AGE = "SEND_FILE_MAX_AGE_DEFAULT"
STATIC_AGE_HINT = (
    "remove it, and link static files with url_for('static', filename=...):"
    " by the digest in their URL browsers keep them for a year."
)


def audit_app(app: Flask) -> list[Finding]:
    """Return what is wrong with the cache policies of an app, sorted by place.

    Reads the routes and the source, and never calls a view.
    """
    registrations = list(survey(app))
    findings, exceptions = _sifted(app, registrations)
    faulty = {(f.path, f.line) for f in findings}
    table = [registration.route for registration in registrations]
    lines = map(str, exceptions)
    findings += policy_file_findings(app, table, faulty, lines)
    return sorted(set(findings))


def silenced(app: Flask) -> list[str]:
    """Return a line for each finding that is silenced, with its reason."""
    return sorted({str(one) for one in _sifted(app, list(survey(app)))[1]})


def unregistered(app: Flask) -> list[tuple[str, int]]:
    """Return where the source declares routes that the app has not, if most are missing."""
    places = {route.place for route in routes(app)}
    declared = [
        (short(path), line)
        for path in python_files(app)
        for line in source.declared_routes(source.read(path))
    ]
    missing = [place for place in declared if place not in places]
    return missing if len(missing) * 2 > len(declared) else []


def _sifted(
    app: Flask, registrations: list[Registration]
) -> tuple[list[Finding], list[Silenced]]:
    """Return what is found, without what is silenced, and that."""
    sources = {path: source.read(path) for path in python_files(app)}
    findings = list(_route_findings(app, registrations, sources))
    notes: list[silence.Note] = []
    prefixes = (f"{p}/" for p in app.extensions.get("nocache", ()) if p)
    outline = source.Outline(urls(app), tuple(prefixes))
    others = ((path, source.read(path)) for path in other_files(app))
    for path, text in itertools.chain(sources.items(), others):
        for line, id, subject, fact in source.spot(path, text, outline):
            findings.append(finding(id, (short(path), line), subject, fact))
        notes += silence.notes(short(path), text)
    findings += _setting_findings(app, findings)
    # what a module gives the server may be seen in its source already
    bypasses = {(f.path, f.line) for f in findings if f.id == "NC002"}
    findings += [f for f in server_findings(app) if (f.path, f.line) not in bypasses]
    for file, fact in version.edits():
        where = (short(str(file)), 1)
        findings.append(finding("NC011", where, f"'{file.name}'", fact))
    return silence.sift(findings, notes)


def python_files(app: Flask) -> t.Iterator[str]:
    """Yield the app's own Python files: below its folder, and the modules beside it."""
    root = project_root(app)
    if Path(app.root_path) != root:
        yield from map(str, sorted(root.glob("*.py")))
    yield from (path for path in source.below(app.root_path) if path.endswith(".py"))


def other_files(app: Flask) -> t.Iterator[str]:
    """Yield the templates, scripts and configurations of the project."""
    root, own = project_root(app), Path(app.root_path)
    # an installed app has no project: the working directory may be anybody's
    folder = root if own == root or root in own.parents else own
    yield from filter(source.is_read, source.below(str(folder)))


def _setting_findings(app: Flask, findings: list[Finding]) -> list[Finding]:
    """Return what the configuration says of static files, unless the source showed it."""
    subject = f"'{STATIC_AGE}'"
    if app.config.get(STATIC_AGE) is None or any(
        subject in f.message for f in findings
    ):
        return []
    where = app_location(app)
    return [finding("NC007", where, subject, hint=STATIC_AGE_HINT)]


def _route_findings(
    app: Flask, registrations: list[Registration], sources: t.Mapping[str, str]
) -> t.Iterator[Finding]:
    effective = {id(registration.policy) for registration in registrations}
    prefixes = sorted(filter(None, app.extensions.get("nocache", ())))
    for route, view, policy, api, redirect, _ in registrations:
        subject = f"'{route.endpoint}'"
        found: list[tuple[str, str, tuple[str, int] | None]] = []
        lost = [] if is_plain(view) else list(_lost(view, route.methods, effective))
        found += (("NC006", fact, place) for fact, place in lost)
        if policy is not None and policy.storable and policy.text != REVALIDATE:
            unsafe = ", ".join(UNSAFE.intersection(route.methods))
            if api:
                found.append(("NC003", "", None))
            elif unsafe:
                found.append(("NC004", unsafe, None))
        below = (
            [] if api else [p for p in prefixes if f"{route.rule}/".startswith(f"{p}/")]
        )
        if below:
            found.append(("NC005", f"'{below[0]}'", None))
        elif policy is None and not (api or redirect or lost):
            found.append(("NC001", "", None))
        if api or policy is None or not policy.storable:
            for fact in server_caches(view, route.methods):
                found.append(("NC009", fact, None))
        where: tuple[str, int] | None = route.place
        package = libraries.library_of(app, view) if found else ""
        if package:
            where = libraries.registered_at(app, package, sources)
        for id_, fact, place in found:
            hint = ""
            if package and id_ == "NC001":
                if where is None or libraries.declares(app, view, nocache):
                    continue  # or there is no line of the app's that could be mended
                hint = BY_ENDPOINT.format(route.endpoint)
            yield finding(id_, place or where or route.place, subject, fact, hint)


def _lost(
    view: t.Any, methods: t.Iterable[str], effective: set[int]
) -> t.Iterator[tuple[str, tuple[str, int] | None]]:
    """Yield what was declared for a view but does not reach the route."""
    for function in around(view):
        for policy in getattr(function, TRACES, ()):
            # nobody declared what Flask serves from static folders
            if id(policy) not in effective and policy.text != REVALIDATE:
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
