from __future__ import annotations

import functools
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import abort
from flask import redirect
from flask import request
from flask import Response
from flask import send_file
from flask import session
from flask.views import MethodView
from nocache import ApiBlueprint
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from .wsgi import assert_not_stored
from .wsgi import assert_stored
from .wsgi import CONDITIONS
from .wsgi import fetch
from .wsgi import guarded_app
from .wsgi import put_inside
from .wsgi import VALIDATORS

HOUR = "public, max-age=3600"
hourly: t.Any = cacheable(max_age=3600, public=True, reason="changes yearly")

Build = Callable[[NoCacheFlask], t.Any]


@pytest.fixture
def app(tmp_path: Path) -> NoCacheFlask:
    return guarded_app(tmp_path)


def view() -> str:
    return "x"


# responses that a declaration makes storable


@pytest.mark.parametrize(
    ("arguments", "policy"),
    [
        ({"max_age": 60}, "private, max-age=60"),
        ({"max_age": 60, "public": True}, "public, max-age=60"),
        ({"max_age": 0}, "private, no-cache, max-age=0"),
        ({"max_age": 0, "public": True}, "public, no-cache, max-age=0"),
        ({"max_age": 2**31}, "private, max-age=2147483648"),
    ],
)
def test_cacheable_sends_the_declared_policy(
    app: NoCacheFlask, arguments: t.Any, policy: str
) -> None:
    app.get("/")(cacheable(**arguments, reason="x")(view))

    assert_stored(fetch(app), policy)
    assert_stored(fetch(app, "/", "HEAD"), policy)
    assert_stored(fetch(ProxyFix(app.wsgi_app)), policy)


async def coroutine() -> str:
    return "x"


def generator() -> Iterator[str]:
    yield "x"


class Callable_:
    def __call__(self) -> str:
        return "x"


class Page(MethodView):
    decorators: t.ClassVar = [hourly]

    def get(self) -> str:
        return "x"


VIEWS: dict[str, Callable[[], t.Any]] = {
    "function": lambda: hourly(view),
    "coroutine": lambda: hourly(coroutine),
    "generator": lambda: hourly(generator),
    "lambda": lambda: hourly(lambda: "x"),
    "partial": lambda: hourly(functools.partial(lambda x: x, "x")),
    "callable-object": lambda: hourly(Callable_()),
    "view-class": lambda: Page.as_view("page"),
    "bound-method": lambda: hourly(Callable_().__call__),
    "below-a-wrapper": lambda: wraps(hourly(view)),
    "above-a-wrapper": lambda: hourly(wraps(view)),
}


def wraps(view: t.Any) -> t.Any:
    @functools.wraps(view)
    def wrapper(**kwargs: t.Any) -> t.Any:
        return view(**kwargs)

    return wrapper


@pytest.mark.parametrize("form", VIEWS)
@pytest.mark.parametrize("register", ["add_url_rule", "view_functions"])
def test_cacheable_works_on_every_form_of_view(
    app: NoCacheFlask, form: str, register: str
) -> None:
    if register == "add_url_rule":
        app.add_url_rule("/", "page", VIEWS[form]())
    else:
        app.add_url_rule("/", "page")
        app.view_functions["page"] = VIEWS[form]()

    response = fetch(app)

    assert response.body == b"x"
    assert_stored(response, HOUR)


RETURN_VALUES: dict[str, tuple[t.Any, int]] = {
    "text": ("x", 200),
    "json": ({"x": 1}, 200),
    "list": ([1], 200),
    "bytes": (b"x", 200),
    "tuple": (("x", 203, {"X-Y": "z"}), 203),
    "stream": (iter(["", "x"]), 200),
    "nothing": ("", 200),
    "public": (Response("x", headers={"Cache-Control": "public, max-age=9"}), 200),
    "expires": (Response("x", headers={"Expires": "0"}), 200),
    "targeted": (Response("x", headers={"CDN-Cache-Control": "max-age=9"}), 200),
    "surrogate": (Response("x", headers={"surrogate-control": "max-age=9"}), 200),
    "stamp": (Response("x", headers={"Nocache-Permit": "0"}), 200),
    "many": (Response("x", headers=[("Cache-Control", "a"), ("Pragma", "b")]), 200),
}


