from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .processes import environment
from .processes import ProofError
from .report import Row
from .report import Tally
from .service import Origin
from .service import run
from .service import Service

DESCRIPTION = Path(__file__).with_name("openapi.json")


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Let schemathesis look for responses that the description does not allow."""
    service.migrate()
    if difference := list_operations() ^ list_routes(service):
        raise ProofError(f"{DESCRIPTION.name} and the routes differ in {difference}.")
    with Origin(service, "wsgi", "--workers", "2").serving() as origin:
        command = [sys.executable, "-m", "schemathesis.cli", "run"]
        command += [str(DESCRIPTION), "--url", origin.url]
        command += ["--max-examples", str(rounds), "--seed", "1", "--checks", "all"]
        process = subprocess.run(
            command,
            cwd=scratch,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    # the output is "621 generated, 621 passed", or the failures
    cases = re.search(r"(\d+) generated", process.stdout)
    row = Row("api", "schemathesis", Tally(int(cases[1]) if cases else 0))
    row.counted = False
    if process.returncode or cases is None:
        row.fail(f"it reports\n{process.stdout[-4000:]}{process.stderr[-1000:]}")
    yield row


def list_operations() -> set[tuple[str, str]]:
    """Return the path and the method of each operation of the description."""
    paths = json.loads(DESCRIPTION.read_text("utf-8"))["paths"]
    return {
        (path, method.upper())
        for path, operations in paths.items()
        for method in operations
        if method != "parameters"
    }


def list_routes(service: Service) -> set[tuple[str, str]]:
    """Return the path and the method of each route of the API."""
    command = [service.python, "-m", "flask", "nocache", "routes", "--format=json"]
    routes = json.loads(run(command, service.folder, service.environment()))
    return {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route["rule"]), method)
        for route in routes
        if route["rule"].startswith("/api/")
        for method in route["methods"]
    }
