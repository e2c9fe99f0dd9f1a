from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest
from conftest import Bake
from conftest import QUESTIONS
from conftest import ROOT
from conftest import TEMPLATE
from cookiecutter.exceptions import FailedHookException
from cookiecutter.exceptions import OutputDirExistsException
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
}
INVALID = {
    "project_name": TEXT,
    "project_slug": [
        *TEXT,
        *["A", "1a", "a_b", "-a", "a-", "a--b", "a b", "é", "../evil", "/etc", "a.b"],
        *["a" * 61, "class", "match", "print", "json", "test", "tests", "nocache"],
        *["wsgi", "flask", "flask-alembic", "yaml", "con", "com1", "lpt9", "nul"],
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
}

Problems = Callable[..., list[str]]


@pytest.fixture(scope="module")
def pre_gen(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load_hook("pre_gen_project", tmp_path_factory.mktemp("hook"))


@pytest.fixture(scope="module")
def problems(pre_gen: ModuleType) -> Problems:
    def problems(typed: dict[str, str] | None = None, **answers: str) -> list[str]:
        given = GOOD | answers
        given["__typed_slug"] = given["project_slug"]
        found: list[str] = pre_gen.problems(given, typed or {})
        return found

    return problems


@pytest.mark.parametrize(("name", "value"), [(n, v) for n in VALID for v in VALID[n]])
def test_problems_valid(problems: Problems, name: str, value: str) -> None:
    assert problems(**{name: value}) == []


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n in INVALID for v in INVALID[n]]
)
def test_problems_invalid(problems: Problems, name: str, value: str) -> None:
    found = problems(**{name: value})
    assert found
    assert {line.partition(":")[0] for line in found} == {name}


def test_problems_wording(problems: Problems) -> None:
    assert problems(project_slug="class", author_name="Ada\n") == [
        "project_slug: 'class' must not name 'class', which is a Python keyword;"
        " for example 'saved-items'",
        "author_name: 'Ada\\n' must not be empty, nor start or end with blanks;"
        " for example 'Ada Lovelace'",
        "author_name: 'Ada\\n' must be one line without control characters;"
        " for example 'Ada Lovelace'",
    ]


def test_problems_examples_are_valid(pre_gen: ModuleType, problems: Problems) -> None:
    assert (
        problems(**{name: example for name, (_, example) in pre_gen.ASKED.items()})
        == []
    )


def test_problems_evaluated_on_the_command_line(problems: Problems) -> None:
    (line,) = problems(typed={"description": "{{ 7*7 }}"}, description="49")
    assert line.startswith("description: '{{ 7*7 }}' must not hold a brace")


def test_problems_long_value_is_cut(problems: Problems) -> None:
    (line,) = problems(description="x" * 10_000)
    assert len(line) < 200


def test_every_question_is_checked(pre_gen: ModuleType) -> None:
    asked = {name for name in QUESTIONS if not name.startswith("_")}
    assert asked == {*pre_gen.ASKED, *pre_gen.CHOICES}
    for name, choices in pre_gen.CHOICES.items():
        assert list(choices) == QUESTIONS[name]


def test_every_question_has_a_prompt() -> None:
    asked = {name for name in QUESTIONS if not name.startswith("_")}
    assert asked == set(QUESTIONS["__prompts__"])


def test_dependency_names_are_taken(problems: Problems) -> None:
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
    _, err = capfd.readouterr()
    named = re.findall(r"^error: (\w+): ", err, re.M)
    assert named == ["project_slug", "description", "author_email"]
    assert list(tmp_path.iterdir()) == []


def test_bake_treats_code_as_data(bake: Bake, tmp_path: Path) -> None:
    code = '""" + open("pwned", "w").name + r"""'
    project = bake(description=code)
    assert not list(tmp_path.rglob("pwned"))
    assert project.path.parent == tmp_path


@pytest.mark.parametrize("slug", ["", "..", "x" * 300, "日"])
def test_bake_refuses_a_slug_that_is_no_folder(
    bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str], slug: str
) -> None:
    with pytest.raises(FailedHookException):
        bake(project_slug=slug)
    assert "error: project_slug: " in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


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
