from __future__ import annotations

import os
from collections.abc import Iterable
from collections.abc import Sequence
from functools import cache
from glob import glob
from typing import Any
from typing import TYPE_CHECKING

from flask import Flask
from prometheus_client import CollectorRegistry
from prometheus_client import Counter
from prometheus_client import Histogram
from prometheus_client import make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from werkzeug.exceptions import NotFound

from .nocache import overridden
from .observability import counters
from .observability import NOT_LOGGED

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

REQUESTS = Counter(
    "http_requests",
    "Requests and the status of their responses.",
    ["method", "route", "status"],
    registry=None,
)
DURATION = Histogram(
    "http_request_duration_seconds",
    "From the request's first line to the response's last byte.",
    ["method", "route"],
    registry=None,
)
OVERRIDES = Counter(
    "nocache_overrides",
    "Fields and declarations that the guard did not let out.",
    ["endpoint", "field", "reason"],
    registry=None,
)
# clients may make methods up
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Workers(Collector):
    """What all workers counted, those that ended included."""

    def collect(self) -> Iterable[Metric]:
        files = glob(os.path.join(os.environ["PROMETHEUS_MULTIPROC_DIR"], "*.db"))
        # a worker killed as it began has left an empty one, which cannot be read
        counted: Iterable[Metric] = MultiProcessCollector.merge(
            filter(os.path.getsize, files)
        )
        return counted


def init_app(app: Flask, port: int) -> None:
    """Count responses and overrides, and serve the counts.

    :param port: Where gunicorn listens for those who may see them.
    """
    counters.add(count)
    overridden.connect(count_override)
    # inside the guard, which sends its headers here as well
    serve = serve_metrics(app.wsgi_app, port)
    app.wsgi_app = serve  # type: ignore[assignment, method-assign]


def count(method: str, route: str | None, status: int, seconds: float) -> None:
    method, route = method if method in METHODS else "other", route or "none"
    requests, duration = get_children(method, route, status)
    requests.inc()
    duration.observe(seconds)


# as many as there are routes: looking one up takes longer than counting
@cache
def get_children(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(method, route, status), DURATION.labels(method, route)


def count_override(
    app: Flask, endpoint: str | None, fields: Sequence[str], reason: str
) -> None:
    for field in fields or ["none"]:
        OVERRIDES.labels(endpoint or "none", field, reason or "none").inc()


def serve_metrics(application: WSGIApplication, port: int) -> WSGIApplication:
    """Serve the metrics at a port of their own, and nothing else there."""
    registry = CollectorRegistry()
    registry.register(Workers())
    metrics: WSGIApplication = make_wsgi_app(registry)

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        # from the socket: a client or a proxy can set SERVER_PORT
        connection = environ.get("gunicorn.socket")
        if connection is None or connection.getsockname()[1:2] != (port,):
            return application(environ, start_response)
        environ[NOT_LOGGED] = True
        page = metrics if environ["PATH_INFO"] == "/metrics" else NotFound()
        return page(environ, start_response)

    return serve
