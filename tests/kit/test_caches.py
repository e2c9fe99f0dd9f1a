"""NC009: caching decorators of libraries, each as it is installed."""

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


def load(name: str) -> t.Any:
    return importlib.import_module(name)


def beaker() -> Decorator:
    manager = load("beaker.cache").CacheManager(**{"cache.type": "memory"})
    decorate: Decorator = manager.cache("views", expire=60)
    return decorate


def dogpile(name: str) -> Decorator:
    region = load("dogpile.cache").make_region().configure("dogpile.cache.memory")
    decorate: Decorator = getattr(region, name)()
    return decorate


def joblib() -> Decorator:
    decorate: Decorator = load("joblib").Memory(None, verbose=0).cache
    return decorate


def joblib_on_disk() -> Decorator:
    decorate: Decorator = load("joblib").Memory("kept", verbose=0).cache
    return decorate


def diskcache(name: str) -> Decorator:
    module = load("diskcache")
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
    "cachetools.cached": ("cachetools", lambda: load("cachetools").cached({})),
    "cachetools.cached with info": (
        "cachetools",
        lambda: load("cachetools").cached(
            load("cachetools").TTLCache(9, 60), info=True
        ),
    ),
    "cachetools.func": ("cachetools", lambda: load("cachetools.func").ttl_cache()),
    "cache_on_arguments": ("dogpile.cache", lambda: dogpile("cache_on_arguments")),
    "cache_multi_on_arguments": (
        "dogpile.cache",
        lambda: dogpile("cache_multi_on_arguments"),
    ),
    "joblib": ("joblib", joblib_on_disk),
    "diskcache": ("diskcache", lambda: diskcache("memoize")),
    "memoize_stampede": ("diskcache", lambda: diskcache("memoize_stampede")),
    "aiocache": ("aiocache", lambda: load("aiocache").cached()),
    "async_lru": ("async_lru", lambda: load("async_lru").alru_cache),
    "methodtools": ("methodtools", lambda: load("methodtools").lru_cache()),
    "beaker": ("Beaker", beaker),
    "boltons": (
        "boltons",
        lambda: load("boltons.cacheutils").cached(load("boltons.cacheutils").LRU()),
    ),
    "toolz": ("toolz", lambda: load("toolz").memoize),
}
# not installed here: the module and the name of the wrapper, looked up by hand
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
    # the project of an app without a module is the working directory
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def app() -> NoCacheFlask:
    return NoCacheFlask("kit_app")


def fresh() -> t.Any:
    """Return a new view, because a decorator may mark the function."""

    def view() -> str:
        return "view"

    return view


def fresh_coroutine() -> t.Any:
    async def view() -> str:
        return "view"

    return view


def view_for(name: str) -> t.Any:
    return fresh_coroutine() if name in ("aiocache", "async_lru") else fresh()


def unwrapped(view: t.Any) -> t.Any:
    return lambda *args, **kwargs: view(*args, **kwargs)


def audit(app: Flask) -> list[str]:
    write_policy_file(app)
    return [f.message for f in audit_app(app) if f.id == "NC009"]


def test_every_library_has_a_case() -> None:
    libraries = {library for library, _ in DECORATORS.values()} | SEEN.keys()

    assert {library for library, _ in LIBRARIES.values()} == libraries


@pytest.mark.parametrize("name", DECORATORS)
def test_nc009(app: NoCacheFlask, name: str) -> None:
    library, make = DECORATORS[name]
    cached = make()(view_for(name))

    for number, view in enumerate(
        [cached, functools.wraps(cached)(unwrapped(cached)), unwrapped(cached)]
    ):
        app.add_url_rule(f"/{number}", f"page{number}", nocache(view))

    assert audit(app) == [
        f"'page{number}' is no-store, but {library} stores its responses in the server."
        for number in range(3)
    ]


@pytest.mark.parametrize("library", SEEN)
def test_nc009_library_that_is_not_installed(library: str) -> None:
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

    (message,) = audit(app)
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

    (message,) = audit(app)
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

    assert len(audit(app)) == 1


def store_in_cache(view: t.Any) -> t.Any:
    """Cache as a decorator in Flask's documentation did, with cachelib."""

    @functools.wraps(view)
    def inner(*args: t.Any, **kwargs: t.Any) -> t.Any:
        value = STORE.get("view")
        if value is not None:
            return value
        value = view(*args, **kwargs)
        STORE.set("view", value)
        return value

    return inner


def count_in_cache(view: t.Any) -> t.Any:
    """Count in the same cache, and store no response."""

    @functools.wraps(view)
    def inner(*args: t.Any, **kwargs: t.Any) -> t.Any:
        count = STORE.get("count") or 0
        STORE.set("count", count + 1)
        return view(*args, **kwargs)

    return inner


def test_nc009_decorator_of_the_service(app: NoCacheFlask) -> None:
    app.get("/", endpoint="page")(nocache(store_in_cache(fresh())))
    app.get("/limited", endpoint="limited")(nocache(count_in_cache(fresh())))

    (message,) = audit(app)
    assert message.startswith("'page' is no-store, but cachelib")


def reading(load: t.Any) -> t.Any:
    def view() -> t.Any:
        return load()

    return view


@pytest.mark.parametrize("decorate", [functools.cache, CACHE.memoize(60)])
def test_nc009_cached_data_noop(app: NoCacheFlask, decorate: Decorator) -> None:
    app.get("/", endpoint="page")(nocache(reading(decorate(fresh()))))

    assert audit(app) == []


def test_nc009_other_decorators_noop(app: NoCacheFlask) -> None:
    throttled = load("diskcache").throttle(load("diskcache").Cache("k"), 1, 1)
    app.get("/a", endpoint="a")(nocache(throttled(fresh())))
    app.get("/b", endpoint="b")(nocache(functools.partial(fresh())))
    app.get("/c", endpoint="c")(nocache(load("toolz").curry(fresh())))
    app.get("/d", endpoint="d")(nocache(joblib()(fresh())))  # switched off

    assert [m for m in audit(app) if not m.startswith("'d'")] == []


def test_nc009_cacheable_noop(app: NoCacheFlask) -> None:
    hour = cacheable(max_age=3600, reason="changes yearly; #412")
    app.get("/", endpoint="page")(hour(functools.cache(fresh())))

    assert audit(app) == []
