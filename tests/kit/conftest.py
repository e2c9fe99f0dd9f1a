from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import module_from_spec
from importlib.util import spec_from_file_location
from types import ModuleType

import pytest
from conftest import KIT
from flask import Flask
from flask.testing import FlaskClient
from flask.testing import FlaskCliRunner

# the kit is plain Python: it is imported where it lies, and checked without baking
spec = spec_from_file_location(
    "nocache", KIT / "__init__.py", submodule_search_locations=[str(KIT)]
)
assert spec is not None
assert spec.loader is not None
sys.modules["nocache"] = kit = module_from_spec(spec)
spec.loader.exec_module(kit)


@pytest.fixture
def app() -> Flask:
    app: Flask = kit.NoCacheFlask("kit_app")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()
