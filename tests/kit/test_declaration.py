"""The arguments of @cacheable, on the wire and in the list of routes."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from flask import Flask
from flask import Response
from flask.views import MethodView
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from nocache import routes
from nocache.audit.wire import drive

from .wsgi import assert_not_stored
from .wsgi import fetch
from .wsgi import guarded_app
from .wsgi import NO_STORE
from .wsgi import read_by_caches
from .wsgi import WireResponse


@pytest.fixture
def app(tmp_path: Path) -> NoCacheFlask:
    return guarded_app(tmp_path)


def declare(**arguments: t.Any) -> t.Any:
    minimum: dict[str, t.Any] = {"max_age": 60, "reason": "tested"}
    return cacheable(**minimum | arguments)


def policy(app: Flask, endpoint: str) -> str:
    [text] = {r.policy for r in routes(app) if r.endpoint == endpoint}
    return text


def view() -> str:
    return "x"


def varying(*values: str) -> t.Any:
    return lambda: Response("x", headers=[("Vary", value) for value in values])


# directives


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"public": True, "shared_max_age": 3600},
            "public, max-age=60, s-maxage=3600",
        ),
        ({"public": True, "shared_max_age": 0}, "public, max-age=60, s-maxage=0"),
        ({"immutable": True}, "private, max-age=60, immutable"),
        (
            {"public": True, "shared_max_age": 9, "immutable": True},
            "public, max-age=60, s-maxage=9, immutable",
        ),
        # no-cache would forbid shared caches the reuse that s-maxage allows
        (
            {"max_age": 0, "public": True, "shared_max_age": 9},
            "public, max-age=0, must-revalidate, s-maxage=9",
        ),
        (
            {"max_age": 0, "public": True, "shared_max_age": 0},
            "public, no-cache, max-age=0, s-maxage=0",
        ),
    ],
)
def test_directives_reach_the_wire_and_the_list(
    app: NoCacheFlask, arguments: dict[str, t.Any], text: str
) -> None:
    app.get("/")(declare(**arguments)(view))

    assert fetch(app).get("Cache-Control") == text
    assert policy(app, "view") == text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shared_max_age": 9}, ValueError, "shared_max_age needs public"),
        ({"shared_max_age": -1, "public": True}, ValueError, "shared_max_age must"),
        ({"shared_max_age": 2**32, "public": True}, ValueError, "shared_max_age must"),
        ({"shared_max_age": "9", "public": True}, TypeError, "shared_max_age must"),
        ({"shared_max_age": True, "public": True}, TypeError, "shared_max_age must"),
        ({"immutable": 1}, TypeError, "immutable must"),
        ({"immutable": True, "max_age": 0}, ValueError, "immutable needs a max_age"),
        ({"vary": "Accept"}, TypeError, "vary must be a tuple or list"),
        ({"vary": {"Accept"}}, TypeError, "vary must be a tuple or list"),
        ({"vary": None}, TypeError, "vary must be a tuple or list"),
        ({"vary": [b"Accept"]}, TypeError, "vary must hold str"),
        ({"vary": ["*"]}, ValueError, "vary must not be"),
        ({"vary": [""]}, ValueError, "vary must hold field names"),
        ({"vary": ["Accept, Origin"]}, ValueError, "vary must hold field names"),
        ({"vary": ["Accept\n"]}, ValueError, "vary must hold field names"),
        ({"vary": ["cookie"], "public": True}, ValueError, "vary must not hold"),
        ({"vary": ["Authorization"], "public": True}, ValueError, "vary must not hold"),
    ],
)
def test_contradictions_raise(
    arguments: dict[str, t.Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^cacheable: {message}"):
        declare(**arguments)


# vary


@pytest.mark.parametrize(
    ("set_by_view", "vary", "field"),
    [
        ([], ["Accept-Language"], "Accept-Language"),
        ([], ("accept", "Origin", "Accept"), "accept, Origin"),
        (["Origin"], ["Accept-Language"], "Origin, Accept-Language"),
        (["accept-language"], ["Accept-Language"], "accept-language"),
        (["Origin,  Accept", "X-Own"], ["accept"], "Origin, Accept, X-Own"),
        (["Origin"], [], "Origin"),
    ],
)
def test_vary_is_merged_with_the_vary_of_the_view(
    app: NoCacheFlask, set_by_view: list[str], vary: t.Any, field: str
) -> None:
    for public in (True, False):
        decorate = declare(vary=vary, public=public)
        app.add_url_rule(f"/{public}", f"{public}", decorate(varying(*set_by_view)))
    for public in (True, False) * 2:  # a known spelling is merged too
        response = fetch(app, f"/{public}")
        assert response.get("Vary") == field
        assert "max-age=60" in str(response.get("Cache-Control"))
        assert "no-store" not in str(response.get("Cache-Control"))


def test_vary_is_listed(app: NoCacheFlask) -> None:
    app.get("/")(declare(vary=["Accept-Language", "Origin"])(view))
    assert policy(app, "view") == "private, max-age=60; Vary: Accept-Language, Origin"


def test_vary_stays_on_a_304(app: NoCacheFlask) -> None:
    app.get("/")(declare(vary=["Origin"])(lambda: Response(headers={"ETag": '"1"'})))
    response = fetch(app, headers={"If-None-Match": '"1"'})
    assert (response.status, response.get("Vary")) == (304, "Origin")


def test_vary_may_name_the_cookie_of_a_private_response(app: NoCacheFlask) -> None:
    app.get("/")(declare(vary=["Cookie"])(view))
    assert fetch(app).get("Vary") == "Cookie"
    assert fetch(app).get("Cache-Control") == "private, max-age=60"


def test_vary_of_the_view_makes_a_public_response_no_store(app: NoCacheFlask) -> None:
    app.get("/")(declare(vary=["Origin"], public=True)(varying("Cookie")))
    for _ in range(2):
        assert_not_stored(fetch(app))


def test_vary_is_not_sent_with_no_store(app: NoCacheFlask) -> None:
    app.get("/")(declare(vary=["Origin"])(lambda: ("x", 404)))
    response = fetch(app)
    assert_not_stored(response)
    assert response.get("Vary") is None


# etag, called before the view


class Recorder:
    """A view and the function of its ETag, which record their calls."""

    def __init__(self, tag: t.Any = "1") -> None:
        self.tag = tag
        self.calls: list[str] = []

    def etag(self, **arguments: t.Any) -> t.Any:
        self.calls.append("etag")
        return self.tag

    def view(self, **arguments: t.Any) -> t.Any:
        self.calls.append("view")
        return "x"

    async def async_etag(self, **arguments: t.Any) -> t.Any:
        return self.etag()

    async def async_view(self, **arguments: t.Any) -> t.Any:
        return self.view()


FORMS = [
    ("etag", "view"),
    ("async_etag", "view"),
    ("etag", "async_view"),
    ("async_etag", "async_view"),
]


def add_recorder(
    path: str, app: NoCacheFlask, tag: t.Any = "1", **arguments: t.Any
) -> Recorder:
    recorder = Recorder(tag)
    decorate = declare(etag=recorder.etag, **arguments)
    app.add_url_rule(path, "page", decorate(recorder.view), methods=["GET", "POST"])
    return recorder


@pytest.mark.parametrize(("etag", "function"), FORMS)
def test_unchanged_etag_skips_the_view(
    app: NoCacheFlask, etag: str, function: str
) -> None:
    recorder = Recorder()
    decorate = declare(etag=getattr(recorder, etag), vary=["Origin"])
    app.add_url_rule("/<int:id>", "page", decorate(getattr(recorder, function)))

    first = fetch(app, "/7")
    assert (first.status, first.get("ETag"), first.body) == (200, '"1"', b"x")
    assert recorder.calls == ["etag", "view"]

    recorder.calls.clear()
    for method in ("GET", "HEAD"):
        response = fetch(app, "/7", method, headers={"If-None-Match": '"1"'})
        assert (response.status, response.body) == (304, b"")
        assert response.get("ETag") == '"1"'
        assert response.get("Cache-Control") == "private, max-age=60"
        assert response.get("Vary") == "Origin"
        assert response.get("Content-Type") is None
    assert recorder.calls == ["etag", "etag"]

    recorder.tag = "2"
    response = fetch(app, "/7", headers={"If-None-Match": '"1"'})
    assert (response.status, response.get("ETag"), response.body) == (200, '"2"', b"x")


@pytest.mark.parametrize(
    ("tag", "condition", "status"),
    [
        ("1", 'W/"1"', 304),
        ('W/"1"', '"1"', 304),
        ('W/"1"', 'W/"1"', 304),
        ("1", '"0", "1"', 304),
        ("1", "*", 304),
        ("1", '"0"', 200),
        ("1", "1x", 200),
        (None, '"1"', 200),
    ],
)
def test_etag_is_compared_weakly(
    app: NoCacheFlask, tag: t.Any, condition: str, status: int
) -> None:
    recorder = add_recorder("/", app, tag)
    response = fetch(app, headers={"If-None-Match": condition})
    assert response.status == status
    assert ("view" in recorder.calls) is (status == 200)


def test_etag_is_not_compared_with_a_date(app: NoCacheFlask) -> None:
    add_recorder("/", app)
    date = "Fri, 31 Dec 2100 23:59:59 GMT"
    assert fetch(app, headers={"If-Modified-Since": date}).status == 200


def test_etag_of_none_sends_no_etag(app: NoCacheFlask) -> None:
    add_recorder("/", app, None)
    response = fetch(app)
    assert (response.get("ETag"), response.get("Cache-Control")) == (
        None,
        "private, max-age=60",
    )


def test_etag_that_the_view_sets_stays(app: NoCacheFlask) -> None:
    decorate = declare(etag=lambda: "1")
    app.get("/")(decorate(lambda: Response(headers={"ETag": '"own"'})))
    assert fetch(app).get("ETag") == '"own"'


@pytest.mark.parametrize(("tag", "field"), [("1", 'W/"1"'), ('W/"1"', 'W/"1"')])
def test_etag_of_an_encoded_response_is_weak(
    app: NoCacheFlask, tag: str, field: str
) -> None:
    decorate = declare(etag=lambda: tag)
    app.get("/")(decorate(lambda: Response(headers={"Content-Encoding": "br"})))
    assert fetch(app).get("ETag") == field
    assert fetch(app, headers={"If-None-Match": field}).status == 304


def test_etag_gets_the_arguments_of_the_view(app: NoCacheFlask) -> None:
    decorate = declare(etag=lambda id, kind: f"{kind}-{id}")
    app.get("/<kind>/<int:id>")(decorate(lambda id, kind: "x"))
    assert fetch(app, "/a/7").get("ETag") == '"a-7"'


@pytest.mark.parametrize("tag", [7, b"1", 'a"b', "a b", "a\r\nb", "ä", '"1"', 'W/"1'])
@pytest.mark.parametrize(("etag", "function"), FORMS)
def test_invalid_etag_is_a_500(
    app: NoCacheFlask, tag: t.Any, etag: str, function: str
) -> None:
    recorder = Recorder(tag)
    app.get("/")(declare(etag=getattr(recorder, etag))(getattr(recorder, function)))
    response = fetch(app)
    assert_not_stored(response)
    assert response.status == 500
    assert recorder.calls == ["etag"]


def test_etag_function_that_raises_fails_as_a_view_does(app: NoCacheFlask) -> None:
    def etag() -> str:
        raise LookupError

    app.errorhandler(LookupError)(lambda error: ("gone", 410))
    app.get("/")(declare(etag=etag)(view))
    response = fetch(app, headers={"If-None-Match": "*"})
    assert_not_stored(response)
    assert (response.status, response.body) == (410, b"gone")


def test_etag_must_be_a_function() -> None:
    with pytest.raises(TypeError, match="^cacheable: etag must be a function"):
        declare(etag="1")


def test_etag_function_is_not_called_for_a_write(app: NoCacheFlask) -> None:
    recorder = add_recorder("/", app)
    assert_not_stored(fetch(app, "/", "POST", headers={"If-None-Match": '"1"'}))
    assert recorder.calls == ["view"]


def test_etag_function_is_not_called_within_a_request(app: NoCacheFlask) -> None:
    recorder = add_recorder("/", app)
    headers = {"If-None-Match": '"1"'}
    app.get("/out")(lambda: app.test_client().get("/", headers=headers).data)
    app.add_url_rule("/call", "call", lambda: app.view_functions["page"]())
    assert fetch(app, "/call", headers=headers).body == b"x"
    assert recorder.calls == ["view"]
    assert fetch(app, "/out").status == 200


def test_etag_function_is_not_called_after_a_nocache(app: NoCacheFlask) -> None:
    recorder = add_recorder("/", app)
    app.before_request(nocache(lambda: None))
    response = fetch(app, headers={"If-None-Match": '"1"'})
    assert_not_stored(response)
    assert (response.status, recorder.calls) == (200, ["view"])


@pytest.mark.parametrize("name", ["If-Match", "If-Unmodified-Since"])
def test_etag_leaves_other_conditions_to_the_view(app: NoCacheFlask, name: str) -> None:
    recorder = add_recorder("/", app)
    fetch(app, headers={"If-None-Match": '"1"', name: '"0"'})
    assert recorder.calls == ["etag", "view"]


@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/1.1"])
def test_early_304_may_be_stored_by_any_client(
    app: NoCacheFlask, protocol: str
) -> None:
    add_recorder("/", app)
    environ = {"SERVER_PROTOCOL": protocol, "HTTP_IF_NONE_MATCH": '"1"'}
    response = fetch(app, environ_overrides=environ)
    assert (response.status, response.get("Cache-Control")) == (
        304,
        "private, max-age=60",
    )


def set_cookie(response: Response) -> Response:
    response.set_cookie("a", "b")
    return response


def vary_by_cookie(response: Response) -> Response:
    response.vary.add("Cookie")
    return response


def rebuild(response: Response) -> Response:
    return Response(status=response.status)


def assert_no_store_304(response: WireResponse) -> None:
    assert (response.status, response.body) == (304, b"")
    assert sorted(read_by_caches(response.headers)) == sorted(NO_STORE)


@pytest.mark.parametrize("hook", [set_cookie, vary_by_cookie, rebuild])
def test_early_304_with_a_cookie_is_no_store(app: NoCacheFlask, hook: t.Any) -> None:
    recorder = add_recorder("/", app, public=True)
    app.after_request(hook)
    assert_no_store_304(fetch(app, headers={"If-None-Match": '"1"'}))
    assert recorder.calls == ["etag"]
    assert_not_stored(fetch(app))


def test_early_304_with_credentials_is_no_store(app: NoCacheFlask) -> None:
    add_recorder("/", app, public=True)
    headers = {"If-None-Match": '"1"', "Authorization": "Basic eDp5"}
    assert_no_store_304(fetch(app, headers=headers))


def test_early_304_reaches_the_decorators_above(app: NoCacheFlask) -> None:
    values = []

    def look(decorated: t.Any) -> t.Any:
        def wrapper() -> t.Any:
            values.append(decorated())
            return values[-1]

        wrapper.__dict__.update(vars(decorated))
        return wrapper

    app.get("/", endpoint="x")(look(declare(etag=lambda: "1")(view)))
    response = fetch(app, headers={"If-None-Match": '"1"'})
    assert (response.status, response.get("Cache-Control")) == (
        304,
        "private, max-age=60",
    )
    [value] = values
    assert isinstance(value, Response)
    assert value.status_code == 304


def test_304_of_the_view_is_still_a_500(app: NoCacheFlask) -> None:
    decorate = declare(etag=lambda: "1")
    app.get("/")(decorate(lambda: Response(status=304)))
    assert fetch(app, headers={"If-None-Match": '"0"'}).status == 500


def test_etag_function_is_not_called_without_a_guard() -> None:
    bare = Flask("bare")
    recorder = Recorder()
    bare.get("/")(declare(etag=recorder.etag)(recorder.view))
    assert fetch(bare, headers={"If-None-Match": '"1"'}).status == 200
    assert recorder.calls == ["view"]


def test_etag_is_listed(app: NoCacheFlask) -> None:
    add_recorder("/", app, vary=["Origin"])
    assert policy(app, "page") == "private, max-age=60; Vary: Origin; ETag"


@pytest.mark.parametrize("hook", [None, set_cookie, rebuild])
def test_early_304_is_no_finding_on_the_wire(app: NoCacheFlask, hook: t.Any) -> None:
    app.get("/")(declare(etag=lambda: "1", public=True, vary=["Origin"])(view))
    if hook is not None:
        app.after_request(hook)
    assert "NC008" not in {f.id for f in drive(app)}


def test_etag_of_a_view_class(app: NoCacheFlask) -> None:
    recorder = Recorder()

    class Items(MethodView):
        decorators: t.ClassVar = [declare(etag=recorder.etag)]

        def get(self, id: int) -> str:
            return recorder.view()  # type: ignore[no-any-return]

    app.add_url_rule("/<int:id>", view_func=Items.as_view("items"))
    assert fetch(app, "/7", headers={"If-None-Match": '"1"'}).status == 304
    assert recorder.calls == ["etag"]


# a declaration in a variable


def test_declaration_in_a_variable_is_a_profile(app: NoCacheFlask) -> None:
    hourly: t.Any = declare(max_age=3600, etag=lambda: "1", vary=["Origin"])
    first, second = hourly(lambda: "1"), hourly(lambda: "2")
    app.get("/1", endpoint="first")(first)
    app.get("/2", endpoint="second")(second)
    for path, body in (("/1", b"1"), ("/2", b"2")):
        response = fetch(app, path)
        assert (response.body, response.get("ETag")) == (body, '"1"')
        assert response.get("Cache-Control") == "private, max-age=3600"
        assert fetch(app, path, headers={"If-None-Match": '"1"'}).status == 304
    text = "private, max-age=3600; Vary: Origin; ETag"
    assert policy(app, "first") == policy(app, "second") == text
