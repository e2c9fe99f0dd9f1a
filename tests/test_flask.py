"""The kit on the oldest Flask that it works with; `make test` runs it on the newest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import clean_environ
from conftest import KIT
from conftest import ROOT

# tests of what newer releases brought
NEWER = [
    # TRUSTED_HOSTS
    *["untrusted_host", "shows_its_address", "nc012_noop", "names_that_are_refused"],
    # Headers.__ior__
    "vocabulary_has_every_method",
    # the service, which is locked to the newest
    "socket_of_a_service",
]


def test_older_flask_is_refused_in_a_sentence(tmp_path: Path) -> None:
    # as 2.3 was: without the package that 3.0 brought
    (tmp_path / "flask").mkdir()
    (tmp_path / "flask" / "__init__.py").touch()

    done = run([tmp_path, KIT.parent], "-c", "import nocache")

    assert done.returncode == 1
    assert done.stdout.endswith(
        "\nImportError: The cache policy kit needs Flask 3.0 or newer.\n"
    )


@pytest.mark.slow
def test_kit_works_on_the_oldest_flask(tmp_path: Path) -> None:
    pins = ROOT / "tests" / "kit" / "oldest.txt"
    options = ["--no-deps", "--require-hashes", "--target", str(tmp_path)]
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "install", "--quiet", *options, "--requirement", str(pins)]
    subprocess.run(command, check=True)
    version = run([tmp_path], "-m", "flask", "--version")
    assert "Flask 3.0.0\n" in version.stdout

    tests = ["tests/kit", "-k", f"not ({' or '.join(NEWER)})"]
    done = run(
        [tmp_path], "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests
    )

    assert done.returncode == 0, done.stdout


def run(path: list[Path], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with folders before what is installed."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=clean_environ() | {"PYTHONPATH": os.pathsep.join(map(str, path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
