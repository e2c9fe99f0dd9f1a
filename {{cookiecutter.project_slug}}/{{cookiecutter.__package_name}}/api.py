from __future__ import annotations

import unicodedata
from typing import Annotated

from flask import url_for
from flask.typing import ResponseReturnValue
from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import StringConstraints
from pydantic_core import PydanticCustomError
from werkzeug.exceptions import NotFound

from . import storage
from .inputs import read_json
from .inputs import read_query
from .nocache import ApiBlueprint

bp = ApiBlueprint("api", __name__)


def one_visible_line(text: str) -> str:
    categories = {unicodedata.category(character) for character in text}
    if categories & {"Cc", "Cs", "Zl", "Zp"} or categories <= {"Cf"}:
        raise PydanticCustomError("line", "Must be one line of visible characters")
    return text


class ItemInput(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
        AfterValidator(one_visible_line),
    ]


class PageInput(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=100)
    before: int | None = Field(None, ge=1, le=storage.MAX_ID)


@bp.get("/items")
def list_items() -> ResponseReturnValue:
    page = read_query(PageInput)
    # one more than asked for tells whether there is a next page
    rows = storage.list_items(page.limit + 1, page.before)
    items = rows[: page.limit]
    following = None
    if len(rows) > page.limit:
        following = url_for(".list_items", limit=page.limit, before=items[-1].id)
    return {"items": [item.as_dict() for item in items], "next": following}


@bp.post("/items")
def create_item() -> ResponseReturnValue:
    item = storage.add_item(read_json(ItemInput).name)
    location = url_for(".get_item", item_id=item.id)
    return item.as_dict(), 201, {"Location": location}


@bp.get("/items/<int:item_id>")
def get_item(item_id: int) -> ResponseReturnValue:
    return found(storage.get_item(item_id)).as_dict()


@bp.put("/items/<int:item_id>")
def rename_item(item_id: int) -> ResponseReturnValue:
    name = read_json(ItemInput).name
    return found(storage.rename_item(item_id, name)).as_dict()


@bp.delete("/items/<int:item_id>")
def delete_item(item_id: int) -> ResponseReturnValue:
    if not storage.remove_item(item_id):
        raise NotFound("There is no such item.")
    return "", 204


def found(item: storage.Item | None) -> storage.Item:
    if item is None:
        raise NotFound("There is no such item.")
    return item
