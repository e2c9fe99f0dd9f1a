from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from glob import glob
from pathlib import Path

# seconds; long, because the machine may be busy and no check depends on time
PATIENCE = 60.0
HOST = "127.0.0.1"
# Debian's folders of daemons are not in the PATH of a user
DAEMONS = ["/usr/sbin", "/sbin", *sorted(glob("/usr/lib/postgresql/*/bin"))[-1:]]
# prefixes of the variables that configure a service, or make
PREFIXES = (
    "DATABASE_URL",
    "FLASK_",
    "GUNICORN",
    "MAKE",
    "METRICS_PORT",
    "PORT",
    "PROMETHEUS_",
    "PYTHON",
    "WEB_CONCURRENCY",
)
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), *DAEMONS])


class ProofError(Exception):
    """The proof cannot be made, so that it has no result."""


def find_program(name: str) -> str | None:
    return shutil.which(name, path=SEARCH)


def program(name: str) -> str:
    path = find_program(name)
    if path is None:
        raise ProofError(f"{name!r} is not installed.")
    return path


def free_port() -> int:
    """Return a free port below the range of outgoing connections."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((HOST, port))
            return port


def environment(**variables: str) -> dict[str, str]:
    """Return the environment without variables that configure a service."""
    rest = {k: v for k, v in os.environ.items() if not k.startswith(PREFIXES)}
    return {**rest, **variables}


@contextlib.contextmanager
def running(
    command: Sequence[str],
    port: int,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    ending: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in its own process group until the block ends.

    :param port: port on which it accepts connections once it is ready.
    :param log: file for its output.
    :param user: user that it runs as.
    :param ending: signal that ends it.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env if env is not None else environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            user=user,
        )
    try:
        wait_for_port(port, process, log)
        yield process
    finally:
        stop(process, ending)


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.05)
    output = log.read_text("utf-8", "replace")[-2000:]
    raise ProofError(f"{process.args!r} did not start:\n{output}")


def stop(
    process: subprocess.Popen[bytes], ending: signal.Signals = signal.SIGTERM
) -> None:
    """End a process that this run started, and all of its group."""
    _signal_group(process, ending)
    try:
        process.wait(PATIENCE / 2)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
