from __future__ import annotations

from flask import url_for
from flask.typing import ResponseReturnValue
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from werkzeug.exceptions import NotFound

from . import storage
from .inputs import Line
from .inputs import read_json
from .inputs import read_query
from .nocache import ApiBlueprint

bp = ApiBlueprint("api", __name__)


class ItemInput(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Line


class PageInput(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=100)
    before: int = Field(storage.MAX_ID, ge=1, le=storage.MAX_ID)


@bp.get("/items")
def list_items() -> ResponseReturnValue:
    page = read_query(PageInput)
    # one more than the page holds shows whether there is a next page
    rows = storage.list_items(page.limit + 1, page.before)
    items = rows[: page.limit]
    following = None
    if len(rows) > page.limit:
        following = url_for(".list_items", limit=page.limit, before=items[-1].id)
    return {"items": [as_json(item) for item in items], "next": following}


@bp.post("/items")
def create_item() -> ResponseReturnValue:
    item = storage.add_item(read_json(ItemInput).name)
    location = url_for(".get_item", item_id=item.id)
    return as_json(item), 201, {"Location": location}


@bp.get("/items/<int:item_id>")
def get_item(item_id: int) -> ResponseReturnValue:
    return as_json(get_or_404(storage.get_item(item_id)))


@bp.put("/items/<int:item_id>")
def rename_item(item_id: int) -> ResponseReturnValue:
    name = read_json(ItemInput).name
    return as_json(get_or_404(storage.rename_item(item_id, name)))


@bp.delete("/items/<int:item_id>")
def delete_item(item_id: int) -> ResponseReturnValue:
    if not storage.remove_item(item_id):
        raise NotFound("There is no such item.")
    return "", 204


def get_or_404(item: storage.ItemRow | None) -> storage.ItemRow:
    if item is None:
        raise NotFound("There is no such item.")
    return item


def as_json(item: storage.ItemRow) -> dict[str, object]:
    created_at = storage.in_utc(item.created_at)
    return {
        "id": item.id,
        "name": item.name,
        "created_at": created_at.isoformat(timespec="milliseconds"),
    }
