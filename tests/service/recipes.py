"""What each recipe of README.md, docs/how-to.md and docs/caching.md does on the wire."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import flask
import pytest
from dotenv import dotenv_values
from flask import Blueprint
from flask import Flask
from flask.testing import FlaskClient
from flask.testing import FlaskCliRunner
from saved_items import create_app
from saved_items import nocache
from saved_items.config import API_PREFIX
from websocket import create_connection
from websocket import WebSocketBadStatusException
from werkzeug.security import generate_password_hash
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

ROOT = Path(__file__).parents[1]
CACHING = (ROOT / "docs" / "caching.md").read_text("utf-8")
NO_STORE = "no-store, no-cache, must-revalidate, private, max-age=0"
PATIENCE = 60.0
WORKER = "FLASK_DEBUG=1 python -m huey.bin.huey_consumer worker.queue"
PARTNER = "https://partner.example.com"


def check(response: TestResponse, status: int, mimetype: str = "") -> None:
    """Check that a response has the status and that no cache may store it."""
    assert response.status_code == status
    assert response.headers.getlist("Cache-Control") == [NO_STORE]
    assert not mimetype or response.mimetype == mimetype


def test_add_an_endpoint(client: FlaskClient) -> None:
    latest = f"{API_PREFIX}/items/latest"
    check(client.get(latest), 404, "application/problem+json")
    client.post(f"{API_PREFIX}/items", json={"name": "tea"})
    response = client.get(latest)
    check(response, 200)
    assert response.get_json()["name"] == "tea"


def test_let_a_response_be_cached(client: FlaskClient) -> None:
    response = client.get("/colours.json")
    assert response.headers["Cache-Control"] == "public, max-age=3600"
    assert "pages.colours" in (ROOT / "cache-policy.txt").read_text("utf-8")
    check(client.get("/colours"), 404)


def test_a_second_resource(client: FlaskClient) -> None:
    tags = f"{API_PREFIX}/tags"
    check(client.post(tags, json={"name": "green"}), 201)
    check(client.post(tags, json={"name": "green"}), 409, "application/problem+json")
    response = client.get(tags)
    check(response, 200)
    assert response.get_json() == {"tags": ["green"]}


def test_a_second_version_of_the_api(client: FlaskClient) -> None:
    client.post(f"{API_PREFIX}/items", json={"name": "tea"})
    response = client.get(f"{API_PREFIX}/v2/items")
    check(response, 200)
    assert response.get_json() == {"data": [{"title": "tea"}]}
    wrong = client.delete(f"{API_PREFIX}/v2/items")
    check(wrong, 405, "application/problem+json")


def test_an_html_page(client: FlaskClient) -> None:
    response = client.get("/about")
    check(response, 200, "text/html")
    assert "<h1>About</h1>" in response.text


def test_sign_in(app: Flask, client: FlaskClient) -> None:
    app.config["USERS"] = {"ada": generate_password_hash("pass")}
    me, session = f"{API_PREFIX}/me", f"{API_PREFIX}/session"
    check(client.get(me), 401, "application/problem+json")
    wrong = client.post(session, json={"name": "ada", "password": "word"})
    check(wrong, 401, "application/problem+json")
    check(client.post(session, json={"name": "ada", "password": "pass"}), 204)
    response = client.get(me)
    check(response, 200)
    assert response.get_json() == {"name": "ada"}


def test_sign_out(client: FlaskClient) -> None:
    with client.session_transaction() as session:
        session["user"] = "ada"
    response = client.post("/sign-out")
    check(response, 303)
    assert response.headers["Clear-Site-Data"] == '"cache"'
    with client.session_transaction() as session:
        assert "user" not in session


def test_another_origin(client: FlaskClient) -> None:
    items = f"{API_PREFIX}/items"
    theirs = {"Origin": PARTNER, "Sec-Fetch-Site": "cross-site"}
    preflight_fields = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    preflight = client.options(items, headers=theirs | preflight_fields)
    check(preflight, 200)
    created = client.post(items, json={"name": "tea"}, headers=theirs)
    check(created, 201)
    for response in (preflight, created, client.get(items, headers=theirs)):
        assert response.headers["Access-Control-Allow-Origin"] == PARTNER
        assert "Access-Control-Allow-Credentials" not in response.headers
    for origin in (f"{PARTNER}.evil.example", "http://partner.example.com", "null"):
        headers = theirs | {"Origin": origin}
        check(client.post(items, json={"name": "tea"}, headers=headers), 403)
        response = client.get(items, headers=headers)
        assert "Access-Control-Allow-Origin" not in response.headers
    check(client.post("/", headers=theirs), 403)


def test_a_description_of_the_api(client: FlaskClient) -> None:
    response = client.get(f"{API_PREFIX}/apidoc/openapi.json")
    check(response, 200, "application/json")
    document = response.get_json()
    items = document["paths"][f"{API_PREFIX}/items"]
    assert items.keys() == {"get", "post"}
    body = items["post"]["requestBody"]["content"]["application/json"]
    name = body["schema"]["$ref"].rpartition("/")[2]
    assert document["components"]["schemas"][name]["additionalProperties"] is False
    # as strict as before
    twice = client.post(
        f"{API_PREFIX}/items",
        data='{"name":"a","name":"b"}',
        content_type="application/json",
    )
    check(twice, 400, "application/problem+json")
    page = client.get("/reference")
    check(page, 200, "text/html")
    assert "img-src data: 'self';" in page.headers["Content-Security-Policy"]
    for link in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        with client.get(link) as file:
            assert file.status_code == 200, link
        if link.startswith("/swagger-ui/"):
            assert file.headers["Cache-Control"] == NO_STORE


def test_a_background_job(app: Flask, client: FlaskClient) -> None:
    setting, _, *module = WORKER.split()
    name, _, value = setting.partition("=")
    environ = {name: value, "DATABASE_URL": str(app.config["DATABASE_URL"])}
    command = [sys.executable, *module]
    worker = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environ, stderr=subprocess.DEVNULL
    )
    try:
        check(client.post(f"{API_PREFIX}/jobs", json={"name": "tea"}), 202)
        names: list[str] = []
        patience = time.monotonic() + PATIENCE
        while not names and worker.poll() is None and time.monotonic() < patience:
            time.sleep(0.1)
            items = client.get(f"{API_PREFIX}/items").get_json()["items"]
            names = [item["name"] for item in items]
        assert names == ["tea"]
    finally:
        worker.send_signal(signal.SIGINT)
        worker.wait()


def test_a_test_of_a_cacheable_route(client: FlaskClient) -> None:
    assert (ROOT / "tests" / "test_colours.py").exists()
    check(client.options("/colours.json"), 200)


def test_fingerprinted_assets(client: FlaskClient) -> None:
    page = client.get("/")
    check(page, 200)
    (link,) = re.findall(r'src="(/static/greeting\.js\?v=\w+)"', page.text)
    with client.get(link) as file:
        assert file.cache_control.immutable and file.cache_control.max_age == 31536000


def test_server_sent_events(client: FlaskClient) -> None:
    client.post(f"{API_PREFIX}/items", json={"name": "tea"})
    response = client.get(f"{API_PREFIX}/events")
    check(response, 200, "text/event-stream")
    assert '"name": "tea"' in response.text


def test_websockets(app: Flask, client: FlaskClient) -> None:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    host = f"127.0.0.1:{server.port}"
    url = f"ws://{host}{API_PREFIX}/echo"
    try:
        with closing(create_connection(url, origin=f"http://{host}")) as connection:
            connection.send("tea")
            assert connection.recv() == "tea"
        with pytest.raises(WebSocketBadStatusException) as refusal:
            create_connection(url, origin="http://evil.example")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert refusal.value.status_code == 403
    assert (refusal.value.resp_headers or {})["cache-control"] == NO_STORE
    # no WebSocket: an error as any other
    check(client.get(f"{API_PREFIX}/echo"), 400, "application/problem+json")


def test_fields_for_a_cdn(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dotenv_values(ROOT / ".env").items():
        monkeypatch.setenv(name, value or "")
    response = create_app({"TESTING": True}).test_client().get("/healthz")
    check(response, 200)
    assert response.headers["CDN-Cache-Control"] == "no-store"
    assert response.headers["Surrogate-Control"] == "no-store"
    assert response.headers["X-Accel-Expires"] == "0"


def run_fragments(heading: str, **names: Any) -> None:
    """Run what docs/caching.md shows below a heading, with the names it takes for given."""
    section = CACHING.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    for source in re.findall(r"```python\n(.+?)```", section, re.DOTALL):
        exec(source, vars(flask) | vars(nocache) | names)


def policies(app: Flask) -> dict[str, str]:
    return {route.endpoint: route.policy for route in nocache.routes(app)}


def test_declare(app: Flask) -> None:
    bp = Blueprint("mine", __name__, url_prefix="/mine")
    app.add_url_rule("/doc", "doc", lambda: "document")
    run_fragments("Declare", app=app, bp=bp)
    app.register_blueprint(bp)
    assert policies(app)["mine.index"] == policies(app)["doc"] == "no-store"
    assert "NC001" not in {finding.id for finding in nocache.audit_app(app)}


def test_opt_out(app: Flask) -> None:
    bp, pages = Blueprint("mine", __name__), Blueprint("pages2", __name__)
    run_fragments("Opt out", app=app, bp=bp, pages=pages)
    app.register_blueprint(bp)
    app.register_blueprint(pages, url_prefix="/more")
    texts = policies(app)
    hour = "public, max-age=3600"
    assert texts["mine.countries"] == hour
    assert texts["pages2.countries"] == texts["pages2.currencies"] == hour
    assert texts["pages2.report"] == "private, no-cache, max-age=0; ETag"


def test_a_view_with_several_policies_split_the_view(app: Flask) -> None:
    run_fragments(
        "A view with several policies: split the view",
        app=app,
        read=lambda *names: "/".join(names),
        digest=lambda name: "1",
    )
    client = app.test_client()
    kept = client.get("/assets/1/page.css").cache_control
    assert kept.immutable and kept.max_age == 31536000
    current = client.get("/assets/page.css")
    assert current.headers["Cache-Control"] == "public, no-cache, max-age=0"
    tag = {"If-None-Match": current.headers["ETag"]}
    assert client.get("/assets/page.css", headers=tag).status_code == 304
    check(client.get("/assets/drafts/page.css"), 200)


def test_findings(runner: FlaskCliRunner) -> None:
    (line,) = re.findall(r"^response\.headers.+# nocache: ignore .+", CACHING, re.M)
    module = ROOT / "saved_items" / "proxy.py"
    policy = ROOT / "cache-policy.txt"
    accepted = policy.read_text("utf-8")
    module.write_text(f"from flask import Response\n\nresponse = Response()\n{line}\n")
    try:
        assert "NC010" in runner.invoke(args=["nocache", "audit"]).output
        runner.invoke(args=["nocache", "accept"])
        assert runner.invoke(args=["nocache", "audit"]).output == ""
        assert line.rpartition(", ")[2] in policy.read_text("utf-8")
    finally:
        module.unlink()
        policy.write_text(accepted, "utf-8")
