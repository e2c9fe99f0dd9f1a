"""WebSockets under gunicorn, whose workers let an app take the socket over.

What the guarded app does is held against what plain Flask does on the same server.
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
from .wsgi import Answer
from .wsgi import assert_not_stored
from .wsgi import fetch
from .wsgi import leaks

WORKERS = ["sync", "gthread", "gevent"]
LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
# a line for each request that gunicorn responds to; bodies of requests have no part in it
ACCESS = ["--access-logfile=-", "--access-logformat=%(m)s %(U)s %(s)s"]
# path, what is said, and whether the client closes it
SOCKETS: list[tuple[str, Conversation, bool]] = [
    ("/echo", ECHO, True),
    ("/echo-once", ECHO[:1], False),
    ("/socket.io/?EIO=4&transport=websocket", SOCKETIO, True),
]


class Service:
    """A server in another process.

    :param port: where it listens on this machine.
    :param log: the file that holds all it prints.
    """

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self.log = log

    def get(self, path: str = "/") -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            return fetch(connection, path)
        finally:
            connection.close()

    def printed(self) -> list[str]:
        """Return what is no plain news of gunicorn's own."""
        lines = self.log.read_text("utf-8").splitlines()
        return [line for line in lines if "[INFO]" not in line]


def assert_marked(got: Answer, kind: str) -> None:
    """Assert that a response is no-store if the app is guarded, and else is not."""
    if kind == "plain":
        assert leaks(got)
    else:
        assert_not_stored(got)


@contextmanager
def gunicorn(
    log: Path, *arguments: str, folder: Path = ROOT, **environ: str
) -> Iterator[Service]:
    """Serve on a free port until the block ends, by when all is logged."""
    command = ["-m", "gunicorn", "--no-control-socket", "--bind=127.0.0.1:0"]
    # how long one of the workers may wait for a thread that is done
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
        while not (found := LISTENING.search(log.read_text("utf-8"))):
            assert server.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < deadline, log.read_text("utf-8")
            time.sleep(0.05)
        yield Service(int(found[1]), log)
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
    printed = {}
    for kind in "plain", "guarded":
        with kit_app(kind, worker, tmp_path) as service:
            for path, conversation, closes in SOCKETS:
                sent = talk(service.port, path, conversation, closes=closes)
                assert sent == b"", f"{kind}, {path}"
            # the second asks for a socket without an upgrade
            for path, status in ("/", 200), ("/echo", 400):
                got = service.get(path)
                assert got.status == status
                assert_marked(got, kind)
            # of clients that are lost
            for path, conversation, closes in SOCKETS:
                if closes:
                    hang_up(service.port, path, conversation)
            assert_marked(service.get(), kind)
        printed[kind] = service.printed()
    requests = ["GET / 200", "GET /echo 400", "GET / 200"]
    assert printed["guarded"] == printed["plain"] == requests


# a socket in a service


ADDED = """
from flask_sock import Sock

sock = Sock(app)


@sock.route("/echo")
def echo(socket):
    while True:
        socket.send(socket.receive())
"""
# an ApiBlueprint is registered on no other app than a NoCacheFlask
UNGUARDED = """
from flask import Flask

for name in "__call__", "wsgi_app":
    setattr(type(app), name, getattr(Flask, name))
"""


@pytest.mark.parametrize("worker", WORKERS)
def test_socket_of_a_service_closes_as_on_plain_flask(
    bake: Bake, tmp_path: Path, worker: str
) -> None:
    project = bake()
    wsgi = project.path / "wsgi.py"
    guarded = wsgi.read_text("utf-8") + ADDED
    printed = {}
    for kind, source in ("plain", guarded + UNGUARDED), ("guarded", guarded):
        wsgi.write_text(source, "utf-8")
        with gunicorn(
            tmp_path / f"{kind}.log",
            f"--worker-class={worker}",
            folder=project.path,
            FLASK_SECRET_KEY=secrets.token_hex(),
        ) as service:
            assert talk(service.port, "/echo", ECHO, closes=True) == b"", kind
            got = service.get("/no-such-page")
            assert got.status == 404
            assert_marked(got, kind)
        lines = [
            json.loads(line) for line in service.log.read_text("utf-8").splitlines()
        ]
        printed[kind] = [
            (line["level"], line.get("traceback"), line.get("status"))
            for line in lines
            if (line["logger"], line["level"]) != ("gunicorn.error", "INFO")
        ]
    assert printed["guarded"] == printed["plain"] == [("INFO", None, 404)]
