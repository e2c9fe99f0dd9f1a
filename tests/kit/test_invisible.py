"""Services of plain Flask work under the guard; each test compares the two."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from io import BytesIO

import pytest
from flask import Blueprint
from flask import Flask
from flask import make_response
from flask import request
from flask import Response
from flask import session
from flask.views import MethodView
from nocache import ApiBlueprint
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from werkzeug.http import is_resource_modified
from werkzeug.middleware.proxy_fix import ProxyFix

from .wsgi import assert_not_stored
from .wsgi import call_wsgi
from .wsgi import CONDITIONS
from .wsgi import environ_of
from .wsgi import fetch
from .wsgi import put_inside
from .wsgi import read_by_caches
from .wsgi import WireResponse

Build = Callable[[t.Any], None]
PRIVATE: t.Any = cacheable(max_age=60, reason="the client's own")
PUBLIC: t.Any = cacheable(max_age=60, public=True, reason="the same for everybody")
ETAG = {"ETag": '"1"'}


def both(
    build: Build, kind: type[Flask] = Flask, guarded: type[Flask] = NoCacheFlask
) -> tuple[Flask, Flask]:
    """Return the same app on plain Flask and under the guard."""
    apps = kind("plain"), guarded("guarded")
    for app in apps:
        app.config.update(SECRET_KEY="k", PROPAGATE_EXCEPTIONS=False)
        app.logger.disabled = True
        build(app)
    return apps


def start(statuses: list[str]) -> t.Any:
    """Return a start_response that records the status."""
    return lambda status, headers: statuses.append(status)


def control(response: WireResponse) -> str | None:
    return response.get("Cache-Control")


def beside_caching(response: WireResponse) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return a response without the fields that caches read."""
    headers = [f for f in response.headers if f not in read_by_caches(response.headers)]
    return response.status, headers, response.body


# a 304 that loses its permit in a hook


def visitor_cookie(app: Flask) -> None:
    @app.after_request
    def visit(response: Response) -> Response:
        response.set_cookie("visitor", "1")
        return response


def permanent_session(app: Flask) -> None:
    @app.before_request
    def sign_in() -> None:
        session.permanent = True
        session["user"] = "ann"


def lower_case_fields(app: Flask) -> None:
    inner = app.wsgi_app
    put_inside(
        app,
        lambda environ, start: inner(
            environ,
            lambda status, headers, *exc: start(
                status, [(name.lower(), value) for name, value in headers], *exc
            ),
        ),
    )


def new_response(app: Flask) -> None:
    @app.after_request
    def rebuild(response: Response) -> Response:
        return Response(
            response.get_data(), response.status, [("ETag", response.headers["ETag"])]
        )


@pytest.mark.parametrize(
    ("hook", "status"),
    [
        (visitor_cookie, 304),
        (permanent_session, 304),
        (lower_case_fields, 304),
        # the permit is lost
        (new_response, 200),
    ],
)
def test_conditional_request_never_fails(hook: Build, status: int) -> None:
    def build(app: Flask) -> None:
        hook(app)
        app.get("/")(PRIVATE(lambda: ("x", ETAG)))

    _, guarded = both(build)

    response = fetch(guarded, headers={"If-None-Match": '"1"'})

    assert response.status == status
    assert (status == 304) == (control(response) == "private, max-age=60")


@pytest.mark.parametrize("hook", [visitor_cookie, permanent_session])
@pytest.mark.parametrize("condition", ["If-None-Match", "If-Modified-Since"])
def test_static_file_beside_a_cookie_is_revalidated(
    hook: Build, condition: str, tmp_path: t.Any
) -> None:
    (tmp_path / "page.css").write_text("p {}")

    def build(app: Flask) -> None:
        hook(app)
        folder = Blueprint("files", __name__, static_folder=tmp_path, url_prefix="/f")
        app.register_blueprint(folder)

    plain, guarded = both(build)
    path = "/f/" + tmp_path.name + "/page.css"
    name = "ETag" if condition == "If-None-Match" else "Last-Modified"
    validator = fetch(plain, path).get(name)

    responses = [
        fetch(app, path, headers={condition: validator}) for app in (plain, guarded)
    ]

    assert [response.status for response in responses] == [304, 304]
    assert control(responses[1]) == "private, no-cache"
    assert control(fetch(guarded, path)) == "private, no-cache"


