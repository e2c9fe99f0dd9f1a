"""What a run of these tests leaves behind."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from conftest import Project
from conftest import ROOT

FAILING = """
import tempfile

def test_failing() -> None:
    open(tempfile.mkstemp()[1]).close()
    assert "this" == "that"
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_run_keeps_its_failures_and_no_temporary_file(
    tmp_path: Path, workers: str
) -> None:
    tests, temporary = tmp_path / "tests", tmp_path / "temporary"
    tests.mkdir()
    temporary.mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tests)
    (tmp_path / "cookiecutter.json").write_text("{}")
    (tests / "test_one.py").write_text(FAILING)
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-n", workers]

    done = Project(tmp_path).run(*command, TMPDIR=str(temporary))

    (file,) = (tmp_path / "build" / "failures").iterdir()
    kept = file.read_text("utf-8")
    assert f"Failures are kept in {file.relative_to(tmp_path)}.\n" in done.stdout
    assert kept.startswith("tests/test_one.py::test_failing\n")
    assert "'this' == 'that'" in kept
    assert list(temporary.iterdir()) == []
