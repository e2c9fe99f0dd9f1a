"""The rows of the table "If you come from" in docs/caching.md."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import KIT
from flask import request
from flask import Response
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from nocache import routes

from .wsgi import assert_not_stored
from .wsgi import fetch
from .wsgi import guarded_app

DOCUMENT = KIT.parents[1] / "docs" / "caching.md"
YEAR = 31536000

Row = Callable[[NoCacheFlask], None]
ROWS: dict[str, Row] = {}


@pytest.fixture
def app(tmp_path: Path) -> NoCacheFlask:
    return guarded_app(tmp_path)


def row(*names: str) -> Callable[[Row], Row]:
    def note(test: Row) -> Row:
        ROWS.update(dict.fromkeys(names, test))
        return test

    return note


def declare(app: NoCacheFlask, **arguments: t.Any) -> None:
    arguments = {"reason": "tested"} | arguments
    decorate: t.Any = cacheable(**arguments)
    app.add_url_rule("/", "view", decorate(lambda: "x"))


def field_of(app: NoCacheFlask, name: str = "Cache-Control") -> str | None:
    return fetch(app).get(name)


@row(
    "ASP.NET `NoStore = true`",
    "Spring `CacheControl.noStore()`",
    "Rails `no_store`",
    "Django `@never_cache`",
)
def no_store(app: NoCacheFlask) -> None:
    app.get("/")(nocache(lambda: "x"))
    assert_not_stored(fetch(app))


@row(
    "ASP.NET `Duration = 60`",
    "Spring `CacheControl.maxAge(…).cachePublic()`",
    "Rails `expires_in 1.minute, public: true`",
    "Django `@cache_control(public=True, max_age=60)`",
)
def duration(app: NoCacheFlask) -> None:
    declare(app, max_age=60, public=True)
    assert field_of(app) == "public, max-age=60"


@row("ASP.NET `Location = Client`", "Spring `CacheControl.maxAge(…).cachePrivate()`")
def client_only(app: NoCacheFlask) -> None:
    declare(app, max_age=60)
    assert field_of(app) == "private, max-age=60"


@row("ASP.NET `Location = None`", "Spring `CacheControl.noCache()`")
def revalidation(app: NoCacheFlask) -> None:
    declare(app, max_age=0)
    assert field_of(app) == "private, no-cache, max-age=0"


@row("Spring `sMaxAge(…)`", "Django `@cache_control(s_maxage=3600)`")
def shared_cache(app: NoCacheFlask) -> None:
    declare(app, max_age=60, public=True, shared_max_age=3600)
    assert field_of(app) == "public, max-age=60, s-maxage=3600"


@row("Spring `immutable()`", "Rails `http_cache_forever`")
def forever(app: NoCacheFlask) -> None:
    declare(app, max_age=YEAR, public=True, immutable=True)
    assert field_of(app) == f"public, max-age={YEAR}, immutable"


@row("ASP.NET `VaryByHeader`", "Django `@vary_on_headers`")
def vary(app: NoCacheFlask) -> None:
    declare(app, max_age=60, public=True, vary=["Accept-Language"])
    assert field_of(app, "Vary") == "Accept-Language"


@row("Django `@vary_on_cookie`")
def vary_on_cookie(app: NoCacheFlask) -> None:
    declare(app, max_age=60, vary=["Cookie"])
    assert (field_of(app), field_of(app, "Vary")) == ("private, max-age=60", "Cookie")
    with pytest.raises(ValueError, match="vary"):
        cacheable(max_age=60, public=True, vary=["Cookie"], reason="tested")


@row("ASP.NET `VaryByParam`, `VaryByQueryKeys`")
def query(app: NoCacheFlask) -> None:
    decorate: t.Any = cacheable(max_age=60, public=True, reason="tested")
    app.add_url_rule("/", "view", decorate(lambda: request.args["page"]))
    bodies = [fetch(app, f"/?page={page}").body for page in (1, 2)]
    assert bodies == [b"1", b"2"]
    # the query is part of the cache key, so no field names it, RFC 9111 2
    assert fetch(app, "/?page=1").get("Vary") is None
    assert fetch(app, "/?page=1").get("Cache-Control") == "public, max-age=60"


@row("ASP.NET `CacheProfileName`")
def profile(app: NoCacheFlask) -> None:
    hourly: t.Any = cacheable(max_age=3600, public=True, reason="tested")
    app.add_url_rule("/", "first", hourly(lambda: "1"))
    app.add_url_rule("/2", "second", hourly(lambda: "2"))
    assert (
        field_of(app) == fetch(app, "/2").get("Cache-Control") == "public, max-age=3600"
    )


@row("ASP.NET `[OutputCache]`, its tags and eviction")
def output_cache(app: NoCacheFlask) -> None:
    calls: list[int] = []

    def view() -> str:
        calls.append(1)
        return "x"

    app.get("/")(cacheable(max_age=60, public=True, reason="tested")(view))
    fetch(app)
    fetch(app)
    assert len(calls) == 2


@row("Rails `stale?`", "Django `@condition(etag_func=…)`")
def etag_before_view(app: NoCacheFlask) -> None:
    calls: list[int] = []

    def view(id: int) -> str:
        calls.append(id)
        return "x"

    decorate = cacheable(max_age=0, etag=lambda id: f"v{id}", reason="tested")
    app.get("/<int:id>")(decorate(view))
    assert fetch(app, "/7").get("ETag") == '"v7"'
    assert fetch(app, "/7", headers={"If-None-Match": '"v7"'}).status == 304
    assert calls == [7]


@row("Rails `fresh_when`", "Django `@condition(last_modified_func=…)`")
def etag_of_response(app: NoCacheFlask) -> None:
    date = "Sat, 01 Jan 2000 00:00:00 GMT"
    headers = {"Last-Modified": date, "ETag": '"1"'}
    decorate = cacheable(max_age=0, reason="tested")
    app.get("/")(decorate(lambda: Response("x", headers=headers)))
    for name, value in (("If-Modified-Since", date), ("If-None-Match", '"1"')):
        assert fetch(app, headers={name: value}).status == 304


@pytest.mark.parametrize("name", ROWS)
def test_equivalent(app: NoCacheFlask, name: str) -> None:
    ROWS[name](app)


def test_every_row_has_a_test() -> None:
    section = DOCUMENT.read_text("utf-8").partition("## If you come from")[2]
    section = section.partition("\n## ")[0]
    names = re.findall(r"^\| ((?:ASP|Spring|Rails|Django).*?) \|", section, re.M)
    assert len(names) == len(set(names))
    assert {*names} == {*ROWS}


def test_split_view_has_a_policy_for_each_response(app: NoCacheFlask) -> None:
    section = DOCUMENT.read_text("utf-8").partition("## A view with several")[2]
    [source] = re.findall(r"```python\n(.+?)```", section.partition("\n## ")[0], re.S)
    names: dict[str, t.Any] = {
        "app": app,
        "cacheable": cacheable,
        "nocache": nocache,
        "read": lambda *path: f"{path}",
        "digest": lambda *path: "1",
    }
    exec(source, names)
    assert {r.rule: r.policy for r in routes(app) if "assets" in r.rule} == {
        "/assets/<digest>/<name>": f"public, max-age={YEAR}, immutable",
        "/assets/<name>": "public, no-cache, max-age=0; ETag",
        "/assets/drafts/<name>": "no-store",
    }
    assert fetch(app, "/assets/1a/x.css").get("Cache-Control") == (
        f"public, max-age={YEAR}, immutable"
    )
    response = fetch(app, "/assets/x.css", headers={"If-None-Match": '"1"'})
    assert response.status == 304
    assert_not_stored(fetch(app, "/assets/drafts/x.css"))
