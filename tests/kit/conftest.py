from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest
from conftest import KIT
from conftest import note_checksums
from flask import Flask
from flask.testing import FlaskClient
from flask.testing import FlaskCliRunner

# the kit has no Jinja, so it is imported without baking;
# tests/test_guard_mutations.py sets KIT to the folder of a copy
folder = Path(os.environ.get("KIT", KIT))
spec = spec_from_file_location(
    "nocache", folder / "__init__.py", submodule_search_locations=[str(folder)]
)
assert spec is not None
assert spec.loader is not None
sys.modules["nocache"] = kit = module_from_spec(spec)
spec.loader.exec_module(kit)


@pytest.fixture(scope="session", autouse=True)
def checksums(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use checksums of the current files; test_version.py tests those in CHECKSUMS."""
    path = tmp_path_factory.mktemp("kit") / "CHECKSUMS"
    note_checksums(KIT, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kit.audit.version, "CHECKSUMS", path)
        yield


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
