from __future__ import annotations

from flask import Blueprint
from flask import current_app
from flask import render_template
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from . import storage
from .nocache import nocache

bp = Blueprint("pages", __name__)


@bp.get("/")
@nocache
def index() -> ResponseReturnValue:
    return render_template("index.html")


@bp.get("/healthz")
@nocache
def healthz() -> ResponseReturnValue:
    """Say that the process is alive; the database does not matter."""
    return {"status": "ok"}


@bp.get("/readyz")
@nocache
def readyz() -> ResponseReturnValue:
    """Say whether requests can be served: the database is reachable and migrated."""
    try:
        if storage.is_migrated():
            return {"status": "ok"}
        reason = "The database is not migrated."
    except SQLAlchemyError as error:
        current_app.logger.error("Not ready: %s", getattr(error, "orig", error))
        reason = "The database cannot be reached."
    return {"status": "unavailable", "reason": reason}, 503