def test_304_is_the_same_as_from_flask() -> None:
    headers = {**ETAG, "Content-Language": "en", "X-Sendfile": "/x", "X-Y": "z"}
    headers["Content-Location"] = "/there"

    def build(app: Flask) -> None:
        def view() -> Response:
            response = Response("x", headers=headers)
            if app.name == "plain":
                del response.headers["X-Sendfile"]  # as send_file() does for a 304
                response.make_conditional(request)
                del response.headers["Date"]
            return response

        app.get("/")(PRIVATE(view))

    plain, guarded = (fetch(app, headers={"If-None-Match": "*"}) for app in both(build))

    assert beside_caching(plain) == beside_caching(guarded)
    assert guarded.get("ETag") == '"1"'


@pytest.mark.parametrize("body", ["list", "stream", "written", "late"])
def test_304_has_no_body_and_closes_the_body_of_the_app(body: str) -> None:
    closings: list[str] = []

    def chunks() -> Iterator[bytes]:
        yield b"x"

    def build(app: Flask) -> None:
        def view() -> Response:
            response = Response(["x"] if body == "list" else chunks(), headers=ETAG)
            response.call_on_close(lambda: closings.append("x"))
            return response

        app.get("/")(PRIVATE(view))
        inner: t.Any = app.wsgi_app

        def early(environ: t.Any, start_response: t.Any) -> t.Any:
            writes: list[t.Any] = []
            result = inner(environ, lambda *args: writes.append(start_response(*args)))
            writes[0](b"".join(result))
            return result

        def late(environ: t.Any, start_response: t.Any) -> t.Any:
            yield from inner(environ, start_response)

        if body in {"written", "late"}:
            put_inside(app, early if body == "written" else late)

    _, guarded = both(build)

    response = fetch(guarded, headers={"If-None-Match": "*"})

    assert (response.status, response.body, closings) == (304, b"", ["x"])


# conditions that end in 412


@pytest.mark.parametrize("name", ["If-Match", "If-Unmodified-Since"])
@pytest.mark.parametrize("declare", [None, nocache, PRIVATE])
def test_failed_precondition_of_a_get_is_412(name: str, declare: t.Any) -> None:
    fields = {name: '"2"' if name == "If-Match" else "Thu, 01 Jan 1970 00:00:00 GMT"}

    def view() -> t.Any:
        if name == "If-Match":
            modified = is_resource_modified(request.environ, etag='"1"')
        else:
            modified = False
        return ("x", ETAG) if modified else ("", 304)

    _, guarded = both(lambda app: app.get("/")(declare(view) if declare else view))

    response = fetch(guarded, headers=fields)

    assert (response.status, response.body, response.get("Content-Length")) == (
        412,
        b"",
        "0",
    )
    assert_not_stored(response)


def test_304_of_a_view_is_a_logged_500() -> None:
    _, guarded = both(lambda app: app.get("/")(PRIVATE(lambda: ("", 304))))

    response = fetch(guarded, headers={"If-None-Match": "*"})

    assert response.status == 500
    assert_not_stored(response)


# the entry point that libraries patch and override


class Counting(Flask):
    calls: t.ClassVar[list[str]] = []

    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        self.calls.append("__call__")
        return super().__call__(environ, start_response)

    def wsgi_app(self, environ: t.Any, start_response: t.Any) -> t.Any:
        self.calls.append("wsgi_app")
        return super().wsgi_app(environ, start_response)


class Combined(NoCacheFlask, Counting):
    pass


@pytest.mark.parametrize(
    "entry",
    [lambda app: app, lambda app: ProxyFix(app.wsgi_app)],
    ids=["app", "wsgi_app"],
)
def test_base_class_runs_once_a_request(entry: t.Any) -> None:
    calls = []
    for app in both(lambda app: app.get("/")(lambda: "x"), Counting, Combined):
        Counting.calls.clear()
        response = fetch(entry(app))
        calls.append([*Counting.calls])

    assert calls[0] == calls[1]
    assert_not_stored(response)


