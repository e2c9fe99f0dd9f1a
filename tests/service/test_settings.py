"""Settings that would give a service nobody meant."""

from __future__ import annotations

import pytest
from saved_items import create_app


@pytest.fixture
def production(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> pytest.MonkeyPatch:
    """Set what a production environment sets, except the key."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return monkeypatch


@pytest.mark.parametrize(
    "key",
    (None, "", "   ", "dev", "secret", "change-me-please-now", "CHANGEME" * 4, "null"),
)
def test_secret_key_refused(production: pytest.MonkeyPatch, key: str | None) -> None:
    if key is not None:
        production.setenv("FLASK_SECRET_KEY", key)
    with pytest.raises(RuntimeError, match=r"FLASK_SECRET_KEY.*secrets\.token_hex"):
        create_app()


@pytest.mark.parametrize("key", ("0123456789abcdef", "12345678901234567890"))
def test_secret_key_accepted(production: pytest.MonkeyPatch, key: str) -> None:
    production.setenv("FLASK_SECRET_KEY", key)
    assert create_app().secret_key == key


@pytest.mark.parametrize("value", ("0", "false", "False", "no"))
def test_debug_off_needs_secret_key(production: pytest.MonkeyPatch, value: str) -> None:
    production.setenv("FLASK_DEBUG", value)
    production.setenv("FLASK_TESTING", "1")
    with pytest.raises(RuntimeError, match="FLASK_SECRET_KEY"):
        create_app()


@pytest.mark.parametrize("value", ("old-key", '["short"]', "[1]", "5"))
def test_secret_key_fallbacks_refused(
    production: pytest.MonkeyPatch, value: str
) -> None:
    production.setenv("FLASK_SECRET_KEY", "0123456789abcdef")
    production.setenv("FLASK_SECRET_KEY_FALLBACKS", value)
    with pytest.raises(RuntimeError, match="FLASK_SECRET_KEY.*FALLBACKS"):
        create_app()


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
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(RuntimeError, match="DATABASE_URL") as caught:
        create_app({"TESTING": True})
    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("name", ("MAX_CONTENT_LENGTH", "DATABASE_TIMEOUT"))
@pytest.mark.parametrize("value", ("64k", "0", "-1", "null"))
def test_number_refused(
    monkeypatch: pytest.MonkeyPatch, database_url: str, name: str, value: str
) -> None:
    monkeypatch.setenv(f"FLASK_{name}", value)
    with pytest.raises(RuntimeError, match=f"FLASK_{name}"):
        create_app({"TESTING": True, "DATABASE_URL": database_url})


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
    monkeypatch.setenv("FLASK_TRUSTED_HOSTS", value)
    with pytest.raises(RuntimeError, match="FLASK_TRUSTED_HOSTS must be a list"):
        create_app({"TESTING": True})


@pytest.mark.parametrize("value", ("-1", "true", "false", "1.0", "one", "", "null"))
def test_trusted_proxies_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FLASK_TRUSTED_PROXIES", value)
    with pytest.raises(RuntimeError, match="FLASK_TRUSTED_PROXIES must be the number"):
        create_app({"TESTING": True})
