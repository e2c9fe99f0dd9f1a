"""Clients that ask twice, and what was acknowledged to them."""

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
# how many of the last writes a reader looks for
RECENT = 50


class Refused(Exception):
    """The second attempt failed as well."""


class Ledger:
    """What was acknowledged, by id: the item's name, or None once deleted."""

    def __init__(self) -> None:
        self._entries: dict[int, str | None] = {}
        self._lock = threading.Lock()

    def note(self, id: int, name: str | None) -> None:
        with self._lock:
            self._entries[id] = name

    def withdraw(self, id: int) -> None:
        """Forget an item that is about to change: either state is right meanwhile."""
        with self._lock:
            del self._entries[id]

    def latest(self, number: int | None = None) -> dict[int, str | None]:
        with self._lock:
            return dict(itertools.islice(reversed(self._entries.items()), number))

    def contradicted(
        self, known: Mapping[int, str | None], shown: Mapping[int, str]
    ) -> bool:
        """Return whether a response lacks, garbles or revives what was known.

        :param known: what had been acknowledged when the request was sent.
        :param shown: the newest items, by the response.
        """
        oldest = min(shown, default=0)
        with self._lock:
            return any(
                id >= oldest
                and shown.get(id) != name
                # nor withdrawn while the request was under way
                and self._entries.get(id, ...) == name
                for id, name in known.items()
            )


class Load:
    """Writers and readers, and what came back.

    :param front: the URL that they ask.
    :param host: the host name that they ask for.
    """

    def __init__(self, front: str, host: str) -> None:
        self.front = front
        self.headers = {"Host": host, **JSON}
        self.ledger = Ledger()
        # second attempts, by method
        self.repeated: collections.Counter[str] = collections.Counter()
        self.over = threading.Event()
        self._tally = Tally()
        self._lock = threading.Lock()
        self._futures: list[Future[None]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let the clients ask until the block ends."""
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

    def turn(self) -> Tally:
        """Return what was counted since the last turn."""
        with self._lock:
            tally, self._tally = self._tally, Tally()
        return tally

    def refusals(self) -> list[str]:
        """Return what ended a client, once all have ended."""
        errors = [future.exception() for future in self._futures]
        for error in errors:
            if error is not None and not isinstance(error, Refused):
                raise error
        return [str(error) for error in errors if error is not None]

    def count(self, response: urllib3.BaseHTTPResponse) -> None:
        with self._lock:
            self._tally.requests += 1
            self._tally.not_modified += response.status == 304
            self._tally.storable += not is_no_store(response.headers.iteritems())

    def check(self, known: Mapping[int, str | None], shown: Mapping[int, str]) -> None:
        stale = self.ledger.contradicted(known, shown)
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
        """Save, rename, delete every other item that is not the newest, and look."""
        before = 0
        for number in itertools.count():
            if self.load.over.is_set():
                return
            name = f"{self.name}, item {number}"
            saved = self.ask("POST", ITEMS, 201, name=name)["id"]
            self.ledger.note(saved, name)
            self.read_list()
            self.change("PUT", saved, f"{name}, renamed")
            if number % 2:
                self.change("DELETE", before)
            before = saved

    def change(self, method: str, id: int, name: str | None = None) -> None:
        self.ledger.withdraw(id)
        # nginx itself may have asked two instances, the second of which found none
        expected = (200,) if name else (204, 404)
        self.ask(method, f"{ITEMS}/{id}", *expected, name=name)
        self.ledger.note(id, name)
        self.read_item(id, name)

    def read(self) -> None:
        """Look at the list, and at one of the last items."""
        while not self.load.over.is_set():
            self.read_list()
            if known := self.ledger.latest(RECENT):
                self.read_item(*random.choice([*known.items()]))

    def read_list(self) -> None:
        known = self.ledger.latest(RECENT)
        page = self.ask("GET", f"{ITEMS}?limit=100", 200)
        self.load.check(known, {item["id"]: item["name"] for item in page["items"]})

    def read_item(self, id: int, name: str | None) -> None:
        item = self.ask("GET", f"{ITEMS}/{id}", 200, 404)
        shown = {id: item["name"]} if "name" in item else {}
        self.load.check({id: name}, shown)

    def ask(
        self, method: str, path: str, *expected: int, name: str | None = None
    ) -> Any:
        """Ask, and once more where no response came, or a 5xx.

        A POST that was not acknowledged may have been done nevertheless: repeated,
        it saves the item twice, but loses nothing.
        """
        body = json.dumps({"name": name}) if name else None
        found = self.attempt(method, path, body)
        if isinstance(found, Exception) or found.status >= 500:
            self.load.repeated[method] += 1
            found = self.attempt(method, path, body)
        if isinstance(found, Exception):
            raise Refused(f"{method} {path} got no response: {found}")
        if found.status not in expected:
            raise Refused(f"{method} {path} got {found.status}")
        return json.loads(found.data or b"{}")

    def attempt(
        self, method: str, path: str, body: str | None
    ) -> urllib3.BaseHTTPResponse | Exception:
        try:
            found = self.pool.request(
                method, self.load.front + path, body=body, headers=self.load.headers
            )
        except urllib3.exceptions.HTTPError as error:
            return error
        self.load.count(found)
        return found
