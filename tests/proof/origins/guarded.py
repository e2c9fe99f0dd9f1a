"""The baked service, with views like those that its README adds."""

from __future__ import annotations

from flask import Blueprint
from flask import request
from flask.typing import ResponseReturnValue
from saved_items import create_app
from saved_items.nocache import cacheable
from saved_items.nocache import nocache

bp = Blueprint("more", __name__)


@bp.get("/colours.json")
@cacheable(max_age=3600, public=True, reason="the brand's colours, yearly; #412")
def colours() -> ResponseReturnValue:
    return {"colours": ["#1b5e20", "#fff8e1"]}


@bp.get("/whoami")
@nocache
def whoami() -> ResponseReturnValue:
    return {"user": request.headers.get("X-Forwarded-User")}


@bp.get("/users/<name>")
@nocache
def user(name: str) -> ResponseReturnValue:
    return {"user": request.headers.get("X-Forwarded-User")}


app = create_app()
app.register_blueprint(bp)
