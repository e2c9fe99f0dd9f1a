"""NC001 for routes that a library registers, and routes that are missing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from apiflask import APIFlask
from flask import Blueprint
from flask import Flask
from flask.testing import FlaskCliRunner
from flask_admin import Admin
from nocache import audit_app
from nocache import Finding
from nocache import nocache
from nocache import NoCacheFlask
from nocache.audit.libraries import declares
from nocache.audit.policy_file import write_policy_file

SETUP = {
    "flask_restx": (
        "from flask_restx import Api",
        "Api(app)",
        {"doc", "root", "specs"},
    ),
    "flask_smorest": (
        "from flask_smorest import Api",
        "Api(app)",
        {"api-docs.openapi_json"},
    ),
    "flask_swagger_ui": (
        "import flask_swagger_ui",
        "app.register_blueprint(flask_swagger_ui.get_swaggerui_blueprint('/ui', '/x'))",
        {"swagger_ui.show"},
    ),
    "flask_admin": ("from flask_admin import Admin", "Admin(app)", {"admin.index"}),
    "apiflask": (
        "from apiflask import APIFlask",
        "",
        {"openapi.spec", "openapi.docs", "openapi.swagger_ui_oauth_redirect"},
    ),
}
APP = """
from nocache import NoCacheFlask
{imports}


class App(NoCacheFlask{base}):
    pass


app = App(__name__)
app.config.update(API_TITLE="x", API_VERSION="1", OPENAPI_VERSION="3.0.2")
app.config.update(OPENAPI_URL_PREFIX="/", SECRET_KEY="x")
{registered}
"""
Load = Callable[[str, str], Flask]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(name: str, text: str) -> Flask:
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        app: Flask = importlib.import_module(name).app
        monkeypatch.delitem(sys.modules, name, raising=False)
        sys.modules[name] = sys.modules.get(name) or importlib.import_module(name)
        write_policy_file(app)
        return app

    return load


def undeclared(app: Flask) -> list[Finding]:
    return [f for f in audit_app(app) if f.id == "NC001"]


def source(library: str) -> str:
    imports, registered, _ = SETUP[library]
    base = ", APIFlask" if library == "apiflask" else ""
    return APP.format(imports=imports, registered=registered, base=base)


@pytest.mark.parametrize("library", SETUP)
def test_nc001_has_the_line_that_registers_the_library(
    load: Load, library: str
) -> None:
    text = source(library)
    app = load(f"shop_{library}", text)
    findings = undeclared(app)
    registered = SETUP[library][1] or "app = App("
    lines = text.splitlines()
    (line,) = (n for n, content in enumerate(lines, 1) if registered in content)

    assert {f.message.split("'")[1] for f in findings} == SETUP[library][2]
    assert {(f.path, f.line) for f in findings} == {(f"shop_{library}.py", line)}


@pytest.mark.parametrize("library", SETUP)
def test_nc001_hint_works_for_each_library(load: Load, library: str) -> None:
    app = load(f"mended_{library}", source(library))

    for finding in undeclared(app):
        _, _, statement = finding.hint.partition("app is made: ")
        exec(statement.rstrip("."), {"app": app, "nocache": nocache})

    assert undeclared(app) == []
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        if not rule.arguments:
            assert "no-store" in client.get(rule.rule).headers["Cache-Control"]


def test_nc001_extension_with_init_app(load: Load, tmp_path: Path) -> None:
    (tmp_path / "extensions.py").write_text(
        "from flask_admin import Admin\n\nadmin = Admin()\n"
    )
    app = load(
        "shop_later",
        "from nocache import NoCacheFlask\nfrom extensions import admin\n\n"
        "app = NoCacheFlask(__name__)\nadmin.init_app(app)\n",
    )

    assert {(f.path, f.line) for f in undeclared(app)} == {("shop_later.py", 5)}


def test_nc001_library_without_a_line_has_the_line_of_the_app(
    load: Load,
) -> None:
    app = load(
        "shop_hidden",
        "from nocache import NoCacheFlask\n\n\napp = NoCacheFlask(__name__)\n",
    )
    Admin(app)

    assert {(f.path, f.line) for f in undeclared(app)} == {("shop_hidden.py", 4)}


def test_nc001_app_without_a_file_noop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = NoCacheFlask("no_such_module")
    Admin(app)

    assert undeclared(app) == []


def test_nc001_apiflask_is_declared_by_its_settings(load: Load) -> None:
    app = load("shop_settings", source("apiflask"))
    assert isinstance(app, APIFlask)
    for setting in ("SPEC", "DOCS", "SWAGGER_UI_OAUTH_REDIRECT"):
        app.config[f"{setting}_DECORATORS"] = [nocache]

    assert undeclared(app) == []


def test_nc001_of_the_service_keeps_its_place_and_hint(load: Load) -> None:
    app = load(
        "shop_own",
        "from nocache import NoCacheFlask\n\napp = NoCacheFlask(__name__)\n\n\n"
        "@app.get('/')\ndef index():\n    return 'page'\n",
    )

    (finding,) = undeclared(app)
    assert (finding.path, finding.line) == ("shop_own.py", 6)
    assert finding.hint.startswith("put @nocache on the view")


# flask --app module: an app whose factory did not run


LATER = """
from flask import Blueprint
from nocache import NoCacheFlask, nocache

app = NoCacheFlask(__name__)
bp = Blueprint("pages", __name__)


@bp.get("/a")
@nocache
def a():
    return "a"


@bp.route("/b", methods=["POST"])
@nocache
def b():
    return "b"
"""


def test_missing_routes_are_a_warning(load: Load) -> None:
    app = load("shop_untold", LATER)
    runner: FlaskCliRunner = app.test_cli_runner()

    audit = runner.invoke(args=["nocache", "audit"])

    assert audit.exit_code == 0
    assert audit.stdout == ""
    assert audit.stderr == (
        "warning: 2 routes of the source are not in this app, the first in"
        " shop_untold.py:9. Name the factory that registers them: flask --app 'module:create_app'.\n"
    )


def test_registered_routes_are_no_warning(load: Load) -> None:
    app = load("shop_told", f"{LATER}\n\napp.register_blueprint(bp)\n")

    assert app.test_cli_runner().invoke(args=["nocache", "audit"]).stderr == ""


def test_one_missing_blueprint_is_no_warning(load: Load) -> None:
    text = f'{LATER}\n\napp.register_blueprint(bp)\nother = Blueprint("x", __name__)\n'
    text += "\n\n@other.get('/c')\ndef c():\n    return 'c'\n"
    app = load("shop_partly", text)

    assert isinstance(app.blueprints["pages"], Blueprint)
    assert app.test_cli_runner().invoke(args=["nocache", "audit"]).stderr == ""


def test_view_with_an_empty_cell_is_read() -> None:
    def view() -> str:
        return name

    assert not declares(Flask("kit_app"), view, nocache)
    name = ""
