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
Figures = dict[str, t.Any]


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


def measure(python: Path, name: str, kind: str, folder: Path) -> Figures:
    folder.mkdir()
    path = os.pathsep.join(map(str, (ROOT / "tests", KIT.parent)))
    result = subprocess.run(
        [python, "-m", "kit.foreign", name, kind, folder],
        cwd=folder,
        env=clean_environ() | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr
    figures: Figures = json.loads(result.stdout)
    return figures


def row(name: str, plain: Figures, guarded: Figures, adopted: Figures) -> str:
    """Return the row of docs/adopting.md with the figures."""
    findings = [
        ", ".join(f"{n} × {id}" for id, n in sorted(figures["findings"].items()))
        for figures in (guarded, adopted)
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
    for figures in mounted, guarded, adopted:
        assert figures["responses"] >= plain["responses"]
        assert figures["statuses"]["200"] > plain["statuses"]["200"] * 0.9
        assert figures["storable"] == 0
        assert figures["inexact"] == figures["wire"] == []
    table = (ROOT / "docs" / "adopting.md").read_text("utf-8").splitlines()
    assert row(name, plain, guarded, adopted) in table
