from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from datetime import datetime
from datetime import UTC
from inspect import iscoroutinefunction
from typing import Any

from flask import Flask
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import BigInteger
from sqlalchemy import bindparam
from sqlalchemy import ColumnElement
from sqlalchemy import DateTime
from sqlalchemy import delete
from sqlalchemy import event
from sqlalchemy import false
from sqlalchemy import insert
from sqlalchemy import inspect
from sqlalchemy import Integer
from sqlalchemy import MetaData
from sqlalchemy import Row
from sqlalchemy import select
from sqlalchemy import String
from sqlalchemy import update
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

MAX_ID = 2**63 - 1


class Model(DeclarativeBase):
    # migrations can only drop a constraint that has a name
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Item(Model):
    __tablename__ = "items"
    # an id is never given out twice, so an old link cannot meet a new item
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=lambda: datetime.now(UTC)
    )


# rows of a connection cost less than the objects of a session; where those are worth
# it, for relations, use db.session
ItemRow = Row[int, str, datetime]
COLUMNS = (Item.id, Item.name, Item.created_at)
PAGE = (
    select(*COLUMNS)
    .where(Item.id < bindparam("before"))
    .order_by(Item.id.desc())
    .limit(bindparam("limit"))
)

db = SQLAlchemy()


def init_app(app: Flask) -> None:
    """Connect the app to the database that its configuration names."""
    options, statements = _engine(app.config)
    app.config["SQLALCHEMY_ENGINES"] = {"default": options}
    db.init_app(app)
    if not app.config.get("SQLALCHEMY_ASYNC_ENGINES"):
        # Flask-SQLAlchemy-Lite closes async sessions in a thread, for each request
        app.teardown_appcontext_funcs = [
            function
            for function in app.teardown_appcontext_funcs
            if not iscoroutinefunction(function)
        ]

    with app.app_context():

        @event.listens_for(db.engine, "connect")
        def prepare(connection: Any, record: object) -> None:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            cursor.close()
            # a rollback would undo PostgreSQL's SET
            connection.commit()


def _engine(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the engine's options and what each new connection runs first."""
    url, timeout = config["DATABASE_URL"], config["DATABASE_TIMEOUT"]
    options: dict[str, Any] = {"url": url, "pool_timeout": timeout}
    if url.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": timeout}
        return options, ["PRAGMA journal_mode = WAL", "PRAGMA foreign_keys = ON"]
    options["pool_pre_ping"] = True
    options["connect_args"] = {"connect_timeout": max(1, int(timeout))}
    return options, [f"SET lock_timeout = {int(timeout * 1000)}"]


def is_migrated() -> bool:
    """Return whether the database has every table and column that the code needs.

    It may have more: while a release rolls out, the old processes stay ready.
    """
    tables = inspect(db.engine).get_multi_columns()
    columns = {
        (name, column["name"])
        for (_, name), table in tables.items()
        for column in table
    }
    return columns.issuperset(
        (table.name, column.name)
        for table in Model.metadata.tables.values()
        for column in table.columns
    )


def in_utc(moment: datetime) -> datetime:
    # sqlite keeps the time but forgets that it is UTC
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


def list_items(limit: int, before: int = MAX_ID) -> Sequence[ItemRow]:
    """Return up to *limit* items, the newest first.

    :param before: Only items older than the one with this id.
    """
    with db.engine.connect() as connection:
        return connection.execute(PAGE, {"limit": limit, "before": before}).all()


def add_item(name: str) -> ItemRow:
    query = insert(Item).values(name=name).returning(*COLUMNS)
    with db.engine.begin() as connection:
        return connection.execute(query).one()


def get_item(item_id: int) -> ItemRow | None:
    query = select(*COLUMNS).where(_has_id(item_id))
    with db.engine.connect() as connection:
        return connection.execute(query).one_or_none()


def rename_item(item_id: int, name: str) -> ItemRow | None:
    # one statement: a read that later wants to write could meet a lock
    query = update(Item).where(_has_id(item_id)).values(name=name).returning(*COLUMNS)
    with db.engine.begin() as connection:
        return connection.execute(query).one_or_none()


def remove_item(item_id: int) -> bool:
    query = delete(Item).where(_has_id(item_id))
    with db.engine.begin() as connection:
        return connection.execute(query).rowcount == 1


def _has_id(item_id: int) -> ColumnElement[bool]:
    # no database takes a larger number
    return Item.id == item_id if item_id <= MAX_ID else false()
