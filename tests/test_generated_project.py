"""The baked service keeps its own promises: tests, lint, audit, hooks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Bake
from conftest import COMBINATIONS
from conftest import PYTHONS
from conftest import ROOT
from conftest import SAME_PYTHON

SERVICE = ROOT / "tests" / "service"
# the two that differ most: but for three names the Python of all is the same
PROMISED = ["defaults", "long"]
PYTEST = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SAME_PYTHON else name
        for name in COMBINATIONS
    ],
)
def test_service_is_green(bake: Bake, name: str) -> None:
    project = bake(**COMBINATIONS[name])
    tests = project.run(*PYTEST)
    assert tests.returncode == 0, tests.stdout
    audit = project.run("python", "-m", "flask", "nocache", "audit")
    assert (audit.returncode, audit.stdout) == (0, "")


@pytest.mark.parametrize("name", PROMISED)
def test_service_keeps_what_the_template_promises(bake: Bake, name: str) -> None:
    """What no team has to test: each setting, hostile input, all kinds of workers."""
    project = bake(**COMBINATIONS[name])
    folder = project.path / "tests" / "service"
    folder.mkdir()
    for path in SERVICE.glob("test_*.py"):
        text = path.read_text("utf-8").replace("saved_items", project.package)
        (folder / path.name).write_text(text, "utf-8")
    tests = project.run(*PYTEST, str(folder))
    assert tests.returncode == 0, tests.stdout


@pytest.mark.slow
@pytest.mark.parametrize("uv", ["uv", "no-uv"])
@pytest.mark.parametrize("version", PYTHONS)
def test_service_sets_itself_up(bake: Bake, version: str, uv: str) -> None:
    make = ["make", f"PYTHON={find_python(version)}"]
    path = {"PATH": with_uv() if uv == "uv" else without_uv()}
    project = bake()
    first = project.run(*make, "setup", "check", **path)
    assert first.returncode == 0, first.stdout
    assert f"{sys.platform} -- Python {version}." in first.stdout
    assert project.has(".venv/bin/uv") is (uv == "no-uv")
    ready = project.path / ".venv" / ".ready"
    made = ready.stat().st_mtime_ns
    second = project.run(*make, "setup", **path)
    assert (second.returncode, ready.stat().st_mtime_ns) == (0, made), second.stdout


def find_python(version: str) -> str:
    """Find a Python on PATH that starts; version managers leave ones that do not."""
    for folder in [Path(sys.executable).parent, *map(Path, os.get_exec_path())]:
        python = shutil.which(f"python{version}", path=str(folder))
        if (
            python
            and subprocess.run([python, "-V"], capture_output=True).returncode == 0
        ):
            return python
    if version == PYTHONS[0] and os.environ.get("CI"):
        pytest.fail(f"python{version} is not on PATH")
    pytest.skip(f"python{version} is not on PATH")


def with_uv() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def without_uv() -> str:
    folders = (f for f in os.get_exec_path() if not shutil.which("uv", path=f))
    return os.pathsep.join(folders)
