"""The policy file: the exceptions that reviewers accepted, one a line."""

from __future__ import annotations

import typing as t
from pathlib import Path

from flask.sansio.scaffold import find_package

from .findings import Finding
from .findings import finding
from .routes import NOT_STORED
from .routes import Route
from .routes import routes
from .routes import short

if t.TYPE_CHECKING:
    from flask import Flask

POLICY_FILE = "cache-policy.txt"
POLICY_HEADER = (
    "# What caches may store, and what the audit leaves alone: review every change.\n"
    "# Written by 'flask nocache accept', compared by 'flask nocache audit'.\n"
)


def project_root(app: Flask) -> Path:
    """Return the folder that holds an app's package, the working directory if installed."""
    prefix, folder = find_package(app.import_name)
    return Path(folder) if prefix is None else Path.cwd()


def policy_file(app: Flask) -> Path:
    """Return where the accepted exceptions of an app are kept."""
    return project_root(app) / POLICY_FILE


def exceptions(table: t.Iterable[Route], silenced: t.Iterable[str] = ()) -> list[str]:
    """Return the lines of the policy file, sorted.

    :param table: the routes, of which those that a cache may store are listed.
    :param silenced: a line for each finding that was silenced, with its reason.
    """
    return sorted({*(str(route) for route in table if route.storable), *silenced})


def write_policy_file(app: Flask, silenced: t.Iterable[str] = ()) -> Path:
    """Accept the exceptions of an app: write the policy file and return its path.

    :param app: the app.
    :param silenced: a line for each finding that was silenced, with its reason.
    """
    path = policy_file(app)
    lines = exceptions(routes(app), silenced)
    text = POLICY_HEADER + "".join(f"{line}\n" for line in lines)
    # a whole file or the old one, whatever happens in between
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(text, encoding="utf-8", newline="\n")
    draft.replace(path)
    return path


def policy_file_findings(
    app: Flask,
    table: list[Route],
    faulty: set[tuple[str, int]],
    silenced: t.Iterable[str] = (),
) -> t.Iterator[Finding]:
    """Yield how the policy file differs from the exceptions of an app.

    :param app: the app.
    :param table: its routes.
    :param faulty: places of other findings, whose routes are not worth accepting yet.
    :param silenced: a line for each finding that was silenced, with its reason.
    """
    path = policy_file(app)
    place = short(str(path))
    if not path.exists():
        yield finding("NC010", (place, 1), f"'{POLICY_FILE}'", "does not exist")
        return
    text = path.read_text(encoding="utf-8").splitlines()
    lines = {line: n for n, line in enumerate(text, 1) if line and line[0] != "#"}
    # up to 1.0 the file listed every route
    old = [n for line, n in lines.items() if _split(line)[1] in NOT_STORED]
    if old:
        fact = f"lists {len(old)} routes that no cache stores, as it did up to 1.0"
        yield finding("NC010", (place, old[0]), f"'{POLICY_FILE}'", fact)
    expected = set(exceptions(table, silenced))
    exempt = {_split(str(route))[0] for route in table if route.place in faulty}
    for line in expected - lines.keys():
        if _split(line)[0] not in exempt:
            yield finding("NC010", (place, 1), f"'{line}'", "is not accepted")
    for line in lines.keys() - expected:
        if _split(line)[0] not in exempt and lines[line] not in old:
            where = (place, lines[line])
            yield finding("NC010", where, f"'{line}'", "is accepted, but not declared")


def _split(line: str) -> tuple[str, str]:
    """Return the route of a line, and its policy with the reason."""
    route, _, policy = line.partition(" -> ")
    return route, policy
