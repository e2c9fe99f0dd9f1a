"""NC011: the version of the kit, and the files that differ from it."""

from __future__ import annotations

import hashlib
import re
import typing as t
from pathlib import Path

VERSION = "1.0.0"
KIT = Path(__file__).parent.parent
# in the format of sha256sum
CHECKSUMS = KIT / "CHECKSUMS"


def files(folder: Path) -> dict[str, Path]:
    """Return the files of a kit by name, without the checksums and files of tools."""
    names = {path.relative_to(folder): path for path in folder.rglob("*")}
    return {
        name.as_posix(): path
        for name, path in names.items()
        if path.is_file()
        and name.as_posix() != CHECKSUMS.name
        and not any(part == "__pycache__" or part[0] == "." for part in name.parts)
    }


def edits() -> t.Iterator[tuple[Path, str]]:
    """Yield each file of the kit that differs from its version, and the difference."""
    text = CHECKSUMS.read_text(encoding="utf-8") if CHECKSUMS.is_file() else ""
    sums = {name: digest for digest, name in re.findall(r"(?m)^(\w{64})  (.+)$", text)}
    if not sums:
        yield CHECKSUMS, "is empty or missing"
        return
    present = files(KIT)
    for name in sorted(sums.keys() | present.keys()):
        if name not in present:
            yield KIT / name, "is missing"
        elif name not in sums:
            yield present[name], "is added"
        elif sums[name] != _sum(present[name]):
            yield present[name], "is edited"


def _sum(path: Path) -> str:
    # a checkout may change the line endings
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
