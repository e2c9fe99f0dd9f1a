from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from nocache import nocache
from nocache.audit import formats


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def late(app: Flask) -> None:
    @app.get("/late")
    def late() -> str:
        return "late"


def accept(runner: FlaskCliRunner) -> None:
    assert runner.invoke(args=["nocache", "accept"]).exit_code == 0


@pytest.mark.parametrize("form", formats.AUDIT)
def test_audit_exits_1_on_findings_in_every_format(
    late: None, runner: FlaskCliRunner, form: str
) -> None:
    result = runner.invoke(args=["nocache", "audit", "--format", form])
    assert result.exit_code == 1
    assert "NC001" in result.stdout


@pytest.mark.parametrize("form", formats.AUDIT)
def test_audit_exits_0_without_findings_in_every_format(
    runner: FlaskCliRunner, form: str
) -> None:
    accept(runner)
    result = runner.invoke(args=["nocache", "audit", "--format", form])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == formats.AUDIT[form]([], "kit_app").strip()


@pytest.mark.parametrize("form", ["text", "github"])
def test_audit_is_silent_without_findings(runner: FlaskCliRunner, form: str) -> None:
    accept(runner)
    assert runner.invoke(args=["nocache", "audit", "--format", form]).output == ""


@pytest.mark.parametrize("form", formats.ROUTES)
def test_routes_lists_the_routes_in_every_format(
    late: None, runner: FlaskCliRunner, form: str
) -> None:
    result = runner.invoke(args=["nocache", "routes", "--format", form])
    assert result.exit_code == 0
    assert "/late" in result.stdout


def test_output_writes_only_the_file(
    late: None, runner: FlaskCliRunner, folder: Path
) -> None:
    args = ["nocache", "audit", "--format", "json", "--output", "findings.json"]
    result = runner.invoke(args=args)
    assert (result.exit_code, result.output) == (1, "")
    items = json.loads((folder / "findings.json").read_text("utf-8"))
    assert {item["id"] for item in items} == {"NC001", "NC010"}
    assert [path.name for path in folder.iterdir()] == ["findings.json"]


def test_output_replaces_an_old_file(
    app: Flask, runner: FlaskCliRunner, folder: Path
) -> None:
    (folder / "routes.md").write_text("a longer text than the table\n" * 99, "utf-8")
    app.add_url_rule("/e", "é", nocache(lambda: "x"))
    args = ["nocache", "routes", "--format", "markdown", "--output", "routes.md"]
    assert runner.invoke(args=args).exit_code == 0
    lines = (folder / "routes.md").read_text("utf-8").splitlines()
    assert lines[0].startswith("| Rule |")
    assert lines[2] == "| /e | GET | no-store | é |  |"


def test_output_that_cannot_be_written_is_a_usage_error(
    runner: FlaskCliRunner,
) -> None:
    args = ["nocache", "routes", "--output", "nowhere/routes.txt"]
    result = runner.invoke(args=args)
    assert result.exit_code == 2
    assert "'nowhere/routes.txt' cannot be written: No such file" in result.stderr


def test_unknown_format_is_refused(runner: FlaskCliRunner) -> None:
    result = runner.invoke(args=["nocache", "audit", "--format", "xml"])
    assert result.exit_code == 2
    assert "'text', 'json', 'sarif'" in result.stderr
