from __future__ import annotations

import functools
import inspect
import itertools
import tracemalloc
import typing as t
from collections.abc import Callable
from collections.abc import Iterator

import pytest
from flask import abort
from flask import Blueprint
from flask import Flask
from flask import request
from flask import Response
from flask.views import MethodView
from flask.views import View
from nocache import ApiBlueprint
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from nocache import routes

from .wsgi import assert_not_stored
from .wsgi import CONDITIONS
from .wsgi import fetch
from .wsgi import put_inside
from .wsgi import read_by_caches

minute: t.Any = cacheable(max_age=60, reason="x")
DECORATORS = {
    "nocache": nocache,
    "nocache-call": nocache(),
    "nocache-etag": nocache(etag=True),
    "cacheable": minute,
}


@pytest.fixture
def bare() -> Flask:
    """A Flask app without the guard, as most are."""
    app = Flask("bare")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    return app


def policy(app: Flask, endpoint: str = "page") -> str:
    """Return the policy of an endpoint in the list of routes."""
    [text] = {r.policy for r in routes(app) if r.endpoint == endpoint}
    return text


@pytest.mark.parametrize(
    ("arguments", "error", "culprit"),
    [
        ({"max_age": -1, "reason": "x"}, ValueError, "max_age"),
        ({"max_age": 2**31 + 1, "reason": "x"}, ValueError, "max_age"),
        ({"max_age": 1.5, "reason": "x"}, TypeError, "max_age"),
        ({"max_age": True, "reason": "x"}, TypeError, "max_age"),
        ({"max_age": 1, "public": "yes", "reason": "x"}, TypeError, "public"),
        ({"max_age": 1, "reason": " \n"}, ValueError, "reason"),
        ({"max_age": 1, "reason": None}, TypeError, "reason"),
        ({"max_age": 1}, TypeError, "reason"),
        ({"reason": "x"}, TypeError, "max_age"),
    ],
)
def test_cacheable_refuses_bad_arguments(
    arguments: dict[str, t.Any], error: type[Exception], culprit: str
) -> None:
    with pytest.raises(error, match=culprit):
        cacheable(**arguments)


def test_cacheable_takes_no_positional_arguments() -> None:
    with pytest.raises(TypeError, match="positional"):
        t.cast("t.Any", cacheable)(60, True, "x")


def test_reason_is_listed_on_one_line(app: NoCacheFlask) -> None:
    once: t.Any = cacheable(max_age=1, reason=" one\n  two ")
    app.add_url_rule("/", "page", once(lambda: "x"))

    assert {r.reason for r in routes(app) if r.endpoint == "page"} == {"one two"}


class Page(MethodView):
    def get(self) -> str:
        return "x"


@pytest.mark.parametrize("decorator", ["nocache-call", "nocache-etag", "cacheable"])
@pytest.mark.parametrize("target", [Page, 1, "x", None, ("x", 200)], ids=repr)
def test_declaration_refuses_other_objects_than_views(
    decorator: str, target: t.Any
) -> None:
    with pytest.raises(TypeError, match="'decorators'|expected a view function"):
        DECORATORS[decorator](target)


def test_class_is_refused_with_a_hint() -> None:
    with pytest.raises(TypeError, match="'Page' is a class.* 'decorators'"):
        nocache(Page)


# every form of view


def functions() -> dict[str, t.Any]:
    """Return new functions, because a declaration marks them."""

    def function(id: int, *, part: str = "all") -> str:
        """Show a page."""
        return f"{id}"

    async def coroutine(id: int, *, part: str = "all") -> str:
        """Show a page."""
        return f"{id}"

    def generator(id: int, *, part: str = "all") -> Iterator[str]:
        """Show a page."""
        yield f"{id}"

    return {f.__name__: f for f in (function, coroutine, generator)}


class Thing:
    def __call__(self, id: int, *, part: str = "all") -> str:
        """Show a page."""
        return f"{id}"

    method = __call__


class Item(MethodView):
    def get(self, id: int) -> str:
        return f"{id}"


class AsyncItem(MethodView):
    async def get(self, id: int) -> str:
        return f"{id}"


def as_view(decorator: t.Any, view_class: type[View]) -> t.Any:
    decorated = type("Item", (view_class,), {"decorators": [decorator]})
    return t.cast("type[View]", decorated).as_view("page")


