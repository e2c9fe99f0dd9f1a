"""The probe behind the products that stand between a client and a service."""

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

from .test_probe import cache
from .test_probe import serve

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


def probe_behind(app: Flask, front: WSGI, *options: str) -> str:
    """Return the output of the probe for an app behind a product."""
    with serve(front) as url:
        result = app.test_cli_runner().invoke(args=["nocache", "probe", url, *options])
    assert result.exit_code == bool(result.output), result.output
    return result.output


def probe_rewritten(app: Flask, rewrite: Callable[[Fields], Fields]) -> str:
    """Return the output of the probe behind a proxy that rewrites the fields."""

    def through(environ: dict[str, t.Any], start_response: WSGI) -> t.Any:
        def start(status: str, fields: Fields, *rest: t.Any) -> t.Any:
            return start_response(status, rewrite(fields), *rest)

        return app(environ, start)

    return probe_behind(app, through)


class Clock:
    """A clock that only the sleep of the probe moves."""

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
    """An app that repeats the id of the request in its response."""

    @app.after_request
    def send_id(response: Response) -> Response:
        response.headers["X-Request-ID"] = request.headers["X-Request-ID"]
        return response

    return app


def test_probe_without_a_proxy_has_no_findings(app: Flask) -> None:
    assert probe_rewritten(app, lambda fields: fields) == ""


def test_probe_reads_names_in_lower_case(app: Flask) -> None:
    """HAProxy, Envoy and HTTP/2 send names in lower case."""
    assert (
        probe_rewritten(app, lambda fields: [(n.lower(), v) for n, v in fields]) == ""
    )


@pytest.mark.parametrize(
    "miss",
    [("X-Varnish", "32770"), ("X-Cache", "MISS"), ("X-Cache", "Error from cloudfront")],
)
def test_probe_ignores_an_age_of_0(
    app: Flask, clock: Clock, miss: tuple[str, str]
) -> None:
    """Varnish and Fastly send it with every response, also with a new one."""
    assert probe_rewritten(app, lambda fields: [*fields, ("Age", "0"), miss]) == ""


def test_probe_waits_for_a_copy_to_age(app: Flask, clock: Clock) -> None:
    """A copy has an Age of 0 in the second after it is stored."""
    times: dict[str, float] = {}

    def aging(environ: dict[str, t.Any], start_response: WSGI) -> t.Any:
        key = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        since = times.setdefault(f"{key}?{environ['QUERY_STRING']}", clock.seconds)
        age = ("Age", str(int(clock.seconds - since)))

        def start(status: str, fields: Fields, *rest: t.Any) -> t.Any:
            return start_response(status, [*fields, age], *rest)

        return app(environ, start)

    fact = "'GET /api/items' may be stored: a cache kept a copy, Age is '1'."
    assert fact in probe_behind(app, aging)


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
def test_probe_reports_a_copy_that_was_revalidated(
    app: Flask, sign: tuple[str, str]
) -> None:
    name, value = sign
    assert f"a cache kept a copy, {name} is {value!r}." in probe_rewritten(
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
def test_probe_ignores_other_values(app: Flask, sign: tuple[str, str]) -> None:
    assert probe_rewritten(app, lambda fields: [*fields, sign]) == ""


def test_probe_reports_a_repeated_request_id(app: Flask) -> None:
    """A cache repeats the ids of a proxy behind it."""
    fact = "a cache kept a copy, its X-Request-ID is from an earlier response."
    assert fact in probe_rewritten(
        app, lambda fields: [*fields, ("x-request-id", "same")]
    )


def test_probe_reports_a_cache_without_a_sign(echo: Flask) -> None:
    """nginx shows a copy only by the id of another request."""
    fact = "a cache kept a copy, its X-Request-ID is from an earlier response."
    assert f"'GET /api/items' may be stored: {fact}" in probe_behind(
        echo, cache(echo, {})
    )


def test_probe_needs_no_request_ids_in_responses(app: Flask) -> None:
    assert probe_behind(app, cache(app, {})) == ""


def test_probe_sends_a_new_id_each_time(echo: Flask) -> None:
    assert probe_behind(echo, echo, "--header", "x-request-id: mine") == ""
