"""What products between a client and a service do, as the probe should read it."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask import request
from flask import Response
from nocache import ApiBlueprint
from nocache import NoCacheFlask

from .test_probe import caching
from .test_probe import served

WSGI = Callable[..., t.Any]
Fields = list[tuple[str, str]]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.chdir(tmp_path)
    app = NoCacheFlask("kit_app", static_folder=None)
    bp = ApiBlueprint("api", "kit_app")
    bp.get("/items")(lambda: {"items": []})
    app.register_blueprint(bp, url_prefix="/api")
    return app


def reported(app: Flask, front: WSGI, *options: str) -> str:
    """Return what the probe reports of an app behind a front."""
    with served(front) as url:
        result = app.test_cli_runner().invoke(args=["nocache", "probe", url, *options])
    assert result.exit_code == bool(result.output), result.output
    return result.output


def found(app: Flask, rewrite: Callable[[Fields], Fields]) -> str:
    """Return what the probe reports, the responses' fields rewritten on the way."""

    def through(environ: dict[str, t.Any], start_response: WSGI) -> t.Any:
        def start(status: str, fields: Fields, *rest: t.Any) -> t.Any:
            return start_response(status, rewrite(fields), *rest)

        return app(environ, start)

    return reported(app, through)


class Clock:
    """A clock that only the probe's own waiting moves."""

    seconds = 0.0

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("nocache.audit.probe.sleep", clock.sleep)
    return clock


@pytest.fixture
def echo(app: Flask) -> Flask:
    """An app that sends back the id of the request."""

    @app.after_request
    def send_id(response: Response) -> Response:
        response.headers["X-Request-ID"] = request.headers["X-Request-ID"]
        return response

    return app


def test_probe_finds_nothing_behind_nothing(app: Flask) -> None:
    assert found(app, lambda fields: fields) == ""


def test_probe_reads_names_in_lower_case(app: Flask) -> None:
    """HAProxy and Envoy write them so, and whatever speaks HTTP/2 with the service."""
    assert found(app, lambda fields: [(n.lower(), v) for n, v in fields]) == ""


@pytest.mark.parametrize(
    "miss",
    [("X-Varnish", "32770"), ("X-Cache", "MISS"), ("X-Cache", "Error from cloudfront")],
)
def test_probe_takes_an_age_of_nothing_for_none(
    app: Flask, clock: Clock, miss: tuple[str, str]
) -> None:
    """Varnish and Fastly write it into every response, also one they just fetched."""
    assert found(app, lambda fields: [*fields, ("Age", "0"), miss]) == ""


def test_probe_waits_for_a_copy_to_age(app: Flask, clock: Clock) -> None:
    """One that is requested in the second it was stored in is of age 0, too."""
    stored: dict[str, float] = {}

    def aging(environ: dict[str, t.Any], start_response: WSGI) -> t.Any:
        key = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        since = stored.setdefault(f"{key}?{environ['QUERY_STRING']}", clock.seconds)
        age = ("Age", str(int(clock.seconds - since)))

        def start(status: str, fields: Fields, *rest: t.Any) -> t.Any:
            return start_response(status, [*fields, age], *rest)

        return app(environ, start)

    fact = "'GET /api/items' may be stored: a cache kept a copy, Age is '1'."
    assert fact in reported(app, aging)


@pytest.mark.parametrize(
    "sign",
    [
        ("X-Cache", "REVALIDATE from edge"),  # Apache httpd
        ("CF-Cache-Status", "EXPIRED"),  # Cloudflare
        ("X-Cache-Status", "EXPIRED"),  # nginx
        ("X-Cache", "TCP_REFRESH_MISS from a"),  # Akamai
        ("Akamai-Cache-Status", "Hit from child"),
        ("X-Vercel-Cache", "PRERENDER"),
        ("Cache-Status", "edge; fwd=stale; fwd-status=304"),
        ("Cache-Status", "edge; fwd=request"),
    ],
    ids=str,
)
def test_probe_sees_a_copy_that_was_asked_about(
    app: Flask, sign: tuple[str, str]
) -> None:
    name, value = sign
    assert f"a cache kept a copy, {name} is {value!r}." in found(
        app, lambda fields: [*fields, sign]
    )


@pytest.mark.parametrize(
    "sign",
    [
        ("X-Cache", "Error from cloudfront"),
        ("X-Cache", "PRIVATE_NOSTORE"),  # Azure
        ("X-Cache", "HIT-FOR-PASS"),  # Varnish
        ("X-Cache-Status", "SCARCE"),  # nginx
        ("CF-Cache-Status", "NONE/UNKNOWN"),
        ("Cache-Status", "edge; fwd=uri-miss; stored=?0"),
        ("X-Request-ID", ""),
    ],
    ids=str,
)
def test_probe_takes_no_other_word_for_a_copy(
    app: Flask, sign: tuple[str, str]
) -> None:
    assert found(app, lambda fields: [*fields, sign]) == ""


def test_probe_sees_the_same_request_id_twice(app: Flask) -> None:
    """As a proxy that names the requests itself makes a cache before it do."""
    fact = "a cache kept a copy, X-Request-ID is that of an earlier response."
    assert fact in found(app, lambda fields: [*fields, ("x-request-id", "same")])


def test_probe_sees_a_cache_that_says_nothing(echo: Flask) -> None:
    """Such as nginx, by the id of another request alone."""
    fact = "a cache kept a copy, X-Request-ID is that of an earlier response."
    assert f"'GET /api/items' may be stored: {fact}" in reported(
        echo, caching(echo, {})
    )


def test_probe_concludes_nothing_from_ids_that_nobody_sends_back(app: Flask) -> None:
    assert reported(app, caching(app, {})) == ""


def test_probe_asks_each_time_under_another_id(echo: Flask) -> None:
    assert reported(echo, echo, "--header", "x-request-id: mine") == ""
