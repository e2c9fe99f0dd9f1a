from __future__ import annotations

import os
from collections.abc import Iterable
from collections.abc import Sequence
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
from .observability import UNSEEN

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

REQUESTS = Counter(
    "http_requests",
    "Requests answered.",
    ["method", "route", "status"],
    registry=None,
)
DURATION = Histogram(
    "http_request_duration_seconds",
    "From the request's first line to the answer's last byte.",
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
    """Count answers and overrides, and show the counts.

    :param port: Where gunicorn listens for those who may see them.
    """
    counters.add(count)
    overridden.connect(count_override)
    # inside the guard, which sends its headers here as well
    shown = show(app.wsgi_app, port)
    app.wsgi_app = shown  # type: ignore[assignment, method-assign]


def count(method: str, route: str | None, status: int, seconds: float) -> None:
    method, route = method if method in METHODS else "other", route or "none"
    REQUESTS.labels(method, route, status).inc()
    DURATION.labels(method, route).observe(seconds)


def count_override(
    app: Flask, endpoint: str | None, fields: Sequence[str], reason: str
) -> None:
    for field in fields or ["none"]:
        OVERRIDES.labels(endpoint or "none", field, reason or "none").inc()


def show(application: WSGIApplication, port: int) -> WSGIApplication:
    """Answer what arrives at a port with the metrics, and nothing else anywhere."""
    registry = CollectorRegistry()
    registry.register(Workers())
    metrics: WSGIApplication = make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        # asked of the socket: SERVER_PORT can be what a client or a proxy says
        connection = environ.get("gunicorn.socket")
        if connection is None or connection.getsockname()[1:2] != (port,):
            return application(environ, start_response)
        environ[UNSEEN] = True
        shown = metrics if environ["PATH_INFO"] == "/metrics" else NotFound()
        return shown(environ, start_response)

    return answer
