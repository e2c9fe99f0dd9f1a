from __future__ import annotations

import functools
import sys
import typing as t
from itertools import chain

from flask import Flask

from .cli import commands
from .policy import CDN
from .policy import EXCHANGE
from .policy import Exchange
from .policy import Fields
from .policy import NOCACHE
from .policy import overridden
from .policy import Policy
from .policy import STATIC
from .policy import withhold

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

STATIC_VIEWS = frozenset({"flask.app", "flask.blueprints"})
ERROR = b"Internal Server Error\n"
ERROR_FIELDS = (
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(ERROR))),
)


class NoCacheFlask(Flask):
    """A Flask app whose answers no cache may store, unless a view is declared so.

    Set ``NOCACHE_CDN_HEADERS`` to send the fields that only a CDN reads as well.
    Nothing turns the guard off.
    """

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        # the prefixes below which every route has to be on an ApiBlueprint
        self.extensions["nocache"] = set[str]()
        self.cli.add_command(commands)

    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: t.Any = None,
        provide_automatic_options: bool | None = None,
        **options: t.Any,
    ) -> None:
        # Flask's own views: the static files of the app and of its blueprints
        if getattr(view_func, "__module__", None) in STATIC_VIEWS:
            view_func = STATIC(view_func)
        super().add_url_rule(
            rule, endpoint, view_func, provide_automatic_options, **options
        )

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        # whatever is assigned to self.wsgi_app runs inside the guard
        return guard(self, self.wsgi_app, environ, start_response)

    def wsgi_app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        # servers are handed ProxyFix(app.wsgi_app) too, which goes past __call__, and
        # middleware may come in twice with one environ: only the first was guarded
        exchange = environ.get(EXCHANGE)
        if exchange is None or exchange.entered is not None:
            inner = functools.partial(NoCacheFlask.wsgi_app, self)
            return guard(self, inner, environ, start_response)
        exchange.entered = self
        return Flask.wsgi_app(self, environ, start_response)


class Body(chain[bytes]):
    """A body whose first chunk has been taken from it already."""

    __slots__ = ("close",)
    close: t.Callable[[], None]


def guard(
    app: Flask,
    application: WSGIApplication,
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> t.Iterable[bytes]:
    """Answer a request with no-store headers, unless a declared view answers it.

    :param app: whose configuration and logger to use.
    :param application: the WSGI callable inside the guard.
    :param environ: the request; the conditions that can end in a 304 leave it.
    :param start_response: the server's.
    """
    exchange = environ[EXCHANGE] = Exchange()
    if (
        "HTTP_IF_NONE_MATCH" in environ
        or "HTTP_IF_MODIFIED_SINCE" in environ
        or "HTTP_IF_RANGE" in environ
    ):
        exchange.withheld = withhold(environ)
    # as the client and its caches know it; middleware may override it further in
    method = environ["REQUEST_METHOD"]
    started = False

    def start(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
        nonlocal started
        policy, stamp = NOCACHE, exchange.stamp
        if stamp is not None and stamp in headers:
            at = headers.index(stamp)
            headers = headers[:at] + headers[at + 1 :]
            if exchange.policy is not None and exchange.policy.admits(
                method, status, headers
            ):
                policy = exchange.policy
        fields = policy.apply(headers)
        if len(fields) < len(headers) + len(policy.fields):
            _report(app, environ, policy, headers)
        if not policy.storable:
            if status[:3] == "304":
                raise RuntimeError(
                    f"{method} {environ.get('PATH_INFO')} answered 304,"
                    " which keeps the copy of a client alive, but no @cacheable view"
                    " gave that answer."
                )
            if app.config.get("NOCACHE_CDN_HEADERS"):
                fields += CDN
        # servers take exc_info for the sign that an answer is being replaced
        replaced = exc_info if started else None
        started = True
        return start_response(status, fields, replaced)

    body: t.Iterable[bytes] = ()
    chunks: t.Iterator[bytes] = iter(())
    first: bytes | None = None
    try:
        body = application(environ, start)
        # servers look for their own wrapper, to send the file without reading it
        if type(body) is environ.get("wsgi.file_wrapper"):
            return body
        # no header leaves before the first byte: until then a failure can be answered
        chunks = iter(body)
        while (first := next(chunks, None)) == b"":
            pass
    except Exception:
        propagate = app.config["PROPAGATE_EXCEPTIONS"]
        if propagate or (propagate is None and (app.testing or app.debug)):
            getattr(body, "close", _nothing)()
            raise
        path = environ.get("PATH_INFO")
        app.logger.error("Exception on %s [%s]", path, method, exc_info=True)
        start("500 INTERNAL SERVER ERROR", ERROR_FIELDS, sys.exc_info())
        chunks, first = iter(()), None if method == "HEAD" else ERROR
    answer = Body((first,), chunks) if first else Body()
    answer.close = getattr(body, "close", _nothing)
    return answer


def _report(
    app: Flask, environ: WSGIEnvironment, policy: Policy, headers: Fields
) -> None:
    if overridden.receivers and (fields := policy.overrides(headers)):
        # what a request context would tell; middleware answers without one
        request = environ.get("werkzeug.request")
        endpoint = getattr(request, "endpoint", None)
        overridden.send(app, endpoint=endpoint, fields=fields)


def _nothing() -> None: ...
