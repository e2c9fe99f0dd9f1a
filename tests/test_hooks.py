from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from unicodedata import east_asian_width

import pytest
from conftest import Bake
from conftest import find_python
from conftest import Project
from conftest import PYTHONS
from conftest import QUESTIONS
from conftest import ROOT
from conftest import TEMPLATE
from cookiecutter.exceptions import FailedHookException
from cookiecutter.exceptions import OutputDirExistsException
from cookiecutter.main import cookiecutter
from cookiecutter.utils import create_env_with_context

GOOD = {
    "project_name": "Saved Items",
    "project_slug": "saved-items",
    "description": "Keeps what readers save.",
    "author_name": "Ada Lovelace",
    "author_email": "ada@example.com",
    "api_prefix": "/api",
    "license": "MIT",
    "code_host": "github",
    "deploy": "compose",
}
CONTROL = ["a\nb", "a\tb", "a\x00b", "a\x1bb", "a\x85b", "a\u2028b", "\ud800"]
BIDI = ["a\u202eb", "a\u2066b", "\ufeffa", "a\uffff"]
JINJA = ["{{ 7*7 }}", "a {% b", "{# c #}"]
BLANK = ["", " ", " a", "a ", "\u00a0a"]
TEXT = [*CONTROL, *BIDI, *JINJA, *BLANK, "x" * 300]

VALID = {
    "project_name": ["x", "it's", '"', "\\", "'''", '"""', "日本語", "אבג", "e\u0301"],
    "project_slug": ["a", "a-b-c", "shelf2", "python-3", "a" * 60, "con-x", "api"],
    "description": ["{ }", "100 %", "$HOME `id`", "- a", "🏴󠁧󠁢󠁥󠁮󠁧󠁿 👩‍🚀", "x" * 200, "}} %}"],
    "author_name": ["O'Neil", "Zoë", "李 雷", "@home: # -"],
    "author_email": [
        "a@b.co",
        "a.b+c@d-e.example",
        "o'neil@x.y.org",
        "a@xn--bcher-kva.de",
    ],
    "api_prefix": [
        "/a",
        "/api/v1",
        "/API",
        "/api.v1",
        "/staticky",
        "/v1/static",
        "/a_b-c",
    ],
    "license": QUESTIONS["license"],
    "code_host": QUESTIONS["code_host"],
    "deploy": QUESTIONS["deploy"],
}
INVALID = {
    "project_name": TEXT,
    "project_slug": [
        *TEXT,
        *["A", "1a", "a_b", "-a", "a-", "a--b", "a b", "é", "../evil", "/etc", "a.b"],
        *["a" * 61, "class", "match", "print", "json", "test", "tests", "nocache"],
        *["wsgi", "flask", "flask-alembic", "yaml", "con", "com1", "lpt9", "nul"],
        # taken where the service is tested, linted, made or deployed
        *["conftest", "test-api", "test-anything", "dist", "node-modules", "makefile"],
        *["license", "codeowners", "default", "kube-system", "scratch"],
        # modules of another Python than the one that bakes
        *["imp", "cgi", "asyncore", "compression", "annotationlib", "profiling"],
    ],
    "description": TEXT,
    "author_name": TEXT,
    "author_email": [
        *TEXT,
        *["a", "a@b", "@b.co", "a@", "a b@c.de", "a@b..co", "a..b@c.de", "a@-b.co"],
        *["a@b.co,c@d.co", "Ada <a@b.co>", "a@bücher.de", "🚀@b.co", "a@b.c", "a@b.1"],
    ],
    "api_prefix": [
        *TEXT,
        *["/", "api", "/api/", "//api", "/a//b", "/a b", "/é", "/..", "/.a", "/a?b"],
        *[
            "/a#b",
            "/<x>",
            "/static",
            "/static/x",
            "/healthz",
            "/readyz",
            "/" + "a" * 60,
        ],
    ],
    "license": ["", "mit", "GPL"],
    "code_host": ["", "GitHub", "bitbucket"],
    "deploy": ["", "Compose", "docker"],
}
# none of them may be a folder's name, and nothing may be left behind
NO_FOLDERS = [
    *["a/b", "a/", "/a", "a\\b", "../x", "../../x", "a/../b", "{here}/x", "C:\\x"],
    *["", " ", ".", "..", "...", "-", "~", "x" * 61, "x" * 300, "a\x00b", "a\nb"],
    *["Con", "aux.txt", ".git", "日本", "é", "Saved Items", "Taken", "refused_slug"],
]