FORMS: dict[str, Callable[[t.Any], t.Any]] = {
    "function": lambda decorator: decorator(functions()["function"]),
    "coroutine": lambda decorator: decorator(functions()["coroutine"]),
    "generator": lambda decorator: decorator(functions()["generator"]),
    "lambda": lambda decorator: decorator(lambda id: f"{id}"),
    "partial": lambda decorator: decorator(
        functools.partial(functions()["function"], part="x")
    ),
    "partial-coroutine": lambda d: d(
        functools.partial(functions()["coroutine"], part="x")
    ),
    "callable-object": lambda decorator: decorator(Thing()),
    "bound-method": lambda decorator: decorator(Thing().method),
    "view-class": lambda decorator: as_view(decorator, Item),
    "async-view-class": lambda decorator: as_view(decorator, AsyncItem),
    "as-view": lambda decorator: decorator(Item.as_view("page")),
}


@pytest.mark.parametrize("register", ["route", "add_url_rule", "view_functions"])
@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("form", FORMS)
def test_declaration_reaches_the_wire_and_the_list(
    app: NoCacheFlask, form: str, decorator: str, register: str
) -> None:
    view = FORMS[form](DECORATORS[decorator])
    if register == "route":
        app.get("/<int:id>", endpoint="page")(view)
    else:
        app.add_url_rule(
            "/<int:id>", "page", view if register != "view_functions" else None
        )
        app.view_functions["page"] = view

    response = fetch(app, "/7")

    assert (response.status, response.body) == (200, b"7")
    if decorator == "cacheable":
        assert policy(app) == response.get("Cache-Control") == "private, max-age=60"
    else:
        assert policy(app) == "no-store"
        assert_not_stored(response)


@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("kind", functions())
def test_declaration_keeps_name_signature_and_types(kind: str, decorator: str) -> None:
    view = functions()[kind]
    wrapper = DECORATORS[decorator](view)

    assert wrapper.__name__ == view.__name__
    assert wrapper.__module__ == view.__module__
    assert wrapper.__doc__ == view.__doc__
    assert inspect.signature(wrapper) == inspect.signature(view)
    assert t.get_type_hints(wrapper) == t.get_type_hints(view)
    assert inspect.iscoroutinefunction(wrapper) == inspect.iscoroutinefunction(view)


@pytest.mark.parametrize("decorator", DECORATORS)
def test_declaration_keeps_the_view_class(decorator: str) -> None:
    view: t.Any = as_view(DECORATORS[decorator], Item)

    assert issubclass(view.view_class, Item)
    assert view.methods == {"GET"}


@pytest.mark.parametrize("decorator", DECORATORS)
def test_declared_view_can_be_called_outside_of_requests(decorator: str) -> None:
    assert DECORATORS[decorator](functions()["function"])(7) == "7"


def test_declaration_lets_exceptions_through() -> None:
    def view() -> t.NoReturn:
        raise LookupError("x")

    for decorator in DECORATORS.values():
        with pytest.raises(LookupError):
            t.cast("t.Any", decorator)(view)()


# orders


def wraps(view: t.Any) -> t.Any:
    return functools.wraps(view)(lambda: view())


def hides(view: t.Any) -> t.Any:
    return lambda: view()


STACKED: dict[str, t.Any] = {
    "nocache": nocache,
    "etag": nocache(etag=True),
    "minute": minute,
    "hour": cacheable(max_age=3600, reason="x"),
    "wraps": wraps,
    "hides": hides,
}


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ("view", "undeclared"),
        ("nocache view", "no-store"),
        ("nocache nocache view", "no-store"),
        ("nocache etag view", "no-store"),
        ("wraps nocache view", "no-store"),
        ("nocache wraps view", "no-store"),
        ("nocache hides view", "no-store"),
        ("hides nocache view", "undeclared"),
        ("nocache route view", "no-store"),
        ("minute view", "private, max-age=60"),
        ("wraps minute view", "private, max-age=60"),
        ("minute wraps view", "private, max-age=60"),
        ("minute hides view", "private, max-age=60"),
        ("hides minute view", "undeclared"),
        ("minute route view", "undeclared"),
        ("nocache minute view", "no-store"),
        ("minute nocache view", "no-store"),
        ("nocache wraps minute view", "no-store"),
        ("minute wraps nocache view", "no-store"),
        ("nocache hides minute view", "no-store"),
        ("nocache route minute view", "no-store"),
        ("minute hour view", "private, max-age=3600"),
        ("minute minute view", "private, max-age=60"),
    ],
)
def test_order_of_declarations(app: NoCacheFlask, stack: str, expected: str) -> None:
    decorators = STACKED | {"route": app.get("/", endpoint="page")}
    if "route" not in stack:
        stack = f"route {stack}"
    view: t.Any = lambda: "x"  # noqa: E731
    for name in reversed(stack.split()[:-1]):
        view = decorators[name](view)

    response = fetch(app)

    assert policy(app) == expected
    if expected in {"undeclared", "no-store"}:
        assert_not_stored(response)
    else:
        assert response.get("Cache-Control") == expected


