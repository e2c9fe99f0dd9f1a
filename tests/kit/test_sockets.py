"""WebSockets under gunicorn, whose workers let an app take the socket over.

What the guarded app does is compared with plain Flask on the same server.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from conftest import Bake
from conftest import clean_environ
from conftest import KIT
from conftest import ROOT

from .conversations import Conversation
from .conversations import ECHO
from .conversations import hang_up
from .conversations import SOCKETIO
from .conversations import talk
from .wsgi import assert_not_stored
from .wsgi import leaks
from .wsgi import receive
from .wsgi import WireResponse

WORKERS = ["sync", "gthread"]
# has no wheel there
if sys.platform != "darwin" or sys.version_info >= (3, 12):
    WORKERS.append("gevent")
LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
# gunicorn logs a line for each request; request bodies do not appear
ACCESS = ["--access-logfile=-", "--access-logformat=%(m)s %(U)s %(s)s"]
# path, conversation, and whether the client closes the socket
SOCKETS: list[tuple[str, Conversation, bool]] = [
    ("/echo", ECHO, True),
    ("/echo-once", ECHO[:1], False),
    ("/socket.io/?EIO=4&transport=websocket", SOCKETIO, True),
]


class Service:
    """A server in another process.

    :param port: its port on this machine.
    :param log: the file with its output.
    """

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self.log = log

    def get(self, path: str = "/") -> WireResponse:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            return receive(connection, path)
        finally:
            connection.close()

    def log_lines(self) -> list[str]:
        """Return the lines of the log that are not routine messages of gunicorn."""
        lines = self.log.read_text("utf-8").splitlines()
        return [line for line in lines if "[INFO]" not in line]


def assert_marked(response: WireResponse, kind: str) -> None:
    """Assert that a response is no-store if and only if the app is guarded."""
    if kind == "plain":
        assert leaks(response)
    else:
        assert_not_stored(response)


@contextmanager
def gunicorn(
    log: Path, *arguments: str, folder: Path = ROOT, **environ: str
) -> Iterator[Service]:
    """Serve on a free port until the block ends, and complete the log."""
    command = ["-m", "gunicorn", "--no-control-socket", "--bind=127.0.0.1:0"]
    # seconds for which one of the workers waits for its threads
    command += ["--workers=1", "--graceful-timeout=1"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, *command, *arguments],
            cwd=folder,
            env=clean_environ() | environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not (match := LISTENING.search(log.read_text("utf-8"))):
            assert server.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < deadline, log.read_text("utf-8")
            time.sleep(0.05)
        yield Service(int(match[1]), log)
        server.terminate()
        server.wait(30)
    finally:
        # the workers too
        try:
            os.killpg(server.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        server.wait()


@contextmanager
def kit_app(kind: str, worker: str, folder: Path) -> Iterator[Service]:
    """Serve one of the apps in sockets.py.

    :param kind: ``plain`` or ``guarded``.
    :param worker: a worker class of gunicorn.
    """
    path = [str(ROOT / "tests"), str(KIT.parent), os.environ.get("PYTHONPATH", "")]
    with gunicorn(
        folder / f"{kind}.log",
        f"--worker-class={worker}",
        *[*ACCESS, f"kit.sockets:{kind}"],
        PYTHONPATH=os.pathsep.join(filter(None, path)),
    ) as service:
        yield service


@pytest.mark.parametrize("worker", WORKERS)
def test_sockets_end_as_on_plain_flask(tmp_path: Path, worker: str) -> None:
    log_lines = {}
    for kind in "plain", "guarded":
        with kit_app(kind, worker, tmp_path) as service:
            for path, conversation, closes in SOCKETS:
                data = talk(service.port, path, conversation, closes=closes)
                assert data == b"", f"{kind}, {path}"
            # the second request has no upgrade
            for path, status in ("/", 200), ("/echo", 400):
                response = service.get(path)
                assert response.status == status
                assert_marked(response, kind)
            # clients that vanish
            for path, conversation, closes in SOCKETS:
                if closes:
                    hang_up(service.port, path, conversation)
            assert_marked(service.get(), kind)
        log_lines[kind] = service.log_lines()
    requests = ["GET / 200", "GET /echo 400", "GET / 200"]
    assert log_lines["guarded"] == log_lines["plain"] == requests


# a socket in a service


ADDED = """
from flask_sock import Sock

sock = Sock(app)


@sock.route("/echo")
def echo(socket):
    while True:
        socket.send(socket.receive())
"""
# an ApiBlueprint needs a NoCacheFlask, and middleware keeps the wsgi_app of the new app
UNGUARDED = """
from flask import Flask

for name in "__call__", "wsgi_app":
    setattr(create_app.__globals__["NoCacheFlask"], name, getattr(Flask, name))
"""
MAKE = "app = create_app()\n"


@pytest.mark.parametrize("worker", WORKERS)
def test_socket_of_a_service_closes_as_on_plain_flask(
    bake: Bake, tmp_path: Path, worker: str
) -> None:
    project = bake()
    wsgi = project.path / "wsgi.py"
    guarded = wsgi.read_text("utf-8") + ADDED
    plain = guarded.replace(MAKE, UNGUARDED + MAKE)
    log_lines = {}
    for kind, source in ("plain", plain), ("guarded", guarded):
        wsgi.write_text(source, "utf-8")
        with gunicorn(
            tmp_path / f"{kind}.log",
            f"--worker-class={worker}",
            folder=project.path,
            FLASK_SECRET_KEY=secrets.token_hex(),
        ) as service:
            assert talk(service.port, "/echo", ECHO, closes=True) == b"", kind
            response = service.get("/no-such-page")
            assert response.status == 404
            assert_marked(response, kind)
        lines = [
            json.loads(line) for line in service.log.read_text("utf-8").splitlines()
        ]
        log_lines[kind] = [
            (line["level"], line.get("traceback"), line.get("status"))
            for line in lines
            if (line["logger"], line["level"]) != ("gunicorn.error", "INFO")
        ]
    assert log_lines["guarded"] == log_lines["plain"] == [("INFO", None, 404)]