def test_patched_entry_of_flask_runs_once_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, guarded = both(lambda app: app.get("/")(lambda: "x"))
    original, calls = Flask.__call__, []

    def patched(self: Flask, environ: t.Any, start_response: t.Any) -> t.Any:
        calls.append(self.name)
        return original(self, environ, start_response)

    # some tools patch the class after the app is made
    monkeypatch.setattr(Flask, "__call__", patched)

    assert_not_stored(fetch(guarded))
    assert calls == ["guarded"]


# requests that the app makes to itself


def whole(app: Flask, path: str) -> Response:
    with app.request_context({**request.environ, "PATH_INFO": path}):
        return app.full_dispatch_request()


def dispatch(app: Flask, path: str) -> Response:
    with app.test_request_context(path, environ_base=request.environ):
        return app.make_response(app.dispatch_request())


def same_environ(app: Flask, path: str) -> Response:
    before, request.environ["PATH_INFO"] = request.environ["PATH_INFO"], path
    try:
        with app.request_context(request.environ):
            return app.full_dispatch_request()
    finally:
        request.environ["PATH_INFO"] = before


def call_view(app: Flask, path: str) -> t.Any:
    return Response.from_app(app.wsgi_app, {**request.environ, "PATH_INFO": path})


@pytest.mark.parametrize("inner", [whole, dispatch, same_environ, call_view])
@pytest.mark.parametrize("outer", ["undeclared", "nocache", "api"])
def test_inner_request_grants_no_permit_to_the_outer_one(
    inner: Callable[[Flask, str], Response], outer: str
) -> None:
    def build(app: Flask) -> None:
        app.get("/open", endpoint="open")(PUBLIC(lambda: "x"))

        def view() -> Response:
            return inner(app, "/open")

        if outer == "api":
            bp = ApiBlueprint("api", __name__)
            bp.get("/")(view)
            app.register_blueprint(bp)
        else:
            app.get("/")(nocache(view) if outer == "nocache" else view)

    guarded = NoCacheFlask("guarded")
    build(guarded)

    response = fetch(guarded)
    assert (response.status, response.body) == (200, b"x")
    assert_not_stored(response)
    assert control(fetch(guarded, "/open")) == "public, max-age=60"


@pytest.mark.parametrize("inner", [whole, dispatch, same_environ])
def test_inner_nocache_makes_the_outer_response_no_store(
    inner: Callable[[Flask, str], Response],
) -> None:
    guarded = NoCacheFlask("guarded")
    guarded.get("/closed", endpoint="closed")(nocache(lambda: "x"))
    guarded.get("/")(PUBLIC(lambda: inner(guarded, "/closed").get_data()))

    assert_not_stored(fetch(guarded))


# public, and credentials


@pytest.mark.parametrize(
    ("fields", "headers", "honoured"),
    [
        ({}, {}, True),
        ({}, {"Vary": "Accept-Encoding, Origin"}, True),
        ({"Cookie": "a=1"}, {}, True),
        ({"Authorization": "Basic eDp5"}, {}, False),
        ({}, {"Vary": "Cookie"}, False),
        ({}, {"vary": "Accept, COOKIE"}, False),
        ({}, {"Vary": "authorization"}, False),
        ({}, {"Vary": "*"}, False),
        ({}, {"Set-Cookie": "a=1"}, False),
    ],
)
def test_public_is_for_responses_without_credentials(
    fields: t.Any, headers: t.Any, honoured: bool
) -> None:
    def build(app: Flask) -> None:
        app.get("/public", endpoint="public")(PUBLIC(lambda: ("x", headers)))
        app.get("/private", endpoint="private")(PRIVATE(lambda: ("x", headers)))

    _, guarded = both(build)
    for _ in range(2):  # a known spelling is examined too
        response = fetch(guarded, "/public", headers=fields)
        if honoured:
            assert control(response) == "public, max-age=60"
        else:
            assert_not_stored(response)
        response = fetch(guarded, "/private", headers=fields)
        assert control(response) == "private, max-age=60"


