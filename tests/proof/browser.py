from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver import ChromeOptions
from selenium.webdriver import ChromeService
from selenium.webdriver.common.by import By

from .counter import Counter
from .counter import Headers
from .processes import environment
from .processes import HOST
from .processes import PATIENCE
from .processes import program
from .processes import stop
from .report import Row
from .report import Tally
from .scenarios import is_no_store
from .scenarios import ITEMS
from .scenarios import save
from .service import Origin
from .service import ROOT
from .service import Service

FLAGS = """
--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-quic --window-size=800,640
--disable-dev-shm-usage
"""
ARTEFACTS = ROOT / "build" / "proof"
IDS = """
return [...document.querySelectorAll("#saved-items option")].map((o) => Number(o.value));
"""
FETCH = """
const [url, options, done] = arguments;
fetch(url, options).then((r) => r.json()).then((j) => done(j.items.map((i) => i.id)));
"""
XHR = """
const [url, , done] = arguments;
const request = new XMLHttpRequest();
request.open("GET", url);
request.onload = () => done(JSON.parse(request.response).items.map((i) => i.id));
request.send();
"""
POST = """
const [url, name, done] = arguments;
const headers = { "Content-Type": "application/json" };
const body = JSON.stringify({ name });
fetch(url, { method: "POST", headers, body }).then((r) => r.json()).then((j) => done(j.id));
"""
PRELOAD = """
const [href, , done] = arguments;
const link = Object.assign(document.createElement("link"), { href, rel: "preload" });
link.as = "fetch";
link.crossOrigin = "anonymous";
link.onload = () => done(true);
document.head.append(link);
"""
LINK = """
const [href, , done] = arguments;
const link = Object.assign(document.createElement("link"), { href, rel: "stylesheet" });
link.onload = () => done(true);
document.head.append(link);
"""
CUSTOM_PROPERTY = """
return getComputedStyle(document.documentElement).getPropertyValue("--proof").trim();
"""
PAGESHOW = """
window.dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
"""


