from __future__ import annotations

import functools
import sys
import typing as t

from flask import Flask
from flask import Request
from flask import request
from flask import Response as FlaskResponse

from .cli import commands
from .policy import CDN
from .policy import EXCHANGE
from .policy import NOCACHE
from .policy import on_api
from .policy import overridden
from .policy import Policy
from .policy import policy_of
from .policy import STATIC
from .policy import withhold
from .response import closer
from .response import read_ahead
from .response import Response
from .response import Whole

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

STATIC_VIEWS = frozenset({"flask.app", "flask.blueprints"})
ERROR = b"Internal Server Error\n"
ERROR_FIELDS = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(ERROR))),
]


class NoCacheFlask(Flask):
    """A Flask app whose answers no cache may store, unless a view is declared so.

    Set ``NOCACHE_CDN_HEADERS`` to send the fields that only a CDN reads as well.
    Nothing turns the guard off.
    """

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        # a class of their own, the app's or that of another Flask beside it, stays
        if self.response_class is FlaskResponse:
            self.response_class = Response
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
        if exchange is None or exchange.entered is not None or exchange.server is None:
            inner = functools.partial(NoCacheFlask.wsgi_app, self)
            return guard(self, inner, environ, start_response)
        exchange.entered = self
        return Flask.wsgi_app(self, environ, start_response)


class Exchange:
    """One request on its way through the guard.

    The app inside is given :meth:`start` for the server's start_response, which is
    called once, as the first byte is there. In the environment a declared view finds
    the conditions that were withheld, and leaves its policy and the stamp of its answer.
    Where the exchange or the stamp gets lost, nothing is stored.

    :param app: whose configuration to use.
    :param server: the server's start_response.
    :param method: as the client and its caches know it; middleware may override it.
    """

    __slots__ = (
        "app",
        "begun",
        "entered",
        "fields",
        "method",
        "policy",
        "server",
        "stamp",
        "status",
        "withheld",
        "write",
    )

    def __init__(self, app: Flask, server: StartResponse, method: str):
        self.app = app
        self.server: StartResponse | None = server
        self.method = method
        self.status = ""
        self.begun = False
        self.write: t.Callable[[bytes], object] | None = None
        self.withheld: dict[str, t.Any] = {}
        self.entered: Flask | None = None
        self.policy: Policy | None = None
        self.stamp: tuple[str, str] | None = None

    def start(self, status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
        """Take the status and headers of an answer, which replace those taken before.

        :raises Exception: that of `exc_info`, if the answer has begun; PEP 3333.
        """
        if self.begun:
            raise exc_info[1] if exc_info else AssertionError("the answer has begun")
        policy = NOCACHE
        if self.stamp is not None and self.stamp in headers:
            at = headers.index(self.stamp)
            headers = headers[:at] + headers[at + 1 :]
            if self.policy is not None and self.policy.admits(
                self.method, status, headers
            ):
                policy = self.policy
        fields = policy.apply(headers)
        if len(fields) < len(headers) + len(policy.fields) and overridden.receivers:
            self._report(policy.overrides(headers))
        if not policy.storable:
            if "304" <= status < "305":
                raise RuntimeError(
                    "A 304 keeps the copy of a client alive, but no @cacheable view gave"
                    " that answer."
                )
            if self.app.config.get("NOCACHE_CDN_HEADERS"):
                fields += CDN
        self.status, self.fields = status, fields
        return self

    def begin(self, exc_info: t.Any = None) -> t.Any:
        """Give the server what was taken, and return its write().

        :param exc_info: why it replaces what the server would not take.
        """
        if self.server is None or not self.status:
            raise AssertionError("start_response was not called, PEP 3333")
        self.begun = True
        return self.server(self.status, self.fields, exc_info)

    def __call__(self, data: bytes) -> None:
        """Send bytes ahead of the body, as the write() of PEP 3333 does."""
        if not self.begun:
            self.write = self.begin()
        if self.write is None:
            raise AssertionError("write() was called from the body, PEP 3333")
        self.write(data)

    def declared(self, asked: Request) -> Policy | None:
        """Return the policy of the view registered for a request.

        :param asked: the request, perhaps to another app inside of the one entered.
        """
        app, rule = self.entered, asked.url_rule
        if app is None or rule is None:
            return None
        policy = policy_of(app.view_functions.get(rule.endpoint))
        if policy is not None and policy.storable and "." in rule.endpoint:
            return None if on_api(app, asked.blueprints) else policy
        return policy

    def _report(self, fields: list[str]) -> None:
        if fields:
            # middleware answers without a request, or within that of another app
            own = request and request.environ.get(EXCHANGE) is self
            endpoint = request.endpoint if own else None
            overridden.send(self.app, endpoint=endpoint, fields=fields)


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
    method = environ["REQUEST_METHOD"]
    exchange = environ[EXCHANGE] = Exchange(app, start_response, method)
    if (
        "HTTP_IF_NONE_MATCH" in environ
        or "HTTP_IF_MODIFIED_SINCE" in environ
        or "HTTP_IF_RANGE" in environ
    ):
        exchange.withheld = withhold(environ)
    body: t.Iterable[bytes] = ()
    try:
        body = application(environ, exchange.start)
        # servers look for their own wrapper, to send the file without reading it
        if type(body) in (Whole, environ.get("wsgi.file_wrapper")):
            answer = body
        else:
            answer = read_ahead(body)
        if not exchange.begun:
            exchange.begin()
    except Exception:
        close = closer(body)
        propagate = app.config["PROPAGATE_EXCEPTIONS"]
        if propagate is None:
            propagate = app.testing or app.debug
        # after write() it is too late for another answer
        if propagate or exchange.write is not None:
            close()
            raise
        path = environ.get("PATH_INFO")
        app.logger.error("Exception on %s [%s]", path, method, exc_info=True)
        answer = Whole([] if method == "HEAD" else [ERROR])
        answer.close = close
        refused = sys.exc_info() if exchange.begun else None
        exchange.begun = False
        exchange.start("500 INTERNAL SERVER ERROR", ERROR_FIELDS)
        exchange.begin(refused)
    finally:
        # a server may be found from its start_response, and the environ from a server
        exchange.server = None
    return answer
