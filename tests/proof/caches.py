from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

from .counter import Counter
from .nginx import nginx
from .processes import free_port
from .processes import HOST
from .processes import program
from .processes import running
from .report import Row
from .report import Tally
from .scenarios import ARTICLE
from .scenarios import Bench
from .scenarios import Scenario
from .scenarios import SCENARIOS
from .service import Origin
from .service import Service

# it stores and reuses as much as RFC 9111 allows
CACHING = """\
{include}
    access_log off;
    proxy_cache_path {folder}/cache keys_zone=proof:4m;
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://{host}:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_read_timeout {patience};
            proxy_cache proof;
            proxy_cache_valid any 1h;
            proxy_cache_lock on;
            # limits the wait of parallel readers for a response that they may not share
            proxy_cache_lock_timeout 50ms;
            proxy_cache_revalidate on;
            proxy_cache_use_stale error timeout updating http_500 http_502 http_503;
        }}
    }}"""


@contextlib.contextmanager
def caching_nginx(
    folder: Path, upstream: int, include: Path | None = None, patience: int = 60
) -> Iterator[str]:
    """Run an nginx that caches every status, and yield its URL.

    :param include: a configuration for its http block.
    :param patience: seconds to wait for the upstream.
    """
    port = free_port()
    http = CACHING.format(
        folder=folder,
        include=f"include {include};" if include else "",
        host=HOST,
        port=port,
        upstream=upstream,
        patience=patience,
    )
    with nginx(folder, port, http):
        yield f"http://{HOST}:{port}"


@contextlib.contextmanager
def varnish(folder: Path, counter: int) -> Iterator[str]:
    """Run a Varnish with its builtin VCL and a TTL of an hour, and yield its URL."""
    port = free_port()
    command = [program("varnishd"), "-F", "-j", "none", "-n", str(folder / "varnish")]
    command += ["-a", f"{HOST}:{port}", "-b", f"{HOST}:{counter}", "-T", "none"]
    for parameter in ("default_ttl=3600", "default_grace=3600", "vsl_space=1m"):
        command += ["-p", parameter]
    command += ["-s", "malloc,32m"]
    with running(command, port, folder / "log"):
        yield f"http://{HOST}:{port}"


Cache = Callable[[Path, int], contextlib.AbstractContextManager[str]]
CACHES: dict[str, Cache] = {"nginx": caching_nginx, "varnish": varnish}


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Run each scenario with each cache, and with the controls."""
    service.migrate()
    threads = ("--workers", "1", "--threads", "32")
    with contextlib.ExitStack() as stack:
        guarded = Origin(service, "guarded", "--workers", "2")
        plain = Origin(service, "plain", *threads)
        article = Origin(service, "plain", *threads, "--env", "CONTROL=article")
        for origin in (guarded, plain, article):
            stack.enter_context(origin.serving())
        for name in CACHES:
            bench, *controls = (
                stack.enter_context(caching(name, origin, scratch))
                for origin in (guarded, plain, article)
            )
            yield from run_scenarios(name, bench, *controls, rounds=rounds)


@contextlib.contextmanager
def caching(name: str, origin: Origin, scratch: Path) -> Iterator[Bench]:
    """Put a cache and a counting pass-through before an origin server."""
    folder = scratch / f"{name}-{origin.port}"
    folder.mkdir()
    with Counter(origin.url).serving() as counter:
        with CACHES[name](folder, counter.port) as front:
            yield Bench(front, counter, origin)


def run_scenarios(
    name: str, guarded: Bench, plain: Bench, article: Bench, *, rounds: int
) -> Iterator[Row]:
    for scenario in SCENARIOS:
        row = Row(name, scenario.name)
        row.service = count(scenario, guarded, rounds)
        row.control = count(scenario, plain, rounds)
        judge(row, scenario, "plain Flask")
        yield row
    for scenario in ARTICLE:
        row = Row(name, scenario.name, control=count(scenario, article, rounds))
        judge(row, scenario, "the decorator")
        yield row
    yield reuse_cacheable(name, guarded, rounds)
    yield revalidate_static(name, guarded, rounds)


def count(scenario: Scenario, bench: Bench, rounds: int) -> Tally:
    bench.tally = Tally()
    scenario.run(bench, rounds)
    return bench.tally


def judge(row: Row, scenario: Scenario, control: str) -> None:
    """Fail a row if the service leaks, or if its control does not."""
    tally = row.service
    if tally is not None:
        row.checks = 2
        if not tally.requests:
            row.fail("no request was sent.")
        if tally.leaked or tally.not_modified or tally.storable:
            row.fail("a cache reused a response, or could have.")
    if row.control is not None:
        if row.control.leaked != (row.client in scenario.leaks):
            leaks = "leaks" if row.control.leaked else "does not leak"
            row.fail(f"{control} {leaks}, so the scenario proves nothing.")


def reuse_cacheable(name: str, bench: Bench, rounds: int) -> Row:
    """Check that a cache reuses the response of a cacheable view."""
    bench.tally = Tally()
    row = Row(name, "must hit: cacheable view", bench.tally)
    for _ in range(rounds):
        bench.expect("colours" in bench.request("/colours.json").json())
    if bench.tally.reused != rounds - 1 or bench.tally.stale:
        row.fail("the cache did not reuse a cacheable response.")
    return row


def revalidate_static(name: str, bench: Bench, rounds: int) -> Row:
    """Check that a cache passes on each conditional request for a static file."""
    bench.tally = Tally()
    row = Row(name, "revalidated: static file", bench.tally)
    etag = dict(bench.send("/static/style.css").origin_fields or ()).get("ETag", "")
    # with proxy_cache nginx requests the whole file, whatever copy the client has
    status = 200 if name == "nginx" else 304
    for _ in range(rounds):
        response = bench.request("/static/style.css", If_None_Match=etag)
        bench.expect(response.status == status)
    if bench.tally.leaked:
        row.fail("a static file was reused, or another status came than expected.")
    return row
