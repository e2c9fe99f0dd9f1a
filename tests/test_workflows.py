"""The pipelines and bots, the service's and the template's own, as their tools read them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import yaml
from conftest import Bake
from conftest import CURRENT
from conftest import Project
from conftest import PYTHONS
from conftest import QUESTIONS
from conftest import ROOT

# a pinned action; the tests loosen it
PINNED = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
LOOSENED = {
    "unpinned-uses": (PINNED, "actions/checkout@v7"),
    "artipacked": ("persist-credentials: false", "persist-credentials: true"),
    "excessive-permissions": ("permissions: {}", "permissions: write-all"),
    "template-injection": (
        "run: make check",
        "run: echo ${{ github.event.pull_request.title }}",
    ),
}
SCHEMAS = {
    ".github/workflows/*.yml": "github-workflows",
    ".github/dependabot.yml": "dependabot",
    ".gitlab-ci.yml": "gitlab-ci",
    "renovate.json": "renovate",
}


@pytest.mark.parametrize("repository", ["github", "template"])
def test_workflows_are_safe(bake: Bake, repository: str) -> None:
    report = zizmor(find(repository, bake) / ".github")
    assert report.returncode == 0, report.stdout


@pytest.mark.parametrize("finding", LOOSENED)
def test_loosened_workflow_is_found(bake: Bake, finding: str) -> None:
    project = bake()
    workflow = project.path / ".github" / "workflows" / "ci.yml"
    old, new = LOOSENED[finding]
    assert old in workflow.read_text("utf-8")
    workflow.write_text(workflow.read_text("utf-8").replace(old, new), "utf-8")
    report = zizmor(project.path / ".github")
    assert report.returncode != 0
    assert f"[{finding}]" in report.stdout


def test_pipelines_fit_their_schemas(copy_into: Bake, tmp_path: Path) -> None:
    folders = [ROOT]
    for host, deploy in product(["github", "gitlab"], QUESTIONS["deploy"]):
        answers = {"code_host": host, "deploy": deploy}
        folders.append(copy_into(tmp_path / host / deploy, **answers).path)
    checked: Counter[Path] = Counter()
    for pattern, schema in SCHEMAS.items():
        # one process for all: it takes longer to start than to check
        files = [(folder, path) for folder in folders for path in folder.glob(pattern)]
        checked.update(folder for folder, _ in files)
        options = ["--builtin-schema", f"vendor.{schema}", "--no-cache"]
        done = run("check-jsonschema", *options, *(str(path) for _, path in files))
        assert done.returncode == 0, done.stdout
    assert min(checked[folder] for folder in folders) >= 2


@pytest.mark.parametrize("repository", ["github", "gitlab", "template"])
def test_pipelines_run_every_python(bake: Bake, repository: str) -> None:
    folder = find(repository, bake)
    if repository == "gitlab":
        jobs = yaml.safe_load((folder / ".gitlab-ci.yml").read_text("utf-8"))
        (matrix,) = jobs["check"]["parallel"]["matrix"]
        assert sorted(matrix["VERSION"]) == PYTHONS
        assert jobs["default"]["image"] == f"python:{CURRENT}"
        return
    workflows = folder / ".github" / "workflows"
    jobs = yaml.safe_load((workflows / "ci.yml").read_text("utf-8"))["jobs"]
    (matrix,) = (
        job["strategy"]["matrix"] for job in jobs.values() if "strategy" in job
    )
    assert sorted(matrix["python"]) == PYTHONS
    named = re.findall(
        r'python-version: "(.+)"|[:=].*python:(3\.\d+)',
        "".join(path.read_text("utf-8") for path in workflows.iterdir()),
    )
    assert {"".join(version) for version in named} == {CURRENT}


@pytest.mark.parametrize(
    ("host", "pipeline"),
    [("github", ".github/workflows/advisories.yml"), ("gitlab", ".gitlab-ci.yml")],
)
def test_locks_are_checked_when_they_or_their_inputs_change(
    bake: Bake, host: str, pipeline: str
) -> None:
    text = bake(code_host=host).read(pipeline)

    assert "make lockcheck" in text
    assert re.findall("(?:paths|changes): (.+)", text) == ['["requirements*"]'] * 2


def test_image_has_the_current_python(baked: Project) -> None:
    assert f"FROM python:{CURRENT}-slim " in baked.read("deploy/Dockerfile")


@pytest.mark.parametrize("deploy", QUESTIONS["deploy"])
def test_every_image_is_renewed_by_a_bot(bake: Bake, deploy: str) -> None:
    """Dependabot looks into the named folders only, and fails where there is none."""
    project = bake(deploy=deploy)
    updates = yaml.safe_load(project.read(".github/dependabot.yml"))["updates"]
    searched = {
        folder
        for update in updates
        for folder in update.get("directories", [update.get("directory")])
    }
    folders = {
        f"/{Path(name).parent.as_posix()}"
        for name in project.files()
        if name.startswith("deploy/")
        and re.search("^FROM |image: ", project.read(name), re.MULTILINE)
    }
    assert folders == searched - {"/"}


def find(repository: str, bake: Bake) -> Path:
    """Return this repository, or that of a service on a host."""
    if repository == "template":
        return ROOT
    return bake(code_host=repository).path


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the strictest of zizmor's personas over a folder, without a network."""
    options = ["--offline", "--persona=auditor", "--strict-collection"]
    return run("zizmor", *options, "--collect=all", "--color=never", str(folder))


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name(tool)), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
