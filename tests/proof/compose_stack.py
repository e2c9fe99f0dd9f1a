"""The processes of deploy/compose.yaml, without containers."""

from __future__ import annotations

import collections
import contextlib
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path

import urllib3

from .counter import MARK
from .databases import Postgres
from .nginx import nginx
from .processes import free_port
from .processes import HOST
from .processes import PATIENCE
from .processes import ProofError
from .processes import running
from .service import run
from .service import Service

NAME = "www.example.com"
# compose's nginx resolves this name to the addresses of all replicas
REPLICAS = re.compile(r"server web:8000(.*;)")
LISTEN = re.compile(r"listen \d+( default_server)?;")
VARIABLE = f"$http_{MARK.lower().replace('-', '_')}"
HTTP = """\
log_format hops '{mark} $upstream_addr';
    access_log {folder}/hops hops;
    ssl_certificate {folder}/certificate;
    ssl_certificate_key {folder}/key;
    include {no_store};
    include {edge};"""


class Instance:
    """One replica: gunicorn as the container starts it, on a port of its own.

    :param environment: variables that configure it.
    """

    def __init__(self, service: Service, environment: dict[str, str]) -> None:
        self.service = service
        self.port = free_port()
        self.environment = {
            **environment,
            "PORT": str(self.port),
            "METRICS_PORT": str(free_port()),
        }
        # from each start to the first response
        self.seconds: list[float] = []
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        start = time.monotonic()
        log = self.service.scratch / f"instance-{self.port}.log"
        server = running(
            [self.service.python, "-m", "gunicorn"],
            self.port,
            log,
            self.service.folder,
            self.service.environment(**self.environment),
        )
        self._process = self._stack.enter_context(server)
        self._wait_until_ready()
        self.seconds.append(time.monotonic() - start)

    def _wait_until_ready(self) -> None:
        url = f"http://{HOST}:{self.port}/readyz"
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                headers = {"Host": NAME}
                response = urllib3.request("GET", url, headers=headers, retries=False)
                if response.status == 200:
                    return
            time.sleep(0.05)
        raise ProofError(f"The instance on port {self.port} is not ready.")

    def signal(self, number: signal.Signals) -> None:
        """Signal the first process, as a container's runtime does, or kill all."""
        assert self._process is not None
        if number is signal.SIGKILL:
            os.killpg(self._process.pid, number)
        else:
            os.kill(self._process.pid, number)

    def wait(self) -> int:
        """Wait for the end of the process, and return its exit status."""
        assert self._process is not None
        status = self._process.wait(PATIENCE)
        self.stop()
        return status

    def stop(self) -> None:
        self._stack.close()


class Edge:
    """nginx with the service's own configuration, and its log of instances."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.tls_port = free_port(), free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.tls_url = f"https://{HOST}:{self.tls_port}"
        self.certificate = folder / "certificate"

    @contextlib.contextmanager
    def serving(self, service: Service, ports: Sequence[int]) -> Iterator[Edge]:
        """Run nginx before instances, with their addresses in place of compose's."""
        self.folder.mkdir()
        deploy = service.folder / "deploy"
        source = (deploy / "nginx.conf").read_text("utf-8")
        replicas = "".join(rf"server {HOST}:{port}\1" for port in ports)
        source, upstreams = REPLICAS.subn(replicas, source)
        both = f"listen {HOST}:{self.port}; listen {HOST}:{self.tls_port} ssl;"
        source, listeners = LISTEN.subn(both, source)
        if (upstreams, listeners) != (1, 1):
            raise ProofError("deploy/nginx.conf has not one upstream and one port.")
        edge = self.folder / "edge.conf"
        edge.write_text(source, "utf-8")
        self._certify()
        http = HTTP.format(
            mark=VARIABLE,
            folder=self.folder,
            no_store=deploy / "nginx-no-store.conf",
            edge=edge,
        )
        with nginx(self.folder, self.port, http):
            yield self

    def _certify(self) -> None:
        command = "openssl req -x509 -nodes -days 2 -keyout key -out certificate"
        command += " -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
        command += f" -subj /CN={NAME} -addext subjectAltName=DNS:{NAME}"
        run(command.split(), self.folder)

    def hops(self) -> Iterator[tuple[str, list[int]]]:
        """Yield the mark of each request, and the ports that nginx tried for it."""
        for line in (self.folder / "hops").read_text("ascii").splitlines():
            mark, _, addresses = line.partition(" ")
            yield mark, [int(port) for port in re.findall(r":(\d+)", addresses)]

    def count_by_port(self) -> collections.Counter[int]:
        """Return the number of requests by the port that sent the response."""
        return collections.Counter(ports[-1] for _, ports in self.hops() if ports)

    def count_retries(self) -> int:
        """Return the number of requests for which nginx tried a second instance."""
        return sum(len(ports) > 1 for _, ports in self.hops())


class Stack:
    """Instances that share a database and a key, and nothing else."""

    def __init__(self, service: Service, database: Postgres) -> None:
        self.service = service
        self.instances: list[Instance] = []
        self.environment = {
            "HOST": HOST,
            "DATABASE_URL": database.url,
            "FLASK_SECRET_KEY": secrets.token_hex(),
            "FLASK_TRUSTED_HOSTS": f'["{NAME}"]',
            "FLASK_TRUSTED_PROXIES": "1",
            "WEB_CONCURRENCY": "2",
        }

    @property
    def ports(self) -> list[int]:
        return [instance.port for instance in self.instances]

    def grow(self) -> None:
        instance = Instance(self.service, self.environment)
        self.instances.append(instance)
        instance.start()

    @contextlib.contextmanager
    def serving(self) -> Iterator[Stack]:
        """Migrate once, and stop all instances when the block ends."""
        self.service.migrate(**self.environment)
        try:
            yield self
        finally:
            for instance in self.instances:
                instance.stop()
