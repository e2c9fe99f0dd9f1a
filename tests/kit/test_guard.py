from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import IncompleteRead
from pathlib import Path
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from flask import abort
from flask import Blueprint
from flask import Flask
from flask import jsonify
from flask import redirect
from flask import request
from flask import request_finished
from flask import Response
from flask import send_file
from flask import session
from flask import stream_with_context
from flask.sessions import SecureCookieSessionInterface
from nocache import ApiBlueprint
from nocache import cacheable
from nocache import NoCacheFlask
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.middleware.shared_data import SharedDataMiddleware

from .wsgi import assert_not_stored
from .wsgi import call_wsgi
from .wsgi import CONDITIONS
from .wsgi import environ_of
from .wsgi import fetch
from .wsgi import guarded_app
from .wsgi import NO_STORE
from .wsgi import put_inside
from .wsgi import receive
from .wsgi import serve
from .wsgi import WireResponse

Case = Callable[[NoCacheFlask], tuple[dict[str, t.Any], int]]
CASES: list[Case] = []
INSIDE: list[Case] = []  # they assign wsgi_app, so they are outside the inner callable

HOSTILE = [
    ("Cache-Control", "public, max-age=31536000, immutable"),
    ("cache-control", "s-maxage=600, must-understand"),
    ("CACHE-CONTROL", "stale-while-revalidate=600"),
    ("Expires", "Thu, 31 Dec 2099 23:59:59 GMT"),
    ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
    ("ETag", 'W/"1"'),
    ("Age", "0"),
    ("Warning", '110 - "stale"'),
    ("Pragma", "public"),
    ("CDN-Cache-Control", "max-age=600"),
    ("Cloudflare-CDN-Cache-Control", "max-age=600"),
    ("X-LiteSpeed-Cache-Control", "public,max-age=600"),
    ("Surrogate-Control", "max-age=600"),
    ("Edge-Control", "!no-store, max-age=10m"),
    ("X-Accel-Expires", "600"),
    ("x-aCCel-eXpires", "@4102444799"),
    ("Nocache-Permit", "0123456789abcdef"),
]


@pytest.fixture
def app(tmp_path: Path) -> NoCacheFlask:
    return guarded_app(tmp_path)


def case(build: Case) -> Case:
    """Register an exit of an app: a function that returns a request and its status."""
    CASES.append(build)
    return build


def inside(build: Case) -> Case:
    """Register an exit of middleware inside the guard."""
    INSIDE.append(build)
    return build


def to(path: str = "/", method: str = "GET", **options: t.Any) -> dict[str, t.Any]:
    return {"path": path, "method": method, **options}


def send_request(app: t.Any, path: str, method: str, **options: t.Any) -> WireResponse:
    return fetch(app, path, method, **options)


def reply(*headers: tuple[str, str], status: int = 200) -> Response:
    return Response("x", status, headers=list(headers))


def api(app: Flask, *rules: str, **options: t.Any) -> ApiBlueprint:
    bp = ApiBlueprint("api", "kit_app", url_prefix="/api")
    for rule in rules or ("/items",):
        bp.add_url_rule(rule, view_func=lambda **kw: {"items": []}, **options)
    app.register_blueprint(bp)
    return bp


# routing


