from __future__ import annotations

import json
import unicodedata
from typing import Annotated
from typing import TypeVar

from flask import request
from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import StringConstraints
from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from werkzeug.exceptions import RequestEntityTooLarge

from .errors import InvalidInput

M = TypeVar("M", bound=BaseModel)


def one_visible_line(text: str) -> str:
    categories = {unicodedata.category(character) for character in text}
    if categories & {"Cc", "Cs", "Zl", "Zp"} or categories <= {"Cf"}:
        raise PydanticCustomError("line", "Must be one line of visible characters")
    return text


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(one_visible_line),
]


def read_json(model: type[M]) -> M:
    """Return the request's JSON body as *model*, or refuse it by field."""
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if not request.is_json or charset != "utf-8":
        raise InvalidInput(415, {"Content-Type": "Must be application/json in UTF-8."})
    body = _read_body()
    try:
        # pydantic parses it, and so limits its depth and refuses bad Unicode
        result = model.model_validate_json(body)
    except ValidationError as error:
        malformed = error.errors()[0]["type"] == "json_invalid"
        raise _invalid(400 if malformed else 422, error) from None
    json.loads(body, object_pairs_hook=_refuse_repeats)
    return result


def read_query(model: type[M]) -> M:
    """Return the query string as *model*, or refuse it by argument."""
    args = request.args.to_dict(flat=False)
    for name, values in args.items():
        if len(values) > 1:
            raise InvalidInput(400, {name: "Given more than once."})
    try:
        return model.model_validate({name: values[0] for name, values in args.items()})
    except ValidationError as error:
        raise _invalid(400, error) from None


def _read_body() -> bytes:
    limit = request.max_content_length or 0
    try:
        body = request.get_data()
    except RequestEntityTooLarge:
        raise _too_large(limit) from None
    except Exception as error:
        # each server has its own exceptions for a body that breaks off
        raise InvalidInput(400, {"body": "Could not be read to its end."}) from error
    # a chunked body is cut at the limit without a word
    if request.content_length is None and len(body) >= limit:
        raise _too_large(limit)
    return body


def _refuse_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    # parsers disagree on which of two equal keys counts
    if len(fields) < len(pairs):
        raise InvalidInput(400, {"body": "Names a field more than once."})
    return fields


def _too_large(limit: int) -> InvalidInput:
    return InvalidInput(413, {"body": f"Must be smaller than {limit} bytes."})


def _invalid(status: int, error: ValidationError) -> InvalidInput:
    fields: dict[str, str] = {}
    # a body of nothing but mistakes must not make a huge response
    for problem in error.errors(include_url=False)[:20]:
        field = ".".join(map(str, problem["loc"])) or "body"
        fields.setdefault(field, f"{problem['msg']}.")
    return InvalidInput(status, fields)
