from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from compileall import compile_dir
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

import pytest
from cookiecutter.environment import StrictEnvironment
from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
KIT = TEMPLATE / "{{cookiecutter.__package_name}}" / "nocache"
# the proof is a program, and tests/service runs inside a baked service
collect_ignore = ["proof", "service"]
QUESTIONS = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))

# what "3.11 or newer" means today; the image and the pipelines take the current one
PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
CURRENT = "3.14"

SCRIPTS = sysconfig.get_path("scripts")
# of the environment that runs the tests, whatever is on PATH
TOOLS = {
    "python": sys.executable,
    "ruff": os.path.join(SCRIPTS, "ruff"),
}
# where commands find the tools of the environment that runs the tests
TOOLS_PATH = os.pathsep.join([SCRIPTS, os.environ["PATH"]])

# the defaults, then every option flipped once
COMBINATIONS: dict[str, dict[str, str]] = {
    "defaults": {},
    "bsd": {"license": "BSD-3-Clause"},
    "apache": {"license": "Apache-2.0"},
    "no-license": {"license": "none"},
    "gitlab": {"code_host": "gitlab"},
    "no-host": {"code_host": "none"},
    "kubernetes": {"deploy": "kubernetes"},
    "no-deploy": {"deploy": "none"},
    "prefix": {"api_prefix": "/v2/json"},
    "names": {
        "project_name": 'Søren\'s "Shelf" \\ 100% 👩‍🚀',
        "project_slug": "shelf2",
        "description": "# *Not* a heading: [x](y) & <b>'\"\\",
        "author_name": 'Zoë "Z" O\'Neil',
        "author_email": "zoe+shelf@mail.example.org",
    },
    "long": {
        "project_name": "N" * 80,
        "project_slug": f"s{'-long' * 11}-top",
        "description": 'A "quoted" word. ' * 11 + "The end.",
        "author_name": '"' * 80,
        "api_prefix": "/p" * 30,
        "deploy": "kubernetes",
    },
}
# these change no Python: what was shown for the defaults holds for them too
SAME_PYTHON = [
    *["bsd", "apache", "no-license", "gitlab", "no-host"],
    *["kubernetes", "no-deploy"],
]


def combinations(*deploys: str) -> list[str]:
    """Name the combinations that have one of these as their deployment."""
    default = QUESTIONS["deploy"][0]
    return [n for n, a in COMBINATIONS.items() if a.get("deploy", default) in deploys]


@dataclass(frozen=True)
class Project:
    """A baked service."""

    path: Path

    @property
    def package(self) -> str:
        return self.path.name.replace("-", "_")

    @property
    def kit(self) -> Path:
        return self.path / self.package / "nocache"

    def files(self) -> list[str]:
        """List the paths of all files, without git's own and Python's bytecode."""
        paths = (p.relative_to(self.path) for p in self.path.rglob("*") if p.is_file())
        names = (p.as_posix() for p in paths if p.parts[0] != ".git")
        return sorted(name for name in names if not name.endswith(".pyc"))

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def read(self, name: str) -> str:
        return (self.path / name).read_bytes().decode("utf-8")

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a user would, with output and errors together."""
        return subprocess.run(
            [TOOLS.get(word, word) for word in command],
            cwd=self.path,
            env=clean_environ()
            | {
                # a service installs no plugin of pytest
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTEST_DEBUG_TEMPROOT": str(self.path.parent),
                # most of mypy's time is for libraries, which are the same in each service
                "MYPY_CACHE_DIR": os.path.join(tempfile.gettempdir(), "mypy"),
            }
            | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def check(self, *command: str, **environ: str) -> str:
        """Run a command that has to succeed, and return its output."""
        result = self.run(*command, **environ)
        assert result.returncode == 0, result.stdout
        return result.stdout


Bake = Callable[..., Project]
BY_HASH = PycInvalidationMode.CHECKED_HASH


def clean_environ() -> dict[str, str]:
    """Leave out what this test run must not hand to a service's commands."""
    drop = (
        "VIRTUAL_ENV",
        "PYTEST_",
        "FLASK_",
        "DATABASE_URL",
        "GIT_",
        "MAKE",
        "MFLAGS",
    )
    return {k: v for k, v in os.environ.items() if not k.startswith(drop)}


