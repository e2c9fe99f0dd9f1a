from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from email.parser import BytesHeaderParser
from pathlib import Path

from .caches import caching_nginx
from .processes import free_port
from .processes import HOST
from .processes import program
from .processes import ProofError
from .processes import running
from .report import Row
from .report import Tally
from .scenarios import is_no_store
from .service import generate
from .service import Origin
from .service import Service

HEAD = "Host: localhost\r\nConnection: close\r\n"
MANY = "X-Field: 1\r\n" * 120
# program that responds, its status, and the request
REQUESTS = [
    ("gunicorn", 400, f"{'A' * 30} / HTTP/1.1\r\n{HEAD}\r\n"),
    ("gunicorn", 414, f"GET /{'a' * 5000} HTTP/1.1\r\n{HEAD}\r\n"),
    ("gunicorn", 431, f"GET / HTTP/1.1\r\n{HEAD}{MANY}\r\n"),
    ("nginx", 400, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"),
    ("nginx", 413, f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 9000000\r\n\r\n"),
    ("nginx", 414, f"GET /{'a' * 40000} HTTP/1.1\r\n{HEAD}\r\n"),
    ("nginx", 501, f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: gzip\r\n\r\n"),
]
PLAIN = f"GET / HTTP/1.1\r\n{HEAD}\r\n"
Response = tuple[int, list[tuple[str, str]]]


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Send requests that never reach Python, with the shipped edge and without."""
    service.migrate()
    edge = service.folder / "deploy" / "nginx-no-store.conf"
    with Origin(service, "wsgi").serving() as origin:
        with fronts(scratch, "up", origin.port, edge) as (front, bare):
            for program_name, status, request in REQUESTS:
                yield compare(
                    f"{status} by {program_name}", status, request, front, bare
                )
            yield compare_after_431(front, bare)
        with pod(scratch / "pod", origin.port) as port:
            for program_name, status, request in REQUESTS:
                yield in_pod(f"{status} by {program_name}", status, request, port)
            yield in_pod("200", 200, PLAIN, port)
    with fronts(scratch, "down", free_port(), edge) as (front, bare):
        yield compare("502 by nginx", 502, PLAIN, front, bare)
    with silent() as port, fronts(scratch, "slow", port, edge, 1) as (front, bare):
        yield compare("504 by nginx", 504, PLAIN, front, bare)


@contextlib.contextmanager
def fronts(
    scratch: Path, name: str, port: int, edge: Path, patience: int = 60
) -> Iterator[tuple[int, int]]:
    """Run two nginx before a port, with and without the shipped configuration."""
    with contextlib.ExitStack() as stack:
        ports = []
        for kind, include in (("edge", edge), ("bare", None)):
            folder = scratch / f"{kind}-{name}"
            folder.mkdir()
            url = stack.enter_context(caching_nginx(folder, port, include, patience))
            ports.append(int(url.rpartition(":")[2]))
        yield ports[0], ports[1]


@contextlib.contextmanager
def pod(folder: Path, upstream: int) -> Iterator[int]:
    """Run nginx as a pod does, except for its ports and its folder for files."""
    service = generate(folder.with_name("kubernetes"), "deploy=kubernetes")
    shutil.copytree(service / "deploy" / "kubernetes" / "base", folder)
    port = free_port()
    path = folder / "nginx.conf"
    # the workers of root run as another user, who may not enter the folder
    user = "user root;" if os.geteuid() == 0 else ""
    text = path.read_text("utf-8")
    for old, new in (
        ("listen 8080;", f"listen {HOST}:{port};"),
        (f"{HOST}:8000;", f"{HOST}:{upstream};"),
        (" /tmp/", f" {folder}/"),
        ("daemon off;", f"daemon off; {user}"),
    ):
        if old not in text:
            raise ProofError(f"{old!r} is not in the pod's nginx.conf.")
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    command = [program("nginx"), "-e", "stderr", "-c", str(path)]
    with running(command, port, folder / "log"):
        yield port


def in_pod(name: str, status: int, request: str, port: int) -> Row:
    row = Row("pod", name, count(port, request, status), counted=False)
    if row.service is not None and row.service.stale:
        row.fail(f"a status other than {status}.")
    elif row.service is not None and row.service.storable:
        row.fail("the response is storable.")
    return row


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """Listen on a port, and never send a response."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


def compare(name: str, status: int, request: str, front: int, bare: int) -> Row:
    row = Row("edge", name, checks=2, counted=False)
    row.service, row.control = (
        count(front, request, status),
        count(bare, request, status),
    )
    if row.service.stale or row.control.stale:
        row.fail(f"a status other than {status}.")
    if row.service.storable:
        row.fail("the response is storable.")
    if not row.control.storable:
        row.fail("the response is not storable without the edge's headers.")
    return row


def compare_after_431(front: int, bare: int) -> Row:
    """Request a page after another client got a 431 for its URL."""
    row = Row("edge", "200, after another's 431", checks=2, counted=False)
    row.service, row.control = count(front, PLAIN, 200), count(bare, PLAIN, 200)
    if row.service.stale or row.service.storable:
        row.fail("the response is not the app's page, or it is storable.")
    if not row.control.stale:
        row.fail("nginx does not store the 431 without the edge's configuration.")
    return row


def count(port: int, request: str, status: int) -> Tally:
    received, fields = send(port, request)
    storable = not is_no_store(fields)
    return Tally(1, stale=int(received != status), storable=int(storable))


def send(port: int, request: str) -> Response:
    """Send a request that no HTTP client would, and return status and fields."""
    with socket.create_connection((HOST, port), 60) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(request.encode("ascii"))
        with sock.makefile("rb") as response:
            status = response.readline().split()
            headers = BytesHeaderParser().parse(response)
    return int(status[1]) if len(status) > 1 else 0, headers.items()
