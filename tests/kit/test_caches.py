"""NC009: what the caching decorators leave behind, each as it is installed."""

from __future__ import annotations

import functools
import importlib
import typing as t
from pathlib import Path

import pytest
from cachelib import SimpleCache
from flask import Flask
from flask.views import MethodView
from flask_caching import Cache
from flask_restful import Api as RestfulApi
from flask_restful import Resource as RestfulResource
from flask_restx import Api as RestxApi
from flask_restx import Resource as RestxResource
from nocache import ApiBlueprint
from nocache import audit_app
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from nocache.audit.caches import LIBRARIES
from nocache.audit.caches import server_caches
from nocache.audit.policy_file import write_policy_file

Decorator = t.Callable[[t.Any], t.Any]
CACHE = Cache(config={"CACHE_TYPE": "SimpleCache"})
STORE = SimpleCache()


def installed(name: str) -> t.Any:
    return importlib.import_module(name)


def beaker() -> Decorator:
    manager = installed("beaker.cache").CacheManager(**{"cache.type": "memory"})
    decorate: Decorator = manager.cache("views", expire=60)
    return decorate


def dogpile(name: str) -> Decorator:
    region = installed("dogpile.cache").make_region().configure("dogpile.cache.memory")
    decorate: Decorator = getattr(region, name)()
    return decorate


def joblib() -> Decorator:
    decorate: Decorator = installed("joblib").Memory(None, verbose=0).cache
    return decorate


def joblib_on_disk() -> Decorator:
    decorate: Decorator = installed("joblib").Memory("kept", verbose=0).cache
    return decorate


def diskcache(name: str) -> Decorator:
    module = installed("diskcache")
    if name == "memoize":
        decorate: Decorator = module.Cache("kept").memoize()
        return decorate
    stampede: Decorator = module.memoize_stampede(module.Cache("kept"), expire=60)
    return stampede


