"""The apps that are measured: one small service, hardened in every way compared.

Each is built, and its package imported, only as it is measured.
"""

from __future__ import annotations

import sys
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from functools import wraps
from hashlib import sha256
from importlib.util import module_from_spec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from wsgiref.util import FileWrapper

from flask import Flask
from flask import make_response
from flask import Response
from flask import stream_with_context
from service import service_app
from werkzeug.test import create_environ

HERE = Path(__file__).parent
STYLE = HERE / "static" / "page.css"
KIT = (
    HERE.parent
    / "{{cookiecutter.project_slug}}/{{cookiecutter.__package_name}}/nocache"
)
ITEMS = {"items": [{"id": 1, "name": "first"}, {"id": 2, "name": "second"}]}
BLOCK = b"x" * 65536
BLOCKS = 16


def load_kit() -> t.Any:
    """Import the kit where it lies, as the module `nocache`."""
    if "nocache" not in sys.modules:
        spec = spec_from_file_location(
            "nocache", KIT / "__init__.py", submodule_search_locations=[str(KIT)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules["nocache"] = kit = module_from_spec(spec)
        spec.loader.exec_module(kit)
    return sys.modules["nocache"]


WSGI = Callable[..., t.Any]
Decorator = Callable[[t.Any], t.Any]


def plain(view: t.Any) -> t.Any:
    return view


def add_views(app: Flask, decorate: Decorator = plain) -> Flask:
    """Give an app the routes that are requested."""
    # a traceback would cost more than all that is compared
    app.logger.disabled = True

    @app.get("/items")
    @decorate
    def items() -> dict[str, t.Any]:
        return ITEMS

    @app.get("/broken")
    def broken() -> t.NoReturn:
        raise LookupError

    @app.get("/own")
    def own() -> Response:
        return Response(b"x" * 64, mimetype="text/plain")

    @app.get("/stream")
    def stream() -> Response:
        def blocks() -> Iterator[bytes]:
            for _ in range(BLOCKS):
                yield BLOCK

        return Response(stream_with_context(blocks()))

    return app


def bare_app() -> Flask:
    return add_views(Flask("bare", root_path=str(HERE)))


def floor_app() -> WSGI:
    """Append the three fields of the guard, and do nothing else."""
    app = bare_app()
    fields = [
        (
            "Cache-Control",
            "no-store, no-cache, must-revalidate, private, max-age=0",
        ),
        ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("Pragma", "no-cache"),
    ]

    def floor(environ: dict[str, t.Any], start_response: WSGI) -> t.Any:
        def start(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
            return start_response(status, headers + fields, exc_info)

        return app(environ, start)

    return floor


def guarded_app() -> Flask:
    return add_views(load_kit().NoCacheFlask("guarded", root_path=str(HERE)))


def cdn_app() -> Flask:
    app = guarded_app()
    app.config["NOCACHE_CDN_HEADERS"] = True
    return app


def declared_app() -> Flask:
    kit = load_kit()
    app = kit.NoCacheFlask("declared", root_path=str(HERE))
    return add_views(app, kit.nocache)


def cacheable_app() -> Flask:
    kit = load_kit()
    app = kit.NoCacheFlask("cacheable", root_path=str(HERE))
    return add_views(app, kit.cacheable(max_age=60, public=True, reason="measured"))


def all_arguments_app() -> Flask:
    kit = load_kit()
    app = kit.NoCacheFlask("all_arguments", root_path=str(HERE))
    declare = kit.cacheable(
        max_age=60,
        public=True,
        shared_max_age=3600,
        immutable=True,
        vary=["Accept-Language"],
        etag=lambda: "1",
        reason="measured",
    )
    return add_views(app, declare)


def by_hand_app() -> Flask:
    """Let a route be stored by the means of Werkzeug."""

    def cache_control(view: t.Any) -> t.Any:
        @wraps(view)
        def wrapper() -> Response:
            response = make_response(view())
            response.cache_control.public = True
            response.cache_control.max_age = 60
            return response

        return wrapper

    return add_views(Flask("by_hand", root_path=str(HERE)), cache_control)


def article_app() -> Flask:
    """The decorator of arusahni.net, 2014, and of all who copied it."""

    def article(view: t.Any) -> t.Any:
        @wraps(view)
        def no_cache(*args: t.Any, **kwargs: t.Any) -> Response:
            response = make_response(view(*args, **kwargs))
            response.headers["Last-Modified"] = str(datetime.now())
            response.headers["Cache-Control"] = (
                "no-store, no-cache, must-revalidate, post-check=0, pre-check=0,"
                " max-age=0"
            )
            response.headers["Pragma"] = "no-cache"
            response.headers["Expires"] = "-1"
            return response

        return no_cache

    return add_views(Flask("article", root_path=str(HERE)), article)


def after_request_app() -> Flask:
    """One header in one hook: the least that anybody writes."""
    app = bare_app()

    @app.after_request
    def no_store(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        return response

    return app


def talisman_app() -> Flask:
    from flask_talisman import Talisman

    app = bare_app()
    Talisman(app, force_https=False)
    return app


def secure_app() -> Flask:
    import secure

    app = bare_app()
    headers = secure.Secure(cache=secure.CacheControl().no_store())

    @app.after_request
    def set_headers(response: Response) -> Response:
        headers.set_headers(response)
        return response

    return app


def django_app(route: str) -> WSGI:
    """Return the process's only Django app, with one route."""
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpRequest
    from django.http import JsonResponse
    from django.urls import path
    from django.views.decorators.cache import never_cache

    def items(request: HttpRequest) -> JsonResponse:
        return JsonResponse(ITEMS)

    if not settings.configured:
        urls = ModuleType("urls")
        urls.urlpatterns = [path("items", items), path("never", never_cache(items))]
        settings.configure(ROOT_URLCONF=urls, MIDDLEWARE=[], ALLOWED_HOSTS=["*"])
        django.setup(set_prefix=False)
    app = WSGIHandler()

    def at_route(environ: dict[str, t.Any], start_response: WSGI) -> t.Any:
        environ["PATH_INFO"] = route
        return app(environ, start_response)

    return at_route


class Contest(t.NamedTuple):
    """What is requested of several contestants.

    :param path: the path that is requested.
    :param status: the status of every contestant's response.
    :param contestants: what builds an app, by name; the first is the measure of all.
    :param request: further arguments of Werkzeug's `create_environ`.
    """

    path: str
    status: str
    contestants: dict[str, Callable[[], WSGI]]
    request: dict[str, t.Any] = {}


THREE = {"bare Flask": bare_app, "floor": floor_app, "guard": guarded_app}
CONTESTS = {
    "small JSON": Contest(
        "/items",
        "200",
        {
            **THREE,
            "guard, CDN fields": cdn_app,
            "guard, @nocache": declared_app,
            "guard, @cacheable": cacheable_app,
            "guard, @cacheable, all arguments": all_arguments_app,
            "cache_control by hand": by_hand_app,
            "after_request header": after_request_app,
            "article's decorator": article_app,
            "secure, one header": secure_app,
            "Flask-Talisman": talisman_app,
        },
    ),
    "flask.Response": Contest("/own", "200", THREE),
    "404": Contest("/nowhere", "404", THREE),
    "405": Contest("/items", "405", THREE, {"method": "PUT"}),
    "500": Contest("/broken", "500", THREE),
    "static file": Contest("/static/page.css", "200", THREE),
    "static file, fingerprinted": Contest(
        f"/static/page.css?v={sha256(STYLE.read_bytes()).hexdigest()[:16]}",
        "200",
        THREE,
    ),
    "static file, 304": Contest(
        "/static/page.css",
        "304",
        THREE,
        {"headers": {"If-Modified-Since": "Fri, 31 Dec 2100 23:59:59 GMT"}},
    ),
    "stream of 1 MB": Contest("/stream", "200", THREE),
    "small JSON, Django": Contest(
        "/items",
        "200",
        {
            "bare Django": partial(django_app, "/items"),
            "never_cache": partial(django_app, "/never"),
        },
    ),
    **{
        f"service, {name}": Contest(
            path,
            "200",
            {
                "silent": service_app,
                "logs": partial(service_app, logs=True),
                "logs and metrics": partial(service_app, logs=True, metrics=True),
            },
        )
        for name, path in (("JSON view", "/healthz"), ("items", "/api/items"))
    },
}


def environ_of(contest: Contest) -> dict[str, t.Any]:
    """Return an environment as a server makes it."""
    environ = create_environ(contest.path, **contest.request)
    return environ | {"wsgi.file_wrapper": FileWrapper}


def serve(app: WSGI, environ: dict[str, t.Any], times: int) -> str:
    """Serve a request some times, as a server does, and return the last status."""
    statuses = [""]

    def start_response(status: str, headers: t.Any, exc_info: t.Any = None) -> None:
        statuses[0] = status

    for _ in range(times):
        body = app(environ.copy(), start_response)
        for _chunk in body:
            pass
        if (close := getattr(body, "close", None)) is not None:
            close()
    return statuses[0]
