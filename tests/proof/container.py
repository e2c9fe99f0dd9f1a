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
from .podman import debian
from .podman import Engine
from .processes import environment
from .processes import find_program
from .processes import ProofError
from .scenarios import is_no_store
from .service import ROOT
from .service import run

ARCHIVE = ROOT / "build" / "container" / "base.tar"
# what a checkout may have, and an image must not
SECRETS = [".env", "deploy/.env", "instance/app.sqlite3"]
# what an image needs, beside the package
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

    :param check: the first check that fails.
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
        """Check one thing after the other, up to the first that fails."""
        try:
            for name, check in CHECKS.items():
                try:
                    yield name, check(self), True
                except Broken as error:
                    yield name, str(error), False
                    return
        finally:
            self.container.remove()


def hadolint(trial: Trial) -> str:
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


def contents(trial: Trial) -> str:
    told = trial.container.once("python", "-c", LIST).split()
    found = {name for name in told if name != "__pycache__"}
    if found != (expected := CONTENTS | {trial.package.name, "healthcheck.py"}):
        raise Broken(f"/app differs by {sorted(found ^ expected)}.")
    return "the package and what it takes, nothing else of the checkout"


def user(trial: Trial) -> str:
    identity = trial.container.once("python", "-c", "import os; print(os.getuid())")
    if identity != "10001":
        raise Broken(f"it runs as {identity}.")
    return identity


def migrate(trial: Trial) -> str:
    trial.container.once("flask", "db", "upgrade")
    return "flask db upgrade, in a container of its own"


def start(trial: Trial) -> str:
    begun = trial.container.start()
    response = trial.container.ask("/healthz")
    return f"{response.at - begun:.2f} s from podman run to the first response"


def responses(trial: Trial) -> str:
    saved = trial.container.ask(trial.items, "POST", '{"name": "first"}')
    listed = trial.container.ask(trial.items)
    for response, status in ((saved, 201), (listed, 200)):
        if response.status != status or not is_no_store(response.headers):
            raise Broken(f"{response}.")
    names = [item["name"] for item in json.loads(listed.body)["items"]]
    if names != ["first"]:
        raise Broken(f"it lists {names}.")
    return f"GET {trial.items} says what POST saved, with the three headers"


def health(trial: Trial) -> str:
    # CMD in front says that no shell is asked for
    _, *command = trial.engine.inspect(trial.image)["Healthcheck"]["Test"]
    trial.container.execute(*command)
    return f"{' '.join(command)}: 0"


def metrics(trial: Trial) -> str:
    response = trial.container.ask("/metrics", port=8001)
    if response.status != 200 or not is_no_store(response.headers):
        raise Broken(f"{response}.")
    if (public := trial.container.ask("/metrics").status) != 404:
        raise Broken(f"port 8000 responses {public}.")
    return "on port 8001 only"


def audit(trial: Trial) -> str:
    if found := trial.container.execute("flask", "nocache", "audit"):
        raise Broken(found)
    return "flask nocache audit: silent"


def terminate(trial: Trial) -> str:
    with trial.container.lingering(trial.items) as client:
        assert client.stdin and client.stdout
        client.stdout.readline()
        trial.engine("kill", "--signal=TERM", trial.container.name)
        # so that a server that would drop the request has dropped it
        time.sleep(1)
        client.stdin.write("\n")
        client.stdin.flush()
        status = client.stdout.readline().strip()
    response_time = time.monotonic()
    if status != "201":
        raise Broken("the request in flight was lost.")
    if code := trial.container.wait():
        raise Broken(f"it ended with {code}.")
    return f"the request in flight got {status}, {time.monotonic() - response_time:.2f} s later exit 0"


def again(trial: Trial) -> str:
    """Build from a checkout that another user made at another time."""
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
    "hadolint": hadolint,
    "build": build,
    "contents": contents,
    "user": user,
    "migrate": migrate,
    "start": start,
    "responses": responses,
    "health": health,
    "metrics": metrics,
    "audit": audit,
    "SIGTERM": terminate,
    "again": again,
}


def main() -> int:
    """Build, run and break the image: 0 kept, 1 broken, 2 nothing is known."""
    arguments = parse()
    programs = ["podman", "runc", *([] if arguments.base else ["debootstrap"])]
    if missing := [name for name in programs if find_program(name) is None]:
        print(f"error: the container needs {', '.join(missing)}.", file=sys.stderr)
        print(f"hint: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 2
    # unwinds like Ctrl-C, so that nothing is left running
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
    base = arguments.base or debian(engine, ARCHIVE, scratch)
    service = bake(scratch / "bake", arguments.answers)
    kept = True
    for name, fact, kept in Trial(engine, service, base, "service").results():
        yield name, fact, kept
    if not kept:
        return
    for number, (name, mistake) in enumerate(MISTAKES.items()):
        check, fact = notice(Trial(engine, service, base, f"mistake{number}"), mistake)
        as_told = check == mistake.check
        told = f"noticed by {check}" if as_told else f"{check}: {fact}"
        yield f"not: {name}", told, as_told


def bake(folder: Path, answers: list[str]) -> Path:
    """Bake a service, with what must stay out of its image beside it."""
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
    """Make a mistake, and return which check fails and what it says."""
    path = trial.service / mistake.file
    source = path.read_text("utf-8")
    if source.count(mistake.old) != 1:
        raise ProofError(f"{mistake.file} has no single {mistake.old!r}.")
    path.write_text(source.replace(mistake.old, mistake.new), "utf-8")
    try:
        *_, (check, fact, kept) = trial.results()
    finally:
        path.write_text(source, "utf-8")
    return ("no check", "it passes.") if kept else (check, fact)


def report(results: Iterator[Result]) -> int:
    passed = failed = 0
    for name, fact, kept in results:
        print(f"{'ok' if kept else 'FAILED':6}  {name:24}  {fact}", flush=True)
        passed, failed = passed + kept, failed + (not kept)
    print(f"\n{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
