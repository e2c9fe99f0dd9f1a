"""The recipes for browsers of docs/how-to.md and docs/adopting.md, and the fields they send."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import flask
import pytest
from conftest import KIT
from conftest import ROOT
from nocache import nocache
from nocache import NoCacheFlask

from .wsgi import guarded_app

CLEAR = "Clear-Site-Data"


@pytest.fixture
def app(tmp_path: Path) -> NoCacheFlask:
    app = guarded_app(tmp_path)
    app.secret_key = "tested"
    app.add_url_rule("/", "pages.index", nocache(index))
    return app


def index() -> str:
    return "page"


def run_recipe(document: Path, heading: str, **names: t.Any) -> None:
    section = document.read_text("utf-8").partition(f"## {heading}\n")[2]
    (source,) = re.findall(r"```python\n(.+?)```", section.partition("\n## ")[0], re.S)
    exec(source, vars(flask) | {"nocache": nocache} | names)


def test_sign_out_changes_the_cookie_and_clears_the_cache(app: NoCacheFlask) -> None:
    how_to = KIT.parents[1] / "docs" / "how-to.md"
    run_recipe(how_to, "Sign-out", bp=app, ResponseReturnValue=object)
    client = app.test_client()
    with client.session_transaction() as session:
        session["user"] = "alice"
    before = client.get_cookie("session")

    response = client.post("/sign-out")

    assert (response.status_code, response.headers[CLEAR]) == (303, '"cache"')
    after = client.get_cookie("session")
    assert before and after and before.value != after.value
    with client.session_transaction() as session:
        assert "user" not in session


def test_old_copies_are_cleared_once(app: NoCacheFlask) -> None:
    run_recipe(ROOT / "docs" / "adopting.md", "Copies from before", app=app)
    client = app.test_client()
    base = "https://localhost"

    assert CLEAR not in client.get("/nowhere", base_url=base).headers
    first, second = (client.get("/", base_url=base) for _ in range(2))
    assert first.headers[CLEAR] == '"cache"'
    assert CLEAR not in second.headers
    assert first.headers["Cache-Control"] == second.headers["Cache-Control"]
    assert first.headers["Cache-Control"].startswith("no-store")
