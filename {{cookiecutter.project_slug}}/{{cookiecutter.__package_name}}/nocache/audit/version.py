"""The kit's version, and whether its files are still those of that version."""

from __future__ import annotations

import hashlib
import re
import typing as t
from pathlib import Path

VERSION = "1.0.0"
KIT = Path(__file__).parent.parent
# as sha256sum writes them
CHECKSUMS = KIT / "CHECKSUMS"


def edits() -> t.Iterator[tuple[Path, str]]:
    """Yield the files of the kit that are not this version's, with what became of them."""
    text = CHECKSUMS.read_text(encoding="utf-8") if CHECKSUMS.is_file() else ""
    noted = {name: digest for digest, name in re.findall(r"(?m)^(\w{64})  (.+)$", text)}
    if not noted:
        yield CHECKSUMS, "is empty or missing"
        return
    found = {path.relative_to(KIT).as_posix(): path for path in KIT.rglob("*.py")}
    for name in sorted(noted.keys() | found.keys()):
        if name not in found:
            yield KIT / name, "is missing"
        elif name not in noted:
            yield found[name], "is added"
        elif noted[name] != _sum(found[name]):
            yield found[name], "is edited"


def _sum(path: Path) -> str:
    # a checkout may have changed the line ends
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
