"""Clients that send a failed request again, and a ledger of their writes."""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import random
import threading
from collections.abc import Iterator
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import urllib3

from .processes import PATIENCE
from .report import Tally
from .scenarios import is_no_store
from .scenarios import ITEMS
from .scenarios import JSON

WRITERS = 4
READERS = 4
# the number of last writes that a reader checks
RECENT = 50


class RequestFailure(Exception):
    """A request failed on its second attempt as well."""


class Ledger:
    """The acknowledged writes: by id the item's name, or None after its deletion."""

    def __init__(self) -> None:
        self._entries: dict[int, str | None] = {}
        self._lock = threading.Lock()

    def note(self, id: int, name: str | None) -> None:
        with self._lock:
            self._entries[id] = name

    def withdraw(self, id: int) -> None:
        """Remove an item before a change, during which either state is right."""
        with self._lock:
            del self._entries[id]

    def latest(self, number: int | None = None) -> dict[int, str | None]:
        with self._lock:
            return dict(itertools.islice(reversed(self._entries.items()), number))

    def contradicts(
        self, entries: Mapping[int, str | None], items: Mapping[int, str]
    ) -> bool:
        """Return whether a response contradicts acknowledged writes.

        :param entries: entries of this ledger from before the request.
        :param items: names of the newest items by id, as the response has them.
        """
        oldest = min(items, default=0)
        with self._lock:
            return any(
                id >= oldest
                and items.get(id) != name
                # no client changed the item during the request
                and self._entries.get(id, ...) == name
                for id, name in entries.items()
            )


class Load:
    """Writers and readers, and the counts of their responses.

    :param front: URL of the edge.
    :param host: host name that the requests have.
    """

    def __init__(self, front: str, host: str) -> None:
        self.front = front
        self.headers = {"Host": host, **JSON}
        self.ledger = Ledger()
        # second attempts by method
        self.repeats: collections.Counter[str] = collections.Counter()
        self.over = threading.Event()
        self._tally = Tally()
        self._lock = threading.Lock()
        self._futures: list[Future[None]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the clients until the block ends."""
        roles = [Client.write] * WRITERS + [Client.read] * READERS
        with ThreadPoolExecutor(len(roles)) as threads:
            self._futures = [
                threads.submit(role, Client(self, f"client {number}"))
                for number, role in enumerate(roles)
            ]
            try:
                yield
            finally:
                self.over.set()

    def take_tally(self) -> Tally:
        """Return the counts since the last call."""
        with self._lock:
            tally, self._tally = self._tally, Tally()
        return tally

    def failures(self) -> list[str]:
        """Return the failures that ended clients, after all clients have ended."""
        errors = [future.exception() for future in self._futures]
        for error in errors:
            if error is not None and not isinstance(error, RequestFailure):
                raise error
        return [str(error) for error in errors if error is not None]

    def count(self, response: urllib3.BaseHTTPResponse) -> None:
        with self._lock:
            self._tally.requests += 1
            self._tally.not_modified += response.status == 304
            self._tally.storable += not is_no_store(response.headers.iteritems())

    def check(
        self, entries: Mapping[int, str | None], items: Mapping[int, str]
    ) -> None:
        stale = self.ledger.contradicts(entries, items)
        with self._lock:
            self._tally.stale += stale


class Client:
    """One user, on a connection of its own."""

    def __init__(self, load: Load, name: str) -> None:
        self.load = load
        self.ledger = load.ledger
        self.name = name
        self.pool = urllib3.PoolManager(retries=False, timeout=PATIENCE)

    def write(self) -> None:
        """Save and rename items, delete every other one, and check each write."""
        previous = 0
        for number in itertools.count():
            if self.load.over.is_set():
                return
            name = f"{self.name}, item {number}"
            id = self.request("POST", ITEMS, 201, name=name)["id"]
            self.ledger.note(id, name)
            self.read_list()
            self.change("PUT", id, f"{name}, renamed")
            if number % 2:
                self.change("DELETE", previous)
            previous = id

    def change(self, method: str, id: int, name: str | None = None) -> None:
        self.ledger.withdraw(id)
        # nginx may try a second instance after the first has deleted the item
        statuses = (200,) if name else (204, 404)
        self.request(method, f"{ITEMS}/{id}", *statuses, name=name)
        self.ledger.note(id, name)
        self.read_item(id, name)

    def read(self) -> None:
        """Check the list, and one of the last items."""
        while not self.load.over.is_set():
            self.read_list()
            if entries := self.ledger.latest(RECENT):
                self.read_item(*random.choice([*entries.items()]))

    def read_list(self) -> None:
        entries = self.ledger.latest(RECENT)
        page = self.request("GET", f"{ITEMS}?limit=100", 200)
        self.load.check(entries, {item["id"]: item["name"] for item in page["items"]})

    def read_item(self, id: int, name: str | None) -> None:
        item = self.request("GET", f"{ITEMS}/{id}", 200, 404)
        items = {id: item["name"]} if "name" in item else {}
        self.load.check({id: name}, items)

    def request(
        self, method: str, path: str, *expected: int, name: str | None = None
    ) -> Any:
        """Send a request, and once more after no response or a 5xx.

        A second POST may save the item twice, but loses nothing.
        """
        body = json.dumps({"name": name}) if name else None
        response = self.attempt(method, path, body)
        if isinstance(response, Exception) or response.status >= 500:
            self.load.repeats[method] += 1
            response = self.attempt(method, path, body)
        if isinstance(response, Exception):
            raise RequestFailure(f"{method} {path} got no response: {response}")
        if response.status not in expected:
            raise RequestFailure(f"{method} {path} got {response.status}")
        return json.loads(response.data or b"{}")

    def attempt(
        self, method: str, path: str, body: str | None
    ) -> urllib3.BaseHTTPResponse | Exception:
        try:
            response = self.pool.request(
                method, self.load.front + path, body=body, headers=self.load.headers
            )
        except urllib3.exceptions.HTTPError as error:
            return error
        self.load.count(response)
        return response
