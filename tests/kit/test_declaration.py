"""Everything that @cacheable can say, on the wire and in the list of routes."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from flask import Flask
from flask import Response
from nocache import cacheable
from nocache import NoCacheFlask
from nocache import routes

from .wsgi import answer
from .wsgi import assert_not_stored
from .wsgi import guarded


@pytest.fixture
def app(tmp_path: Path) -> NoCacheFlask:
    return guarded(tmp_path)


def declared(**arguments: t.Any) -> t.Any:
    return cacheable(**{"max_age": 60, "reason": "tested"} | arguments)


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
