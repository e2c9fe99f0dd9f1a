from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import urllib3
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from .browser import Visit
from .browser import visiting
from .counter import Server
from .processes import HOST
from .report import Row
from .report import Tally
from .scenarios import is_no_store
from .scenarios import ITEMS
from .scenarios import save
from .service import Origin
from .service import Service

# a form's text/plain body is name=value: the sign of equality ends up in the item's name
FORM = """
const [url, , done] = arguments;
const form = document.createElement("form");
Object.assign(form, { action: url, method: "POST", enctype: "text/plain" });
const input = document.createElement("input");
Object.assign(input, { name: '{"name": "forged', value: '"}' });
form.append(input);
document.body.append(form);
form.submit();
done();
"""
SEND = """
const [url, options, done] = arguments;
fetch(url, { credentials: "include", ...options }).then(() => done(), () => done());
"""
FRAME = """
const [url, , done] = arguments;
const frame = document.createElement("iframe");
frame.onload = () => done();
frame.src = new URL("/", url);
document.body.append(frame);
"""
BODY = json.dumps({"name": "forged"})
JSON = {"headers": {"Content-Type": "application/json"}}
PLAIN = {"method": "POST", "mode": "no-cors", "body": BODY}
# script, what it is told, and the request that arrives if the service keeps its promise
ATTEMPTS: dict[str, tuple[str, dict[str, Any], tuple[str, int]]] = {
    "form": (FORM, {}, ("POST", 403)),
    "fetch no-cors": (SEND, PLAIN, ("POST", 403)),
    # the response allows nothing, and the browser sends no more
    "fetch JSON": (SEND, {"method": "POST", "body": BODY, **JSON}, ("OPTIONS", 200)),
    "fetch DELETE": (SEND, {"method": "DELETE"}, ("OPTIONS", 200)),
    "frame": (FRAME, {}, ("GET", 200)),
}
# another port is another origin of the same site, another name another site
PAGES = {"same site": HOST, "other site": "localhost"}
REFUSED = {
    "connect-src",
    "frame-src",
    "img-src",
    "require-trusted-types-for",
    "style-src-attr",
}

LISTEN = """
window.refused = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.refused.push(event.effectiveDirective);
});
"""
# what an injected text could try; Trusted Types stop the scripts even earlier
INJECT = """
const [other, , done] = arguments;
const add = (name, property) => {
  const element = document.createElement(name);
  element[property] = other;
  document.body.append(element);
};
for (const attempt of [
  () => { document.body.innerHTML = "<b>injected</b>"; },
  () => add("script", "src"),
  () => add("iframe", "src"),
  () => add("img", "src"),
  () => add("object", "data"),
  () => document.body.setAttribute("style", "color: red"),
  () => fetch(other).catch(() => {}),
]) {
  try { attempt(); } catch {}
}
setTimeout(() => done(window.refused), 500);
"""


class Page(BaseHTTPRequestHandler):
    """Where the reader of the service is lured to."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Free tea</title><body>")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the table tells."""


@contextlib.contextmanager
def luring() -> Iterator[int]:
    """Serve the other origin's page on a loopback port until the block ends."""
    with Server((HOST, 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Let pages of other origins try to write, and injected text to load something."""
    service.migrate()
    careless = ("--workers", "1", "--threads", "8", "--env", "CONTROL=open")
    with contextlib.ExitStack() as stack:
        guarded = Origin(service, "guarded", "--workers", "2")
        opened = Origin(service, "plain", *careless)
        for origin in (guarded, opened):
            stack.enter_context(origin.serving())
        lure = stack.enter_context(luring())
        with visiting(guarded, scratch) as visit, visiting(opened, scratch) as control:
            # what is refused never comes, what is not comes at once
            visit.patience = 1
            for site, host in PAGES.items():
                for name in ATTEMPTS:
                    page = f"http://{host}:{lure}/"
                    row = Row("chromium", f"cross-origin: {name}, {site}", checks=2)
                    forge(name, row, visit, control, page, max(rounds // 25, 1))
                    yield row
            yield under_policy(visit, f"http://localhost:{lure}/")
        flag = "--blink-settings=scriptEnabled=false"
        with (
            visiting(guarded, scratch, flag) as visit,
            visiting(opened, scratch, flag) as control,
        ):
            visit.patience = 1
            yield without_javascript(visit, control)


def forge(
    name: str, row: Row, visit: Visit, control: Visit, page: str, rounds: int
) -> None:
    _, _, expected = ATTEMPTS[name]
    row.counted = False
    row.guarded, row.control = visit.tally, control.tally = Tally(), Tally()
    for _ in range(rounds):
        arrived = attempt(name, visit, page)
        if arrived != [expected]:
            row.fail(f"{arrived} arrived, and not only {expected}.")
        attempt(name, control, page)
    if visit.tally.stale or visit.tally.storable:
        row.fail("the other page could write, or show the service's page.")
    if not control.tally.stale:
        row.fail("the control was not forged, so the scenario shows nothing.")


def attempt(name: str, visit: Visit, page: str) -> list[tuple[str, int]]:
    """Count what one attempt did, and return what of it arrived."""
    script, options, _ = ATTEMPTS[name]
    item = f"{ITEMS}/{save(visit.origin.url, 'kept')}"
    before = state(visit.origin)
    visit.driver.get(page)
    begin = len(visit.counter.log)
    path = item if options.get("method") == "DELETE" else ITEMS
    visit.call(script, visit.url + path, options)
    # the form's own navigation is the one that the script does not wait for
    visit.wait(lambda: len(visit.counter.log) > begin)
    if name == "frame":
        visit.tally.stale += visit.wait(
            lambda: any(entry[1] == ITEMS for entry in visit.counter.log[begin:])
        )
    else:
        visit.tally.stale += state(visit.origin) != before
    log = [entry for entry in visit.counter.log[begin:] if "favicon" not in entry[1]]
    visit.tally.requests += 1
    visit.tally.storable += not all(is_no_store(sent) for *_, sent in log)
    return [(method, status) for method, _, status, _ in log]


def state(origin: Origin) -> bytes:
    return urllib3.request("GET", origin.url + ITEMS).data


def under_policy(visit: Visit, other: str) -> Row:
    """See that the page obeys its own policy, and that an injected text has to."""
    source = {"source": LISTEN}
    visit.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
    visit.open()
    broken = visit.driver.execute_script("return window.refused")
    row = Row("chromium", "page under its policy", checks=2, counted=False)
    row.guarded = Tally(requests=1, stale=len(broken))
    if broken:
        row.fail(f"the page breaks its own policy: {broken}.")
    refused = set(visit.call(INJECT, other))
    if refused != REFUSED:
        row.fail(f"of what was injected only {sorted(refused)} were refused.")
    return row


def without_javascript(visit: Visit, control: Visit) -> Row:
    """See that the form does not put what is typed into the address."""
    row = Row("chromium", "form without JavaScript", checks=2, counted=False)
    row.guarded, row.control = (typed(each) for each in (visit, control))
    if row.guarded.stale:
        row.fail("the name went into the address.")
    if not row.control.stale:
        row.fail("the control sent nothing, so the scenario shows nothing.")
    return row


def typed(visit: Visit) -> Tally:
    visit.driver.get(f"{visit.url}/")
    visit.driver.find_element(By.NAME, "name").send_keys("Quarterly report", Keys.ENTER)
    sent = visit.wait(lambda: any("?name=" in entry[1] for entry in visit.counter.log))
    return Tally(requests=1, stale=int(sent))
