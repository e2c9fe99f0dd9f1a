from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import clean_environ
from conftest import KIT
from conftest import ROOT

LOCKED = (ROOT / "requirements-dev.txt").read_text("utf-8")
RELEASES = {
    "httpbin": "0.10.4",
    "ihatemoney": "7.2.1",
    "privacyidea": "3.14",
}
Measured = dict[str, t.Any]


def install(name: str, folder: Path) -> Path:
    """Install an application in an environment of its own, and return its Python."""
    flask = re.findall(r"(?m)^(flask==[\d.]+)", LOCKED)[0]
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    uv = [sys.executable, "-m", "uv", "--quiet", "--no-config"]
    wanted = [f"{name}=={RELEASES[name]}", flask]
    subprocess.run(
        [*uv, "venv", "--python", sys.executable, folder / "venv"], check=True
    )
    subprocess.run([*uv, "pip", "install", "--python", python, *wanted], check=True)
    return python


def measure(python: Path, name: str, kind: str, folder: Path) -> Measured:
    folder.mkdir()
    path = os.pathsep.join(map(str, (ROOT / "tests", KIT.parent)))
    ran = subprocess.run(
        [python, "-m", "kit.foreign", name, kind, folder],
        cwd=folder,
        env=clean_environ() | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert ran.returncode == 0, ran.stderr
    measured: Measured = json.loads(ran.stdout)
    return measured


def row(name: str, plain: Measured, guarded: Measured, adopted: Measured) -> str:
    """Return the row of docs/adopting.md with the figures."""
    findings = [
        ", ".join(f"{n} × {id}" for id, n in sorted(measured["findings"].items()))
        for measured in (guarded, adopted)
    ]
    share = f"{plain['storable']} of {plain['responses']}"
    cells = [name, RELEASES[name], str(plain["routes"]), share, *findings]
    return f"| {' | '.join(cells)} |"


@pytest.mark.slow
@pytest.mark.parametrize("name", RELEASES)
def test_foreign_app_under_the_guard_sends_nothing_storable(
    name: str, tmp_path: Path
) -> None:
    python = install(name, tmp_path)
    with ThreadPoolExecutor() as pool:  # they mostly wait for their databases
        plain, mounted, guarded, adopted = pool.map(
            lambda kind: measure(python, name, kind, tmp_path / kind),
            ("plain", "mounted", "guarded", "adopted"),
        )
    assert plain["storable"] > 100
    for measured in mounted, guarded, adopted:
        assert measured["responses"] >= plain["responses"]
        assert measured["statuses"]["200"] > plain["statuses"]["200"] * 0.9
        assert measured["storable"] == 0
        assert measured["inexact"] == measured["wire"] == []
    table = (ROOT / "docs" / "adopting.md").read_text("utf-8").splitlines()
    assert row(name, plain, guarded, adopted) in table
