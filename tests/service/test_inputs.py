"""Responses to malformed input and to errors of the database."""

from __future__ import annotations

import json

import pytest
import test_api
from flask import Flask
from flask.testing import FlaskClient
from pydantic import BaseModel
from saved_items import config
from saved_items.inputs import read_json
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import InterfaceError
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from test_api import fields
from test_api import problem
from test_api import save

ITEMS = f"{config.API_PREFIX}/items"


@pytest.mark.parametrize(
    ("query", "field"),
    (
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("before=0", "before"),
        (f"before={2**63}", "before"),
        ("before=" + "9" * 5000, "before"),
        ("before=%00", "before"),
        ("before=%ff", "before"),
        ("page=2", "page"),
    ),
)
def test_list_items_query_refused(client: FlaskClient, query: str, field: str) -> None:
    assert fields(client.get(f"{ITEMS}?{query}"), 400) == [field]


@pytest.mark.parametrize("method", ("GET", "PUT", "DELETE"))
@pytest.mark.parametrize("item_id", ("1", str(2**63), "9" * 400, "-1", "x", "%00"))
def test_item_missing_is_404(client: FlaskClient, method: str, item_id: str) -> None:
    url = f"{ITEMS}/{item_id}"
    problem(client.open(url, method=method, json={"name": "tea"}), 404)


@pytest.mark.parametrize(
    "name",
    (
        "x" * 200,
        "\N{SNOWMAN}" * 200,
        "\N{FAMILY}\N{ZERO WIDTH JOINER}\N{GIRL}",
        "\N{HEBREW LETTER SHIN}\N{HEBREW LETTER LAMED}",
        "<b onclick='x'>\"&amp;",
        "'; drop table items; --",
    ),
    ids=ascii,
)
def test_name_kept(client: FlaskClient, name: str) -> None:
    assert save(client, name)["name"] == name
    assert client.get(ITEMS).get_json()["items"][0]["name"] == name


@pytest.mark.parametrize(
    ("body", "status", "field"),
    (
        (b"", 400, "body"),
        (b'{"name": ', 400, "body"),
        (b"name=tea", 400, "body"),
        (b"[" * 30_000, 400, "body"),
        (b'{"name": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, 400, "body"),
        (b'{"name": 1' + b"0" * 5000 + b"}", 400, "body"),
        (b'{"name": "\xff"}', 400, "body"),
        (b'{"name": "\\ud800"}', 400, "body"),
        (b'\xef\xbb\xbf{"name": "tea"}', 400, "body"),
        ('{"name": "tea"}'.encode("utf-16"), 400, "body"),
        (b'{"name": "tea", "name": "milk"}', 400, "body"),
        (b'{"name": "tea"} {}', 400, "body"),
        (b"null", 422, "body"),
        (b'["name"]', 422, "body"),
        (b"{}", 422, "name"),
        (b'{"name": null}', 422, "name"),
        (b'{"name": 5}', 422, "name"),
        (b'{"name": NaN}', 422, "name"),
        (b'{"name": -Infinity}', 422, "name"),
        (b'{"name": true}', 422, "name"),
        (b'{"name": ["tea"]}', 422, "name"),
        (b'{"name": ""}', 422, "name"),
        (b'{"name": " \\n"}', 422, "name"),
        (b'{"name": "te\\u0000a"}', 422, "name"),
        (b'{"name": "te\\na"}', 422, "name"),
        (b'{"name": "te\\u2028a"}', 422, "name"),
        (b'{"name": "\\u200b"}', 422, "name"),
        (json.dumps({"name": "x" * 201}).encode(), 422, "name"),
        (b'{"name": "tea", "id": 1}', 422, "id"),
    ),
    ids=lambda value: ascii(value)[:32],
)
@pytest.mark.parametrize("method", ("POST", "PUT"))
def test_body_refused(
    client: FlaskClient, method: str, body: bytes, status: int, field: str
) -> None:
    url = ITEMS if method == "POST" else f"{ITEMS}/{save(client)['id']}"
    before = client.get(ITEMS).get_json()
    response = client.open(
        url, method=method, data=body, content_type="application/json"
    )
    assert fields(response, status) == [field]
    assert client.get(ITEMS).get_json() == before


def test_body_refused_response_bounded(client: FlaskClient) -> None:
    response = client.post(ITEMS, json={str(number): 0 for number in range(5000)})
    assert len(fields(response, 422)) == 20


@pytest.mark.parametrize(
    "content_type",
    (None, "text/plain", "multipart/form-data", "application/json; charset=latin-1"),
)
def test_content_type_refused(client: FlaskClient, content_type: str | None) -> None:
    response = client.post(ITEMS, data=b'{"name": "tea"}', content_type=content_type)
    assert fields(response, 415) == ["Content-Type"]


class Shop(BaseModel):
    """A body whose model allows fields that it does not know."""

    owner: dict[str, str]


@pytest.mark.parametrize(
    ("body", "status"),
    (
        ('{"owner": {"name": "a"}, "more": 1}', 204),
        ('{"owner": {"name": "a"}, "more": 1, "more": 2}', 400),
        ('{"owner": {"name": "a", "name": "b"}}', 400),
        ('{"owner": {"name": "a"}, "more": [{"x": 1, "x": 2}]}', 400),
    ),
)
def test_field_named_twice_is_400_at_any_depth(
    app: Flask, body: str, status: int
) -> None:
    @app.post("/shops")
    def create_shop() -> tuple[str, int]:
        read_json(Shop)
        return "", 204

    client = app.test_client()
    response = client.post("/shops", data=body, content_type="application/json")

    assert response.status_code == status


@pytest.mark.parametrize(
    ("kind", "reason", "status"),
    (
        (InterfaceError, "connection already closed", 503),
        (ProgrammingError, 'relation "items" does not exist', 503),
        (ProgrammingError, "column items.colour does not exist", 503),
        (ProgrammingError, "function hash(text) does not exist", 500),
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
    test_api.test_database_error(app, client, monkeypatch, kind, reason, status)


def test_parallel_writers_never_locked(app: Flask) -> None:
    test_api.write_in_parallel(app, 80)
    items = app.test_client().get(f"{ITEMS}?limit=100").get_json()["items"]
    assert len(items) == 40
