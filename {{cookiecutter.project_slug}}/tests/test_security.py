from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask import request
from flask import session
from flask.testing import FlaskClient

from {{ cookiecutter.__package_name }} import config
from {{ cookiecutter.__package_name }} import create_app
from {{ cookiecutter.__package_name }} import nocache
from {{ cookiecutter.__package_name }} import security
from {{ cookiecutter.__package_name }} import storage

HEADERS = security.HEADERS
ITEMS = f"{config.API_PREFIX}/items"
NO_STORE = "no-store, no-cache, must-revalidate, private, max-age=0"


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[Flask]:
    """The app as gunicorn serves it, with a view that shows what it believes."""
    monkeypatch.setenv("FLASK_SECRET_KEY", "0123456789abcdef")
    monkeypatch.setenv("DATABASE_URL", database_url)
    app = create_app()
    add_view(app)
    yield app
    with app.app_context():
        storage.db.engine.dispose()


def add_view(app: Flask) -> None:
    @app.route("/facts", methods=["GET", "POST"])
    def facts() -> dict[str, object]:
        session["seen"] = True
        return {
            "address": request.remote_addr,
            "url": request.root_url,
            "form": len(request.form),
        }


def test_headers_on_every_response(client: FlaskClient) -> None:
    for path in ("/", "/static/icon.svg", "/unknown", ITEMS, f"{ITEMS}/1"):
        with client.get(path) as response:
            assert HEADERS.items() <= dict(response.headers).items(), path