Problems = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def bake(bake_into: Bake, tmp_path: Path) -> Bake:
    """Bake each time, not a copy: here the hooks are tested."""
    return lambda **answers: bake_into(tmp_path, **answers)


@pytest.fixture(scope="module")
def pre_gen(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load_hook("pre_gen_project", tmp_path_factory.mktemp("hook"))


@pytest.fixture(scope="module")
def problems(pre_gen: ModuleType) -> Problems:
    def problems(
        raw_answers: dict[str, str] | None = None, **answers: str
    ) -> list[tuple[str, str]]:
        all_answers = GOOD | answers
        refusals: list[tuple[str, str]] = pre_gen.find_problems(
            pre_gen.derive(all_answers) | all_answers, raw_answers or {}
        )
        return refusals

    return problems


@pytest.mark.parametrize(("name", "value"), [(n, v) for n in VALID for v in VALID[n]])
def test_problems_valid(problems: Problems, name: str, value: str) -> None:
    assert problems(**{name: value}) == []


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n in INVALID for v in INVALID[n]]
)
def test_problems_invalid(problems: Problems, name: str, value: str) -> None:
    refusals = problems(**{name: value})
    assert refusals
    assert {refused_name for refused_name, _ in refusals} == {name}
    assert all(line.startswith(f"error: {name} ") for _, line in refusals)


def test_problems_wording(problems: Problems) -> None:
    refusals = problems(project_slug="class", author_name="Ada\n", deploy="docker")
    assert [line for _, line in refusals] == [
        "error: project_slug 'class' is a name that Python uses; e.g. saved-items",
        "error: author_name 'Ada\\n' begins or ends with white space; e.g. Ada Lovelace",
        "error: author_name 'Ada\\n' has a control character; e.g. Ada Lovelace",
        "error: deploy must be one of compose, kubernetes, none",
    ]


@pytest.mark.parametrize("name", INVALID)
def test_problems_fit_a_line(problems: Problems, name: str) -> None:
    many = ["'" * 90, "日" * 300, "👩‍🚀" * 99, "\0" * 99, "{{" * 99, " " * 99 + '"']
    for value in INVALID[name] + many:
        for _, line in problems(**{name: value}):
            columns = sum(1 + (east_asian_width(c) in "FW") for c in line)
            assert columns <= 80, line
            assert line.isprintable(), line


def test_problems_examples_are_valid(pre_gen: ModuleType, problems: Problems) -> None:
    assert (
        problems(**{name: example for name, (_, example) in pre_gen.FREE_TEXT.items()})
        == []
    )


def test_problems_evaluated_on_the_command_line(problems: Problems) -> None:
    ((_, line),) = problems(raw_answers={"description": "{{ 7*7 }}"}, description="49")
    assert line.startswith("error: description '{{ 7*7 }}' would be evaluated")


