"""Measure the kit beside its peers and write RESULTS.md.

python run.py [time] [instructions] [throughput] [audit] [memory] [waiting]: all, unless some are named.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from datetime import UTC
from importlib.metadata import version
from pathlib import Path
from statistics import median

from chart import draw
from contestants import CONTESTS
from contestants import HERE
from service import bake

RESULTS = HERE / "RESULTS.md"
CHART = HERE / "costs.svg"
ROUNDS = 25
TURN = 0.02  # seconds: long beside the clock, short beside what disturbs it
REQUESTS = 100
PACKAGES = ("Flask", "Werkzeug", "gunicorn", "Flask-Talisman", "secure", "Django")

Key = tuple[str, str]
Row = t.Sequence[str]


def keys() -> list[Key]:
    return [
        (c, name) for c, contest in CONTESTS.items() for name in contest.contestants
    ]


def command(key: Key, *under: str) -> list[str]:
    return [*under, sys.executable, str(HERE / "contestant.py"), *key]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def instructions_of(key: Key) -> float:
    """Return the instructions of one request, free of those of the start."""
    under = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
    counts = []
    for times in (10, 10 + REQUESTS):
        done = subprocess.run(
            command(key, *under),
            input=f"{times}\n",
            capture_output=True,
            check=True,
            env=environment(),
            text=True,
        )
        counts.append(int(re.findall(r"Collected : (\d+)", done.stderr)[0]))
    return (counts[1] - counts[0]) / REQUESTS


def measure_instructions() -> dict[Key, float]:
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: instructions are not counted.")
        return {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(keys(), pool.map(instructions_of, keys()), strict=True))


def measure_time() -> dict[Key, list[float]]:
    """Return the microseconds of a request in every round, of all in turn."""
    figures: dict[Key, list[float]] = {key: [] for key in keys()}
    with ExitStack() as stack:
        turns = {}
        for key in figures:
            process = stack.enter_context(
                subprocess.Popen(
                    command(key),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment(),
                    text=True,
                )
            )
            time_requests(process, 50)
            turns[key] = process, max(20, int(50 * TURN / time_requests(process, 50)))
        for number in range(ROUNDS):
            # forth and back, so that nobody always follows the same
            for key in list(turns)[:: -1 if number % 2 else 1]:
                process, times = turns[key]
                # what the others drove out of the processor's caches
                time_requests(process, 20)
                figures[key].append(time_requests(process, times) / times * 1e6)
    return figures


def time_requests(process: subprocess.Popen[str], times: int) -> float:
    """Let a contestant serve some requests and return the seconds."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(times, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def ratio(values: t.Sequence[float], measure: t.Sequence[float]) -> str:
    """Return how much more than `measure` the values are, round by round, in per cent."""
    more = median(a / b for a, b in zip(values, measure, strict=True)) - 1
    return f"{more:+.1%}"


def guard_rows(
    times: dict[Key, list[float]], counts: dict[Key, float]
) -> t.Iterator[Row]:
    yield "Request", "us", "to bare", "to floor", "instr.", "to bare", "to floor"
    for contest, (_, _, contestants, _) in CONTESTS.items():
        yield contest, "", "", "", "", "", ""
        bare = contest, next(iter(contestants))
        floor = contest, "floor"
        for name in contestants:
            key = contest, name
            row = [f"  {name}"]
            for figures, style in (
                (times, "{:.1f}"),
                ({k: [c] for k, c in counts.items()}, "{:,.0f}"),
            ):
                if key not in figures:
                    row += ["", "", ""]
                    continue
                row.append(style.format(median(figures[key])))
                for other in (bare, floor):
                    measured = other in figures and other != key
                    row.append(ratio(figures[key], figures[other]) if measured else "")
            yield row


