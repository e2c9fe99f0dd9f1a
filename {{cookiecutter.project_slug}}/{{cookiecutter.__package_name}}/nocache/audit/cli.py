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
from .client import ProbeError
from .client import Service
from .policy_file import replace_file
from .policy_file import write_policy_file
from .probe import plan
from .probe import probe
from .routes import Request
from .routes import routes
from .rules import audit_app
from .rules import missing_routes
from .rules import silences
from .server import import_entry_points

F = t.TypeVar("F", bound=t.Callable[..., t.Any])


def _output(formats: t.Iterable[str]) -> t.Callable[[F], F]:
    names = list(formats)
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
        help="Write to a file instead of the terminal.",
    )
    return lambda command: form(to(command))


def _show_version(context: click.Context, option: click.Option, value: bool) -> None:
    if value:
        edits = ", ".join(path.name for path, _ in version.edits())
        click.echo(f"nocache {version.VERSION}{edits and f', edited: {edits}'}")
        context.exit()


@click.group("nocache")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version of the kit and its edited files.",
)
def commands() -> None:
    """Show, audit and accept the cache policy of every route."""


@commands.command("routes")
@_output(formats.ROUTES)
@pass_script_info
def show_routes(info: ScriptInfo, form: str, output: Path | None) -> None:
    """List every route with its policy."""
    app = info.load_app()
    _write(formats.ROUTES[form](routes(app), app.name), output)


@commands.command("audit")
@_output(formats.AUDIT)
@pass_script_info
def show_findings(info: ScriptInfo, form: str, output: Path | None) -> None:
    """Report findings about cache policies; exit 1 if there are any."""
    app = info.load_app()
    import_entry_points(app)
    if missing := missing_routes(app):
        (file, line), count = missing[0], len(missing)
        click.echo(
            f"warning: {count} routes of the source are not in this app, the first in"
            f" {file}:{line}. Name the factory that registers them: flask --app 'module:create_app'.",
            err=True,
        )
    findings = audit_app(app)
    _write(formats.AUDIT[form](findings, app.name), output)
    if findings:
        click.get_current_context().exit(1)


@commands.command("accept")
@pass_script_info
def accept(info: ScriptInfo) -> None:
    """Write the exceptions of the app to cache-policy.txt."""
    app = info.load_app()
    click.echo(f"Wrote {write_policy_file(app, silences(app))}.")


class Unreachable(click.ClickException):
    """A service that sends no response: no finding, and no success either."""

    exit_code = 2


@commands.command("probe")
@click.argument("url")
@click.option(
    "headers",
    "--header",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Send a header field, such as the credentials of a test account.",
)
@click.option(
    "arguments",
    "--arg",
    multiple=True,
    metavar="NAME=VALUE",
    help="A value for an argument of the URL rules.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to wait for a response.",
)
@click.option(
    "--unsafe",
    is_flag=True,
    help="Send POST, PUT, PATCH and DELETE too, to every route.",
)
@_output(formats.AUDIT)
@pass_script_info
def probe_service(
    info: ScriptInfo,
    url: str,
    headers: tuple[str, ...],
    arguments: tuple[str, ...],
    timeout: float,
    unsafe: bool,
    form: str,
    output: Path | None,
) -> None:
    """Report responses of the service at URL that a cache could store or has stored.

    Requests every route of the app, unknown paths, methods that a route does not allow
    and paths that look like static files, through every proxy in front of the service.
    Sends GET, HEAD and OPTIONS, follows no redirect, and sends no credentials but those
    in --header, and invented ones where a response may be shared. Exits 1 if there are
    findings and 2 if the service cannot be reached. Needs urllib3: pip install
    'urllib3>=2'.
    """
    app = info.load_app()
    values = dict(_argument(argument) for argument in arguments)
    try:
        service = Service(url, headers, timeout)
        requests = plan(app, service, values, unsafe)
        with _progress(len(requests)) as report:
            findings = probe(service, requests, report)
    except ProbeError as error:
        raise Unreachable(str(error)) from error
    _write(formats.AUDIT[form](findings, app.name), output)
    if sys.stderr.isatty():
        plural = "" if len(findings) == 1 else "s"
        count = f"{len(findings) or 'no'} finding{plural}"
        click.echo(f"{len(requests)} responses: {count}.", err=True)
    if findings:
        click.get_current_context().exit(1)


def _argument(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE.", param_hint="--arg")
    return name, value


@contextlib.contextmanager
def _progress(total: int) -> t.Iterator[t.Callable[[Request], None]]:
    """Show the progress of a probe on a terminal, and erase it at the end."""
    numbers = itertools.count(1)
    terminal = sys.stderr.isatty()

    def report(request: Request) -> None:
        if terminal:
            line = f"{next(numbers)}/{total} {request.method} {request.path}"
            click.echo(f"\r{line[:79]}\033[K", nl=False, err=True)

    try:
        yield report
    finally:
        if terminal:
            click.echo("\r\033[K", nl=False, err=True)


def _write(text: str, output: Path | None) -> None:
    if text:
        text = f"{text.rstrip()}\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        replace_file(output, text)
    except OSError as error:
        fact = f"'{output}' cannot be written: {error.strerror}."
        raise click.BadParameter(fact, param_hint="--output") from error
