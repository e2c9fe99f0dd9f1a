"""The route audit: replaced when the template is updated, so change it there."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask.testing import FlaskCliRunner


@pytest.fixture
def kit(app: Flask) -> ModuleType:
    classes = [c for c in type(app).__mro__ if c.__name__ == "NoCacheFlask"]
    assert classes, "create_app() must return a NoCacheFlask"
    return import_module(classes[0].__module__.rpartition(".")[0])


def test_audit_finds_nothing(app: Flask, kit: ModuleType) -> None:
    findings = kit.audit_app(app)

    assert not findings, "\n" + "\n".join(map(str, findings))


def test_no_response_may_be_stored(app: Flask, kit: ModuleType) -> None:
    findings = import_module(f"{kit.__name__}.audit.wire").check_app(app)

    assert not findings, "\n" + "\n".join(map(str, findings))


def test_headers_are_exact(client: FlaskClient) -> None:
    headers = client.get("/no-such-path").headers

    assert headers.getlist("Cache-Control") == [
        "no-store, no-cache, must-revalidate, private, max-age=0"
    ]
    assert headers.getlist("Expires") == ["Thu, 01 Jan 1970 00:00:00 GMT"]
    assert headers.getlist("Pragma") == ["no-cache"]


def test_command_is_silent(runner: FlaskCliRunner) -> None:
    result = runner.invoke(args=["nocache", "audit"])

    assert (result.output, result.exit_code) == ("", 0)
