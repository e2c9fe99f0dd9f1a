from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

LEGEND = """\
reused: a cache sent the response without a request to the origin server.
stale: the response contradicts what the origin server had acknowledged.
storable: the response does not have exactly the three no-store header fields.
-: not counted, or not run.
cross-origin: stale counts writes that arrived, and pages that a frame rendered.
deception: stale counts responses that a second user got and that name the first.
control: plain Flask; edge: nginx without deploy/; nginx to haproxy, deception: with the setting;
declared, sign-out, adoption: without what the row is about."""

HEADS = ("requests", "reused", "stale", "304", "storable", "reused", "stale", "304")
WIDTHS = (10, 9, 7, 5, 10, 10, 7, 5)


@dataclass
class Tally:
    """The counts of a number of requests and their responses."""

    requests: int = 0
    reused: int = 0
    stale: int = 0
    not_modified: int = 0
    storable: int = 0

    @property
    def leaked(self) -> bool:
        return bool(self.reused or self.stale)


@dataclass
class Row:
    """One scenario with one cache or client, and the control beside it.

    :param service: counts of the service's responses, None if only the control ran.
    :param control: counts of the control's responses, None if there is none.
    :param failures: sentences, one for each check that failed.
    """

    client: str
    scenario: str
    service: Tally | None = None
    control: Tally | None = None
    failures: list[str] = field(default_factory=list)
    # no check depends on them
    figures: list[str] = field(default_factory=list)
    checks: int = 1
    # whether a pass-through before the origin server counted requests
    counted: bool = True

    def fail(self, problem: str) -> None:
        self.failures.append(f"{self.client}, {self.scenario}: {problem}")


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table at the end of a run."""
    width = max(len(row.scenario) for row in rows)
    yield f"{'':{10 + width}}{'service':>41}{'control':>22}"
    yield _line("client", "scenario", HEADS, width)
    for row in rows:
        line = _line(row.client, row.scenario, [*_cells(row)], width)
        yield f"{line}  FAILED" if row.failures else line
    yield ""
    for row in rows:
        if row.figures:
            yield f"{row.client}, {row.scenario}: {'; '.join(row.figures)}"
    yield ""
    yield LEGEND


def summary(rows: Sequence[Row]) -> str:
    failed = sum(min(len(row.failures), row.checks) for row in rows)
    return f"{sum(row.checks for row in rows) - failed} passed, {failed} failed"


def _cells(row: Row) -> Iterator[str]:
    tally = row.service
    if tally is None:
        yield from "-----"
    else:
        yield str(tally.requests)
        yield str(tally.reused) if row.counted else "-"
        yield str(tally.stale)
        yield str(tally.not_modified)
        yield str(tally.storable)
    if row.control is None:
        yield from "---"
    else:
        yield str(row.control.reused) if row.counted else "-"
        yield str(row.control.stale)
        yield str(row.control.not_modified)


def _line(client: str, scenario: str, cells: Sequence[str], width: int) -> str:
    columns = zip(cells, WIDTHS, strict=True)
    numbers = "".join(cell.rjust(width) for cell, width in columns)
    return f"{client:<8}  {scenario:<{width}}{numbers}"
