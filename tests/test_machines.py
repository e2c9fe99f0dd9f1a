"""A service on machines that lack something; docs/machines.md lists them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from conftest import Bake
from conftest import clean_environ
from conftest import Project
from conftest import ROOT
from conftest import TOOLS_PATH

pwd = pytest.importorskip("pwd", reason="needs a machine with POSIX users")
# what a machine has at least; python3 and no python
LEAST = ["sh", "awk", "grep", "sed", "touch", "cat"]
# what a commit takes: the script that pre-commit writes runs in bash
COMMITS = ["git", "bash", "dirname", "env"]
GATE = ["make", "setup", "check"]
# what a clone does not have
MADE = [".git", ".venv", "build", ".*_cache", "__pycache__"]
PRE_COMMIT = ".pre-commit-config.yaml"
MISTAKE = '\n\n@bp.get("/about")\ndef about() -> str:\n    return "about"\n'

Machine = Callable[..., dict[str, str]]


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The environment of somebody who has these tools and a home folder."""

    def machine(*tools: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("machine")
        for tool in [*LEAST, *tools]:
            match = shutil.which(tool, path=TOOLS_PATH)
            if match is None:
                pytest.skip(f"needs {tool}")
            (folder / tool).symlink_to(match)
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

    output = project.check(*GATE, **machine("make", "uv"))

    assert "the pre-commit hook waits for 'git init'" in output


@pytest.mark.slow
def test_demo(machine: Machine, tmp_path: Path) -> None:
    """From a clone, without uv: it installs nothing that only tests need."""
    shutil.copytree(ROOT, tmp_path / "clone", ignore=shutil.ignore_patterns(*MADE))
    clone = Project(tmp_path / "clone")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made, environ = (
        clone.path / "build" / "demo",
        clean_environ() | machine("make", "rm"),
    )

    demo = subprocess.Popen(
        ["make", "demo", f"PORT={port}"],
        cwd=clone.path,
        env=environ,
        start_new_session=True,
    )
    try:
        items = f"http://127.0.0.1:{port}/api/items"
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(URLError), urlopen(items, timeout=60) as response:
                assert "no-store" in response.headers["Cache-Control"]
                break
            assert demo.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        os.killpg(demo.pid, signal.SIGTERM)
        demo.wait()

    installed = {path.name for path in (made / ".venv" / "bin").iterdir()}
    assert "cookiecutter" in installed and not installed & {"pytest", "mypy", "ruff"}


@pytest.mark.slow
def test_uv_has_no_wheel_here(bake: Bake, machine: Machine) -> None:
    project, environ = bake(), machine("make", "git")

    bad = project.run("make", "setup", PIP_NO_INDEX="1", PIP_FIND_LINKS="", **environ)

    assert bad.returncode == 2
    assert "hint: docs/operations.md, under Setup, has the commands" in bad.stdout
    by_hand = setup_commands(project, "python3") + "touch .venv/.ready"
    project.check("sh", "-ec", by_hand, **environ)
    output = project.check(*GATE, PIP_NO_INDEX="1", **environ)
    assert " passed" in output


@pytest.mark.slow
def test_uv_of_other_bytes_is_refused(bake: Bake, machine: Machine) -> None:
    project, environ = bake(), machine("make", "git")
    pins = project.path / "requirements-uv.txt"
    other = re.sub("sha256:[0-9a-f]+", f"sha256:{'0' * 64}", pins.read_text("utf-8"))
    pins.write_text(other, "utf-8")

    bad = project.run("make", "setup", **environ)

    assert bad.returncode == 2
    assert "DO NOT MATCH THE HASHES" in bad.stdout
    assert not project.has(".venv/.ready")


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["uv", "python3"])
def test_no_make(bake: Bake, machine: Machine, tool: str) -> None:
    project = bake()
    setup, readme = setup_commands(project, tool), project.read("README.md")
    rows = re.findall(r"^\| `make (?:test|lint|audit)` \| (.+) \|$", readme, re.M)
    commands = re.findall("`(.+?)`", " ".join(rows))
    assert len(commands) == 5
    start = ". .venv/bin/activate\n" if tool == "uv" else ""

    project.check(
        *["sh", "-ec", setup + start + "\n".join(commands)],
        **machine("git", *(["uv"] if tool == "uv" else [])),
    )

    assert (project.path / ".git" / "hooks" / "pre-commit").exists()


