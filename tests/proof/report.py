from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

LEGEND = """\
reused: by a cache, without the origin server; stale: contradicts what the origin server had acknowledged;
storable: without exactly the three no-store headers; -: not counted, or none.
cross-origin: stale counts writes, and pages shown in a frame, that came through.
deception: stale counts who was given another's page.
control: against plain Flask; edge: without deploy/; nginx to haproxy, deception: with the setting;
declared, sign-out, adoption: without what the row is about."""

HEADS = ("requests", "reused", "stale", "304", "storable", "reused", "stale", "304")
WIDTHS = (10, 9, 7, 5, 10, 10, 7, 5)


@dataclass
class Tally:
    """What came back for a number of requests."""

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

    :param guarded: counts of the service's responses, None if only the control ran.
    :param control: counts of the control's responses, None if there is none.
    :param failures: what does not keep the promise, in words.
    """

    client: str
    scenario: str
    guarded: Tally | None = None
    control: Tally | None = None
    failures: list[str] = field(default_factory=list)
    # figures that nothing is asserted about
    measured: list[str] = field(default_factory=list)
    checks: int = 1
    # whether a pass-through before the origin counted what arrived
    counted: bool = True

    def fail(self, fact: str) -> None:
        self.failures.append(f"{self.client}, {self.scenario}: {fact}")


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table that the run ends with."""
    width = max(len(row.scenario) for row in rows)
    yield f"{'':{10 + width}}{'service':>41}{'control':>22}"
    yield _line("client", "scenario", HEADS, width)
    for row in rows:
        line = _line(row.client, row.scenario, [*_cells(row)], width)
        yield f"{line}  FAILED" if row.failures else line
    yield ""
    for row in rows:
        if row.measured:
            yield f"{row.client}, {row.scenario}: {'; '.join(row.measured)}"
    yield ""
    yield LEGEND


def summary(rows: Sequence[Row]) -> str:
    failed = sum(min(len(row.failures), row.checks) for row in rows)
    return f"{sum(row.checks for row in rows) - failed} passed, {failed} failed"


def _cells(row: Row) -> Iterator[str]:
    found = row.guarded
    if found is None:
        yield from "-----"
    else:
        yield str(found.requests)
        yield str(found.reused) if row.counted else "-"
        yield str(found.stale)
        yield str(found.not_modified)
        yield str(found.storable)
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