class Visit:
    """A browser before an origin server, with a counting pass-through between."""

    def __init__(self, driver: Chrome, counter: Counter, origin: Origin) -> None:
        self.driver = driver
        self.counter = counter
        self.origin = origin
        self.url = f"http://{HOST}:{counter.port}"
        self.tally = Tally()
        # seconds; a control has fewer, because it stays stale
        self.patience = PATIENCE
        # pages from the back/forward cache
        self.restorations = 0

    def open(self) -> None:
        self.driver.get(f"{self.url}/")
        self.wait(lambda: len(self.ids()) > 0 and self.ids()[0] > 0)

    def ids(self) -> list[int]:
        ids: list[int] = self.driver.execute_script(IDS)
        return ids

    def call(self, script: str, path: str, extra: object = None) -> Any:
        return self.driver.execute_async_script(script, path, extra)

    def save_elsewhere(self) -> int:
        return save(self.origin.url, "saved by another user")

    def wait(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition, and return whether it holds."""
        deadline = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Count one read of the list by the requests that reach the origin server."""
        before = len(self.counter.log)
        yield
        log = [e for e in self.counter.log[before:] if e[1].startswith(ITEMS)]
        reads = [entry for entry in log if entry[0] == "GET"]
        self.tally.requests += 1
        self.tally.reused += not reads
        self.tally.not_modified += any(status == 304 for *_, status, _ in reads)
        self.tally.storable += not all(is_no_store(fields) for *_, fields in log)

    def expect(self, id: int) -> None:
        """Count the list as stale unless an item appears in it."""
        self.tally.stale += not self.wait(lambda: id in self.ids())


def save_in_page(visit: Visit) -> None:
    newest = max(visit.ids())
    visit.driver.find_element(By.NAME, "name").send_keys("Quarterly report")
    with visit.reading():
        visit.driver.find_element(By.CSS_SELECTOR, "#save-form button").click()
        visit.tally.stale += not visit.wait(lambda: max(visit.ids()) > newest)


def reload(visit: Visit) -> None:
    id = visit.save_elsewhere()
    with visit.reading():
        visit.driver.refresh()
        visit.expect(id)


def read_by(script: str) -> Callable[[Visit], None]:
    def read(visit: Visit) -> None:
        id = visit.save_elsewhere()
        with visit.reading():
            visit.tally.stale += id not in visit.call(script, ITEMS, {})

    return read


def go_back(visit: Visit) -> None:
    visit.driver.execute_script("window.proofRestored = true")
    visit.driver.get(f"{visit.url}/healthz")
    id = visit.save_elsewhere()
    with visit.reading():
        visit.driver.back()
        visit.restorations += bool(
            visit.driver.execute_script("return window.proofRestored")
        )
        visit.expect(id)


def dispatch_pageshow(visit: Visit) -> None:
    id = visit.save_elsewhere()
    with visit.reading():
        visit.driver.execute_script(PAGESHOW)
        visit.expect(id)


# name, step, and the divisor of its rounds: loading a page takes long
STORY: list[tuple[str, Callable[[Visit], None], int]] = [
    ("save in the page", save_in_page, 5),
    ("reload", reload, 5),
    ("fetch", read_by(FETCH), 1),
    ("XMLHttpRequest", read_by(XHR), 1),
    ("Back, control: bfcache", go_back, 5),
    ("pageshow, persisted", dispatch_pageshow, 5),
]


@contextlib.contextmanager
def browser(profile: Path, *flags: str) -> Iterator[Chrome]:
    """Run a Chromium with a new profile until the block ends."""
    options = ChromeOptions()
    options.binary_location = program("chromium")
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}", *flags):
        options.add_argument(flag)
    service = ChromeService(
        program("chromedriver"),
        env=environment(),
        popen_kw={"process_group": 0},
    )
    driver = Chrome(options, service)
    try:
        driver.set_script_timeout(PATIENCE)
        yield driver
    finally:
        driver.quit()
        stop(service.process)


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Run the steps of the story in a browser, and with the control's page."""
    service.migrate()
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    threads = ("--workers", "1", "--threads", "8")
    with contextlib.ExitStack() as stack:
        guarded = Origin(service, "guarded", "--workers", "2")
        dated = Origin(service, "plain", *threads, "--env", "CONTROL=dated")
        no_cache = Origin(service, "plain", *threads, "--env", "CONTROL=no-cache")
        for origin in (guarded, dated, no_cache):
            stack.enter_context(origin.serving())
            save(origin.url, "Saved before the page was opened")
        with visiting(guarded, scratch) as visit, visiting(dated, scratch) as control:
            yield from compare_steps(visit, control, rounds)
            yield preload(visit)
        with visiting(guarded, scratch) as visit:
            yield visit_again(visit, rounds // 5)
            yield change_asset(visit, service)
        flag = "--disable-features=BackForwardCache"
        with (
            visiting(guarded, scratch, flag) as visit,
            visiting(no_cache, scratch, flag) as control,
        ):
            name = "Back, control: no-cache"
            yield compare(name, go_back, visit, control, rounds // 5)
        yield from heal(dated, guarded, scratch)


@contextlib.contextmanager
def visiting(origin: Origin, scratch: Path, *flags: str) -> Iterator[Visit]:
    profile = scratch / f"profile-{origin.port}-{time.monotonic_ns()}"
    with Counter(origin.url).serving() as counter, browser(profile, *flags) as driver:
        yield Visit(driver, counter, origin)


def compare_steps(visit: Visit, control: Visit, rounds: int) -> Iterator[Row]:
    for name, step, share in STORY:
        row = compare(name, step, visit, control, rounds // share)
        if step is go_back and not control.restorations:
            row.fail("the control's page did not come from the back/forward cache.")
        yield row
        if name == "save in the page":
            visit.driver.save_screenshot(str(ARTEFACTS / "saved-items.png"))
            control.driver.save_screenshot(str(ARTEFACTS / "stale-control.png"))


def compare(
    name: str, step: Callable[[Visit], None], visit: Visit, control: Visit, rounds: int
) -> Row:
    control.patience = 1
    for each in (visit, control):
        each.open()
        each.tally = Tally()
        for _ in range(max(rounds, 1)):
            step(each)
    row = Row("chromium", name, visit.tally, control.tally, checks=2)
    if visit.tally.leaked or visit.tally.not_modified or visit.tally.storable:
        row.fail("the page had an old list, or a response is storable.")
    if not control.tally.stale:
        row.fail("the control is not stale, so the scenario proves nothing.")
    return row


def preload(visit: Visit) -> Row:
    """Show the hazard of docs/caching.md: the page reuses a preloaded response once."""
    path = f"{ITEMS}?limit=7"
    visit.open()
    visit.call(PRELOAD, path)
    visit.tally = Tally()
    id = visit.save_elsewhere()
    with visit.reading():
        visit.tally.stale += id not in visit.call(FETCH, path, {})
    row = Row("chromium", "hazard: preload as=fetch", control=visit.tally)
    if not visit.tally.leaked:
        row.fail("preload obeys no-store now: correct docs/caching.md.")
    return row


def visit_again(visit: Visit, rounds: int) -> Row:
    """Show that only the first visit requests the page's assets."""
    service, control = Tally(), Tally()
    row = Row("chromium", "must hit: assets, by digest", service, control, checks=2)
    if len(load_assets(visit)) < 2:
        row.fail("the first visit requested no assets, so this proves nothing.")
    # the control is the same file by a URL without its digest
    for tally, plain in ((service, False), (control, True)):
        for _ in range(max(rounds, 1) + plain):
            log = load_assets(visit, plain)
            tally.requests += 1
            tally.reused += not log
            tally.not_modified += any(status == 304 for *_, status, _ in log)
    if service.reused != service.requests:
        row.fail("a later visit requested an asset again.")
    if control.reused:
        row.fail("the control did not request its file, so this proves nothing.")
    return row


def change_asset(visit: Visit, service: Service) -> Row:
    """Replace the style sheet while a browser has a copy fresh for a year."""
    row = Row("chromium", "asset changed: seen at once")
    row.service = visit.tally = Tally()
    (style,) = service.folder.glob("*/static/style.css")
    intact = style.read_bytes()
    for content in (intact + b":root { --proof: changed }", intact):
        new = style.with_name("new.css")
        new.write_bytes(content)
        new.replace(style)
        paths = [path for _, path, status, _ in load_assets(visit) if status == 200]
        visit.tally.requests += 1
        value = visit.driver.execute_script(CUSTOM_PROPERTY)
        changed = content != intact
        visit.tally.stale += (value == "changed") != changed
        # the copy of the first version is still fresh
        if len(paths) != changed:
            row.fail(f"the browser requested {paths}.")
    if visit.tally.stale:
        row.fail("the page has an old style.")
    return row


def load_assets(
    visit: Visit, plain: bool = False
) -> list[tuple[str, str, int, Headers]]:
    """Open the page and return the log of the requests for its assets.

    :param plain: whether the page links its style sheet without the digest too.
    """
    before = len(visit.counter.log)
    visit.open()
    if plain:
        visit.call(LINK, "/static/style.css")
    log = visit.counter.log[before:]
    return [entry for entry in log if entry[1].startswith("/static/")]


def heal(before: Origin, after: Origin, scratch: Path) -> Iterator[Row]:
    """Replace the control by the service while a browser has a fresh copy."""
    with visiting(before, scratch) as visit:
        visit.open()
        for number in (1, 2):
            visit.call(FETCH, f"{ITEMS}?limit={number}", {})
        visit.counter.origin = after.url
        visit.origin = after
        yield evict(visit, "reload", f"{ITEMS}?limit=1")
        yield evict(visit, "POST", f"{ITEMS}?limit=2")


def evict(visit: Visit, remedy: str, path: str) -> Row:
    """Evict an old copy by a remedy of docs/caching.md, and read again."""
    row = Row("chromium", f"old copy, healed by {remedy}", checks=2)
    row.control = visit.tally = Tally()
    read(visit, path, visit.save_elsewhere())
    if not row.control.leaked:
        row.fail("there was no old copy to heal.")
    row.service = visit.tally = Tally()
    if remedy == "POST":
        id = visit.call(POST, path, "saved in the page")
    else:
        id = visit.save_elsewhere()
        read(visit, path, id, {"cache": "reload"})
    read(visit, path, id)
    if row.service.leaked or row.service.not_modified or row.service.storable:
        row.fail("the browser still reuses the old copy.")
    return row


def read(visit: Visit, path: str, id: int, options: object = None) -> None:
    with visit.reading():
        visit.tally.stale += id not in visit.call(FETCH, path, options or {})
