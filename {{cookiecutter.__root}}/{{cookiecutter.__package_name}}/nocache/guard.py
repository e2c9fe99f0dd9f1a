from __future__ import annotations

import sys
import typing as t
from itertools import chain

from flask import Flask

from .cli import commands
from .policy import CDN
from .policy import EXCHANGE
from .policy import NOCACHE
from .policy import Policy
from .policy import STAMP
from .policy import STATIC
from .policy import withhold

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

STATIC_VIEWS = frozenset({"flask.app", "flask.blueprints"})
ERROR = b"Internal Server Error\n"


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
        return Exchange(self, environ, start_response).answer(self.wsgi_app, environ)

    def wsgi_app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        # servers are handed ProxyFix(app.wsgi_app) too, which goes past __call__
        if EXCHANGE in environ:
            return super().wsgi_app(environ, start_response)
        return Exchange(self, environ, start_response).answer(super().wsgi_app, environ)


class Exchange:
    """One request and its answer on their way through the guard.

    :param app: the app that answers.
    :param environ: the WSGI environment; the conditions that end in a 304 leave it.
    :param start_response: the server's.
    """

    __slots__ = (
        "app",
        "body",
        "method",
        "path",
        "policy",
        "stamp",
        "start",
        "started",
        "withheld",
    )

    def __init__(
        self, app: Flask, environ: WSGIEnvironment, start_response: StartResponse
    ) -> None:
        self.app = app
        self.method: str = environ["REQUEST_METHOD"]
        self.path = environ.get("PATH_INFO", "")
        self.start = start_response
        self.started = False
        self.withheld = withhold(environ)
        # a declared view sets both as it answers; where they get lost, nothing is stored
        self.policy: Policy | None = None
        self.stamp = ""
        environ[EXCHANGE] = self

    def answer(
        self, application: WSGIApplication, environ: WSGIEnvironment
    ) -> t.Iterable[bytes]:
        """Return the body that `application` answers with."""
        try:
            body = application(environ, self.start_response)
        except Exception:
            return self.fail()
        # servers look for their own wrapper, to send the file without reading it
        if type(body) is environ.get("wsgi.file_wrapper"):
            return body
        self.body = body
        return self

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: t.Any = None
    ) -> t.Any:
        policy = NOCACHE
        if self.policy is not None and (STAMP, self.stamp) in headers:
            if not self.policy.storable or self.policy.admits(
                self.method, status[:3], headers
            ):
                policy = self.policy
        if not policy.storable and status.startswith("304"):
            raise RuntimeError(
                f"{self.method} {self.path} answered 304, which keeps the copy that a"
                " client has alive, but no @cacheable view gave that answer."
            )
        fields = policy.apply(headers)
        if not policy.storable and self.app.config.get("NOCACHE_CDN_HEADERS"):
            fields += CDN
        self.started = True
        return self.start(status, fields, exc_info)

    def __iter__(self) -> t.Iterator[bytes]:
        # no header has left before the first byte: until then a failure can be answered
        try:
            chunks = iter(self.body)
            for chunk in chunks:
                if chunk:
                    return chain((chunk,), chunks)
        except Exception:
            return iter(self.fail())
        return iter(())

    def close(self) -> None:
        close = getattr(self.body, "close", None)
        if close is not None:
            close()

    def fail(self) -> t.Iterable[bytes]:
        """Answer the exception being handled, or raise it where Flask would."""
        propagate = self.app.config["PROPAGATE_EXCEPTIONS"]
        if propagate or (propagate is None and (self.app.testing or self.app.debug)):
            raise
        self.app.logger.error(
            "Exception on %s [%s]", self.path, self.method, exc_info=True
        )
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(ERROR))),
        ]
        # a server takes exc_info for the sign that its first answer is being replaced
        exc_info = sys.exc_info() if self.started else None
        self.start_response("500 INTERNAL SERVER ERROR", headers, exc_info)
        return () if self.method == "HEAD" else (ERROR,)
