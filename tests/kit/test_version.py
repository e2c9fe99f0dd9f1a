from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import KIT
from conftest import note_checksums
from conftest import ROOT
from flask.testing import FlaskCliRunner
from nocache import audit_app
from nocache import NoCacheFlask
from nocache.audit import version
from nocache.audit.policy_file import write_policy_file


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kit that a test may edit, used in place of the imported one."""
    copy = tmp_path / "nocache"
    shutil.copytree(KIT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    note_checksums(copy)
    monkeypatch.setattr(version, "KIT", copy)
    monkeypatch.setattr(version, "CHECKSUMS", copy / "CHECKSUMS")
    return copy


def edited_names() -> list[str]:
    return [f"{path.name} {fact}" for path, fact in version.edits()]


def test_checksums_match_the_kit(tmp_path: Path) -> None:
    note_checksums(KIT, tmp_path / "CHECKSUMS")

    checksums = (KIT / "CHECKSUMS").read_bytes()

    assert checksums == (tmp_path / "CHECKSUMS").read_bytes(), (
        "the kit was changed: run 'make kit'"
    )


def test_version_is_the_newest_in_the_changelog() -> None:
    headings = (ROOT / "CHANGELOG.md").read_text("utf-8").split("\n## ")[1:]
    released = [h.split()[0] for h in headings if not h.startswith("Unreleased")]

    assert version.VERSION == released[0]


def test_edits_of_an_untouched_kit(kit: Path) -> None:
    assert edited_names() == []


@pytest.mark.parametrize(
    "path",
    sorted(version.files(KIT).values()),
    ids=lambda path: path.relative_to(KIT).as_posix(),
)
def test_edits_names_the_file(kit: Path, path: Path) -> None:
    with (kit / path.relative_to(KIT)).open("a") as file:
        file.write("# faster\n")

    assert edited_names() == [f"{path.name} is edited"]


def test_edits_line_ends_noop(kit: Path) -> None:
    for path in version.files(kit).values():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert edited_names() == []


def test_edits_caches_noop(kit: Path) -> None:
    for folder in ("__pycache__", ".mypy_cache"):
        (kit / folder / "sub").mkdir(parents=True)
        (kit / folder / "sub" / "guard.pyc").touch()
    (kit / "audit" / ".DS_Store").touch()

    assert edited_names() == []


def test_edits_added_and_missing(kit: Path) -> None:
    (kit / "sub").mkdir()
    (kit / "sub" / "extra.py").touch()
    (kit / "audit" / "notes.txt").touch()
    (kit / "audit" / "report.html").unlink()
    (kit / "audit" / "wire.py").unlink()

    assert edited_names() == [
        "notes.txt is added",
        "report.html is missing",
        "wire.py is missing",
        "extra.py is added",
    ]


def test_files_lists_every_file_of_the_kit() -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=KIT, check=True, capture_output=True, text=True)

    assert {*names.stdout.split()} == {*version.files(KIT), "CHECKSUMS"}


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="needs GNU's sha256sum")
def test_make_kit_writes_the_same_checksums(tmp_path: Path) -> None:
    shutil.copytree(KIT, tmp_path / KIT.relative_to(ROOT))
    shutil.copy(ROOT / "Makefile", tmp_path)

    subprocess.run(["make", "kit"], cwd=tmp_path, check=True, capture_output=True)

    checksums = (tmp_path / KIT.relative_to(ROOT) / "CHECKSUMS").read_bytes()
    note_checksums(KIT, tmp_path / "CHECKSUMS")
    assert checksums == (tmp_path / "CHECKSUMS").read_bytes()


@pytest.mark.parametrize("text", [None, "", "<<<<<<< ours\n"])
def test_edits_without_checksums(kit: Path, text: str | None) -> None:
    (kit / "CHECKSUMS").unlink()
    if text is not None:
        (kit / "CHECKSUMS").write_text(text)

    assert edited_names() == ["CHECKSUMS is empty or missing"]


def test_nc011_names_the_file(
    app: NoCacheFlask, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kit.parent)
    write_policy_file(app)
    (kit / "guard.py").write_text("")

    (finding,) = [f for f in audit_app(app) if f.id == "NC011"]

    assert str(finding).splitlines()[0] == (
        "nocache/guard.py:1: NC011 kit-edited:"
        " 'guard.py' is edited, so the kit differs from its version."
    )


def test_version_command(runner: FlaskCliRunner, kit: Path) -> None:
    result = runner.invoke(args=["nocache", "--version"])

    assert (result.output, result.exit_code) == (f"nocache {version.VERSION}\n", 0)


def test_version_command_names_edits(runner: FlaskCliRunner, kit: Path) -> None:
    (kit / "extra.py").touch()
    (kit / "guard.py").write_text("")

    result = runner.invoke(args=["nocache", "--version"])

    assert result.output == f"nocache {version.VERSION}, edited: extra.py, guard.py\n"
    assert result.exit_code == 0