DECORATORS: dict[str, tuple[str, t.Callable[[], Decorator]]] = {
    "functools.cache": ("functools.cache", lambda: functools.cache),
    "functools.lru_cache": ("functools.cache", lambda: functools.lru_cache(9)),
    "cached": ("Flask-Caching", lambda: CACHE.cached(timeout=60)),
    "memoize": ("Flask-Caching", lambda: CACHE.memoize(60)),
    "cachetools.cached": ("cachetools", lambda: installed("cachetools").cached({})),
    "cachetools.cached with info": (
        "cachetools",
        lambda: installed("cachetools").cached(
            installed("cachetools").TTLCache(9, 60), info=True
        ),
    ),
    "cachetools.func": ("cachetools", lambda: installed("cachetools.func").ttl_cache()),
    "cache_on_arguments": ("dogpile.cache", lambda: dogpile("cache_on_arguments")),
    "cache_multi_on_arguments": (
        "dogpile.cache",
        lambda: dogpile("cache_multi_on_arguments"),
    ),
    "joblib": ("joblib", joblib_on_disk),
    "diskcache": ("diskcache", lambda: diskcache("memoize")),
    "memoize_stampede": ("diskcache", lambda: diskcache("memoize_stampede")),
    "aiocache": ("aiocache", lambda: installed("aiocache").cached()),
    "async_lru": ("async_lru", lambda: installed("async_lru").alru_cache),
    "ring": ("ring", lambda: installed("ring").lru()),
    "beaker": ("Beaker", beaker),
    "boltons": (
        "boltons",
        lambda: installed("boltons.cacheutils").cached(
            installed("boltons.cacheutils").LRU()
        ),
    ),
    "toolz": ("toolz", lambda: installed("toolz").memoize),
}
# seen once by hand, and too much to lock: the module and the name of what they leave
SEEN = {
    "cacheout": (
        "cacheout.cache",
        "Cache.memoize.<locals>.decorator.<locals>.decorated",
    ),
    "cachier": (
        "cachier.core",
        "cachier.<locals>._cachier_decorator.<locals>.func_wrapper",
    ),
    "memoization": (
        "memoization.caching.plain_cache",
        "get_caching_wrapper.<locals>.wrapper",
    ),
    "percache": ("percache", "Cache.__call__.<locals>.wrapper"),
    "redis_cache": ("redis_cache", "CacheDecorator.__call__.<locals>.inner"),
    "theine": ("theine.theine", "Wrapper.<locals>.fetch"),
    "walrus": ("walrus.cache", "Cache.cached.<locals>.decorator.<locals>.inner"),
    # the forerunner of Flask-Caching, and the faster toolz
    "Flask-Cache": (
        "flask_cache",
        "Cache.cached.<locals>.decorator.<locals>.decorated_function",
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # an app whose name is no module belongs to the working directory
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def app() -> NoCacheFlask:
    return NoCacheFlask("kit_app")


def fresh() -> t.Any:
    """Return a view that no other test has decorated."""

    def view() -> str:
        return "view"

    return view


def awaited() -> t.Any:
    async def view() -> str:
        return "view"

    return view


def view_for(name: str) -> t.Any:
    return awaited() if name in ("aiocache", "async_lru") else fresh()


def unwrapped(view: t.Any) -> t.Any:
    return lambda *args, **kwargs: view(*args, **kwargs)


def found(app: Flask) -> list[str]:
    write_policy_file(app)
    return [f.message for f in audit_app(app) if f.id == "NC009"]


def test_every_library_is_tried() -> None:
    tried = {library for library, _ in DECORATORS.values()} | SEEN.keys()

    assert {library for library, _ in LIBRARIES.values()} == tried


@pytest.mark.parametrize("name", DECORATORS)
def test_nc009(app: NoCacheFlask, name: str) -> None:
    library, make = DECORATORS[name]
    cached = make()(view_for(name))

    for number, view in enumerate(
        [cached, functools.wraps(cached)(unwrapped(cached)), unwrapped(cached)]
    ):
        app.add_url_rule(f"/{number}", f"page{number}", nocache(view))

    assert found(app) == [
        f"'page{number}' is no-store, but {library} stores its responses in the server."
        for number in range(3)
    ]


@pytest.mark.parametrize("library", SEEN)
def test_nc009_by_what_was_seen(library: str) -> None:
    module, qualname = SEEN[library]
    names: dict[str, t.Any] = {"__name__": module}
    exec("def wrapper(*args, **kwargs): ...", names)
    wrapper = names["wrapper"]
    wrapper.__code__ = wrapper.__code__.replace(co_qualname=qualname)
    wrapper.__wrapped__ = fresh()

    assert server_caches(wrapper) == [library]


@pytest.mark.parametrize("name", DECORATORS)
def test_nc009_on_a_method_of_a_view_class(app: NoCacheFlask, name: str) -> None:
    library, make = DECORATORS[name]

    class Page(MethodView):
        get = make()(view_for(name))

        def post(self) -> str:
            return "page"

    app.add_url_rule("/", view_func=nocache(Page.as_view("page")), methods=["GET"])
    app.add_url_rule("/new", view_func=nocache(Page.as_view("new")), methods=["POST"])

    (message,) = found(app)
    assert message.startswith("'page'") and library in message


@pytest.mark.parametrize(
    ("api", "resource"),
    [(RestxApi, RestxResource), (RestfulApi, RestfulResource)],
    ids=["restx", "restful"],
)
@pytest.mark.parametrize("where", ["method", "method_decorators", "by method"])
def test_nc009_on_a_resource(
    app: NoCacheFlask, api: t.Any, resource: t.Any, where: str
) -> None:
    decorator = CACHE.cached(timeout=60)
    names: dict[str, t.Any] = {"get": lambda self: {}}
    if where == "method":
        names["get"] = decorator(names["get"])
    else:
        by_method = {"get": [decorator]}
        names["method_decorators"] = by_method if "by" in where else [decorator]
    bp = ApiBlueprint("api", __name__, url_prefix="/api")
    api(bp).add_resource(type("Items", (resource,), names), "/items")
    app.register_blueprint(bp)

    (message,) = found(app)
    assert (
        message
        == "'api.items' is no-store, but Flask-Caching stores its responses in the server."
    )


def test_nc009_decorators_of_a_view_class(app: NoCacheFlask) -> None:
    class Page(MethodView):
        decorators = [functools.cache, nocache]  # noqa: RUF012

        def get(self) -> str:
            return "page"

    app.add_url_rule("/", view_func=Page.as_view("page"))

    assert len(found(app)) == 1


def kept(view: t.Any) -> t.Any:
    """Decorate as Flask's documentation did, with a cache of Werkzeug's successor."""

    @functools.wraps(view)
    def inner(*args: t.Any, **kwargs: t.Any) -> t.Any:
        value = STORE.get("view")
        if value is not None:
            return value
        value = view(*args, **kwargs)
        STORE.set("view", value)
        return value

    return inner


def limited(view: t.Any) -> t.Any:
    """Count in the same cache, and keep no response there."""

    @functools.wraps(view)
    def inner(*args: t.Any, **kwargs: t.Any) -> t.Any:
        count = STORE.get("count") or 0
        STORE.set("count", count + 1)
        return view(*args, **kwargs)

    return inner


def test_nc009_decorator_of_ones_own(app: NoCacheFlask) -> None:
    app.get("/", endpoint="page")(nocache(kept(fresh())))
    app.get("/limited", endpoint="limited")(nocache(limited(fresh())))

    (message,) = found(app)
    assert message.startswith("'page' is no-store, but cachelib")


def reading(load: t.Any) -> t.Any:
    def view() -> t.Any:
        return load()

    return view


@pytest.mark.parametrize("decorate", [functools.cache, CACHE.memoize(60)])
def test_nc009_cached_data_noop(app: NoCacheFlask, decorate: Decorator) -> None:
    app.get("/", endpoint="page")(nocache(reading(decorate(fresh()))))

    assert found(app) == []


def test_nc009_other_decorators_noop(app: NoCacheFlask) -> None:
    throttled = installed("diskcache").throttle(installed("diskcache").Cache("k"), 1, 1)
    app.get("/a", endpoint="a")(nocache(throttled(fresh())))
    app.get("/b", endpoint="b")(nocache(functools.partial(fresh())))
    app.get("/c", endpoint="c")(nocache(installed("toolz").curry(fresh())))
    app.get("/d", endpoint="d")(nocache(joblib()(fresh())))  # switched off

    assert [m for m in found(app) if not m.startswith("'d'")] == []


def test_nc009_cacheable_noop(app: NoCacheFlask) -> None:
    hour = cacheable(max_age=3600, reason="changes yearly; #412")
    app.get("/", endpoint="page")(hour(functools.cache(fresh())))

    assert found(app) == []
