from __future__ import annotations

import functools
import typing as t

from flask import Flask
from flask import Response as FlaskResponse

from .audit.cli import commands
from .declare import STATIC
from .guard import guard
from .policy import EXCHANGE
from .response import Response

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

STATIC_VIEWS = frozenset({"flask.app", "flask.blueprints"})


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
