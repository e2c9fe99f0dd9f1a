"""The requests of the wire test, sent to a deployed service through its caches."""

from __future__ import annotations

import itertools
import re
import typing as t
from time import sleep

from ..policy import SAFE
from ..policy import STORABLE
from .client import ProbeError
from .client import Service
from .findings import Finding
from .findings import finding
from .routes import host_and_path
from .routes import Request
from .routes import requests
from .routes import Route
from .routes import survey
from .routes import values_of
from .unkeyed import Fields
from .unkeyed import Response
from .wire import dependencies
from .wire import storable

if t.TYPE_CHECKING:
    from flask import Flask

READ_ONLY = SAFE | {"OPTIONS"}
# an app may end the path there, where a cache sees the name of a static file
ENDS = ("/", ";", "%3b", "%2f", "%00", "%23", "%3f")
EXTENSIONS = ("css", "js", "json")

# patterns of field names and of values by which a cache says that it has or had a copy;
# MISS, BYPASS, DYNAMIC or CloudFront's "Error" say nothing about one
SIGNS = (
    # Varnish and Fastly send 0 with a new response, and with a copy a moment old
    ("age|x-cache-hits", r"[1-9]"),
    # the id of this request, and of the one whose response was stored
    ("x-varnish", r"\d\s+\d"),
    # the cache had a stored response when it forwarded the request, RFC 9211 2.2
    ("cache-status", r"\bfwd=(partial|request)\b"),
    # Cache-Status too, and X-Cache, X-Cache-Status, CF-Cache-Status, Akamai-Cache-Status, ...
    (
        r"([a-z]+-)*cache(-status|-lookup)?",
        r"(?<![a-z])((refresh)?hit|stale|updating|expired|revalidated?|stored"
        # Akamai revalidated a stale response; Vercel made one ahead of time
        r"|refresh_miss|prerender)(?![a-z]|-for-|=\?0)",
    ),
)
PAUSE = 1.1  # seconds, after which the Age of a copy is at least 1


def plan(
    app: Flask, service: Service, arguments: t.Mapping[str, str], unsafe: bool = False
) -> list[Request]:
    """Return the requests for every route of an app, in the order to send them.

    :param app: the app.
    :param service: the deployed service of the app.
    :param arguments: values for the arguments of rules.
    :param unsafe: whether to send POST, PUT, PATCH and DELETE as well.
    :raises ProbeError: if a rule has an argument that no value fits.
    """
    try:
        total = [*requests(app, arguments), *_disguises(app, service, arguments)]
    except LookupError as error:
        raise ProbeError(str(error)) from error
    return [
        request._replace(path=f"{service.path}{request.path}", query=query)
        for request in total
        # the rule of another host is not deployed at this one
        if not request.host and (unsafe or request.method in READ_ONLY)
        for query in _queries(request, service.marker)
    ]


def _queries(request: Request, marker: str) -> list[str]:
    """Return a query for each time to send a request: the second time shows a copy."""
    if request.method != "GET" or request.headers:
        return [""]
    query = f"?nocache-probe={marker}"
    return ["", ""] if request.disguise else ["", "", query, query]


def _disguises(
    app: Flask, service: Service, arguments: t.Mapping[str, str]
) -> t.Iterator[Request]:
    """Yield requests whose paths a cache may take for those of static files."""
    folder = app.static_url_path or "/static"
    for route, *_, rule in survey(app):
        if "GET" not in route.methods:
            continue
        values = values_of(rule, arguments)
        host, path = host_and_path(app, rule, values)
        paths = {f"{folder}/..%2f": f"{folder}/..%2f{path[1:]}"}
        for sign in ENDS:
            end = sign if sign != "/" or not path.endswith("/") else ""
            paths[f"{sign}x.css"] = f"{path}{end}{service.marker}.css"
        for name, value in values.items():
            for extension in EXTENSIONS:
                word = f"{value}.{extension}"
                if re.fullmatch(rule._converters[name].regex, word):
                    _, paths[word] = host_and_path(app, rule, {**values, name: word})
        for disguise, path in paths.items():
            yield Request(route, "GET", path, host, disguise=disguise)


