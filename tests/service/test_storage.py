"""The database and the session: imports, migrations and readiness."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from flask import session
from flask.testing import FlaskClient
from flask.testing import FlaskCliRunner
from saved_items import create_app
from saved_items import storage

ROOT = Path(__file__).parents[2]


def test_alembic_is_imported_by_its_command_only() -> None:
    command = "import sys, saved_items; print('alembic' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


def test_async_sessions_are_closed_where_an_async_engine_is(database_url: str) -> None:
    asynchronous = {"default": "postgresql+psycopg_async://localhost/items"}
    for engines, closed in (({}, False), (asynchronous, True)):
        app = create_app(
            {
                "TESTING": True,
                "DATABASE_URL": database_url,
                "SQLALCHEMY_ASYNC_ENGINES": engines,
            }
        )
        names = {function.__name__ for function in app.teardown_appcontext_funcs}
        assert ("_close_async_sessions" in names) is closed
        with app.app_context():
            storage.db.engine.dispose()


def test_revision_on_an_old_database_says_what_to_do(
    app: Flask, runner: FlaskCliRunner
) -> None:
    assert runner.invoke(args=["db", "downgrade", "base"]).exit_code == 0
    result = runner.invoke(args=["db", "revision", "add colour"])
    assert result.exit_code == 1
    error, hint = result.stderr.splitlines()[-2:]
    assert error == "Error: Target database is not up to date."
    assert hint == "hint: flask db upgrade"


def test_session_is_read_where_the_request_has_its_cookie(
    app: Flask, client: FlaskClient
) -> None:
    @app.get("/count")
    def count() -> str:
        session["count"] = session.get("count", 0) + 1
        return str(session["count"])

    assert [client.get("/count").text for _ in range(3)] == ["1", "2", "3"]
    # a forged one counts for nothing
    client.set_cookie(app.config["SESSION_COOKIE_NAME"], "forged")
    assert client.get("/count").text == "1"


@pytest.mark.parametrize("missing", ("column", "table"))
def test_readyz_needs_each_column(
    app: Flask, client: FlaskClient, missing: str
) -> None:
    statement = {
        "column": "ALTER TABLE items DROP COLUMN name",
        "table": "DROP TABLE items",
    }
    with app.app_context(), storage.db.engine.begin() as connection:
        connection.exec_driver_sql(statement[missing])
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.get_json()["reason"] == "The database is not migrated."
