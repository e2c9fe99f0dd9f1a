from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import urllib3

from .browser import Visit
from .browser import visiting
from .report import Row
from .report import Tally
from .service import Origin
from .service import Service

# a host that is not loopback, so that what it sends over HTTP is not trusted
INSECURE = "proof.test"
SUBMIT = """
const form = Object.assign(document.createElement("form"), { method: "post" });
form.action = arguments[0];
document.body.append(form);
form.submit();
"""
TEXT = """
const [url, , done] = arguments;
fetch(url).then((r) => r.text()).then(done);
"""
GONE = "it is no longer shown, so this shows nothing: mend docs/caching.md."

Step = Callable[[Visit], None]


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Show what makes a browser forget, and what does not."""
    service.migrate()
    rounds = max(rounds // 10, 1)
    # one process: which sessions are open is kept in it
    origin = Origin(service, "signout", "--workers", "1", "--threads", "8")
    with origin.serving():
        with visiting(origin, scratch) as visit:
            yield from sign_outs(visit, rounds)
        yield from adoption(origin, scratch)
        with visiting(
            origin, scratch, f"--host-resolver-rules=MAP {INSECURE} 127.0.0.1"
        ) as v:
            v.url = f"http://{INSECURE}:{v.counter.port}"
            yield useless("over HTTP, another host", v, copy_after(fetched="/clear"))


def sign_outs(visit: Visit, rounds: int) -> Iterator[Row]:
    changed, cleared = "?cookie=changed", '?clear="cache"'
    yield compare(
        "sign-out, Back: the cookie changes",
        visit,
        back_after(changed),
        back_after(""),
        rounds,
    )
    # the control has the same header on the response that ends the session
    yield compare(
        "sign-out, Back: cleared by a fetch",
        visit,
        back_after("", fetched="/clear"),
        back_after(cleared),
        rounds,
    )
    yield compare(
        "sign-out, copy of a year: cleared",
        visit,
        copy_after(f'{changed}&clear="cache"'),
        copy_after(changed),
        rounds,
    )
    yield useless("cookie deleted", visit, back_after("?cookie=deleted"))
    yield useless("without the quotes", visit, copy_after(f"{changed}&clear=cache"))


def compare(name: str, visit: Visit, step: Step, control: Step, rounds: int) -> Row:
    """Run what helps and what does not, in one browser."""
    row = Row("chromium", name, checks=2)
    row.guarded = repeated(visit, step, rounds)
    row.control = repeated(visit, control, rounds)
    if row.guarded.leaked:
        row.fail("what was before is still shown.")
    if row.control.stale != rounds:
        row.fail(GONE)
    return row


def useless(name: str, visit: Visit, step: Step) -> Row:
    """Run what docs/caching.md says is of no help."""
    control = repeated(visit, step, 1)
    row = Row("chromium", f"no help: {name}", control=control)
    if not control.stale:
        row.fail(GONE)
    return row


def repeated(visit: Visit, step: Step, rounds: int) -> Tally:
    visit.tally = Tally()
    for _ in range(rounds):
        step(visit)
    return visit.tally


def sign_out(visit: Visit, query: str, fetched: str) -> None:
    """Sign in, and out again.

    :param query: what the sign-out does.
    :param fetched: what the next page asks for, if anything.
    """
    visit.driver.get(f"{visit.url}/sign-in")
    visit.driver.execute_script(SUBMIT, f"/sign-out{query}")
    visit.wait(lambda: visit.driver.title == "goodbye")
    if fetched:
        visit.call(TEXT, fetched)


def back_after(query: str, fetched: str = "") -> Step:
    def step(visit: Visit) -> None:
        sign_out(visit, query, fetched)
        before = len(visit.counter.log)
        visit.driver.back()
        visit.wait(lambda: visit.driver.title != "goodbye")
        paths = [path for _, path, *_ in visit.counter.log[before:]]
        visit.tally.requests += 1
        visit.tally.reused += "/account" not in paths
        visit.tally.stale += visit.driver.title == "signed in"

    return step


def copy_after(query: str = "", fetched: str = "") -> Step:
    def step(visit: Visit) -> None:
        visit.driver.get(f"{visit.url}/goodbye")
        kept = visit.call(TEXT, "/orders")
        if query:
            sign_out(visit, query, fetched)
        else:
            visit.call(TEXT, fetched)
        read(visit, kept)

    return step


def read(visit: Visit, kept: str) -> None:
    """Read again what the browser has a copy of that is fresh for a year."""
    before = len(visit.counter.log)
    text = visit.call(TEXT, "/orders")
    visit.tally.requests += 1
    visit.tally.reused += len(visit.counter.log) == before
    visit.tally.stale += text == kept


def adoption(origin: Origin, scratch: Path) -> Iterator[Row]:
    """Deploy what clears the browser's cache, each time before a browser with copies."""
    row = Row("chromium", "adoption, copy of a year: cleared", checks=2)
    row.guarded = adopted(origin, scratch, "/")
    row.control = adopted(origin, scratch, "")
    if row.guarded.leaked:
        row.fail("a copy from before is still used.")
    if not row.control.stale:
        row.fail(GONE)
    yield row
    control = adopted(origin, scratch, "/orders")
    row = Row("chromium", "no help: on the copy's own response", control=control)
    if not control.stale:
        row.fail(GONE)
    yield row


def adopted(origin: Origin, scratch: Path, clearing: str) -> Tally:
    """Return whether a copy from before is used by a browser that comes again.

    :param clearing: the path whose response has the header from now on.
    """
    urllib3.request("POST", f"{origin.url}/deployed")
    with visiting(origin, scratch) as visit:
        visit.driver.get(f"{visit.url}/")
        kept = visit.call(TEXT, "/orders")
        urllib3.request("POST", f"{origin.url}/deployed?clearing={clearing}")
        visit.driver.get(f"{visit.url}/")
        read(visit, kept)
        return visit.tally
