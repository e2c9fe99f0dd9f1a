"""A service takes a newer template and keeps what its team wrote."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import KIT
from conftest import note_checksums
from conftest import Project
from conftest import read_files
from conftest import ROOT
from conftest import TEMPLATE
from conftest import TOOLS_PATH

UPDATING = (ROOT / "docs" / "updating.md").read_text("utf-8")
(VERSION,) = re.findall(
    'VERSION = "(.+)"', (KIT / "audit" / "version.py").read_text("utf-8")
)
CRUFT = ["python", "-m", "cruft"]
# an older template: the file, what it has now, what it had then
OLDER = [
    # the folder was named by another variable
    (
        "../../cookiecutter.json",
        '  "__package',
        '  "__root": "{{ cookiecutter.project_slug }}",\n  "__package',
    ),
    ("nocache/audit/version.py", 'VERSION = "', 'VERSION = "0.'),
    ("nocache/guard.py", "from __future__", "# an older guard\nfrom __future__"),
    ("errors.py", "from __future__", "# an older file\nfrom __future__"),
    ("../README.md", "Python 3.11 or newer", "Python 3.10 or newer"),
    ("../requirements.txt", "\n", "\n# an older lock\n"),
    ("../cache-policy.txt", "\n", "\n# an older policy\n"),
]
OLD_FOLDER = "{{cookiecutter.__root}}"
SKIPPED = {"requirements.txt", "requirements-dev.txt", "cache-policy.txt"}
COUNTS = """\
from __future__ import annotations

from flask import Blueprint

from .nocache import cacheable

bp = Blueprint("counts", __name__)


@bp.get("/counts")
@cacheable(max_age=60, reason="counted once a minute")
def count() -> dict[str, int]:
    return {"count": 0}
