from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import tempfile
from datetime import timedelta
from ipaddress import IPv6Address
from typing import Any

from blinker import signal
from gunicorn.glogging import Logger

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# the environment outlives a reload of this file
OWN_FOLDER = "GUNICORN_METRICS_FOLDER"


def read_number(name: str, default: int, highest: int) -> int:
    value = os.environ.get(name) or str(default)
    if not (value.isascii() and value.isdecimal() and 0 < int(value) <= highest):
        sys.exit(f"error: {name} must be a number from 1 to {highest}, not {value!r}.")
    return int(value)


def format_address(port: int) -> str:
    host = os.environ.get("HOST") or "127.0.0.1"
    if ":" not in host:
        return f"{host}:{port}"
    try:
        return f"[{IPv6Address(host)}]:{port}"
    except ValueError:
        sys.exit(f"error: HOST must be an address without a port, not {host!r}.")


wsgi_app = "wsgi:app"
# loopback by default: HOST=0.0.0.0 opens it to a network
bind = [format_address(read_number("PORT", 8000, 65535))]
workers = read_number("WEB_CONCURRENCY", 2, 1000)
# loaded once, before gunicorn listens, so that no request waits for it
preload_app = True
# FLASK_TRUSTED_PROXIES alone says which proxies are believed
forwarded_allow_ips = ""
# a management socket in the home folder is nothing this service needs
control_socket_disable = True

if os.environ.get("METRICS_PORT"):
    bind.append(format_address(read_number("METRICS_PORT", 0, 65535)))
    if bind[0] == bind[1]:
        sys.exit(f"error: METRICS_PORT must differ from PORT, both are {bind[0]!r}.")
    # where the workers keep their counts; still set when gunicorn reloads this file
    if METRICS_FOLDER not in os.environ:
        os.environ[OWN_FOLDER] = tempfile.mkdtemp(prefix="gunicorn-metrics-")
        os.environ[METRICS_FOLDER] = os.environ[OWN_FOLDER]
    if not os.path.isdir(os.environ[METRICS_FOLDER]):
        sys.exit(
            f"error: {METRICS_FOLDER} must be a folder, not {os.environ[METRICS_FOLDER]!r}."
        )


def when_ready(server: Any) -> None:
    # workers share the loaded objects until a collection touches them: exempt them from it
    gc.freeze()


def child_exit(server: Any, worker: Any) -> None:
    if METRICS_FOLDER in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    if OWN_FOLDER in os.environ:
        shutil.rmtree(os.environ[OWN_FOLDER])


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    signal("request-over").send()


class AccessLogger(Logger):
    """Leave the access line to the service, which knows the route."""

    def access(
        self, resp: Any, req: Any, environ: Any, request_time: timedelta
    ) -> None:
        signal("response-sent").send(
            environ,
            status=resp.status,
            headers=resp.headers,
            seconds=request_time.total_seconds(),
        )


def remove_query(record: logging.LogRecord) -> bool:
    """Take the query string out of what gunicorn says about a bad request."""
    record.msg, record.args = record.getMessage().partition("?")[0], ()
    return True


logger_class = AccessLogger
# the log shows no thread or process, and each record would look them up
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
logging.captureWarnings(True)
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": ["levelname", "name", "message"],
            "rename_fields": {
                "levelname": "level",
                "name": "logger",
                "exc_info": "traceback",
            },
            "timestamp": True,
        }
    },
    "filters": {"remove_query": {"()": lambda: remove_query}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {
        "alembic": {"level": "WARNING"},
        "gunicorn.error": {"propagate": True, "filters": ["remove_query"]},
    },
}
