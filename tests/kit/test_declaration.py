"""Everything that @cacheable can say, on the wire and in the list of routes."""

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

from .wsgi import Answer
from .wsgi import answer
from .wsgi import assert_not_stored
from .wsgi import guarded
from .wsgi import NO_STORE
from .wsgi import read_by_caches


@pytest.fixture
def app(tmp_path: Path) -> NoCacheFlask:
    return guarded(tmp_path)


def declared(**arguments: t.Any) -> t.Any:
    minimum: dict[str, t.Any] = {"max_age": 60, "reason": "tested"}
    return cacheable(**minimum | arguments)


def policy(app: Flask, endpoint: str) -> str:
    [found] = {r.policy for r in routes(app) if r.endpoint == endpoint}
    return found


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
        # no-cache would keep the shared cache from what s-maxage allows it
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
    app.get("/")(declared(**arguments)(view))

    assert answer(app).get("Cache-Control") == text
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
def test_contradictions_raise_where_they_are_written(
    arguments: dict[str, t.Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^cacheable: {message}"):
        declared(**arguments)


# vary


@pytest.mark.parametrize(
    ("set_by_view", "vary", "sent"),
    [
        ([], ["Accept-Language"], "Accept-Language"),
        ([], ("accept", "Origin", "Accept"), "accept, Origin"),
        (["Origin"], ["Accept-Language"], "Origin, Accept-Language"),
        (["accept-language"], ["Accept-Language"], "accept-language"),
        (["Origin,  Accept", "X-Own"], ["accept"], "Origin, Accept, X-Own"),
        (["Origin"], [], "Origin"),
    ],
)
def test_vary_is_merged_with_that_of_the_view(
    app: NoCacheFlask, set_by_view: list[str], vary: t.Any, sent: str
) -> None:
    for public in (True, False):
        decorate = declared(vary=vary, public=public)
        app.add_url_rule(f"/{public}", f"{public}", decorate(varying(*set_by_view)))
    for public in (True, False) * 2:  # what is known of a spelling spares no merge
        got = answer(app, f"/{public}")
        assert got.get("Vary") == sent
        assert "max-age=60" in str(got.get("Cache-Control"))
        assert "no-store" not in str(got.get("Cache-Control"))


def test_vary_is_listed(app: NoCacheFlask) -> None:
    app.get("/")(declared(vary=["Accept-Language", "Origin"])(view))
    assert policy(app, "view") == "private, max-age=60; Vary: Accept-Language, Origin"


def test_vary_stays_on_a_304(app: NoCacheFlask) -> None:
    app.get("/")(declared(vary=["Origin"])(lambda: Response(headers={"ETag": '"1"'})))
    got = answer(app, headers={"If-None-Match": '"1"'})
    assert (got.status, got.get("Vary")) == (304, "Origin")


def test_vary_may_name_the_cookie_of_a_private_response(app: NoCacheFlask) -> None:
    app.get("/")(declared(vary=["Cookie"])(view))
    assert answer(app).get("Vary") == "Cookie"
    assert answer(app).get("Cache-Control") == "private, max-age=60"


def test_vary_of_the_view_still_closes_a_public_response(app: NoCacheFlask) -> None:
    app.get("/")(declared(vary=["Origin"], public=True)(varying("Cookie")))
    for _ in range(2):
        assert_not_stored(answer(app))


def test_vary_is_left_out_of_what_is_not_stored(app: NoCacheFlask) -> None:
    app.get("/")(declared(vary=["Origin"])(lambda: ("x", 404)))
    got = answer(app)
    assert_not_stored(got)
    assert got.get("Vary") is None


# etag: asked before the view


class Asked:
    """A view and the function of its ETag, which note that they ran."""

    def __init__(self, tag: t.Any = "1") -> None:
        self.tag = tag
        self.ran: list[str] = []

    def etag(self, **arguments: t.Any) -> t.Any:
        self.ran.append("etag")
        return self.tag

    def view(self, **arguments: t.Any) -> t.Any:
        self.ran.append("view")
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


def asked_at(
    path: str, app: NoCacheFlask, tag: t.Any = "1", **arguments: t.Any
) -> Asked:
    asked = Asked(tag)
    decorate = declared(etag=asked.etag, **arguments)
    app.add_url_rule(path, "asked", decorate(asked.view), methods=["GET", "POST"])
    return asked


@pytest.mark.parametrize(("etag", "function"), FORMS)
def test_unchanged_etag_spares_the_view(
    app: NoCacheFlask, etag: str, function: str
) -> None:
    asked = Asked()
    decorate = declared(etag=getattr(asked, etag), vary=["Origin"])
    app.add_url_rule("/<int:id>", "asked", decorate(getattr(asked, function)))

    first = answer(app, "/7")
    assert (first.status, first.get("ETag"), first.body) == (200, '"1"', b"x")
    assert asked.ran == ["etag", "view"]

    asked.ran.clear()
    for method in ("GET", "HEAD"):
        got = answer(app, "/7", method, headers={"If-None-Match": '"1"'})
        assert (got.status, got.body) == (304, b"")
        assert got.get("ETag") == '"1"'
        assert got.get("Cache-Control") == "private, max-age=60"
        assert got.get("Vary") == "Origin"
        assert got.get("Content-Type") is None
    assert asked.ran == ["etag", "etag"]

    asked.tag = "2"
    got = answer(app, "/7", headers={"If-None-Match": '"1"'})
    assert (got.status, got.get("ETag"), got.body) == (200, '"2"', b"x")


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
    asked = asked_at("/", app, tag)
    got = answer(app, headers={"If-None-Match": condition})
    assert got.status == status
    assert ("view" in asked.ran) is (status == 200)


def test_etag_is_not_compared_with_a_date(app: NoCacheFlask) -> None:
    asked_at("/", app)
    date = "Fri, 31 Dec 2100 23:59:59 GMT"
    assert answer(app, headers={"If-Modified-Since": date}).status == 200


def test_etag_of_none_leaves_the_response_without(app: NoCacheFlask) -> None:
    asked_at("/", app, None)
    got = answer(app)
    assert (got.get("ETag"), got.get("Cache-Control")) == (None, "private, max-age=60")


def test_etag_that_the_view_sets_stays(app: NoCacheFlask) -> None:
    decorate = declared(etag=lambda: "1")
    app.get("/")(decorate(lambda: Response(headers={"ETag": '"own"'})))
    assert answer(app).get("ETag") == '"own"'


@pytest.mark.parametrize(("tag", "sent"), [("1", 'W/"1"'), ('W/"1"', 'W/"1"')])
def test_etag_of_an_encoded_response_is_weak(
    app: NoCacheFlask, tag: str, sent: str
) -> None:
    decorate = declared(etag=lambda: tag)
    app.get("/")(decorate(lambda: Response(headers={"Content-Encoding": "br"})))
    assert answer(app).get("ETag") == sent
    assert answer(app, headers={"If-None-Match": sent}).status == 304


def test_etag_gets_the_arguments_of_the_view(app: NoCacheFlask) -> None:
    decorate = declared(etag=lambda id, kind: f"{kind}-{id}")
    app.get("/<kind>/<int:id>")(decorate(lambda id, kind: "x"))
    assert answer(app, "/a/7").get("ETag") == '"a-7"'


@pytest.mark.parametrize("tag", [7, b"1", 'a"b', "a b", "a\r\nb", "ä", '"1"', 'W/"1'])
@pytest.mark.parametrize(("etag", "function"), FORMS)
def test_etag_that_is_none_is_a_500(
    app: NoCacheFlask, tag: t.Any, etag: str, function: str
) -> None:
    asked = Asked(tag)
    app.get("/")(declared(etag=getattr(asked, etag))(getattr(asked, function)))
    got = answer(app)
    assert_not_stored(got)
    assert got.status == 500
    assert asked.ran == ["etag"]


def test_etag_that_raises_fails_as_the_view_does(app: NoCacheFlask) -> None:
    def etag() -> str:
        raise LookupError

    app.errorhandler(LookupError)(lambda error: ("gone", 410))
    app.get("/")(declared(etag=etag)(view))
    got = answer(app, headers={"If-None-Match": "*"})
    assert_not_stored(got)
    assert (got.status, got.body) == (410, b"gone")


def test_etag_must_be_a_function() -> None:
    with pytest.raises(TypeError, match="^cacheable: etag must be a function"):
        declared(etag="1")


def test_etag_is_not_asked_for_a_write(app: NoCacheFlask) -> None:
    asked = asked_at("/", app)
    assert_not_stored(answer(app, "/", "POST", headers={"If-None-Match": '"1"'}))
    assert asked.ran == ["view"]


def test_etag_is_not_asked_within_a_request(app: NoCacheFlask) -> None:
    asked = asked_at("/", app)
    inside = {"If-None-Match": '"1"'}
    app.get("/out")(lambda: app.test_client().get("/", headers=inside).data)
    app.add_url_rule("/call", "call", lambda: app.view_functions["asked"]())
    assert answer(app, "/call", headers=inside).body == b"x"
    assert asked.ran == ["view"]
    assert answer(app, "/out").status == 200


def test_etag_is_not_asked_where_nothing_may_be_stored(app: NoCacheFlask) -> None:
    asked = asked_at("/", app)
    app.before_request(nocache(lambda: None))
    got = answer(app, headers={"If-None-Match": '"1"'})
    assert_not_stored(got)
    assert (got.status, asked.ran) == (200, ["view"])


@pytest.mark.parametrize("name", ["If-Match", "If-Unmodified-Since"])
def test_etag_leaves_other_conditions_to_the_view(app: NoCacheFlask, name: str) -> None:
    asked = asked_at("/", app)
    answer(app, headers={"If-None-Match": '"1"', name: '"0"'})
    assert asked.ran == ["etag", "view"]


@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/1.1"])
def test_spared_304_may_be_stored_by_any_client(
    app: NoCacheFlask, protocol: str
) -> None:
    asked_at("/", app)
    environ = {"SERVER_PROTOCOL": protocol, "HTTP_IF_NONE_MATCH": '"1"'}
    got = answer(app, environ_overrides=environ)
    assert (got.status, got.get("Cache-Control")) == (304, "private, max-age=60")


def set_cookie(response: Response) -> Response:
    response.set_cookie("a", "b")
    return response


def vary_by_cookie(response: Response) -> Response:
    response.vary.add("Cookie")
    return response


def rebuild(response: Response) -> Response:
    return Response(status=response.status)


def assert_spared_but_not_stored(got: Answer) -> None:
    assert (got.status, got.body) == (304, b"")
    assert sorted(read_by_caches(got.headers)) == sorted(NO_STORE)


@pytest.mark.parametrize("hook", [set_cookie, vary_by_cookie, rebuild])
def test_spared_304_that_may_not_be_stored_is_no_store(
    app: NoCacheFlask, hook: t.Any
) -> None:
    asked = asked_at("/", app, public=True)
    app.after_request(hook)
    assert_spared_but_not_stored(answer(app, headers={"If-None-Match": '"1"'}))
    assert asked.ran == ["etag"]
    assert_not_stored(answer(app))


def test_spared_304_with_credentials_is_no_store(app: NoCacheFlask) -> None:
    asked_at("/", app, public=True)
    headers = {"If-None-Match": '"1"', "Authorization": "Basic eDp5"}
    assert_spared_but_not_stored(answer(app, headers=headers))


def test_spared_304_reaches_the_decorators_above(app: NoCacheFlask) -> None:
    seen = []

    def look(decorated: t.Any) -> t.Any:
        def wrapper() -> t.Any:
            seen.append(decorated())
            return seen[-1]

        wrapper.__dict__.update(vars(decorated))
        return wrapper

    app.get("/", endpoint="x")(look(declared(etag=lambda: "1")(view)))
    got = answer(app, headers={"If-None-Match": '"1"'})
    assert (got.status, got.get("Cache-Control")) == (304, "private, max-age=60")
    [response] = seen
    assert isinstance(response, Response)
    assert response.status_code == 304


def test_unasked_304_is_still_a_500(app: NoCacheFlask) -> None:
    decorate = declared(etag=lambda: "1")
    app.get("/")(decorate(lambda: Response(status=304)))
    assert answer(app, headers={"If-None-Match": '"0"'}).status == 500


def test_etag_asks_nothing_without_a_guard() -> None:
    bare = Flask("bare")
    asked = Asked()
    bare.get("/")(declared(etag=asked.etag)(asked.view))
    assert answer(bare, headers={"If-None-Match": '"1"'}).status == 200
    assert asked.ran == ["view"]


def test_etag_is_listed(app: NoCacheFlask) -> None:
    asked_at("/", app, vary=["Origin"])
    assert policy(app, "asked") == "private, max-age=60; Vary: Origin; ETag"


@pytest.mark.parametrize("hook", [None, set_cookie, rebuild])
def test_spared_304_is_not_storable(app: NoCacheFlask, hook: t.Any) -> None:
    app.get("/")(declared(etag=lambda: "1", public=True, vary=["Origin"])(view))
    if hook is not None:
        app.after_request(hook)
    assert "NC008" not in {f.id for f in drive(app)}


def test_etag_of_a_view_class(app: NoCacheFlask) -> None:
    asked = Asked()

    class Items(MethodView):
        decorators: t.ClassVar = [declared(etag=asked.etag)]

        def get(self, id: int) -> str:
            return asked.view()  # type: ignore[no-any-return]

    app.add_url_rule("/<int:id>", view_func=Items.as_view("items"))
    assert answer(app, "/7", headers={"If-None-Match": '"1"'}).status == 304
    assert asked.ran == ["etag"]


# a declaration in a variable


def test_declaration_in_a_variable_is_a_profile(app: NoCacheFlask) -> None:
    hourly: t.Any = declared(max_age=3600, etag=lambda: "1", vary=["Origin"])
    first, second = hourly(lambda: "1"), hourly(lambda: "2")
    app.get("/1", endpoint="first")(first)
    app.get("/2", endpoint="second")(second)
    for path, body in (("/1", b"1"), ("/2", b"2")):
        got = answer(app, path)
        assert (got.body, got.get("ETag")) == (body, '"1"')
        assert got.get("Cache-Control") == "private, max-age=3600"
        assert answer(app, path, headers={"If-None-Match": '"1"'}).status == 304
    listed = "private, max-age=3600; Vary: Origin; ETag"
    assert policy(app, "first") == policy(app, "second") == listed