@pytest.mark.parametrize("path", ("/", ITEMS))
def test_headers_on_a_500(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    monkeypatch.setattr(storage, "list_items", lambda *args: 1 / 0)
    monkeypatch.setitem(app.view_functions, "pages.index", lambda: 1 / 0)
    response = client.get(path)
    assert response.status_code == 500
    assert HEADERS.items() <= dict(response.headers).items()


def test_content_policy_is_strict() -> None:
    policy = dict(
        directive.split(" ", 1)
        for directive in HEADERS["Content-Security-Policy"].split("; ")
    )
    assert policy.pop("require-trusted-types-for") == "'script'"
    assert set(policy.values()) == {"'none'", "'self'"}
    # what default-src does not stand in for
    assert {"default-src", "base-uri", "form-action", "frame-ancestors"} <= set(policy)
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"


def test_view_sets_a_header_of_its_own(app: Flask, client: FlaskClient) -> None:
    mine = {"Referrer-Policy": "no-referrer"}
    app.add_url_rule("/mine", view_func=lambda: ("", mine), endpoint="mine")
    assert client.get("/mine").headers.getlist("Referrer-Policy") == ["no-referrer"]


def test_hsts_over_https_only(production: Flask) -> None:
    client = production.test_client()
    secure = client.get("/facts", base_url="https://localhost").headers
    assert secure["Strict-Transport-Security"] == "max-age=31536000"
    assert "Strict-Transport-Security" not in client.get("/facts").headers


def test_hsts_never_for_a_developer(production: Flask) -> None:
    production.debug = True
    response = production.test_client().get("/facts", base_url="https://localhost")
    assert "Strict-Transport-Security" not in response.headers


def test_session_cookie(production: Flask) -> None:
    response = production.test_client().get("/facts", base_url="https://localhost")
    (cookie,) = response.headers.getlist("Set-Cookie")
    name, _, flags = cookie.partition("=")
    # the prefix makes browsers insist on Secure, Path=/ and no Domain
    assert name == "__Host-session"
    assert flags.split("; ", 1)[1] == "Secure; HttpOnly; Path=/; SameSite=Lax"


def test_session_survives_a_new_key(
    production: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = production.test_client().get("/facts", base_url="https://localhost")
    cookie = response.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    monkeypatch.setenv("FLASK_SECRET_KEY", "fedcba9876543210")
    for fallbacks, is_valid in ((None, False), ('["0123456789abcdef"]', True)):
        if fallbacks:
            monkeypatch.setenv("FLASK_SECRET_KEY_FALLBACKS", fallbacks)
        app = create_app()
        client = app.test_client()
        client.set_cookie("__Host-session", cookie)
        with client:
            client.get("/", base_url="https://localhost")
            assert session.get("seen", False) is is_valid


def test_write_from_another_origin(client: FlaskClient) -> None:
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Origin": "http://evil.localhost"},
    ):
        response = client.post(ITEMS, json={"name": "tea"}, headers=headers)
        assert response.status_code == 403
        assert response.mimetype == "application/problem+json"
    assert client.get(ITEMS, headers=headers).get_json()["items"] == []


def test_write_from_its_own_origin(client: FlaskClient) -> None:
    for headers in (
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost"},
    ):
        response = client.post(ITEMS, json={"name": "tea"}, headers=headers)
        assert response.status_code == 201


def test_every_write_needs_its_own_origin(client: FlaskClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    for method in ("PUT", "DELETE", "PATCH"):
        assert client.open(ITEMS, method=method, headers=headers).status_code == 403


def test_no_cors(client: FlaskClient) -> None:
    preflight = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    response = client.options(ITEMS, headers=preflight)
    assert [name for name, _ in response.headers if name.startswith("Access-")] == []


FORWARDED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "www.example.com",
}


def test_proxies_not_trusted(database_url: str) -> None:
    facts = ask(database_url, FORWARDED)
    assert facts == {"address": "127.0.0.1", "url": "http://localhost/", "form": 0}


def test_proxies_trusted_hop_by_hop(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("FLASK_TRUSTED_PROXIES", "2")
    # the client's own, then what each proxy appended
    chain = {
        "X-Forwarded-For": "192.0.2.66, 203.0.113.9, 10.0.0.1",
        "X-Forwarded-Proto": "ftp, https, http",
        "X-Forwarded-Host": "evil.example, www.example.com, web",
    }
    facts = ask(database_url, chain)
    assert facts["address"] == "203.0.113.9"
    assert facts["url"] == "https://www.example.com/"


def test_proxies_stand_inside_the_guard(database_url: str) -> None:
    app = create_app(
        {"TESTING": True, "DATABASE_URL": database_url, "TRUSTED_PROXIES": 1}
    )
    assert "NC002" not in [finding.id for finding in nocache.audit_app(app)]
    response = app.test_client().get("/unknown", headers=FORWARDED)
    assert response.headers.getlist("Cache-Control") == [NO_STORE]


def ask(database_url: str, headers: dict[str, str]) -> dict[str, object]:
    app = create_app({"TESTING": True, "DATABASE_URL": database_url})
    add_view(app)
    response = app.test_client().get("/facts", headers=headers)
    facts: dict[str, object] = response.get_json()
    return facts


def test_host_not_trusted(app: Flask, client: FlaskClient) -> None:
    app.config["TRUSTED_HOSTS"] = ["www.example.com"]
    for path, kind in (("/", "text/html"), (ITEMS, "application/problem+json")):
        response = client.get(path, base_url="http://evil.example")
        assert (response.status_code, response.mimetype) == (400, kind)
        assert response.headers.getlist("Cache-Control") == [NO_STORE]
        assert HEADERS.items() <= dict(response.headers).items()
    assert client.get("/", base_url="http://www.example.com:8000").status_code == 200


def test_host_forwarded_by_a_trusted_proxy_is_checked(database_url: str) -> None:
    settings = {"TRUSTED_PROXIES": 1, "TRUSTED_HOSTS": ["www.example.com"]}
    app = create_app({"TESTING": True, "DATABASE_URL": database_url, **settings})
    client = app.test_client()
    assert client.get("/", headers=FORWARDED).status_code == 200
    evil = FORWARDED | {"X-Forwarded-Host": "evil.example"}
    assert client.get("/", headers=evil).status_code == 400


def test_form_too_large_is_413(production: Flask) -> None:
    form = {"a": "x" * 65536}
    assert production.test_client().post("/facts", data=form).status_code == 413