def test_authorization_that_middleware_removes_still_counts() -> None:
    def build(app: Flask) -> None:
        inner = app.wsgi_app

        def middleware(environ: t.Any, start_response: t.Any) -> t.Any:
            environ["REMOTE_USER"] = environ.pop("HTTP_AUTHORIZATION")
            return inner(environ, start_response)

        put_inside(app, middleware)
        app.get("/")(PUBLIC(lambda: f"report of {request.remote_user}"))

    _, guarded = both(build)

    assert_not_stored(fetch(guarded, headers={"Authorization": "Basic eDp5"}))


# the return value of the view, in decorators and make_response


@pytest.mark.parametrize(
    "declare", [PRIVATE, nocache, nocache(etag=True)], ids=["open", "no", "etag"]
)
@pytest.mark.parametrize(
    "value",
    [{"a": 1}, ("x", 203, {"X-Y": "z"}), Response("x"), "x", [1]],
    ids=lambda value: type(value).__name__,
)
def test_decorator_above_gets_the_return_value_of_the_view(
    declare: t.Any, value: t.Any
) -> None:
    values: list[t.Any] = []

    def build(app: Flask) -> None:
        view = declare(lambda: value)

        @app.get("/")
        def above() -> t.Any:
            values.append(view())
            return values[-1]

    plain, guarded = both(build)
    results = [beside_caching(fetch(app)) for app in (plain, guarded)]

    assert [rv is value for rv in values] == [True, True]
    assert results[0] == results[1]


def test_decorator_above_that_makes_the_response_keeps_the_permit() -> None:
    def signed(view: t.Any) -> t.Any:
        def wrapper() -> Response:
            response = make_response(view())
            response.headers["X-Signature"] = "1"
            return response

        wrapper.__dict__.update(vars(view))
        return wrapper

    _, guarded = both(
        lambda app: app.get("/", endpoint="x")(signed(PRIVATE(lambda: "x")))
    )

    response = fetch(guarded)

    assert control(response) == "private, max-age=60"
    assert response.get("X-Signature") == "1"


def test_make_response_runs_once() -> None:
    class Framed(NoCacheFlask):
        def make_response(self, rv: t.Any) -> Response:
            response = super().make_response(rv)
            response.set_data(b"<" + response.get_data() + b">")
            return response

    app = Framed("framed")
    app.get("/")(PRIVATE(lambda: "x"))

    response = fetch(app)

    assert (response.body, control(response)) == (b"<x>", "private, max-age=60")


# WSGI, PEP 3333


def test_start_response_gets_two_arguments() -> None:
    _, guarded = both(lambda app: app.get("/")(lambda: "x"))
    values: list[str] = []

    assert b"".join(guarded(environ_of(), start(values))) == b"x"
    assert values == ["200 OK"]


class Expired(BaseException):
    """An exception like gevent.Timeout."""


@pytest.mark.parametrize("failure", [Expired, LookupError])
def test_body_is_closed_after_its_first_chunk_fails(
    failure: type[BaseException],
) -> None:
    closings: list[str] = []

    def build(app: Flask) -> None:
        @app.get("/")
        def view() -> Response:
            def chunks() -> Iterator[bytes]:
                yield from ()
                raise failure

            response = Response(chunks())
            response.call_on_close(lambda: closings.append("x"))
            return response

    _, guarded = both(build)
    try:
        assert fetch(guarded).status == 500
    except Expired:
        pass

    assert closings == ["x"]


class File:
    """A file wrapper by whose type a server sends files."""

    def __init__(self, file: t.Any, size: int = 8192) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("the file was read")


@pytest.mark.parametrize(
    "wrapper",
    [File, lambda file, size=8192: File(file, size)],
    ids=["class", "function"],
)
def test_file_wrapper_reaches_the_server(wrapper: t.Any) -> None:
    def build(app: Flask) -> None:
        @app.get("/")
        def view() -> Response:
            file = request.environ["wsgi.file_wrapper"](BytesIO(b"x"))
            return Response(file, direct_passthrough=True)

    _, guarded = both(build)

    body = guarded(environ_of() | {"wsgi.file_wrapper": wrapper}, start([]))

    assert type(body) is File


