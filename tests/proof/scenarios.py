from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import urllib3

from .counter import Counter
from .counter import Headers
from .counter import MARK
from .processes import ProofError
from .report import Tally
from .service import Origin

# repeated here, so that the proof notices a change in the guard
NO_STORE = [
    ("cache-control", "no-store, no-cache, must-revalidate, private, max-age=0"),
    ("expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("pragma", "no-cache"),
]
CACHE_FIELDS = {
    "age",
    "cache-control",
    "edge-control",
    "etag",
    "expires",
    "last-modified",
    "pragma",
    "surrogate-control",
    "x-accel-expires",
}
# header fields of a client with a copy from before
CONDITIONS = {
    "If-None-Match": "*",
    "If-Modified-Since": "Fri, 31 Dec 2100 23:59:59 GMT",
}
READERS = 16
ITEMS = "/api/items"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes
    # whether it came without a request to the origin server
    reused: bool
    # of the origin server's response, None where none came
    origin_fields: Headers | None

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            return {}


def is_no_store(headers: Iterable[tuple[str, str]]) -> bool:
    """Return whether the fields for caches are exactly the three no-store fields."""
    fields = [
        (lower, value)
        for name, value in headers
        if (lower := name.lower()) in CACHE_FIELDS or lower.endswith("-cache-control")
    ]
    return sorted(fields) == NO_STORE


class Bench:
    """A cache before an origin server, and the counts of its responses.

    :param front: the URL of the cache.
    :param counter: the pass-through between the cache and the origin server.
    """

    def __init__(self, front: str, counter: Counter, origin: Origin) -> None:
        self.front = front
        self.counter = counter
        self.origin = origin
        self.tally = Tally()
        self.pool = urllib3.PoolManager(maxsize=READERS, retries=False, timeout=120)
        self._marks = itertools.count(1)

    def send(self, path: str, method: str = "GET", **headers: str) -> Response:
        """Send a request through the cache; threads may share it."""
        mark = str(next(self._marks))
        body = headers.pop("body", None)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields[MARK] = mark
        response = self.pool.request(
            method, self.front + path, headers=fields, body=body, redirect=False
        )
        reused = mark not in self.counter.responses
        origin_fields = self.counter.responses.pop(mark, None)
        return Response(response.status, response.data, reused, origin_fields)

    def count(self, response: Response) -> Response:
        self.tally.requests += 1
        self.tally.not_modified += response.status == 304
        self.tally.reused += response.reused
        fields = response.origin_fields
        self.tally.storable += fields is not None and not is_no_store(fields)
        return response

    def request(self, path: str, method: str = "GET", **headers: str) -> Response:
        return self.count(self.send(path, method, **headers))

    def expect(self, condition: bool) -> None:
        """Count a response as stale unless a condition holds."""
        self.tally.stale += not condition

    def save(self, name: str = "saved") -> int:
        return save(self.origin.url, name)


def write(origin: str, method: str, path: str, name: str = "") -> Any:
    """Write to the origin server itself, so that no cache invalidates its copies."""
    body = json.dumps({"name": name}) if name else None
    response = urllib3.request(method, origin + path, body=body, headers=JSON)
    if response.status >= 300:
        raise ProofError(f"{method} {origin}{path} got {response.status}.")
    return json.loads(response.data or b"{}")


def save(origin: str, name: str) -> int:
    return int(write(origin, "POST", ITEMS, name)["id"])


def ids(response: Response) -> set[object]:
    return {item["id"] for item in response.json().get("items", ())}


def read_your_writes(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        id = bench.save()
        bench.expect(id in ids(bench.request(ITEMS)))


def create_after_404(bench: Bench, rounds: int) -> None:
    id = bench.save()
    for _ in range(rounds):
        path = f"{ITEMS}/{id + 1}"
        bench.expect(bench.request(path).status == 404)
        id = bench.save()
        bench.expect(bench.request(path).status == 200)


def read_after_delete(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        path = f"{ITEMS}/{bench.save()}"
        bench.expect(bench.request(path).status == 200)
        write(bench.origin.url, "DELETE", path)
        bench.expect(bench.request(path).status == 404)


def request_unknown_path(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        bench.expect(bench.request("/api/unknown").status == 404)


def read_after_405(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        bench.expect(bench.request(ITEMS, "PATCH").status == 405)
        id = bench.save()
        bench.expect(id in ids(bench.request(ITEMS)))


def request_redirect(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        bench.expect(bench.request("/api//items").status == 308)


def send_malformed(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        response = bench.request(ITEMS, "POST", body='{"name"', **JSON)
        bench.expect(response.status == 400)
        bench.expect(bench.request(f"{ITEMS}?limit=few").status == 400)


def send_head(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        response = bench.request(ITEMS, "HEAD")
        bench.expect((response.status, response.body) == (200, b""))


def send_options(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        bench.expect(bench.request(ITEMS, "OPTIONS").status == 200)


def send_conditions(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        path = f"{ITEMS}/{bench.save()}"
        bench.expect(bench.request(path).status == 200)
        for name, value in CONDITIONS.items():
            bench.expect(bench.request(path, **{name: value}).status == 200)


def alternate_users(bench: Bench, rounds: int) -> None:
    for number in range(rounds):
        user = ("alice", "bob")[number % 2]
        response = bench.request("/whoami", X_Forwarded_User=user)
        bench.expect(response.json().get("user") == user)


def read_in_parallel(bench: Bench, rounds: int) -> None:
    with ThreadPoolExecutor(READERS) as threads:
        for number in range(rounds):
            path = f"{ITEMS}/{bench.save(f'round {number}')}"
            for response in threads.map(bench.send, [path] * READERS):
                bench.count(response)
                bench.expect(response.json().get("name") == f"round {number}")


def restart_origin(bench: Bench, rounds: int) -> None:
    paths = [f"{ITEMS}?limit={number}" for number in range(1, rounds + 1)]
    for path in paths:
        bench.send(path)
    bench.origin.stop()
    bench.origin.start()
    id = bench.save()
    for path in paths:
        bench.expect(id in ids(bench.request(path)))


def stop_origin(bench: Bench, rounds: int) -> None:
    # a cache may keep its own 502 for a while, so no other scenario has these paths
    paths = [f"{ITEMS}?limit={100 - number}" for number in range(rounds)]
    for path in paths:
        bench.send(path)
    bench.origin.stop()
    for path in paths:
        bench.expect(bench.request(path).status in {502, 503, 504})
    bench.origin.start()


@dataclass(frozen=True)
class Scenario:
    """Requests through a cache.

    :param leaks: the caches that reuse a response of the control.
    """

    name: str
    run: Callable[[Bench, int], None]
    leaks: frozenset[str]


BOTH = frozenset({"nginx", "varnish"})
NGINX = frozenset({"nginx"})
# no cache stores the responses to these requests
NONE = frozenset[str]()

SCENARIOS = [
    Scenario("read your writes", read_your_writes, BOTH),
    Scenario("404, then created", create_after_404, BOTH),
    Scenario("deleted, then gone", read_after_delete, BOTH),
    Scenario("unknown path", request_unknown_path, BOTH),
    Scenario("wrong method, then read", read_after_405, BOTH),
    Scenario("redirect", request_redirect, NGINX),
    Scenario("malformed JSON and query", send_malformed, NGINX),
    Scenario("HEAD", send_head, BOTH),
    Scenario("OPTIONS", send_options, NONE),
    Scenario("conditional requests", send_conditions, BOTH),
    Scenario("another user's response", alternate_users, BOTH),
    Scenario("16 parallel readers", read_in_parallel, BOTH),
    Scenario("origin restarted", restart_origin, BOTH),
    Scenario("origin down", stop_origin, BOTH),
]
# the story's decorator is on the list, and missing on the item
ARTICLE = [
    Scenario("decorated: the list", read_your_writes, NONE),
    Scenario("forgotten: one item", read_after_delete, BOTH),
    Scenario("out of reach: unknown path", request_unknown_path, BOTH),
]
