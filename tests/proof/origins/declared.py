"""The baked service, with views that use each argument of `@cacheable`, and controls."""

from __future__ import annotations

import collections
from typing import Any

from flask import Blueprint
from flask import request
from flask import Response
from flask import session
from flask.typing import ResponseReturnValue
from saved_items import create_app
from saved_items.nocache import cacheable
from saved_items.nocache import nocache

REASON = "a view of the proof"
# the number of runs of each view
runs: collections.Counter[str] = collections.Counter()
bp = Blueprint("declared", __name__)


def add(name: str, body: Any = None, **arguments: Any) -> None:
    """Add a public view; without a body it responds with the number of its runs."""

    def view() -> ResponseReturnValue:
        runs[name] += 1
        return body() if body else str(runs[name])

    decorate = cacheable(public=True, reason=REASON, **arguments)
    bp.add_url_rule(f"/{name}", name.removesuffix(".css"), decorate(view))


def greeting() -> str:
    return "Guten Tag" if request.headers["Accept-Language"] == "de" else "Good day"


def style() -> Response:
    return Response(":root {}", mimetype="text/css")


def respond_with_etag() -> Response:
    return Response("x", headers={"ETag": '"1"'})


add("shared-hour", max_age=0, shared_max_age=3600)
add("never", max_age=0)
add("shared-never", max_age=3600, shared_max_age=0)
add("hour", max_age=3600)
add("greeting", greeting, max_age=3600, vary=["Accept-Language"])
add("greeting-without-vary", greeting, max_age=3600)
# stale at once in browsers and after a second in shared caches, which then revalidate
add("etag", max_age=0, shared_max_age=1, etag=lambda: "1")
add("etag-by-the-view", respond_with_etag, max_age=0, shared_max_age=1)
add("immutable.css", style, max_age=3600, immutable=True)
add("mutable.css", style, max_age=3600)


@bp.get("/runs")
@nocache
def count_runs() -> ResponseReturnValue:
    return runs


@bp.get("/styled")
@nocache
def link_styles() -> str:
    links = ("immutable.css", "mutable.css")
    return "".join(f'<link rel="stylesheet" href="/{name}">' for name in links)


app = create_app()
app.register_blueprint(bp)


@app.before_request
def use_session() -> None:
    if "renewed" in request.args:
        session.permanent = True
        session["user"] = "alice"
    if "read" in request.args:
        session.get("user")
