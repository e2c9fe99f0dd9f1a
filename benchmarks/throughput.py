"""Count the requests per second of the service and of bare Flask, under gunicorn."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import typing as t
from contextlib import contextmanager
from statistics import median

from contestants import HERE
from service import prepare
from service import SERVICE

WORKERS = (1, 2, 4)
ROUNDS = 3
LOAD = ("wrk", "--threads", "1", "--connections", "16", "--duration", "4s")
HOST = "127.0.0.1"

# whose folder gunicorn starts in, its arguments, and what is requested
BARE = "bare Flask, JSON view"
CONTESTANTS = {
    BARE: (HERE, ["contestants:bare_app()"], "/items"),
    "service, JSON view": (SERVICE, [], "/healthz"),
    "service, items from SQLite": (SERVICE, [], "/api/items"),
}


def free_ports() -> tuple[str, str]:
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as two:
        return str(one.getsockname()[1]), str(two.getsockname()[1])


@contextmanager
def serving(name: str, workers: int) -> t.Iterator[str]:
    """Run gunicorn until the block ends, with its log and its metrics on."""
    folder, arguments, path = CONTESTANTS[name]
    port, metrics_port = free_ports()
    if folder == HERE:
        arguments = ["--bind", f"{HOST}:{port}", "--no-control-socket", *arguments]
    # so that it listens no sooner than all of it is imported
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--preload", *arguments],
        cwd=folder,
        env=os.environ
        | {"PORT": port, "METRICS_PORT": metrics_port, "WEB_CONCURRENCY": str(workers)},
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                socket.create_connection((HOST, int(port))).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None
                time.sleep(0.1)
        yield f"http://{HOST}:{port}{path}"
    finally:
        process.terminate()
        process.wait()


def load(url: str, *more: str) -> float:
    """Return the requests per second of a server under load."""
    report = subprocess.check_output([*LOAD, *more, url], text=True)
    assert "Non-2xx" not in report, report
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", report)[0])


def measure() -> dict[tuple[str, int], list[float]]:
    figures: dict[tuple[str, int], list[float]] = {}
    for number in range(ROUNDS):
        for workers in WORKERS:
            # forth and back, so that nobody always follows the same
            for name in list(CONTESTANTS)[:: -1 if number % 2 else 1]:
                with serving(name, workers) as url:
                    load(url, "--duration", "1s")
                    figures.setdefault((name, workers), []).append(load(url))
    return figures


def rows() -> t.Iterator[tuple[str, ...]]:
    figures = measure()
    counts = [f"{n} worker{'s' * (n > 1)}" for n in WORKERS]
    yield "Requests per second", *(c for n in counts for c in (n, "to bare"))
    for name in CONTESTANTS:
        row = [name]
        for workers in WORKERS:
            values, bare = figures[name, workers], figures[BARE, workers]
            more = median(a / b for a, b in zip(values, bare, strict=True)) - 1
            row += [f"{median(values):,.0f}", "" if name == BARE else f"{more:+.0%}"]
        yield tuple(row)


if __name__ == "__main__":
    prepare()
    for row in rows():
        print(*row, sep="\t")
