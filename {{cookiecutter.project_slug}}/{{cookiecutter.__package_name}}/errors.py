from __future__ import annotations

import re
from collections.abc import Mapping

from flask import current_app
from flask import Flask
from flask import json
from flask import render_template
from flask import request
from sqlalchemy.exc import InterfaceError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import SecurityError
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.sansio.response import Response

from .config import API_PREFIX

# as SQLite and PostgreSQL say it
NOT_MIGRATED = re.compile(r"no such (table|column)|(relation|column) .+ does not exist")


class InvalidInput(HTTPException):
    """A request that is wrong in the named fields.

    :param code: The HTTP status.
    :param fields: What is wrong, by field.
    """

    def __init__(self, code: int, fields: Mapping[str, str]) -> None:
        super().__init__("The request is not valid: see errors.")
        self.code = code
        self.fields = fields


def init_app(app: Flask) -> None:
    """Show errors as problems (RFC 9457) in the API, as pages elsewhere."""
    app.register_error_handler(HTTPException, show_error)
    # locked, gone, out of connections, or not migrated yet
    for error in (OperationalError, InterfaceError, ProgrammingError, PoolTimeoutError):
        app.register_error_handler(error, show_database_error)


def show_error(error: HTTPException) -> Response:
    # the exception's own response has its headers: Allow, Retry-After, ...
    response = error.get_response()
    if error.response is not None:
        return response
    if is_api_request():
        response.content_type = "application/problem+json"
        response.set_data(json.dumps(as_problem(error)))
    # no link can be made for a host that is not trusted
    elif not isinstance(error, SecurityError):
        response.set_data(render_template("error.html", error=error))
    return response


def show_database_error(error: SQLAlchemyError) -> Response:
    reason = str(getattr(error, "orig", error)).partition("\n")[0]
    if NOT_MIGRATED.search(reason):
        reason += "; is it migrated? flask db upgrade"
    elif isinstance(error, ProgrammingError):
        raise error
    current_app.logger.error("The database cannot be used: %s", reason)
    return show_error(ServiceUnavailable("The database cannot be used.", retry_after=5))


def as_problem(error: HTTPException) -> dict[str, object]:
    problem: dict[str, object] = {
        "type": "about:blank",
        "title": error.name,
        "status": error.code,
        "detail": error.description,
    }
    if isinstance(error, InvalidInput):
        problem["errors"] = [
            {"field": field, "detail": detail} for field, detail in error.fields.items()
        ]
    return problem


def is_api_request() -> bool:
    return f"{request.path}/".startswith(f"{API_PREFIX}/")
