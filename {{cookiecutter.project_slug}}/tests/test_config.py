from __future__ import annotations

import pytest

from {{ cookiecutter.__package_name }} import create_app


@pytest.fixture
def production_environment(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> pytest.MonkeyPatch:
    """Set what a production environment sets, except the key."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return monkeypatch


@pytest.mark.parametrize("key", (None, "", "dev", "change-me-please-now"))
def test_secret_key_refused(
    production_environment: pytest.MonkeyPatch, key: str | None
) -> None:
    if key is not None:
        production_environment.setenv("FLASK_SECRET_KEY", key)
    with pytest.raises(RuntimeError, match=r"FLASK_SECRET_KEY.*secrets\.token_hex"):
        create_app()


def test_secret_key_of_digits(production_environment: pytest.MonkeyPatch) -> None:
    production_environment.setenv("FLASK_SECRET_KEY", "12345678901234567890")
    assert create_app().secret_key == "12345678901234567890"


def test_debug_off_needs_secret_key(production_environment: pytest.MonkeyPatch) -> None:
    production_environment.setenv("FLASK_DEBUG", "false")
    production_environment.setenv("FLASK_TESTING", "1")
    with pytest.raises(RuntimeError, match="FLASK_SECRET_KEY"):
        create_app()


def test_debug_has_development_key(production_environment: pytest.MonkeyPatch) -> None:
    production_environment.setenv("FLASK_DEBUG", "1")
    app = create_app()
    assert app.debug
    assert app.secret_key
    assert not app.config["SESSION_COOKIE_SECURE"]


@pytest.mark.parametrize("value", ("old-key", '["short"]'))
def test_secret_key_fallbacks_refused(
    production_environment: pytest.MonkeyPatch, value: str
) -> None:
    production_environment.setenv("FLASK_SECRET_KEY", "0123456789abcdef")
    production_environment.setenv("FLASK_SECRET_KEY_FALLBACKS", value)
    with pytest.raises(RuntimeError, match="FLASK_SECRET_KEY.*FALLBACKS"):
        create_app()


@pytest.mark.parametrize(
    "url",
    (
        "postgresql://user:hush@localhost:port/items",
        "mysql://user:hush@localhost/items",
        "sqlite:///:memory:",
    ),
)
def test_database_url_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(RuntimeError, match="DATABASE_URL") as caught:
        create_app({"TESTING": True})
    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("name", ("MAX_CONTENT_LENGTH", "DATABASE_TIMEOUT"))
@pytest.mark.parametrize("value", ("64k", "0"))
def test_number_refused(
    monkeypatch: pytest.MonkeyPatch, database_url: str, name: str, value: str
) -> None:
    monkeypatch.setenv(f"FLASK_{name}", value)
    with pytest.raises(RuntimeError, match=f"FLASK_{name}"):
        create_app({"TESTING": True, "DATABASE_URL": database_url})


@pytest.mark.parametrize("value", ("www.example.com", "[]", '["*.example.com"]'))
def test_trusted_hosts_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FLASK_TRUSTED_HOSTS", value)
    with pytest.raises(RuntimeError, match="FLASK_TRUSTED_HOSTS must be a list"):
        create_app({"TESTING": True})


@pytest.mark.parametrize("value", ("-1", "true", "one"))
def test_trusted_proxies_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FLASK_TRUSTED_PROXIES", value)
    with pytest.raises(RuntimeError, match="FLASK_TRUSTED_PROXIES must be the number"):
        create_app({"TESTING": True})
