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
LISTED = """
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
SHOWN_AGAIN = """
window.dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
"""


class Visit:
    """A browser before an origin, the counting pass-through between them."""

    def __init__(self, driver: Chrome, counter: Counter, origin: Origin) -> None:
        self.driver = driver
        self.counter = counter
        self.origin = origin
        self.url = f"http://{HOST}:{counter.port}"
        self.tally = Tally()
        # a control is known to stay stale: do not wait for what never comes
        self.patience = PATIENCE
        # how often Back showed the page as it was left, from the back/forward cache
        self.kept = 0

    def open(self) -> None:
        self.driver.get(f"{self.url}/")
        self.wait(lambda: len(self.listed()) > 0 and self.listed()[0] > 0)

    def listed(self) -> list[int]:
        found: list[int] = self.driver.execute_script(LISTED)
        return found

    def call(self, script: str, path: str, extra: object = None) -> Any:
        return self.driver.execute_async_script(script, path, extra)

    def save_elsewhere(self) -> int:
        return save(self.origin.url, "saved by another user")

    def wait(self, fact: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self.patience
        while not fact():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Count one read of the list, by what reaches the origin meanwhile."""
        before = len(self.counter.log)
        yield
        log = [e for e in self.counter.log[before:] if e[1].startswith(ITEMS)]
        reads = [entry for entry in log if entry[0] == "GET"]
        self.tally.requests += 1
        self.tally.reused += not reads
        self.tally.not_modified += any(status == 304 for *_, status, _ in reads)
        self.tally.storable += not all(is_no_store(sent) for *_, sent in log)

    def expect_listed(self, saved: int) -> None:
        self.tally.stale += not self.wait(lambda: saved in self.listed())


def save_in_page(visit: Visit) -> None:
    before = max(visit.listed())
    visit.driver.find_element(By.NAME, "name").send_keys("Quarterly report")
    with visit.reading():
        visit.driver.find_element(By.CSS_SELECTOR, "#save-form button").click()
        visit.tally.stale += not visit.wait(lambda: max(visit.listed()) > before)


def reload(visit: Visit) -> None:
    saved = visit.save_elsewhere()
    with visit.reading():
        visit.driver.refresh()
        visit.expect_listed(saved)


def by_script(script: str) -> Callable[[Visit], None]:
    def read(visit: Visit) -> None:
        saved = visit.save_elsewhere()
        with visit.reading():
            visit.tally.stale += saved not in visit.call(script, ITEMS, {})

    return read


def back(visit: Visit) -> None:
    visit.driver.execute_script("window.proofKept = true")
    visit.driver.get(f"{visit.url}/healthz")
    saved = visit.save_elsewhere()
    with visit.reading():
        visit.driver.back()
        visit.kept += bool(visit.driver.execute_script("return window.proofKept"))
        visit.expect_listed(saved)


def shown_again(visit: Visit) -> None:
    saved = visit.save_elsewhere()
    with visit.reading():
        visit.driver.execute_script(SHOWN_AGAIN)
        visit.expect_listed(saved)


