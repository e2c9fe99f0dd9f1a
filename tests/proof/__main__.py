from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from collections.abc import Iterator
from datetime import datetime
from datetime import UTC
from importlib import metadata
from pathlib import Path

from . import browser
from . import caches
from . import contract
from . import cross_origin
from . import deception
from . import declarations
from . import edge
from . import edge_settings
from . import load
from . import page
from . import replicas
from . import signout
from .mutations import MUTATIONS
from .processes import find_program
from .processes import ProofError
from .report import Row
from .report import summary
from .report import table
from .service import bake
from .service import Service

VERSIONS = [
    ("nginx", "-v"),
    ("varnishd", "-V"),
    ("chromium", "--version"),
    ("postgres", "--version"),
]
PACKAGES: dict[str, dict[str, str]] = {
    "caches": {"nginx": "nginx-light", "varnishd": "varnish"},
    "declarations": {
        "nginx": "nginx-light",
        "varnishd": "varnish",
        "chromium": "chromium",
        "chromedriver": "chromium-driver",
    },
    "browser": {"chromium": "chromium", "chromedriver": "chromium-driver"},
    "page": {"chromium": "chromium", "chromedriver": "chromium-driver"},
    "signout": {"chromium": "chromium", "chromedriver": "chromium-driver"},
    "cross_origin": {"chromium": "chromium", "chromedriver": "chromium-driver"},
    "load": {"nginx": "nginx-light", "postgres": "postgresql"},
    "edge": {"nginx": "nginx-light"},
    "edge_settings": {
        "nginx": "nginx-light",
        "varnishd": "varnish",
        "squid": "squid",
        "apache2": "apache2-bin",
        "haproxy": "haproxy",
    },
    "deception": {"nginx": "nginx-light"},
    "replicas": {
        "nginx": "nginx-light",
        "openssl": "openssl",
        "postgres": "postgresql",
    },
    "contract": {},
}
PARTS: dict[str, Callable[[Service, Path, int], Iterator[Row]]] = {
    "caches": caches.prove,
    "declarations": declarations.prove,
    "browser": browser.prove,
    "page": page.prove,
    "signout": signout.prove,
    "cross_origin": cross_origin.prove,
    "load": load.prove,
    "edge": edge.prove,
    "edge_settings": edge_settings.prove,
    "deception": deception.prove,
    "replicas": replicas.prove,
    "contract": contract.prove,
}


def main() -> int:
    """Run the proof: 0 passed, 1 failed, 2 no result."""
    arguments = parse()
    parts = [arguments.only] if arguments.only else list(PARTS)
    if missing := missing_packages(parts):
        print(f"error: the proof needs {', '.join(missing)}.", file=sys.stderr)
        print(f"hint: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 2
    # SIGTERM unwinds like Ctrl-C, so that each process is stopped
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="proof-") as folder:
            # Cookiecutter, Chromium and killed workers leave files behind
            os.environ["TMPDIR"] = folder
            rows = list(run(parts, Path(folder), arguments))
    except KeyboardInterrupt:
        return 130
    except ProofError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 2
    return report(rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="proof")
    parser.add_argument("--only", choices=PARTS, help="run one part")
    parser.add_argument(
        "--rounds", type=int, default=50, help="rounds of each scenario"
    )
    parser.add_argument("--mutate", choices=MUTATIONS, help="break the service first")
    arguments = parser.parse_args()
    if arguments.mutate and not arguments.only:
        arguments.only = MUTATIONS[arguments.mutate].part
    return arguments


def missing_packages(parts: list[str]) -> list[str]:
    packages = {p: d for part in parts for p, d in PACKAGES[part].items()}
    return sorted({d for p, d in packages.items() if find_program(p) is None})


def run(
    parts: list[str], scratch: Path, arguments: argparse.Namespace
) -> Iterator[Row]:
    start = time.monotonic()

    def log(text: str) -> None:
        print(f"{time.monotonic() - start:5.0f} s  {text}", flush=True)

    log("baking and setting up a service")
    service = bake(scratch, arguments.mutate)
    for name in parts:
        log(name)
        service.database = scratch / f"{name}.sqlite3"
        yield from PARTS[name](service, scratch, arguments.rounds)
    log("done")


def versions() -> Iterator[str]:
    for name, option in VERSIONS:
        if (path := find_program(name)) is None:
            continue
        command = [path, option]
        process = subprocess.run(command, capture_output=True, text=True)
        version = re.search(r"\d+(\.\d+)+", process.stdout + process.stderr)
        yield f"{name} {version[0] if version else '?'}"
    for name in ("locust", "schemathesis", "selenium"):
        yield f"{name} {metadata.version(name)}"


def report(rows: list[Row]) -> int:
    print(f"\n{datetime.now(UTC):%Y-%m-%d}: {', '.join(versions())}\n")
    for line in table(rows):
        print(line)
    print()
    failures = [failure for row in rows for failure in row.failures]
    for failure in failures:
        print(f"failed: {failure}")
    print(summary(rows))
    return 1 if failures or not rows else 0


if __name__ == "__main__":
    # a shell starts background jobs with SIGINT ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.umask(0o077)
    raise SystemExit(main())
