"""The marks in README's table of other ways to set the header fields."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import django
import pytest
from conftest import ROOT
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from flask import Flask
from flask import make_response
from flask import Response
from flask_talisman import Talisman
from nocache import ApiBlueprint
from nocache import audit_app
from nocache import NoCacheFlask
from werkzeug.test import Client

Decorator = Callable[[Any], Any]


def no_store(view: Any) -> Any:
    @functools.wraps(view)
    def decorated(*args: Any, **kwargs: Any) -> Response:
        response = make_response(view(*args, **kwargs))
        response.headers["Cache-Control"] = "no-store"
        return response

    return decorated


def add_views(app: Any, decorate: Decorator = lambda view: view) -> None:
    app.add_url_rule("/items", "items", decorate(lambda: {"items": []}))
    app.add_url_rule("/items/", "folder", decorate(lambda: {}))
    app.add_url_rule("/slash/", "slash", decorate(lambda: {}))
    app.add_url_rule("/boom", "boom", decorate(lambda: 1 / 0))


def flask_app(decorate: Decorator = lambda view: view) -> Flask:
    app = Flask("peer")
    add_views(app, decorate)
    app.add_url_rule("/forgotten", "forgotten", lambda: {})
    return app


def after_request() -> Flask:
    app = flask_app()

    @app.after_request
    def add_header(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        return response

    return app


def talisman() -> Flask:
    app = flask_app()
    Talisman(app, force_https=False)
    return app


def guard() -> Flask:
    app = NoCacheFlask("guard")
    bp = ApiBlueprint("api", __name__)
    add_views(bp)
    app.register_blueprint(bp)
    app.add_url_rule("/forgotten", "forgotten", lambda: {})
    return app


@functools.cache
def django_app() -> WSGIHandler:
    def items(request: HttpRequest) -> JsonResponse:
        return JsonResponse({})

    def boom(request: HttpRequest) -> JsonResponse:
        raise ZeroDivisionError

    urls = ModuleType("urls")
    vars(urls)["urlpatterns"] = [
        path("items", never_cache(items)),
        path("slash/", never_cache(items)),
        path("boom", never_cache(boom)),
        path("forgotten", items),
    ]
    settings.configure(
        ROOT_URLCONF=urls,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        ALLOWED_HOSTS=["*"],
        LOGGING_CONFIG=None,
    )
    django.setup(set_prefix=False)
    return WSGIHandler()


PEERS: dict[str, Callable[[], Any]] = {
    "nothing": flask_app,
    "an `after_request` function": after_request,
    "Flask-Talisman": talisman,
    "a decorator": functools.partial(flask_app, no_store),
    "Django's `never_cache`": django_app,
    "this template": guard,
}


def is_no_store(app: Any, path: str, method: str = "GET") -> bool:
    response = Client(app, Response).open(path, method=method)
    return "no-store" in response.headers.get("Cache-Control", "")


def is_no_store_after_a_late_hook(app: Any) -> bool:
    """Return whether a response that the last hook replaces is no-store."""
    if not isinstance(app, Flask):
        return False
    # functions run in the reverse order of their registration
    app.after_request_funcs.setdefault(None, []).insert(0, lambda _: Response("busy"))
    return is_no_store(app, "/items")


def audit(app: Any) -> str:
    """Return what the audit reports; no other peer has one."""
    return str(audit_app(app)) if isinstance(app, NoCacheFlask) else ""


@pytest.mark.parametrize("peer", PEERS)
def test_peer_is_as_readme_says(peer: str) -> None:
    app = PEERS[peer]()
    errors = (("/unknown", "GET"), ("/items", "PUT"), ("/slash", "GET"))
    measured = (
        is_no_store(app, "/items"),
        is_no_store(app, "/forgotten"),
        all(is_no_store(app, path, method) for path, method in errors),
        is_no_store(app, "/boom"),
        is_no_store_after_a_late_hook(app),
        "'forgotten'" in audit(app),
    )

    readme = (ROOT / "README.md").read_text("utf-8")
    (row,) = (line for line in readme.splitlines() if line.startswith(f"| {peer} |"))
    marks = re.findall(r"\| (yes|no) (?=\|)", row)
    assert marks == ["yes" if mark else "no" for mark in measured]
