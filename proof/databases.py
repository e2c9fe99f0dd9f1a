from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .processes import environment
from .processes import free_port
from .processes import HOST
from .processes import program
from .processes import ProofError
from .processes import running
from .service import run

NOBODY = "nobody"


class Sqlite:
    """A file, which any process can lock."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "load.sqlite3"
        self.url = f"sqlite:///{self.path}"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep everybody from writing."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            yield
        finally:
            connection.close()


class Postgres:
    """Debian's PostgreSQL, in a folder of its own, as a user who owns nothing else."""

    name = "postgres"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"postgresql://proof@{HOST}:{self.port}/postgres"
        # postgres refuses to run as root
        self.user = NOBODY if os.geteuid() == 0 else None
        self._stack = contextlib.ExitStack()
        initdb = [program("initdb"), "-D", str(folder / "data"), "-U", "proof"]
        initdb += ["-A", "trust", "--no-sync", "-E", "UTF8"]
        run(initdb, folder, user=self.user)

    def start(self) -> None:
        command = [program("postgres"), "-D", str(self.folder / "data")]
        for setting in (
            f"port={self.port}",
            f"listen_addresses={HOST}",
            "unix_socket_directories=",
        ):
            command += ["-c", setting]
        log = self.folder.parent / f"{self.folder.name}.log"
        self._stack.callback(log.unlink)
        server = running(
            command,
            self.port,
            log,
            self.folder,
            user=self.user,
            # without waiting for its clients to leave
            ending=signal.SIGINT,
        )
        self._stack.enter_context(server)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        command = [program("pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        for _ in range(300):
            if subprocess.run(command, env=environment()).returncode == 0:
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(["sleep", "0.2"], timeout=1)
        raise ProofError("PostgreSQL is not ready.")

    def stop(self) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """Stop the server, and start it again."""
        self.stop()
        yield
        self.start()


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL until the block ends."""
    # not below the run's own folder, which nobody else may enter
    with tempfile.TemporaryDirectory(prefix="proof-postgres-") as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, NOBODY)
        server = Postgres(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
