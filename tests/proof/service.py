from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .mutations import MUTATIONS
from .processes import environment
from .processes import free_port
from .processes import HOST
from .processes import ProofError
from .processes import running

ROOT = Path(__file__).resolve().parents[2]
ORIGINS = Path(__file__).resolve().parent / "origins"


class Service:
    """The default service, baked and set up as its README says.

    :param folder: the service's folder.
    :param scratch: a folder for logs and databases.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = folder
        self.scratch = scratch
        self.database = scratch / "saved.sqlite3"
        self.python = str(folder / ".venv" / "bin" / "python")

    def environment(self, **variables: str) -> dict[str, str]:
        return environment(
            **{
                "FLASK_SECRET_KEY": secrets.token_hex(),
                "DATABASE_URL": f"sqlite:///{self.database}",
                "FLASK_DATABASE_TIMEOUT": "30",
                "PYTHONPATH": str(ORIGINS),
                "PYTHONDONTWRITEBYTECODE": "1",
                **variables,
            }
        )

    def migrate(self, **variables: str) -> None:
        command = [self.python, "-m", "flask", "db", "upgrade"]
        run(command, self.folder, self.environment(**variables))


class Origin:
    """An origin server that can stop and start again on its port.

    :param module: module with its app, in the folder `origins` or in the service.
    """

    def __init__(self, service: Service, module: str, *arguments: str) -> None:
        self.service = service
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        bind = f"{HOST}:{self.port}"
        python = [service.python, "-m", "gunicorn", "--bind", bind]
        self.command = [*python, *arguments, f"{module}:app"]
        self.log = service.scratch / f"{module}-{self.port}.log"
        self._stack = contextlib.ExitStack()

    @contextlib.contextmanager
    def serving(self) -> Iterator[Origin]:
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        folder, env = self.service.folder, self.service.environment()
        self._stack.enter_context(
            running(self.command, self.port, self.log, folder, env)
        )

    def stop(self) -> None:
        self._stack.close()


def bake(scratch: Path, mutation: str | None = None) -> Service:
    """Bake the default service, set it up and return it.

    :param mutation: name of a mistake to make in the service.
    """
    service = Service(generate(scratch), scratch)
    run(["make", "setup", f"PYTHON={sys.executable}"], service.folder)
    if mutation is not None:
        MUTATIONS[mutation].make(service.folder)
    return service


def generate(folder: Path, *answers: str) -> Path:
    """Bake a service into a folder and return its path."""
    cookiecutter = [sys.executable, "-m", "cookiecutter", str(ROOT), "--no-input"]
    run([*cookiecutter, "--output-dir", str(folder), *answers], ROOT)
    return folder / "saved-items"


def run(
    command: list[str],
    cwd: Path,
    env: dict[str, str] | None = None,
    user: str | None = None,
) -> str:
    """Run a command to its end and return its output."""
    process = subprocess.run(
        command,
        cwd=cwd,
        env=env if env is not None else environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=user,
    )
    if process.returncode:
        program = shutil.which(command[0]) or command[0]
        raise ProofError(f"{program} {command[1:]} failed:\n{process.stdout[-3000:]}")
    return process.stdout
