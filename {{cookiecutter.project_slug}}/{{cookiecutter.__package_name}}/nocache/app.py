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

# what Flask makes a new response of
FRESH: frozenset[t.Any] = frozenset({dict, list, str})


class NoCacheFlask(Flask):
    """A Flask app whose responses no cache may store, unless a view is declared so.

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
        if getattr(view_func, "__module__", None) in STATIC_VIEWS:
            view_func = declare_static(view_func)
        super().add_url_rule(
            rule, endpoint, view_func, provide_automatic_options, **options
        )

    def inject_url_defaults(self, endpoint: str, values: dict[str, t.Any]) -> None:
        # what the app's own functions set stays
        super().inject_url_defaults(endpoint, values)
        add_digest(self, endpoint, values)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        # whatever is assigned to self.wsgi_app runs inside the guard
        return guard(self, super().__call__, environ, start_response)

    def wsgi_app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        # servers are handed ProxyFix(app.wsgi_app) too, which goes past __call__, and
        # middleware may come in twice: only the first entry was guarded
        exchange = current.get()
        if exchange is None or exchange.entered is not None:
            inner = functools.partial(NoCacheFlask.wsgi_app, self)
            return guard(self, inner, environ, start_response)
        exchange.entered = self
        return super().wsgi_app(environ, start_response)

    def request_context(self, environ: WSGIEnvironment) -> t.Any:
        context = super().request_context(environ)
        exchange = current.get()
        # of those that follow, made inside of the first, none is the client's
        if (
            exchange is not None
            and exchange.request is None
            and exchange.entered is self
        ):
            exchange.request = context.request
        return context

    def make_response(self, rv: ResponseReturnValue) -> FlaskResponse:
        response = super().make_response(rv)
        exchange = current.get()
        if exchange is not None and rv is exchange.returned:
            policy = t.cast(Policy, exchange.granted)
            # a view may return one object to several requests, Flask's static view not
            if type(rv) not in FRESH and policy.text != REVALIDATE:
                response = copy(response)
                response.headers = Headers(response.headers)
            response.headers.add(*exchange.new_permit())
        return response