def costs(counts: dict[Key, float]) -> dict[str, float]:
    """Return what more a request of each contestant costs than in bare Flask, in per cent."""
    more = {}
    for (contest, name), count in counts.items():
        bare = counts.get((contest, "bare Flask"))
        if bare is None or name in ("bare Flask", "floor"):
            continue
        label = name if contest == "small JSON" else f"{name}, {contest}"
        more[label] = (count / bare - 1) * 100
    return more


def child_rows(script: str) -> list[Row]:
    printed = subprocess.check_output([sys.executable, str(HERE / script)], text=True)
    return [line.split("\t") for line in printed.splitlines()]


def table(rows: t.Iterable[Row]) -> t.Iterator[str]:
    """Yield the lines of a Markdown table, figures to the right."""
    rows = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield f"| {' | '.join(rule)} |"


def processor() -> str:
    models = re.findall(
        r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text("utf-8")
    )
    return f"{len(models)} x {models[0]}"


def report(sections: dict[str, tuple[str, list[Row]]]) -> str:
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {version(name)}" for name in PACKAGES]
    lines = [
        "# Results of make bench",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} on {processor()}.",
        f"{', '.join(versions)}.",
    ]
    for title, (text, rows) in sections.items():
        lines += ["", f"## {title}", text, "", *table(rows)]
    return "\n".join(lines) + "\n"


def main(wanted: set[str]) -> None:
    def wants(part: str) -> bool:
        return not wanted or part in wanted

    sections = {}
    counts: dict[Key, float] = {}
    bake()
    if wants("time") or wants("instructions"):
        counts = measure_instructions() if wants("instructions") else {}
        times = measure_time() if wants("time") else {}
        sections["A request"] = (GUARD_TEXT, list(guard_rows(times, counts)))
    if wants("throughput"):
        if shutil.which("wrk") is None:
            print("wrk is not installed: requests per second are not counted.")
        else:
            rows = child_rows("throughput.py")
            sections["Under gunicorn"] = (THROUGHPUT_TEXT, rows)
    if wants("audit"):
        sections["The audit"] = (AUDIT_TEXT, child_rows("audit_speed.py"))
    if wants("memory"):
        sections["Memory"] = (MEMORY_TEXT, child_rows("memory.py"))
    if wants("waiting"):
        sections["Waiting"] = (WAITING_TEXT, child_rows("waiting.py"))
    text = report(sections)
    print(text, end="")
    if not wanted:
        RESULTS.write_text(text, encoding="utf-8")
        if counts:
            draw(CHART, costs(counts))


GUARD_TEXT = f"""
Time is the median of {ROUNDS} rounds, in which all take turns, each in a process of its own.
Instructions are counted by callgrind over {REQUESTS} requests.
The floor is a hand-written WSGI app that appends the guard's three fields to bare Flask.
The static file and the cacheable route are stored by caches, with fewer fields to write.
Where Flask makes the response, the guard gives the server the body as a list, which is cheaper than bare Flask's iterator; a complete `flask.Response` of a view becomes one of the app's class first; of a stream the guard reads the first chunk.
The service is the baked one, silent with `observability.py` taken out; its log goes to /dev/null.
Its logs and metrics are written after the response.

![Instructions of a request beside bare Flask.](costs.svg)"""
THROUGHPUT_TEXT = """
Median of 3 rounds of 4 seconds with wrk and 16 connections, which shares the processors.
Bare Flask neither logs nor counts; the service does both, each with gunicorn's sync workers."""
AUDIT_TEXT = """
Every view has a location, and the policy file is compared.
The app's own source is one line, so that the scan does not count; it follows apart."""
MEMORY_TEXT = """
What stays allocated, by tracemalloc."""
WAITING_TEXT = """
Median of 3 rounds in a project baked anew, with packages that are downloaded already.
The templates beside this one, where PEERS named a folder with their clones, as multiples of the seconds here: their own commands, as far as they ask nothing of a code host."""

if __name__ == "__main__":
    main(set(sys.argv[1:]))
