"""The formats of findings and routes; each is a function that returns text."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
import typing as t
from collections import Counter
from datetime import date
from pathlib import Path
from pathlib import PurePath
from urllib.parse import quote

from jinja2 import Environment
from jinja2 import FileSystemLoader
from jinja2 import StrictUndefined

from .findings import CATALOGUE
from .findings import Finding
from .routes import Route
from .version import VERSION

Rows = list[tuple[str, ...]]
Item = t.TypeVar("Item", Finding, Route)

NOTHING = "No findings."
SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    undefined=StrictUndefined,
)


def text(findings: list[Finding]) -> str:
    """Return findings for a terminal."""
    return "\n".join(map(str, findings))


def table(routes: list[Route]) -> str:
    """Return routes for a terminal, and wrap policies and reasons at its width."""
    rows = [("Rule", "Methods", "Endpoint")]
    rows += [(r.rule, ",".join(r.methods), r.endpoint) for r in routes]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    indent = sum(widths) + 2 * len(widths)
    # without a terminal, one line a route
    columns = shutil.get_terminal_size((sys.maxsize, 0)).columns
    room = max(columns - indent, 20)
    policies = ["Policy"]
    policies += [f"{r.policy} - {r.reason}" if r.reason else r.policy for r in routes]
    lines = []
    for row, policy in zip(rows, policies, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        first, *others = textwrap.wrap(policy, room, break_on_hyphens=False)
        lines.append("  ".join((*cells, first)))
        lines += [" " * indent + line for line in others]
    rule = ("-" * width for width in (*widths, min(room, max(map(len, policies)))))
    return "\n".join([lines[0], "  ".join(rule), *lines[1:]])


def as_json(items: t.Sequence[Finding | Route]) -> str:
    """Return findings or routes as a JSON list of objects."""
    return json.dumps([item._asdict() for item in items], indent=2)


def sarif(findings: list[Finding]) -> str:
    """Return findings as SARIF 2.1.0, which code hosts show beside the code."""
    driver = {
        "name": "flask nocache audit",
        "rules": [
            {
                "id": id,
                "name": kind.name.title().replace("-", ""),
                "shortDescription": {"text": kind.name},
                "help": {"text": kind.hint},
            }
            for id, kind in CATALOGUE.items()
        ],
    }
    run = {"tool": {"driver": driver}, "results": list(map(_sarif_result, findings))}
    log = {"$schema": SARIF, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2)


def _sarif_result(finding: Finding) -> dict[str, t.Any]:
    path = PurePath(finding.path)
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    place = {
        "artifactLocation": {"uri": uri},
        "region": {"startLine": finding.line},
    }
    return {
        "ruleId": finding.id,
        "ruleIndex": list(CATALOGUE).index(finding.id),
        "level": "error",
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": place}],
    }


def github(findings: list[Finding]) -> str:
    """Return findings as workflow commands of GitHub, which annotate the lines."""
    return "\n".join(
        f"::error file={_property(f.path)},line={f.line}"
        f",title={_property(f'{f.id} {f.name}')}"
        f"::{_data(f'{f.message}{chr(10)}hint: {f.hint}')}"
        for f in findings
    )


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")


def audit_markdown(findings: list[Finding]) -> str:
    """Return findings as a Markdown table."""
    return _markdown(_finding_rows(findings)) if findings else NOTHING


def routes_markdown(routes: list[Route]) -> str:
    """Return routes as a Markdown table."""
    return _markdown(_route_rows(routes))


def _markdown(rows: Rows) -> str:
    lines = [f"| {' | '.join(map(_escape, row))} |" for row in rows]
    lines.insert(1, f"|{' --- |' * len(rows[0])}")
    return "\n".join(lines)


def _escape(value: str) -> str:
    """Escape a value for a cell of a Markdown table."""
    return re.sub(r"([\\`*_\[\]<>&|~])", r"\\\1", " ".join(value.split()))


def audit_html(findings: list[Finding], app: str) -> str:
    """Return findings as an HTML page.

    :param findings: the findings.
    :param app: the app's name.
    """
    ids = Counter(f.id for f in findings)
    filters = [(id, "bad", count) for id, count in sorted(ids.items())]
    rows = _finding_rows(findings)
    return _page(
        "Cache audit", app, rows, filters, "Finding", lambda cell: "bad", NOTHING
    )


def routes_html(routes: list[Route], app: str) -> str:
    """Return routes as an HTML page.

    :param routes: the routes.
    :param app: the app's name.
    """
    policies = Counter(route.policy for route in routes)
    filters = [(p, _policy_colour(p), n) for p, n in sorted(policies.items())]
    rows = _route_rows(routes)
    return _page(
        "Cache policies", app, rows, filters, "Policy", _policy_colour, "No routes."
    )


def _policy_colour(policy: str) -> str:
    return {"no-store": "good", "undeclared": "bad"}.get(policy, "open")


def _page(
    subject: str,
    app: str,
    rows: Rows,
    filters: list[tuple[str, str, int]],
    key: str,
    colour: t.Callable[[str], str],
    nothing: str,
) -> str:
    """Return a page with a table in which column `key` is coloured, or with `nothing`."""
    head, *body = rows
    return TEMPLATES.get_template("report.html").render(
        subject=subject,
        app=app,
        date=date.today().isoformat(),
        version=VERSION,
        head=head,
        rows=body,
        filters=filters,
        key=key,
        colour=colour,
        nothing=nothing,
        zip=zip,
    )


def _finding_rows(findings: list[Finding]) -> Rows:
    rows: Rows = [("Place", "Finding", "Fact", "Hint")]
    rows += [
        (f"{f.path}:{f.line}", f"{f.id} {f.name}", f.message, f.hint) for f in findings
    ]
    return rows


def _route_rows(routes: list[Route]) -> Rows:
    rows: Rows = [("Rule", "Methods", "Policy", "Endpoint", "Reason")]
    rows += [
        (r.rule, ",".join(r.methods), r.policy, r.endpoint, r.reason) for r in routes
    ]
    return rows


def _untitled(
    write: t.Callable[[list[Item]], str],
) -> t.Callable[[list[Item], str], str]:
    return lambda items, app: write(items)


# each takes the items, and the name of the app
AUDIT: dict[str, t.Callable[[list[Finding], str], str]] = {
    "text": _untitled(text),
    "json": _untitled(as_json),
    "sarif": _untitled(sarif),
    "github": _untitled(github),
    "markdown": _untitled(audit_markdown),
    "html": audit_html,
}
ROUTES: dict[str, t.Callable[[list[Route], str], str]] = {
    "table": _untitled(table),
    "json": _untitled(as_json),
    "markdown": _untitled(routes_markdown),
    "html": routes_html,
}