"""

REGISTER = [
    ("from . import errors", "from . import counts\nfrom . import errors"),
    (
        "    return app",
        '    app.register_blueprint(counts.bp, url_prefix="/v1")\n    return app',
    ),
]

Create = Callable[..., Project]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home folder of the test's own, and a name for git."""
    folder = tmp_path_factory.mktemp("home")
    (folder / ".gitconfig").write_text(
        "[user]\nname = Ada\nemail = ada@example.com\n[init]\ndefaultBranch = main\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setenv("USERPROFILE", str(folder))
        yield


@pytest.fixture(scope="module")
def remote(home: None, template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A remote whose tag `older` precedes the template as it is, on `main`."""
    folder = tmp_path_factory.mktemp("remote")
    work = Project(folder / "work")
    shutil.copytree(template, work.path)
    work.check("git", "init")
    make_older(work.path)
    commit(work, "older")
    work.check("git", "tag", "older")
    shutil.rmtree(work.path / OLD_FOLDER)
    shutil.copytree(template, work.path, dirs_exist_ok=True)
    commit(work, "newer")
    work.check("git", "clone", "--bare", ".", "../template.git")
    return (folder / "template.git").as_uri()


@pytest.fixture
def create(remote: str, tmp_path: Path) -> Create:
    """Bake a service with cruft, from a tag or branch, and commit it."""

    def create(checkout: str = "older", slug: str = "saved-items") -> Project:
        answers = f'{{"project_slug": "{slug}"}}'
        options = ["--no-input", "--checkout", checkout, "--extra-context", answers]
        Project(tmp_path).check(*CRUFT, "create", remote, *options)
        project = Project(tmp_path / slug)
        commit(project, "start")
        return project

    return create


@pytest.mark.slow
def test_update_takes_the_kit_and_keeps_the_team_s_code(
    create: Create, template: Path
) -> None:
    project = create()
    assert nocache(project, "--version") == f"nocache 0.{VERSION}\n"
    (project.path / project.package / "counts.py").write_text(COUNTS)
    for now, then in REGISTER:
        edit(project, f"{project.package}/__init__.py", now, then)
    edit(project, "README.md", "## Run", "## Who to ask\n\nAda.\n\n## Run")
    nocache(project, "accept")
    commit(project, "count the items")
    policy = project.read("cache-policy.txt")
    assert "counts.count GET" in policy
    assert project.run(*CRUFT, "check").returncode == 1

    project.check(*CRUFT, "update", "--skip-apply-ask")

    assert project.run(*CRUFT, "check").returncode == 0
    assert read_files(project.kit) == read_files(template / KIT.relative_to(ROOT))
    assert nocache(project, "--version") == f"nocache {VERSION}\n"
    assert "Python 3.11 or newer" in project.read("README.md")
    assert "Ada." in project.read("README.md")
    assert "older" not in project.read(f"{project.package}/errors.py")
    assert "# an older lock" in project.read("requirements.txt")
    assert project.read("cache-policy.txt") == policy
    assert not list(project.path.rglob("*.rej"))
    assert nocache(project, "audit") == ""
    project.check("python", "-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_update_of_an_untouched_service_is_a_fresh_bake(create: Create) -> None:
    project = create()
    project.check(*CRUFT, "update", "--skip-apply-ask")
    updated = contents(project)
    shutil.rmtree(project.path)

    assert updated == contents(create("main"))


def test_update_from_a_folder_of_another_name(remote: str, create: Create) -> None:
    """With nothing but the folder's name changed, nothing but cruft's note changes."""
    work = Project(Path(remote.removeprefix("file://")).parent / "work")
    work.check("git", "checkout", "-b", "renamed", "older")
    work.check("git", "mv", OLD_FOLDER, TEMPLATE.name)
    commit(work, "rename the folder")
    work.check("git", "push", remote, "renamed")
    project = create()

    project.check(*CRUFT, "update", "--skip-apply-ask", "--checkout", "renamed")

    assert project.check("git", "status", "--short") == " M .cruft.json\n"


def test_diff_is_a_patch(create: Create) -> None:
    project = create("main")
    assert project.check(*CRUFT, "diff") == ""
    edit(project, "README.md", "## Run", "## Who to ask\n\nAda.\n\n## Run")

    assert project.check(*CRUFT, "diff").startswith("diff --git ")


def test_create_says_what_comes_next(remote: str, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    create = [*CRUFT, "create", remote, "--no-input"]

    output = Project(tmp_path).check(*create, TMPDIR=str(temporary))

    assert output == "\nNext:\n  cd saved-items\n  make setup\n  make run\n"


def test_create_refuses_with_a_command(remote: str, tmp_path: Path) -> None:
    answers = {"project_slug": "class", "description": 'A "quoted" 🚀.'}
    options = ["--no-input", "--extra-context", json.dumps(answers)]
    bad = Project(tmp_path).run(*CRUFT, "create", remote, *options)
    assert bad.returncode == 1
    (command,) = re.findall("^cruft (.+)", bad.stdout, re.M)

    Project(tmp_path).check(*CRUFT, *shlex.split(command), "--no-input")

    made = Project(tmp_path / "saved-items").read("pyproject.toml")
    assert tomllib.loads(made)["project"]["description"] == answers["description"]


def test_update_shows_a_conflict_in_the_file(create: Create, template: Path) -> None:
    project = create()
    edit(project, "README.md", "Python 3.10 or newer", "Python 3.12 and patience")
    commit(project, "ask for patience")

    output = project.check(*CRUFT, "update", "--skip-apply-ask")

    assert "Applied patch to 'README.md' with conflicts." in output
    readme = project.read("README.md")
    assert re.search(r"<<<<<<< .*patience.*=======.*3\.11.*>>>>>>> ", readme, re.S)
    assert "UU README.md" in project.check("git", "status", "--short")
    assert read_files(project.kit) == read_files(template / KIT.relative_to(ROOT))


@pytest.mark.slow
def test_update_without_git_leaves_a_rej_file(create: Create, template: Path) -> None:
    project = create()
    edit(project, "README.md", "Python 3.10 or newer", "Python 3.12 and patience")
    shutil.rmtree(project.path / ".git")

    output = project.check(*CRUFT, "update", "--skip-apply-ask")

    assert "Project directory may have *.rej files" in output
    assert "Python 3.11 or newer" in project.read("README.md.rej")
    assert "Python 3.12 and patience" in project.read("README.md")
    assert read_files(project.kit) == read_files(template / KIT.relative_to(ROOT))


@pytest.mark.slow
def test_update_refuses_uncommitted_work(create: Create) -> None:
    project = create()
    (project.path / "notes.txt").touch()

    update = project.run(*CRUFT, "update", "--skip-apply-ask")

    assert update.returncode == 1
    assert "unclean git project" in update.stdout


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("sh"), reason="needs sh")
def test_edited_kit_is_named_and_put_back(create: Create) -> None:
    project = create("main")
    wire = f"{project.package}/nocache/audit/wire.py"
    edit(project, wire, "\n", "\n# faster\n")
    edit(project, "README.md", "## Run", "## Who to ask\n\nAda.\n\n## Run")
    commit(project, "edit the kit")
    assert f"{wire}:1: NC011 kit-edited: 'wire.py'" in nocache(project, "audit")
    assert nocache(project, "--version") == f"nocache {VERSION}, edited: wire.py\n"

    project.check("sh", "-ec", documented(r"^(cruft diff \|[^\n]+)"), PATH=TOOLS_PATH)

    assert nocache(project, "audit") == ""
    assert "Ada." in project.read("README.md")


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("column") and shutil.which("jq")), reason="needs column and jq"
)
def test_fleet_is_one_table(create: Create, tmp_path: Path) -> None:
    services = create(slug="behind"), create("main", slug="current")
    for project in services:
        fake_venv(project)
    edit(services[1], "current/nocache/guard.py", "\n", "\n\n")

    loop = documented(r"```sh\n(for .+?)```")
    table = Project(tmp_path).check("sh", "-c", loop, PATH=TOOLS_PATH)

    assert [line.split() for line in table.splitlines()] == [
        ["behind", "behind", f"0.{VERSION}", "none"],
        ["current", "current", f"{VERSION},", "edited:", "guard.py", "NC011"],
    ]


def make_older(work: Path) -> None:
    """Turn a copy of the template into what it might have been once."""
    kit = work / KIT.relative_to(ROOT)
    for name, now, then in OLDER:
        path = kit.parent / name
        text = path.read_text("utf-8")
        assert now in text, name
        path.write_text(text.replace(now, then, 1), "utf-8", newline="\n")
    (kit / "dropped.py").touch()
    note_checksums(kit)
    (work / TEMPLATE.name).rename(work / OLD_FOLDER)


def contents(project: Project) -> dict[str, str]:
    """Read what an update has to bring; cruft sorts its own file by itself."""
    names = set(project.files()) - SKIPPED - {".cruft.json"}
    return {name: project.read(name) for name in names}


def edit(project: Project, name: str, now: str, then: str) -> None:
    text = project.read(name)
    assert now in text, name
    (project.path / name).write_text(text.replace(now, then, 1), "utf-8", newline="\n")


def commit(project: Project, subject: str) -> None:
    project.check("git", "add", "--all")
    project.check("git", "commit", "--message", subject)


def nocache(project: Project, *arguments: str) -> str:
    command = ["python", "-m", "flask", "nocache", *arguments]
    return project.run(*command).stdout


def documented(pattern: str) -> str:
    (match,) = re.findall(pattern, UPDATING, re.M | re.S)
    return str(match)


def fake_venv(project: Project) -> None:
    """Stand in for `make setup` by the Python that runs the tests."""
    python = project.path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
