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
# seconds before a worker is killed, and after it
HALF = 4
WORKERS = 2


class Server:
    """`make serve`, the command of the service's README.

    :param port: port on which it listens.
    :param process: make, the parent of gunicorn.
    """

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.url = f"http://{HOST}:{port}"
        self.port = port
        self.process = process

    @property
    def master(self) -> int:
        """Return the parent of the workers, which may have replaced make's shell."""
        pid = self.process.pid
        while len(pids := children(pid)) == 1:
            pid = pids[0]
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
    """Put load on `make serve` behind nginx, and break what it depends on."""
    sqlite = Sqlite(scratch)
    with serving(service, scratch, sqlite.name, sqlite.url) as (server, front):
        yield from run_load(sqlite.name, server, front, scratch)
        yield lock_database(sqlite, front)
        yield drain(sqlite, server, front)
    with postgres() as database:
        with serving(service, scratch, database.name, database.url) as (server, front):
            yield from run_load(database.name, server, front, scratch)
            yield stop_database(database, front)


@contextlib.contextmanager
def serving(
    service: Service, scratch: Path, name: str, database: str
) -> Iterator[tuple[Server, str]]:
    """Serve with a database, behind the caching nginx and the shipped edge."""
    folder = scratch / f"load-{name}"
    folder.mkdir()
    edge = service.folder / "deploy" / "nginx-no-store.conf"
    with make_serve(service, folder / "serve.log", database) as server:
        with caching_nginx(folder, server.port, edge) as front:
            yield server, front


def run_load(name: str, server: Server, front: str, scratch: Path) -> Iterator[Row]:
    result = load(front, SECONDS, scratch)
    row = judge(name, f"{CONNECTIONS} connections, {SECONDS} s", front, result)
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
    row = judge(name, "a worker killed meanwhile", front, result)
    server.wait_for_workers()
    if victim in server.workers or len(server.workers) != WORKERS:
        row.fail("the worker was not killed, or not replaced.")
    yield row


def load(front: str, seconds: int, scratch: Path) -> Any:
    """Run locust to its end and return its counts."""
    path = scratch / "locust.json"
    command = [sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py")]
    command += ["--headless", "--only-summary", "--host", front]
    command += ["-u", str(CONNECTIONS), "-r", str(CONNECTIONS), "-t", f"{seconds}s"]
    command += ["--stop-timeout", "30"]
    env = environment(PROOF_RESULT=str(path), PYTHONPATH=str(HERE.parent))
    run(command, scratch, env)
    return json.loads(path.read_text("utf-8"))


def judge(name: str, scenario: str, front: str, result: Any) -> Row:
    counts = result["counts"]
    tally = Tally(
        requests=counts["requests"],
        stale=counts["stale"] + count_lost(front, result["ledger"]),
        not_modified=counts["not_modified"],
        storable=counts["storable"],
    )
    row = Row(name, scenario, tally, counted=False)
    if not tally.requests or tally.stale or tally.not_modified or tally.storable:
        row.fail(f"a write was lost or not read, or a response is storable: {counts}")
    return row


def count_lost(front: str, ledger: dict[str, str | None]) -> int:
    """Return the number of acknowledged writes that the service has lost."""
    names: dict[str, str] = {}
    path = f"{ITEMS}?limit=100"
    while path:
        page = urllib3.request("GET", front + path).json()
        names.update({str(item["id"]): item["name"] for item in page["items"]})
        path = page["next"]
    return sum(names.get(id) != name for id, name in ledger.items())


def attempt(front: str) -> urllib3.BaseHTTPResponse:
    body = json.dumps({"name": "saved in trouble"})
    return urllib3.request(
        "POST", front + ITEMS, body=body, headers=JSON, retries=False, timeout=PATIENCE
    )


def lock_database(database: Sqlite, front: str) -> Row:
    with database.lock():
        during = attempt(front)
    after = attempt(front)
    return judge_trouble(database.name, "database locked: 503", during, after)


def stop_database(database: Postgres, front: str) -> Row:
    with database.outage():
        during = attempt(front)
    after = attempt(front)
    return judge_trouble(database.name, "database gone: 503", during, after)


def judge_trouble(
    name: str,
    scenario: str,
    during: urllib3.BaseHTTPResponse,
    after: urllib3.BaseHTTPResponse,
) -> Row:
    responses = (during, after)
    storable = sum(
        not is_no_store(response.headers.iteritems()) for response in responses
    )
    row = Row(name, scenario, Tally(2, storable=storable), counted=False)
    problem = (
        during.status,
        during.headers.get("Content-Type"),
        "Retry-After" in during.headers,
    )
    if problem != (503, "application/problem+json", True):
        row.fail(f"the response was {problem}.")
    if after.status != 201:
        row.fail(f"the service did not recover: {after.status}.")
    if storable:
        row.fail("a response is storable.")
    return row


def drain(database: Sqlite, server: Server, front: str) -> Row:
    """End the server while a request waits for the lock, and expect its response."""
    master = server.master
    with ThreadPoolExecutor(1) as thread:
        with database.lock():
            future = thread.submit(attempt, front)
            time.sleep(1)
            os.kill(master, signal.SIGTERM)
            time.sleep(1)
        response = future.result()
    server.process.wait(PATIENCE)
    storable = int(not is_no_store(response.headers.iteritems()))
    row = Row(database.name, "SIGTERM drains", Tally(1, storable=storable))
    row.counted = False
    if response.status != 201 or storable:
        row.fail(f"the waiting request got {response.status}.")
    return row
