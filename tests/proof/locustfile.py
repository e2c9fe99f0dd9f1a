"""What each connection of the load does; run by locust, which patches the sockets."""

from __future__ import annotations

import collections
import json
import os
from pathlib import Path
from typing import Any

from locust import events
from locust import FastHttpUser
from locust import task

from proof.scenarios import is_no_store
from proof.scenarios import ITEMS

counts: collections.Counter[str] = collections.Counter()
# what the service acknowledged last: the name, or None once deleted
acknowledged: dict[int, str | None] = {}


class Reader(FastHttpUser):
    """Save, read, rename, read, delete every other item, and read again."""

    network_timeout = 60
    connection_timeout = 60
    saved = 0

    def ask(self, method: str, path: str, expected: int, name: str = "") -> Any:
        body = {"json": {"name": name}} if name else {}
        with self.client.request(
            method, path, name="all", catch_response=True, **body
        ) as response:
            response.success()
            counts["requests"] += 1
            counts["errors"] += response.status_code not in {expected, 200, 404}
            counts[f"status {response.status_code}"] += 1
            if response.status_code:
                counts["storable"] += not is_no_store(response.headers.items())
            counts["not_modified"] += response.status_code == 304
            if response.status_code != expected:
                return None
            return response.json() if response.text else {}

    def is_gone(self, path: str) -> bool:
        # a 404 is what was expected, anything else that is not a response says nothing
        return self.ask("GET", path, 200) is None

    @task
    def save(self) -> None:
        saved = self.ask("POST", ITEMS, 201, "as saved")
        if saved is None:
            return
        path = f"{ITEMS}/{saved['id']}"
        acknowledged[saved["id"]] = "as saved"
        page = self.ask("GET", ITEMS, 200)
        # others save too: the newest is this one or a later one
        if page is not None:
            counts["stale"] += page["items"][0]["id"] < saved["id"]
        self.check(path, "as saved")
        if self.ask("PUT", path, 200, "as renamed") is None:
            # not acknowledged, so that either name is right
            del acknowledged[saved["id"]]
            return
        acknowledged[saved["id"]] = "as renamed"
        self.check(path, "as renamed")
        self.saved += 1
        if self.saved % 2:
            return
        del acknowledged[saved["id"]]
        if self.ask("DELETE", path, 204) is not None:
            acknowledged[saved["id"]] = None
            counts["stale"] += not self.is_gone(path)

    def check(self, path: str, name: str) -> None:
        item = self.ask("GET", path, 200)
        if item is not None:
            counts["stale"] += item["name"] != name


@events.quitting.add_listener
def write(**arguments: object) -> None:
    result = {"counts": counts, "acknowledged": acknowledged}
    Path(os.environ["PROOF_RESULT"]).write_text(json.dumps(result), "utf-8")
