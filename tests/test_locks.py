"""What is locked, for the template and for the service."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from conftest import PYTHONS
from conftest import ROOT
from conftest import TEMPLATE

PLACES = (".", "*", "tests/*")
LOCKS = sorted(p for d in PLACES for p in ROOT.glob(f"{d}/requirements*.txt"))
PIN = re.compile(
    r"^([\w.-]+)(?:\[[\w,-]+\])?==\S+(?: ; .+?)? \\\n((?:    --hash.+\n)+)", re.M
)


@pytest.mark.parametrize("path", LOCKS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_lock_pins_by_hash_and_names_no_registry(path: Path) -> None:
    text = path.read_text("utf-8")

    assert "://" not in text and "index" not in re.sub("    # via.*", "", text)
    assert PIN.search(text)
    assert len(PIN.findall(text)) == len(re.findall(r"^[^\s#]", text, re.M))
    assert all("--hash=sha256:" in hashes for _, hashes in PIN.findall(text))


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_lock_holds_what_is_required(name: str) -> None:
    required = (TEMPLATE / f"{name}.in").read_text("utf-8")
    locked = {
        pin[0] for pin in PIN.findall((TEMPLATE / f"{name}.txt").read_text("utf-8"))
    }

    assert set(re.findall(r"^[\w.-]+(?=\W*(?:\[.*\])?>=)", required, re.M)) <= locked


def test_template_is_tested_with_the_service_s_versions() -> None:
    """Its tests run the service's own with what it has installed itself."""
    ours = set(versions(ROOT / "requirements-dev.txt"))

    for name in ("requirements-dev.txt", "requirements-uv.txt"):
        assert set(versions(TEMPLATE / name)) <= ours


def test_uv_is_locked_alone() -> None:
    """What installs it has no dependency to look up."""
    (uv,) = versions(TEMPLATE / "requirements-uv.txt")

    assert uv.startswith("uv==")


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["linux", "macos", "windows"])
@pytest.mark.parametrize("python", PYTHONS)
def test_lock_needs_no_compiler(python: str, platform: str, tmp_path: Path) -> None:
    """The service's versions are among the template's."""
    uv = str(Path(sys.executable).with_name("uv"))
    machine = ["--python-version", python, "--python-platform", platform]
    wheels = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    done = subprocess.run(
        [uv, "pip", "install", "--dry-run", "--target", str(tmp_path), *machine]
        + [*wheels, "--requirement", str(ROOT / "requirements-dev.txt")],
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr


def test_actions_are_pinned_alike() -> None:
    """Dependabot renews them here; what it cannot read is renewed by hand."""
    here = pinned((ROOT / ".github").rglob("*.yml"))
    there = pinned((TEMPLATE / ".github").rglob("*.yml*"))

    assert there and there <= here


def versions(path: Path) -> list[str]:
    return re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==\S+", path.read_text("utf-8"), re.M)


def pinned(workflows: Iterable[Path]) -> set[str]:
    found = [re.findall(r"uses: (.+)", path.read_text("utf-8")) for path in workflows]
    assert all(
        re.search("@[0-9a-f]{40} # v", action)
        for actions in found
        for action in actions
    )
    return {action for actions in found for action in actions}