def probe(
    service: Service,
    plan: t.Iterable[Request],
    report: t.Callable[[Request], None] = lambda request: None,
) -> list[Finding]:
    """Return findings for responses that a cache could store or has stored, sorted.

    :param service: the service.
    :param plan: the requests, from :func:`plan`.
    :param report: called before each request, but not for its repetition.
    :raises ProbeError: if no response arrives.
    """
    findings: dict[tuple[Route, str], Finding] = {}
    copies: dict[Route, dict[str, str]] = {}
    examples: dict[Route, Request] = {}
    ids: set[str] = set()
    young: dict[tuple[str, ...], Request] = {}
    for request in _repeat(plan, report, young):
        route, method = request.route, request.method
        response = service.send(request)
        status, fields = response.status, response.headers
        if method in SAFE and ("age", "0") in ((n.lower(), v) for n, v in fields):
            young.setdefault((method, request.path, request.query), request)
        copy = copy_of(request, response, ids)
        ids |= request_ids(fields)
        if request.disguise:
            if copy:
                copies.setdefault(route, {}).setdefault(request.disguise, copy)
            continue
        if route.shared and method == "GET":
            examples.setdefault(route, request)
        # Age comes from a cache, and alone does not make a response storable
        governing = [field for field in fields if field[0].lower() != "age"]
        if fact := copy or storable(method, status, governing, route.policy):
            # a repetition, or another query, is the same finding
            new = finding("NC008", route.place, request.subject, fact)
            findings.setdefault((route, request.subject), new)
    return sorted(
        {
            *findings.values(),
            *itertools.starmap(_deception, copies.items()),
            *(f for request in examples.values() for f in _unkeyed(service, request)),
        }
    )


def _repeat(
    plan: t.Iterable[Request],
    report: t.Callable[[Request], None],
    young: t.Mapping[t.Any, Request],
) -> t.Iterator[Request]:
    """Yield the requests, and then again those whose response had an Age of 0."""
    for request in plan:
        report(request)
        yield request
    if young:
        # a new response has that Age too, but a copy has it for one second only
        sleep(PAUSE)
        yield from tuple(young.values())


def _deception(route: Route, copies: dict[str, str]) -> Finding:
    fact = f"{', '.join(copies)} ({next(iter(copies.values()))})"
    return finding("NC015", route.place, f"'GET {route.rule}'", fact)


def _unkeyed(service: Service, request: Request) -> t.Iterator[Finding]:
    numbers = itertools.count(1)

    def send(request: Request) -> Response:
        # a new query: a copy would hide a change, and other clients could get the response
        query = f"?nocache-probe={service.marker}-{next(numbers)}"
        status, headers, body = service.send(request._replace(query=query))
        fields = [(name, value.replace(query, "")) for name, value in headers]
        return Response(status, fields, body.replace(query.encode(), b""))

    yield from dependencies(request, send)


def request_ids(fields: Fields) -> set[str]:
    """Return the ids of a request that its response repeats."""
    return {value for name, value in fields if name.lower() == "x-request-id" and value}


def copy_of(request: Request, response: Response, ids: set[str]) -> str:
    """Return the sign of a copy that the policy of a response forbids, or "".

    :param request: the request.
    :param response: its response.
    :param ids: the ids of earlier requests, as :func:`request_ids` returns them.
    """
    status, fields = response.status, response.headers
    if request.route.shared and request.method in SAFE and str(status) in STORABLE:
        return ""
    signs = [f"{name} is {value!r}" for name, value in fields if _is_sign(name, value)]
    # each request has a new id; Date is no sign, because a proxy may set it
    if request_ids(fields) & ids:
        signs.append("its X-Request-ID is from an earlier response")
    if not signs:
        return ""
    via = [v for n, v in fields if n.lower() in {"via", "x-served-by"}]
    proxies = f", via {', '.join(map(repr, via))}" if via else ""
    return f"a cache kept a copy, {signs[0]}{proxies}"


def _is_sign(name: str, value: str) -> bool:
    return any(
        re.fullmatch(field, name, re.IGNORECASE)
        and re.search(sign, value, re.IGNORECASE)
        for field, sign in SIGNS
    )
