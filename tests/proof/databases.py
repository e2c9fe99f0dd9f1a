from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .processes import environment
from .processes import free_port
from .processes import HOST
from .processes import PATIENCE
from .processes import program
from .processes import ProofError
from .processes import running
from .service import run

NOBODY = "nobody"


class Sqlite:
    """A database in a file, which any process can lock."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "load.sqlite3"
        self.url = f"sqlite:///{self.path}"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the database against writes until the block ends."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            yield
        finally:
            connection.close()


class Postgres:
    """Debian's PostgreSQL in a folder of its own, run by a user without other files."""

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
            # a fast shutdown, which does not wait for clients
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

    def query(self, statement: str) -> str:
        """Run a query in the database itself, and return its output."""
        command = [program("psql"), "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1"]
        return run([*command, "-c", statement, self.url], self.folder)

    @contextlib.contextmanager
    def lock(self, table: str) -> Iterator[None]:
        """Lock a table against writes until the block ends."""
        command = [program("psql"), "-X", "-q", self.url]
        env = environment()
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=env) as session:
            assert session.stdin is not None
            session.stdin.write(f"BEGIN; LOCK {table} IN EXCLUSIVE MODE;\n".encode())
            session.stdin.flush()
            lock = f"relation = '{table}'::regclass AND mode = 'ExclusiveLock'"
            if not self.wait_for_locks(1, f"{lock} AND granted"):
                raise ProofError(f"The table {table!r} could not be locked.")
            try:
                yield
            finally:
                # the session's end rolls back its transaction
                session.stdin.close()

    def wait_for_locks(self, number: int, condition: str) -> bool:
        """Wait for a number of locks, and return whether it was reached."""
        statement = f"SELECT count(*) FROM pg_locks WHERE {condition}"
        deadline = time.monotonic() + PATIENCE / 4
        while (count := int(self.query(statement))) < number:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return count >= number

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Stop the server until the block ends."""
        self.stop()
        yield
        self.start()


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL until the block ends."""
    # the user of PostgreSQL may not enter the run's own folder
    with tempfile.TemporaryDirectory(prefix="proof-postgres-") as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, NOBODY)
        server = Postgres(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
