from __future__ import annotations

import typing as t

import click
from flask.cli import pass_script_info
from flask.cli import ScriptInfo

from . import version
from .audit import audit_app
from .audit import Route
from .audit import routes
from .audit import write_policy_file


def _show_version(context: click.Context, option: click.Option, asked: bool) -> None:
    if asked:
        edited = ", ".join(path.name for path, _ in version.edits())
        click.echo(f"nocache {version.VERSION}{edited and f', edited: {edited}'}")
        context.exit()


@click.group("nocache")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the kit's version and what was edited in it.",
)
def commands() -> None:
    """Show, audit and accept the cache policy of every route."""


@commands.command("routes")
@pass_script_info
def show_routes(info: ScriptInfo) -> None:
    """List every route with its policy."""
    for line in _table(routes(info.load_app())):
        click.echo(line)


@commands.command("audit")
@pass_script_info
def show_findings(info: ScriptInfo) -> None:
    """Report what is declared wrongly; exit 1 if anything is."""
    found = audit_app(info.load_app())
    for finding in found:
        click.echo(finding)
    if found:
        click.get_current_context().exit(1)


@commands.command("accept")
@pass_script_info
def accept(info: ScriptInfo) -> None:
    """Write what the routes declare to cache-policy.txt."""
    click.echo(f"Wrote {write_policy_file(info.load_app())}.")


def _table(found: list[Route]) -> t.Iterator[str]:
    rows: list[tuple[str, ...]] = [("Rule", "Methods", "Policy", "Endpoint", "Reason")]
    rows += [
        (r.rule, ",".join(r.methods), r.policy, r.endpoint, r.reason) for r in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(cell.ljust(width) for cell, width in cells).rstrip()