def test_first_empty_chunk_sends_the_headers() -> None:
    record: list[str] = []

    def build(app: Flask) -> None:
        @app.get("/")
        def view() -> Response:
            def events() -> Iterator[str]:
                yield ""
                record.append("second chunk")
                yield "data: 1\n\n"

            return Response(events(), mimetype="text/event-stream")

    _, guarded = both(build)

    body = iter(guarded(environ_of(), start(record)))
    assert next(body) == b""
    assert record == ["200 OK"]
    assert next(body) == b"data: 1\n\n"


@pytest.mark.parametrize("body", [[b"x"], (b"x",), [b"x", b"y"]], ids=repr)
def test_body_of_bytes_of_a_mounted_app_is_unchanged(body: t.Any) -> None:
    def application(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", [])
        return body

    _, guarded = both(lambda app: put_inside(app, application))

    # the server sees its length
    assert guarded(environ_of(), start([])) is body


@pytest.mark.parametrize(
    ("protocol", "length", "honoured"),
    [
        ("HTTP/1.1", False, True),
        ("HTTP/1.0", False, False),
        ("HTTP/1.0", True, True),
    ],
)
def test_body_of_unknown_length_is_not_stored_over_http_1_0(
    protocol: str, length: bool, honoured: bool
) -> None:
    headers = {"content-length": "1"} if length else {}
    _, guarded = both(
        lambda app: app.get("/")(PRIVATE(lambda: Response(iter("x"), headers=headers)))
    )

    response = call_wsgi(guarded, environ_of() | {"SERVER_PROTOCOL": protocol})

    assert (control(response) == "private, max-age=60") is honoured


@pytest.mark.parametrize("status", ["2000 odd", "200", "200 OK"])
def test_status_is_three_digits(status: str) -> None:
    _, guarded = both(lambda app: app.get("/")(PRIVATE(lambda: Response("x", status))))

    response = fetch(guarded)

    assert (control(response) == "private, max-age=60") is (status != "2000 odd")


# a view that takes the socket over


def stop() -> t.NoReturn:
    raise StopIteration


def reset() -> t.NoReturn:
    raise ConnectionError


@pytest.mark.parametrize("end", [list, stop, reset])
@pytest.mark.parametrize("upgrade", [True, False], ids=["upgrade", "no-upgrade"])
def test_view_that_takes_the_socket_over_has_no_response(
    end: t.Any, upgrade: bool
) -> None:
    class Taken(Response):
        def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
            return end()

    fields = {"Upgrade": "websocket", "Connection": "Upgrade"} if upgrade else {}

    def take_socket(app: Flask) -> tuple[object, list[str]]:
        statuses: list[str] = []
        try:
            return [*app(environ_of(headers=fields), start(statuses))], statuses
        except (StopIteration, ConnectionError) as error:
            return type(error), statuses

    plain, guarded = both(lambda app: app.get("/")(lambda: Taken()))

    if upgrade or end is list:
        assert take_socket(guarded) == take_socket(plain)
    else:
        assert take_socket(guarded)[1] == ["500 INTERNAL SERVER ERROR"]


def test_upgrade_that_the_app_refuses_is_a_response() -> None:
    _, guarded = both(lambda app: app.get("/")(lambda: ("no", 400)))

    response = fetch(guarded, headers={"Upgrade": "websocket"})

    assert response.status == 400
    assert_not_stored(response)


# views that are not functions


class Permissive:
    """A view with every attribute, like a proxy or a mock."""

    __name__ = "permissive"
    methods = provide_automatic_options = None
    required_methods = ()

    def __getattr__(self, name: str) -> t.Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Permissive()

    def __call__(self, *args: t.Any, **kwargs: t.Any) -> str:
        return "x"


def test_view_with_every_attribute_is_not_declared() -> None:
    _, guarded = both(lambda app: app.add_url_rule("/", "x", Permissive()))

    response = fetch(guarded, headers=CONDITIONS)

    assert (response.status, response.body) == (200, b"x")
    assert_not_stored(response)


@pytest.mark.parametrize("view", [None, "x", MethodView])
def test_nocache_refuses_other_objects_than_views(view: t.Any) -> None:
    with pytest.raises(TypeError, match="nocache"):
        nocache(view)
