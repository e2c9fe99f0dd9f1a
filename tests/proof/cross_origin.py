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

# a form's text/plain body is name=value, so the item's name has the equals sign
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
# script, its options, and the request that arrives if the service refuses
ATTEMPTS: dict[str, tuple[str, dict[str, Any], tuple[str, int]]] = {
    "form": (FORM, {}, ("POST", 403)),
    "fetch no-cors": (SEND, PLAIN, ("POST", 403)),
    # the preflight's response allows nothing, so the browser sends no more
    "fetch JSON": (SEND, {"method": "POST", "body": BODY, **JSON}, ("OPTIONS", 200)),
    "fetch DELETE": (SEND, {"method": "DELETE"}, ("OPTIONS", 200)),
    "frame": (FRAME, {}, ("GET", 200)),
}
# another port is another origin of the same site; another host is another site
PAGES = {"same site": HOST, "other site": "localhost"}
VIOLATIONS = {
    "connect-src",
    "frame-src",
    "img-src",
    "require-trusted-types-for",
    "style-src-attr",
}

LISTEN = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(event.effectiveDirective);
});
"""
# what injected HTML could do; Trusted Types stop the scripts first
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
setTimeout(() => done(window.violations), 500);
"""


class Page(BaseHTTPRequestHandler):
    """A page of another origin, from which the attempts start."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Free tea</title><body>")

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the table has the results."""


@contextlib.contextmanager
def serving_page() -> Iterator[int]:
    """Serve the other origin's page on a loopback port until the block ends."""
    with Server((HOST, 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Let pages of other origins try to write, and injected HTML try to load."""
    service.migrate()
    options = ("--workers", "1", "--threads", "8", "--env", "CONTROL=open")
    with contextlib.ExitStack() as stack:
        guarded = Origin(service, "guarded", "--workers", "2")
        careless = Origin(service, "plain", *options)
        for origin in (guarded, careless):
            stack.enter_context(origin.serving())
        port = stack.enter_context(serving_page())
        with (
            visiting(guarded, scratch) as visit,
            visiting(careless, scratch) as control,
        ):
            # seconds; a request that the browser sends arrives at once
            visit.patience = 1
            for site, host in PAGES.items():
                for name in ATTEMPTS:
                    page = f"http://{host}:{port}/"
                    row = Row("chromium", f"cross-origin: {name}, {site}", checks=2)
                    forge(name, row, visit, control, page, max(rounds // 25, 1))
                    yield row
            yield under_policy(visit, f"http://localhost:{port}/")
        flag = "--blink-settings=scriptEnabled=false"
        with (
            visiting(guarded, scratch, flag) as visit,
            visiting(careless, scratch, flag) as control,
        ):
            visit.patience = 1
            yield without_javascript(visit, control)


def forge(
    name: str, row: Row, visit: Visit, control: Visit, page: str, rounds: int
) -> None:
    _, _, expected = ATTEMPTS[name]
    row.counted = False
    row.service, row.control = visit.tally, control.tally = Tally(), Tally()
    for _ in range(rounds):
        requests = attempt(name, visit, page)
        if requests != [expected]:
            row.fail(f"{requests} arrived, and not only {expected}.")
        attempt(name, control, page)
    if visit.tally.stale or visit.tally.storable:
        row.fail("the other page could write, or frame the service's page.")
    if not control.tally.stale:
        row.fail("the control refused the attempt, so the scenario proves nothing.")


def attempt(name: str, visit: Visit, page: str) -> list[tuple[str, int]]:
    """Count the effect of one attempt, and return the requests that arrived."""
    script, options, _ = ATTEMPTS[name]
    item = f"{ITEMS}/{save(visit.origin.url, 'kept')}"
    before = state(visit.origin)
    visit.driver.get(page)
    length = len(visit.counter.log)
    path = item if options.get("method") == "DELETE" else ITEMS
    visit.call(script, visit.url + path, options)
    # the form's script does not wait for its navigation
    visit.wait(lambda: len(visit.counter.log) > length)
    if name == "frame":
        visit.tally.stale += visit.wait(
            lambda: any(entry[1] == ITEMS for entry in visit.counter.log[length:])
        )
    else:
        visit.tally.stale += state(visit.origin) != before
    log = [entry for entry in visit.counter.log[length:] if "favicon" not in entry[1]]
    visit.tally.requests += 1
    visit.tally.storable += not all(is_no_store(fields) for *_, fields in log)
    return [(method, status) for method, _, status, _ in log]


def state(origin: Origin) -> bytes:
    return urllib3.request("GET", origin.url + ITEMS).data


def under_policy(visit: Visit, other: str) -> Row:
    """Check that the page obeys its policy, and that injected HTML has to."""
    source = {"source": LISTEN}
    visit.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
    visit.open()
    own = visit.driver.execute_script("return window.violations")
    row = Row("chromium", "page under its policy", checks=2, counted=False)
    row.service = Tally(requests=1, stale=len(own))
    if own:
        row.fail(f"the page breaks its own policy: {own}.")
    violations = set(visit.call(INJECT, other))
    if violations != VIOLATIONS:
        row.fail(f"the browser refused only {sorted(violations)} of the injection.")
    return row


def without_javascript(visit: Visit, control: Visit) -> Row:
    """Check that the form does not put its text into the URL."""
    row = Row("chromium", "form without JavaScript", checks=2, counted=False)
    row.service, row.control = (submit_form(each) for each in (visit, control))
    if row.service.stale:
        row.fail("the form put the name into the URL.")
    if not row.control.stale:
        row.fail("the control did not, so the scenario proves nothing.")
    return row


def submit_form(visit: Visit) -> Tally:
    visit.driver.get(f"{visit.url}/")
    visit.driver.find_element(By.NAME, "name").send_keys("Quarterly report", Keys.ENTER)
    leak = visit.wait(lambda: any("?name=" in entry[1] for entry in visit.counter.log))
    return Tally(requests=1, stale=int(leak))