@pytest.mark.parametrize("form", RETURN_VALUES)
def test_cacheable_replaces_fields_of_the_view(app: NoCacheFlask, form: str) -> None:
    rv, status = RETURN_VALUES[form]
    app.get("/")(hourly(lambda: rv))

    response = fetch(app)

    assert response.status == status
    assert_stored(response, HOUR)


def test_cacheable_view_responds_to_conditional_requests(app: NoCacheFlask) -> None:
    def tagged() -> Response:
        return Response("x", headers={"ETag": '"1"'})

    app.get("/")(hourly(tagged))

    fresh = fetch(app)
    assert_stored(fresh, HOUR, validators=("ETag",))
    for method in ("GET", "HEAD"):
        unchanged = fetch(app, "/", method, headers={"If-None-Match": '"1"'})
        assert (unchanged.status, unchanged.body) == (304, b"")
        assert_stored(unchanged, HOUR, validators=("ETag",))
    assert fetch(app, headers={"If-None-Match": '"2"'}).status == 200


def test_cacheable_view_is_revalidated_by_its_date(app: NoCacheFlask) -> None:
    dated = {"Last-Modified": "Thu, 01 Jan 2015 00:00:00 GMT"}
    app.get("/")(hourly(lambda: ("x", dated)))

    assert fetch(app, headers=CONDITIONS).status == 304
    assert_stored(fetch(app), HOUR, validators=("Last-Modified",))


def test_cacheable_view_sends_no_304_for_an_error(app: NoCacheFlask) -> None:
    app.get("/")(hourly(lambda: ("x", 404, {"ETag": '"1"'})))

    response = fetch(app, headers=CONDITIONS)

    assert response.status == 404
    assert_not_stored(response)


def test_conditions_are_hidden_from_hooks(app: NoCacheFlask) -> None:
    def conditions() -> list[str]:
        names = ("If-None-Match", "If-Modified-Since", "If-Range", "Range")
        return [name for name in names if name in request.headers]

    names: list[list[str]] = []
    app.before_request(lambda: names.append(conditions()))

    @app.after_request
    def look(response: Response) -> Response:
        names.append(conditions())
        return response

    app.get("/")(hourly(conditions))

    ranges = {"If-Range": '"2"', "Range": "bytes=0-1"}
    response = fetch(app, headers=CONDITIONS | ranges)

    # If-Range ends in 200 or 206 only, so that downloads resume
    assert names == [["If-Range", "Range"]] * 2
    assert response.body == b'["If-Range","Range"]\n'


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": 'W/"1"'}, 304),
        ({"If-None-Match": '"2"'}, 200),
        ({"If-Modified-Since": CONDITIONS["If-Modified-Since"]}, 304),
        ({"Range": "bytes=0-3"}, 206),
        ({"Range": "bytes=0-3", "If-Range": '"1"'}, 206),
        ({"Range": "bytes=0-3", "If-Range": '"2"'}, 200),
    ],
)
def test_cacheable_file_responds_to_conditional_requests(
    app: NoCacheFlask, headers: dict[str, str], status: int
) -> None:
    app.get("/")(hourly(lambda: send_file("static/page.css", etag="1", max_age=9)))

    response = fetch(app, headers=headers)

    assert response.status == status
    assert_stored(
        response, HOUR, validators=VALIDATORS[:1] if status == 304 else VALIDATORS
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Range": "bytes=999-"}, 416), ({"If-Match": '"2"'}, 412)],
)
def test_cacheable_file_that_cannot_be_sent_is_not_stored(
    app: NoCacheFlask, headers: dict[str, str], status: int
) -> None:
    app.get("/")(hourly(lambda: send_file("static/page.css", etag="1")))

    response = fetch(app, headers=headers)

    assert response.status == status
    assert_not_stored(response)


# responses of cacheable views that must not be stored


CLOSED: list[Build] = []


def no_store_case(build: Build) -> Build:
    CLOSED.append(build)
    return build


@no_store_case
def set_cookie(app: NoCacheFlask) -> t.Any:
    app.get("/")(hourly(lambda: ("x", {"Set-Cookie": "a=1"})))


@no_store_case
def set_cookie_in_odd_case(app: NoCacheFlask) -> t.Any:
    app.get("/")(hourly(lambda: ("x", {"SET-COOKIE": "a=1"})))


@no_store_case
def session_is_saved(app: NoCacheFlask) -> t.Any:
    app.get("/")(hourly(lambda: str(session.setdefault("user", 1))))


