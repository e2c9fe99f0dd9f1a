"""The baked service, with the recipes of docs/how-to.md and docs/adopting.md.

The queries of /sign-out and /deployed choose the parts of a recipe; the control has
fewer of them.
"""

from __future__ import annotations

import secrets
import time

from flask import Blueprint
from flask import flash
from flask import redirect
from flask import request
from flask import Response
from flask import session
from flask import url_for
from flask.typing import ResponseReturnValue
from saved_items import create_app
from saved_items.nocache import cacheable
from saved_items.nocache import nocache

CLEAR = "Clear-Site-Data"
bp = Blueprint("accounts", __name__)
# the open sessions; the end of one does not change its cookie
sessions: set[str] = set()
# the path whose response clears the browser's cache, once deployed
clearing: set[str] = set()


@bp.get("/sign-in")
@nocache
def sign_in() -> ResponseReturnValue:
    session["id"] = secrets.token_hex()
    sessions.add(session["id"])
    return redirect(url_for(".account"))


@bp.get("/account")
@nocache
def account() -> ResponseReturnValue:
    signed_in = session.get("id") in sessions
    return f"<title>signed {'in' if signed_in else 'out'}</title>"


@bp.get("/orders")
@cacheable(max_age=31536000, reason="copies from before, fresh for a year")
def orders() -> ResponseReturnValue:
    return str(time.monotonic_ns())


@bp.post("/sign-out")
@nocache
def sign_out() -> ResponseReturnValue:
    sessions.discard(session.get("id", ""))
    response = redirect(url_for(".goodbye"), 303)
    if "cookie" in request.args:
        session.clear()
    if request.args.get("cookie") == "changed":
        flash("You are signed out.")
    if "clear" in request.args:
        response.headers[CLEAR] = request.args["clear"]
    return response


@bp.get("/goodbye")
@nocache
def goodbye() -> ResponseReturnValue:
    return "<title>goodbye</title>"


@bp.get("/clear")
@nocache
def clear() -> ResponseReturnValue:
    return "", 204, {CLEAR: '"cache"'}


@bp.post("/deployed")
@nocache
def deploy() -> ResponseReturnValue:
    clearing.clear()
    clearing.update(request.args.getlist("clearing"))
    return ""


app = create_app()
app.register_blueprint(bp)


@app.after_request
def clear_old_copies(response: Response) -> Response:
    if request.path in clearing and "cleared" not in request.cookies:
        response.headers[CLEAR] = '"cache"'
        response.set_cookie("cleared", "1", secure=True, httponly=True, samesite="Lax")
    return response