def test_cacheable_declares_one_route_of_a_function(app: NoCacheFlask) -> None:
    def page() -> str:
        return "x"

    app.add_url_rule("/open", "open", minute(page))
    app.add_url_rule("/page", "page", page)

    assert policy(app, "open") == "private, max-age=60"
    assert policy(app) == "undeclared"
    assert_not_stored(fetch(app, "/page"))


def test_nocache_declares_every_route_of_a_function(app: NoCacheFlask) -> None:
    def page() -> str:
        return "x"

    nocache(page)
    app.add_url_rule("/page", "page", page)

    assert policy(app) == "no-store"


# nocache on any Flask app


def raises(error: Exception | int | Response) -> t.Any:
    def view() -> t.NoReturn:
        if isinstance(error, Exception):
            raise error
        abort(error)

    return view


def read_conditions() -> None:
    """Read the conditions, which Flask then keeps for the view."""
    for name in ("if_none_match", "if_modified_since", "if_range", "range"):
        getattr(request, name)


HEADERS = {
    "Cache-Control": "public, max-age=600",
    "CDN-Cache-Control": "max-age=600",
    "ETag": '"1"',
    "Expires": "Thu, 31 Dec 2099 23:59:59 GMT",
    "Surrogate-Control": "max-age=600",
}
BARE: dict[str, tuple[t.Any, int]] = {
    "text": (lambda: "x", 200),
    "json": (lambda: {}, 200),
    "headers": (lambda: ("x", HEADERS), 200),
    "stream": (lambda: iter(["x"]), 200),
    "404": (lambda: ("x", 404), 404),
    "abort": (raises(404), 404),
    "abort-with-a-response": (raises(Response("x", 410, HEADERS)), 410),
    "exception": (raises(LookupError("x")), 500),
    "none": (lambda: None, 500),
    "conditional": (
        lambda: Response("x", headers=HEADERS).make_conditional(request),
        200,
    ),
    "conditional-by-hand": (
        lambda: ("x", 304 if request.if_none_match else 200),
        200,
    ),
}


