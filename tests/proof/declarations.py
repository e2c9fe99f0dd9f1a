from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import urllib3

from .browser import Visit
from .browser import visiting
from .caches import before
from .caches import CACHES
from .processes import PATIENCE
from .report import Row
from .report import Tally
from .scenarios import Bench
from .service import Origin
from .service import Service

STYLE = "/static/style.css"
# which counts how often a view ran
ONE_PROCESS = ("--workers", "1", "--threads", "8")
LANGUAGES = {"de": b"Guten Tag", "en": b"Good day"}


class Pair(NamedTuple):
    """Two responses of which a shared cache stores one, or both.

    :param path: what is declared.
    :param control: the same, without what the scenario is about.
    """

    scenario: str
    path: str
    control: str
    stored: bool
    control_stored: bool


def pairs(digest: str) -> Iterator[Pair]:
    """Yield the scenarios in which a response is stored or not.

    :param digest: that of the style sheet.
    """
    file = f"{STYLE}?v={digest}"
    yield Pair("declared: shared_max_age=3600", "/shared-hour", "/never", True, False)
    yield Pair("declared: shared_max_age=0", "/shared-never", "/hour", False, True)
    yield Pair(
        "declared: immutable, no change", "/immutable.css", "/mutable.css", True, True
    )
    yield Pair("declared: static file by its digest", file, STYLE, True, False)
    # no cache stores a response with Set-Cookie; with Vary: Cookie only private stops it
    yield Pair("declared: digest, Set-Cookie", f"{file}&renewed", file, False, True)
    yield Pair("declared: digest, Vary: Cookie", f"{file}&read", file, False, True)


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Show what each argument of a declaration changes in shared caches."""
    service.migrate()
    with Origin(service, "declared", *ONE_PROCESS).serving() as origin:
        page = urllib3.request("GET", origin.url).data.decode()
        (digest,) = re.findall(r"style\.css\?v=(\w+)", page)
        for name in CACHES:
            with before(name, origin, scratch) as bench:
                for pair in pairs(digest):
                    yield stored(name, pair, bench, rounds)
                yield varied(name, bench, rounds)
                yield revalidated(name, bench, max(rounds // 10, 1))
        with visiting(origin, scratch) as visit:
            yield reloaded(visit, max(rounds // 5, 1))


def stored(name: str, pair: Pair, bench: Bench, rounds: int) -> Row:
    """Request a path again and again, and then its control."""
    row = Row(name, pair.scenario, checks=2)
    # at least two, because the first is never stored
    rounds = max(rounds, 2)
    row.guarded = requested(bench, pair.path, rounds)
    row.control = requested(bench, pair.control, rounds)
    hits = rounds - 1
    if row.guarded.reused != hits * pair.stored:
        row.fail("the cache does not do what is declared.")
    # an earlier pair may have left it stored
    if row.control.reused < hits if pair.control_stored else row.control.reused:
        row.fail("the control does the same, so the scenario shows nothing.")
    return row


def requested(bench: Bench, path: str, rounds: int) -> Tally:
    bench.tally = Tally()
    for _ in range(rounds):
        bench.expect(bench.ask(path).status == 200)
    return bench.tally


def varied(name: str, bench: Bench, rounds: int) -> Row:
    """Request the same in two languages."""
    row = Row(name, "declared: vary, a copy a language", checks=2)
    row.guarded = in_two_languages(bench, "/greeting", rounds)
    row.control = in_two_languages(bench, "/greeting-without-vary", rounds)
    if row.guarded.stale or row.guarded.reused != 2 * rounds - 2:
        row.fail("a response in another language, or none was stored.")
    if not row.control.stale:
        row.fail("the control keeps the languages apart, so this shows nothing.")
    return row


def in_two_languages(bench: Bench, path: str, rounds: int) -> Tally:
    bench.tally = Tally()
    for _ in range(rounds):
        for language, text in LANGUAGES.items():
            response = bench.ask(path, Accept_Language=language)
            bench.expect(response.body == text)
    return bench.tally


def revalidated(name: str, bench: Bench, rounds: int) -> Row:
    """Let a cache revalidate its copy, with `etag` and with an ETag of the view."""
    row = Row(name, "declared: etag, the view is spared", checks=2)
    row.guarded, spared = revalidations(bench, "etag", rounds)
    row.control, ran = revalidations(bench, "etag-by-the-view", rounds)
    if row.guarded.not_modified != rounds or spared != 1:
        row.fail(
            f"{row.guarded.not_modified} revalidations, the view ran {spared} times."
        )
    if row.control.not_modified != rounds or ran != rounds + 1:
        row.fail("the view of the control did not run, so this shows nothing.")
    row.measured.append(
        f"the view ran for {spared} of {rounds + 1} responses of the origin,"
        f" for {ran} where it sets the ETag itself"
    )
    return row


def revalidations(bench: Bench, view: str, rounds: int) -> tuple[Tally, int]:
    """Return what the origin sent to a cache, and how often its view ran."""
    tally, log, first = Tally(), bench.counter.log, runs(bench, view)
    for _ in range(rounds + 1):
        seen = len(log)
        deadline = time.monotonic() + PATIENCE
        # Varnish asks in the background, while it serves the copy
        while len(log) == seen and time.monotonic() < deadline:
            bench.send(f"/{view}")
            time.sleep(0.1)
        tally.requests += 1
        tally.not_modified += any(status == 304 for *_, status, _ in log[seen:])
    return tally, runs(bench, view) - first


def runs(bench: Bench, view: str) -> int:
    counted = urllib3.request("GET", f"{bench.origin.url}/runs").json()
    return int(counted.get(view, 0))


def reloaded(visit: Visit, rounds: int) -> Row:
    """Reload a page whose style sheets are fresh, one of them immutable."""
    row = Row("chromium", "declared: immutable, no change", checks=2)
    row.guarded, row.control = Tally(), Tally()
    visit.driver.get(f"{visit.url}/styled")
    if not {"/immutable.css", "/mutable.css"} <= {
        path for _, path, *_ in visit.counter.log
    }:
        row.fail("the first visit asked for no style sheets, so this shows nothing.")
    for _ in range(rounds):
        seen = len(visit.counter.log)
        visit.driver.refresh()
        paths = [path for _, path, *_ in visit.counter.log[seen:]]
        for tally, path in (
            (row.guarded, "/immutable.css"),
            (row.control, "/mutable.css"),
        ):
            tally.requests += 1
            tally.reused += path not in paths
    if row.guarded.reused != rounds:
        row.fail("an immutable response is asked about on a reload.")
    if row.control.reused != rounds:
        row.fail("Chromium heeds immutable now: mend docs/proof.md.")
    return row
