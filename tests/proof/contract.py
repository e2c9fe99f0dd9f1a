from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .processes import environment
from .report import Row
from .report import Tally
from .service import Origin
from .service import Service


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Let schemathesis look for answers that the description does not allow."""
    service.migrate()
    with Origin(service, "wsgi", "--workers", "2").serving() as origin:
        command = [sys.executable, "-m", "schemathesis.cli", "run"]
        command += [str(service.folder / "openapi.json"), "--url", origin.url]
        command += ["--max-examples", str(rounds), "--seed", "1", "--checks", "all"]
        done = subprocess.run(
            command,
            cwd=scratch,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    # "621 generated, 621 passed", or what was found
    cases = re.search(r"(\d+) generated", done.stdout)
    row = Row("api", "schemathesis", Tally(int(cases[1]) if cases else 0))
    row.counted = False
    if done.returncode or cases is None:
        row.fail(f"it found\n{done.stdout[-4000:]}{done.stderr[-1000:]}")
    yield row