@no_store_case
def after_request_sets_a_cookie(app: NoCacheFlask) -> t.Any:
    @app.after_request
    def track(response: Response) -> Response:
        response.set_cookie("a", "1")
        return response

    app.get("/")(hourly(view))


@no_store_case
def view_returns_404(app: NoCacheFlask) -> t.Any:
    app.get("/")(hourly(lambda: ("x", 404)))


@no_store_case
def view_returns_301(app: NoCacheFlask) -> t.Any:
    app.get("/")(hourly(lambda: redirect("/elsewhere", 301)))


@no_store_case
def view_returns_204(app: NoCacheFlask) -> t.Any:
    app.get("/")(hourly(lambda: ("", 204)))


@no_store_case
def view_returns_201(app: NoCacheFlask) -> t.Any:
    app.get("/")(hourly(lambda: ("x", 201)))


@no_store_case
def view_aborts(app: NoCacheFlask) -> t.Any:
    app.get("/")(hourly(lambda: abort(404)))


@no_store_case
def view_aborts_with_a_response(app: NoCacheFlask) -> t.Any:
    app.get("/")(hourly(lambda: abort(Response("x"))))


@no_store_case
def view_fails(app: NoCacheFlask) -> t.Any:
    app.get("/")(hourly(lambda: str(1 / 0)))


@no_store_case
def error_handler_responds(app: NoCacheFlask) -> t.Any:
    app.register_error_handler(ZeroDivisionError, lambda e: "x")
    app.get("/")(hourly(lambda: str(1 / 0)))


@no_store_case
def generator_fails(app: NoCacheFlask) -> t.Any:
    app.get("/")(hourly(lambda: (str(1 / n) for n in (0, 1))))


@no_store_case
def after_request_fails(app: NoCacheFlask) -> t.Any:
    app.after_request(lambda response: Response(str(1 / 0)))
    app.get("/")(hourly(view))


@no_store_case
def after_request_replaces_the_response(app: NoCacheFlask) -> t.Any:
    app.after_request(lambda response: Response("x"))
    app.get("/")(hourly(view))


@no_store_case
def before_request_responds(app: NoCacheFlask) -> t.Any:
    app.before_request(lambda: "x")
    app.get("/")(hourly(view))


@no_store_case
def login_wrapper_responds(app: NoCacheFlask) -> t.Any:
    def login_required(view: t.Any) -> t.Any:
        return functools.wraps(view)(lambda **kw: Response("log in"))

    app.get("/")(login_required(hourly(view)))


@no_store_case
def login_wrapper_responds_after_the_view(app: NoCacheFlask) -> t.Any:
    def login_required(view: t.Any) -> t.Any:
        return functools.wraps(view)(lambda **kw: (view(), "log in")[1])

    app.get("/")(login_required(hourly(view)))


@no_store_case
def lost_in_a_wrapper(app: NoCacheFlask) -> t.Any:
    inner_view = hourly(view)
    app.add_url_rule("/", "page", lambda: inner_view())


@no_store_case
def declared_above_the_route(app: NoCacheFlask) -> t.Any:
    hourly(app.get("/")(lambda: "x"))


@no_store_case
def called_by_another_view(app: NoCacheFlask) -> t.Any:
    inner_view = hourly(view)
    app.get("/other")(inner_view)
    app.add_url_rule("/", "page", lambda: inner_view())


@no_store_case
def called_by_another_cacheable_view(app: NoCacheFlask) -> t.Any:
    other = hourly(view)
    app.add_url_rule("/other", "other", other)

    def page() -> t.NoReturn:
        abort(t.cast("Response", other()))

    app.get("/")(cacheable(max_age=1, reason="x")(page))


@no_store_case
def nocache_above(app: NoCacheFlask) -> t.Any:
    app.get("/")(nocache(hourly(lambda: "x")))


@no_store_case
def nocache_below(app: NoCacheFlask) -> t.Any:
    app.get("/")(hourly(nocache(lambda: "x")))


@no_store_case
def nocache_on_the_function_elsewhere(app: NoCacheFlask) -> t.Any:
    def page() -> str:
        return "x"

    nocache(page)
    app.get("/")(hourly(page))


@no_store_case
def the_function_without_the_wrapper(app: NoCacheFlask) -> t.Any:
    app.add_url_rule("/other", "other", hourly(view))
    app.add_url_rule("/", "page", view)


