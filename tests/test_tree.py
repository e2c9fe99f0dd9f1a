from __future__ import annotations

import os
from pathlib import Path

from conftest import COMBINATIONS
from conftest import Project

SNAPSHOTS = Path(__file__).parent / "snapshots"


def test_tree_is_exact(combination: tuple[str, Project]) -> None:
    name, project = combination
    snapshot = SNAPSHOTS / f"tree-{name}.txt"
    tree = "".join(f"{path}\n" for path in project.files())
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        snapshot.write_text(tree, "utf-8", newline="\n")
    assert tree == snapshot.read_text("utf-8")


def test_tree_holds_no_empty_folder(combination: tuple[str, Project]) -> None:
    _, project = combination
    folders = (
        p for p in project.path.rglob("*") if p.is_dir() and ".git" not in p.parts
    )
    assert [str(p) for p in folders if not any(p.iterdir())] == []


def test_every_snapshot_has_a_combination() -> None:
    snapshots = {path.name for path in SNAPSHOTS.iterdir()}
    assert snapshots == {f"tree-{name}.txt" for name in COMBINATIONS}
