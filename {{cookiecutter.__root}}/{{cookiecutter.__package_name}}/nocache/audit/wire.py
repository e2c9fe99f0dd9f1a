"""What leaves an app, response by response, and whether a cache could keep it."""

from __future__ import annotations

import contextlib
import typing as t
from functools import partial
from itertools import groupby
from operator import attrgetter

from werkzeug.test import Client

from ..policy import CDN
from ..policy import REMOVED
from ..policy import SAFE
from ..policy import STORABLE
from ..policy import VALIDATORS
from . import unkeyed
from .findings import Finding
from .findings import finding
from .routes import NOT_STORED
from .routes import Request
from .routes import requests
from .routes import Route
from .unkeyed import Fields
from .unkeyed import Response
from .unkeyed import tokens

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from flask import Flask

# written here again, so that a change of the guard's own text is seen
NO_STORE = (
    ("Cache-Control", "no-store, no-cache, must-revalidate, private, max-age=0"),
    ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("Pragma", "no-cache"),
)
# what says that a response is not the same for everybody
PERSONAL = frozenset({"cookie", "authorization", "*"})

Exchange = tuple[Request, Response]


def check_app(
    app: Flask, entry: WSGIApplication | None = None, **arguments: str
) -> list[Finding]:
    """Request every route of an app by every exit, and return what is wrong on the wire.

    It calls the views, so give it a test app.

    :param app: the app whose routes are requested.
    :param entry: what the server is given, if it is not `app`.
    :param arguments: values for the arguments of rules that no sample fits.
    :raises LookupError: if a rule has an argument that no value fits.
    """
    # without cookies: each request is that of a new client
    send = partial(_send, Client(entry or app, use_cookies=False), _host(app))
    findings: set[Finding] = set()
    with _exceptions_as_responses(app):
        for route, group in groupby(requests(app, arguments), attrgetter("route")):
            exchanges = [(request, send(request)) for request in group]
            first = exchanges[0][0]
            findings.update(_without_effect(route, exchanges))
            if route.shared and "GET" in route.methods:
                get = first._replace(method="GET")
                findings.update(dependencies(get, partial(send, whole=True)))
            if route.endpoint in app.view_functions:
                with _raising(app, route.endpoint):
                    response = send(first)
                no_store = route._replace(policy="no-store")
                exchanges.append((first._replace(route=no_store), response))
            for request, response in exchanges:
                policy = request.route.policy
                if fact := storable(request.method, *response[:2], policy):
                    place = route.place
                    findings.add(finding("NC008", place, request.subject, fact))
    return sorted(findings)


# the name that services written for 1.0 call
drive = check_app


def storable(method: str, status: int, headers: Fields, policy: str) -> str:
    """Return why a cache could keep a response against its policy, empty if none could.

    :param method: the request's method.
    :param status: the response's status code.
    :param headers: names and values of the response.
    :param policy: ``no-store``, or the Cache-Control that is declared.
    """
    if honours(method, status, headers, policy):
        return ""
    if status == 304:
        return "a 304 keeps the copy of a client alive"
    fields = _read_by_caches(headers)
    for name, text in NO_STORE:
        # proxies and HTTP/2 write names in lower case
        values = [value for other, value in fields if other.lower() == name.lower()]
        if values.count(text) != 1:
            return f"{name} is {', '.join(map(repr, values)) or 'missing'}"
    allowed = {(name.lower(), text) for name, text in (*NO_STORE, *CDN)}
    # an ETag alone is for If-Match: a condition on it never gets past the guard
    for name, value in fields:
        if (name.lower(), value) not in allowed and name.lower() != "etag":
            return f"{name} is {value!r}"
    return ""