@no_store_case
def api_blueprint(app: NoCacheFlask) -> t.Any:
    bp = ApiBlueprint("api", "kit_app")
    bp.get("/")(hourly(view))
    app.register_blueprint(bp)


@no_store_case
def endpoint_of_an_api_blueprint_on_the_app(app: NoCacheFlask) -> t.Any:
    app.register_blueprint(ApiBlueprint("api", "kit_app"))
    app.add_url_rule("/", "api.page", hourly(view))


@no_store_case
def post(app: NoCacheFlask) -> t.Any:
    app.post("/")(hourly(view))
    return "POST"


@no_store_case
def view_responds_to_options(app: NoCacheFlask) -> t.Any:
    app.route("/", methods=["OPTIONS"], provide_automatic_options=False)(hourly(view))
    return "OPTIONS"


@no_store_case
def method_overridden_to_get(app: NoCacheFlask) -> t.Any:
    overriding(app, "GET")
    app.get("/")(hourly(view))
    return "POST"


@no_store_case
def method_overridden_to_post(app: NoCacheFlask) -> t.Any:
    overriding(app, "POST")
    app.post("/")(hourly(view))
    return "GET"


@no_store_case
def view_class_method(app: NoCacheFlask) -> t.Any:
    class Item(MethodView):
        @hourly  # type: ignore[untyped-decorator]
        def get(self) -> str:
            return "x"

    app.add_url_rule("/", view_func=Item.as_view("item"))


@no_store_case
def replayed_by_a_cache_in_the_server(app: NoCacheFlask) -> t.Any:
    inner, starts = app.wsgi_app, list[t.Any]()

    def middleware(environ: t.Any, start_response: t.Any) -> t.Any:
        def keep(*start: t.Any) -> t.Any:
            starts.append(start)
            return start_response(*starts[0])

        return inner(environ, keep)

    put_inside(app, middleware)
    app.get("/")(hourly(view))
    fetch(app)


@no_store_case
def guarded_app_called_inside(app: NoCacheFlask) -> t.Any:
    inner = NoCacheFlask("inner")
    inner.get("/")(hourly(view))
    put_inside(app, DispatcherMiddleware(inner))


def overriding(app: NoCacheFlask, method: str) -> None:
    inner = app.wsgi_app

    def override(environ: t.Any, start_response: t.Any) -> t.Any:
        environ["REQUEST_METHOD"] = method
        return inner(environ, start_response)

    put_inside(app, override)


@pytest.mark.parametrize("build", CLOSED, ids=lambda build: build.__name__)
@pytest.mark.parametrize("headers", [{}, CONDITIONS], ids=["fresh", "conditional"])
def test_cacheable_view_is_not_stored(
    app: NoCacheFlask, build: Build, headers: dict[str, str]
) -> None:
    method = build(app) or "GET"

    assert_not_stored(fetch(app, "/", method, headers=headers))


# responses that requests share


def test_cacheable_does_not_change_a_shared_response(app: NoCacheFlask) -> None:
    shared = Response("x", headers={"ETag": '"1"'})
    before = [*shared.headers]
    app.add_url_rule("/open", "open", hourly(lambda: shared))
    app.add_url_rule("/closed", "closed", lambda: shared)

    assert_stored(fetch(app, "/open"), HOUR, validators=("ETag",))
    assert fetch(app, "/open", headers={"If-None-Match": "*"}).status == 304
    assert_not_stored(fetch(app, "/closed"))
    assert [*shared.headers] == before
    assert shared.status_code == 200


def test_cacheable_does_not_change_a_shared_response_in_a_tuple(
    app: NoCacheFlask,
) -> None:
    shared = Response("x", headers={"ETag": '"1"'})
    app.get("/")(hourly(lambda: (shared, {"X-Y": "z"})))

    assert fetch(app, headers={"If-None-Match": "*"}).status == 304
    assert_stored(fetch(app), HOUR, validators=("ETag",))
    assert fetch(app).status == shared.status_code == 200
    assert "Nocache-Permit" not in shared.headers


def test_shared_response_has_the_fields_of_each_request_in_threads(
    app: NoCacheFlask,
) -> None:
    shared = Response("x")
    app.add_url_rule("/open", "open", hourly(lambda: shared))
    app.add_url_rule("/closed", "closed", lambda: shared)
    app.add_url_rule("/nocache", "nocache", t.cast("t.Any", nocache)(lambda: shared))

    with ThreadPoolExecutor(8) as pool:
        paths = ["/open", "/closed", "/nocache"] * 100
        responses = list(pool.map(lambda path: (path, fetch(app, path)), paths))

    for path, response in responses:
        if path == "/open":
            assert_stored(response, HOUR)
        else:
            assert_not_stored(response)


