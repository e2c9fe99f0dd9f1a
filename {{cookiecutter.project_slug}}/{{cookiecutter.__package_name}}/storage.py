from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from datetime import datetime
from datetime import UTC
from inspect import iscoroutinefunction
from typing import Any

from flask import Flask
from flask_alembic import Alembic
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import BigInteger
from sqlalchemy import column
from sqlalchemy import ColumnElement
from sqlalchemy import DateTime
from sqlalchemy import delete
from sqlalchemy import event
from sqlalchemy import false
from sqlalchemy import Integer
from sqlalchemy import MetaData
from sqlalchemy import select
from sqlalchemy import String
from sqlalchemy import table
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

    def as_dict(self) -> dict[str, Any]:
        created_at = self.created_at
        if created_at.tzinfo is None:
            # sqlite keeps the time but forgets that it is UTC
            created_at = created_at.replace(tzinfo=UTC)
        created_at = created_at.astimezone(UTC)
        return {
            "id": self.id,
            "name": self.name,
            "created_at": created_at.isoformat(timespec="milliseconds"),
        }


db = SQLAlchemy(session_options={"expire_on_commit": False})
alembic = Alembic(metadatas=Model.metadata, run_mkdir=False)


def init_app(app: Flask) -> None:
    """Connect the app to the database that its configuration names."""
    options, statements = _engine(app.config)
    app.config["SQLALCHEMY_ENGINES"] = {"default": options}
    db.init_app(app)
    # no session here is async, and to await its end takes a thread for each request
    app.teardown_appcontext_funcs = [
        function
        for function in app.teardown_appcontext_funcs
        if not iscoroutinefunction(function)
    ]
    alembic.init_app(app)

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
    """Tell whether the database has every table and column the code needs.

    A revision the code does not know is a newer one: while a release rolls
    out, the old processes stay ready.
    """
    script = alembic.script_directory
    version = select(column("version_num", String)).select_from(
        table("alembic_version")
    )
    current = set(db.session.scalars(version))
    known = {revision.revision for revision in script.walk_revisions()}
    return bool(current) and not current & (known - set(script.get_heads()))


def list_items(limit: int, before: int | None = None) -> Sequence[Item]:
    """Return up to *limit* items, the newest first.

    :param before: Only items older than the one with this id.
    """
    query = select(Item).order_by(Item.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Item.id < before)
    return db.session.scalars(query).all()


def add_item(name: str) -> Item:
    item = Item(name=name)
    db.session.add(item)
    db.session.commit()
    return item


def get_item(item_id: int) -> Item | None:
    return db.session.scalar(select(Item).where(_is(item_id)))


def rename_item(item_id: int, name: str) -> Item | None:
    # one statement: a read that later wants to write could meet a lock
    query = update(Item).where(_is(item_id)).values(name=name).returning(Item)
    item = db.session.scalar(query)
    db.session.commit()
    return item


def remove_item(item_id: int) -> bool:
    query = delete(Item).where(_is(item_id)).returning(Item.id)
    removed = db.session.scalar(query)
    db.session.commit()
    return removed is not None


def _is(item_id: int) -> ColumnElement[bool]:
    # the database cannot even be asked about a larger number
    return Item.id == item_id if item_id <= MAX_ID else false()
