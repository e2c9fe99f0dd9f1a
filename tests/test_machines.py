"""A service on machines that lack something; docs/machines.md lists them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Bake
from conftest import Project

pwd = pytest.importorskip("pwd", reason="needs a machine with POSIX users")
# what a machine has at least; python3 and no python
LEAST = ["sh", "awk", "grep", "touch", "cat"]
# what a commit takes: the script that pre-commit writes runs in bash
COMMITS = ["git", "bash", "env"]
GATE = ["make", "setup", "test", "lint", "audit"]
MISTAKE = '\n\n@bp.get("/about")\ndef about() -> str:\n    return "about"\n'

SEARCHED = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

Machine = Callable[..., dict[str, str]]


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The environment of somebody who has these tools and a home folder."""

    def machine(*tools: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("machine")
        for tool in [*LEAST, *tools]:
            found = shutil.which(tool, path=SEARCHED)
            if found is None:
                pytest.skip(f"needs {tool}")
            (folder / tool).symlink_to(found)
        base = Path(sys.base_prefix, "bin", "python3")
        (folder / "python3").symlink_to(base.resolve())
        (folder / ".gitconfig").write_text(
            "[user]\nname = Ada\nemail = ada@example.com\n"
        )
        cache = os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
        return {"PATH": str(folder), "HOME": str(folder), "UV_CACHE_DIR": cache}

    return machine


@pytest.mark.slow
def test_no_git(bake: Bake, machine: Machine) -> None:
    project = bake()
    shutil.rmtree(project.path / ".git")

    said = run(project, *GATE, **machine("make", "uv"))

    assert "the pre-commit hook waits for 'git init'" in said


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["uv", "python3"])
def test_no_make(bake: Bake, machine: Machine, tool: str) -> None:
    project = bake()
    readme = project.read("README.md")
    (setup,) = re.findall(rf"```sh\n({tool} .+?)```", readme, re.S)
    rows = re.findall(r"^\| `make (?:test|lint|audit)` \| (.+) \|$", readme, re.M)
    commands = re.findall("`(.+?)`", " ".join(rows))
    assert len(commands) == 5
    start = ". .venv/bin/activate\n" if tool == "uv" else ""

    run(
        project,
        *["sh", "-ec", setup + start + "\n".join(commands)],
        **machine("git", *(["uv"] if tool == "uv" else [])),
    )

    assert (project.path / ".git" / "hooks" / "pre-commit").exists()


@pytest.mark.slow
def test_hooks_path_is_set_for_all_repositories(bake: Bake, machine: Machine) -> None:
    project, environ = bake(), machine("make", "uv", "git")
    hooks = Path(environ["HOME"], "hooks")
    hooks.mkdir()
    run(project, "git", "config", "--global", "core.hooksPath", str(hooks), **environ)

    said = run(project, *GATE, **environ)

    assert "warning: the pre-commit hook is not installed" in said
    assert list(hooks.iterdir()) == []


@pytest.mark.slow
def test_odd_path_and_umask(bake_into: Bake, tmp_path: Path, machine: Machine) -> None:
    folder = tmp_path / "Zoë's & söns (日本) $HOME"
    folder.mkdir()
    project, environ = bake_into(folder), machine("make", "uv", *COMMITS)

    run(project, "sh", "-ec", f"umask 077; {' '.join(GATE)}", **environ)

    assert (project.path / ".venv" / ".ready").stat().st_mode & 0o077 == 0
    run(project, "git", "add", "--all", **environ)
    run(project, "git", "commit", "--message", "start", **environ)
    with (project.path / project.package / "pages.py").open("a") as file:
        file.write(MISTAKE)
    bad = project.run("git", "commit", "-am", "forget a policy", **environ)
    assert bad.returncode == 1
    assert "NC001 undeclared-route" in bad.stdout


@pytest.mark.slow
def test_inside_a_larger_repository(
    bake: Bake, tmp_path: Path, machine: Machine
) -> None:
    environ = machine("make", "uv", "git")
    run(Project(tmp_path), "git", "init", **environ)
    project = bake()

    said = run(project, *GATE, **environ)

    assert "Part of a larger repository: no pre-commit hook installed" in said
    assert not (project.path / ".git").exists()
    assert not (tmp_path / ".git" / "hooks" / "pre-commit").exists()


@pytest.mark.slow
def test_no_network_after_setup(bake: Bake, machine: Machine) -> None:
    # the service's tests talk to gunicorn on 127.0.0.1
    loopback = ["sh", "-ec", 'ip link set lo up && exec "$@"', "sh"]
    offline = [*namespace("-n"), *loopback]
    project, environ = bake(), machine("make", "uv", "unshare", "ip", *COMMITS)
    run(project, "make", "setup", **environ)

    run(project, *offline, *GATE, **environ)

    run(project, "git", "add", "--all", **environ)
    run(project, *offline, "git", "commit", "--message", "start", **environ)


def test_no_network_to_bake(template: Path, tmp_path: Path) -> None:
    command = ["python", "-m", "cookiecutter", "--no-input", str(template)]

    run(Project(tmp_path), *namespace("-n"), *command, HOME=str(tmp_path))

    assert (tmp_path / "saved-items" / "pyproject.toml").exists()


def test_read_only_service(
    bake: Bake, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With the database elsewhere: the default one lies in the folder."""
    project = bake()
    database = f"sqlite:///{tmp_path_factory.mktemp('data') / 'app.sqlite3'}"
    read_only = read_only_here()
    assert project.run(*read_only, "touch", "mine").returncode == 1

    for command in ("nocache audit", "nocache routes", "nocache --version"):
        flask = ["python", "-m", "flask", *command.split()]
        run(project, *read_only, *flask, DATABASE_URL=database)


def test_read_only_folder_is_named(template: Path, tmp_path: Path) -> None:
    command = ["python", "-m", "cookiecutter", "--no-input", str(template)]

    with tempfile.TemporaryDirectory() as home:
        bad = Project(tmp_path).run(*read_only_here(), *command, HOME=home)

    assert bad.returncode == 1
    assert "Read-only file system: 'saved-items'" in bad.stdout


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users of the machine may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become a plain user")
def test_plain_user(bake_into: Bake, shared: Path) -> None:
    for tool in ("/usr/bin/python3", "/usr/sbin/runuser"):
        if not Path(tool).exists():
            pytest.skip(f"needs {tool}")
    project = bake_into(shared)
    run(project, "chown", "-R", "nobody", str(shared))
    home, path = f"HOME={shared}", "PATH=/usr/bin:/bin"
    user = ["/usr/sbin/runuser", "-u", "nobody", "--", "env", home, path]

    said = run(project, *user, *GATE)

    assert "pre-commit installed at" in said
    assert pwd.getpwuid((project.path / ".venv").stat().st_uid).pw_name == "nobody"


def namespace(*kinds: str) -> list[str]:
    """Begin a command that runs as root of a namespace of its own."""
    command = ["unshare", "-r", *kinds]
    tried = shutil.which("unshare") and subprocess.run(
        [*command, "true"], capture_output=True
    )
    if not tried or tried.returncode:
        pytest.skip("needs unshare and the right to use it")
    return command


def read_only_here() -> list[str]:
    script = 'mount --bind . . && mount -o remount,ro,bind . && cd "$PWD" && "$@"'
    return [*namespace("-m"), "sh", "-ec", script, "sh"]


def run(project: Project, *command: str, **environ: str) -> str:
    result = project.run(*command, **environ)
    assert result.returncode == 0, result.stdout
    return result.stdout