@pytest.mark.slow
def test_hooks_path_is_set_for_all_repositories(bake: Bake, machine: Machine) -> None:
    project, environ = bake(), machine("make", "uv", "git")
    hooks = Path(environ["HOME"], "hooks")
    hooks.mkdir()
    project.check("git", "config", "--global", "core.hooksPath", str(hooks), **environ)

    output = project.check(*GATE, **environ)

    assert "warning: the pre-commit hook is not installed" in output
    assert list(hooks.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("uv", [["uv"], []], ids=["uv", "no-uv"])
def test_odd_path_and_umask(
    bake_into: Bake, tmp_path: Path, machine: Machine, uv: list[str]
) -> None:
    folder = tmp_path / "Zoë's & söns (日本) $HOME"
    folder.mkdir()
    project, environ = bake_into(folder), machine("make", *uv, *COMMITS)

    project.check("sh", "-ec", f"umask 077; {' '.join(GATE)}", **environ)

    assert (project.path / ".venv" / ".ready").stat().st_mode & 0o077 == 0
    project.check("git", "add", "--all", **environ)
    project.check("git", "commit", "--message", "start", **environ)
    with (project.path / project.package / "pages.py").open("a") as file:
        file.write(MISTAKE)
    bad = project.run("git", "commit", "-am", "forget a policy", **environ)
    assert bad.returncode == 1
    assert "NC001 undeclared-route" in bad.stdout


@pytest.mark.slow
def test_worktree(bake: Bake, machine: Machine, tmp_path: Path) -> None:
    project, environ = bake(), machine("make", "uv", *COMMITS)
    project.check("make", "setup", **environ)
    project.check("git", "add", "--all", **environ)
    project.check("git", "commit", "--message", "start", **environ)
    tree = Project(tmp_path / "tree")

    # first with the environment of the main work tree, then with its own
    project.check("git", "worktree", "add", "../tree", **environ)
    commit(tree, **environ)
    tree.check("make", "setup", **environ)
    shutil.move(project.path / ".venv", tmp_path / "moved")
    commit(tree, **environ)

    # and the other way round, once the worktree is gone
    project.check("git", "worktree", "remove", "--force", "../tree", **environ)
    (project.path / "NOTES.txt").write_text("mine\n", "utf-8")
    bad = project.run("git", "commit", "--all", "--message", "x", **environ)
    assert bad.stdout == "error: no environment in .venv: run 'make setup'.\n"
    shutil.move(tmp_path / "moved", project.path / ".venv")
    commit(project, **environ)


@pytest.mark.slow
def test_worktree_is_set_up_alone(bake: Bake, machine: Machine, tmp_path: Path) -> None:
    project, environ = bake(), machine("make", "uv", *COMMITS)
    project.check("git", "add", "--all", **environ)
    project.check("git", "commit", "--message", "start", **environ)
    tree = Project(tmp_path / "tree")
    project.check("git", "worktree", "add", "../tree", **environ)

    tree.check("make", "setup", **environ)

    commit(tree, **environ)
    project.check("git", "worktree", "remove", "--force", "../tree", **environ)
    project.check("make", "setup", **environ)
    commit(project, **environ)


def test_hooks_of_a_commit_name_make_setup(bake: Bake, machine: Machine) -> None:
    """Also where pre-commit itself is found elsewhere."""
    project, environ = bake(), machine("pre-commit", *COMMITS)
    project.check("git", "add", "--all", **environ)

    bad = project.run("pre-commit", "run", "check-yaml", **environ)

    assert bad.returncode == 1
    assert "error - no environment in .venv - run make setup" in bad.stdout


@pytest.mark.slow
def test_check_is_stricter_than_a_commit(bake: Bake, machine: Machine) -> None:
    project, environ = bake(), machine("make", "uv", *COMMITS)
    project.check("make", "setup", **environ)
    (project.path / "notes.yaml").write_text("a: [\n", "utf-8")
    project.check("git", "add", "--all", **environ)
    project.check("git", "commit", "--no-verify", "--message", "start", **environ)

    bad = project.run("make", "check", **environ)

    assert bad.returncode == 2
    assert re.search(r"YAML that parses\.+Failed", bad.stdout)
    hooks = set(re.findall(r"^      - id: (.+)", project.read(PRE_COMMIT), re.M))
    skipped = re.search("SKIP=([a-z,-]+)", project.read("Makefile"))
    assert skipped and set(skipped[1].split(",")) <= hooks


@pytest.mark.slow
def test_inside_a_larger_repository(
    bake_into: Bake, tmp_path: Path, machine: Machine
) -> None:
    environ = machine("make", "uv", "git")
    Project(tmp_path).check("git", "init", **environ)
    project = bake_into(tmp_path)

    output = project.check(*GATE, **environ)

    assert "Part of a larger repository: no pre-commit hook installed" in output
    assert not (project.path / ".git").exists()
    assert not (tmp_path / ".git" / "hooks" / "pre-commit").exists()


@pytest.mark.slow
def test_no_network_after_setup(bake: Bake, machine: Machine) -> None:
    # the service's tests talk to gunicorn on 127.0.0.1
    loopback = ["sh", "-ec", 'ip link set lo up && exec "$@"', "sh"]
    offline = [*namespace("-n"), *loopback]
    project, environ = bake(), machine("make", "uv", "unshare", "ip", *COMMITS)
    project.check("make", "setup", **environ)

    project.check(*offline, *GATE, **environ)

    project.check("git", "add", "--all", **environ)
    project.check(*offline, "git", "commit", "--message", "start", **environ)


def test_no_network_to_bake(template: Path, tmp_path: Path) -> None:
    command = ["python", "-m", "cookiecutter", "--no-input", str(template)]

    Project(tmp_path).check(*namespace("-n"), *command, HOME=str(tmp_path))

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
        project.check(*read_only, *flask, DATABASE_URL=database)


def test_read_only_folder_is_named(template: Path, tmp_path: Path) -> None:
    command = ["python", "-m", "cookiecutter", "--no-input", str(template)]

    with tempfile.TemporaryDirectory() as home:
        bad = Project(tmp_path).run(*read_only_here(), *command, HOME=home)

    assert bad.returncode == 1
    assert "Read-only file system: 'saved-items'" in bad.stdout


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users of the machine may enter."""
    # the folder of this run is closed to them
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become a plain user")
def test_plain_user(bake_into: Bake, shared: Path) -> None:
    for tool in ("/usr/bin/python3", "/usr/sbin/runuser"):
        if not Path(tool).exists():
            pytest.skip(f"needs {tool}")
    project = bake_into(shared)
    project.check("chown", "-R", "nobody", str(shared))
    # the folders of this run are root's
    own = [f"HOME={shared}", "TMPDIR=/tmp", "MYPY_CACHE_DIR=.mypy_cache"]
    environ = [*own, "PATH=/usr/bin:/bin"]
    user = ["/usr/sbin/runuser", "-u", "nobody", "--", "env", *environ]

    output = project.check(*user, *GATE)

    assert "pre-commit installed at" in output
    assert pwd.getpwuid((project.path / ".venv").stat().st_uid).pw_name == "nobody"


def setup_commands(project: Project, tool: str) -> str:
    """Return what docs/operations.md has instead of make, with this tool."""
    operations = project.read("docs/operations.md")
    match = re.findall(rf"```sh\n({tool} .+?)```", operations, re.S)
    (commands,) = match
    return str(commands)


def commit(project: Project, **environ: str) -> None:
    """Change a file and commit it, past every hook."""
    with (project.path / "NOTES.txt").open("a") as file:
        file.write("a note\n")
    project.check("git", "add", "NOTES.txt", **environ)
    output = project.check("git", "commit", "--message", "note", **environ)
    assert re.search(r"nothing cacheable by accident\.+Passed", output)


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
