from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3

from .caches import caching_nginx
from .databases import Postgres
from .databases import postgres
from .databases import Sqlite
from .processes import environment
from .processes import free_port
from .processes import HOST
from .processes import PATIENCE
from .processes import running
from .report import Row
from .report import Tally
from .scenarios import is_no_store
from .scenarios import ITEMS
from .scenarios import JSON
from .service import run
from .service import Service

HERE = Path(__file__).resolve().parent
CONNECTIONS = 64
SECONDS = 20
# until a worker is killed, and then until the end
HALF = 4
WORKERS = 2


class Server:
    """`make serve`, as the service's README has it.

    :param port: where it listens.
    :param process: make, the parent of gunicorn.
    """

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.url = f"http://{HOST}:{port}"
        self.port = port
        self.process = process

    @property
    def master(self) -> int:
        """The process that started the workers, which may have replaced make's shell."""
        pid = self.process.pid
        while len(below := children(pid)) == 1:
            pid = below[0]
        return pid

    @property
    def workers(self) -> list[int]:
        return children(self.master)

    def wait_for_workers(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(self.workers) < WORKERS and time.monotonic() < deadline:
            time.sleep(0.1)


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text("ascii").split()]


@contextlib.contextmanager
def make_serve(service: Service, log: Path, database: str) -> Iterator[Server]:
    port = free_port()
    command = ["make", "serve", f"PORT={port}", f"WORKERS={WORKERS}"]
    env = environment(DATABASE_URL=database, FLASK_SECRET_KEY=os.urandom(16).hex())
    with running(command, port, log, service.folder, env) as process:
        server = Server(port, process)
        server.wait_for_workers()
        yield server


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Load `make serve` behind nginx and break what it stands on."""
    sqlite = Sqlite(scratch)
    with before(service, scratch, sqlite.name, sqlite.url) as (server, front):
        yield from loaded(sqlite.name, server, front, scratch)
        yield locked(sqlite, front)
        yield drained(sqlite, server, front)
    with postgres() as database:
        with before(service, scratch, database.name, database.url) as (server, front):
            yield from loaded(database.name, server, front, scratch)
            yield gone(database, front)


@contextlib.contextmanager
def before(
    service: Service, scratch: Path, name: str, database: str
) -> Iterator[tuple[Server, str]]:
    """Serve with a database, behind the caching nginx and the shipped edge."""
    folder = scratch / f"load-{name}"
    folder.mkdir()
    edge = service.folder / "deploy" / "nginx-no-store.conf"
    with make_serve(service, folder / "serve.log", database) as server:
        with caching_nginx(folder, server.port, edge) as front:
            yield server, front


def loaded(name: str, server: Server, front: str, scratch: Path) -> Iterator[Row]:
    result = load(front, SECONDS, scratch)
    row = judged(name, f"{CONNECTIONS} connections, {SECONDS} s", front, result)
    if result["counts"]["errors"]:
        row.fail(f"not every response was right: {result['counts']}")
    yield row

    victim = server.workers[0]
    timer = threading.Timer(HALF, os.kill, (victim, signal.SIGKILL))
    timer.start()
    try:
        result = load(front, 2 * HALF, scratch)
    finally:
        timer.cancel()
    row = judged(name, "a worker killed meanwhile", front, result)
    server.wait_for_workers()
    if victim in server.workers or len(server.workers) != WORKERS:
        row.fail("the worker was not killed, or not replaced.")
    yield row


def load(front: str, seconds: int, scratch: Path) -> Any:
    """Run locust to its end and return what it found."""
    path = scratch / "locust.json"
    command = [sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py")]
    command += ["--headless", "--only-summary", "--host", front]
    command += ["-u", str(CONNECTIONS), "-r", str(CONNECTIONS), "-t", f"{seconds}s"]
    command += ["--stop-timeout", "30"]
    env = environment(PROOF_RESULT=str(path), PYTHONPATH=str(HERE.parent))
    run(command, scratch, env)
    return json.loads(path.read_text("utf-8"))


def judged(name: str, scenario: str, front: str, result: Any) -> Row:
    counts = result["counts"]
    tally = Tally(
        requests=counts["requests"],
        stale=counts["stale"] + lost(front, result["acknowledged"]),
        not_modified=counts["not_modified"],
        storable=counts["storable"],
    )
    row = Row(name, scenario, tally, counted=False)
    if not tally.requests or tally.stale or tally.not_modified or tally.storable:
        row.fail(f"a write was lost or not read, or a response is storable: {counts}")
    return row


def lost(front: str, acknowledged: dict[str, str | None]) -> int:
    """Return how many acknowledged writes the service does not know any more."""
    kept: dict[str, str] = {}
    path = f"{ITEMS}?limit=100"
    while path:
        page = urllib3.request("GET", front + path).json()
        kept.update({str(item["id"]): item["name"] for item in page["items"]})
        path = page["next"]
    return sum(kept.get(id) != name for id, name in acknowledged.items())


def attempt(front: str) -> urllib3.BaseHTTPResponse:
    body = json.dumps({"name": "saved in trouble"})
    return urllib3.request(
        "POST", front + ITEMS, body=body, headers=JSON, retries=False, timeout=PATIENCE
    )


def locked(database: Sqlite, front: str) -> Row:
    with database.locked():
        refused = attempt(front)
    return trouble(database.name, "database locked: 503", refused, attempt(front))


def gone(database: Postgres, front: str) -> Row:
    with database.gone():
        refused = attempt(front)
    return trouble(database.name, "database gone: 503", refused, attempt(front))


def trouble(
    name: str,
    scenario: str,
    refused: urllib3.BaseHTTPResponse,
    after: urllib3.BaseHTTPResponse,
) -> Row:
    responses = (refused, after)
    storable = sum(not is_no_store(a.headers.iteritems()) for a in responses)
    row = Row(name, scenario, Tally(2, storable=storable), counted=False)
    said = (
        refused.status,
        refused.headers.get("Content-Type"),
        "Retry-After" in refused.headers,
    )
    if said != (503, "application/problem+json", True):
        row.fail(f"it responded with {said}.")
    if after.status != 201:
        row.fail(f"it did not recover: {after.status}.")
    if storable:
        row.fail("a response is storable.")
    return row


def drained(database: Sqlite, server: Server, front: str) -> Row:
    """End the server while a request waits for the lock: it must get its response."""
    master = server.master
    with ThreadPoolExecutor(1) as thread:
        with database.locked():
            waiting = thread.submit(attempt, front)
            time.sleep(1)
            os.kill(master, signal.SIGTERM)
            time.sleep(1)
        response = waiting.result()
    server.process.wait(PATIENCE)
    storable = int(not is_no_store(response.headers.iteritems()))
    row = Row(database.name, "SIGTERM drains", Tally(1, storable=storable))
    row.counted = False
    if response.status != 201 or storable:
        row.fail(f"the waiting request got {response.status}.")
    return row
