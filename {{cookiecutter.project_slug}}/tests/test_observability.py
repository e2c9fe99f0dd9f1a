from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from blinker import signal
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import create_environ

from {{ cookiecutter.__package_name }} import nocache
from {{ cookiecutter.__package_name }} import observability


@pytest.fixture
def log(app: Flask, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log, and views for the tests."""
    app.add_url_rule("/numbers/<int:number>", "number", lambda number: "")
    app.add_url_rule("/overridden", "overridden", lambda: ("", {"ETag": '"1"'}))
    stored = nocache.cacheable(max_age=60, public=True, reason="for the test")
    app.add_url_rule("/stored", "stored", stored(lambda: ""))
    caplog.set_level(logging.INFO)
    return caplog


def serve(app: Flask, path: str, **headers: str) -> dict[str, str]:
    """Serve as gunicorn does with gunicorn.conf.py."""
    environ = create_environ(path, headers=headers)
    sent: dict[str, Any] = {}

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], object]:
        sent.update(status=status, headers=headers)
        return lambda data: None

    for _ in app(environ, start_response):
        pass
    signal("response-sent").send(environ, seconds=0.0123, **sent)
    signal("request-over").send()
    return dict(sent["headers"])


def lines(log: pytest.LogCaptureFixture, level: int) -> list[dict[str, Any]]:
    name = observability.__name__
    return [vars(r) for r in log.records if (r.name, r.levelno) == (name, level)]


def test_access_line(app: Flask, log: pytest.LogCaptureFixture) -> None:
    serve(app, "/numbers/5?token=hush", **{"X-Request-ID": "from-a.proxy"})
    (line,) = lines(log, logging.INFO)
    expected = {
        "request_id": "from-a.proxy",
        "method": "GET",
        "route": "/numbers/<int:number>",
        "status": 200,
        "duration_ms": 12.3,
        "cache_policy": "no-store",
    }
    assert expected.items() <= line.items()
    assert log.messages == ["GET /numbers/<int:number> 200, 12.3 ms, no-store"]


@pytest.mark.parametrize(
    ("path", "route", "policy"),
    (
        ("/stored", "/stored", "public, max-age=60"),
        ("/nowhere%0Aat%22all", None, "no-store"),
    ),
)
def test_access_line_has_what_left(
    app: Flask,
    log: pytest.LogCaptureFixture,
    path: str,
    route: str | None,
    policy: str,
) -> None:
    serve(app, path)
    (line,) = lines(log, logging.INFO)
    assert (line["route"], line["cache_policy"]) == (route, policy)


def test_lines_of_a_request_carry_its_id(
    app: Flask, log: pytest.LogCaptureFixture
) -> None:
    @app.get("/warned")
    def warned() -> str:
        app.logger.warning("hot")
        return ""

    id = serve(app, "/warned")["X-Request-ID"]
    app.logger.warning("between requests")
    during, _, between = map(vars, log.records)
    assert (during["message"], during["request_id"]) == ("hot", id)
    assert "request_id" not in between


def test_override_is_logged(app: Flask, log: pytest.LogCaptureFixture) -> None:
    serve(app, "/overridden")
    (line,) = lines(log, logging.WARNING)
    assert (line["endpoint"], line["fields"]) == ("overridden", ["ETag"])


def test_lost_declaration_is_logged(app: Flask, log: pytest.LogCaptureFixture) -> None:
    stored = nocache.cacheable(max_age=60, public=True, reason="for the test")
    app.add_url_rule("/lost", "lost", stored(lambda: ("", {"Set-Cookie": "a=b"})))
    sent = serve(app, "/lost")
    assert "no-store" in sent["Cache-Control"]
    (line,) = lines(log, logging.WARNING)
    assert (line["endpoint"], line["reason"]) == ("lost", "Set-Cookie")


def test_request_id_taken(client: FlaskClient) -> None:
    for value in ("a", "Root=1-67891233/abc.d_e+f"):
        response = client.get("/healthz", headers={"X-Request-ID": value})
        assert response.headers.getlist("X-Request-ID") == [value]


def test_request_id_made(client: FlaskClient) -> None:
    made = [
        client.get("/healthz", headers={"X-Request-ID": value}).headers["X-Request-ID"]
        for value in ("", "a" * 129, "a b", 'a"b')
    ]
    assert len(set(made)) == 4
    assert all(re.fullmatch("[0-9a-f]{32}", id) for id in made)


def test_development_is_readable(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    app: Flask,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(observability, "default_handler", logging.StreamHandler())
    monkeypatch.setattr(app.logger, "handlers", [])
    monkeypatch.setattr(logging.getLogger("werkzeug"), "filters", [])
    observability.log_readably(app)
    app.test_client().get("/nowhere?token=hush")
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\S+ \S+ INFO GET - 404, [\d.]+ ms, no-store \[\w{32}\]", line)
