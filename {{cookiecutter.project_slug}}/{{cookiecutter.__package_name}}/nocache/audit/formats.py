"""The formats in which findings and routes are written; each is a function to text."""

from __future__ import annotations

import json
import re
import typing as t
from collections import Counter
from pathlib import PurePath
from urllib.parse import quote

from markupsafe import Markup

from .findings import CATALOGUE
from .findings import Finding
from .routes import Route

Rows = list[tuple[str, ...]]

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
PAGE = Markup("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>%(title)s</title>
<style>
:root { color-scheme: light dark; --line: light-dark(#d8dee4, #3d444d);
  --soft: light-dark(#57606a, #9da7b3); --bad: light-dark(#b3261e, #ff8b82);
  --open: light-dark(#8a4b00, #f0b35e); --good: light-dark(#17692d, #6fd58a) }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 76rem;
  padding: 1rem; color: light-dark(#1f2328, #e6edf3);
  background: light-dark(#fff, #0d1117) }
h1 { font-size: 1.4rem; margin: .5rem 0 1rem }
form { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem; margin-bottom: 1rem }
input, button { font: inherit; padding: .3rem .7rem; border-radius: .5rem;
  border: 1px solid var(--line); background: none; color: inherit }
input { flex: 1 1 12rem }
button { cursor: pointer }
table { border-collapse: collapse; width: 100%% }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem .5rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere }
th { white-space: nowrap }
th, output { color: var(--soft); font-weight: normal; font-size: .9rem }
tr > :last-child { color: var(--soft); padding-right: 0 }
.good { color: var(--good) } .open { color: var(--open) } .bad { color: var(--bad) }
.key { font-weight: 600 }
@media (max-width: 48rem) {
  thead { display: none }
  tr { display: block; border-bottom: 1px solid var(--line); padding: .5rem 0 }
  tr[hidden] { display: none }
  td { display: inline-block; border: 0; padding: 0 .75rem 0 0 }
  td:first-child, td:last-child { display: block }
  td:empty { display: none }
}
</style>
<h1>%(title)s</h1>
<form>
<input type="search" aria-label="Filter" placeholder="Filter" autocomplete="off">
%(buttons)s
<output></output>
</form>
<table>
<thead><tr>%(head)s</tr></thead>
<tbody>
%(body)s
</tbody>
</table>
<script>
const input = document.querySelector("input");
const rows = [...document.querySelectorAll("tbody tr")];
function filter() {
  const words = input.value.toLowerCase().split(" ");
  for (const row of rows)
    row.hidden = !words.every((w) => row.textContent.toLowerCase().includes(w));
  const shown = rows.filter((row) => !row.hidden).length;
  document.querySelector("output").textContent = `${shown} of ${rows.length}`;
}
input.addEventListener("input", filter);
for (const button of document.querySelectorAll("button"))
  button.addEventListener("click", () => {
    input.value = input.value === button.value ? "" : button.value;
    filter();
  });
document.querySelector("form").addEventListener("submit", (e) => e.preventDefault());
filter();
</script>
</html>
""")


def text(found: list[Finding]) -> str:
    """Return findings for a terminal."""
    return "\n".join(map(str, found))


def table(found: list[Route]) -> str:
    """Return routes for a terminal."""
    rows = _route_rows(found)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def as_json(found: t.Sequence[Finding | Route]) -> str:
    """Return findings or routes as a JSON list of objects."""
    return json.dumps([item._asdict() for item in found], indent=2)


def sarif(found: list[Finding]) -> str:
    """Return findings as SARIF 2.1.0, which code hosts show beside the lines."""
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
    run = {"tool": {"driver": driver}, "results": list(map(_sarif_result, found))}
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


def github(found: list[Finding]) -> str:
    """Return findings as the commands that annotate lines in a GitHub workflow."""
    return "\n".join(
        f"::error file={_property(f.path)},line={f.line}"
        f",title={_property(f'{f.id} {f.name}')}"
        f"::{_data(f'{f.message}{chr(10)}hint: {f.hint}')}"
        for f in found
    )


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")


def audit_markdown(found: list[Finding]) -> str:
    """Return findings as a Markdown table."""
    return _markdown(_finding_rows(found)) if found else "No findings."


def routes_markdown(found: list[Route]) -> str:
    """Return routes as a Markdown table."""
    return _markdown(_route_rows(found))


def _markdown(rows: Rows) -> str:
    lines = [f"| {' | '.join(map(_plain, row))} |" for row in rows]
    lines.insert(1, f"|{' --- |' * len(rows[0])}")
    return "\n".join(lines)


def _plain(value: str) -> str:
    """Return Markdown that shows `value`, in one cell of a table."""
    return re.sub(r"([\\`*_\[\]<>&|~])", r"\\\1", " ".join(value.split()))


def audit_html(found: list[Finding]) -> str:
    """Return findings as a page of its own."""
    title = f"Cache audit: {len(found) or 'no'} finding{'s' * (len(found) != 1)}"
    return _page(title, _finding_rows(found), 1, lambda cell: "bad", first_word=True)


def routes_html(found: list[Route]) -> str:
    """Return routes as a page of its own."""
    return _page("Cache policies", _route_rows(found), 2, _policy_colour)


def _policy_colour(policy: str) -> str:
    return {"no-store": "good", "undeclared": "bad"}.get(policy, "open")


def _page(
    title: str,
    rows: Rows,
    key: int,
    colour: t.Callable[[str], str],
    first_word: bool = False,
) -> str:
    """Return a page that shows rows, coloured and filtered by their column `key`."""
    head, *body = rows
    keys = Counter(row[key].split()[0] if first_word else row[key] for row in body)
    button = Markup('<button type="button" value="{0}" class="{1}">{0} ({2})</button>')
    cells = {
        True: Markup('<td class="key {1}">{0}</td>'),
        False: Markup("<td>{0}</td>"),
    }
    lines = (
        Markup("").join(
            cells[n == key].format(cell, colour(cell)) for n, cell in enumerate(row)
        )
        for row in body
    )
    return PAGE % {
        "title": title,
        "buttons": Markup("\n").join(
            button.format(value, colour(value), count)
            for value, count in sorted(keys.items())
        ),
        "head": Markup("").join(Markup("<th>{}</th>").format(name) for name in head),
        "body": Markup("\n").join(Markup("<tr>{}</tr>").format(line) for line in lines),
    }


def _finding_rows(found: list[Finding]) -> Rows:
    rows: Rows = [("Place", "Finding", "Fact", "Hint")]
    rows += [
        (f"{f.path}:{f.line}", f"{f.id} {f.name}", f.message, f.hint) for f in found
    ]
    return rows


def _route_rows(found: list[Route]) -> Rows:
    rows: Rows = [("Rule", "Methods", "Policy", "Endpoint", "Reason")]
    rows += [
        (r.rule, ",".join(r.methods), r.policy, r.endpoint, r.reason) for r in found
    ]
    return rows


AUDIT: dict[str, t.Callable[[list[Finding]], str]] = {
    "text": text,
    "json": as_json,
    "sarif": sarif,
    "github": github,
    "markdown": audit_markdown,
    "html": audit_html,
}
ROUTES: dict[str, t.Callable[[list[Route]], str]] = {
    "table": table,
    "json": as_json,
    "markdown": routes_markdown,
    "html": routes_html,
}
