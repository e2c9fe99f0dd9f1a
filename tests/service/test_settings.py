"""Settings that the service refuses: longer lists than those of its own tests."""

from __future__ import annotations

import pytest
import test_config
from saved_items import create_app
from test_config import production_environment as production_environment


@pytest.mark.parametrize(
    "key",
    (None, "", "   ", "dev", "secret", "change-me-please-now", "CHANGEME" * 4, "null"),
)
def test_secret_key_refused(
    production_environment: pytest.MonkeyPatch, key: str | None
) -> None:
    test_config.test_secret_key_refused(production_environment, key)


@pytest.mark.parametrize("key", ("0123456789abcdef", "12345678901234567890"))
def test_secret_key_accepted(
    production_environment: pytest.MonkeyPatch, key: str
) -> None:
    production_environment.setenv("FLASK_SECRET_KEY", key)
    assert create_app().secret_key == key


@pytest.mark.parametrize("value", ("0", "false", "False", "no"))
def test_debug_off_needs_secret_key(
    production_environment: pytest.MonkeyPatch, value: str
) -> None:
    production_environment.setenv("FLASK_DEBUG", value)
    production_environment.setenv("FLASK_TESTING", "1")
    with pytest.raises(RuntimeError, match="FLASK_SECRET_KEY"):
        create_app()


@pytest.mark.parametrize("value", ("old-key", '["short"]', "[1]", "5"))
def test_secret_key_fallbacks_refused(
    production_environment: pytest.MonkeyPatch, value: str
) -> None:
    test_config.test_secret_key_fallbacks_refused(production_environment, value)


@pytest.mark.parametrize("scheme", ("postgres", "postgresql", "postgresql+psycopg"))
def test_database_url_driver(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://user:hush@localhost/items")
    url = create_app({"TESTING": True}).config["DATABASE_URL"]
    assert url.render_as_string(hide_password=False) == (
        "postgresql+psycopg://user:hush@localhost/items"
    )


@pytest.mark.parametrize(
    "url",
    (
        "user:hush@localhost",
        "postgresql://user:hush@localhost:port/items",
        "mysql://user:hush@localhost/items",
        "sqlite://",
        "sqlite:///:memory:",
        "/path/to/file",
    ),
)
def test_database_url_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    test_config.test_database_url_refused(monkeypatch, url)


@pytest.mark.parametrize("name", ("MAX_CONTENT_LENGTH", "DATABASE_TIMEOUT"))
@pytest.mark.parametrize("value", ("64k", "0", "-1", "null"))
def test_number_refused(
    monkeypatch: pytest.MonkeyPatch, database_url: str, name: str, value: str
) -> None:
    test_config.test_number_refused(monkeypatch, database_url, name, value)


@pytest.mark.parametrize(
    "value",
    (
        "",
        "www.example.com",
        "[]",
        '[""]',
        '["https://www.example.com"]',
        '["*.example.com"]',
        '["www.example.com", 5]',
        "true",
    ),
)
def test_trusted_hosts_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    test_config.test_trusted_hosts_refused(monkeypatch, value)


@pytest.mark.parametrize("value", ("-1", "true", "false", "1.0", "one", "", "null"))
def test_trusted_proxies_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    test_config.test_trusted_proxies_refused(monkeypatch, value)
