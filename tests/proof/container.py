from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .podman import Broken
from .podman import Container
from .podman import Engine
from .podman import import_debian
from .processes import environment
from .processes import find_program
from .processes import ProofError
from .scenarios import is_no_store
from .service import ROOT
from .service import run

ARCHIVE = ROOT / "build" / "container" / "base.tar"
# files that a checkout may have, and an image must not
SECRETS = [".env", "deploy/.env", "instance/app.sqlite3"]
# files that an image needs, besides the package
CONTENTS = {"cache-policy.txt", "deploy", "gunicorn.conf.py", "migrations", "wsgi.py"}
LIST = """
import os
hidden = (n for _, _, names in os.walk(".") for n in names if n.startswith("."))
print(*os.listdir(), *os.listdir("deploy"), *hidden, sep="\\n")
"""
Result = tuple[str, str, bool]


@dataclass(frozen=True)
class Mistake:
    """An edit of the service that a check has to notice.

    :param check: name of the first check that fails.
    """

    file: str
    old: str
    new: str
    check: str


DOCKERFILE = "deploy/Dockerfile"
MISTAKES = {
    "base without a tag": Mistake(
        DOCKERFILE, "python:3.14-slim AS", "python AS", "hadolint"
    ),
    "copies everything": Mistake(".dockerignore", "*\n!", "!", "contents"),
    "runs as root": Mistake(DOCKERFILE, "USER 10001:10001\n", "", "user"),
    "writes to its root": Mistake(
        DOCKERFILE, "worker-tmp-dir=/dev/shm", "pid=/app/pid", "start"
    ),
    "loopback only": Mistake(DOCKERFILE, "HOST=0.0.0.0", "HOST=127.0.0.1", "start"),
    "unhealthy": Mistake("deploy/healthcheck.py", "/healthz", "/nowhere", "health"),
    "shell in front": Mistake(
        DOCKERFILE,
        'CMD ["gunicorn"]\n',
        'CMD ["sh", "-c", "gunicorn; exit"]\n',
        "SIGTERM",
    ),
    "drops requests": Mistake(
        DOCKERFILE, "worker-tmp-dir=/dev/shm", "graceful-timeout=0", "SIGTERM"
    ),
    "never the same": Mistake(
        DOCKERFILE, "RUN rm ", "RUN date +%N >/venv/built && rm ", "again"
    ),
}


@dataclass
class Trial:
    """An image of a service, from its Dockerfile to its last request."""

    engine: Engine
    service: Path
    base: str
    image: str

    def __post_init__(self) -> None:
        self.container = Container(self.engine, self.image)
        config = (self.package / "config.py").read_text("utf-8")
        self.items = config.split('API_PREFIX = "')[1].split('"')[0] + "/items"

    @property
    def package(self) -> Path:
        return next(self.service.glob("*/nocache")).parent

    def results(self) -> Iterator[Result]:
        """Run the checks in order, up to the first that fails."""
        try:
            for name, check in CHECKS.items():
                try:
                    yield name, check(self), True
                except Broken as error:
                    yield name, str(error), False
                    return
        finally:
            self.container.remove()


def lint(trial: Trial) -> str:
    program = str(Path(sys.executable).with_name("hadolint"))
    try:
        run([program, "--no-color", str(trial.service / DOCKERFILE)], trial.service)
    except ProofError as error:
        raise Broken(str(error)) from None
    return run([program, "--version"], trial.service).strip()


def build(trial: Trial) -> str:
    trial.engine.build(trial.service, trial.base, trial.image)
    size = trial.engine.inspect(trial.image)["Size"]
    base = trial.engine.inspect(trial.base)["Size"]
    return f"{size / 1e6:.0f} MB, {(size - base) / 1e6:.1f} MB of it on top of its base"


def list_contents(trial: Trial) -> str:
    output = trial.container.run_once("python", "-c", LIST).split()
    names = {name for name in output if name != "__pycache__"}
    if names != (expected := CONTENTS | {trial.package.name, "healthcheck.py"}):
        raise Broken(f"/app differs by {sorted(names ^ expected)}.")
    return "the package and the files it needs, nothing else of the checkout"


def check_user(trial: Trial) -> str:
    identity = trial.container.run_once("python", "-c", "import os; print(os.getuid())")
    if identity != "10001":
        raise Broken(f"it runs as {identity}.")
    return identity


def migrate(trial: Trial) -> str:
    trial.container.run_once("flask", "db", "upgrade")
    return "flask db upgrade, in a container of its own"


def start(trial: Trial) -> str:
    start = trial.container.start()
    response = trial.container.request("/healthz")
    return f"{response.at - start:.2f} s from podman run to the first response"


def check_responses(trial: Trial) -> str:
    creation = trial.container.request(trial.items, "POST", '{"name": "first"}')
    listing = trial.container.request(trial.items)
    for response, status in ((creation, 201), (listing, 200)):
        if response.status != status or not is_no_store(response.headers):
            raise Broken(f"{response}.")
    names = [item["name"] for item in json.loads(listing.body)["items"]]
    if names != ["first"]:
        raise Broken(f"it lists {names}.")
    return f"GET {trial.items} has the item of POST, with the three header fields"


def run_healthcheck(trial: Trial) -> str:
    # the first word is CMD, which runs the command without a shell
    _, *command = trial.engine.inspect(trial.image)["Healthcheck"]["Test"]
    trial.container.execute(*command)
    return f"{' '.join(command)}: 0"


