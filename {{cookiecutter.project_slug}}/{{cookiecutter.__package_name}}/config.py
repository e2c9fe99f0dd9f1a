from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from flask import Flask
from flask.helpers import get_debug_flag
from sqlalchemy import make_url
from sqlalchemy import URL
from sqlalchemy.exc import ArgumentError

PROJECT_NAME = {{ cookiecutter.__project_name_str }}  # fmt: skip
API_PREFIX = "{{ cookiecutter.api_prefix }}"
# a leading dot means the subdomains too
HOST = re.compile(r"\.?\w[\w.-]*(:\d+)?")


def configure(app: Flask, overrides: Mapping[str, Any]) -> None:
    """Fill the configuration: defaults, then FLASK_*, then *overrides*.

    :param overrides: Values that win over the environment, for tests.
    """
    debug = get_debug_flag()
    app.config.from_mapping(
        PROJECT_NAME=PROJECT_NAME,
        DATABASE_URL="sqlite:///app.sqlite3",
        DATABASE_TIMEOUT=5,
        MAX_CONTENT_LENGTH=64 * 1024,
        # with the prefix no other host and no plain HTTP can set or replace it
        SESSION_COOKIE_NAME="session" if debug else "__Host-session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=not debug,
        TRUSTED_PROXIES=0,
    )
    app.config.from_prefixed_env()
    if url := os.environ.get("DATABASE_URL"):
        app.config["DATABASE_URL"] = url
    # from_prefixed_env takes "False" for a true string; only tests set TESTING
    app.config.from_mapping(DEBUG=debug, TESTING=False)
    app.config.from_mapping(overrides)
    app.config["DATABASE_URL"] = _database_url(app.config["DATABASE_URL"])
    app.config["SECRET_KEY"] = _secret_key(app)
    for name in ("DATABASE_TIMEOUT", "MAX_CONTENT_LENGTH"):
        _check_positive(name, app.config[name])
    _check_hosts(app.config["TRUSTED_HOSTS"])
    _check_proxies(app.config["TRUSTED_PROXIES"])


def _database_url(value: object) -> URL:
    """Return *value* with the driver filled in, or say what is wrong."""
    try:
        url = make_url(str(value))
    except (ArgumentError, ValueError):
        # the value may hold a password: show neither it nor the cause
        url = URL.create("unreadable")
    if url.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
        return url.set(drivername="postgresql+psycopg")
    # memory is private to a process: no migration and no other worker sees it
    if url.drivername == "sqlite" and url.database not in {None, "", ":memory:"}:
        return url
    raise RuntimeError(
        f"DATABASE_URL is of an unsupported kind, {url.drivername!r}. Set it to"
        " sqlite:///file.sqlite3 or postgresql://user:password@host/name."
    ) from None


def _secret_key(app: Flask) -> str:
    """Return the key that signs sessions; production brings its own."""
    # FLASK_SECRET_KEY=123 arrives as a number
    key = str(app.config["SECRET_KEY"] or "").strip()
    older = app.config["SECRET_KEY_FALLBACKS"] or []
    # of a string Flask would take each letter for a key
    if not isinstance(older, list) or not all(isinstance(old, str) for old in older):
        raise RuntimeError('FLASK_SECRET_KEY_FALLBACKS must be a list, ["old-key"].')
    if app.debug or app.testing:
        return key or "dev"
    if any(len(each) < 16 or "change" in each.lower() for each in (key, *older)):
        raise RuntimeError(
            "FLASK_SECRET_KEY is missing, a placeholder or shorter than 16 characters,"
            " or one of its FALLBACKS is."
            " Make one with: python -c 'import secrets; print(secrets.token_hex())'"
        )
    return key


def _check_positive(name: str, value: object) -> None:
    if not isinstance(value, (int, float)) or value <= 0:
        raise RuntimeError(f"FLASK_{name} must be a positive number, not {value!r}.")


def _check_hosts(value: object) -> None:
    if value is None:
        return
    names = value if isinstance(value, list) else []
    # of an empty list Werkzeug would trust every host
    if not names or not all(isinstance(n, str) and HOST.fullmatch(n) for n in names):
        raise RuntimeError(
            'FLASK_TRUSTED_HOSTS must be a list of host names, ["www.example.com"],'
            f" not {value!r}."
        )


def _check_proxies(value: object) -> None:
    # True is an int as well
    if type(value) is not int or value < 0:
        raise RuntimeError(
            "FLASK_TRUSTED_PROXIES must be the number of proxies in front of the"
            f" service, not {value!r}."
        )
