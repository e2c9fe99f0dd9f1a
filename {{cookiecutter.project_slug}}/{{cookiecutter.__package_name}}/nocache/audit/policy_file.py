"""The policy file: the exceptions that reviewers accept, one to a line."""

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
    """Return the folder of an app's package; the working directory if it is installed."""
    prefix, folder = find_package(app.import_name)
    return Path(folder) if prefix is None else Path.cwd()


def policy_file(app: Flask) -> Path:
    """Return the path of the policy file of an app."""
    return project_root(app) / POLICY_FILE


def exceptions(table: t.Iterable[Route], silences: t.Iterable[str] = ()) -> list[str]:
    """Return the lines of the policy file, sorted.

    :param table: the routes; only those that a cache may store are listed.
    :param silences: a line for each silenced finding, with its reason.
    """
    return sorted({*(str(route) for route in table if route.storable), *silences})


def write_policy_file(app: Flask, silences: t.Iterable[str] = ()) -> Path:
    """Write the exceptions of an app to its policy file, and return the path.

    :param app: the app.
    :param silences: a line for each silenced finding, with its reason.
    :raises OSError: if the file cannot be written.
    """
    path = policy_file(app)
    lines = exceptions(routes(app), silences)
    text = POLICY_HEADER + "".join(f"{line}\n" for line in lines)
    replace_file(path, text)
    return path


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a failure leaves the old one, not a part of the new one.

    :param path: the path of the file.
    :param text: its new content.
    :raises OSError: if it cannot be written.
    """
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(text, encoding="utf-8", newline="\n")
    draft.replace(path)


def policy_file_findings(
    app: Flask,
    table: list[Route],
    faults: set[tuple[str, int]],
    silences: t.Iterable[str] = (),
) -> t.Iterator[Finding]:
    """Yield a finding for each difference between the policy file and the exceptions.

    :param app: the app.
    :param table: its routes.
    :param faults: the places of other findings; their routes are not compared.
    :param silences: a line for each silenced finding, with its reason.
    """
    path = policy_file(app)
    place = short(str(path))
    if not path.exists():
        yield finding("NC010", (place, 1), f"'{POLICY_FILE}'", "does not exist")
        return
    text = path.read_text(encoding="utf-8").splitlines()
    lines = {line: n for n, line in enumerate(text, 1) if line and line[0] != "#"}
    # until 1.0 the file listed every route
    old = [n for line, n in lines.items() if _split(line)[1] in NOT_STORED]
    if old:
        fact = f"lists {len(old)} routes that no cache stores, as it did up to 1.0"
        yield finding("NC010", (place, old[0]), f"'{POLICY_FILE}'", fact)
    expected = set(exceptions(table, silences))
    exempt = {_split(str(route))[0] for route in table if route.place in faults}
    for line in expected - lines.keys():
        if _split(line)[0] not in exempt:
            yield finding("NC010", (place, 1), f"'{line}'", "is not accepted")
    for line in lines.keys() - expected:
        if _split(line)[0] not in exempt and lines[line] not in old:
            where = (place, lines[line])
            yield finding("NC010", where, f"'{line}'", "is accepted, but not declared")


def _split(line: str) -> tuple[str, str]:
    """Split a line into the route, and the policy with the reason."""
    route, _, policy = line.partition(" -> ")
    return route, policy
