"""Writes from other origins, trusted proxies and hosts, and the headers of every response."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from saved_items import config
from saved_items import create_app
from test_security import add_view
from test_security import HEADERS
from test_security import ITEMS
from test_security import NO_STORE
from test_security import production as production


@pytest.mark.parametrize(
    ("method", "path", "status"),
    (
        ("GET", "/", 200),
        ("GET", "/static/icon.svg", 200),
        ("GET", "/unknown", 404),
        ("POST", "/", 405),
        ("GET", ITEMS, 200),
        ("OPTIONS", ITEMS, 200),
        ("POST", ITEMS, 415),
        ("GET", f"{ITEMS}?limit=0", 400),
        ("GET", f"{config.API_PREFIX}//items", 308),
    ),
)
def test_headers_on_every_response(
    client: FlaskClient, method: str, path: str, status: int
) -> None:
    with client.open(path, method=method) as response:
        assert response.status_code == status
        assert HEADERS.items() <= dict(response.headers).items()


@pytest.mark.parametrize(
    ("headers", "status"),
    (
        ({}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Origin": "http://localhost"}, 201),
        # the scheme is the proxy's to know
        ({"Origin": "https://localhost"}, 201),
        ({"Origin": "http://localhost:8000"}, 403),
        ({"Origin": "http://evil.localhost"}, 403),
        ({"Origin": "http://evillocalhost"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ),
)
def test_write_from_another_origin(
    client: FlaskClient, headers: dict[str, str], status: int
) -> None:
    response = client.post(ITEMS, json={"name": "tea"}, headers=headers)
    assert response.status_code == status
    saved = client.get(ITEMS, headers=headers).get_json()["items"]
    assert len(saved) == (status == 201)
    if status == 403:
        assert response.mimetype == "application/problem+json"


@pytest.mark.parametrize("method", ("PUT", "DELETE", "PATCH", "TRACE"))
def test_every_write_needs_its_own_origin(client: FlaskClient, method: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert client.open(ITEMS, method=method, headers=headers).status_code == 403


FORWARDED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "www.example.com",
}


@pytest.mark.parametrize("value", (None, "0"))
def test_proxies_not_trusted(
    monkeypatch: pytest.MonkeyPatch, database_url: str, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("FLASK_TRUSTED_PROXIES", value)
    facts = fetch_facts(database_url, FORWARDED)
    assert facts == {"address": "127.0.0.1", "url": "http://localhost/", "form": 0}


@pytest.mark.parametrize("hops", (1, 2))
def test_proxies_trusted_hop_by_hop(
    monkeypatch: pytest.MonkeyPatch, database_url: str, hops: int
) -> None:
    monkeypatch.setenv("FLASK_TRUSTED_PROXIES", str(hops))
    # the client's own, then what each proxy appended
    chain = {
        "X-Forwarded-For": "192.0.2.66, 203.0.113.9" + ", 10.0.0.1" * (hops - 1),
        "X-Forwarded-Proto": "ftp, https" + ", http" * (hops - 1),
        "X-Forwarded-Host": "evil.example, www.example.com" + ", web" * (hops - 1),
    }
    facts = fetch_facts(database_url, chain)
    assert facts["address"] == "203.0.113.9"
    assert facts["url"] == "https://www.example.com/"


def test_proxies_missing_header_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("FLASK_TRUSTED_PROXIES", "1")
    assert fetch_facts(database_url, {})["url"] == "http://localhost/"


@pytest.mark.skipif(os.name == "nt", reason="gunicorn does not run there")
def test_gunicorn_believes_no_proxy_itself(database_url: str) -> None:
    """Its default takes X-Forwarded-Proto from whoever connects from this machine."""
    environ = os.environ | {
        "FLASK_SECRET_KEY": "0123456789abcdef",
        "DATABASE_URL": database_url,
    }
    printed = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--print-config"],
        cwd=Path(__file__).parents[2],
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert re.search(r"^forwarded_allow_ips += \[\]$", printed, re.M)


def fetch_facts(database_url: str, headers: dict[str, str]) -> dict[str, object]:
    app = create_app({"TESTING": True, "DATABASE_URL": database_url})
    add_view(app)
    facts: dict[str, object] = (
        app.test_client().get("/facts", headers=headers).get_json()
    )
    return facts


@pytest.mark.parametrize("method", ("GET", "POST"))
@pytest.mark.parametrize("path", ("/", "/unknown", "/static/icon.svg", ITEMS))
def test_host_not_trusted(
    app: Flask, client: FlaskClient, path: str, method: str
) -> None:
    app.config["TRUSTED_HOSTS"] = ["www.example.com"]
    origin = {"Origin": "http://evil.example"}
    response = client.open(
        path, method=method, base_url="http://evil.example", headers=origin
    )
    assert response.status_code == 400
    assert response.headers.getlist("Cache-Control") == [NO_STORE]
    assert HEADERS.items() <= dict(response.headers).items()
    kind = "application/problem+json" if path == ITEMS else "text/html"
    assert response.mimetype == kind
    assert client.get("/", base_url="http://www.example.com:8000").status_code == 200


@pytest.mark.parametrize(
    ("body", "content_type"),
    (
        (b"a=" + b"x" * 65536, "application/x-www-form-urlencoded"),
        (
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 1001
            + b"--b--\r\n",
            "multipart/form-data; boundary=b",
        ),
    ),
    ids=("size", "parts"),
)
def test_form_limits(production: Flask, body: bytes, content_type: str) -> None:
    client = production.test_client()
    response = client.post("/facts", data=body, content_type=content_type)
    assert response.status_code == 413