@pytest.mark.parametrize("conditions", [{}, CONDITIONS], ids=["fresh", "conditional"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", BARE)
def test_nocache_protects_a_view_of_any_app(
    bare: Flask, form: str, method: str, conditions: dict[str, str]
) -> None:
    view, status = BARE[form]
    bare.before_request(read_conditions)
    bare.get("/")(nocache(view))

    response = fetch(bare, "/", method, headers=conditions)

    assert response.status == status
    assert_not_stored(response)


@pytest.mark.parametrize("form", FORMS)
def test_nocache_protects_every_form_of_view_of_any_app(bare: Flask, form: str) -> None:
    bare.add_url_rule("/<int:id>", "page", FORMS[form](nocache))

    response = fetch(bare, "/7")

    assert (response.status, response.body) == (200, b"7")
    assert_not_stored(response)


def test_nocache_does_not_change_other_views_of_any_app(bare: Flask) -> None:
    bare.add_url_rule("/one", "one", nocache(lambda: "x"))
    bare.add_url_rule("/other", "other", lambda: "x")

    assert_not_stored(fetch(bare, "/one"))
    assert read_by_caches(fetch(bare, "/other").headers) == []


def test_nocache_keeps_an_etag_in_any_app(bare: Flask) -> None:
    bare.get("/")(nocache(etag=True)(lambda: ("x", HEADERS)))

    assert_not_stored(fetch(bare), beside=[("ETag", '"1"')])


def test_nocache_lets_a_download_resume_in_any_app(bare: Flask) -> None:
    bare.get("/")(nocache(lambda: [str(request.range), str(request.if_range)]))
    headers = {"Range": "bytes=0-1", "If-Range": '"1"'}

    assert b"bytes=0-1" in fetch(bare, headers=headers).body


def test_nocache_twice_protects_once(bare: Flask) -> None:
    bare.get("/")(nocache(nocache(lambda: "x")))

    assert_not_stored(fetch(bare))


def test_cacheable_does_nothing_without_a_guard(bare: Flask) -> None:
    bare.get("/")(minute(lambda: "x"))

    assert read_by_caches(fetch(bare).headers) == []


def test_nocache_in_a_plain_app_mounted_in_a_guarded_one(
    app: NoCacheFlask, bare: Flask
) -> None:
    bare.get("/")(nocache(lambda: ("x", HEADERS)))
    put_inside(app, bare.wsgi_app)

    assert_not_stored(fetch(app))


def test_nocache_does_not_change_a_shared_response(bare: Flask) -> None:
    # another thread could send it between clear() and extend(), without any field
    shared = Response("x", headers=HEADERS)
    before = [*shared.headers]
    bare.get("/")(nocache(lambda: shared))

    assert_not_stored(fetch(bare))
    assert [*shared.headers] == before


# blueprints


def test_api_blueprint_refuses_an_app_without_the_guard(bare: Flask) -> None:
    with pytest.raises(RuntimeError, match="'api' cannot .* 'bare'.*NoCacheFlask"):
        bare.register_blueprint(ApiBlueprint("api", "x"))


def test_nested_api_blueprint_refuses_an_app_without_the_guard(bare: Flask) -> None:
    plain = Blueprint("plain", "x")
    plain.register_blueprint(ApiBlueprint("api", "x"))

    with pytest.raises(RuntimeError, match="'api' cannot"):
        bare.register_blueprint(plain)


def nest(app: Flask, *kinds: type[Blueprint]) -> None:
    """Register blueprints of these kinds, each in the one before it."""
    blueprints = [
        kind(f"bp{n}", "x", url_prefix=f"/{n}") for n, kind in enumerate(kinds)
    ]
    blueprints[-1].get("/", endpoint="page")(minute(lambda: "x"))
    for outer, inner in zip(blueprints, blueprints[1:], strict=False):
        outer.register_blueprint(inner)
    app.register_blueprint(blueprints[0])


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([Blueprint], "private, max-age=60"),
        ([Blueprint, Blueprint], "private, max-age=60"),
        ([ApiBlueprint], "no-store"),
        ([ApiBlueprint, Blueprint], "no-store"),
        ([Blueprint, ApiBlueprint], "no-store"),
        ([Blueprint, ApiBlueprint, Blueprint], "no-store"),
        ([ApiBlueprint, ApiBlueprint], "no-store"),
    ],
    ids=lambda p: "-in-".join(k.__name__ for k in p) if isinstance(p, list) else None,
)
def test_route_is_no_store_below_any_api_blueprint(
    app: NoCacheFlask, kinds: list[type[Blueprint]], expected: str
) -> None:
    nest(app, *kinds)
    endpoint = ".".join([*(f"bp{n}" for n in range(len(kinds))), "page"])

    response = fetch(app, "/" + "".join(f"{n}/" for n in range(len(kinds))))

    assert response.status == 200
    assert policy(app, endpoint) == expected
    if expected == "no-store":
        assert_not_stored(response)
    else:
        assert response.get("Cache-Control") == expected


def test_api_blueprint_registered_twice_is_no_store_twice(app: NoCacheFlask) -> None:
    bp = ApiBlueprint("api", "x")
    bp.get("/items", endpoint="page")(minute(lambda: "x"))
    app.register_blueprint(bp, url_prefix="/v1")
    app.register_blueprint(bp, url_prefix="/v2", name="again")

    for name, path in [("api", "/v1/items"), ("again", "/v2/items")]:
        assert policy(app, f"{name}.page") == "no-store"
        assert_not_stored(fetch(app, path))


def test_api_blueprint_is_a_blueprint_otherwise(app: NoCacheFlask) -> None:
    bp = ApiBlueprint("api", "x", url_prefix="/api")
    bp.get("/items/<int:id>")(functions()["function"])
    bp.errorhandler(404)(lambda e: ("gone", 404))
    app.register_blueprint(bp)

    assert fetch(app, "/api/items/7").body == b"7"
    assert fetch(app, "/api/items/7", "DELETE").status == 405


def test_memory_for_field_names_is_bounded(app: NoCacheFlask) -> None:
    numbers = itertools.count()
    app.get("/")(lambda: ("x", {f"X-{next(numbers)}": "1" for _ in range(1000)}))
    fetch(app)
    tracemalloc.start()
    try:
        fetch(app)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            assert_not_stored(fetch(app))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # five thousand names of 60 bytes and more
    assert after - before < 100_000
