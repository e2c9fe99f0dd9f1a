"""NC008: requests to a test app, and whether a cache could store the responses."""

from __future__ import annotations

import contextlib
import typing as t
from functools import partial
from itertools import groupby
from operator import attrgetter

from werkzeug.test import Client

from ..policy import CDN
from ..policy import PERSONAL
from ..policy import REMOVED
from ..policy import REVALIDATE
from ..policy import SAFE
from ..policy import STORABLE
from ..policy import VALIDATORS
from ..static import IMMUTABLE
from ..static import STATIC_TEXT
from . import unkeyed
from .findings import Finding
from .findings import finding
from .routes import NOT_STORED
from .routes import Request
from .routes import requests
from .routes import Route
from .unkeyed import Fields
from .unkeyed import members
from .unkeyed import Response

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from flask import Flask

# a second copy, so that the test shows a change in the guard
NO_STORE = (
    ("Cache-Control", "no-store, no-cache, must-revalidate, private, max-age=0"),
    ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("Pragma", "no-cache"),
)


def check_app(
    app: Flask, entry: WSGIApplication | None = None, **arguments: str
) -> list[Finding]:
    """Request every route of an app, and return findings for responses on the wire.

    It calls the views, so pass a test app.

    :param app: the app whose routes are requested.
    :param entry: the WSGI callable that the server gets, if it is not `app`.
    :param arguments: values for the arguments of rules that no sample fits.
    :raises LookupError: if a rule has an argument that no value fits.
    """
    # without cookies, each request is from a new client
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
                with _failing_view(app, route.endpoint):
                    response = send(first)
                no_store = route._replace(policy="no-store")
                exchanges.append((first._replace(route=no_store), response))
            for request, response in exchanges:
                policy = request.route.policy
                if fact := storable(request.method, *response[:2], policy):
                    place = route.place
                    findings.add(finding("NC008", place, request.subject, fact))
    return sorted(findings)


# services of 1.0 import it by this name
drive = check_app


def storable(method: str, status: int, headers: Fields, policy: str) -> str:
    """Return why a cache could store a response against its policy, or "".

    :param method: the method of the request.
    :param status: the status code of the response.
    :param headers: names and values of the response.
    :param policy: the policy of its :class:`Route`.
    """
    if honours(method, status, headers, policy):
        return ""
    # where a declared ETag replaced the view, there is no 200 to send instead
    if status == 304 and not policy.endswith("; ETag"):
        return "a 304 lets a client reuse its copy"
    fields = _read_by_caches(headers)
    for name, text in NO_STORE:
        # proxies and HTTP/2 send names in lower case, RFC 9113 8.2
        values = [value for other, value in fields if other.lower() == name.lower()]
        if values.count(text) != 1:
            return f"{name} is {', '.join(map(repr, values)) or 'missing'}"
    allowed = {(name.lower(), text) for name, text in (*NO_STORE, *CDN)}
    # an ETag may be for If-Match; the guard removes conditions that end in a 304
    for name, value in fields:
        if (name.lower(), value) not in allowed and name.lower() != "etag":
            return f"{name} is {value!r}"
    return ""


def honours(method: str, status: int, headers: Fields, policy: str) -> bool:
    """Return whether a response may be stored, and has the fields of its policy.

    :param method: the method of the request.
    :param status: the status code of the response.
    :param headers: names and values of the response.
    :param policy: the policy of its :class:`Route`.
    """
    if policy == STATIC_TEXT:
        texts = (REVALIDATE, IMMUTABLE)
        return any(honours(method, status, headers, text) for text in texts)
    policy = policy.partition(";")[0]
    if policy in NOT_STORED or method not in SAFE or str(status) not in STORABLE:
        return False
    # a cache on the way adds Age, RFC 9111 5.1
    neutral = VALIDATORS | {"age"}
    fields = _read_by_caches(headers)
    governing = [(n.lower(), v) for n, v in fields if n.lower() not in neutral]
    if governing == [("cache-control", policy)]:
        return "private" in policy or not _personal(headers)
    # with a cookie, static files are private instead of public
    private = members([("Cache-Control", policy)], "cache-control") - {"public"}
    private |= {"private"}
    return [name for name, _ in governing] == ["cache-control"] and private == members(
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
    """Return why a response is not the same for everybody, or ""."""
    if any(name.strip().lower() == "set-cookie" for name, _ in headers):
        return "sets a cookie"
    names = PERSONAL & members(headers, "vary")
    return f"varies by {', '.join(sorted(names))}" if names else ""


def _without_effect(
    route: Route, exchanges: list[tuple[Request, Response]]
) -> t.Iterator[Finding]:
    """Yield a finding if every response of a cacheable route is no-store."""
    responses = [
        response
        for request, response in exchanges
        if request.method == "GET" and response.status == 200
    ]
    if not route.storable or not responses:
        return
    for response in responses:
        # a response that is neither as declared nor no-store is another finding
        if storable("GET", *response[:2], "no-store"):
            return
    personal = _personal(responses[0].headers) if route.shared else ""
    cause = (
        f"it may be shared, but {personal}"
        if personal
        else "a decorator above @cacheable, or a hook, replaces the response"
    )
    fact = f"is declared {route.policy!r}, but is sent as no-store: {cause}"
    yield finding("NC006", route.place, f"'{route.endpoint}'", fact)


def dependencies(
    request: Request, send: t.Callable[[Request], Response]
) -> t.Iterator[Finding]:
    """Yield a finding for each field that a response depends on but its Vary omits.

    :param request: a GET of a route whose responses shared caches may store.
    :param send: sends a request, and returns the response with its body.
    """

    def resend(headers: t.Mapping[str, str]) -> Response:
        return send(request._replace(headers=headers))

    first = resend({})
    # errors and no-store are not stored, but edges may store any redirect
    if 300 <= first.status < 400 or honours(
        "GET", first.status, first.headers, request.route.policy
    ):
        for fact in unkeyed.changes(resend, first):
            yield finding("NC012", request.route.place, request.subject, fact)


def _host(app: Flask) -> str:
    """Return a host to which an app responds."""
    trusted = app.config.get("TRUSTED_HOSTS") or ["localhost"]
    return str(app.config["SERVER_NAME"] or trusted[0].lstrip("."))


def _send(client: Client, host: str, request: Request, whole: bool = False) -> Response:
    """Return the response to a request, with its body if `whole` is true."""
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
    """Turn exceptions of views into responses, as a server does."""
    propagate, disabled = app.config["PROPAGATE_EXCEPTIONS"], app.logger.disabled
    app.config["PROPAGATE_EXCEPTIONS"], app.logger.disabled = False, True
    try:
        yield
    finally:
        app.config["PROPAGATE_EXCEPTIONS"] = propagate
        app.logger.disabled = disabled


@contextlib.contextmanager
def _failing_view(app: Flask, endpoint: str) -> t.Iterator[None]:
    def fail(**arguments: object) -> t.NoReturn:
        raise RuntimeError("raised by check_app")

    view = app.view_functions[endpoint]
    app.view_functions[endpoint] = fail
    try:
        yield
    finally:
        app.view_functions[endpoint] = view
