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

# of load before the instances are replaced
SECONDS = 4
# its Location is made by no view
REDIRECT = "/api//items"
MARKS = itertools.count(1)


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Run two instances and then three as compose does, and replace each under load."""
    with postgres() as database, Stack(service, database).serving() as stack:
        for name, number in (("two", 2), ("three", 3)):
            while len(stack.instances) < number:
                stack.grow()
            with Edge(scratch / name).serving(service, stack.ports) as edge:
                yield spread(stack, Front(edge), rounds)
                if number == 3:
                    yield forwarded(Front(edge))
                    yield drained(stack, Front(edge), database)
                    yield from loaded(stack, edge, database)


class Front:
    """The edge, and what came back through it."""

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
        """Request, and return the mark that the edge's log has, and the response."""
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

    def served(self) -> dict[str, int]:
        """Return by mark the port that was asked last, once all requests are logged."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            asked = {m: p for m, p in self.edge.hops() if m in self._marks}
            if len(asked) == len(self._marks):
                break
            time.sleep(0.05)
        return {mark: ports[-1] for mark, ports in asked.items() if ports}


def said(response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    """Return the JSON of a response, nothing for what nginx says itself."""
    try:
        found: dict[str, Any] = response.json()
    except ValueError:
        return {}
    return found


def judged(scenario: str, tally: Tally) -> Row:
    row = Row("replicas", scenario, tally, counted=False)
    if not tally.requests or tally.stale or tally.not_modified or tally.storable:
        row.fail("a write was lost or not read, or a response is storable.")
    return row


def spread(stack: Stack, front: Front, rounds: int) -> Row:
    """Save through one instance, and read through every instance."""
    number = len(stack.instances)
    elsewhere = []
    for _ in range(rounds):
        saver, response = front.send("POST", ITEMS, "saved by one instance")
        saved = said(response).get("id")
        for _ in stack.instances:
            reader, response = front.send("GET", ITEMS)
            listed = [item["id"] for item in said(response).get("items", ())]
            front.tally.stale += listed[:1] != [saved]
            elsewhere.append((saver, reader))
    served = front.served()
    row = judged(f"{number} instances: save, read at all", front.tally)
    row.measured.append(
        f"start to first response: {stack.instances[-1].seconds[0]:.1f} s"
    )
    busy = collections.Counter(served.values())
    if any(busy[port] < rounds // 2 for port in stack.ports):
        row.fail(f"not every instance had its share: {[*busy.values()]}.")
    if sum(served.get(a) != served.get(b) for a, b in elsewhere) < rounds:
        row.fail("what one instance saved was not read through another.")
    return row


def forwarded(front: Front) -> Row:
    """Ask as a client of the edge, over HTTP and HTTPS, and as a liar."""
    lies = {"X_Forwarded_Host": "evil.example", "X_Forwarded_Proto": "https"}
    expected = [
        (front.edge.url, {}, 308, f"http://{NAME}{ITEMS}"),
        (front.edge.tls_url, {}, 308, f"https://{NAME}{ITEMS}"),
        (front.edge.url, lies, 308, f"http://{NAME}{ITEMS}"),
        (front.edge.url, {"Host": "evil.example"}, 400, None),
    ]
    wrong = []
    for url, headers, *right in expected:
        _, response = front.send("GET", url + REDIRECT, **headers)
        if [response.status, response.headers.get("Location")] != right:
            wrong.append(f"{response.status} {response.headers.get('Location')}")
    row = judged("scheme and host in Location", front.tally)
    for found in wrong:
        row.fail(f"the redirect is {found}.")
    return row


def drained(stack: Stack, front: Front, database: Postgres) -> Row:
    """End an instance while it has requests in flight, and start it again."""
    ending = stack.instances[0]
    number = 2 * len(stack.instances)
    with ThreadPoolExecutor(number) as threads:
        with database.locked("items"):
            sent = [
                threads.submit(front.send, "POST", ITEMS, "saved in time")
                for _ in range(number)
            ]
            database.wait_for_locks(number, "NOT granted")
            ending.signal(signal.SIGTERM)
            time.sleep(1)
        responses = dict(future.result() for future in sent)
    status = ending.wait()
    row = judged("SIGTERM: requests in flight", front.tally)
    served = front.served()
    in_time = [a.status for m, a in responses.items() if served.get(m) == ending.port]
    if status or not in_time or {a.status for a in responses.values()} != {201}:
        row.fail(f"it responded with {in_time} and ended with {status}.")
    ending.start()
    return row


def loaded(stack: Stack, edge: Edge, database: Postgres) -> Iterator[Row]:
    """Replace the instances one by one while clients write and read."""
    load = Load(edge.url, NAME)
    with load.running():
        begun = time.monotonic()
        time.sleep(SECONDS)
        tally = load.turn()
        speed = tally.requests / (time.monotonic() - begun)
        row = judged(f"3 instances under load, {SECONDS} s", tally)
        row.measured.append(f"{speed:.0f} requests/s")
        yield row
        for number in (signal.SIGTERM, signal.SIGKILL):
            yield replaced(stack, edge, load, number, speed)
        yield settled(stack, edge, load)
    yield kept(load, database)


def replaced(
    stack: Stack, edge: Edge, load: Load, number: signal.Signals, before: float
) -> Row:
    passed_on, repeated = edge.passed_on(), load.repeated.copy()
    begun = time.monotonic()
    seconds = [replace(instance, number) for instance in stack.instances]
    tally = load.turn()
    speed = tally.requests / (time.monotonic() - begun)
    row = judged(f"each replaced: {number.name}", tally)
    passed_on = edge.passed_on() - passed_on
    if not passed_on:
        row.fail("no request met an instance that was gone, so it shows nothing.")
    again = ", ".join(f"{n} {m}" for m, n in (load.repeated - repeated).items())
    row.measured += [
        f"responding again after {statistics.median(seconds):.1f} s",
        f"{speed:.0f} requests/s, {speed / before:.0%} of before",
        f"{passed_on} passed on by nginx",
        f"{again or 'none'} sent again by a client",
    ]
    return row


def replace(instance: Instance, number: signal.Signals) -> float:
    begun = time.monotonic()
    instance.signal(number)
    instance.wait()
    instance.start()
    return time.monotonic() - begun


def settled(stack: Stack, edge: Edge, load: Load) -> Row:
    """See that nginx asks every instance again."""
    before = edge.served()
    time.sleep(SECONDS / 2)
    row = judged("all serve again", load.turn())
    if idle := set(stack.ports) - set(edge.served() - before):
        row.fail(f"{len(idle)} instances are not asked any more.")
    return row


def kept(load: Load, database: Postgres) -> Row:
    """Compare what was acknowledged with what the database has."""
    row = Row("replicas", "acknowledged, in the database", counted=False)
    query = "SELECT coalesce(json_object_agg(id, name), '{}') FROM items"
    query += " WHERE name LIKE 'client %'"
    found = {int(id): name for id, name in json.loads(database.ask(query)).items()}
    acknowledged = load.ledger.latest()
    lost = sum(found.get(id) != name for id, name in acknowledged.items())
    row.guarded = Tally(len(acknowledged), stale=lost)
    if lost:
        row.fail("an acknowledged write is not in the database.")
    if len(found.keys() - acknowledged.keys()) > load.repeated["POST"]:
        row.fail("the database has items that nobody saved.")
    for refusal in load.refusals():
        row.fail(refusal)
    return row