def test_cacheable_keeps_vary(app: NoCacheFlask) -> None:
    app.secret_key = "x"
    app.get("/")(hourly(lambda: session.get("user", "x")))

    response = fetch(app)

    # several CDNs ignore Vary
    assert_not_stored(response)
    assert response.get("Vary") == "Cookie"


def test_cacheable_view_of_a_mounted_app_is_stored(app: NoCacheFlask) -> None:
    # mounted by its wsgi_app it has the guard of the outer app
    inner = NoCacheFlask("inner")
    inner.get("/")(hourly(view))
    put_inside(app, DispatcherMiddleware(app.wsgi_app, {"/inner": inner.wsgi_app}))

    assert_stored(fetch(app, "/inner/"), HOUR)
    assert_not_stored(fetch(app, "/inner/nowhere"))


@pytest.mark.parametrize("prefix", ["", "wsgi"])
def test_cacheable_is_stored_through_a_middleware(
    app: NoCacheFlask, prefix: str
) -> None:
    inner = app.wsgi_app
    put_inside(
        app,
        lambda environ, start: inner(
            {k: v for k, v in environ.items() if k.isupper() or k.startswith(prefix)},
            start,
        ),
    )
    app.get("/")(hourly(lambda: Response("x", headers={"ETag": '"1"'})))

    assert_stored(fetch(app), HOUR, validators=("ETag",))
    assert fetch(app, headers={"If-None-Match": "*"}).status == 304


def test_cacheable_response_has_no_cdn_fields(app: NoCacheFlask) -> None:
    app.config["NOCACHE_CDN_HEADERS"] = True
    app.get("/")(hourly(view))

    assert_stored(fetch(app), HOUR)


def test_one_declaration_gives_each_view_its_policy(app: NoCacheFlask) -> None:
    one, other = hourly(lambda: "x"), hourly(lambda: "x")
    app.add_url_rule("/one", "one", one)
    app.add_url_rule("/other", "other", lambda: other())

    assert_stored(fetch(app, "/one"), HOUR)
    assert_not_stored(fetch(app, "/other"))


# an ETag for If-Match


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_nocache_with_etag_keeps_the_etag(app: NoCacheFlask, method: str) -> None:
    def tagged() -> Response:
        headers = {"ETag": '"1"', "Last-Modified": "x", "CDN-Cache-Control": "x"}
        return Response("x", headers=headers)

    methods = ["GET", "PUT"]
    app.route("/", methods=methods)(nocache(etag=True)(tagged))

    response = fetch(app, "/", method)

    assert_not_stored(response, beside=[("ETag", '"1"')])


def test_nocache_with_etag_never_sends_a_304(app: NoCacheFlask) -> None:
    def tagged() -> Response:
        return Response("x", headers={"ETag": '"1"'}).make_conditional(request)  # type: ignore[return-value]

    app.get("/")(nocache(etag=True)(tagged))

    response = fetch(app, headers=CONDITIONS)
    assert response.status == 200
    assert_not_stored(response, beside=[("ETag", '"1"')])
    assert fetch(app, headers={"If-Match": '"2"'}).status == 412


def test_nocache_leaves_if_match_to_the_view(app: NoCacheFlask) -> None:
    tagged = nocache(etag=True)(lambda: Response("x", headers={"ETag": '"1"'}))
    app.get("/")(tagged)

    assert fetch(app, headers={"If-Match": '"2"'}).status == 200


def test_nocache_keeps_no_etag_for_another_view(app: NoCacheFlask) -> None:
    tagged = nocache(etag=True)(lambda: Response("x", headers={"ETag": '"1"'}))
    app.add_url_rule("/tagged", "tagged", tagged)
    app.add_url_rule("/", "other", lambda: tagged())

    assert_not_stored(fetch(app))


def test_nocache_keeps_no_etag_of_an_error(app: NoCacheFlask) -> None:
    def missing() -> t.NoReturn:
        abort(Response("x", headers={"ETag": '"1"'}))

    app.get("/")(nocache(etag=True)(missing))

    assert_not_stored(fetch(app))
