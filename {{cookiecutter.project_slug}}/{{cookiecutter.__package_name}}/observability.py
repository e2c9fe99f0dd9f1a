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

from blinker import signal
from flask import Flask
from flask import g
from flask import request
from flask import Response
from flask.logging import default_handler

from .nocache import overridden
from .nocache import routes

logger = logging.getLogger(__name__)
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
# what counts the answers as well: method, route, status and seconds
counters: set[Callable[[str, str | None, int, float], None]] = set()

# anything else is of any length, and no proxy made it
REQUEST_ID = re.compile(r"[\w.+/=-]{1,128}", re.ASCII)
# what the server finds in a request that has left the app
ROUTE = "observability.route"
UNSEEN = "observability.unseen"
READABLE = "%(asctime)s %(levelname)s %(message)s [%(request_id)s]"


class Record(logging.LogRecord):
    """A log record that knows during which request it was written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if known := request_id.get():
            self.request_id = known


def init_app(app: Flask) -> None:
    """Log each response under the name of its request."""
    logging.setLogRecordFactory(Record)
    app.before_request(name_request)
    app.after_request(send_request_id)
    overridden.connect(report_override)
    # gunicorn.conf.py sends these once an answer is out
    signal("answered").connect(report)
    signal("request-over").connect(forget_request)
    if app.debug and not logging.getLogger().handlers:
        log_readably(app)


def name_request() -> None:
    environ, rule = request.environ, request.url_rule
    given = environ.get("HTTP_X_REQUEST_ID", "")
    request_id.set(given if REQUEST_ID.fullmatch(given) else f"{getrandbits(128):032x}")
    environ[ROUTE] = rule.rule if rule else None


def send_request_id(response: Response) -> Response:
    response.headers["X-Request-ID"] = request_id.get() or ""
    return response


def forget_request(sender: object) -> None:
    # what the worker logs between two requests belongs to neither
    request_id.set(None)


def report(
    environ: Mapping[str, Any],
    status: str,
    headers: Iterable[tuple[str, str]],
    seconds: float,
) -> None:
    """Log and count an answer.

    :param environ: The request, without a route if it never reached Flask.
    :param status: As sent.
    :param headers: As sent, so that the guard has been at them.
    :param seconds: From the request's first line to the answer's last byte.
    """
    if UNSEEN in environ:
        return
    caching = [value for name, value in headers if name.lower() == "cache-control"]
    policy = ", ".join(caching)
    log_answer(
        environ["REQUEST_METHOD"],
        environ.get(ROUTE),
        int(status[:3]),
        "no-store" if "no-store" in policy else policy,
        seconds,
    )


def log_answer(
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
    for count in counters:
        count(method, route, status, seconds)
    told = [fact or "-" for fact in facts.values()]
    logger.info("%s %s %s, %s ms, %s", *told, extra=facts)


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
    told = ", ".join(fields) or "the declaration"
    # what no declaration is about, as a 404 of the view, is no surprise
    usual = not fields and reason.startswith(("method ", "status "))
    logger.log(
        logging.INFO if usual else logging.WARNING,
        "The guard overrode %s of %s%s.",
        told,
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
    def note(response: Response) -> Response:
        g.status = response.status_code
        return response

    @app.teardown_request
    def tell(error: BaseException | None) -> None:
        if "started" in g:
            policies = {route.endpoint: route.policy for route in routes(app)}
            log_answer(
                request.method,
                request.environ[ROUTE],
                g.get("status", 500),
                # as declared: what leaves is known outside of the app only
                policies.get(request.endpoint or "", "no-store"),
                perf_counter() - g.started,
            )
