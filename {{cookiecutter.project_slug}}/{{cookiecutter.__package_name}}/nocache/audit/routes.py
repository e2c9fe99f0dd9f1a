"""The routes of an app, and the requests with which wire test and probe test them."""

from __future__ import annotations

import functools
import os
import re
import sys
import typing as t
from types import CodeType

from ..blueprint import lineage
from ..blueprint import on_api
from ..declare import policy_of
from ..policy import REVALIDATE
from ..static import STATIC_TEXT
from . import source

if t.TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule

    from ..policy import Policy

AUTOMATIC = frozenset({"HEAD", "OPTIONS"})
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOT_STORED = frozenset({"no-store", "undeclared"})
# conditions of a client whose stored response is from before the guard
CONDITIONS = {
    "If-None-Match": "*",
    "If-Modified-Since": "Fri, 31 Dec 2100 23:59:59 GMT",
}
UNKNOWN = "no-such-path"
SAMPLES = ("1", "a", "1.5", "00000000-0000-4000-8000-000000000000")


class Route(t.NamedTuple):
    """A route and its cache policy.

    :param rule: the rule, after ``//`` and its host or subdomain if it has one.
    :param endpoint: the endpoint.
    :param methods: the methods, sorted, without the automatic HEAD and OPTIONS.
    :param policy: ``no-store``, ``undeclared``, or the Cache-Control of its responses,
        followed by the declared Vary and ETag, each after a semicolon.
    :param reason: why a stored response does no harm.
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

    @property
    def place(self) -> tuple[str, int]:
        return self.file, self.line

    @property
    def storable(self) -> bool:
        """Whether a cache may store the responses of the view."""
        return self.policy not in NOT_STORED

    @property
    def shared(self) -> bool:
        """Whether a shared cache may store the responses of the view."""
        return self.storable and "private" not in self.policy


class Request(t.NamedTuple):
    """A request for a route, by a test client or to a deployed service.

    :param route: the route whose policy applies to the response.
    :param method: the method.
    :param path: the path, from the root of the host.
    :param host: the host, empty for the default host of the app or the service.
    :param headers: more header fields.
    :param query: a query that no cache has a copy for, or "".
    :param disguise: the part that makes the path look like a static file, or "".
    """

    route: Route
    method: str
    path: str
    host: str = ""
    headers: t.Mapping[str, str] = {}
    query: str = ""
    disguise: str = ""

    @property
    def subject(self) -> str:
        return f"'{self.method} {self.path}'"


def routes(app: Flask) -> list[Route]:
    """Return the routes of an app with their policies, sorted by rule.

    :param app: the app.
    """
    return sorted(route for route, *_ in survey(app))


class Registration(t.NamedTuple):
    """A route, its view and its rule.

    :param route: the route.
    :param view: the view, None if the endpoint has none.
    :param policy: the declared policy, or None.
    :param api: whether it is on an ApiBlueprint.
    :param redirect: whether the rule only redirects.
    :param rule: the rule.
    """

    route: Route
    view: t.Any
    policy: Policy | None
    api: bool
    redirect: bool
    rule: Rule


def survey(app: Flask) -> t.Iterator[Registration]:
    """Yield a registration for each rule of an app."""
    blueprints: dict[str, bool] = {}
    for rule in app.url_map.iter_rules():
        if rule.build_only:
            continue
        view = app.view_functions.get(rule.endpoint)
        policy = policy_of(view)
        owner = rule.endpoint.rpartition(".")[0]
        if owner not in blueprints:
            blueprints[owner] = on_api(app, lineage(rule.endpoint))
        api, redirect = blueprints[owner], rule.redirect_to is not None
        methods = frozenset(rule.methods or ())
        route = Route(
            _rule_text(rule),
            rule.endpoint,
            _own_methods(methods),
            *_policy_text(policy, api or redirect),
            *_location(app, view, methods),
        )
        yield Registration(route, view, policy, api, redirect, rule)


@functools.cache
def _own_methods(methods: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(methods - AUTOMATIC)) or ("OPTIONS",)


def _policy_text(policy: Policy | None, is_no_store: bool) -> tuple[str, str]:
    if is_no_store:
        return "no-store", ""
    if policy is None:
        return "undeclared", ""
    text = STATIC_TEXT if policy.text == REVALIDATE else str(policy)
    return text, policy.reason


def _rule_text(rule: Rule) -> str:
    domain = rule.host or rule.subdomain
    return f"//{domain}{rule.rule}" if domain else rule.rule


def requests(app: Flask, arguments: t.Mapping[str, str]) -> t.Iterator[Request]:
    """Yield the requests for every route of an app, and for unknown paths.

    The requests for a route follow each other; the first has a method that it allows.

    :param app: the app.
    :param arguments: values for the arguments of rules, which precede the samples.
    :raises LookupError: if no value fits an argument.
    """
    for route, *_, rule in survey(app):
        host, path = host_and_path(app, rule, values_of(rule, arguments))
        yield from _variants(route, path, host)
    for prefix in sorted({"", *app.extensions.get("nocache", ())}):
        path = f"{prefix}/{UNKNOWN}"
        where = app_location(app)
        yield Request(Route(path, "", ("GET",), "no-store", "", *where), "GET", path)


def _variants(route: Route, path: str, host: str) -> t.Iterator[Request]:
    for method in (*route.methods, "HEAD", "OPTIONS"):
        yield Request(route, method, path, host)
    yield Request(route, "GET", path, host, CONDITIONS)
    # the response is 405, which caches may store too, RFC 9110 15.1
    other = next((m for m in METHODS if m not in route.methods), "TRACE")
    yield Request(route, other, path, host)
    # the response is 308 or 404
    if other_path := path[:-1] if path.endswith("/") else f"{path}/":
        yield Request(route, "GET", other_path, host)


def values_of(rule: Rule, arguments: t.Mapping[str, str]) -> dict[str, str]:
    """Return a value for each argument of a rule.

    :param rule: the rule.
    :param arguments: values, which precede the samples.
    :raises LookupError: if no value fits an argument.
    """
    values = {}
    for name in rule.arguments - set(rule.defaults or ()):
        pattern = rule._converters[name].regex
        choices = (arguments.get(name), *SAMPLES, *re.findall(r"\w+", pattern))
        value = next((c for c in choices if c and re.fullmatch(pattern, c)), None)
        if value is None:
            raise LookupError(
                f"No sample fits {name!r} of the rule {rule.rule!r}."
                f" Pass one: check_app(app, {name}=...), or --arg {name}=... to the probe."
            )
        values[name] = value
    return values


def host_and_path(
    app: Flask, rule: Rule, values: t.Mapping[str, str]
) -> tuple[str, str]:
    """Return a host and a path that a rule matches; the host is empty if it has none."""
    url = rule.build({**(rule.defaults or {}), **values}, append_unknown=False)
    domain, path = url or (rule.host or "", rule.rule)
    if domain and not app.url_map.host_matching:
        domain = f"{domain}.{app.config['SERVER_NAME'] or 'localhost'}"
    return domain, path


def app_location(app: Flask) -> tuple[str, int]:
    """Return the file and the line where an app is made, or its import name and 1."""
    module = sys.modules.get(app.import_name)
    path = getattr(module, "__file__", None)
    return (short(path), source.line_of_app(path)) if path else (app.import_name, 1)


def _location(app: Flask, view: t.Any, methods: t.Iterable[str]) -> tuple[str, int]:
    view_class = getattr(view, "view_class", None)
    if view_class is not None:
        handlers = (getattr(view_class, m.lower(), None) for m in sorted(methods))
        view = next(filter(None, handlers), view_class.dispatch_request)
    return code_location(view) or app_location(app)


def code_location(function: t.Any) -> tuple[str, int] | None:
    """Return the file and line of the function below all wrappers, None if not Python."""
    for _ in range(20):  # more decorators than a view has
        inner = getattr(function, "__wrapped__", None) or getattr(
            function, "func", None
        )
        if inner is None:
            break
        function = inner
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        code = getattr(vars(type(function)).get("__call__"), "__code__", None)
    return (short(code.co_filename), code.co_firstlineno) if code else None


@functools.lru_cache(maxsize=1024)
def short(path: str) -> str:
    """Return a path relative to the working directory if it is below it."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive, on Windows
        return path
    return path if relative.startswith(os.pardir) else relative
