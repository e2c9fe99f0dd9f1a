from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from typing import TYPE_CHECKING

from flask import Flask
from flask import Request
from flask import request
from flask.sessions import SecureCookieSession
from flask.sessions import SecureCookieSessionInterface
from werkzeug.exceptions import Forbidden
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

# on every response, so that no kind can be forgotten; a view that needs another value
# sets the header itself
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self';"
        " style-src 'self'; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # not no-referrer, which would make the Origin of a form's own POST "null"
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
HSTS = {"Strict-Transport-Security": "max-age=31536000"}
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def init_app(app: Flask) -> None:
    """Send the security headers, refuse writes from other origins, trust the proxies."""
    app.session_interface = Sessions()
    app.before_request(refuse_other_origins)
    # assigned, never wrapped around the app: the guard stays outermost
    app.wsgi_app = SecurityHeaders(app)  # type: ignore[method-assign]
    if hops := app.config["TRUSTED_PROXIES"]:
        proxied = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)
        app.wsgi_app = proxied  # type: ignore[method-assign]


def refuse_other_origins() -> None:
    """Let no page of another origin write with the cookies of its reader (CSRF)."""
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        # over plain HTTP browsers send only this; what is no browser sends neither
        origin = request.headers.get("Origin")
        own = origin is None or origin.endswith(f"://{request.host}")
    else:
        own = site in {"same-origin", "none"}
    if not own:
        raise Forbidden("A page of another origin may not write here.")


class Sessions(SecureCookieSessionInterface):
    """Flask's sessions, without the work where the request has no cookie."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if self.get_cookie_name(app) in request.cookies:
            return super().open_session(app, request)
        return self.session_class()


class SecurityHeaders:
    """WSGI middleware that adds the headers to each response that has none of its own.

    An ``after_request`` function would do, and cost more: ``Headers`` checks each value.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.wsgi_app = app.wsgi_app

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        headers = HEADERS
        # never over plain HTTP (RFC 6797 7.2), nor for a developer's whole localhost
        if environ["wsgi.url_scheme"] == "https" and not self.app.debug:
            headers = HEADERS | HSTS

        def start(status: str, sent: list[tuple[str, str]], *exc_info: Any) -> Any:
            own = {name.lower() for name, _ in sent}
            added = [pair for pair in headers.items() if pair[0].lower() not in own]
            return start_response(status, sent + added, *exc_info)

        return self.wsgi_app(environ, start)
