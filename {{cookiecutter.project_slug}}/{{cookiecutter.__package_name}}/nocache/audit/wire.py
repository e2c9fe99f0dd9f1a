from __future__ import annotations

import contextlib
import re
import typing as t

from werkzeug.test import Client

from ..policy import CDN
from ..policy import REMOVED
from ..policy import REVALIDATE
from ..policy import SAFE
from ..policy import STORABLE
from ..policy import VALIDATORS
from ..static import IMMUTABLE
from ..static import STATIC_TEXT
from .findings import Finding
from .findings import finding
from .routes import app_location
from .routes import routes
from .routes import rule_text

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from flask import Flask
    from werkzeug.routing import Rule

# written here again, so that a change of the guard's own text is seen
NO_STORE = (
    ("Cache-Control", "no-store, no-cache, must-revalidate, private, max-age=0"),
    ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("Pragma", "no-cache"),
)
SAMPLES = ("1", "a", "1.5", "00000000-0000-4000-8000-000000000000")
NOT_STORED = ("no-store", "undeclared")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# what a client sends whose copy dates from before the headers were there
CONDITIONS = {
    "If-None-Match": "*",
    "If-Modified-Since": "Fri, 31 Dec 2100 23:59:59 GMT",
}
NOWHERE = "no-such-path"

Request = tuple[str, str, dict[str, str]]


def drive(
    app: Flask, entry: WSGIApplication | None = None, **arguments: str
) -> list[Finding]:
    """Request every route by every exit and return the answers that may be stored.

    It calls the views, so give it a test app.

    :param app: the app whose routes are requested.
    :param entry: what the server is given, if it is not `app`.
    :param arguments: values for the arguments of rules that no sample fits.
    :raises LookupError: if a rule has an argument that no value fits.
    """
    client = Client(entry or app)
    known = {(r.rule, r.endpoint): r for r in routes(app)}
    found = []

    def send(where: tuple[str, int], policy: str, request: Request) -> None:
        method, url, headers = request
        answer = client.open(url, method=method, headers=headers)
        answer.close()
        fact = storable(method, answer.status_code, answer.headers.items(), policy)
        if fact:
            subject = f"{method} {url.partition('//')[2].partition('/')[2]}"
            found.append(finding("NC008", where, f"'{subject}'", fact))

    with _errors_answered(app):
        for rule in app.url_map.iter_rules():
            route = known.get((rule_text(rule), rule.endpoint))
            if route is None:
                continue
            where = route.file, route.line
            url = url_of(rule, arguments)
            for request in _exits(url, route.methods):
                send(where, route.policy, request)
            with _failing(app, rule.endpoint):
                send(where, "no-store", (route.methods[0], url, {}))
        for prefix in sorted({"", *app.extensions.get("nocache", ())}):
            url = f"http://localhost{prefix}/{NOWHERE}"
            send(app_location(app), "no-store", ("GET", url, {}))
    return sorted(set(found))


def storable(
    method: str, status: int, headers: t.Iterable[tuple[str, str]], policy: str
) -> str:
    """Return why a cache could keep an answer against its policy, empty if none could.

    :param method: the request's method.
    :param status: the answer's status code.
    :param headers: names and values of the answer.
    :param policy: that of the :class:`Route`.
    """
    fields, cookies = [], False
    for name, value in headers:
        lower = name.strip().lower()
        cookies = cookies or lower == "set-cookie"
        if lower in REMOVED or lower.endswith("-cache-control"):
            fields.append((name, value))
    # a cache on the way adds Age, as it should
    beside = VALIDATORS | {"age"}
    governing = [(n.lower(), v) for n, v in fields if n.lower() not in beside]
    # static files leave as private where a public response is not allowed
    texts = (REVALIDATE, IMMUTABLE) if policy == STATIC_TEXT else (policy,)
    declared = policy not in NOT_STORED and any(
        governing == [("cache-control", sent)]
        for text in texts
        for sent in (text, f"private, {text.removeprefix('public, ')}")
    )
    private = governing and governing[0][1].startswith("private")
    if declared and method in SAFE and str(status) in STORABLE:
        if private or not cookies:
            return ""
    if status == 304:
        return "a 304 keeps the copy of a client alive"
    for name, text in NO_STORE:
        # proxies and HTTP/2 write names in lower case
        values = [value for other, value in fields if other.lower() == name.lower()]
        if values.count(text) != 1:
            return f"{name} is {', '.join(map(repr, values)) or 'missing'}"
    sent = {(name.lower(), text) for name, text in (*NO_STORE, *CDN)}
    # an ETag alone is for If-Match: a condition on it never gets past the guard
    for name, value in fields:
        if (name.lower(), value) not in sent and name.lower() != "etag":
            return f"{name} is {value!r}"
    return ""


def _exits(url: str, methods: t.Sequence[str]) -> t.Iterator[Request]:
    for method in (*methods, "HEAD", "OPTIONS"):
        yield method, url, {}
    yield "GET", url, CONDITIONS
    yield next((m for m in METHODS if m not in methods), "TRACE"), url, {}
    yield "GET", url[:-1] if url.endswith("/") else f"{url}/", {}


def url_of(rule: Rule, arguments: t.Mapping[str, str]) -> str:
    """Return a URL that a rule matches.

    :param rule: the rule.
    :param arguments: values for its arguments, before those of the samples.
    :raises LookupError: if no value fits an argument.
    """
    values = {}
    for name in rule.arguments - set(rule.defaults or ()):
        pattern = rule._converters[name].regex
        choices = (arguments.get(name), *SAMPLES, *re.findall(r"\w+", pattern))
        values[name] = next(
            (c for c in choices if c and re.fullmatch(pattern, c)), None
        )
        if values[name] is None:
            raise LookupError(
                f"No sample fits {name!r} of the rule {rule.rule!r}."
                f" Pass one to drive(): {name}=..."
            )
    built = rule.build({**(rule.defaults or {}), **values}, append_unknown=False)
    path = built[1] if built else rule.rule
    return f"http://{rule.host or 'localhost'}{path}"


@contextlib.contextmanager
def _errors_answered(app: Flask) -> t.Iterator[None]:
    """Let an exception in a view become an answer, as it does when served."""
    propagate, disabled = app.config["PROPAGATE_EXCEPTIONS"], app.logger.disabled
    app.config["PROPAGATE_EXCEPTIONS"], app.logger.disabled = False, True
    try:
        yield
    finally:
        app.config["PROPAGATE_EXCEPTIONS"] = propagate
        app.logger.disabled = disabled


@contextlib.contextmanager
def _failing(app: Flask, endpoint: str) -> t.Iterator[None]:
    def fail(**arguments: object) -> t.NoReturn:
        raise RuntimeError("raised by the route audit")

    view = app.view_functions.get(endpoint)
    app.view_functions[endpoint] = fail
    try:
        yield
    finally:
        if view is None:
            del app.view_functions[endpoint]
        else:
            app.view_functions[endpoint] = view
