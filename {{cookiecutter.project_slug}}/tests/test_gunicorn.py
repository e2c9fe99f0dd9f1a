from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from typing import NamedTuple

import pytest

pytest.importorskip("fcntl", reason="gunicorn does not run on Windows")

ROOT = Path(__file__).parent.parent
NO_STORE = "no-store, no-cache, must-revalidate, private, max-age=0"
PATIENCE = 60.0

Read = Callable[..., dict[str, Any]]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Read:
    """Read gunicorn.conf.py with nothing but these variables set."""
    for name in ("HOST", "PORT", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    # set, so that what the file puts there is taken back
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def read(**environ: str) -> dict[str, Any]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "gunicorn.conf.py"))

    return read


def test_listens_to_this_machine_only(read: Read) -> None:
    settings = read()
    assert (settings["bind"], settings["workers"]) == (["127.0.0.1:8000"], 2)


def test_variables_set_addresses_and_workers(read: Read) -> None:
    settings = read(HOST="::", PORT="80", METRICS_PORT="81", WEB_CONCURRENCY="3")
    assert (settings["bind"], settings["workers"]) == (["[::]:80", "[::]:81"], 3)


def test_believes_no_proxy_itself(read: Read) -> None:
    """Its default takes X-Forwarded-Proto from whoever connects from this machine."""
    assert read()["forwarded_allow_ips"] == ""


def test_metrics_folder_goes_with_the_server(read: Read, tmp_path: Path) -> None:
    settings = read(METRICS_PORT="8001")
    (folder,) = tmp_path.iterdir()
    assert os.environ["PROMETHEUS_MULTIPROC_DIR"] == str(folder)
    settings["on_exit"](None)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    (
        ("PORT", "http"),
        ("PORT", "65536"),
        ("WEB_CONCURRENCY", "0"),
        ("METRICS_PORT", "8000"),
        ("HOST", "0.0.0.0:8000"),
        ("PROMETHEUS_MULTIPROC_DIR", "nowhere"),
    ),
)
def test_variable_refused(read: Read, name: str, value: str) -> None:
    with pytest.raises(SystemExit, match=f"^error: {name} must .*{value}"):
        read(**{"METRICS_PORT": "8001", name: value})


class Server(NamedTuple):
    process: subprocess.Popen[bytes]
    log: Path
    port: int
    metrics_port: int


@pytest.fixture(scope="session")
def server(
    migrated_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The service as in production; its end is awaited once all other tests are through."""
    folder = tmp_path_factory.mktemp("gunicorn")
    with socket.create_server(("127.0.0.1", 0)) as one:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port, metrics_port = one.getsockname()[1], other.getsockname()[1]
    environ = {
        "DATABASE_URL": f"sqlite:///{migrated_database}",
        "FLASK_SECRET_KEY": "0123456789abcdef",
        "METRICS_PORT": str(metrics_port),
        "PATH": os.environ["PATH"],
        "PORT": str(port),
        "TMPDIR": str(folder),
        "WEB_CONCURRENCY": "1",
    }
    command = [sys.executable, "-m", "gunicorn"]
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=stderr)
    yield Server(process, log, port, metrics_port)
    process.terminate()
    assert process.wait(PATIENCE) == 0, log.read_text("utf-8")
    assert os.listdir(folder) == ["log"]


def test_gunicorn_serves_logs_and_counts(server: Server) -> None:
    wait_for(server)
    status, headers, _ = get(server.port, "/readyz?token=hush")
    assert (status, headers["Cache-Control"]) == (200, NO_STORE)
    assert get(server.port, "/metrics")[0] == 404
    status, headers, page = get(server.metrics_port, "/metrics")
    assert (status, headers["Cache-Control"]) == (200, NO_STORE)
    assert 'http_requests_total{method="GET",route="/readyz",status="200"} 1.0' in page
    log = server.log.read_text("utf-8")
    (line,) = (json.loads(line) for line in log.splitlines() if "/readyz" in line)
    assert (line["status"], line["cache_policy"]) == (200, "no-store")
    assert "hush" not in log
    server.process.terminate()


def wait_for(server: Server) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", server.port)).close()
        except OSError:
            assert server.process.poll() is None, server.log.read_text("utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.05)


def get(port: int, path: str) -> tuple[int, dict[str, str], str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, dict(response.headers), text
