"""The baked service keeps its own promises: tests, lint, audit, hooks."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from conftest import Bake
from conftest import COMBINATIONS
from conftest import find_python
from conftest import PYTHONS
from conftest import ROOT
from conftest import TOOLS_PATH

SERVICE = ROOT / "tests" / "service"
# the two that differ most: but for three names the Python of all is the same, as
# test_rendering.py shows
DIFFERENT = ["defaults", "long"]
PYTEST = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]


@pytest.mark.parametrize(
    "name",
    [
        name if name in DIFFERENT else pytest.param(name, marks=pytest.mark.slow)
        for name in COMBINATIONS
    ],
)
def test_service_is_green(bake: Bake, name: str) -> None:
    # which runs the audit
    bake(**COMBINATIONS[name]).check(*PYTEST)


@pytest.mark.parametrize(
    "name", [pytest.param("defaults", marks=pytest.mark.slow), "long"]
)
def test_service_keeps_what_the_template_promises(bake: Bake, name: str) -> None:
    """What no team has to test: each setting, hostile input, all kinds of workers."""
    project = bake(**COMBINATIONS[name])
    folder = project.path / "tests" / "service"
    folder.mkdir()
    for path in SERVICE.glob("test_*.py"):
        text = path.read_text("utf-8").replace("saved_items", project.package)
        (folder / path.name).write_text(text, "utf-8")
    project.check(*PYTEST, str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("uv", ["uv", "no-uv"])
@pytest.mark.parametrize("version", PYTHONS)
def test_service_sets_itself_up(bake: Bake, version: str, uv: str) -> None:
    make = ["make", f"PYTHON={require_python(version)}"]
    path = {"PATH": TOOLS_PATH if uv == "uv" else without_uv()}
    project = bake()
    first = project.check(*make, "setup", "check", **path)
    assert f"{sys.platform} -- Python {version}." in first
    assert project.has(".venv/bin/uv") is (uv == "no-uv")
    ready = project.path / ".venv" / ".ready"
    made = ready.stat().st_mtime_ns
    second = project.run(*make, "setup", **path)
    assert (second.returncode, ready.stat().st_mtime_ns) == (0, made), second.stdout


def require_python(version: str) -> str:
    python = find_python(version)
    if python is None and version == PYTHONS[0] and os.environ.get("CI"):
        pytest.fail(f"python{version} is not on PATH")
    return python or pytest.skip(f"python{version} is not on PATH")


def without_uv() -> str:
    folders = (f for f in os.get_exec_path() if not shutil.which("uv", path=f))
    return os.pathsep.join(folders)
