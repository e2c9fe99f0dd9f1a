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
# seconds for a container to start, and to end after its last response
PATIENCE = 15.0
HOST_NAME = "www.example.com"


class Broken(Exception):
    """The image fails a check."""


class Engine:
    """podman with a store of its own in the scratch folder."""

    def __init__(self, scratch: Path) -> None:
        roots = ["--root", str(scratch / "store"), "--runroot", str(scratch / "run")]
        # crun does not run where both versions of cgroups are mounted
        self.podman = ["podman", *roots, "--runtime", "runc"]

    def __call__(self, *arguments: str) -> str:
        process = self.attempt(*arguments)
        if process.returncode:
            raise ProofError(f"podman {arguments[0]} failed:\n{process.stderr[-3000:]}")
        return process.stdout.strip()

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
        process = self.attempt(
            "build",
            f"--file={service / 'deploy' / 'Dockerfile'}",
            f"--build-arg=PYTHON_IMAGE={base}",
            f"--tag={image}",
            # OCI's format has no health check
            "--format=docker",
            "--isolation=chroot",
            "--network=host",
            # a proxy before the registries may have a certificate authority of its own
            "--volume=/etc/ssl/certs:/etc/ssl/certs:ro",
            "--timestamp=0",
            *options,
            str(service),
        )
        if process.returncode:
            raise Broken(process.stderr[-3000:].strip())

    def inspect(self, image: str) -> Any:
        return json.loads(self("image", "inspect", image))[0]

    def run_options(self) -> list[str]:
        """Return the options of a container in production."""
        return [
            "run",
            "--read-only",
            "--read-only-tmpfs=false",
            "--tmpfs=/tmp",
            "--cap-drop=all",
            "--security-opt=no-new-privileges",
            # a sandbox may not allow podman's own limits, even for root
            "--ulimit=nofile=4096",
            "--ulimit=nproc=4096",
            # podman needs systemd for health checks
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
    """The service in a container without a network."""

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

    def run_once(self, *command: str) -> str:
        """Run a command in a container of its own."""
        return output_of(
            self.engine.attempt(*self.options, "--rm", self.image, *command)
        )

    def start(self) -> float:
        """Run the image's command, and return the time of the start."""
        start = time.time()
        self.engine(*self.options, "--detach", f"--name={self.name}", self.image)
        return start

    def execute(self, *command: str) -> str:
        process = self.engine.attempt("exec", self.name, *command)
        if process.returncode:
            logs = self.engine.attempt("logs", self.name)
            raise Broken(f"{process.stderr}{logs.stderr[-1500:]}".strip())
        return process.stdout.strip()

    def request(
        self, path: str, method: str = "GET", body: str = "", port: int = 8000
    ) -> Response:
        script = (SCRIPTS / "send_request.py").read_text("utf-8")
        arguments = [HOST_NAME, str(port), method, path, body, str(PATIENCE)]
        output = self.execute("python", "-c", script, *arguments)
        head, _, text = output.partition("\n")
        at, status, headers = json.loads(head)
        return Response(at, status, [(name, value) for name, value in headers], text)

    @contextlib.contextmanager
    def lingering(self, path: str) -> Iterator[subprocess.Popen[str]]:
        """Send half a request from a second container, and the rest after a line."""
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
        """Wait for the end of the container, and return its exit status."""
        try:
            process = self.engine.attempt("wait", self.name, patience=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Broken(f"it did not end within {PATIENCE:.0f} s.") from None
        return int(process.stdout)

    def remove(self) -> None:
        self.engine.attempt("rm", "--force", "--time=0", self.name)


def output_of(process: subprocess.CompletedProcess[str]) -> str:
    if process.returncode:
        raise Broken(f"{process.stdout}{process.stderr}".strip())
    return process.stdout.strip()


def import_debian(engine: Engine, archive: Path, scratch: Path) -> str:
    """Return an image of Debian's Python, packed on the first call.

    :param archive: file that keeps the image between runs.
    """
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        partial = archive.with_suffix(".part")
        bootstrap(scratch / "base", partial)
        partial.rename(archive)
    return engine("import", str(archive), "localhost/base").splitlines()[-1]


def bootstrap(folder: Path, archive: Path) -> None:
    """Pack a minimal Debian with Python, from the mirror of this machine's apt."""
    form = ["--format", "$(LABEL) $(CODENAME) $(REPO_URI)"]
    lines = run(["apt-get", "indextargets", *form], ROOT).splitlines()
    targets = [line.split() for line in lines if line.startswith("Debian ")]
    if not targets:
        raise ProofError("apt knows no Debian: name an image with BASE.")
    # the shortest suite: bookworm, and not bookworm-updates
    _, suite, mirror = min(targets, key=lambda words: len(words[1]))
    packages = "--include=python3,python3-pip"
    run(
        ["debootstrap", "--variant=minbase", packages, suite, str(folder), mirror], ROOT
    )
    for cache in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(folder / cache)
    run(["tar", "-c", "-f", str(archive), "-C", str(folder), "."], ROOT)
    shutil.rmtree(folder)
