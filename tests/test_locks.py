"""What is locked, for the template and for the service."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from conftest import Bake
from conftest import Project
from conftest import PYTHONS
from conftest import ROOT
from conftest import TEMPLATE
from conftest import TOOLS_PATH

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


# what somebody changes, and what is printed then
TAMPERED = {
    "pin missing": (r"^blinker==(.+\n)+?    # via.*\n", "", "> blinker=="),
    "pin added": (r"\Z", "six==1.17.0\n", "< six==1.17.0"),
    "marker lost": (r"^(tzdata==\S+) ;.+ ", r"\1 ", "> tzdata=="),
    "pin too old": (r"^flask==\S+", "flask==3.0.0", "< flask==3.0.0"),
    "other bytes": (r"sha256:\w+", f"sha256:{'0' * 64}", f" --hash=sha256:{'0' * 64}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", TAMPERED)
def test_tampered_lock_is_refused(bake: Bake, change: str) -> None:
    project = bake()
    old, new, printed = TAMPERED[change]
    tampered = edit(project, "requirements.txt", old, new)

    bad = lockcheck(project)

    assert bad.returncode == 2
    assert printed in bad.stdout
    assert "error: requirements.txt is not what its inputs give" in bad.stdout
    assert "\nhint: make lock\n" in bad.stdout
    assert project.read("requirements.txt") == tampered


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "old", "new", "lock"),
    [
        ("requirements.in", "^flask>=3.1", "flask<3.1", "requirements.txt"),
        (
            "requirements-dev.txt",
            r"^pytest==\S+",
            "pytest==8.0",
            "requirements-dev.txt",
        ),
        ("requirements-uv.txt", "^uv==", "ruff==", "requirements-uv.txt"),
    ],
)
def test_each_lock_is_held_against_its_inputs(
    bake: Bake, name: str, old: str, new: str, lock: str
) -> None:
    project = bake()
    edit(project, name, old, new)

    bad = lockcheck(project)

    assert bad.returncode == 2
    assert f"error: {lock} is not what its inputs give" in bad.stdout


@pytest.mark.slow
def test_lock_is_what_its_inputs_give(bake: Bake) -> None:
    """Also where comments differ, and where a release has gained a file since."""
    project = bake()
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-uv.txt"):
        edit(project, name, r"\A#.*\n#.*", "# by a bot")
        edit(project, name, r"^    --hash=.+ \\\n", "")

    good = lockcheck(project)

    assert (good.returncode, good.stdout) == (0, "")


def test_actions_are_pinned_alike() -> None:
    """Dependabot renews them here; what it cannot read is renewed by hand."""
    here = pinned((ROOT / ".github").rglob("*.yml"))
    there = pinned((TEMPLATE / ".github").rglob("*.yml*"))

    assert there and there <= here


def edit(project: Project, name: str, old: str, new: str) -> str:
    """Change the first place that matches, and return the text."""
    text, places = re.subn(old, new, project.read(name), count=1, flags=re.MULTILINE)
    assert places == 1, old
    (project.path / name).write_text(text, "utf-8")
    return text


def lockcheck(project: Project) -> subprocess.CompletedProcess[str]:
    """Run the command with the locked uv, or where that is missing with the machine's."""
    return project.run("make", "lockcheck", PATH=TOOLS_PATH)


def versions(path: Path) -> list[str]:
    return re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==\S+", path.read_text("utf-8"), re.M)


def pinned(workflows: Iterable[Path]) -> set[str]:
    uses = [re.findall(r"uses: (.+)", path.read_text("utf-8")) for path in workflows]
    assert all(
        re.search("@[0-9a-f]{40} # v", action) for actions in uses for action in actions
    )
    return {action for actions in uses for action in actions}
