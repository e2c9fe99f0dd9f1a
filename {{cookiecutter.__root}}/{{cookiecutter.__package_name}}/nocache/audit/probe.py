"""The requests of the wire test, sent to a service through whatever stands before it."""

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
from .routes import address
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
# where an app may see the end of a path, and a cache the name of a static file
ENDS = ("/", ";", "%3b", "%2f", "%00", "%23", "%3f")
EXTENSIONS = ("css", "js", "json")

# fields, and what in them says that a cache has or had a copy; what is not here, such as
# MISS, BYPASS, DYNAMIC or CloudFront's "Error", says nothing of one
SIGNS = (
    # Varnish and Fastly say 0 of a response just fetched, and of a copy a moment old
    ("age|x-cache-hits", r"[1-9]"),
    # this request, and the one whose response was stored
    ("x-varnish", r"\d\s+\d"),
    # RFC 9211: the cache had what it forwarded the request for
    ("cache-status", r"\bfwd=(partial|request)\b"),
    # the same, and X-Cache, X-Cache-Status, CF-Cache-Status, Akamai-Cache-Status, ...
    (
        r"([a-z]+-)*cache(-status|-lookup)?",
        r"(?<![a-z])((refresh)?hit|stale|updating|expired|revalidated?|stored"
        # Akamai: the copy was too old; Vercel: made ahead
        r"|refresh_miss|prerender)(?![a-z]|-for-|=\?0)",
    ),
)
PAUSE = 1.1  # seconds, after which a copy is of an age


def plan(
    app: Flask, service: Service, arguments: t.Mapping[str, str], unsafe: bool = False
) -> list[Request]:
    """Return the requests for every route of an app, in the order to send them.

    :param app: the app that is deployed.
    :param service: where it is deployed.
    :param arguments: values for the arguments of rules.
    :param unsafe: whether to send POST, PUT, PATCH and DELETE as well.
    :raises ProbeError: if a rule has an argument that no value fits.
    """
    try:
        every = [*requests(app, arguments), *_disguises(app, service, arguments)]
    except LookupError as error:
        raise ProbeError(str(error)) from error
    return [
        request._replace(path=f"{service.path}{request.path}", query=query)
        for request in every
        # a rule of another host is not that of this service
        if not request.host and (unsafe or request.method in READ_ONLY)
        for query in _queries(request, service.marker)
    ]


def _queries(request: Request, marker: str) -> list[str]:
    """Return the query of each time that a request is sent: twice, to see a copy."""
    if request.method != "GET" or request.headers:
        return [""]
    own = f"?nocache-probe={marker}"
    return ["", ""] if request.disguise else ["", "", own, own]


def _disguises(
    app: Flask, service: Service, arguments: t.Mapping[str, str]
) -> t.Iterator[Request]:
    """Yield requests by names that a cache may take for those of static files."""
    folder = app.static_url_path or "/static"
    for route, *_, rule in survey(app):
        if "GET" not in route.methods:
            continue
        values = values_of(rule, arguments)
        host, path = address(app, rule, values)
        paths = {f"{folder}/..%2f": f"{folder}/..%2f{path[1:]}"}
        for sign in ENDS:
            end = sign if sign != "/" or not path.endswith("/") else ""
            paths[f"{sign}x.css"] = f"{path}{end}{service.marker}.css"
        for name, value in values.items():
            for extension in EXTENSIONS:
                word = f"{value}.{extension}"
                if re.fullmatch(rule._converters[name].regex, word):
                    _, paths[word] = address(app, rule, {**values, name: word})
        for disguise, path in paths.items():
            yield Request(route, "GET", path, host, disguise=disguise)


def probe(
    service: Service,
    plan: t.Iterable[Request],
    tell: t.Callable[[Request], None] = lambda request: None,
) -> list[Finding]:
    """Return what a cache could keep, or has kept, of the responses of a service.

    :param service: the service.
    :param plan: the requests, in this order.
    :param tell: called before each, but not as it is sent again.
    :raises ProbeError: if no response arrives.
    """
    findings: dict[tuple[Route, str], Finding] = {}
    copies: dict[Route, dict[str, str]] = {}
    examples: dict[Route, Request] = {}
    ids: set[str] = set()
    young: dict[tuple[str, ...], Request] = {}
    for request in _again(plan, tell, young):
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
        # a cache that may keep a response says its age, which the app itself never does
        governing = [field for field in fields if field[0].lower() != "age"]
        if fact := copy or storable(method, status, governing, route.policy):
            # the same again, or with another query, is no other finding
            new = finding("NC008", route.place, request.subject, fact)
            findings.setdefault((route, request.subject), new)
    return sorted(
        {
            *findings.values(),
            *itertools.starmap(_deception, copies.items()),
            *(f for request in examples.values() for f in _unkeyed(service, request)),
        }
    )


def _again(
    plan: t.Iterable[Request],
    tell: t.Callable[[Request], None],
    young: t.Mapping[t.Any, Request],
) -> t.Iterator[Request]:
    """Yield the requests, and later once more those whose response was of age 0."""
    for request in plan:
        tell(request)
        yield request
    if young:
        # a response is of that age, and so is a copy, but not for longer than a second
        sleep(PAUSE)
        yield from tuple(young.values())


def _deception(route: Route, copies: dict[str, str]) -> Finding:
    fact = f"{', '.join(copies)} ({next(iter(copies.values()))})"
    return finding("NC015", route.place, f"'GET {route.rule}'", fact)


def _unkeyed(service: Service, request: Request) -> t.Iterator[Finding]:
    numbers = itertools.count(1)

    def send(request: Request) -> Response:
        # a query of its own: a copy would hide a change, and others might be given it
        query = f"?nocache-probe={service.marker}-{next(numbers)}"
        status, headers, body = service.send(request._replace(query=query))
        plain = [(name, value.replace(query, "")) for name, value in headers]
        return Response(status, plain, body.replace(query.encode(), b""))

    yield from dependencies(request, send)


def request_ids(fields: Fields) -> set[str]:
    """Return the ids of the request that a response is for, if it says them."""
    return {value for name, value in fields if name.lower() == "x-request-id" and value}


def copy_of(request: Request, response: Response, ids: set[str]) -> str:
    """Return what says that a cache gave or kept a response against its policy.

    :param request: the request.
    :param response: the response.
    :param ids: the ids of the requests before it.
    """
    status, fields = response.status, response.headers
    if request.route.shared and request.method in SAFE and str(status) in STORABLE:
        return ""
    signs = [f"{name} is {value!r}" for name, value in fields if _says_so(name, value)]
    # no request is given the id of another, but Date may be the proxy's own
    if request_ids(fields) & ids:
        signs.append("X-Request-ID is that of an earlier response")
    if not signs:
        return ""
    via = [v for n, v in fields if n.lower() in {"via", "x-served-by"}]
    through = f", via {', '.join(map(repr, via))}" if via else ""
    return f"a cache kept a copy, {signs[0]}{through}"


def _says_so(name: str, value: str) -> bool:
    return any(
        re.fullmatch(field, name, re.IGNORECASE)
        and re.search(sign, value, re.IGNORECASE)
        for field, sign in SIGNS
    )
