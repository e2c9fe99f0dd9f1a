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

# written here again, so that a change of the guard's own text is seen
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
# what a client sends that holds a copy from before
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
    asked: bool
    # by the origin; None if it was not asked, or did not response
    sent: Headers | None

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            return {}


def is_no_store(headers: Iterable[tuple[str, str]]) -> bool:
    """Return whether exactly the three no-store fields speak to caches."""
    fields = [
        (lower, value)
        for name, value in headers
        if (lower := name.lower()) in CACHE_FIELDS or lower.endswith("-cache-control")
    ]
    return sorted(fields) == NO_STORE


class Bench:
    """A cache before an origin, and what came back through it.

    :param front: the URL of the cache.
    :param counter: the pass-through between the cache and its origin.
    """

    def __init__(self, front: str, counter: Counter, origin: Origin) -> None:
        self.front = front
        self.counter = counter
        self.origin = origin
        self.tally = Tally()
        self.pool = urllib3.PoolManager(maxsize=READERS, retries=False, timeout=120)
        self._marks = itertools.count(1)

    def send(self, path: str, method: str = "GET", **headers: str) -> Response:
        """Request through the cache; safe in threads."""
        mark = str(next(self._marks))
        body = headers.pop("body", None)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields[MARK] = mark
        response = self.pool.request(
            method, self.front + path, headers=fields, body=body, redirect=False
        )
        asked = mark in self.counter.seen
        sent = self.counter.seen.pop(mark, None)
        return Response(response.status, response.data, asked, sent)

    def count(self, response: Response) -> Response:
        self.tally.requests += 1
        self.tally.not_modified += response.status == 304
        self.tally.reused += not response.asked
        self.tally.storable += response.sent is not None and not is_no_store(
            response.sent
        )
        return response

    def ask(self, path: str, method: str = "GET", **headers: str) -> Response:
        return self.count(self.send(path, method, **headers))

    def expect(self, fact: bool) -> None:
        """Count a response as stale unless it says what the origin has to say."""
        self.tally.stale += not fact

    def save(self, name: str = "saved") -> int:
        return save(self.origin.url, name)


def write(origin: str, method: str, path: str, name: str = "") -> Any:
    """Write straight to the origin, so that no cache hears of it."""
    body = json.dumps({"name": name}) if name else None
    response = urllib3.request(method, origin + path, body=body, headers=JSON)
    if response.status >= 300:
        raise ProofError(f"{method} {origin}{path} got {response.status}.")
    return json.loads(response.data or b"{}")


def save(origin: str, name: str) -> int:
    return int(write(origin, "POST", ITEMS, name)["id"])


def names(response: Response) -> set[object]:
    return {item["id"] for item in response.json().get("items", ())}


def read_your_writes(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        saved = bench.save()
        bench.expect(saved in names(bench.ask(ITEMS)))


def missing_then_created(bench: Bench, rounds: int) -> None:
    saved = bench.save()
    for _ in range(rounds):
        path = f"{ITEMS}/{saved + 1}"
        bench.expect(bench.ask(path).status == 404)
        saved = bench.save()
        bench.expect(bench.ask(path).status == 200)


def deleted_then_gone(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        path = f"{ITEMS}/{bench.save()}"
        bench.expect(bench.ask(path).status == 200)
        write(bench.origin.url, "DELETE", path)
        bench.expect(bench.ask(path).status == 404)


def unknown_path(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        bench.expect(bench.ask("/api/unknown").status == 404)


def wrong_method(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        bench.expect(bench.ask(ITEMS, "PATCH").status == 405)
        saved = bench.save()
        bench.expect(saved in names(bench.ask(ITEMS)))


def redirect(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        bench.expect(bench.ask("/api//items").status == 308)


def malformed(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        broken = bench.ask(ITEMS, "POST", body='{"name"', **JSON)
        bench.expect(broken.status == 400)
        bench.expect(bench.ask(f"{ITEMS}?limit=few").status == 400)


def head(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        response = bench.ask(ITEMS, "HEAD")
        bench.expect((response.status, response.body) == (200, b""))


def options(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        bench.expect(bench.ask(ITEMS, "OPTIONS").status == 200)


def conditional(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        path = f"{ITEMS}/{bench.save()}"
        bench.expect(bench.ask(path).status == 200)
        for name, value in CONDITIONS.items():
            bench.expect(bench.ask(path, **{name: value}).status == 200)


def other_user(bench: Bench, rounds: int) -> None:
    for number in range(rounds):
        user = ("alice", "bob")[number % 2]
        response = bench.ask("/whoami", X_Forwarded_User=user)
        bench.expect(response.json().get("user") == user)


def parallel_readers(bench: Bench, rounds: int) -> None:
    with ThreadPoolExecutor(READERS) as threads:
        for number in range(rounds):
            path = f"{ITEMS}/{bench.save(f'round {number}')}"
            for response in threads.map(bench.send, [path] * READERS):
                bench.count(response)
                bench.expect(response.json().get("name") == f"round {number}")


def origin_restarted(bench: Bench, rounds: int) -> None:
    paths = [f"{ITEMS}?limit={number}" for number in range(1, rounds + 1)]
    for path in paths:
        bench.send(path)
    bench.origin.stop()
    bench.origin.start()
    saved = bench.save()
    for path in paths:
        bench.expect(saved in names(bench.ask(path)))


def origin_down(bench: Bench, rounds: int) -> None:
    # other paths than elsewhere: a cache may keep its own 502 for a while
    paths = [f"{ITEMS}?limit={100 - number}" for number in range(rounds)]
    for path in paths:
        bench.send(path)
    bench.origin.stop()
    for path in paths:
        bench.expect(bench.ask(path).status in {502, 503, 504})
    bench.origin.start()


@dataclass(frozen=True)
class Scenario:
    """What is done through a cache.

    :param leaks: the caches that response it without the origin for plain Flask.
    """

    name: str
    run: Callable[[Bench, int], None]
    leaks: frozenset[str]


BOTH = frozenset({"nginx", "varnish"})
NGINX = frozenset({"nginx"})
# no cache keeps the responses to these methods, so that there is nothing to leak
NONE = frozenset[str]()

SCENARIOS = [
    Scenario("read your writes", read_your_writes, BOTH),
    Scenario("404, then created", missing_then_created, BOTH),
    Scenario("deleted, then gone", deleted_then_gone, BOTH),
    Scenario("unknown path", unknown_path, BOTH),
    Scenario("wrong method, then read", wrong_method, BOTH),
    Scenario("redirect", redirect, NGINX),
    Scenario("malformed JSON and query", malformed, NGINX),
    Scenario("HEAD", head, BOTH),
    Scenario("OPTIONS", options, NONE),
    Scenario("conditional requests", conditional, BOTH),
    Scenario("another user's response", other_user, BOTH),
    Scenario("16 parallel readers", parallel_readers, BOTH),
    Scenario("origin restarted", origin_restarted, BOTH),
    Scenario("origin down", origin_down, BOTH),
]
# applied by hand to the list, and forgotten on the item
ARTICLE = [
    Scenario("decorated: the list", read_your_writes, NONE),
    Scenario("forgotten: one item", deleted_then_gone, BOTH),
    Scenario("out of reach: unknown path", unknown_path, BOTH),
]