def read_files(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder but Python's bytecode."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def find_python(version: str) -> str | None:
    """Find a Python on PATH that starts; version managers leave ones that do not."""
    for folder in TOOLS_PATH.split(os.pathsep):
        python = shutil.which(f"python{version}", path=folder)
        if (
            python
            and subprocess.run([python, "-V"], capture_output=True).returncode == 0
        ):
            return python
    return None


def note_checksums(kit: Path, noted: Path | None = None) -> None:
    """Do what `make kit` does, so that one test fails where it was not done, not all."""
    names = [path.relative_to(kit).as_posix() for path in kit.rglob("[!.]*.*")]
    lines = [
        f"{sha256((kit / name).read_bytes()).hexdigest()}  {name}\n"
        for name in sorted(names)
        if "__pycache__" not in name
    ]
    noted = noted or kit / "CHECKSUMS"
    noted.write_text("".join(lines), "utf-8", newline="\n")


class Failures:
    """Write each failure into a file at once, since the output of a run may be lost."""

    def __init__(self) -> None:
        name = f"{datetime.now():%Y-%m-%d-%H%M%S}.txt"
        self.path = ROOT / "build" / "failures" / name

    def write(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        if report.failed:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                print(report.nodeid, report.longreprtext, sep="\n\n", file=file)

    pytest_runtest_logreport = pytest_collectreport = write

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        if self.path.exists():
            name = self.path.relative_to(ROOT)
            terminalreporter.write_line(f"Failures are kept in {name}.")


def pytest_configure(config: pytest.Config) -> None:
    # a worker of xdist reports to the process that has the terminal
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Failures(), "failures")


@pytest.fixture(scope="session", autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove what is left in the temporary folder: Cookiecutter leaves each hook."""
    tmp_path_factory.getbasetemp()
    with (
        tempfile.TemporaryDirectory(prefix="tests-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clone would hold, free of caches that tools leave here."""
    copy = tmp_path_factory.mktemp("template")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
    for name in names.decode("utf-8").split("\0")[:-1]:
        if name.startswith(("cookiecutter.json", "hooks/", TEMPLATE.name)):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    note_checksums(copy / KIT.relative_to(ROOT))
    return copy


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of cookiecutter, away from the user's own."""
    home = tmp_path_factory.mktemp("cookiecutter")
    config = home / "config.yaml"
    folders = {"cookiecutters_dir": str(home), "replay_dir": str(home / "replay")}
    config.write_text(json.dumps(folders), "utf-8")
    return config


@pytest.fixture(scope="session", autouse=True)
def compiled() -> Iterator[None]:
    """Compile a text of the template once, which takes a third of a bake."""
    compile = StrictEnvironment.compile
    codes: dict[tuple[object, ...], object] = {}

    def compile_once(self: StrictEnvironment, *arguments: Any) -> object:
        if arguments not in codes:
            codes[arguments] = compile(self, *arguments)
        return codes[arguments]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StrictEnvironment, "compile", compile_once)
        yield


@pytest.fixture(scope="session")
def bake_into(template: Path, config: Path) -> Bake:
    """Bake into a given folder."""

    def bake_into(
        folder: Path,
        *,
        overwrite: bool = False,
        skip: bool = False,
        hooks: bool = True,
        **answers: str,
    ) -> Project:
        made = cookiecutter(
            str(template),
            no_input=True,
            extra_context=answers,
            output_dir=str(folder),
            config_file=str(config),
            overwrite_if_exists=overwrite,
            skip_if_file_exists=skip,
            accept_hooks=hooks,
        )
        return Project(Path(made))

    return bake_into


@pytest.fixture(scope="session")
def copy_into(bake_into: Bake, tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """Copy a service into a given folder; each set of answers is baked once."""
    originals: dict[frozenset[tuple[str, str]], Path] = {}

    def copy_into(folder: Path, **answers: str) -> Project:
        key = frozenset(answers.items())
        if key not in originals:
            baked = bake_into(tmp_path_factory.mktemp("original"), **answers)
            # by hash, since a test may edit a file in the second in which it was written
            compile_dir(baked.path, quiet=1, invalidation_mode=BY_HASH)
            originals[key] = baked.path
        copy = folder / originals[key].name
        shutil.copytree(originals[key], copy, symlinks=True)
        return Project(copy)

    return copy_into


@pytest.fixture
def bake(copy_into: Bake, tmp_path: Path) -> Bake:
    """Bake a service that the test may change."""
    return lambda **answers: copy_into(tmp_path, **answers)


@pytest.fixture(scope="session")
def baked(copy_into: Bake, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The service with the default answers; the test must leave it as it is."""
    return copy_into(tmp_path_factory.mktemp("baked"))


@pytest.fixture(scope="session", params=COMBINATIONS)
def combination(
    request: pytest.FixtureRequest,
    copy_into: Bake,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Project]:
    """Each named combination of answers, baked; to be left as it is."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, copy_into(folder, **COMBINATIONS[request.param])
