from __future__ import annotations

import typing as t
from pathlib import Path

import click
from flask.cli import pass_script_info
from flask.cli import ScriptInfo

from . import formats
from . import version
from .audit import audit_app
from .audit import routes
from .audit import write_policy_file

F = t.TypeVar("F", bound=t.Callable[..., t.Any])


def _output(known: t.Iterable[str]) -> t.Callable[[F], F]:
    names = list(known)
    form = click.option(
        "--format",
        "form",
        type=click.Choice(names),
        default=names[0],
        show_default=True,
    )
    to = click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write a file instead of the terminal.",
    )
    return lambda command: form(to(command))


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
@_output(formats.ROUTES)
@pass_script_info
def show_routes(info: ScriptInfo, form: str, output: Path | None) -> None:
    """List every route with its policy."""
    _write(formats.ROUTES[form](routes(info.load_app())), output)


@commands.command("audit")
@_output(formats.AUDIT)
@pass_script_info
def show_findings(info: ScriptInfo, form: str, output: Path | None) -> None:
    """Report what is declared wrongly; exit 1 if anything is."""
    found = audit_app(info.load_app())
    _write(formats.AUDIT[form](found), output)
    if found:
        click.get_current_context().exit(1)


@commands.command("accept")
@pass_script_info
def accept(info: ScriptInfo) -> None:
    """Write what the routes declare to cache-policy.txt."""
    click.echo(f"Wrote {write_policy_file(info.load_app())}.")


def _write(text: str, output: Path | None) -> None:
    if text:
        text = f"{text.rstrip()}\n"
    if output is None:
        click.echo(text, nl=False)
        return
    # a whole file or the old one, whatever happens in between
    draft = output.with_name(f"{output.name}.new")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(output)
    except OSError as error:
        fact = f"'{output}' cannot be written: {error.strerror}."
        raise click.BadParameter(fact, param_hint="--output") from error
