"""The policy file: what reviewers accepted, one line a route."""

from __future__ import annotations

import typing as t
from pathlib import Path

from flask.sansio.scaffold import find_package

from .routes import Route
from .routes import routes

if t.TYPE_CHECKING:
    from flask import Flask

POLICY_FILE = "cache-policy.txt"
POLICY_HEADER = (
    "# The accepted cache policy, one line a route: review every change of it.\n"
    "# Written by 'flask nocache accept', compared by 'flask nocache audit'.\n"
)


def project_root(app: Flask) -> Path:
    """Return the folder that holds an app's package, the working directory if installed."""
    prefix, folder = find_package(app.import_name)
    return Path(folder) if prefix is None else Path.cwd()


def policy_file(app: Flask) -> Path:
    """Return where the accepted policy of an app is kept."""
    return project_root(app) / POLICY_FILE


def write_policy_file(app: Flask) -> Path:
    """Accept what the app declares: write the policy file and return its path."""
    path = policy_file(app)
    text = POLICY_HEADER + "".join(f"{line}\n" for line in policy_lines(routes(app)))
    # a whole file or the old one, whatever happens in between
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(text, encoding="utf-8", newline="\n")
    draft.replace(path)
    return path


def policy_lines(found: t.Iterable[Route]) -> list[str]:
    """Return the lines of the policy file for some routes, sorted."""
    return sorted({str(route) for route in found})
