from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import urllib3

from .browser import Visit
from .browser import visiting
from .caches import CACHES
from .caches import caching
from .processes import PATIENCE
from .report import Row
from .report import Tally
from .scenarios import Bench
from .service import Origin
from .service import Service

STYLE = "/static/style.css"
# one process, so that its count of a view's runs is complete
ONE_PROCESS = ("--workers", "1", "--threads", "8")
LANGUAGES = {"de": b"Guten Tag", "en": b"Good day"}


class Pair(NamedTuple):
    """Two paths, of which a shared cache stores one or both.

    :param path: has the declaration of the scenario.
    :param control: has the same response without that declaration.
    :param stored: whether a cache stores the first.
    :param control_stored: whether a cache stores the second.
    """

    scenario: str
    path: str
    control: str
    stored: bool
    control_stored: bool


def pairs(digest: str) -> Iterator[Pair]:
    """Yield the scenarios that compare what a cache stores.

    :param digest: digest of the style sheet.
    """
    file = f"{STYLE}?v={digest}"
    yield Pair("declared: shared_max_age=3600", "/shared-hour", "/never", True, False)
    yield Pair("declared: shared_max_age=0", "/shared-never", "/hour", False, True)
    yield Pair(
        "declared: immutable, no change", "/immutable.css", "/mutable.css", True, True
    )
    yield Pair("declared: static file by its digest", file, STYLE, True, False)
    # no cache stores Set-Cookie; of Vary: Cookie alone it stores all but private
    yield Pair("declared: digest, Set-Cookie", f"{file}&renewed", file, False, True)
    yield Pair("declared: digest, Vary: Cookie", f"{file}&read", file, False, True)


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Show the effect of each argument of a declaration on caches."""
    service.migrate()
    with Origin(service, "declared", *ONE_PROCESS).serving() as origin:
        page = urllib3.request("GET", origin.url).data.decode()
        (digest,) = re.findall(r"style\.css\?v=(\w+)", page)
        for name in CACHES:
            with caching(name, origin, scratch) as bench:
                for pair in pairs(digest):
                    yield compare_storage(name, pair, bench, rounds)
                yield compare_languages(name, bench, rounds)
                yield compare_revalidation(name, bench, max(rounds // 10, 1))
        with visiting(origin, scratch) as visit:
            yield compare_reload(visit, max(rounds // 5, 1))


def compare_storage(name: str, pair: Pair, bench: Bench, rounds: int) -> Row:
    """Request a path a number of times, and then its control."""
    row = Row(name, pair.scenario, checks=2)
    # the first response of a path is never reused
    rounds = max(rounds, 2)
    row.service = request_again(bench, pair.path, rounds)
    row.control = request_again(bench, pair.control, rounds)
    hits = rounds - 1
    if row.service.reused != hits * pair.stored:
        row.fail("the cache does not obey the declaration.")
    # an earlier pair may have stored the control
    if row.control.reused < hits if pair.control_stored else row.control.reused:
        row.fail("the control does the same, so the scenario proves nothing.")
    return row


def request_again(bench: Bench, path: str, rounds: int) -> Tally:
    bench.tally = Tally()
    for _ in range(rounds):
        bench.expect(bench.request(path).status == 200)
    return bench.tally


def compare_languages(name: str, bench: Bench, rounds: int) -> Row:
    """Request a path in two languages, with Vary and without."""
    row = Row(name, "declared: vary, a copy a language", checks=2)
    row.service = request_languages(bench, "/greeting", rounds)
    row.control = request_languages(bench, "/greeting-without-vary", rounds)
    if row.service.stale or row.service.reused != 2 * rounds - 2:
        row.fail("a response had another language, or the cache stored none.")
    if not row.control.stale:
        row.fail(
            "the control keeps the languages apart, so the scenario proves nothing."
        )
    return row


def request_languages(bench: Bench, path: str, rounds: int) -> Tally:
    bench.tally = Tally()
    for _ in range(rounds):
        for language, text in LANGUAGES.items():
            response = bench.request(path, Accept_Language=language)
            bench.expect(response.body == text)
    return bench.tally


def compare_revalidation(name: str, bench: Bench, rounds: int) -> Row:
    """Let a cache revalidate, with `etag` and with an ETag that the view sets."""
    row = Row(name, "declared: etag, the view is spared", checks=2)
    row.service, runs = revalidate(bench, "etag", rounds)
    row.control, control_runs = revalidate(bench, "etag-by-the-view", rounds)
    if row.service.not_modified != rounds or runs != 1:
        row.fail(
            f"{row.service.not_modified} revalidations, the view ran {runs} times."
        )
    if row.control.not_modified != rounds or control_runs != rounds + 1:
        row.fail("the control's view did not run, so the scenario proves nothing.")
    row.figures.append(
        f"the view ran for {runs} of {rounds + 1} responses of the origin server,"
        f" for {control_runs} where it sets the ETag itself"
    )
    return row


def revalidate(bench: Bench, view: str, rounds: int) -> tuple[Tally, int]:
    """Return the counts of the origin server's responses, and of the view's runs."""
    tally, log, first = Tally(), bench.counter.log, count_runs(bench, view)
    for _ in range(rounds + 1):
        length = len(log)
        deadline = time.monotonic() + PATIENCE
        # Varnish reuses the copy once more while it revalidates in the background
        while len(log) == length and time.monotonic() < deadline:
            bench.send(f"/{view}")
            time.sleep(0.1)
        tally.requests += 1
        tally.not_modified += any(status == 304 for *_, status, _ in log[length:])
    return tally, count_runs(bench, view) - first


def count_runs(bench: Bench, view: str) -> int:
    runs = urllib3.request("GET", f"{bench.origin.url}/runs").json()
    return int(runs.get(view, 0))


def compare_reload(visit: Visit, rounds: int) -> Row:
    """Reload a page with two fresh style sheets, one of them immutable."""
    row = Row("chromium", "declared: immutable, no change", checks=2)
    row.service, row.control = Tally(), Tally()
    visit.driver.get(f"{visit.url}/styled")
    paths = {path for _, path, *_ in visit.counter.log}
    if not {"/immutable.css", "/mutable.css"} <= paths:
        row.fail("the first visit requested no style sheet, so this proves nothing.")
    for _ in range(rounds):
        length = len(visit.counter.log)
        visit.driver.refresh()
        paths = {path for _, path, *_ in visit.counter.log[length:]}
        for tally, path in (
            (row.service, "/immutable.css"),
            (row.control, "/mutable.css"),
        ):
            tally.requests += 1
            tally.reused += path not in paths
    if row.service.reused != rounds:
        row.fail("a reload revalidates an immutable response.")
    if row.control.reused != rounds:
        row.fail("Chromium obeys immutable now: correct docs/proof.md.")
    return row
