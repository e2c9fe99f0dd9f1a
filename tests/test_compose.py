"""What deploy/compose.yaml says, and what goes into the image it builds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Bake
from conftest import COMBINATIONS
from conftest import combinations
from conftest import Project

FILE = "deploy/compose.yaml"
REQUIRED = ["FLASK_SECRET_KEY", "POSTGRES_PASSWORD", "SERVICE_HOST"]


@pytest.fixture
def services(baked: Project) -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load(baked.read(FILE))
    services: dict[str, Any] = compose["services"]
    return services


def test_compose_fits_the_schema(copy_into: Bake, tmp_path: Path) -> None:
    # one process for all: it takes longer to start than to check
    names = combinations("compose")
    services = [copy_into(tmp_path / name, **COMBINATIONS[name]) for name in names]

    done = check(*(service.path / FILE for service in services))

    assert done.returncode == 0, done.stdout


def test_schema_refuses_what_compose_would(baked: Project, tmp_path: Path) -> None:
    text = baked.read(FILE)
    path = tmp_path / "compose.yaml"
    path.write_text(text.replace("read_only:", "readonly:"), "utf-8")

    assert "readonly" in check(path).stdout


def test_compose_asks_for_what_has_no_default(baked: Project) -> None:
    text = baked.read(FILE)

    assert sorted(set(re.findall(r"\$\{(\w+):\?", text))) == REQUIRED
    assert set(re.findall(r"\$\{(\w+):?-", text)) == {"LISTEN"}
    assert sorted(re.findall(r"^#   (\w+)", text, re.M)) == REQUIRED


def test_compose_confines_every_service(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "/tmp" in service["tmpfs"], name


def test_compose_publishes_nginx_alone(services: dict[str, Any]) -> None:
    published = {name: s["ports"] for name, s in services.items() if "ports" in s}

    assert published == {"edge": ["${LISTEN:-127.0.0.1:8080}:8080"]}


def test_compose_mounts_what_is_there(baked: Project, services: dict[str, Any]) -> None:
    sources = [mount.split(":")[0] for mount in services["edge"]["volumes"]]

    assert len(sources) == 2
    assert all(baked.has(f"deploy/{source}") for source in sources)


def test_nginx_leads_to_the_service(baked: Project, services: dict[str, Any]) -> None:
    upstream = re.findall(r"server (\w+):(\d+)\b", baked.read("deploy/nginx.conf"))

    assert upstream == [("web", "8000")]
    assert "web" in services


def test_nginx_takes_the_bodies_that_the_service_takes(baked: Project) -> None:
    nginx = baked.read("deploy/nginx.conf")
    (size,) = re.findall(r"client_max_body_size (\d+)k;", nginx)

    assert f"MAX_CONTENT_LENGTH={size} * 1024," in baked.read(
        f"{baked.package}/config.py"
    )


@pytest.mark.parametrize("name", combinations("compose", "kubernetes"))
def test_image_gets_the_package(bake: Bake, name: str) -> None:
    project = bake(**COMBINATIONS[name])
    ignored = project.read(".dockerignore")
    kept = re.findall(r"^!(.+)$", ignored, re.M)

    assert re.findall(r"^[^#!].*$", ignored, re.M)[0] == "*"
    assert project.package in kept
    assert [path for path in kept if not (project.path / path).exists()] == []


def check(*paths: Path) -> subprocess.CompletedProcess[str]:
    schema = ["--builtin-schema", "vendor.compose-spec"]
    command = [sys.executable, "-m", "check_jsonschema", *schema, *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True)
