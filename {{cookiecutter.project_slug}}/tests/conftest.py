from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask.testing import FlaskCliRunner

from {{ cookiecutter.__package_name }} import create_app
from {{ cookiecutter.__package_name }} import storage


def pytest_collection_finish() -> None:
    # what is imported stays: nothing there to look through for garbage, test by test
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def environment() -> Iterator[None]:
    """Keep the developer's own settings out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("FLASK_") or name in {"DATABASE_URL", "METRICS_PORT"}:
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that was migrated once; each test has a copy of it."""
    path = tmp_path_factory.mktemp("database") / "migrated.sqlite3"
    url = f"sqlite:///{path.as_posix()}"
    app = create_app({"TESTING": True, "DATABASE_URL": url})
    assert app.test_cli_runner().invoke(args=["db", "upgrade"]).exit_code == 0
    with app.app_context():
        storage.db.engine.dispose()
    return path


@pytest.fixture
def database_url(migrated_database: Path) -> str:
    # not in tmp_path: a folder for each test takes longer than its database
    path = migrated_database.with_name(f"{uuid4().hex}.sqlite3")
    shutil.copy(migrated_database, path)
    return f"sqlite:///{path.as_posix()}"


@pytest.fixture
def app(database_url: str) -> Iterator[Flask]:
    app = create_app({"TESTING": True, "DATABASE_URL": database_url})
    yield app
    with app.app_context():
        storage.db.engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()
