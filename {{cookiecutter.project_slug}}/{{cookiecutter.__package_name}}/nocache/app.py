from __future__ import annotations

import functools
import typing as t
from copy import copy

from flask import Flask
from flask import Response as FlaskResponse
from werkzeug.datastructures import Headers

from .audit.cli import commands
from .guard import current
from .guard import guard
from .policy import Policy
from .policy import REVALIDATE
from .response import Response
from .static import add_digest
from .static import declare_static
from .static import STATIC_VIEWS

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment
    from flask.typing import ResponseReturnValue

# types that Flask makes a new response from
CONVERTED_TYPES: frozenset[t.Any] = frozenset({dict, list, str})


class NoCacheFlask(Flask):
    """A Flask app whose responses no cache may store, unless a view is declared cacheable.

    Takes the parameters of :class:`flask.Flask`. ``NOCACHE_CDN_HEADERS = True`` adds the
    fields that only CDNs read, RFC 9213. No setting turns the guard off.
    """

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        # a response class of the app or of another base class stays
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
        if getattr(view_func, "__module__", None) in STATIC_VIEWS:
            view_func = declare_static(view_func)
        super().add_url_rule(
            rule, endpoint, view_func, provide_automatic_options, **options
        )

    def inject_url_defaults(self, endpoint: str, values: dict[str, t.Any]) -> None:
        # values that the app's own functions set stay
        super().inject_url_defaults(endpoint, values)
        add_digest(self, endpoint, values)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        # middleware that is assigned to self.wsgi_app runs inside the guard
        return guard(self, super().__call__, environ, start_response)

    def wsgi_app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        # a server that is given ProxyFix(app.wsgi_app) does not go through __call__, and
        # middleware may call this twice: the guard covers the first call only
        exchange = current.get()
        if exchange is None or exchange.inner_app is not None:
            inner = functools.partial(NoCacheFlask.wsgi_app, self)
            return guard(self, inner, environ, start_response)
        exchange.inner_app = self
        return super().wsgi_app(environ, start_response)

    def request_context(self, environ: WSGIEnvironment) -> t.Any:
        context = super().request_context(environ)
        exchange = current.get()
        # later ones are made by the app inside the first, not by the client
        if (
            exchange is not None
            and exchange.request is None
            and exchange.inner_app is self
        ):
            exchange.request = context.request
        return context

    def make_response(self, rv: ResponseReturnValue) -> FlaskResponse:
        response = super().make_response(rv)
        exchange = current.get()
        if exchange is not None and rv is exchange.return_value:
            policy = t.cast(Policy, exchange.policy)
            # a view may return the same object again; Flask's static view never does
            if type(rv) not in CONVERTED_TYPES and policy.text != REVALIDATE:
                response = copy(response)
                response.headers = Headers(response.headers)
            response.headers.add(*exchange.new_permit())
        return response