def test_names_of_every_python_are_reserved(pre_gen: ModuleType) -> None:
    """Whichever of them bakes, and whichever runs the service."""
    code = (
        "import builtins, keyword, sys; print(*sys.stdlib_module_names,"
        " *dir(builtins), *keyword.kwlist, *keyword.softkwlist)"
    )
    pythons = [sys.executable, *filter(None, map(find_python, PYTHONS))]
    names = [
        {
            name
            for name in subprocess.check_output([python, "-c", code], text=True).split()
            if re.fullmatch("[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
        }
        for python in pythons
    ]
    differing = set.union(*names) - names[0].intersection(*names)
    assert differing <= pre_gen.PYTHON_MODULES
    # and the names of this one are reserved without the list
    reserved = pre_gen.RESERVED_NAMES["is a name that Python uses"]
    assert set.union(*names) <= reserved


def test_every_question_is_checked(pre_gen: ModuleType) -> None:
    questions = {name for name in QUESTIONS if not name.startswith("_")}
    assert questions == {*pre_gen.FREE_TEXT, *pre_gen.CHOICES} == INVALID.keys()
    for name, choices in pre_gen.CHOICES.items():
        assert list(choices) == QUESTIONS[name]


def test_every_question_has_a_prompt() -> None:
    questions = {name for name in QUESTIONS if not name.startswith("_")}
    assert questions == set(QUESTIONS["__prompts__"])


def test_dependency_names_are_reserved(problems: Problems) -> None:
    pins = (TEMPLATE / "requirements-dev.txt").read_text("utf-8")
    needed = {normal(name) for name in re.findall(r"^([\w.-]+)==", pins, re.M)}
    for package, distributions in packages_distributions().items():
        if needed & {normal(name) for name in distributions}:
            slug = package.replace("_", "-")
            assert not re.fullmatch("[a-z][a-z0-9-]*", slug) or problems(
                project_slug=slug
            )


def test_bake_refuses_all_problems_at_once(
    bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FailedHookException):
        bake(project_slug="../evil", author_email="nobody", description="a\nb")
    assert refusals(capfd) == ["project_slug", "description", "author_email"]
    assert list(tmp_path.iterdir()) == []


def test_refusal_fits_a_terminal(bake: Bake, template: Path, tmp_path: Path) -> None:
    """Three problems and the command stay above what Cookiecutter prints after them."""
    (tmp_path / "flask-nocache-template").symlink_to(template)
    answers = ["project_slug=class", "author_email=nobody", "api_prefix=api"]
    output = command_line(tmp_path, "cookiecutter", "flask-nocache-template", *answers)
    lines = output[output.index("error: ") :].splitlines()
    # the last row is the prompt's
    assert sum(-(-len(line) // 80) for line in lines) < 24


def test_refusal_gives_a_command(template: Path, tmp_path: Path) -> None:
    good = {
        "project_name": 'Zoë\'s "Shelf" $HOME',
        "description": "100 % & *more*; 🚀",
        "author_name": "-n",
        "deploy": "none",
    }
    answers = [f"{name}={value}" for name, value in good.items()]
    elsewhere = tmp_path / "else where"
    output = command_line(
        tmp_path,
        *["cookiecutter", str(template), *answers, "project_slug=A b", "license=none"],
        *["--output-dir", "else where"],
    )
    assert [line.split()[1] for line in output.splitlines()[:1]] == ["project_slug"]

    command, name, *words = shlex.split(output.splitlines()[1])
    assert (command, name) == ("cookiecutter", str(template))
    assert words[-2:] == ["--output-dir", str(elsewhere)]
    assert [word for word in words if word.startswith("project_slug")] == []
    command_line(tmp_path, command, name, *words, "project_slug=shelf")

    made = Project(elsewhere / "shelf")
    assert not made.has("LICENSE") and not made.has("deploy/Dockerfile")
    metadata = tomllib.loads(made.read("pyproject.toml"))["project"]
    assert metadata["description"] == good["description"]
    assert metadata["authors"][0]["name"] == good["author_name"]
    assert good["project_name"].replace('"', r"\u0022") in made.read("shelf/config.py")


def test_bake_treats_code_as_data(bake: Bake, tmp_path: Path) -> None:
    code = '""" + open("pwned", "w").name + r"""'
    project = bake(description=code)
    assert not list(tmp_path.rglob("pwned"))
    assert project.path.parent == tmp_path


@pytest.mark.parametrize("slug", NO_FOLDERS)
def test_bake_refuses_a_slug_that_is_no_folder(
    bake_into: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str], slug: str
) -> None:
    inside = tmp_path / "inside"
    # where a tidied slug would lead
    for taken in ("taken", "a", "x", "saved-items"):
        (inside / taken).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FailedHookException):
        bake_into(inside, project_slug=slug.format(here=tmp_path))
    assert set(refusals(capfd)) == {"project_slug"}
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", [n for n in QUESTIONS if n[:2] == "__" != n[-2:]])
@pytest.mark.parametrize("value", ["..", "class", "print(1)"])
def test_bake_refuses_derived_names(
    bake: Bake,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    value: str,
) -> None:
    with pytest.raises(FailedHookException):
        bake(**{name: value})
    # two of them are made of __markdown
    assert refusals(capfd)[0].startswith("__" if name == "__markdown" else name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["project_name", "project_slug", "description"])
def test_bake_refuses_an_edited_replay(
    bake_into: Bake,
    template: Path,
    config: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
) -> None:
    bake_into(tmp_path)
    replay = config.parent / "replay" / f"{template.name}.json"
    context = json.loads(replay.read_text("utf-8"))
    made = {"output_dir": str(tmp_path / "again"), "config_file": str(config)}
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(context), "utf-8")
    cookiecutter(str(template), replay=str(edited), **made)
    shutil.rmtree(tmp_path / "again")

    context["cookiecutter"][name] = "other"
    edited.write_text(json.dumps(context), "utf-8")
    with pytest.raises(FailedHookException):
        cookiecutter(str(template), replay=str(edited), **made)
    assert all(name.startswith("__") for name in refusals(capfd))
    assert not list((tmp_path / "again").iterdir())


