"""What products between a client and a service do, as the probe should read it."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from nocache import ApiBlueprint
from nocache import NoCacheFlask

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


def found(app: Flask, rewrite: Callable[[Fields], Fields]) -> int:
    """Return the exit code of the probe, the answers' fields rewritten on the way."""

    def through(environ: dict[str, t.Any], start_response: WSGI) -> t.Any:
        def start(status: str, fields: Fields, *rest: t.Any) -> t.Any:
            return start_response(status, rewrite(fields), *rest)

        return app(environ, start)

    with served(through) as url:
        result = app.test_cli_runner().invoke(args=["nocache", "probe", url])
    return result.exit_code


def test_probe_finds_nothing_behind_nothing(app: Flask) -> None:
    assert found(app, lambda fields: fields) == 0


@pytest.mark.xfail(strict=True, reason="names are compared as the guard writes them")
def test_probe_reads_names_in_lower_case(app: Flask) -> None:
    """HAProxy and Envoy write them so, and whatever speaks HTTP/2 with the service."""
    assert found(app, lambda fields: [(n.lower(), v) for n, v in fields]) == 0


@pytest.mark.xfail(strict=True, reason="any Age is taken for a cache's answer")
@pytest.mark.parametrize("miss", [("X-Varnish", "32770"), ("X-Cache", "MISS")])
def test_probe_takes_an_age_of_nothing_for_none(
    app: Flask, miss: tuple[str, str]
) -> None:
    """Varnish and Fastly write it into every answer, also one they just fetched."""
    assert found(app, lambda fields: [*fields, ("Age", "0"), miss]) == 0


@pytest.mark.xfail(strict=True, reason="not among what is taken for a kept copy")
@pytest.mark.parametrize(
    "sign",
    [
        ("X-Cache", "REVALIDATE from edge"),  # Apache httpd
        ("CF-Cache-Status", "EXPIRED"),  # Cloudflare
        ("X-Cache-Status", "EXPIRED"),  # nginx
    ],
    ids=["apache", "cloudflare", "nginx"],
)
def test_probe_sees_a_copy_that_was_asked_about(
    app: Flask, sign: tuple[str, str]
) -> None:
    assert found(app, lambda fields: [*fields, sign]) == 1


@pytest.mark.xfail(strict=True, reason="answers are not compared with each other")
def test_probe_sees_the_same_request_id_twice(app: Flask) -> None:
    """The only sign of an nginx that caches and says nothing of it."""
    assert found(app, lambda fields: [*fields, ("X-Request-ID", "same")]) == 1
