from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from conftest import KIT
from conftest import note_checksums
from conftest import ROOT
from flask.testing import FlaskCliRunner
from nocache import audit_app
from nocache import NoCacheFlask
from nocache import version
from nocache.audit import write_policy_file


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kit that a test may edit; it stands in for the imported one."""
    copy = tmp_path / "nocache"
    shutil.copytree(KIT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    note_checksums(copy)
    monkeypatch.setattr(version, "KIT", copy)
    monkeypatch.setattr(version, "CHECKSUMS", copy / "CHECKSUMS")
    return copy


def edited() -> list[str]:
    return [f"{path.name} {fact}" for path, fact in version.edits()]


def test_checksums_are_those_of_the_kit() -> None:
    sums = {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in KIT.glob("*.py")
    }
    lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]

    noted = (KIT / "CHECKSUMS").read_bytes().decode()

    assert noted == "".join(lines), "the kit was changed: run 'make kit'"


def test_version_is_the_newest_in_the_changelog() -> None:
    headings = (ROOT / "CHANGELOG.md").read_text("utf-8").split("\n## ")[1:]
    released = [h.split()[0] for h in headings if not h.startswith("Unreleased")]

    assert version.VERSION == released[0]


def test_edits_of_an_untouched_kit(kit: Path) -> None:
    assert edited() == []


@pytest.mark.parametrize("name", sorted(path.name for path in KIT.glob("*.py")))
def test_edits_names_the_file(kit: Path, name: str) -> None:
    with (kit / name).open("a") as file:
        file.write("# faster\n")

    assert edited() == [f"{name} is edited"]


def test_edits_line_ends_noop(kit: Path) -> None:
    for path in kit.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert edited() == []


def test_edits_caches_noop(kit: Path) -> None:
    (kit / "__pycache__").mkdir()
    (kit / "__pycache__" / "guard.cpython-311.pyc").touch()

    assert edited() == []


def test_edits_added_and_missing(kit: Path) -> None:
    (kit / "sub").mkdir()
    (kit / "sub" / "extra.py").touch()
    (kit / "wire.py").unlink()

    assert edited() == ["extra.py is added", "wire.py is missing"]


@pytest.mark.parametrize("text", [None, "", "<<<<<<< ours\n"])
def test_edits_without_checksums(kit: Path, text: str | None) -> None:
    (kit / "CHECKSUMS").unlink()
    if text is not None:
        (kit / "CHECKSUMS").write_text(text)

    assert edited() == ["CHECKSUMS is empty or missing"]


def test_nc011_names_the_file(
    app: NoCacheFlask, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kit.parent)
    write_policy_file(app)
    (kit / "guard.py").write_text("")

    (found,) = [f for f in audit_app(app) if f.id == "NC011"]

    assert str(found).splitlines()[0] == (
        "nocache/guard.py:1: NC011 kit-edited:"
        " 'guard.py' is edited, so the kit is not what its version says."
    )


def test_version_command(runner: FlaskCliRunner, kit: Path) -> None:
    answer = runner.invoke(args=["nocache", "--version"])

    assert (answer.output, answer.exit_code) == (f"nocache {version.VERSION}\n", 0)


def test_version_command_names_edits(runner: FlaskCliRunner, kit: Path) -> None:
    (kit / "extra.py").touch()
    (kit / "guard.py").write_text("")

    answer = runner.invoke(args=["nocache", "--version"])

    assert answer.output == f"nocache {version.VERSION}, edited: extra.py, guard.py\n"
    assert answer.exit_code == 0