def honours(method: str, status: int, headers: Fields, policy: str) -> bool:
    """Return whether a response is the declared one and may be stored as such.

    :param method: the request's method.
    :param status: the response's status code.
    :param headers: names and values of the response.
    :param policy: the Cache-Control that is declared.
    """
    if policy in NOT_STORED or method not in SAFE or str(status) not in STORABLE:
        return False
    # a cache on the way adds Age, as it should
    beside = VALIDATORS | {"age"}
    fields = _read_by_caches(headers)
    governing = [(n.lower(), v) for n, v in fields if n.lower() not in beside]
    if governing == [("cache-control", policy)]:
        return "private" in policy or not _personal(headers)
    # beside a cookie the client alone may store Flask's static files
    private = tokens([("Cache-Control", policy)], "cache-control") | {"private"}
    return [name for name, _ in governing] == ["cache-control"] and private == tokens(
        governing, "cache-control"
    )


def _read_by_caches(headers: Fields) -> Fields:
    return [
        (name, value)
        for name, value in headers
        if (lower := name.strip().lower()) in REMOVED
        or lower.endswith("-cache-control")
    ]


def _personal(headers: Fields) -> str:
    """Return what says that a response is for one person, empty if nothing does."""
    if any(name.strip().lower() == "set-cookie" for name, _ in headers):
        return "sets a cookie"
    named = PERSONAL & tokens(headers, "vary")
    return f"varies by {', '.join(sorted(named))}" if named else ""


def _without_effect(route: Route, exchanges: list[Exchange]) -> t.Iterator[Finding]:
    """Yield a finding where no response leaves as the route declares, and none could."""
    responses = [
        response
        for request, response in exchanges
        if request.method == "GET" and response.status == 200
    ]
    if not route.storable or not responses:
        return
    for response in responses:
        # what is neither as declared nor no-store is another finding
        if storable("GET", *response[:2], "no-store"):
            return
    personal = _personal(responses[0].headers) if route.shared else ""
    cause = (
        f"it may be shared, but {personal}"
        if personal
        else "a decorator above @cacheable, or a hook, makes another response of it"
    )
    fact = f"is declared {route.policy!r} and leaves as no-store: {cause}"
    yield finding("NC006", route.place, f"'{route.endpoint}'", fact)


def dependencies(
    request: Request, send: t.Callable[[Request], Response]
) -> t.Iterator[Finding]:
    """Yield a finding for each field that a response depends on without naming it.

    :param request: asks for what may be shared.
    :param send: sends a request, and returns the response with its body.
    """

    def ask(headers: t.Mapping[str, str]) -> Response:
        return send(request._replace(headers=headers))

    first = ask({})
    # no cache stores an error, or what leaves as no-store; edges store redirects by status
    if 300 <= first.status < 400 or honours(
        "GET", first.status, first.headers, request.route.policy
    ):
        for fact in unkeyed.changes(ask, first):
            yield finding("NC012", request.route.place, request.subject, fact)


def _host(app: Flask) -> str:
    """Return a host that an app responds to."""
    trusted = app.config.get("TRUSTED_HOSTS") or ["localhost"]
    return str(app.config["SERVER_NAME"] or trusted[0].lstrip("."))


def _send(client: Client, host: str, request: Request, whole: bool = False) -> Response:
    """Return the response to a request, with its body only if `whole` is asked for."""
    response = client.open(
        request.path,
        method=request.method,
        base_url=f"http://{request.host or host}",
        headers=dict(request.headers),
    )
    body = unkeyed.read(response.iter_encoded()) if whole else b""
    response.close()
    return Response(response.status_code, list(response.headers), body)


@contextlib.contextmanager
def _exceptions_as_responses(app: Flask) -> t.Iterator[None]:
    """Let an exception in a view become a response, as it does when served."""
    propagate, disabled = app.config["PROPAGATE_EXCEPTIONS"], app.logger.disabled
    app.config["PROPAGATE_EXCEPTIONS"], app.logger.disabled = False, True
    try:
        yield
    finally:
        app.config["PROPAGATE_EXCEPTIONS"] = propagate
        app.logger.disabled = disabled


@contextlib.contextmanager
def _raising(app: Flask, endpoint: str) -> t.Iterator[None]:
    def fail(**arguments: object) -> t.NoReturn:
        raise RuntimeError("raised by check_app")

    view = app.view_functions[endpoint]
    app.view_functions[endpoint] = fail
    try:
        yield
    finally:
        app.view_functions[endpoint] = view
