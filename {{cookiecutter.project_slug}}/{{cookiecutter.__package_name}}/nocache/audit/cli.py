from __future__ import annotations

import contextlib
import itertools
import sys
import typing as t
from pathlib import Path

import click
from flask.cli import pass_script_info
from flask.cli import ScriptInfo

from . import formats
from . import version
from .policy_file import write_policy_file
from .routes import routes
from .rules import audit_app

if t.TYPE_CHECKING:
    from .probe import Probe

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


class Unanswered(click.ClickException):
    """A service that could not be asked, which is neither good nor a finding."""

    exit_code = 2


@commands.command("probe")
@click.argument("url")
@click.option(
    "headers",
    "--header",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Send a header, such as the credentials of a test account.",
)
@click.option(
    "arguments",
    "--arg",
    multiple=True,
    metavar="NAME=VALUE",
    help="The value of an argument of the rules.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to wait for an answer.",
)
@click.option("--unsafe", is_flag=True, help="Send POST, PUT, PATCH and DELETE too.")
@_output(formats.AUDIT)
@pass_script_info
def show_kept(
    info: ScriptInfo,
    url: str,
    headers: tuple[str, ...],
    arguments: tuple[str, ...],
    timeout: float,
    unsafe: bool,
    form: str,
    output: Path | None,
) -> None:
    """Ask the service deployed at URL what a cache could keep of its answers.

    Asks for every route of the app, for paths that it has not and with methods that it
    does not take, through whatever stands before it, and reports answers that may be
    stored or that a cache kept. Sends GET, HEAD and OPTIONS, no credentials but those
    in --header, and follows no redirect. Exits 1 if anything is reported and 2 if the
    service cannot be asked. Needs urllib3: pip install 'urllib3>=2'.
    """
    # not as the app is imported: no server needs it
    from .probe import probe
    from .probe import ProbeError
    from .probe import probes
    from .probe import Service

    app = info.load_app()
    values = dict(_argument(argument) for argument in arguments)
    try:
        service = Service(url, headers, timeout)
        asked = probes(app, service, values, unsafe)
        with _progress(len(asked)) as tell:
            found = probe(service, asked, tell)
    except ProbeError as error:
        raise Unanswered(str(error)) from error
    _write(formats.AUDIT[form](found), output)
    if sys.stderr.isatty():
        plural = "" if len(found) == 1 else "s"
        count = f"{len(found) or 'no'} finding{plural}"
        click.echo(f"{len(asked)} answers: {count}.", err=True)
    if found:
        click.get_current_context().exit(1)


def _argument(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE.", param_hint="--arg")
    return name, value


@contextlib.contextmanager
def _progress(total: int) -> t.Iterator[t.Callable[[Probe], None]]:
    """Show on a terminal how far a probe is, and wipe it in the end."""
    numbers = itertools.count(1)
    shown = sys.stderr.isatty()

    def tell(asked: Probe) -> None:
        if shown:
            line = f"{next(numbers)}/{total} {asked.method} {asked.target}"
            click.echo(f"\r{line[:79]}\033[K", nl=False, err=True)

    try:
        yield tell
    finally:
        if shown:
            click.echo("\r\033[K", nl=False, err=True)


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
