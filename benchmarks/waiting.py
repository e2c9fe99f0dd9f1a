"""Time what a developer waits for in a baked project, beside the projects of other templates.

PEERS names a folder with clones of those below; what is not there is left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
ROUNDS = 3
# that of the machine: the one that runs this has no pip
PYTHON = str(Path(sys.base_prefix, "bin", "python3"))
VENV = f"{PYTHON} -m venv --clear .venv"
COMMIT = "echo A note. >> README.md && git commit --quiet --all --message x"


class Template(t.NamedTuple):
    """What its README says to type; None where it has nothing or needs another host.

    :param answers: for questions without a default.
    :param steps: as named in STEPS; "no uv" is set up first and removed, so that the rest runs in what uv sets up.
    """

    path: Path
    answers: dict[str, str]
    steps: dict[str, str | None]


STEPS = {
    "uv": "setup, with uv",
    "no uv": "setup, without uv",
    "first test": "test, the first time",
    "test": "test, again",
    "cold lint": "lint, without its caches",
    "lint": "lint, again",
    "audit": "audit",
    "commit": "commit, hooks included",
}
PEERS = Path(os.environ.get("PEERS") or os.devnull)
TEMPLATES = {
    "here": Template(
        ROOT,
        {},
        {
            "uv": "make setup",
            "no uv": "make setup",
            "test": "make test",
            "lint": "make lint",
            "audit": "make audit",
            "commit": COMMIT,
        },
    ),
    "cookiecutter-flask": Template(
        PEERS / "cookiecutter-flask",
        {
            "full_name": "Ada Lovelace",
            "email": "ada@example.com",
            "github_username": "ada",
            "project_name": "Peer",
            "app_name": "peer",
            "project_short_description": "A peer.",
            "use_pipenv": "False",
            "python_version": "3.11",
            "node_version": "22",
            "use_heroku": "False",
        },
        {
            "uv": f"{VENV} --without-pip && uv pip install --quiet --python .venv/bin/python -r requirements/dev.txt",
            "no uv": f"{VENV} && .venv/bin/python -m pip install --quiet -r requirements/dev.txt",
            "test": ".venv/bin/flask test",
            "lint": "PATH=$PWD/.venv/bin:$PATH flask lint --check",
            "audit": None,
            "commit": COMMIT,
        },
    ),
    # its hooks are cloned from a code host: what they run is in the environment too
    "cookiecutter-uv": Template(
        PEERS / "cookiecutter-uv",
        {"mkdocs": "n"},
        {
            "uv": "make install",
            "no uv": None,
            "test": "make test",
            "lint": "uv lock --locked && uv run ruff check --no-fix . && uv run ruff format --check ."
            " && uv run mypy && uv run deptry .",
            "audit": None,
            "commit": None,
        },
    ),
}


def environment(uv: bool) -> dict[str, str]:
    """Return the environment of a command, with or without uv on PATH."""
    folders = [f for f in os.get_exec_path() if not shutil.which("uv", path=f)]
    drop = ("PYTHON", "VIRTUAL_ENV", "MAKE", "MFLAGS", "GIT_", "FLASK_", "UV_PROJECT")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
    names = {f"GIT_{who}_NAME": "Ada" for who in ("AUTHOR", "COMMITTER")}
    names |= {f"GIT_{who}_EMAIL": "a@b.co" for who in ("AUTHOR", "COMMITTER")}
    path = [str(Path(sys.executable).parent), *folders] if uv else folders
    return kept | names | {"PATH": os.pathsep.join(path), "PYTHON": PYTHON}


def seconds(command: str, at: Path, *, uv: bool = True) -> float:
    started = time.perf_counter()
    done = subprocess.run(
        command,
        shell=True,
        cwd=at,
        env=environment(uv),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{at.name}: {command}\n{done.stdout}")
    return time.perf_counter() - started


def bake(template: Template, folder: Path) -> Path:
    answers = " ".join(f"{name}='{value}'" for name, value in template.answers.items())
    cookiecutter = BIN / "cookiecutter"
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    seconds(
        f"{cookiecutter} --no-input '{template.path}' -o '{output}' {answers}", folder
    )
    (project,) = output.iterdir()
    return project


def measure(template: Template, folder: Path) -> dict[str, float]:
    figures: dict[str, list[float]] = {"bake": [], **{step: [] for step in STEPS}}
    steps = template.steps

    def note(
        step: str, at: Path, *, uv: bool = True, command: str | None = None
    ) -> None:
        command = command or steps[step]
        if command:
            figures[step].append(seconds(command, at, uv=uv))

    for _ in range(ROUNDS):
        started = time.perf_counter()
        project = bake(template, folder)
        figures["bake"].append(time.perf_counter() - started)
        if not (project / ".git").exists():
            seconds("git init --quiet", project)
        if steps["no uv"]:
            note("no uv", project, uv=False)
            shutil.rmtree(project / ".venv")
        note("uv", project)
        seconds("git add --all && git commit --quiet --no-verify -m x", project)
        note("first test", project, command=steps["test"])
        note("test", project)
        seconds("rm -rf .mypy_cache .ruff_cache", project)
        note("cold lint", project, command=steps["lint"])
        note("lint", project)
        note("audit", project)
        note("commit", project)
    return {step: median(values) for step, values in figures.items() if values}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Cookiecutter leaves files behind
        os.environ["TMPDIR"] = folder
        templates = {n: p for n, p in TEMPLATES.items() if p.path.exists()}
        figures = {
            name: measure(p, Path(folder, name)) for name, p in templates.items()
        }
        own = next(Path(folder, "here", "output").iterdir())
        imports = ".venv/bin/python -c 'import wsgi'"
        once = median(
            seconds(f"FLASK_DEBUG=1 {imports}", own) for _ in range(2 * ROUNDS)
        )
    ours = figures.pop("here")
    print("What", "s", "to import wsgi", *figures, sep="\t")
    print("import wsgi", f"{once:.1f}", *[""] * (1 + len(figures)), sep="\t")
    for step, name in {"bake": "bake", **STEPS}.items():
        theirs = (figure.get(step) for figure in figures.values())
        ratios = (f"{value / ours[step]:.1f} x" if value else "-" for value in theirs)
        own_ratio = f"{ours[step] / once:.1f} x"
        print(name, f"{ours[step]:.1f}", own_ratio, *ratios, sep="\t")


if __name__ == "__main__":
    main()
