"""What a server of the service logs, counts and cleans up: each kind of worker, and flask run."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import closing
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.client import HTTPMessage
from pathlib import Path
from typing import Any
from typing import NamedTuple

import pytest
from flask import Flask
from flask import Response
from saved_items import create_app
from saved_items import nocache

HERE = Path(__file__).parent
PATIENCE = 60.0
NO_STORE = {
    "Cache-Control": "no-store, no-cache, must-revalidate, private, max-age=0",
    "Expires": "Thu, 01 Jan 1970 00:00:00 GMT",
    "Pragma": "no-cache",
}
GUNICORN = ("gunicorn", "test_served:served()")

Line = dict[str, Any]


def served() -> Flask:
    """The service, with views for the tests."""
    app: Flask = create_app()

    @app.get("/numbers/<int:number>")
    def number(number: int) -> str:
        app.logger.warning('two\n"lines"')
        return ""

    @app.get("/stored")
    @nocache.cacheable(max_age=60, public=True, reason="for the test")  # type: ignore[untyped-decorator]
    def stored() -> str:
        return ""

    @app.get("/boom")
    def boom() -> str:
        raise ValueError("two\nlines")

    @app.get("/broken-off")
    def broken_off() -> Response:
        def chunks() -> Iterator[bytes]:
            yield b"first"
            raise ValueError("two\nlines")

        return Response(chunks())

    @app.get("/overridden")
    def overridden() -> Response:
        return Response(headers={"ETag": '"1"'})

    @app.get("/lost")
    @nocache.cacheable(max_age=60, public=True, reason="for the test")  # type: ignore[untyped-decorator]
    def lost() -> Response:
        return Response(headers={"Set-Cookie": "a=b"})

    @app.get("/worker")
    def worker() -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "folder": os.environ.get("PROMETHEUS_MULTIPROC_DIR"),
            "counting": "prometheus_client" in sys.modules,
        }

    return app


class WireResponse(NamedTuple):
    status: int
    headers: HTTPMessage
    text: str


@dataclass
class Server:
    """A server of the app above, in a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int
    metrics_port: int

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, port: int = 0
    ) -> WireResponse:
        connection = HTTPConnection("127.0.0.1", port or self.port, timeout=PATIENCE)
        with closing(connection):
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            # until the connection closes, which is earlier than it should
            text = response.read(5 if path == "/broken-off" else None)
            return WireResponse(response.status, response.headers, text.decode())

    def get_logged(
        self, path: str, headers: Mapping[str, str] | None = None
    ) -> WireResponse:
        """Return a response once it is logged and counted."""
        response = self.get(path, headers)
        self.lines(request_id=response.headers["X-Request-ID"], status=response.status)
        return response

    def worker(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.get_logged("/worker").text)
        return facts

    def metrics(self) -> str:
        return self.get("/metrics", port=self.metrics_port).text

    def lines(self, **wanted: object) -> list[Line]:
        """Return the lines with these values, of which there will be one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            text = self.log.read_text("utf-8")
            lines = [json.loads(line) for line in text.split("\n")[:-1]]
            if found := [line for line in lines if wanted.items() <= line.items()]:
                return found
            assert time.monotonic() < deadline, text
            time.sleep(0.05)


@contextmanager
def serving(
    folder: Path, *command: str, metrics: bool = True, **environ: str
) -> Iterator[Server]:
    """Run a server until the block ends."""
    pytest.importorskip("fcntl", reason="gunicorn does not run on Windows")
    with socket.create_server(("127.0.0.1", 0)) as one:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port, metrics_port = one.getsockname()[1], other.getsockname()[1]
    environ |= {
        "DATABASE_URL": f"sqlite:///{folder / 'test.sqlite3'}",
        "FLASK_SECRET_KEY": "0123456789abcdef",
        "PATH": os.environ["PATH"],
        "PORT": str(port),
        "PYTHONPATH": str(HERE),
        "FLASK_RUN_PORT": str(port),
        "TMPDIR": str(folder),
    }
    if metrics:
        environ["METRICS_PORT"] = str(metrics_port)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=HERE.parent.parent,
            env=environ,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(port, process, log)
        yield Server(process, log, port, metrics_port)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture(scope="module", params=("sync", "gthread"))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp(request.param)
    kind = ("--worker-class", request.param, "--threads", "2")
    with serving(folder, *GUNICORN, *kind, FLASK_TRUSTED_PROXIES="1") as server:
        yield server


def test_access_line(server: Server) -> None:
    response = server.get("/numbers/5?token=hush", {"X-Request-ID": "from-a.proxy"})
    assert response.headers["X-Request-ID"] == "from-a.proxy"
    (line,) = server.lines(request_id="from-a.proxy", status=200)
    assert isinstance(line.pop("duration_ms"), float)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", line.pop("timestamp"))
    assert line.pop("message").startswith("GET /numbers/<int:number> 200, ")
    assert line == {
        "level": "INFO",
        "logger": "saved_items.observability",
        "request_id": "from-a.proxy",
        "method": "GET",
        "route": "/numbers/<int:number>",
        "status": 200,
        "cache_policy": "no-store",
    }


@pytest.mark.parametrize(
    ("path", "status", "route", "policy"),
    (
        ("/stored", 200, "/stored", "public, max-age=60"),
        ("/static/icon.svg", 200, "/static/<path:filename>", "no-cache"),
        ("/boom", 500, "/boom", "no-store"),
        ("/nowhere%0Aat%22all", 404, None, "no-store"),
    ),
)
def test_access_line_has_what_left(
    server: Server, path: str, status: int, route: str | None, policy: str
) -> None:
    id = server.get(path).headers["X-Request-ID"]
    (line,) = server.lines(request_id=id, status=status)
    assert (line["route"], line["cache_policy"]) == (route, policy)


def test_lines_of_a_request_carry_its_id(server: Server) -> None:
    id = server.get("/numbers/6").headers["X-Request-ID"]
    assert server.lines(request_id=id, level="WARNING", message='two\n"lines"')
    id = server.get("/boom").headers["X-Request-ID"]
    (line,) = server.lines(request_id=id, level="ERROR")
    assert line["message"] == "Exception on /boom [GET]"
    assert line["traceback"].endswith("ValueError: two\nlines")


def test_stream_that_breaks_off_is_logged_once(server: Server) -> None:
    id = server.get("/broken-off").headers["X-Request-ID"]
    (line,) = server.lines(request_id=id, level="ERROR")
    assert line["logger"] == "gunicorn.error"
    assert line["traceback"].endswith("ValueError: two\nlines")


def test_log_keeps_secrets(server: Server) -> None:
    headers = {"Cookie": "hush", "Authorization": "Basic aHVzaDpodXNo"}
    id = server.get("/boom?token=hush", headers).headers["X-Request-ID"]
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GET /?token=hush\r\nHost: hush\r\n\r\n")
        assert b"400 Bad Request" in connection.recv(1024)
    server.lines(request_id=id, status=500)
    server.lines(logger="gunicorn.error", level="WARNING")
    assert "hush" not in server.log.read_text("utf-8")
    assert "aHVzaDpodXNo" not in server.log.read_text("utf-8")


def test_line_between_requests_has_no_id(server: Server) -> None:
    server.get("/numbers/7")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n")
        assert b"400 Bad Request" in connection.recv(1024)
    assert all("request_id" not in line for line in server.lines(status=400))


def test_metrics(server: Server) -> None:
    server.get_logged("/numbers/8")
    server.get_logged("/nowhere")
    page = server.metrics()
    for sample in (
        'http_requests_total{method="GET",route="/numbers/<int:number>",status="200"}',
        'http_requests_total{method="GET",route="none",status="404"}',
        'http_request_duration_seconds_count{method="GET",route="none"}',
    ):
        assert f"\n{sample} " in page
    # a look at the page is neither counted nor logged
    assert [server.metrics() for _ in range(3)] == [page] * 3
    assert "/metrics" not in server.log.read_text("utf-8")


@pytest.mark.parametrize(
    ("endpoint", "field", "reason"),
    [("overridden", "ETag", None), ("lost", None, "Set-Cookie")],
)
def test_override_is_logged_and_counted(
    server: Server, endpoint: str, field: str | None, reason: str | None
) -> None:
    id = server.get_logged(f"/{endpoint}").headers["X-Request-ID"]
    (line,) = server.lines(request_id=id, level="WARNING")
    assert (line["endpoint"], line["reason"]) == (endpoint, reason)
    assert line["fields"] == ([field] if field else [])
    values = (("endpoint", endpoint), ("field", field), ("reason", reason))
    labels = ",".join(f'{name}="{value or "none"}"' for name, value in values)
    assert f"nocache_overrides_total{{{labels}}} 1.0\n" in server.metrics()


def test_metrics_on_their_own_port_only(server: Server) -> None:
    for path, status in (("/metrics", 200), ("/numbers/9", 404), ("/", 404)):
        response = server.get(path, port=server.metrics_port)
        assert response.status == status
        sent = [field for field in response.headers.items() if field[0] in NO_STORE]
        assert sent == list(NO_STORE.items())
    for name in ("Host", "X-Forwarded-Host"):
        forged = {name: f"127.0.0.1:{server.metrics_port}"}
        # a later test reads the counts
        assert server.get_logged("/metrics", forged).status == 404


def test_metrics_survive_a_killed_worker(server: Server) -> None:
    worker, before = server.worker(), sum_of_requests(server)
    # as one leaves them that is killed before it has written anything
    Path(worker["folder"], "counter_0.db").touch()
    os.kill(worker["pid"], signal.SIGKILL)
    server.lines(level="ERROR", logger="gunicorn.error")
    assert sum_of_requests(server) == before
    assert server.worker()["pid"] != worker["pid"]


def sum_of_requests(server: Server) -> float:
    found = re.findall(r"^http_requests_total\S+ (.+)", server.metrics(), re.MULTILINE)
    return sum(map(float, found))


def test_metrics_folder_goes_with_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, *GUNICORN) as server:
        folder = Path(server.worker()["folder"])
        # a reload keeps the folder that the counts are in
        server.process.send_signal(signal.SIGHUP)
        server.lines(message="Hang up: Master")
        assert Path(server.worker()["folder"]) == folder
    assert not folder.exists()
    assert server.process.returncode == 0


def test_given_metrics_folder_stays(tmp_path: Path) -> None:
    folder = tmp_path / "gunicorn-metrics-mine"
    folder.mkdir()
    given = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "TMPDIR": str(tmp_path)}
    with serving(tmp_path, *GUNICORN, metrics=True, **given) as server:
        assert Path(server.worker()["folder"]) == folder
    assert folder.exists()


def test_no_metrics_unless_asked_for(tmp_path: Path) -> None:
    unused = {"PROMETHEUS_MULTIPROC_DIR": "nowhere"}
    with serving(tmp_path, *GUNICORN, metrics=False, **unused) as server:
        assert server.worker()["counting"] is False
        assert server.get("/metrics").status == 404
    assert sorted(os.listdir(tmp_path)) == ["log"]


@pytest.mark.parametrize(
    ("name", "value"),
    (
        ("PORT", "http"),
        ("PORT", "65536"),
        ("WEB_CONCURRENCY", "0"),
        ("WEB_CONCURRENCY", "two"),
        ("METRICS_PORT", "-1"),
        ("METRICS_PORT", "8000"),
        ("HOST", "0.0.0.0:8000"),
        ("PROMETHEUS_MULTIPROC_DIR", "nowhere"),
    ),
)
def test_variable_refused(name: str, value: str) -> None:
    pytest.importorskip("fcntl", reason="gunicorn does not run on Windows")
    environ = {"PATH": os.environ["PATH"], "METRICS_PORT": "8001", name: value}
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn"],
        cwd=HERE.parent.parent,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert name in done.stderr and value in done.stderr


def test_development_is_readable(tmp_path: Path) -> None:
    command = ("flask", "--app", GUNICORN[1], "run", "--no-reload")
    with serving(tmp_path, *command, FLASK_DEBUG="1") as server:
        ids = [
            server.get(path).headers["X-Request-ID"]
            for path in ("/stored?token=hush", "/nowhere")
        ]
    text = server.log.read_text("utf-8")
    time, duration = r"\S+ \S+ INFO ", r"[\d.]+ ms, "
    for line in (
        rf"GET /stored 200, {duration}public, max-age=60 \[{ids[0]}\]",
        rf"GET - 404, {duration}no-store \[{ids[1]}\]",
    ):
        assert len(re.findall(f"^{time}{line}$", text, re.MULTILINE)) == 1, text
    assert "hush" not in text and "HTTP/1.1" not in text