def test_default_slug_of_a_long_name(bake: Bake) -> None:
    assert bake(project_name=f"{'x' * 59} y").path.name == "x" * 59


def test_bake_prints_the_next_commands(
    bake: Bake, capfd: pytest.CaptureFixture[str]
) -> None:
    bake()
    out, err = capfd.readouterr()
    assert out == "\nNext:\n  cd saved-items\n  make setup\n  make run\n"
    assert err == ""


def test_bake_leaves_an_existing_folder_alone(bake: Bake, tmp_path: Path) -> None:
    (tmp_path / "saved-items").mkdir()
    mine = tmp_path / "saved-items" / "mine.txt"
    mine.write_text("mine")
    with pytest.raises(OutputDirExistsException, match="saved-items.*already exists"):
        bake()
    assert [p.name for p in mine.parent.iterdir()] == ["mine.txt"]


def test_bake_over_a_service_keeps_other_files(
    bake_into: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project = bake_into(tmp_path)
    mine = project.path / project.package / "mine.py"
    mine.write_text("MINE = 1\n")
    bake_into(tmp_path, overwrite=True)
    assert mine.read_text() == "MINE = 1\n"
    with pytest.raises(FailedHookException):
        bake_into(tmp_path, overwrite=True, author_email="nobody")
    assert mine.read_text() == "MINE = 1\n"


def test_bake_over_a_service_skips_what_a_team_edited(
    bake_into: Bake, template: Path, tmp_path: Path
) -> None:
    project = bake_into(tmp_path)
    kit = f"{project.package}/nocache/"
    for name in project.files():
        (project.path / name).write_text("edited\n")
    bake_into(tmp_path, overwrite=True, skip=True, description="Another.")
    own = [name for name in project.files() if not name.startswith(kit)]
    assert {project.read(name) for name in own} == {"edited\n"}
    assert all(project.read(name) != "edited\n" for name in {*project.files()} - {*own})


def test_bake_without_hooks(bake_into: Bake, tmp_path: Path) -> None:
    """The folders of other answers stay, until the documented command."""
    readme = (ROOT / "README.md").read_text("utf-8")
    (command,) = re.findall("`(find saved-items .+?)`", readme)
    for deploy in QUESTIONS["deploy"]:
        answers = {"deploy": deploy, "code_host": "none"}
        project = bake_into(tmp_path / deploy, hooks=False, **answers)
        subprocess.run(["sh", "-c", command], cwd=tmp_path / deploy, check=True)
        same = bake_into(tmp_path / "hooks" / deploy, **answers)
        assert paths(project) == paths(same)


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_repository_is_started(bake: Bake) -> None:
    git = bake().path / ".git"
    assert (git / "HEAD").is_file()
    assert not (git / "index").exists()


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_repository_around_is_used(
    bake: Bake, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / ".git")
    assert not (bake().path / ".git").exists()


def test_repository_needs_git(
    bake: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not (bake().path / ".git").exists()


def refusals(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """Return the names of the answers that a hook refused since the last call."""
    return re.findall(r"^error: (\w+) ", capfd.readouterr().err, re.M)


def command_line(folder: Path, *words: str) -> str:
    """Run a command as a shell does in this folder, with default settings."""
    environ = {"PWD": str(folder), "HOME": str(folder), "PYTHONUTF8": "1"}
    command = ["python", "-m", *words, "--no-input", "--default-config"]
    return Project(folder).run(*command, **environ).stdout


def paths(project: Project) -> set[str]:
    paths = (p.relative_to(project.path) for p in project.path.rglob("*"))
    return {p.as_posix() for p in paths if p.parts[0] != ".git"}


def load_hook(name: str, folder: Path) -> ModuleType:
    """Render a hook as Cookiecutter does, with good answers, and import it."""
    source = (ROOT / "hooks" / f"{name}.py").read_text("utf-8")
    env = create_env_with_context({})
    path = folder / f"{name}.py"
    path.write_text(env.from_string(source).render(cookiecutter=GOOD), "utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()