@case
def api_route(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    api(app)
    return to("/api/items"), 200


@case
def undeclared_route(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: "x")
    return to(), 200


@case
def app_route_below_the_prefix(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    api(app)
    app.get("/api/other")(lambda: "x")
    return to("/api/other"), 200


@case
def automatic_head(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    api(app)
    return to("/api/items", "HEAD"), 200


@case
def automatic_options(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    api(app)
    return to("/api/items", "OPTIONS"), 200


@case
def not_found_below_the_prefix(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    api(app)
    return to("/api/nowhere"), 404


@case
def not_found(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    return to("/nowhere"), 404


@case
def method_not_allowed(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    api(app)
    return to("/api/items", "DELETE"), 405


@case
def unknown_method(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    api(app)
    return to("/api/items", "BREW"), 405


@case
def slash_redirect(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    api(app, "/items/")
    return to("/api/items"), 308


@case
def merged_slashes(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    api(app, "/a/b")
    return to("/api//a//b"), 308


@case
def rule_with_redirect_to(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.add_url_rule("/old", "old", redirect_to="/new")
    return to("/old"), 308


@case
def alias_of_a_rule(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.add_url_rule("/new", "new", lambda: "x")
    app.add_url_rule("/old", "new", alias=True)
    return to("/old"), 308


@case
def defaults_redirect(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.add_url_rule("/all", "page", lambda n: "x", defaults={"n": 1})
    app.add_url_rule("/all/<int:n>", "page")
    return to("/all/1"), 308


@case
def wrong_subdomain(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.config["SERVER_NAME"] = "localhost"
    app.subdomain_matching = True
    app.url_map.default_subdomain = "www"
    app.add_url_rule("/", "index", lambda: "x", subdomain="www")
    return to(base_url="http://other.localhost/"), 404


@case
def wrong_host(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.url_map.host_matching = True
    app.add_url_rule("/", "index", lambda: "x", host="a.example")
    return to(base_url="http://b.example/"), 404


@case
def untrusted_host(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.config["TRUSTED_HOSTS"] = ["a.example"]
    app.get("/")(lambda: request.host)
    return to(base_url="http://b.example/"), 400


@case
def converter_refuses(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    api(app, "/items/<int:id>")
    return to("/api/items/x"), 404


@case
def bad_utf8_path(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    api(app)
    return to("/api/%ff%fe"), 404


@case
def nested_blueprint(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    outer = ApiBlueprint("api", "kit_app", url_prefix="/api")
    inner = Blueprint("inner", "kit_app", url_prefix="/inner")
    inner.get("/items")(cacheable(max_age=60, reason="x")(lambda: "x"))
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    return to("/api/inner/items"), 200


@case
def api_nested_in_a_plain_blueprint(
    app: NoCacheFlask,
) -> tuple[dict[str, t.Any], int]:
    outer = Blueprint("outer", "kit_app", url_prefix="/outer")
    inner = ApiBlueprint("inner", "kit_app", url_prefix="/inner")
    inner.get("/items")(cacheable(max_age=60, reason="x")(lambda: "x"))
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    return to("/outer/inner/items"), 200


@case
def registered_twice(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    bp = ApiBlueprint("api", "kit_app")
    bp.get("/items")(cacheable(max_age=60, reason="x")(lambda: "x"))
    app.register_blueprint(bp, url_prefix="/v1")
    app.register_blueprint(bp, url_prefix="/v2", name="again")
    return to("/v2/items"), 200


# short circuits


@case
def abort_in_a_view(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: abort(410))
    return to(), 410


@case
def abort_with_a_response(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: abort(reply(*HOSTILE)))
    return to(), 200


@case
def exception_with_a_response(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def view() -> t.NoReturn:
        raise HTTPException(response=reply(*HOSTILE, status=203))

    app.get("/")(view)
    return to(), 203


@case
def before_request_responds(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: "x")
    app.before_request(lambda: reply(*HOSTILE))
    return to(), 200


@case
def before_request_of_a_blueprint_aborts(
    app: NoCacheFlask,
) -> tuple[dict[str, t.Any], int]:
    bp = ApiBlueprint("api", "kit_app", url_prefix="/api")
    bp.get("/items")(lambda: {})
    bp.before_request(lambda: abort(401))
    app.register_blueprint(bp)
    return to("/api/items"), 401


@case
def url_value_preprocessor_aborts(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.url_value_preprocessor(lambda endpoint, values: abort(404))
    app.get("/")(lambda: "x")
    return to(), 404


@case
def body_too_large(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.config["MAX_CONTENT_LENGTH"] = 10
    app.post("/")(lambda: request.form)
    return to(method="POST", data={"a": "b" * 99}), 413


@case
def body_of_another_type(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.post("/")(lambda: request.json)
    return to(method="POST", data="x"), 415


@case
def error_handler_with_headers(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.register_error_handler(404, lambda e: reply(*HOSTILE, status=200))
    return to("/nowhere"), 200


@case
def redirect_for_good(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: redirect("/elsewhere", 301))
    return to(), 301


@case
def no_content(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.delete("/")(lambda: ("", 204))
    return to(method="DELETE"), 204


# failures


def fail(*args: object, **kwargs: object) -> t.NoReturn:
    raise LookupError("hidden")


@case
def unhandled(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(fail)
    return to(), 500


@case
def unhandled_to_head(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(fail)
    return to(method="HEAD"), 500


@case
def view_without_a_return(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.add_url_rule("/", "page", lambda: None)
    return to(), 500


@case
def error_handler_fails(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(fail)
    app.register_error_handler(500, fail)
    return to(), 500


@case
def after_request_fails(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: "x")
    app.after_request(fail)
    return to(), 500


@case
def after_request_fails_behind_a_patched_handler(
    app: NoCacheFlask,
) -> tuple[dict[str, t.Any], int]:
    # Flask-RESTful and Flask-RESTX do this to the app
    app.handle_exception = lambda e: reply(*HOSTILE, status=501)  # type: ignore[method-assign]
    app.get("/")(lambda: "x")
    app.after_request(fail)
    return to(), 501


@case
def patched_handler_fails(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.handle_exception = fail  # type: ignore[method-assign]
    app.get("/")(fail)
    return to(), 500


@case
def teardown_fails(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: "x")
    app.teardown_request(fail)
    return to(), 500


class BrokenSession(SecureCookieSessionInterface):
    def __init__(self, method: str) -> None:
        setattr(self, method, fail)


@case
def session_cannot_be_opened(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.session_interface = BrokenSession("open_session")
    app.get("/")(lambda: "x")
    return to(), 500


@case
def session_cannot_be_saved(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.session_interface = BrokenSession("save_session")
    app.get("/")(lambda: "x")
    return to(), 500


@case
def request_finished_fails(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: "x")
    request_finished.connect(fail, app, weak=False)
    return to(), 500


@case
def generator_fails_before_the_first_chunk(
    app: NoCacheFlask,
) -> tuple[dict[str, t.Any], int]:
    def chunks() -> Iterator[str]:
        yield from ()
        fail()

    app.get("/")(lambda: chunks())
    return to(), 500


@case
def headers_that_no_server_takes(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    class Broken(Response):
        get_wsgi_headers = fail

    app.get("/")(lambda: Broken("x"))
    return to(), 500


# overwriting


@case
def view_writes_headers(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: reply(*HOSTILE))
    return to(), 200


@case
def after_request_writes_headers(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    @app.after_request
    def write(response: Response) -> Response:
        response.headers.extend(HOSTILE)
        return response

    api(app)
    return to("/api/items"), 200


@case
def after_request_replaces_the_response(
    app: NoCacheFlask,
) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: "x")
    app.after_request(lambda response: reply(*HOSTILE))
    return to(), 200


@case
def after_request_adds_validators(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    @app.after_request
    def condition(response: Response) -> Response:
        response.add_etag()
        return response.make_conditional(request)  # type: ignore[return-value]

    api(app)
    return to("/api/items"), 200


@case
def request_finished_writes_headers(
    app: NoCacheFlask,
) -> tuple[dict[str, t.Any], int]:
    def write(sender: object, response: Response, **extra: object) -> None:
        response.headers.extend(HOSTILE)

    request_finished.connect(write, app, weak=False)
    app.get("/")(lambda: "x")
    return to(), 200


class LastWord(Response):
    def get_wsgi_headers(self, environ: t.Any) -> t.Any:
        headers = super().get_wsgi_headers(environ)
        headers.extend(HOSTILE)
        return headers


@case
def get_wsgi_headers_writes_headers(
    app: NoCacheFlask,
) -> tuple[dict[str, t.Any], int]:
    app.response_class = LastWord
    app.get("/")(lambda: "x")
    return to(), 200


@case
def cache_control_property(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def view() -> Response:
        response = jsonify({})
        response.cache_control.public = True
        response.cache_control.max_age = 600
        response.set_etag("1", weak=True)
        return response

    app.get("/")(view)
    return to(), 200


@case
def client_chooses_the_headers(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: reply(*request.args.items(multi=True)))
    return to(query_string=dict(HOSTILE)), 200


@case
def session_cookie(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def view() -> str:
        session["user"] = 1
        return "x"

    app.get("/")(view)
    return to(), 200


@case
def frozen_response(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def view() -> Response:
        response = reply(*HOSTILE)
        response.freeze()
        return response

    app.get("/")(view)
    return to(), 200


# bodies and files


@case
def streamed(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def chunks() -> Iterator[str]:
        yield ""
        yield request.path

    app.get("/")(lambda: Response(stream_with_context(chunks()), headers=HOSTILE))
    return to(), 200


@case
def empty_stream(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: iter(["", ""]))
    return to(), 200


@case
def file_whole(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: send_file("static/page.css", max_age=3600))
    return to(), 200


@case
def file_in_part(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: send_file("static/page.css", max_age=3600))
    return to(headers={"Range": "bytes=0-3"}), 206


@case
def file_part_if_unchanged(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    # the client's part of the file may be another user's
    app.get("/")(lambda: send_file("static/page.css", etag="1"))
    return to(headers={"Range": "bytes=0-3", "If-Range": '"1"'}), 206


@case
def file_out_of_range(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: send_file("static/page.css"))
    return to(headers={"Range": "bytes=999-"}), 416


@case
def file_gone(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    return to("/static/gone.css"), 404


@case
def file_above_the_folder(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    return to("/static/../page.css"), 404


@case
def precondition_failed(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: send_file("static/page.css"))
    return to(headers={"If-Match": '"other"'}), 412


@case
def static_file_of_an_api_blueprint(
    app: NoCacheFlask,
) -> tuple[dict[str, t.Any], int]:
    bp = ApiBlueprint(
        "api",
        "kit_app",
        url_prefix="/api",
        root_path=app.root_path,
        static_folder="static",
    )
    app.register_blueprint(bp)
    return to("/api/static/page.css"), 200


# inside the guard


@inside
def dispatched_to_another_app(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    put_inside(app, DispatcherMiddleware(app.wsgi_app, {"/other": raw(*HOSTILE)}))
    return to("/other/x"), 200


@inside
def shared_data(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    folder = {"/shared": f"{app.root_path}/static"}
    put_inside(app, SharedDataMiddleware(app.wsgi_app, folder))
    return to("/shared/page.css"), 200


@inside
def middleware_fails(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    put_inside(app, fail)
    return to(), 500


@inside
def middleware_fails_after_start(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def middleware(environ: t.Any, start_response: t.Any) -> t.NoReturn:
        start_response("200 OK", list(HOSTILE))
        fail()

    put_inside(app, middleware)
    return to(), 500


@inside
def middleware_starts_twice(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def middleware(environ: t.Any, start_response: t.Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            fail()
        except LookupError as e:
            start_response("203 X", list(HOSTILE), (LookupError, e, e.__traceback__))
        return [b"x"]

    put_inside(app, middleware)
    return to(), 203


@inside
def middleware_writes(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def middleware(environ: t.Any, start_response: t.Any) -> list[bytes]:
        start_response("200 OK", list(HOSTILE))(b"x")
        return []

    put_inside(app, middleware)
    return to(), 200


@inside
def middleware_starts_never(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    put_inside(app, lambda environ, start_response: [b"x"])
    return to(), 500


@inside
def middleware_starts_late(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def middleware(environ: t.Any, start_response: t.Any) -> Iterator[bytes]:
        start_response("200 OK", list(HOSTILE))
        yield b"x"

    put_inside(app, middleware)
    return to(), 200


@inside
def middleware_fails_late(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def middleware(environ: t.Any, start_response: t.Any) -> Iterator[bytes]:
        fail()
        yield b"x"

    put_inside(app, middleware)
    return to(), 500


@inside
def middleware_writes_odd_headers(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    odd = [[f"{name}\t", value] for name, value in HOSTILE]
    put_inside(app, raw(*odd))
    return to(), 200


@inside
def middleware_makes_up_a_condition(
    app: NoCacheFlask,
) -> tuple[dict[str, t.Any], int]:
    inner = app.wsgi_app

    def middleware(environ: t.Any, start_response: t.Any) -> t.Any:
        return inner(environ | {"HTTP_IF_NONE_MATCH": "*"}, start_response)

    put_inside(app, middleware)
    app.get("/")(lambda: reply(("ETag", '"1"')).make_conditional(request))
    return to(), 500


@inside
def middleware_makes_a_304(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    put_inside(app, raw(status="304 NOT MODIFIED"))
    return to(), 500


@case
def view_makes_a_304(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: ("", 304))
    return to(), 500


@inside
def plain_flask_inside(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    plain = Flask("plain", root_path=app.root_path)
    put_inside(app, DispatcherMiddleware(app.wsgi_app, {"/plain": plain}))
    return to("/plain/static/page.css"), 200


@inside
def guarded_app_inside(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    inner = NoCacheFlask("inner", root_path=app.root_path)
    put_inside(app, DispatcherMiddleware(app.wsgi_app, {"/inner": inner}))
    return to("/inner/static/page.css"), 200


@case
def view_that_is_a_wsgi_app(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: raw(*HOSTILE))
    return to(), 200


def ignore_start(status: str, headers: t.Any, exc_info: t.Any = None, /) -> t.Any:
    """Act as the start_response of a server that sends nothing yet."""


def raw(*headers: t.Any, status: str = "200 OK") -> t.Any:
    """Return a plain WSGI app."""

    def application(environ: t.Any, start_response: t.Any) -> list[bytes]:
        start_response(status, list(headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"x"]

    return application


def parametrize(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("build", cases, ids=lambda build: build.__name__)


@pytest.mark.parametrize("conditions", [{}, CONDITIONS], ids=["fresh", "conditional"])
@parametrize(CASES + INSIDE)
def test_no_exit_sends_a_storable_response(
    app: NoCacheFlask, build: Case, conditions: dict[str, str]
) -> None:
    arguments, status = build(app)
    arguments["headers"] = conditions | arguments.get("headers", {})

    response = send_request(app, **arguments)

    assert response.status == status
    assert_not_stored(response)
    assert b"hidden" not in response.body


@parametrize(CASES)
def test_no_exit_of_the_inner_callable_sends_a_storable_response(
    app: NoCacheFlask, build: Case
) -> None:
    arguments, status = build(app)

    response = send_request(ProxyFix(app.wsgi_app), **arguments)

    assert response.status == status
    assert_not_stored(response)


@parametrize([api_route, not_found, shared_data, middleware_fails])
def test_cdn_fields_are_sent_too(app: NoCacheFlask, build: Case) -> None:
    app.config["NOCACHE_CDN_HEADERS"] = True
    arguments, status = build(app)

    response = send_request(app, **arguments)

    assert response.status == status
    cdn = {("CDN-Cache-Control", "no-store"), ("Surrogate-Control", "no-store")}
    assert_not_stored(response, beside=[*cdn, ("X-Accel-Expires", "0")])


# through real servers


@pytest.mark.parametrize("server", ["wsgiref", "werkzeug"])
@pytest.mark.parametrize("prepare", ["app", "wsgi_app"])
def test_server_sends_the_headers(app: NoCacheFlask, server: str, prepare: str) -> None:
    api(app)
    entry = app if prepare == "app" else ProxyFix(app.wsgi_app)

    with serve(entry, server) as connection:
        for path, status in [("/api/items", 200), ("/api/nowhere", 404)]:
            response = receive(connection, path)
            assert response.status == status
            assert_not_stored(response)


@pytest.mark.parametrize("server", ["wsgiref", "werkzeug"])
@pytest.mark.parametrize(
    "build",
    [
        generator_fails_before_the_first_chunk,
        middleware_fails,
        middleware_fails_after_start,
        middleware_fails_late,
        middleware_starts_twice,
        middleware_writes,
        view_makes_a_304,
    ],
    ids=lambda build: build.__name__,
)
def test_failure_is_a_response_through_a_server(
    app: NoCacheFlask, build: Case, server: str
) -> None:
    arguments, status = build(app)

    with serve(app, server) as connection:
        response = receive(connection, arguments["path"], arguments["method"])

    assert response.status == status
    assert_not_stored(response)


@pytest.mark.parametrize("server", ["wsgiref", "werkzeug"])
def test_failure_after_the_first_byte_aborts_the_response(
    app: NoCacheFlask, server: str
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        fail()

    app.get("/")(lambda: Response(chunks(), headers={"Content-Length": "2"}))

    with serve(app, server) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert_not_stored(WireResponse(response.status, response.getheaders(), b""))
        with pytest.raises(IncompleteRead):
            response.read()


@pytest.mark.parametrize(
    "build",
    [
        middleware_fails,
        middleware_fails_after_start,
        middleware_starts_twice,
        generator_fails_before_the_first_chunk,
    ],
    ids=lambda build: build.__name__,
)
def test_server_gets_one_response(app: NoCacheFlask, build: Case) -> None:
    # gunicorn would send the fields of both
    _, status = build(app)
    calls: list[t.Any] = []

    def start_response(*args: t.Any) -> t.Any:
        calls.append(args)

    list(app(environ_of(), start_response))

    [(line, _)] = calls
    assert line[:3] == str(status)


def test_response_that_the_server_refuses_is_replaced(app: NoCacheFlask) -> None:
    # exc_info tells a server that sent the headers that it is too late, PEP 3333
    app.get("/")(lambda: reply(("X-Name", "\u2192")))
    calls: list[t.Any] = []

    def start_response(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
        calls.append((status[:3], exc_info and exc_info[0]))
        str(headers).encode("latin-1")

    list(app(environ_of(), start_response))

    assert calls == [("200", None), ("500", UnicodeEncodeError)]


def test_response_cannot_be_replaced_after_its_first_byte(app: NoCacheFlask) -> None:
    def middleware(environ: t.Any, start_response: t.Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"x"
        try:
            fail()
        except LookupError as e:
            start_response("500 X", [], (LookupError, e, e.__traceback__))

    put_inside(app, middleware)

    with pytest.raises(LookupError):
        fetch(app)


@pytest.mark.parametrize("late", ["start", "write"])
def test_app_that_breaks_wsgi_in_its_body_raises(app: NoCacheFlask, late: str) -> None:
    def middleware(environ: t.Any, start_response: t.Any) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        yield b"x"
        write(b"y") if late == "write" else start_response("200 OK", [])

    put_inside(app, middleware)

    with pytest.raises(AssertionError, match="sent|write"):
        fetch(app)


def test_failure_after_write_reaches_the_server(app: NoCacheFlask) -> None:
    def middleware(environ: t.Any, start_response: t.Any) -> t.NoReturn:
        start_response("200 OK", [])(b"x")
        fail()

    put_inside(app, middleware)

    with pytest.raises(LookupError):
        fetch(app)


def test_body_is_closed_after_write(app: NoCacheFlask) -> None:
    closings: list[str] = []

    class Body:
        close = staticmethod(lambda: closings.append("x"))
        __iter__ = fail

    def middleware(environ: t.Any, start_response: t.Any) -> Body:
        start_response("200 OK", [])(b"x")
        return Body()

    put_inside(app, middleware)

    with pytest.raises(LookupError):
        fetch(app)
    assert closings == ["x"]


def test_app_that_never_calls_start_response_is_logged(
    app: NoCacheFlask, caplog: pytest.LogCaptureFixture
) -> None:
    middleware_starts_never(app)

    fetch(app)

    assert "start_response was not called" in caplog.text


@pytest.mark.parametrize("path", ["/static/page.css", "/file"])
def test_file_reaches_the_wrapper_of_the_server(app: NoCacheFlask, path: str) -> None:
    app.get("/file")(lambda: send_file("static/page.css"))
    environ = environ_of(path) | {"wsgi.file_wrapper": FileWrapper}

    body = app(environ, ignore_start)

    assert type(body) is FileWrapper
    body.close()
    response = call_wsgi(app, environ_of(path) | {"wsgi.file_wrapper": FileWrapper})
    assert response.body == b"p { color: red }"
    if path == "/file":
        assert_not_stored(response)


def test_body_is_closed_once(app: NoCacheFlask) -> None:
    closings: list[str] = []

    def view() -> Response:
        response = Response(iter(["x", "y"]))
        response.call_on_close(lambda: closings.append("x"))
        return response

    app.get("/")(view)

    assert fetch(app).body == b"xy"
    assert closings == ["x"]


@pytest.mark.parametrize("propagate", [False, True])
def test_body_is_closed_after_a_failure(app: NoCacheFlask, propagate: bool) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = propagate
    closings: list[str] = []

    def view() -> Response:
        response = Response(str(1 // n) for n in (0,))
        response.call_on_close(lambda: closings.append("x"))
        return response

    app.get("/")(view)

    if propagate:
        with pytest.raises(ZeroDivisionError):
            fetch(app)
    else:
        assert fetch(app).status == 500
    assert closings == ["x"]


def test_stream_is_not_read_ahead(app: NoCacheFlask) -> None:
    numbers: list[int] = []

    def chunks() -> Iterator[bytes]:
        for n in range(3):
            numbers.append(n)
            yield b"x"

    app.get("/")(lambda: Response(chunks()))

    body = iter(app(environ_of(), ignore_start))

    assert (next(body), numbers) == (b"x", [0])


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "build", [api_route, unhandled, not_found, generator_fails_before_the_first_chunk]
)
def test_guard_obeys_wsgi(app: NoCacheFlask, build: Case, method: str) -> None:
    arguments, _ = build(app)
    environ = environ_of(arguments["path"], method) | {"QUERY_STRING": ""}

    response = call_wsgi(validator(app), environ)

    assert_not_stored(response)


# modes


@pytest.mark.parametrize(
    ("mode", "raises"),
    [
        ({}, False),
        ({"DEBUG": True}, True),
        ({"TESTING": True}, True),
        ({"PROPAGATE_EXCEPTIONS": True}, True),
        ({"DEBUG": True, "PROPAGATE_EXCEPTIONS": False}, False),
        ({"TESTING": True, "PROPAGATE_EXCEPTIONS": False}, False),
    ],
)
@pytest.mark.parametrize("build", [middleware_fails, unhandled, view_makes_a_304])
def test_exception_propagates_as_in_flask(
    app: NoCacheFlask, mode: dict[str, bool], raises: bool, build: Case
) -> None:
    app.config.update({"PROPAGATE_EXCEPTIONS": None} | mode)
    build(app)

    if raises:
        with pytest.raises((LookupError, RuntimeError)):
            fetch(app)
    else:
        assert_not_stored(fetch(app))


@pytest.mark.parametrize("mode", ["DEBUG", "TESTING", "PROPAGATE_EXCEPTIONS"])
@pytest.mark.parametrize(
    "build", [api_route, not_found, view_writes_headers, slash_redirect]
)
def test_no_mode_turns_the_guard_off(app: NoCacheFlask, mode: str, build: Case) -> None:
    app.config[mode] = True
    arguments, status = build(app)

    response = send_request(app, **arguments)

    assert response.status == status
    assert_not_stored(response)


def test_failure_is_logged_with_its_cause(
    app: NoCacheFlask, caplog: pytest.LogCaptureFixture
) -> None:
    middleware_fails(app)

    response = fetch(app, "/a/b", "POST")

    assert response.body == b"Internal Server Error\n"
    assert response.get("Content-Type") == "text/plain; charset=utf-8"
    assert response.get("Content-Length") == "22"
    [record] = caplog.records
    assert record.getMessage() == "Exception on /a/b [POST]"
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError


def test_304_of_a_view_is_logged_with_its_request(
    app: NoCacheFlask, caplog: pytest.LogCaptureFixture
) -> None:
    view_makes_a_304(app)

    fetch(app)

    assert "Exception on / [GET]" in caplog.text
    assert "The view made a 304, but the request had no condition" in caplog.text


def test_failure_of_head_has_no_body(app: NoCacheFlask) -> None:
    middleware_fails(app)

    assert fetch(app, "/", "HEAD").body == b""


# the request


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "headers",
    [
        {"If-None-Match": "*"},
        {"If-Modified-Since": CONDITIONS["If-Modified-Since"]},
        CONDITIONS,
    ],
    ids="+".join,
)
def test_conditions_never_reach_the_app(
    app: NoCacheFlask, headers: dict[str, str], method: str
) -> None:
    names: list[str] = []

    def middleware(environ: t.Any, start_response: t.Any) -> t.Any:
        names.extend(name for name in environ if "IF_" in name or "RANGE" in name)
        return inner(environ, start_response)

    inner = app.wsgi_app
    put_inside(app, middleware)

    fetch(app, "/", method, headers=headers | {"If-Match": "*"})

    assert names == ["HTTP_IF_MATCH"]


def test_preconditions_and_ranges_reach_the_app(app: NoCacheFlask) -> None:
    headers = {"If-Match": '"1"', "Range": "bytes=0-1", "If-Range": '"1"'}
    headers["If-Unmodified-Since"] = CONDITIONS["If-Modified-Since"]
    app.get("/")(lambda: [request.headers[name] for name in headers])

    response = fetch(app, headers=headers)

    assert response.status == 200
    assert b"bytes=0-1" in response.body


@pytest.mark.parametrize(
    "permit",
    ["", "0", "0123456789abcdef", "None"],
    ids=lambda permit: permit or "empty",
)
def test_client_cannot_forge_a_permit(app: NoCacheFlask, permit: str) -> None:
    app.get("/")(lambda: reply(*request.args.items()))

    response = fetch(app, query_string={"Nocache-Permit": permit})

    assert_not_stored(response)


def test_permit_never_leaves_the_app(app: NoCacheFlask) -> None:
    permits: list[str] = []

    @app.after_request
    def look(response: Response) -> Response:
        permits.append(response.headers["Nocache-Permit"])
        return response

    app.get("/")(cacheable(max_age=60, reason="x")(lambda: "x"))

    responses = [fetch(app), fetch(app)]

    assert len(set(permits)) == 2
    assert not any(permit in str(r.headers) for r in responses for permit in permits)


def test_permit_of_another_request_has_no_effect(app: NoCacheFlask) -> None:
    permits: list[str] = []

    @app.after_request
    def replay(response: Response) -> Response:
        permits.append(response.headers["Nocache-Permit"])
        return reply(("Nocache-Permit", permits[0]))

    app.get("/")(cacheable(max_age=60, reason="x")(lambda: "x"))
    fetch(app)

    assert_not_stored(fetch(app))


# several apps


def test_guarded_app_is_guarded_inside_a_plain_one(app: NoCacheFlask) -> None:
    plain = Flask("plain")
    put_inside(plain, DispatcherMiddleware(plain.wsgi_app, {"/in": app.wsgi_app}))

    response = fetch(plain, "/in/nowhere")

    assert response.status == 404
    assert_not_stored(response)


def test_two_apps_do_not_mix_their_responses(app: NoCacheFlask) -> None:
    other = NoCacheFlask("other")
    other.get("/")(cacheable(max_age=60, public=True, reason="x")(lambda: "x"))
    app.get("/")(lambda: fetch(other).get("Cache-Control") or "")

    response = fetch(app)

    assert response.body == b"public, max-age=60"
    assert_not_stored(response)


def test_guard_keeps_other_fields(app: NoCacheFlask) -> None:
    fields = [
        ("Content-Type", "text/plain"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Vary", "Cookie"),
        ("Clear-Site-Data", '"cache"'),
        ("Content-Length", "1"),
    ]
    put_inside(app, raw(*fields))

    assert fetch(app).headers == [*fields, *NO_STORE]


def test_guard_does_not_change_the_list_of_the_app(app: NoCacheFlask) -> None:
    headers = [*HOSTILE]

    def middleware(environ: t.Any, start_response: t.Any) -> list[bytes]:
        start_response("200 OK", headers)
        headers.append(("Cache-Control", "public"))
        return [b"x"]

    put_inside(app, middleware)

    assert_not_stored(fetch(app))
    assert headers == [*HOSTILE, ("Cache-Control", "public")]


def test_threads_do_not_mix_their_responses(app: NoCacheFlask) -> None:
    view = cacheable(max_age=60, reason="x")(lambda n: n)
    app.add_url_rule("/open/<n>", "open", view)
    app.add_url_rule("/closed/<n>", "closed", lambda n: n)

    def check(n: int) -> None:
        first, other = fetch(app, f"/open/{n}"), fetch(app, f"/closed/{n}")
        assert first.get("Cache-Control") == "private, max-age=60"
        assert first.body == other.body == str(n).encode()
        assert_not_stored(other)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check, range(200)))


# defects


@pytest.mark.parametrize("how", ["abort", "error-handler", "after-request"])
def test_empty_permit_has_no_effect(app: NoCacheFlask, how: str) -> None:
    def view() -> t.NoReturn:
        abort(forgery if how == "abort" else 404)

    forgery = reply(("Nocache-Permit", ""))
    if how == "error-handler":
        app.register_error_handler(404, lambda e: forgery)
    if how == "after-request":
        app.after_request(lambda response: forgery)
    app.get("/")(cacheable(max_age=60, public=True, reason="x")(view))

    assert_not_stored(fetch(app))


def test_environ_used_twice_is_guarded_twice(app: NoCacheFlask) -> None:
    def retrying(environ: t.Any, start_response: t.Any) -> t.Any:
        inner: t.Any = app.wsgi_app
        inner(environ, lambda *args: None).close()
        return inner(environ, start_response)

    assert_not_stored(fetch(retrying, "/nowhere"))


def test_environ_passed_on_before_the_app_runs_is_guarded_again(
    app: NoCacheFlask,
) -> None:
    inner = app.wsgi_app
    put_inside(app, raw())

    def falling_back(environ: t.Any, start_response: t.Any) -> t.Any:
        list(app(environ, ignore_start))
        return inner(environ, start_response)

    assert_not_stored(fetch(falling_back, "/nowhere"))


def test_api_view_that_forwards_to_a_cacheable_one_is_not_stored(
    app: NoCacheFlask,
) -> None:
    app.get("/open")(cacheable(max_age=60, public=True, reason="x")(lambda: "x"))
    bp = ApiBlueprint("api", "kit_app", url_prefix="/api")

    @bp.get("/forward")
    def forward() -> Response:
        environ = request.environ | {"PATH_INFO": "/open"}
        return Response.from_app(app.wsgi_app, environ)  # type: ignore[return-value]

    app.register_blueprint(bp)

    assert_not_stored(fetch(app, "/api/forward"))


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
def test_precondition_of_a_write_reaches_the_view(
    app: NoCacheFlask, method: str
) -> None:
    # If-None-Match: * prevents a second creation by a 412, RFC 9110 13.1.2
    app.route("/", methods=[method])(
        lambda: ("", 412 if request.if_none_match else 201)
    )

    response = fetch(app, "/", method, headers={"If-None-Match": "*"})

    assert response.status == 412
    assert_not_stored(response)


def test_error_page_for_a_missing_static_file_may_be_conditional(
    app: NoCacheFlask,
) -> None:
    # as a single-page app responds to every unknown path
    def index(error: object) -> t.Any:
        return reply(("ETag", '"1"')).make_conditional(request)

    app.register_error_handler(404, index)

    response = fetch(app, "/static/gone.css", headers=CONDITIONS)

    assert response.status == 200
    assert_not_stored(response)


@pytest.mark.parametrize("status", [301, 404, 500])
def test_hook_cannot_turn_an_error_into_a_304(app: NoCacheFlask, status: int) -> None:
    # make_conditional() makes a 304 of a response with any status
    @app.after_request
    def condition(response: Response) -> Response:
        response.add_etag()
        return response.make_conditional(request)  # type: ignore[return-value]

    app.get("/")(cacheable(max_age=60, reason="x")(lambda: ("x", status)))

    assert_not_stored(fetch(app, headers=CONDITIONS))
