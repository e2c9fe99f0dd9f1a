"""Documents, compared with the code that they describe."""

from __future__ import annotations

import html
import re

import pytest
from conftest import Bake
from conftest import KIT
from conftest import Project
from conftest import QUESTIONS
from conftest import ROOT
from conftest import TEMPLATE

README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "tests/*/*.md")
    for path in sorted(ROOT.glob(pattern))
]
FINDING = re.compile(r'"(NC\d{3})": Kind\(\s*"([a-z0-9-]+)"')
FINDING_IDS = [
    id for id, _ in FINDING.findall((KIT / "audit" / "findings.py").read_text("utf-8"))
]
HEADERS = """\
Cache-Control: no-store, no-cache, must-revalidate, private, max-age=0
Expires: Thu, 01 Jan 1970 00:00:00 GMT
Pragma: no-cache
"""


def test_readme_lists_every_option() -> None:
    questions = [name for name in QUESTIONS if not name.startswith("_")]

    assert re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE) == questions


def test_readme_names_every_choice() -> None:
    for name in ("license", "code_host", "deploy"):
        row = next(line for line in README.splitlines() if f"| `{name}` |" in line)
        assert all(choice in row for choice in QUESTIONS[name])


def test_readme_names_existing_targets() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")

    for target in re.findall(r"^make ([\w-]+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    document = ROOT / name
    text = document.read_text("utf-8")
    for link in re.findall(
        r"(?:\]\(|^\[\w+\]: )(?!http)([^)#\s]+)", text, re.MULTILINE
    ):
        assert (document.parent / link).exists(), link


def test_readme_picture_shows_the_finding_as_printed() -> None:
    catalogue = (KIT / "audit" / "findings.py").read_text("utf-8")
    svg = (ROOT / "docs" / "refused-commit.svg").read_text("utf-8")
    # one element a line of the terminal, which breaks long ones
    lines = html.unescape(" ".join(re.findall(r"<text [^>]+>([^<]+)", svg)))
    printed = re.sub(r"\s+", " ", lines).partition("exit code: 1")[2]

    assert "(docs/refused-commit.svg)" in README
    texts = re.findall(r"'api.countries' (.+?\.) hint: (.+\.)", printed)[0]
    for text in texts:
        assert text in catalogue


def test_readme_has_the_measured_costs() -> None:
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8")
    contest = results.partition("| small JSON ")[2].partition("| flask.Response ")[0]
    rows = [line.split("|") for line in contest.splitlines()]
    # the last columns are the instructions, to bare Flask and to the floor
    measured = {row[1].strip(): row[-3].strip() for row in rows if len(row) > 3}
    (picture,) = re.findall(r"!\[(.+)\]\(benchmarks/costs.svg\)", README)
    costs = dict(re.findall(r"[:,] ([^:,]+) ([+-][\d.]+) %", picture))

    assert len(costs) == 4
    assert {
        name: f"{cost}%" for name, cost in costs.items()
    }.items() <= measured.items()
    assert f"costs {float(costs['after_request header']):.0f} %" in README
    assert float(costs["guard"]) <= 0


def test_readme_counts_exits_and_extensions() -> None:
    guard = (ROOT / "tests" / "kit" / "test_guard.py").read_text("utf-8")
    works_with = (ROOT / "docs" / "works-with.md").read_text("utf-8")
    exits = len(re.findall(r"^@(?:case|inside)$", guard, re.MULTILINE))
    # the first row names the columns
    extensions = len(re.findall(r"^\| [^-|]", works_with, re.MULTILINE)) - 1

    assert f"through {exits} exits" in README
    assert f"{extensions} [extensions]" in README


def test_design_has_context_decision_and_cost() -> None:
    design = (ROOT / "docs" / "design.md").read_text("utf-8")
    decisions = re.split(r"^### ", design, flags=re.MULTILINE)[1:]

    assert decisions
    for decision in decisions:
        labels = re.findall(r"^\*\*(\w+)\.\*\* ", decision, re.MULTILINE)
        assert labels == ["Context", "Decision", "Cost"], decision.splitlines()[0]


def test_design_begins_with_a_link_to_each_decision() -> None:
    design = (ROOT / "docs" / "design.md").read_text("utf-8")
    links = re.findall(r"^ *- \[(.+)\]\(#(.+)\)$", design, re.MULTILINE)

    assert [text for text, _ in links] == re.findall(r"^##+ (.+)", design, re.MULTILINE)
    # as GitHub and GitLab make anchors
    assert [anchor for _, anchor in links] == [
        re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text, _ in links
    ]


@pytest.mark.parametrize("document", ["README.md", "docs/caching.md"])
def test_headers_are_shown_as_sent(baked: Project, document: str) -> None:
    text_of_document = README if document == "README.md" else baked.read(document)

    assert HEADERS in text_of_document
    sent = (TEMPLATE / "tests" / "test_route_audit.py").read_text("utf-8")
    assert all(line.partition(": ")[2] in sent for line in HEADERS.splitlines())


def test_caching_md_lists_every_finding(baked: Project) -> None:
    catalogue = (KIT / "audit" / "findings.py").read_text("utf-8")
    listed = re.findall(
        r"^\| (NC\d{3}) \| ([a-z0-9-]+) \|", baked.read("docs/caching.md"), re.M
    )

    assert listed == FINDING.findall(catalogue)


@pytest.mark.parametrize("id", FINDING_IDS)
def test_finding_is_in_every_place(baked: Project, id: str) -> None:
    """The places that CONTRIBUTING lists under "To add a finding"."""
    tests = ROOT / "tests"
    rules = [p for p in (KIT / "audit").glob("*.py") if p.name != "findings.py"]
    places = {
        "nocache/audit/findings.py": [KIT / "audit" / "findings.py"],
        "nocache/audit/": rules,
        "docs/caching.md": [baked.path / "docs" / "caching.md"],
        "docs/review-checklist.md": [baked.path / "docs" / "review-checklist.md"],
        "tests/kit/": list((tests / "kit").glob("*.py")),
        "test_audit.py": [tests / "kit" / "test_audit.py"],
        "tests/test_mutations.py": [tests / "test_mutations.py"],
    }

    guide = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = guide.partition("## To add a finding")[2].partition("\n## ")[0]
    assert [name for name in places if f"`{name}`" not in section] == []
    assert [
        name
        for name, files in places.items()
        if not any(id in file.read_text("utf-8") for file in files)
    ] == []


def test_review_checklist_is_short(baked: Project) -> None:
    assert baked.read("docs/review-checklist.md").count("- [ ]") <= 9


@pytest.mark.parametrize("deploy", QUESTIONS["deploy"])
def test_service_readme_lists_every_command(bake: Bake, deploy: str) -> None:
    project = bake(deploy=deploy)
    output = project.run("make", "help").stdout
    listed = re.findall(r"^\| `make (\w+)", project.read("README.md"), re.MULTILINE)

    assert sorted(["help", *listed]) == sorted(re.findall(r"^make (\w+)", output, re.M))
    assert ("image" in listed) == (deploy != "none")


@pytest.mark.parametrize("deploy", QUESTIONS["deploy"])
def test_operations_list_every_variable(bake: Bake, deploy: str) -> None:
    project = bake(deploy=deploy)
    operations, example = (
        project.read("docs/operations.md"),
        project.read(".env.example"),
    )

    listed = re.findall(r"^\| `([A-Z_]+)` \|", operations, re.MULTILINE)

    assert listed == re.findall(r"^#? ?([A-Z_]+)=", example, re.MULTILINE)


@pytest.mark.parametrize("deploy", QUESTIONS["deploy"])
def test_service_readme_is_short_and_leads_on(bake: Bake, deploy: str) -> None:
    project = bake(deploy=deploy)
    readme = project.read("README.md")

    links = re.findall(r"\]\((?!http)([^)#]+)", readme)

    assert sorted(links) == [name for name in project.files() if "docs/" in name]
    assert len(readme.splitlines()) <= 100


def test_service_readme_names_every_module(baked: Project) -> None:
    order = re.findall(r"^\d\. .+", baked.read("README.md"), re.MULTILINE)
    modules = (baked.path / baked.package).glob("*.py")

    named = re.findall(r"`(\w+\.py)`", "".join(order))

    assert sorted(named) == sorted(path.name for path in modules)


@pytest.mark.parametrize("deploy", QUESTIONS["deploy"])
def test_service_tells_of_its_own_deployment(bake: Bake, deploy: str) -> None:
    project = bake(deploy=deploy)
    names = [n for n in project.files() if re.search(r"\.md$|\.env|\.ya?ml$", n)]
    # an edge's own products are named whatever runs the service
    output = "".join(project.read(n) for n in names if n != "docs/edge.md")
    words = {
        "compose": ["docker compose", "deploy/compose.yaml"],
        "kubernetes": ["kubectl", "deploy/kubernetes"],
        "none": [],
    }

    for answer, phrases in words.items():
        assert {word in output for word in phrases} <= {answer == deploy}
    common = [r"\bdeploy/", "METRICS_PORT", "[Pp]rometheus", "[Dd]ocker"]
    mentions = {bool(re.search(word, output)) for word in common}
    assert mentions == {deploy != "none"}


def test_readme_counts_the_files_of_each_deployment(bake: Bake) -> None:
    (row,) = re.findall(r"^\| `deploy` .+", README, re.MULTILINE)
    counted = {
        deploy: len(bake(project_slug=f"my-{deploy}", deploy=deploy).files())
        for deploy in QUESTIONS["deploy"]
    }

    assert dict(re.findall(r"(\w+) \((\d+) files\)", row)) == {
        deploy: str(files) for deploy, files in counted.items()
    }


def test_operations_list_every_log_key_and_metric(baked: Project) -> None:
    sections = baked.read("docs/operations.md").split("\n## ")
    listing = [part for part in sections if part.startswith(("Logs\n", "Metrics\n"))]
    cells = re.findall(r"^\| (`.+?) \|", "".join(listing), re.MULTILINE)
    listed = re.findall(r"`(\w+)`", "".join(cells))
    logs = baked.read(f"{baked.package}/observability.py")
    counts = baked.read(f"{baked.package}/metrics.py")
    always = {"timestamp", "level", "logger", "message", "request_id", "traceback"}
    facts = re.findall(r'^        "(\w+)": ', logs, re.MULTILINE)
    metrics = re.findall(r'(Counter|Histogram)\(\s+"(\w+)"', counts)

    assert len(set(listed)) == len(listed)
    assert {*listed} == {
        *always,
        *facts,
        *(f"{name}_total" if kind == "Counter" else name for kind, name in metrics),
    }
