from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import environment
from .processes import ProofError
from .service import ROOT
from .service import run

SCRIPTS = Path(__file__).resolve().parent / "in_container"
# for a container to start, and to end after its last response
PATIENCE = 15.0
HOST_NAME = "www.example.com"


class Broken(Exception):
    """The image does not keep what it promises."""


class Engine:
    """podman with a store of its own, which goes with the scratch folder."""

    def __init__(self, scratch: Path) -> None:
        roots = ["--root", str(scratch / "store"), "--runroot", str(scratch / "run")]
        # crun knows no machine with both kinds of cgroups
        self.podman = ["podman", *roots, "--runtime", "runc"]

    def __call__(self, *arguments: str) -> str:
        done = self.attempt(*arguments)
        if done.returncode:
            raise ProofError(f"podman {arguments[0]} failed:\n{done.stderr[-3000:]}")
        return done.stdout.strip()

    def attempt(
        self, *arguments: str, patience: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.podman, *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience,
        )

    def build(self, service: Path, base: str, image: str, *options: str) -> None:
        done = self.attempt(
            "build",
            f"--file={service / 'deploy' / 'Dockerfile'}",
            f"--build-arg=PYTHON_IMAGE={base}",
            f"--tag={image}",
            # no other format has a health check
            "--format=docker",
            "--isolation=chroot",
            "--network=host",
            # a machine may reach its registries through a proxy with its own authority
            "--volume=/etc/ssl/certs:/etc/ssl/certs:ro",
            "--timestamp=0",
            *options,
            str(service),
        )
        if done.returncode:
            raise Broken(done.stderr[-3000:].strip())

    def inspect(self, image: str) -> Any:
        return json.loads(self("image", "inspect", image))[0]

    def run_options(self) -> list[str]:
        """Return how production runs a container."""
        return [
            "run",
            "--read-only",
            "--read-only-tmpfs=false",
            "--tmpfs=/tmp",
            "--cap-drop=all",
            "--security-opt=no-new-privileges",
            # podman's own are above what a sandbox lets even root set
            "--ulimit=nofile=4096",
            "--ulimit=nproc=4096",
            # podman leaves it to systemd
            "--no-healthcheck",
        ]

    def remove_all(self) -> None:
        self.attempt("rm", "--all", "--force", "--time=0")
        self.attempt("rmi", "--all", "--force")


@dataclass(frozen=True)
class Response:
    at: float
    status: int
    headers: list[tuple[str, str]]
    body: str


class Container:
    """The service in a container that reaches nothing but itself."""

    def __init__(self, engine: Engine, image: str) -> None:
        self.engine, self.image, self.name = engine, image, f"{image}-web"
        self.options = [
            *engine.run_options(),
            "--network=none",
            f"--volume={image}-data:/data:U",
            "--env=DATABASE_URL=sqlite:////data/app.sqlite3",
            "--env=FLASK_SECRET_KEY=only-for-this-container",
            f'--env=FLASK_TRUSTED_HOSTS=["{HOST_NAME}"]',
        ]

    def once(self, *command: str) -> str:
        """Run a command in a container of its own."""
        return said(self.engine.attempt(*self.options, "--rm", self.image, *command))

    def start(self) -> float:
        """Run what the image runs, and return when it was told to."""
        begun = time.time()
        self.engine(*self.options, "--detach", f"--name={self.name}", self.image)
        return begun

    def execute(self, *command: str) -> str:
        done = self.engine.attempt("exec", self.name, *command)
        if done.returncode:
            logs = self.engine.attempt("logs", self.name)
            raise Broken(f"{done.stderr}{logs.stderr[-1500:]}".strip())
        return done.stdout.strip()

    def ask(
        self, path: str, method: str = "GET", body: str = "", port: int = 8000
    ) -> Response:
        script = (SCRIPTS / "send_request.py").read_text("utf-8")
        arguments = [HOST_NAME, str(port), method, path, body, str(PATIENCE)]
        told = self.execute("python", "-c", script, *arguments)
        head, _, text = told.partition("\n")
        at, status, headers = json.loads(head)
        return Response(at, status, [(name, value) for name, value in headers], text)

    @contextlib.contextmanager
    def lingering(self, path: str) -> Iterator[subprocess.Popen[str]]:
        """Send half a request from beside the container, and go on after a line."""
        script = (SCRIPTS / "hold_request.py").read_text("utf-8")
        beside = [f"--network=container:{self.name}", "--interactive", "--rm"]
        command = [*self.engine.run_options(), *beside, self.image]
        with subprocess.Popen(
            [*self.engine.podman, *command, "python", "-c", script, HOST_NAME, path],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as client:
            yield client

    def wait(self) -> int:
        """Return the exit status, once it has ended."""
        try:
            done = self.engine.attempt("wait", self.name, patience=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Broken(f"it did not end within {PATIENCE:.0f} s.") from None
        return int(done.stdout)

    def remove(self) -> None:
        self.engine.attempt("rm", "--force", "--time=0", self.name)


def said(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        raise Broken(f"{done.stdout}{done.stderr}".strip())
    return done.stdout.strip()


def debian(engine: Engine, archive: Path, scratch: Path) -> str:
    """Return an image of Debian's Python, which is packed once.

    :param archive: where the packed image stays.
    """
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        partial = archive.with_suffix(".part")
        bootstrap(scratch / "base", partial)
        partial.rename(archive)
    return engine("import", str(archive), "localhost/base").splitlines()[-1]


def bootstrap(folder: Path, archive: Path) -> None:
    """Pack a minimal Debian with Python, from where this machine's own apt gets it."""
    form = ["--format", "$(LABEL) $(CODENAME) $(REPO_URI)"]
    lines = run(["apt-get", "indextargets", *form], ROOT).splitlines()
    found = [line.split() for line in lines if line.startswith("Debian ")]
    if not found:
        raise ProofError("apt knows no Debian: name an image with BASE.")
    # bookworm, before bookworm-updates
    _, suite, mirror = min(found, key=lambda words: len(words[1]))
    packages = "--include=python3,python3-pip"
    run(
        ["debootstrap", "--variant=minbase", packages, suite, str(folder), mirror], ROOT
    )
    for cache in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(folder / cache)
    run(["tar", "-c", "-f", str(archive), "-C", str(folder), "."], ROOT)
    shutil.rmtree(folder)
