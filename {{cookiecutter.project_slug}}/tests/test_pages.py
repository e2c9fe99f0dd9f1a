from __future__ import annotations

import re
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient
from flask.testing import FlaskCliRunner

from {{ cookiecutter.__package_name }} import config
from {{ cookiecutter.__package_name }} import storage


def test_index_controls(client: FlaskClient) -> None:
    page = client.get("/").text
    assert '<select id="saved-items"' in page
    assert '<label for="saved-items"' in page
    assert '<form id="save-form"' in page
    assert '<input id="name" name="name" required' in page
    assert '<label for="name"' in page
    # the script makes it work: without it the name would end up in the address
    assert '<button type="submit" disabled>' in page
    assert 'aria-live="polite"' in page
    assert f'data-url="{config.API_PREFIX}/items"' in page


def test_index_without_script(client: FlaskClient) -> None:
    page = client.get("/").text
    assert "This page needs JavaScript" in page
    # nothing loads until the script runs
    assert "Loading" not in re.sub(r"<[^>]*>", "", page)


def test_index_project_name_escaped(app: Flask, client: FlaskClient) -> None:
    app.config["PROJECT_NAME"] = "<Tea & 'milk'>"
    page = client.get("/").text
    assert "<title>&lt;Tea &amp; &#39;milk&#39;&gt;</title>" in page


def test_index_files_exist(client: FlaskClient) -> None:
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', client.get("/").text)
    assert len(files) >= 3
    for file in files:
        with client.get(file) as response:
            assert response.status_code == 200
            # by the digest in its address, so that the next visit asks for none
            assert response.cache_control.immutable


def test_page_nothing_inline(client: FlaskClient) -> None:
    for path in ("/", "/unknown"):
        page = client.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_page_errors_are_html(client: FlaskClient) -> None:
    unknown = client.get(f"{config.API_PREFIX}-unknown")
    wrong = client.post("/")
    for response, status in ((unknown, 404), (wrong, 405)):
        assert response.status_code == status
        assert response.mimetype == "text/html"
        assert f'<p class="code">{status}</p>' in response.text
    assert wrong.allow == {"GET", "HEAD", "OPTIONS"}


def test_healthz_without_database(app: Flask, client: FlaskClient) -> None:
    drop(app, "items", "alembic_version")
    assert client.get("/healthz").get_json() == {"status": "ok"}


def test_readyz_is_ok(client: FlaskClient) -> None:
    response = client.get("/readyz")
    assert (response.status_code, response.get_json()) == (200, {"status": "ok"})


def test_readyz_no_database(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        storage.db.engine.dispose()
        path = Path(storage.db.engine.url.database or "")
    path.unlink()
    path.mkdir()
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.get_json()["reason"] == "The database cannot be reached."


def test_readyz_not_migrated(client: FlaskClient, runner: FlaskCliRunner) -> None:
    assert runner.invoke(args=["db", "downgrade", "base"]).exit_code == 0
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.get_json()["reason"] == "The database is not migrated."


def test_readyz_newer_database(app: Flask, client: FlaskClient) -> None:
    with app.app_context(), storage.db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE items ADD COLUMN of_newer TEXT")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'newer'")
    assert client.get("/readyz").status_code == 200


def drop(app: Flask, *tables: str) -> None:
    with app.app_context(), storage.db.engine.begin() as connection:
        for table in tables:
            connection.exec_driver_sql(f"DROP TABLE {table}")
