from __future__ import annotations

import json
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from datetime import timedelta
from datetime import UTC
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask.testing import FlaskCliRunner
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.test import TestResponse

from {{ cookiecutter.__package_name }} import config
from {{ cookiecutter.__package_name }} import storage

ITEMS = f"{config.API_PREFIX}/items"


def save(client: FlaskClient, name: str = "tea") -> dict[str, Any]:
    response = client.post(ITEMS, json={"name": name})
    assert response.status_code == 201
    item: dict[str, Any] = response.get_json()
    return item


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    body: dict[str, Any] = response.get_json(force=True)
    assert body["type"] == "about:blank"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


def fields(response: TestResponse, status: int) -> list[str]:
    errors = problem(response, status)["errors"]
    assert all(error["detail"] for error in errors)
    return [error["field"] for error in errors]


def test_create_item_location(client: FlaskClient) -> None:
    response = client.post(ITEMS, json={"name": "  tea "})
    item = response.get_json()
    assert response.status_code == 201
    assert item["name"] == "tea"
    assert response.headers["Location"] == f"{ITEMS}/{item['id']}"
    assert client.get(response.headers["Location"]).get_json() == item


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone is fixed")
def test_created_at_utc(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        item = save(client)
        assert item["created_at"].endswith("+00:00")
        age = datetime.now(UTC) - datetime.fromisoformat(item["created_at"])
        assert abs(age) < timedelta(minutes=1)
        assert client.get(ITEMS).get_json()["items"] == [item]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_list_items_newest_first(client: FlaskClient) -> None:
    assert client.get(ITEMS).get_json() == {"items": [], "next": None}
    saved = [save(client, name) for name in ("tea", "milk", "jam")]
    assert client.get(ITEMS).get_json()["items"] == saved[::-1]


def test_list_items_pages(client: FlaskClient) -> None:
    saved = [save(client, str(number))["id"] for number in range(5)]
    pages = []
    url: str | None = f"{ITEMS}?limit=2"
    while url:
        page = client.get(url).get_json()
        pages.append([item["id"] for item in page["items"]])
        url = page["next"]
    a, b, c, d, e = saved
    assert pages == [[e, d], [c, b], [a]]


def test_list_items_bounded(app: Flask, client: FlaskClient) -> None:
    with app.app_context(), storage.db.engine.begin() as connection:
        connection.execute(insert(storage.Item), [{"name": "tea"}] * 51)
    assert len(client.get(ITEMS).get_json()["items"]) == 50
    assert client.get(f"{ITEMS}?limit=51").get_json()["next"] is None


def test_list_items_query_refused(
    client: FlaskClient, subtests: pytest.Subtests
) -> None:
    for query, field in (
        ("limit=101", "limit"),
        ("limit=1&limit=2", "limit"),
        ("before=0", "before"),
        ("page=2", "page"),
    ):
        with subtests.test(query):
            assert fields(client.get(f"{ITEMS}?{query}"), 400) == [field]


def test_rename_item(client: FlaskClient) -> None:
    item = save(client)
    url = f"{ITEMS}/{item['id']}"
    renamed = client.put(url, json={"name": "green tea"})
    assert renamed.status_code == 200
    assert renamed.get_json() == item | {"name": "green tea"}
    assert client.get(url).get_json() == renamed.get_json()


def test_delete_item(client: FlaskClient) -> None:
    url = f"{ITEMS}/{save(client)['id']}"
    response = client.delete(url)
    assert (response.status_code, response.data) == (204, b"")
    problem(client.get(url), 404)
    problem(client.delete(url), 404)


def test_delete_item_id_not_reused(client: FlaskClient) -> None:
    first = save(client)["id"]
    client.delete(f"{ITEMS}/{first}")
    assert save(client)["id"] > first


def test_item_missing_is_404(client: FlaskClient) -> None:
    for item_id in (1, 2**63):
        problem(client.get(f"{ITEMS}/{item_id}"), 404)
        problem(client.put(f"{ITEMS}/{item_id}", json={"name": "tea"}), 404)
        problem(client.delete(f"{ITEMS}/{item_id}"), 404)


def test_name_kept(client: FlaskClient) -> None:
    name = "<b onclick='x'>\"&amp; \N{SNOWMAN}"
    assert save(client, name)["name"] == name
    assert client.get(ITEMS).get_json()["items"][0]["name"] == name


def test_body_refused(client: FlaskClient, subtests: pytest.Subtests) -> None:
    for body, status, field in (
        (b'{"name": ', 400, "body"),
        (b'{"name": "tea", "name": "milk"}', 400, "body"),
        (b'["name"]', 422, "body"),
        (b"{}", 422, "name"),
        (b'{"name": 5}', 422, "name"),
        (b'{"name": " \\n"}', 422, "name"),
        (b'{"name": "te\\na"}', 422, "name"),
        (json.dumps({"name": "x" * 201}).encode(), 422, "name"),
        (b'{"name": "tea", "id": 1}', 422, "id"),
    ):
        with subtests.test(ascii(body)[:32]):
            response = client.post(ITEMS, data=body, content_type="application/json")
            assert fields(response, status) == [field]
    assert client.get(ITEMS).get_json()["items"] == []


def test_rename_refused(client: FlaskClient) -> None:
    item = save(client)
    url = f"{ITEMS}/{item['id']}"
    assert fields(client.put(url, json={"name": ""}), 422) == ["name"]
    assert client.get(url).get_json() == item


def test_body_refused_response_bounded(client: FlaskClient) -> None:
    response = client.post(ITEMS, json={str(number): 0 for number in range(50)})
    assert len(fields(response, 422)) == 20


def test_content_type_refused(client: FlaskClient) -> None:
    for kind in ("text/plain", "application/json; charset=latin-1"):
        response = client.post(ITEMS, data=b'{"name": "tea"}', content_type=kind)
        assert fields(response, 415) == ["Content-Type"]


def test_body_too_large(app: Flask, client: FlaskClient) -> None:
    name = "x" * app.config["MAX_CONTENT_LENGTH"]
    assert fields(client.post(ITEMS, json={"name": name}), 413) == ["body"]


def test_body_too_large_chunked(app: Flask, client: FlaskClient) -> None:
    body = BytesIO(b" " * (app.config["MAX_CONTENT_LENGTH"] + 1))
    assert fields(client.post(ITEMS, environ_overrides=chunked(body)), 413) == ["body"]


def test_body_chunked_is_accepted(client: FlaskClient) -> None:
    body = BytesIO(b'{"name": "tea"}')
    assert client.post(ITEMS, environ_overrides=chunked(body)).status_code == 201


def test_body_broken_off(client: FlaskClient) -> None:
    class Broken(BytesIO):
        def readinto(self, buffer: object) -> int:
            raise RuntimeError("a server's own exception")

    response = client.post(ITEMS, environ_overrides=chunked(Broken()))
    assert fields(response, 400) == ["body"]


def chunked(body: BytesIO) -> dict[str, Any]:
    """Return what a server passes on for a body without a Content-Length."""
    return {
        "CONTENT_TYPE": "application/json",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": body,
        "wsgi.input_terminated": True,
    }


def test_routing_errors_are_problems(client: FlaskClient) -> None:
    problem(client.get(config.API_PREFIX), 404)
    problem(client.get(f"{config.API_PREFIX}/unknown"), 404)
    problem(client.get(f"{ITEMS}/"), 404)
    response = client.patch(ITEMS)
    problem(response, 405)
    assert response.allow == {"GET", "HEAD", "OPTIONS", "POST"}


def test_unhandled_error_says_nothing(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    monkeypatch.setattr(storage, "list_items", lambda *args: 1 / 0)
    response = client.get(ITEMS)
    problem(response, 500)
    assert b"zero" not in response.data


def test_database_locked_is_503(app: Flask, client: FlaskClient) -> None:
    save(client)
    with app.app_context():
        # shorten the wait of the connection that the pool will hand out next
        with storage.db.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 50")
        path = storage.db.engine.url.database
    assert path is not None
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    response = client.post(ITEMS, json={"name": "milk"})
    problem(response, 503)
    assert response.headers["Retry-After"] == "5"
    assert client.get(ITEMS).status_code == 200
    other.close()
    save(client, "milk")


def test_database_not_migrated_is_503(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with app.app_context(), storage.db.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE items")
    assert problem(client.get(ITEMS), 503)["detail"] == "The database cannot be used."
    assert "no such table: items; is it migrated?" in caplog.text


@pytest.mark.parametrize(
    ("kind", "reason", "status"),
    (
        (ProgrammingError, "syntax error", 500),
        (PoolTimeoutError, "QueuePool limit", 503),
    ),
)
def test_database_error(
    app: Flask,
    client: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[DBAPIError] | type[PoolTimeoutError],
    reason: str,
    status: int,
) -> None:
    def fail(*args: object) -> None:
        if issubclass(kind, DBAPIError):
            raise kind("SELECT", {}, Exception(reason))
        raise kind(reason)

    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    monkeypatch.setattr(storage, "list_items", fail)
    response = client.get(ITEMS)
    problem(response, status)
    assert reason not in response.text


def write_in_parallel(app: Flask, count: int) -> None:
    """Save, read and rename so many items, and delete every other one."""

    def write(number: int) -> int:
        client = app.test_client()
        item = save(client, str(number))
        url = f"{ITEMS}/{item['id']}"
        statuses = {
            client.get(url).status_code,
            client.put(url, json={"name": "x"}).status_code,
        }
        if number % 2:
            client.delete(url)
        return max(statuses)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(write, range(count))) == {200}


def test_parallel_writers_never_locked(app: Flask) -> None:
    write_in_parallel(app, 16)
    assert len(app.test_client().get(ITEMS).get_json()["items"]) == 8


def test_sqlite_journal(app: Flask) -> None:
    with app.app_context(), storage.db.engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 5000}


def test_migrations_match_models(runner: FlaskCliRunner) -> None:
    result = runner.invoke(args=["db", "check"])
    assert (result.exit_code, result.stdout) == (0, "No changes detected.\n")


def test_migrations_downgrade(runner: FlaskCliRunner) -> None:
    for command in ("downgrade base", "upgrade", "current --check-heads"):
        assert runner.invoke(args=["db", *command.split()]).exit_code == 0


def test_request_starts_no_thread(client: FlaskClient) -> None:
    names = set()
    # heard by the threads that start from here on
    threading.setprofile(lambda *_: names.add(threading.current_thread().name))
    try:
        save(client)
    finally:
        threading.setprofile(None)
    assert not names
