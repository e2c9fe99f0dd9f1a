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
from .caches import is_plain
from .caches import layers
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
from .silence import Silence
from .urls import urls

if t.TYPE_CHECKING:
    from flask import Flask

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# for views of libraries; Flask keeps all views in this dict
VIEW_HINT = (
    "declare it where the app is made:"
    " app.view_functions[{0!r}] = nocache(app.view_functions[{0!r}])."
)
# a setting of Flask that the policy of static files ignores
STATIC_AGE = "SEND_FILE_MAX_AGE_DEFAULT"
STATIC_AGE_HINT = (
    "remove it, and link static files with url_for('static', filename=...):"
    " such a URL has a digest, and browsers store the file for a year."
)


def audit_app(app: Flask) -> list[Finding]:
    """Return the findings about the cache policies of an app, sorted by place.

    It reads the routes and the source, and never calls a view.

    :param app: the app, with all of its routes.
    """
    registrations = list(survey(app))
    findings, exceptions = _sift(app, registrations)
    faults = {(f.path, f.line) for f in findings}
    table = [registration.route for registration in registrations]
    lines = map(str, exceptions)
    findings += policy_file_findings(app, table, faults, lines)
    return sorted(set(findings))


def silences(app: Flask) -> list[str]:
    """Return a line for each silenced finding of an app, with its reason.

    :param app: the app.
    """
    return sorted(set(map(str, _sift(app, list(survey(app)))[1])))


def missing_routes(app: Flask) -> list[tuple[str, int]]:
    """Return the places of routes in the source that the app lacks, if most are missing.

    :param app: the app.
    """
    places = {route.place for route in routes(app)}
    declarations = [
        (short(path), line)
        for path in python_files(app)
        for line in source.route_lines(source.read(path))
    ]
    missing = [place for place in declarations if place not in places]
    return missing if len(missing) * 2 > len(declarations) else []


def _sift(
    app: Flask, registrations: list[Registration]
) -> tuple[list[Finding], list[Silence]]:
    """Return the findings of an app that stay, and those that are silenced."""
    sources = {path: source.read(path) for path in python_files(app)}
    findings = list(_route_findings(app, registrations, sources))
    comments: list[silence.Comment] = []
    prefixes = (f"{p}/" for p in app.extensions.get("nocache", ()) if p)
    outline = source.Outline(urls(app), tuple(prefixes))
    others = ((path, source.read(path)) for path in other_files(app))
    for path, text in itertools.chain(sources.items(), others):
        for line, id, subject, fact in source.spot(path, text, outline):
            findings.append(finding(id, (short(path), line), subject, fact))
        comments += silence.comments(short(path), text)
    findings += _setting_findings(app, findings)
    # the source of a module may show the same as its object
    bypasses = {(f.path, f.line) for f in findings if f.id == "NC002"}
    findings += [f for f in server_findings(app) if (f.path, f.line) not in bypasses]
    for file, fact in version.edits():
        where = (short(str(file)), 1)
        findings.append(finding("NC011", where, f"'{file.name}'", fact))
    return silence.sift(findings, comments)


def python_files(app: Flask) -> t.Iterator[str]:
    """Yield the Python files of an app: in its package and in the project folder."""
    root = project_root(app)
    if Path(app.root_path) != root:
        yield from map(str, sorted(root.glob("*.py")))
    yield from (path for path in source.below(app.root_path) if path.endswith(".py"))


def other_files(app: Flask) -> t.Iterator[str]:
    """Yield the templates, scripts and configuration files of the project."""
    root, own = project_root(app), Path(app.root_path)
    # the working directory of an installed app may be of another project
    folder = root if own == root or root in own.parents else own
    yield from filter(source.is_relevant, source.below(str(folder)))


def _setting_findings(app: Flask, findings: list[Finding]) -> list[Finding]:
    """Return a finding for STATIC_AGE in the configuration, unless the source has it."""
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
    prefixes = [f"{p}/" for p in sorted(app.extensions.get("nocache", ())) if p]
    for route, view, policy, api, redirect, _ in registrations:
        plain = is_plain(view)
        losses = [] if plain else [*_lost_declarations(view, route.methods, effective)]
        faults: list[tuple[str, str, tuple[str, int] | None]]
        faults = [("NC006", fact, place) for fact, place in losses]
        if policy is not None and policy.storable and policy.text != REVALIDATE:
            unsafe = ", ".join(sorted(UNSAFE.intersection(route.methods)))
            if api:
                faults.append(("NC003", "", None))
            elif unsafe:
                faults.append(("NC004", unsafe, None))
        path = f"{route.rule}/"
        below = [] if api else [p for p in prefixes if path.startswith(p)]
        if below:
            faults.append(("NC005", f"'{below[0][:-1]}'", None))
        elif policy is None and not (api or redirect or losses):
            faults.append(("NC001", "", None))
        if not plain and (api or policy is None or not policy.storable):
            for fact in server_caches(view, route.methods):
                faults.append(("NC009", fact, None))
        if not faults:
            continue
        subject = f"'{route.endpoint}'"
        where: tuple[str, int] | None = route.place
        package = libraries.library_of(app, view)
        if package:
            where = libraries.registered_at(app, package, sources)
        for id_, fact, place in faults:
            hint = ""
            if package and id_ == "NC001":
                if where is None or libraries.declares(app, view, nocache):
                    continue  # declared, or the app has no file to change
                hint = VIEW_HINT.format(route.endpoint)
            yield finding(id_, place or where or route.place, subject, fact, hint)


def _lost_declarations(
    view: t.Any, methods: t.Iterable[str], effective: set[int]
) -> t.Iterator[tuple[str, tuple[str, int] | None]]:
    """Yield the declarations of a view that have no effect on its route."""
    for function in layers(view):
        for policy in getattr(function, TRACES, ()):
            # the kit declares the views of static folders itself
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
