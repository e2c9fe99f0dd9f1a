from __future__ import annotations

import collections
import itertools
import json
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3

from .clients import Load
from .compose_stack import Edge
from .compose_stack import Instance
from .compose_stack import NAME
from .compose_stack import Stack
from .counter import MARK
from .databases import Postgres
from .databases import postgres
from .processes import PATIENCE
from .report import Row
from .report import Tally
from .scenarios import is_no_store
from .scenarios import ITEMS
from .scenarios import JSON
from .service import Service

# seconds of load before the instances are replaced
SECONDS = 4
# no view sets the Location of its redirect
REDIRECT = "/api//items"
MARKS = itertools.count(1)


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Run two instances and then three as compose does, and replace each under load."""
    with postgres() as database, Stack(service, database).serving() as stack:
        for name, number in (("two", 2), ("three", 3)):
            while len(stack.instances) < number:
                stack.grow()
            with Edge(scratch / name).serving(service, stack.ports) as edge:
                yield read_elsewhere(stack, Front(edge), rounds)
                if number == 3:
                    yield check_redirects(Front(edge))
                    yield drain(stack, Front(edge), database)
                    yield from run_load(stack, edge, database)


class Front:
    """A client of the edge, and the counts of its responses."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.tally = Tally()
        self.pool = urllib3.PoolManager(
            retries=False,
            timeout=PATIENCE,
            ca_certs=str(edge.certificate),
            server_hostname=NAME,
            assert_hostname=NAME,
        )
        self._marks: set[str] = set()
        self._lock = threading.Lock()

    def send(
        self, method: str, url: str, name: str = "", **headers: str
    ) -> tuple[str, urllib3.BaseHTTPResponse]:
        """Send a request, and return its mark in the edge's log, and the response."""
        mark = str(next(MARKS))
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        response = self.pool.request(
            method,
            url if "://" in url else self.edge.url + url,
            body=json.dumps({"name": name}) if name else None,
            headers={"Host": NAME, MARK: mark, **JSON, **fields},
            redirect=False,
        )
        with self._lock:
            self._marks.add(mark)
            self.tally.requests += 1
            self.tally.not_modified += response.status == 304
            self.tally.storable += not is_no_store(response.headers.iteritems())
        return mark, response

    def ports_by_mark(self) -> dict[str, int]:
        """Return the last port of each mark, once the log has all requests."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            hops = {m: p for m, p in self.edge.hops() if m in self._marks}
            if len(hops) == len(self._marks):
                break
            time.sleep(0.05)
        return {mark: ports[-1] for mark, ports in hops.items() if ports}


def parse(response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    """Return the JSON of a response, an empty object for a page of nginx itself."""
    try:
        body: dict[str, Any] = response.json()
    except ValueError:
        return {}
    return body


def judge(scenario: str, tally: Tally) -> Row:
    row = Row("replicas", scenario, tally, counted=False)
    if not tally.requests or tally.stale or tally.not_modified or tally.storable:
        row.fail("a write was lost or not read, or a response is storable.")
    return row


def read_elsewhere(stack: Stack, front: Front, rounds: int) -> Row:
    """Save through one instance, and read through each instance."""
    number = len(stack.instances)
    pairs = []
    for _ in range(rounds):
        saver, response = front.send("POST", ITEMS, "saved by one instance")
        id = parse(response).get("id")
        for _ in stack.instances:
            reader, response = front.send("GET", ITEMS)
            ids = [item["id"] for item in parse(response).get("items", ())]
            front.tally.stale += ids[:1] != [id]
            pairs.append((saver, reader))
    ports = front.ports_by_mark()
    row = judge(f"{number} instances: save, read at all", front.tally)
    row.figures.append(
        f"start to first response: {stack.instances[-1].seconds[0]:.1f} s"
    )
    shares = collections.Counter(ports.values())
    if any(shares[port] < rounds // 2 for port in stack.ports):
        row.fail(f"not every instance had its share: {[*shares.values()]}.")
    if sum(ports.get(a) != ports.get(b) for a, b in pairs) < rounds:
        row.fail("too few items were read through another instance than saved them.")
    return row


def check_redirects(front: Front) -> Row:
    """Request a redirect over HTTP and HTTPS, and with forged header fields."""
    forgeries = {"X_Forwarded_Host": "evil.example", "X_Forwarded_Proto": "https"}
    cases = [
        (front.edge.url, {}, 308, f"http://{NAME}{ITEMS}"),
        (front.edge.tls_url, {}, 308, f"https://{NAME}{ITEMS}"),
        (front.edge.url, forgeries, 308, f"http://{NAME}{ITEMS}"),
        (front.edge.url, {"Host": "evil.example"}, 400, None),
    ]
    redirects = []
    for url, headers, *expected in cases:
        _, response = front.send("GET", url + REDIRECT, **headers)
        if [response.status, response.headers.get("Location")] != expected:
            redirects.append(f"{response.status} {response.headers.get('Location')}")
    row = judge("scheme and host in Location", front.tally)
    for redirect in redirects:
        row.fail(f"the redirect is {redirect}.")
    return row


def drain(stack: Stack, front: Front, database: Postgres) -> Row:
    """End an instance while it has requests in flight, and start it again."""
    instance = stack.instances[0]
    number = 2 * len(stack.instances)
    with ThreadPoolExecutor(number) as threads:
        with database.lock("items"):
            futures = [
                threads.submit(front.send, "POST", ITEMS, "saved in time")
                for _ in range(number)
            ]
            database.wait_for_locks(number, "NOT granted")
            instance.signal(signal.SIGTERM)
            time.sleep(1)
        responses = dict(future.result() for future in futures)
    status = instance.wait()
    row = judge("SIGTERM: requests in flight", front.tally)
    ports = front.ports_by_mark()
    statuses = [r.status for m, r in responses.items() if ports.get(m) == instance.port]
    if status or not statuses or {r.status for r in responses.values()} != {201}:
        row.fail(f"the instance sent {statuses} and ended with {status}.")
    instance.start()
    return row


def run_load(stack: Stack, edge: Edge, database: Postgres) -> Iterator[Row]:
    """Replace the instances one by one while clients write and read."""
    load = Load(edge.url, NAME)
    with load.running():
        start = time.monotonic()
        time.sleep(SECONDS)
        tally = load.take_tally()
        speed = tally.requests / (time.monotonic() - start)
        row = judge(f"3 instances under load, {SECONDS} s", tally)
        row.figures.append(f"{speed:.0f} requests/s")
        yield row
        for number in (signal.SIGTERM, signal.SIGKILL):
            yield replace_all(stack, edge, load, number, speed)
        yield check_balance(stack, edge, load)
    yield compare_database(load, database)


def replace_all(
    stack: Stack, edge: Edge, load: Load, number: signal.Signals, before: float
) -> Row:
    retries, repeats = edge.count_retries(), load.repeats.copy()
    start = time.monotonic()
    seconds = [replace(instance, number) for instance in stack.instances]
    tally = load.take_tally()
    speed = tally.requests / (time.monotonic() - start)
    row = judge(f"each replaced: {number.name}", tally)
    retries = edge.count_retries() - retries
    if not retries:
        row.fail("nginx passed no request on, so the scenario proves nothing.")
    again = ", ".join(f"{n} {m}" for m, n in (load.repeats - repeats).items())
    row.figures += [
        f"responding again after {statistics.median(seconds):.1f} s",
        f"{speed:.0f} requests/s, {speed / before:.0%} of before",
        f"{retries} passed on by nginx",
        f"{again or 'none'} sent again by a client",
    ]
    return row


def replace(instance: Instance, number: signal.Signals) -> float:
    start = time.monotonic()
    instance.signal(number)
    instance.wait()
    instance.start()
    return time.monotonic() - start


def check_balance(stack: Stack, edge: Edge, load: Load) -> Row:
    """Check that nginx sends requests to each instance again."""
    before = edge.count_by_port()
    time.sleep(SECONDS / 2)
    row = judge("all serve again", load.take_tally())
    if idle := set(stack.ports) - set(edge.count_by_port() - before):
        row.fail(f"{len(idle)} instances get no requests any more.")
    return row


def compare_database(load: Load, database: Postgres) -> Row:
    """Compare the acknowledged writes with the database."""
    row = Row("replicas", "acknowledged, in the database", counted=False)
    query = "SELECT coalesce(json_object_agg(id, name), '{}') FROM items"
    query += " WHERE name LIKE 'client %'"
    names = {int(id): name for id, name in json.loads(database.query(query)).items()}
    ledger = load.ledger.latest()
    losses = sum(names.get(id) != name for id, name in ledger.items())
    row.service = Tally(len(ledger), stale=losses)
    if losses:
        row.fail("an acknowledged write is not in the database.")
    if len(names.keys() - ledger.keys()) > load.repeats["POST"]:
        row.fail("the database has items that nobody saved.")
    for failure in load.failures():
        row.fail(failure)
    return row
