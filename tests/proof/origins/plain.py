"""The controls: the same API in plain Flask, with the ETags of the story.

CONTROL=article applies the story's decorator to the list, and to nothing else.
CONTROL=dated sends Last-Modified, from which browsers compute a heuristic freshness.
CONTROL=no-cache sends Cache-Control: no-cache.
CONTROL=open takes JSON of any media type from any origin.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from datetime import datetime
from datetime import timedelta
from datetime import UTC
from typing import Any

from flask import abort
from flask import Flask
from flask import make_response
from flask import request
from flask import Response
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

CONTROL = os.environ.get("CONTROL")
PAGE = """<!doctype html>
<title>Saved Items</title>
<select id="saved-items"></select>
<form id="save-form"><input name="name"><button>Save</button></form>
<script>
const list = document.querySelector("#saved-items");
const form = document.querySelector("#save-form");
async function load() {
  const { items } = await (await fetch("/api/items")).json();
  list.replaceChildren(...items.map((item) => new Option(item.name, item.id)));
}
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ name: form.elements.name.value });
  const headers = { "Content-Type": "application/json" };
  await fetch("/api/save", { method: "POST", headers, body });
  await load();
});
load();
</script>
"""

app = Flask(__name__)
items: dict[int, str] = {}
ids = itertools.count(1)


def nocache(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def no_cache(*args: Any, **kwargs: Any) -> Response:
        response = make_response(view(*args, **kwargs))
        response.headers["Last-Modified"] = str(datetime.now())
        response.headers["Cache-Control"] = (
            "no-store, no-cache, must-revalidate, post-check=0, pre-check=0, max-age=0"
        )
        response.headers["Pragma"] = "no-cache"
        response.headers["Expires"] = "-1"
        return response

    return no_cache


@app.after_request
def add_etag(response: Response) -> Response:
    if request.method in {"GET", "HEAD"} and not response.direct_passthrough:
        response.add_etag()
        if CONTROL == "dated":
            response.last_modified = datetime.now(UTC) - timedelta(days=30)
        if CONTROL == "no-cache":
            response.headers["Cache-Control"] = "no-cache"
        response.make_conditional(request.environ)
    return response


@app.after_request
def open_up(response: Response) -> Response:
    if CONTROL == "open":
        allowed = (request.headers.get("Origin", "*"), "true", "Content-Type", "DELETE")
        names = ("Origin", "Credentials", "Headers", "Methods")
        for name, value in zip(names, allowed, strict=True):
            response.headers[f"Access-Control-Allow-{name}"] = value
    return response


def list_items() -> ResponseReturnValue:
    if "limit" in request.args and not request.args["limit"].isdigit():
        raise BadRequest("limit")
    newest = sorted(items, reverse=True)[: int(request.args.get("limit", 50))]
    return {"items": [{"id": id, "name": items[id]} for id in newest]}


if CONTROL == "article":
    list_items = nocache(list_items)

app.get("/api/items")(list_items)


@app.post("/api/items")
@app.post("/api/save")
def create_item() -> ResponseReturnValue:
    id = next(ids)
    items[id] = request.get_json(force=CONTROL == "open")["name"]
    return {"id": id, "name": items[id]}, 201


@app.get("/api/items/<int:id>")
def get_item(id: int) -> ResponseReturnValue:
    return {"id": id, "name": items[id]} if id in items else abort(404)


@app.delete("/api/items/<int:id>")
def delete_item(id: int) -> ResponseReturnValue:
    items.pop(id, None)
    return "", 204


@app.get("/")
def index() -> ResponseReturnValue:
    return PAGE


@app.get("/healthz")
def healthz() -> ResponseReturnValue:
    return {"status": "ok"}


@app.get("/whoami")
def whoami() -> ResponseReturnValue:
    return {"user": request.headers.get("X-Forwarded-User")}
