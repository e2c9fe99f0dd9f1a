from __future__ import annotations

import json
import re
from pathlib import Path

from flask import Flask

from {{ cookiecutter.__package_name }} import config

DESCRIPTION = json.loads(
    (Path(__file__).parent.parent / "openapi.json").read_text("utf-8")
)


def test_openapi_describes_every_route_of_the_api(app: Flask) -> None:
    described = {
        (path, method.upper())
        for path, operations in DESCRIPTION["paths"].items()
        for method in operations
        if method != "parameters"
    }

    assert described == {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(f"{config.API_PREFIX}/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_openapi_describes_the_header_that_is_sent(app: Flask) -> None:
    header = DESCRIPTION["components"]["headers"]["NoStore"]["schema"]["const"]

    answer = app.test_client().get(f"{config.API_PREFIX}/items")

    assert answer.headers["Cache-Control"] == header
