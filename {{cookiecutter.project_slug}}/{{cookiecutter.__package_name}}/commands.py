from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click
from flask import Flask

from .storage import Model

if TYPE_CHECKING:
    from flask_alembic import Alembic

ALEMBIC = {
    # a lone percent sign is an interpolation to configparser
    "script_location": str(Path(__file__).parents[1] / "migrations").replace("%", "%%"),
    # a new migration passes the linters
    "post_write_hooks": {
        "hooks": "ruff",
        "ruff.type": "module",
        "ruff.module": "ruff",
        "ruff.options": "format --quiet REVISION_SCRIPT_FILENAME",
    },
}


class Migrations(click.Group):
    """Flask-Alembic's commands, imported when one of them runs.

    No request needs Alembic, which takes two fifths of the service's start.
    """

    def __init__(self, app: Flask) -> None:
        super().__init__("db", help="Perform database migrations.")
        self.app = app

    @cached_property
    def alembic(self) -> Alembic:
        from flask_alembic import Alembic

        self.app.config.setdefault("ALEMBIC", ALEMBIC)
        return Alembic(
            self.app, metadatas=Model.metadata, run_mkdir=False, command_name=""
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        from flask_alembic.cli import cli

        return cli.list_commands(ctx)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from flask_alembic.cli import cli

        return cli.get_command(ctx, name)

    def invoke(self, ctx: click.Context) -> object:
        from alembic.util import CommandError

        ctx.obj = self.alembic
        try:
            with self.app.app_context():
                return super().invoke(ctx)
        except CommandError as error:
            hint = "\nhint: flask db upgrade" if "not up to date" in str(error) else ""
            raise click.ClickException(f"{error}{hint}") from None


def init_app(app: Flask) -> None:
    """Add the command group ``flask db``."""
    app.cli.add_command(Migrations(app))
