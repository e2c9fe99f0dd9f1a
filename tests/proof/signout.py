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

# browsers trust no response over HTTP from a host that is not loopback
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
NO_EFFECT = "no old copy is used, so this proves nothing: correct docs/caching.md."

Step = Callable[[Visit], None]


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Show which sign-outs remove old copies from a browser, and which do not."""
    service.migrate()
    rounds = max(rounds // 10, 1)
    # one process, because it keeps the sessions in memory
    origin = Origin(service, "signout", "--workers", "1", "--threads", "8")
    with origin.serving():
        with visiting(origin, scratch) as visit:
            yield from sign_outs(visit, rounds)
        yield from compare_adoption(origin, scratch)
        with visiting(
            origin, scratch, f"--host-resolver-rules=MAP {INSECURE} 127.0.0.1"
        ) as visit:
            visit.url = f"http://{INSECURE}:{visit.counter.port}"
            step = read_after(path="/clear")
            yield fail_to_clear("over HTTP, another host", visit, step)


def sign_outs(visit: Visit, rounds: int) -> Iterator[Row]:
    change, clear = "?cookie=changed", '?clear="cache"'
    yield compare(
        "sign-out, Back: the cookie changes",
        visit,
        go_back_after(change),
        go_back_after(""),
        rounds,
    )
    # the control has the same header on the response that ends the session
    yield compare(
        "sign-out, Back: cleared by a fetch",
        visit,
        go_back_after("", path="/clear"),
        go_back_after(clear),
        rounds,
    )
    yield compare(
        "sign-out, copy of a year: cleared",
        visit,
        read_after(f'{change}&clear="cache"'),
        read_after(change),
        rounds,
    )
    yield fail_to_clear("cookie deleted", visit, go_back_after("?cookie=deleted"))
    step = read_after(f"{change}&clear=cache")
    yield fail_to_clear("without the quotes", visit, step)


def compare(name: str, visit: Visit, step: Step, control: Step, rounds: int) -> Row:
    """Run a sign-out that removes old copies, and its control, in one browser."""
    row = Row("chromium", name, checks=2)
    row.service = repeat(visit, step, rounds)
    row.control = repeat(visit, control, rounds)
    if row.service.leaked:
        row.fail("the browser still uses an old copy.")
    if row.control.stale != rounds:
        row.fail(NO_EFFECT)
    return row


def fail_to_clear(name: str, visit: Visit, step: Step) -> Row:
    """Run a step that, by docs/caching.md, does not remove old copies."""
    control = repeat(visit, step, 1)
    row = Row("chromium", f"no help: {name}", control=control)
    if not control.stale:
        row.fail(NO_EFFECT)
    return row


def repeat(visit: Visit, step: Step, rounds: int) -> Tally:
    visit.tally = Tally()
    for _ in range(rounds):
        step(visit)
    return visit.tally


def sign_out(visit: Visit, query: str, path: str) -> None:
    """Sign in, and out again.

    :param query: query of the sign-out's URL, the variant of the recipe.
    :param path: path that the next page fetches, if any.
    """
    visit.driver.get(f"{visit.url}/sign-in")
    visit.driver.execute_script(SUBMIT, f"/sign-out{query}")
    visit.wait(lambda: visit.driver.title == "goodbye")
    if path:
        visit.call(TEXT, path)


def go_back_after(query: str, path: str = "") -> Step:
    def step(visit: Visit) -> None:
        sign_out(visit, query, path)
        before = len(visit.counter.log)
        visit.driver.back()
        visit.wait(lambda: visit.driver.title != "goodbye")
        paths = [path for _, path, *_ in visit.counter.log[before:]]
        visit.tally.requests += 1
        visit.tally.reused += "/account" not in paths
        visit.tally.stale += visit.driver.title == "signed in"

    return step


def read_after(query: str = "", path: str = "") -> Step:
    def step(visit: Visit) -> None:
        visit.driver.get(f"{visit.url}/goodbye")
        copy = visit.call(TEXT, "/orders")
        if query:
            sign_out(visit, query, path)
        else:
            visit.call(TEXT, path)
        read(visit, copy)

    return step


def read(visit: Visit, copy: str) -> None:
    """Read again a response of which the browser has a copy, fresh for a year."""
    before = len(visit.counter.log)
    text = visit.call(TEXT, "/orders")
    visit.tally.requests += 1
    visit.tally.reused += len(visit.counter.log) == before
    visit.tally.stale += text == copy


def compare_adoption(origin: Origin, scratch: Path) -> Iterator[Row]:
    """Deploy the recipe of docs/adopting.md before a browser with old copies."""
    row = Row("chromium", "adoption, copy of a year: cleared", checks=2)
    row.service = adopt(origin, scratch, "/")
    row.control = adopt(origin, scratch, "")
    if row.service.leaked:
        row.fail("the browser still uses a copy from before.")
    if not row.control.stale:
        row.fail(NO_EFFECT)
    yield row
    control = adopt(origin, scratch, "/orders")
    row = Row("chromium", "no help: on the copy's own response", control=control)
    if not control.stale:
        row.fail(NO_EFFECT)
    yield row


def adopt(origin: Origin, scratch: Path, clearing: str) -> Tally:
    """Count whether a browser uses a copy from before on its next visit.

    :param clearing: path whose response has `Clear-Site-Data` once deployed.
    """
    urllib3.request("POST", f"{origin.url}/deployed")
    with visiting(origin, scratch) as visit:
        visit.driver.get(f"{visit.url}/")
        copy = visit.call(TEXT, "/orders")
        urllib3.request("POST", f"{origin.url}/deployed?clearing={clearing}")
        visit.driver.get(f"{visit.url}/")
        read(visit, copy)
        return visit.tally