# with the share of the rounds that each is worth: loading a page takes its time
STORY: list[tuple[str, Callable[[Visit], None], int]] = [
    ("save in the page", save_in_page, 5),
    ("reload", reload, 5),
    ("fetch", by_script(FETCH), 1),
    ("XMLHttpRequest", by_script(XHR), 1),
    ("Back, control: bfcache", back, 5),
    ("pageshow, persisted", shown_again, 5),
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
    """Tell the story in a browser, with the page as it was before beside it."""
    service.migrate()
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    threads = ("--workers", "1", "--threads", "8")
    with contextlib.ExitStack() as stack:
        guarded = Origin(service, "guarded", "--workers", "2")
        dated = Origin(service, "plain", *threads, "--env", "CONTROL=dated")
        asked = Origin(service, "plain", *threads, "--env", "CONTROL=no-cache")
        for origin in (guarded, dated, asked):
            stack.enter_context(origin.serving())
            save(origin.url, "Saved before the page was opened")
        with visiting(guarded, scratch) as visit, visiting(dated, scratch) as control:
            yield from tell_story(visit, control, rounds)
            yield preloaded(visit)
        with visiting(guarded, scratch) as visit:
            yield second_visit(visit, rounds // 5)
            yield changed_asset(visit, service)
        flag = "--disable-features=BackForwardCache"
        with (
            visiting(guarded, scratch, flag) as visit,
            visiting(asked, scratch, flag) as control,
        ):
            row = compare("Back, control: no-cache", back, visit, control, rounds // 5)
            yield row
        yield from heal(dated, guarded, scratch)


@contextlib.contextmanager
def visiting(origin: Origin, scratch: Path, *flags: str) -> Iterator[Visit]:
    profile = scratch / f"profile-{origin.port}-{time.monotonic_ns()}"
    with Counter(origin.url).serving() as counter, browser(profile, *flags) as driver:
        yield Visit(driver, counter, origin)


def tell_story(visit: Visit, control: Visit, rounds: int) -> Iterator[Row]:
    for name, step, share in STORY:
        row = compare(name, step, visit, control, rounds // share)
        if step is back and not control.kept:
            row.fail("the control did not come from the back/forward cache.")
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
        row.fail("the page showed an old list, or could have.")
    if not control.tally.stale:
        row.fail("the control is not stale, so the scenario shows nothing.")
    return row


def preloaded(visit: Visit) -> Row:
    """Show what docs/caching.md warns of: a preloaded response is used once more."""
    path = f"{ITEMS}?limit=7"
    visit.open()
    visit.call(PRELOAD, path)
    visit.tally = Tally()
    saved = visit.save_elsewhere()
    with visit.reading():
        visit.tally.stale += saved not in visit.call(FETCH, path, {})
    row = Row("chromium", "hazard: preload as=fetch", control=visit.tally)
    if not visit.tally.leaked:
        row.fail("preload no longer defeats no-store: mend docs/caching.md.")
    return row


def second_visit(visit: Visit, rounds: int) -> Row:
    """Show that the page's assets cost no request but on the first visit."""
    used, asked = Tally(), Tally()
    row = Row("chromium", "must hit: assets, by digest", used, asked, checks=2)
    if len(assets(visit)) < 2:
        row.fail("the first visit asked for no assets, so this shows nothing.")
    # the control: the same file by an address without its digest
    for tally, plain in ((used, False), (asked, True)):
        for _ in range(max(rounds, 1) + plain):
            again = assets(visit, plain)
            tally.requests += 1
            tally.reused += not again
            tally.not_modified += any(status == 304 for *_, status, _ in again)
    if used.reused != used.requests:
        row.fail("a later visit asked for an asset again.")
    if asked.reused:
        row.fail("the control did not ask for its file, so this shows nothing.")
    return row


def changed_asset(visit: Visit, service: Service) -> Row:
    """Replace the style sheet under a browser that keeps it for a year."""
    row = Row("chromium", "asset changed: seen at once")
    row.guarded = visit.tally = Tally()
    (style,) = service.folder.glob("*/static/style.css")
    intact = style.read_bytes()
    for content in (intact + b":root { --proof: changed }", intact):
        new = style.with_name("new.css")
        new.write_bytes(content)
        new.replace(style)
        asked = [path for _, path, status, _ in assets(visit) if status == 200]
        visit.tally.requests += 1
        shown = visit.driver.execute_script(CUSTOM_PROPERTY) == "changed"
        visit.tally.stale += shown != (content != intact)
        # as it was before it is fresh still
        if len(asked) != (content != intact):
            row.fail(f"the browser asked for {asked}.")
    if visit.tally.stale:
        row.fail("the page has an old style.")
    return row


def assets(visit: Visit, plain: bool = False) -> list[tuple[str, str, int, Headers]]:
    """Open the page and return what it asked the origin for of its assets.

    :param plain: whether it links its style sheet without the digest as well.
    """
    before = len(visit.counter.log)
    visit.open()
    if plain:
        visit.call(LINK, "/static/style.css")
    log = visit.counter.log[before:]
    return [entry for entry in log if entry[1].startswith("/static/")]


def heal(before: Origin, after: Origin, scratch: Path) -> Iterator[Row]:
    """Deploy the service in place of the control, under a copy that is still fresh."""
    with visiting(before, scratch) as visit:
        visit.open()
        for number in (1, 2):
            visit.call(FETCH, f"{ITEMS}?limit={number}", {})
        visit.counter.origin = after.url
        visit.origin = after
        yield healed(visit, "reload", f"{ITEMS}?limit=1")
        yield healed(visit, "POST", f"{ITEMS}?limit=2")


def healed(visit: Visit, remedy: str, path: str) -> Row:
    """Evict an old copy as docs/caching.md says, and read again."""
    row = Row("chromium", f"old copy, healed by {remedy}", checks=2)
    row.control = visit.tally = Tally()
    read(visit, path, visit.save_elsewhere())
    if not row.control.leaked:
        row.fail("there was no old copy to heal.")
    row.guarded = visit.tally = Tally()
    if remedy == "POST":
        saved = visit.call(POST, path, "saved in the page")
    else:
        saved = visit.save_elsewhere()
        read(visit, path, saved, {"cache": "reload"})
    read(visit, path, saved)
    if row.guarded.leaked or row.guarded.not_modified or row.guarded.storable:
        row.fail("the old copy is still used.")
    return row


def read(visit: Visit, path: str, saved: int, options: object = None) -> None:
    with visit.reading():
        visit.tally.stale += saved not in visit.call(FETCH, path, options or {})
