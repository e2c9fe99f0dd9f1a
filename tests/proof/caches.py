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

# aggressive, and within what RFC 9111 lets a cache do
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
            # readers that wait for a response which nobody may share look again this often
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
    """Run a Varnish with its builtin VCL and a long default life, yield its URL."""
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
    """Run every scenario with every cache, the controls beside it."""
    service.migrate()
    threads = ("--workers", "1", "--threads", "32")
    with contextlib.ExitStack() as stack:
        guarded = Origin(service, "guarded", "--workers", "2")
        plain = Origin(service, "plain", *threads)
        article = Origin(service, "plain", *threads, "--env", "CONTROL=article")
        for origin in (guarded, plain, article):
            stack.enter_context(origin.serving())
        for name in CACHES:
            first, *controls = (
                stack.enter_context(before(name, origin, scratch))
                for origin in (guarded, plain, article)
            )
            yield from with_cache(name, first, *controls, rounds=rounds)


@contextlib.contextmanager
def before(name: str, origin: Origin, scratch: Path) -> Iterator[Bench]:
    """Put a cache before an origin, the counting pass-through between them."""
    folder = scratch / f"{name}-{origin.port}"
    folder.mkdir()
    with Counter(origin.url).serving() as counter:
        with CACHES[name](folder, counter.port) as front:
            yield Bench(front, counter, origin)


def with_cache(
    name: str, guarded: Bench, plain: Bench, article: Bench, *, rounds: int
) -> Iterator[Row]:
    for scenario in SCENARIOS:
        row = Row(name, scenario.name)
        row.guarded = tally(scenario, guarded, rounds)
        row.control = tally(scenario, plain, rounds)
        judge(row, scenario, "plain Flask")
        yield row
    for scenario in ARTICLE:
        row = Row(name, scenario.name, control=tally(scenario, article, rounds))
        judge(row, scenario, "the decorator")
        yield row
    yield cacheable_example(name, guarded, rounds)
    yield static_file(name, guarded, rounds)


def tally(scenario: Scenario, bench: Bench, rounds: int) -> Tally:
    bench.tally = Tally()
    scenario.run(bench, rounds)
    return bench.tally


def judge(row: Row, scenario: Scenario, control: str) -> None:
    """Fail a row where the service leaks, or where its control does not."""
    found = row.guarded
    if found is not None:
        row.checks = 2
        if not found.requests:
            row.fail("nothing was requested.")
        if found.leaked or found.not_modified or found.storable:
            row.fail("a cache reused a response, or could have.")
    if row.control is not None:
        if row.control.leaked != (row.client in scenario.leaks):
            leaks = "leaks" if row.control.leaked else "does not leak"
            row.fail(f"{control} {leaks}, so the scenario shows nothing.")


def cacheable_example(name: str, bench: Bench, rounds: int) -> Row:
    """What is declared cacheable must come from the cache, after the first time."""
    bench.tally = Tally()
    row = Row(name, "must hit: cacheable view", bench.tally)
    for _ in range(rounds):
        bench.expect("colours" in bench.ask("/colours.json").json())
    if bench.tally.reused != rounds - 1 or bench.tally.stale:
        row.fail("a cacheable response was not served by the cache.")
    return row


def static_file(name: str, bench: Bench, rounds: int) -> Row:
    """A client's copy of a static file is asked about each time, and stays valid."""
    bench.tally = Tally()
    row = Row(name, "asked each time: static file", bench.tally)
    etag = dict(bench.send("/static/style.css").sent or ()).get("ETag", "")
    # where it caches, nginx asks for the whole file whatever the client holds
    status = 200 if name == "nginx" else 304
    for _ in range(rounds):
        response = bench.ask("/static/style.css", If_None_Match=etag)
        bench.expect(response.status == status)
    if bench.tally.leaked:
        row.fail("a static file was not asked about, or sent again.")
    return row
