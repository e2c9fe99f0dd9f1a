from __future__ import annotations

from flask import current_app
from flask import Flask
from flask import request
from flask import Response
from werkzeug.exceptions import Forbidden
from werkzeug.middleware.proxy_fix import ProxyFix

# on every answer, so that no kind of answer can be forgotten; one that needs another
# value sets the header itself
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
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def init_app(app: Flask) -> None:
    """Send the security headers, refuse writes from other origins, trust the proxies."""
    app.before_request(refuse_other_origins)
    app.after_request(add_headers)
    if hops := app.config["TRUSTED_PROXIES"]:
        # inside the guard: assigned, never wrapped around the app
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


def add_headers(response: Response) -> Response:
    # one look for all of them: setdefault would go through the list for each
    own = set(response.headers.keys(lower=True))
    for name, value in HEADERS.items():
        if name.lower() not in own:
            response.headers.add(name, value)
    # never over plain HTTP (RFC 6797 7.2), nor for a developer's whole localhost
    if request.is_secure and not current_app.debug:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response
