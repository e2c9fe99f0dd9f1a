"""The map of the proof's modules, tests/proof/README.md."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT
from proof.mutations import MUTATIONS

PROOF = ROOT / "tests" / "proof"
README = (PROOF / "README.md").read_text("utf-8")
DOCUMENT = (ROOT / "docs" / "proof.md").read_text("utf-8")
PARTS = re.findall(r"^\| `(\w+)` \| ([\w -]+?) \| ([\w, ]+?) \| (.*)\|$", README, re.M)


def test_proof_map_has_every_module() -> None:
    mapped = re.findall(r"^(?:\| )?`(\w+)/?`", README, re.M)
    modules = {path.stem for path in PROOF.glob("[!_]*.py")}
    folders = {path.parent.name for path in PROOF.glob("*/*.py")}

    assert sorted(mapped) == sorted(modules | folders)


def test_proof_map_has_every_part() -> None:
    named = [part for part, *_ in PARTS]
    main = (PROOF / "__main__.py").read_text("utf-8")
    modules = [
        path.stem
        for path in PROOF.glob("*.py")
        if "\ndef prove(service: Service" in path.read_text("utf-8")
    ]

    assert named == re.findall(r'^    "(\w+)": \1\.prove,$', main, re.M)
    assert sorted(named) == sorted(modules)


def test_proof_map_and_document_agree() -> None:
    proven = DOCUMENT.partition("## What is proven")[2].partition("\n## ")[0]
    table = DOCUMENT.partition("\nclient ")[2].partition("\n\n")[0]

    assert sorted(t for _, t, *_ in PARTS) == sorted(
        re.findall(r"^- \*\*(.+?)\*\*", proven, re.M)
    )
    assert {row for _, _, rows, _ in PARTS for row in rows.split(", ")} == {
        line.split()[0] for line in table.splitlines()[1:]
    }


@pytest.mark.parametrize(("part", "mutations"), [(p, m) for p, _, _, m in PARTS])
def test_proof_map_has_every_mutation(part: str, mutations: str) -> None:
    assert re.findall(r"`([\w-]+)`", mutations) == [
        name for name, mutation in MUTATIONS.items() if mutation.part == part
    ]
