from __future__ import annotations

import logging
import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from contextvars import ContextVar
from random import getrandbits
from time import perf_counter
from typing import Any
from typing import TYPE_CHECKING

from blinker import signal
from flask import Flask
from flask import g
from flask import request
from flask import Response
from flask.logging import default_handler

from .nocache import overridden
from .nocache import routes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

logger = logging.getLogger(__name__)
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
# functions that count a response: called with its method, route, status and seconds
counters: set[Callable[[str, str | None, int, float], None]] = set()

# anything else is of any length, and no proxy made it
REQUEST_ID = re.compile(r"[\w.+/=-]{1,128}", re.ASCII)
# keys of the WSGI environ, read when the response has been sent
ROUTE = "observability.route"
NOT_LOGGED = "observability.not_logged"
READABLE = "%(asctime)s %(levelname)s %(message)s [%(request_id)s]"


class Record(logging.LogRecord):
    """A log record that knows during which request it was written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if current := request_id.get():
            self.request_id = current


def init_app(app: Flask) -> None:
    """Log each response under the name of its request."""
    logging.setLogRecordFactory(Record)
    app.wsgi_app = RequestId(app.wsgi_app)  # type: ignore[method-assign]
    app.before_request(note_route)
    overridden.connect(report_override)
    # gunicorn.conf.py sends these once a response is out
    signal("response-sent").connect(report_response)
    signal("request-over").connect(forget_request)
    if app.debug and not logging.getLogger().handlers:
        log_readably(app)


class RequestId:
    """WSGI middleware that takes or makes the request's id and sends it back."""

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self.wsgi_app = wsgi_app

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        id = environ.get("HTTP_X_REQUEST_ID", "")
        if not REQUEST_ID.fullmatch(id):
            id = f"{getrandbits(128):032x}"
        request_id.set(id)

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            others = [pair for pair in headers if pair[0] != "X-Request-ID"]
            return start_response(status, [*others, ("X-Request-ID", id)], *exc_info)

        return self.wsgi_app(environ, start)


def note_route() -> None:
    rule = request.url_rule
    request.environ[ROUTE] = rule.rule if rule else None


def forget_request(sender: object) -> None:
    # what the worker logs between two requests belongs to neither
    request_id.set(None)


def report_response(
    environ: Mapping[str, Any],
    status: str,
    headers: Iterable[tuple[str, str]],
    seconds: float,
) -> None:
    """Log and count a response.

    :param environ: The request, without a route if it never reached Flask.
    :param status: As sent.
    :param headers: As sent, so after the guard.
    :param seconds: From the request's first line to the response's last byte.
    """
    if NOT_LOGGED in environ:
        return
    caching = [value for name, value in headers if name.lower() == "cache-control"]
    policy = ", ".join(caching)
    method, route, code = environ["REQUEST_METHOD"], environ.get(ROUTE), int(status[:3])
    for count in counters:
        count(method, route, code, seconds)
    log_response(
        method, route, code, "no-store" if "no-store" in policy else policy, seconds
    )


def log_response(
    method: str, route: str | None, status: int, policy: str, seconds: float
) -> None:
    facts = {
        "method": method,
        # the rule, of which there are few; of paths there is no end
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1000, 1),
        "cache_policy": policy or None,
    }
    values = [fact or "-" for fact in facts.values()]
    logger.info("%s %s %s, %s ms, %s", *values, extra=facts)


def report_override(
    app: Flask, endpoint: str | None, fields: Sequence[str], reason: str
) -> None:
    """Log what a view or a hook had set or declared and the guard did not let out.

    :param endpoint: Whose response it was, None if no route matched.
    :param fields: The names of the fields.
    :param reason: Why a declared response left as no-store, empty if it was not declared.
    """
    facts = {
        "endpoint": endpoint,
        "fields": fields,
        "reason": reason or None,
    }
    # no declaration covers another method or status, such as a view's 404
    usual = not fields and reason.startswith(("method ", "status "))
    logger.log(
        logging.INFO if usual else logging.WARNING,
        "The guard overrode %s of %s%s.",
        ", ".join(fields) or "the declaration",
        endpoint,
        f": {reason}" if reason else "",
        extra=facts,
    )


def log_readably(app: Flask) -> None:
    """Log for people; the development server's own line for each request gives way."""
    formatter = logging.Formatter(READABLE, defaults={"request_id": "-"})
    default_handler.setFormatter(formatter)
    app.logger.addHandler(default_handler)
    logging.getLogger("werkzeug").addFilter(
        lambda record: not record.msg.endswith('"%s" %s %s')
    )

    @app.before_request
    def start() -> None:
        g.started = perf_counter()

    @app.after_request
    def keep_status(response: Response) -> Response:
        g.status = response.status_code
        return response

    @app.teardown_request
    def log(error: BaseException | None) -> None:
        if "started" in g:
            policies = {route.endpoint: route.policy for route in routes(app)}
            log_response(
                request.method,
                request.environ[ROUTE],
                g.get("status", 500),
                # as declared: only the server knows what was sent
                policies.get(request.endpoint or "", "no-store"),
                perf_counter() - g.started,
            )