def read_metrics(trial: Trial) -> str:
    response = trial.container.request("/metrics", port=8001)
    if response.status != 200 or not is_no_store(response.headers):
        raise Broken(f"{response}.")
    if (public := trial.container.request("/metrics").status) != 404:
        raise Broken(f"port 8000 responds with {public}.")
    return "on port 8001 only"


def audit(trial: Trial) -> str:
    if findings := trial.container.execute("flask", "nocache", "audit"):
        raise Broken(findings)
    return "flask nocache audit: silent"


def terminate(trial: Trial) -> str:
    with trial.container.lingering(trial.items) as client:
        assert client.stdin and client.stdout
        client.stdout.readline()
        trial.engine("kill", "--signal=TERM", trial.container.name)
        # time for a server that drops its requests to do so
        time.sleep(1)
        client.stdin.write("\n")
        client.stdin.flush()
        status = client.stdout.readline().strip()
    start = time.monotonic()
    if status != "201":
        raise Broken("the request in flight was lost.")
    if code := trial.container.wait():
        raise Broken(f"it ended with {code}.")
    seconds = time.monotonic() - start
    return f"the request in flight got {status}, {seconds:.2f} s later exit 0"


def build_again(trial: Trial) -> str:
    """Build from a checkout of another user at another time."""
    for path in trial.service.rglob("*"):
        if ".git" not in path.parts:
            os.utime(path)
            path.chmod(0o700 if path.is_dir() else 0o600)
    trial.engine.build(trial.service, trial.base, f"{trial.image}-again", "--no-cache")
    layers, others = (
        trial.engine.inspect(image)["RootFS"]["Layers"]
        for image in (trial.image, f"{trial.image}-again")
    )
    if layers != others:
        raise Broken(f"{len(set(layers) - set(others))} layers differ.")
    return f"{len(layers)} layers with the same bytes"


CHECKS: dict[str, Callable[[Trial], str]] = {
    "hadolint": lint,
    "build": build,
    "contents": list_contents,
    "user": check_user,
    "migrate": migrate,
    "start": start,
    "responses": check_responses,
    "health": run_healthcheck,
    "metrics": read_metrics,
    "audit": audit,
    "SIGTERM": terminate,
    "again": build_again,
}


def main() -> int:
    """Build, run and break the image: 0 passed, 1 failed, 2 no result."""
    arguments = parse()
    programs = ["podman", "runc", *([] if arguments.base else ["debootstrap"])]
    if missing := [name for name in programs if find_program(name) is None]:
        print(f"error: the container needs {', '.join(missing)}.", file=sys.stderr)
        print(f"hint: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 2
    # SIGTERM unwinds like Ctrl-C, so that each process is stopped
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="container-") as folder:
        engine = Engine(Path(folder))
        try:
            return report(prove(engine, Path(folder), arguments))
        except KeyboardInterrupt:
            return 130
        except ProofError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except Exception:
            traceback.print_exc()
            return 2
        finally:
            engine.remove_all()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="container")
    parser.add_argument("--base", help="an image with Python; by default Debian's")
    parser.add_argument("answers", nargs="*", help="such as project_slug=shelf2")
    return parser.parse_args()


def prove(
    engine: Engine, scratch: Path, arguments: argparse.Namespace
) -> Iterator[Result]:
    if arguments.base:
        engine("pull", arguments.base)
    base = arguments.base or import_debian(engine, ARCHIVE, scratch)
    service = bake(scratch / "bake", arguments.answers)
    passed = True
    for name, detail, passed in Trial(engine, service, base, "service").results():
        yield name, detail, passed
    if not passed:
        return
    for number, (name, mistake) in enumerate(MISTAKES.items()):
        check, detail = notice(
            Trial(engine, service, base, f"mistake{number}"), mistake
        )
        passed = check == mistake.check
        detail = f"noticed by {check}" if passed else f"{check}: {detail}"
        yield f"not: {name}", detail, passed


def bake(folder: Path, answers: list[str]) -> Path:
    """Bake a service, with files that must stay out of its image."""
    command = [sys.executable, "-m", "cookiecutter", str(ROOT), "--no-input"]
    # Cookiecutter leaves files behind
    env = environment(TMPDIR=str(folder.parent))
    run([*command, "--output-dir", str(folder), *answers], ROOT, env)
    (service,) = folder.iterdir()
    (package,) = (path.parent for path in service.glob("*/nocache"))
    for name in (*SECRETS, f"{package.name}/.env"):
        (service / name).parent.mkdir(exist_ok=True)
        (service / name).write_text("secret\n", "utf-8")
    return service


def notice(trial: Trial, mistake: Mistake) -> tuple[str, str]:
    """Make a mistake, and return the check that fails and its message."""
    path = trial.service / mistake.file
    source = path.read_text("utf-8")
    if source.count(mistake.old) != 1:
        raise ProofError(f"{mistake.file} has no single {mistake.old!r}.")
    path.write_text(source.replace(mistake.old, mistake.new), "utf-8")
    try:
        *_, (check, detail, passed) = trial.results()
    finally:
        path.write_text(source, "utf-8")
    return ("no check", "it passes.") if passed else (check, detail)


def report(results: Iterator[Result]) -> int:
    passes = failures = 0
    for name, detail, passed in results:
        print(f"{'ok' if passed else 'FAILED':6}  {name:24}  {detail}", flush=True)
        passes, failures = passes + passed, failures + (not passed)
    print(f"\n{passes} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
