from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

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

from .wsgi import Answer
from .wsgi import answer
from .wsgi import assert_not_stored
from .wsgi import CONDITIONS
from .wsgi import guarded

Case = Callable[[NoCacheFlask], tuple[dict[str, t.Any], int]]
CASES: list[Case] = []
INSIDE: list[Case] = []  # what is assigned to wsgi_app is outside of itself

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
    ("Nocache-Stamp", "0123456789abcdef"),
]


@pytest.fixture
def app(tmp_path: Path) -> NoCacheFlask:
    return guarded(tmp_path)


def case(build: Case) -> Case:
    """List what makes an app answer by one exit; it returns the request and status."""
    CASES.append(build)
    return build


def inside(build: Case) -> Case:
    """List what makes a middleware inside the guard answer."""
    INSIDE.append(build)
    return build


def to(path: str = "/", method: str = "GET", **options: t.Any) -> dict[str, t.Any]:
    return {"path": path, "method": method, **options}


def ask(app: t.Any, path: str, method: str, **options: t.Any) -> Answer:
    return answer(app, path, method, **options)


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
def before_request_answers(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
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
    app.get("/")(lambda: None)
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
    # what Flask-RESTful and Flask-RESTX do to the app
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
def generator_fails_before_the_first_byte(
    app: NoCacheFlask,
) -> tuple[dict[str, t.Any], int]:
    def chunks() -> Iterator[str]:
        yield ""
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
def after_request_answers_anew(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
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
    # the copy that the client wants completed may be another user's
    app.get("/")(lambda: send_file("static/page.css", etag="1"))
    return to(headers={"Range": "bytes=0-3", "If-Range": '"1"'}), 200


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
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/other": raw(*HOSTILE)})  # type: ignore[method-assign]
    return to("/other/x"), 200


@inside
def shared_data(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    folder = {"/shared": f"{app.root_path}/static"}
    app.wsgi_app = SharedDataMiddleware(app.wsgi_app, folder)  # type: ignore[method-assign]
    return to("/shared/page.css"), 200


@inside
def middleware_fails(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.wsgi_app = fail  # type: ignore[method-assign]
    return to(), 500


@inside
def middleware_fails_after_start(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def middleware(environ: t.Any, start_response: t.Any) -> t.NoReturn:
        start_response("200 OK", list(HOSTILE))
        fail()

    app.wsgi_app = middleware  # type: ignore[assignment,method-assign]
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

    app.wsgi_app = middleware  # type: ignore[method-assign]
    return to(), 203


@inside
def middleware_writes(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def middleware(environ: t.Any, start_response: t.Any) -> list[bytes]:
        start_response("200 OK", list(HOSTILE))(b"x")
        return []

    app.wsgi_app = middleware  # type: ignore[method-assign]
    return to(), 200


@inside
def middleware_starts_late(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def middleware(environ: t.Any, start_response: t.Any) -> Iterator[bytes]:
        start_response("200 OK", list(HOSTILE))
        yield b"x"

    app.wsgi_app = middleware  # type: ignore[method-assign]
    return to(), 200


@inside
def middleware_fails_late(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    def middleware(environ: t.Any, start_response: t.Any) -> Iterator[bytes]:
        fail()
        yield b"x"

    app.wsgi_app = middleware  # type: ignore[assignment,method-assign]
    return to(), 500


@inside
def middleware_writes_odd_headers(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    odd = [[f"{name}\t", value] for name, value in HOSTILE]
    app.wsgi_app = raw(*odd)  # type: ignore[method-assign]
    return to(), 200


@inside
def middleware_drops_the_environ(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    inner = app.wsgi_app

    def middleware(environ: t.Any, start_response: t.Any) -> t.Any:
        kept = {k: v for k, v in environ.items() if not k.startswith("nocache")}
        return inner(kept, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    app.get("/")(cacheable(max_age=60, reason="x")(lambda: "x"))
    return to(), 200


@inside
def middleware_makes_up_a_condition(
    app: NoCacheFlask,
) -> tuple[dict[str, t.Any], int]:
    inner = app.wsgi_app

    def middleware(environ: t.Any, start_response: t.Any) -> t.Any:
        return inner(environ | {"HTTP_IF_NONE_MATCH": "*"}, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    app.get("/")(lambda: reply(("ETag", '"1"')).make_conditional(request))
    return to(), 500


@inside
def middleware_answers_304(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.wsgi_app = raw(status="304 NOT MODIFIED")  # type: ignore[method-assign]
    return to(), 500


@case
def view_answers_304(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: ("", 304))
    return to(), 500


@inside
def plain_flask_inside(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    plain = Flask("plain", root_path=app.root_path)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/plain": plain})  # type: ignore[method-assign]
    return to("/plain/static/page.css"), 200


@inside
def guarded_app_inside(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    inner = NoCacheFlask("inner", root_path=app.root_path)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/inner": inner})  # type: ignore[method-assign]
    return to("/inner/static/page.css"), 200


@case
def view_that_is_a_wsgi_app(app: NoCacheFlask) -> tuple[dict[str, t.Any], int]:
    app.get("/")(lambda: raw(*HOSTILE))
    return to(), 200


def raw(*headers: t.Any, status: str = "200 OK") -> t.Any:
    """Return a WSGI app that knows nothing of the guard."""

    def application(environ: t.Any, start_response: t.Any) -> list[bytes]:
        start_response(status, list(headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"x"]

    return application


def named(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("build", cases, ids=lambda build: build.__name__)


@pytest.mark.parametrize("conditions", [{}, CONDITIONS], ids=["fresh", "conditional"])
@named(CASES + INSIDE)
def test_no_exit_lets_a_storable_answer_out(
    app: NoCacheFlask, build: Case, conditions: dict[str, str]
) -> None:
    asked, status = build(app)
    asked["headers"] = conditions | asked.get("headers", {})

    got = ask(app, **asked)

    assert got.status == status
    assert_not_stored(got)
    assert b"hidden" not in got.body


@named(CASES)
def test_no_exit_of_the_inner_callable_lets_a_storable_answer_out(
    app: NoCacheFlask, build: Case
) -> None:
    asked, status = build(app)

    got = ask(ProxyFix(app.wsgi_app), **asked)

    assert got.status == status
    assert_not_stored(got)


@named(CASES + INSIDE)
def test_cdn_headers_go_with_every_exit(app: NoCacheFlask, build: Case) -> None:
    app.config["NOCACHE_CDN_HEADERS"] = True
    asked, status = build(app)

    got = ask(app, **asked)

    assert got.status == status
    cdn = {("CDN-Cache-Control", "no-store"), ("Surrogate-Control", "no-store")}
    assert_not_stored(got, beside=[*cdn, ("X-Accel-Expires", "0")])
