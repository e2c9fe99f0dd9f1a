"""The users of the load; run by locust, which patches the sockets."""

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
# the last acknowledged state of each item: its name, or None after its deletion
ledger: dict[int, str | None] = {}


class Reader(FastHttpUser):
    """Save, read, rename, read, delete every other item, and read again."""

    network_timeout = 60
    connection_timeout = 60
    renames = 0

    def request(self, method: str, path: str, expected: int, name: str = "") -> Any:
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
        # None for a 404, and for a failure, which proves nothing
        return self.request("GET", path, 200) is None

    @task
    def save(self) -> None:
        item = self.request("POST", ITEMS, 201, "as saved")
        if item is None:
            return
        path = f"{ITEMS}/{item['id']}"
        ledger[item["id"]] = "as saved"
        page = self.request("GET", ITEMS, 200)
        # other users save too, so the newest item is this one or a later one
        if page is not None:
            counts["stale"] += page["items"][0]["id"] < item["id"]
        self.check(path, "as saved")
        if self.request("PUT", path, 200, "as renamed") is None:
            # without an acknowledgement either name is right
            del ledger[item["id"]]
            return
        ledger[item["id"]] = "as renamed"
        self.check(path, "as renamed")
        self.renames += 1
        if self.renames % 2:
            return
        del ledger[item["id"]]
        if self.request("DELETE", path, 204) is not None:
            ledger[item["id"]] = None
            counts["stale"] += not self.is_gone(path)

    def check(self, path: str, name: str) -> None:
        item = self.request("GET", path, 200)
        if item is not None:
            counts["stale"] += item["name"] != name


@events.quitting.add_listener
def write(**arguments: object) -> None:
    result = {"counts": counts, "ledger": ledger}
    Path(os.environ["PROOF_RESULT"]).write_text(json.dumps(result), "utf-8")
