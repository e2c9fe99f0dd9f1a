"""WebSockets under gunicorn, whose workers let an app take the socket over.

What the guarded app does is held against what plain Flask does on the same server.
"""

from __future__ import annotations

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

from .wsgi import Answer
from .wsgi import assert_not_stored
from .wsgi import Conversation
from .wsgi import ECHO
from .wsgi import fetch
from .wsgi import hang_up
from .wsgi import leaks
from .wsgi import SOCKETIO
from .wsgi import talk

WORKERS = ["sync", "gthread", "gevent"]
LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
# a line for each request that gunicorn responds to; bodies of requests have no part in it
ACCESS = ["--access-logfile=-", "--access-logformat=%(m)s %(U)s %(s)s"]


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


@contextmanager
def gunicorn(
    log: Path, *arguments: str, folder: Path = ROOT, **environ: str
) -> Iterator[Service]:
    """Serve on a free port until the block ends, by when all is logged."""
    command = ["-m", "gunicorn", "--no-control-socket", "--bind=127.0.0.1:0"]
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
        server.wait(40)
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
    threads = ["--threads=2"] if worker == "gthread" else []
    with gunicorn(
        folder / f"{kind}.log",
        f"--worker-class={worker}",
        *[*threads, *ACCESS, f"kit.sockets:{kind}"],
        PYTHONPATH=os.pathsep.join(filter(None, path)),
    ) as service:
        yield service


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize(
    ("path", "conversation", "closes"),
    [
        ("/echo", ECHO, True),
        ("/echo-once", ECHO[:1], False),
        ("/socket.io/?EIO=4&transport=websocket", SOCKETIO, True),
    ],
    ids=["flask-sock", "flask-sock-closing", "flask-socketio"],
)
def test_socket_closes_as_on_plain_flask(
    tmp_path: Path, worker: str, path: str, conversation: Conversation, closes: bool
) -> None:
    printed = {}
    for kind in "plain", "guarded":
        with kit_app(kind, worker, tmp_path) as service:
            for _ in range(2):
                rest = talk(service.port, path, conversation, closes=closes)
                assert rest == b"", kind
            got = service.get()
            assert (got.status, got.body) == (200, b"x")
            if kind == "plain":
                assert leaks(got)
            else:
                assert_not_stored(got)
        printed[kind] = service.printed()
    assert not any("Traceback" in line for line in printed["plain"])
    assert printed["guarded"] == printed["plain"]
    assert "GET / 200" in printed["guarded"]


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize(
    ("path", "conversation"),
    [("/echo", ECHO), ("/socket.io/?EIO=4&transport=websocket", SOCKETIO)],
    ids=["flask-sock", "flask-socketio"],
)
def test_socket_of_a_lost_client_ends_as_on_plain_flask(
    tmp_path: Path, worker: str, path: str, conversation: Conversation
) -> None:
    printed = {}
    for kind in "plain", "guarded":
        with kit_app(kind, worker, tmp_path) as service:
            for _ in range(2):
                hang_up(service.port, path, conversation)
            got = service.get()
        assert got.body == b"x"
        printed[kind] = service.printed()
    assert printed["guarded"] == printed["plain"]


@pytest.mark.parametrize("worker", WORKERS)
def test_request_without_an_upgrade_is_no_store(tmp_path: Path, worker: str) -> None:
    status = {}
    for kind in "plain", "guarded":
        with kit_app(kind, worker, tmp_path) as service:
            got = service.get("/echo")
        status[kind] = got.status
        assert leaks(got) == (kind == "plain")
    assert_not_stored(got)
    assert status["guarded"] == status["plain"] == 400


# a socket in a service


ADDED = """
from flask_sock import Sock

sock = Sock(app)


@sock.route("/echo")
def echo(socket):
    while True:
        socket.send(socket.receive())
"""


@pytest.mark.parametrize("worker", WORKERS)
def test_socket_of_a_service_closes_as_on_plain_flask(
    bake: Bake, tmp_path: Path, worker: str
) -> None:
    project = bake()
    with (project.path / "wsgi.py").open("a", encoding="utf-8") as wsgi:
        wsgi.write(ADDED)
    factory = project.path / project.package / "__init__.py"
    guarded = factory.read_text("utf-8")
    plain = guarded.replace(
        "from .nocache import NoCacheFlask", "from flask import Flask as NoCacheFlask"
    )
    assert plain != guarded
    threads = ["--threads=2"] if worker == "gthread" else []
    printed = {}
    for kind, source in ("plain", plain), ("guarded", guarded):
        factory.write_text(source, "utf-8")
        with gunicorn(
            tmp_path / f"{kind}.log",
            *[f"--worker-class={worker}", *threads],
            folder=project.path,
            FLASK_SECRET_KEY=secrets.token_hex(),
        ) as service:
            assert talk(service.port, "/echo", ECHO, closes=True) == b"", kind
            got = service.get("/no-such-page")
            assert got.status == 404
            if kind == "guarded":
                assert_not_stored(got)
            else:
                assert leaks(got)
        printed[kind] = service.printed()
    print(printed)
    assert False
