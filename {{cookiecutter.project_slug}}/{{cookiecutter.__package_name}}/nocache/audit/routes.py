from __future__ import annotations

import functools
import inspect
import os
import sys
import typing as t

from ..declare import on_api
from ..declare import policy_of
from ..policy import REVALIDATE
from ..static import STATIC_TEXT
from . import source

if t.TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule

    from ..policy import Policy

AUTOMATIC = frozenset({"HEAD", "OPTIONS"})


class Route(t.NamedTuple):
    """One route and its cache policy.

    :param rule: the rule, behind its host or subdomain if it has one.
    :param endpoint: the endpoint.
    :param methods: the methods, sorted, without the automatic HEAD and OPTIONS.
    :param policy: ``no-store``, ``undeclared``, or the Cache-Control of its answers;
        a static route has two.
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
    return sorted(route for route, *_ in survey(app))


class Surveyed(t.NamedTuple):
    route: Route
    view: t.Any
    policy: Policy | None
    api: bool
    redirect: bool


def survey(app: Flask) -> t.Iterator[Surveyed]:
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
        yield Surveyed(
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
    if policy is None:
        return "undeclared", ""
    text = STATIC_TEXT if policy.text == REVALIDATE else policy.text
    return text, policy.reason


def rule_text(rule: Rule) -> str:
    return (
        f"//{rule.host or rule.subdomain}{rule}"
        if rule.host or rule.subdomain
        else str(rule)
    )


def app_location(app: Flask) -> tuple[str, int]:
    module = sys.modules.get(app.import_name)
    path = getattr(module, "__file__", None)
    return (shown(path), source.line_of_app(path)) if path else (app.import_name, 1)


def _location(app: Flask, view: t.Any, methods: t.Iterable[str]) -> tuple[str, int]:
    view_class = getattr(view, "view_class", None)
    if view_class is not None:
        handlers = (getattr(view_class, m.lower(), None) for m in sorted(methods))
        view = next(filter(None, handlers), view_class.dispatch_request)
    return code_location(view) or app_location(app)


def code_location(function: t.Any) -> tuple[str, int] | None:
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
    return (shown(code.co_filename), code.co_firstlineno) if code else None


@functools.lru_cache(maxsize=1024)
def shown(path: str) -> str:
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return path
    return path if relative.startswith(os.pardir) else relative
