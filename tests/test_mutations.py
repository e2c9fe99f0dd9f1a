from __future__ import annotations

import os
import re
import sys
from typing import NamedTuple

import pytest
from conftest import Bake
from conftest import KIT
from conftest import Project
from conftest import TOOLS_PATH

FOUND = re.compile(r"^(\S+:\d+): (NC\d{3}) ", re.MULTILINE)
COUNTRIES = """

@bp.{method}("/countries.json")
@cacheable(max_age=3600, public=True, reason="ISO list, changes yearly; #412")
def countries() -> dict[str, str]:
    return {{"de": "Germany"}}
"""


class Mistake(NamedTuple):
    """What somebody adds to a file, and what the audit has to say.

    :param file: the file, from the package.
    :param added: the lines added at its end.
    :param finding: the id.
    :param place: how the line begins that the finding names.
    """

    file: str
    added: str
    finding: str
    place: str


MISTAKES = {
    "undeclared-page": Mistake(
        "pages.py",
        '\n\n@bp.get("/about")\ndef about() -> str:\n    return "about"\n',
        "NC001",
        '@bp.get("/about")',
    ),
    "wrapped-outside": Mistake(
        "../wsgi.py",
        "app = ProxyFix(app)  # type: ignore\n",
        "NC002",
        "app = ProxyFix(app)",
    ),
    "cacheable-on-api": Mistake(
        "api.py", COUNTRIES.format(method="get"), "NC003", '@bp.get("/countries.json")'
    ),
    "cacheable-on-post": Mistake(
        "pages.py",
        COUNTRIES.format(method="post"),
        "NC004",
        '@bp.post("/countries.json")',
    ),
    "below-api-outside-blueprint": Mistake(
        "pages.py",
        '\n\n@bp.get("/api/about")\ndef about() -> str:\n    return "about"\n',
        "NC005",
        '@bp.get("/api/about")',
    ),
    "cacheable-above-route": Mistake(
        "pages.py",
        '\n\n@cacheable(max_age=60, reason="why not")\n'
        '@bp.get("/about")\ndef about() -> str:\n    return "about"\n',
        "NC006",
        "@cacheable(",
    ),
    "header-by-hand": Mistake(
        "api.py",
        "\n\n@bp.after_request\ndef hurry(response: Response) -> Response:\n"
        '    response.headers["Cache-Control"] = "public"\n    return response\n',
        "NC007",
        '    response.headers["Cache-Control"]',
    ),
    "server-side-cache": Mistake(
        "api.py",
        '\n\n@bp.get("/sizes")\n@cache\ndef sizes() -> list[int]:\n    return [1]\n',
        "NC009",
        '@bp.get("/sizes")',
    ),
    "header-in-a-tuple": Mistake(
        "pages.py",
        '\n\nLASTING = {"Cache-Control": "max-age=60"}\n\n\n@bp.get("/about")\n@nocache\n'
        "def about() -> tuple[str, int, dict[str, str]]:\n"
        '    return "about", 200, LASTING\n',
        "NC007",
        "LASTING = ",
    ),
    "comment-without-a-reason": Mistake(
        "pages.py",
        "\n\nLIMIT = 3  # nocache: ignore NC007\n",
        "NC006",
        "LIMIT = 3",
    ),
    "server-side-cache-of-a-method": Mistake(
        "pages.py",
        "\n\nclass About(MethodView):\n    decorators = [nocache]\n\n    @cache\n"
        '    def get(self) -> str:\n        return "about"\n\n\n'
        'bp.add_url_rule("/about", view_func=About.as_view("about"))\n',
        "NC009",
        "    @cache",
    ),
    "copy-of-the-browser": Mistake(
        "static/items.js",
        '\nfetch(url, { cache: "force-cache" });\n',
        "NC013",
        "fetch(url, {",
    ),
    "preload-of-the-api": Mistake(
        "templates/base.html",
        """<link rel="preload" as="fetch" href="{{ url_for('api.list_items') }}">\n""",
        "NC013",
        '<link rel="preload"',
    ),
    "edge-ignores-headers": Mistake(
        "../deploy/nginx.conf",
        "proxy_ignore_headers Cache-Control Expires;\n",
        "NC014",
        "proxy_ignore_headers",
    ),
    "kit-edited": Mistake(
        "nocache/audit/probe.py",
        "\n# faster\n",
        "NC011",
        '"""The requests',
    ),
    "policy-not-accepted": Mistake(
        "../cache-policy.txt",
        "pages.gone GET /gone -> public, max-age=60: it is gone\n",
        "NC010",
        "pages.gone",
    ),
    "policy-file-of-1.0": Mistake(
        "../cache-policy.txt",
        "pages.index GET / -> no-store\n",
        "NC010",
        "pages.index",
    ),
}
IMPORTS = """
from functools import cache

from flask import request
from flask import Response
from flask.views import MethodView
from werkzeug.middleware.proxy_fix import ProxyFix
"""
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


def test_mistakes_cover_the_catalogue() -> None:
    catalogue = set(
        re.findall(r"\"(NC\d{3})\"", (KIT / "audit" / "findings.py").read_text("utf-8"))
    )

    # what only the wire shows is planted below
    wire = {"NC008", "NC012", "NC015"}
    assert {m.finding for m in MISTAKES.values()} == catalogue - wire


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_found_alone(bake: Bake, name: str) -> None:
    project = bake()
    place = plant(project, MISTAKES[name])

    tests = project.run("python", "-m", "pytest", "-q", "tests/test_route_audit.py")

    assert tests.returncode == 1
    lines = re.sub("^E +", "", tests.stdout, flags=re.M)
    assert FOUND.findall(lines) == [(place, MISTAKES[name].finding)]
    # which runs the command, as the hook of a commit does below
    assert "FAILED tests/test_route_audit.py::test_command_is_silent" in tests.stdout


@pytest.mark.parametrize(
    "arguments", ["max_age=60", 'max_age=60, reason=" "', 'max_age=-1, reason="why"']
)
def test_bad_declaration_names_line_and_argument(bake: Bake, arguments: str) -> None:
    project = bake()
    line = plant(project, without_reason(arguments)).rpartition(":")[2]

    audit = project.run("python", "-m", "flask", "nocache", "audit")

    assert audit.returncode == 1
    assert re.search(rf'pages.py", line {line}, in <module>', audit.stdout)
    assert re.search(r"Error: .*(reason|max_age)", audit.stdout)


def test_undeclared_route_is_still_not_stored(bake: Bake) -> None:
    project = bake()
    plant(project, MISTAKES["undeclared-page"])

    result = project.run(
        "python",
        "-c",
        "from wsgi import app; print(app.test_client().get('/about').headers)",
        FLASK_DEBUG="1",
    )

    assert "Cache-Control: no-store, no-cache," in result.stdout


@pytest.mark.parametrize(
    ("file", "edits"),
    [
        (
            "app.py",
            {
                "    def __call__(": "    def unused(",
                "exchange is None or exchange.inner_app is not None": "False",
                "exchange.inner_app = self": "pass",
            },
        ),
        ("policy.py", {", *self.fields]": "]"}),
        ("policy.py", {"must-revalidate, ": ""}),
        ("policy.py", {'"no-store, "': '"No-Store, "'}),
    ],
)
def test_nc008_tampered_kit(bake: Bake, file: str, edits: dict[str, str]) -> None:
    project = bake()
    path = project.kit / file
    text = path.read_text("utf-8")
    for guarded, loose in edits.items():
        assert guarded in text
        text = text.replace(guarded, loose)
    path.write_text(text, "utf-8", newline="\n")

    tests = project.run("python", "-m", "pytest", "-q", "tests/test_route_audit.py")

    assert tests.returncode == 1
    assert "NC008 storable-response" in tests.stdout


def test_nc002_what_the_server_is_given(bake: Bake) -> None:
    """No wrapper to see in the source: the object is."""
    project = bake()
    added = "def serve(environ: object, start: object) -> object:\n    return []\n"
    place = plant(project, Mistake("../wsgi.py", f"\n\n{added}", "", "def serve("))
    gunicorn = project.path / "gunicorn.conf.py"
    text = gunicorn.read_text("utf-8").replace('"wsgi:app"', '"wsgi:serve"')
    gunicorn.write_text(text, "utf-8", newline="\n")

    audit = project.run("python", "-m", "flask", "nocache", "audit")

    assert audit.returncode == 1
    assert FOUND.findall(audit.stdout) == [(place, "NC002")]


@pytest.mark.parametrize(
    ("declaration", "body", "finding"),
    [
        (
            'cacheable(max_age=60, public=True, reason="why not")',
            'request.headers.get("X-Forwarded-Host", "")',
            "NC012 depends-on-unkeyed-input: 'GET /about'",
        ),
        (
            'cacheable(max_age=60, public=True, reason="why not")',
            '("about", {"Set-Cookie": "a=1"})',
            "NC006 mark-without-effect: 'pages.about'",
        ),
    ],
    ids=["NC012", "NC006"],
)
def test_mistake_on_the_wire(
    bake: Bake, declaration: str, body: str, finding: str
) -> None:
    project = bake()
    added = f'@bp.get("/about")\n@{declaration}\ndef about() -> object:\n    return {body}\n'
    place = plant(project, Mistake("pages.py", f"\n\n{added}", "", "@cacheable("))
    project.run("python", "-m", "flask", "nocache", "accept")

    audit = project.run("python", "-m", "flask", "nocache", "audit")
    tests = project.run("python", "-m", "pytest", "-q", "tests/test_route_audit.py")

    # the line above is that of the route, where the view begins
    file, _, line = place.partition(":")
    assert audit.stdout == ""
    assert tests.returncode == 1
    assert f"{file}:{int(line) - 1}: {finding}" in tests.stdout


BY_EXTENSION = """
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

from werkzeug.test import run_wsgi_app
from wsgi import app

WSGIRequestHandler.log_message = lambda *args: None
store = {}

def edge(environ, start_response):
    path = environ["PATH_INFO"]
    headers = [("X-Cache", "HIT")] if path in store else []
    body, status, sent = store.get(path) or run_wsgi_app(app, environ, buffered=True)
    if path.endswith(".css"):
        store[path] = body, status, sent
    start_response(status, [*sent, *headers])
    return body

with make_server("127.0.0.1", 0, edge) as server:
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    url = f"http://127.0.0.1:{server.server_port}"
    result = app.test_cli_runner().invoke(args=["nocache", "probe", url])
    server.shutdown()
print(result.output)
raise SystemExit(result.exit_code)
"""


def test_nc015_edge_that_stores_by_extension(bake: Bake) -> None:
    project = bake()

    probe = project.run("python", "-c", BY_EXTENSION, FLASK_DEBUG="1")

    lines = [line for line in probe.stdout.splitlines() if "NC0" in line]
    assert probe.returncode == 1, probe.stdout
    assert {line.split()[1] for line in lines} == {"NC015"}
    assert "'GET /api/items' is stored under names like those of" in probe.stdout


@pytest.mark.slow
def test_commit_with_a_mistake_is_refused(bake: Bake) -> None:
    project = bake()
    setup = ["make", f"PYTHON={sys.executable}", "setup"]
    project.check(*setup, PATH=TOOLS_PATH, **GIT)
    project.run("git", "add", "--all", **GIT)
    project.check("git", "commit", "-m", "start", **GIT)

    for mistake in MISTAKES.values():
        place = plant(project, mistake)
        bad = project.run("git", "commit", "--all", "-m", "plant a mistake", **GIT)
        assert bad.returncode == 1, bad.stdout
        assert FOUND.findall(bad.stdout) == [(place, mistake.finding)], bad.stdout
        project.run("git", "reset", "--hard", **GIT)

    plant(project, without_reason("max_age=60"))
    bad = project.run("git", "commit", "--all", "-m", "give no reason", **GIT)
    assert bad.returncode == 1
    assert "argument: 'reason'" in bad.stdout


def without_reason(arguments: str) -> Mistake:
    added = f'@bp.get("/about")\n@cacheable({arguments})\ndef about() -> str:\n    return ""\n'
    return Mistake("pages.py", f"\n\n{added}", "", "@cacheable(")


def plant(project: Project, mistake: Mistake) -> str:
    """Make the mistake, tidily, and return the place that the finding has to name."""
    path = (project.path / project.package / mistake.file).resolve()
    text = path.read_text("utf-8") + mistake.added
    own = path.suffix == ".py" and path.parent.name != "nocache"
    if own:
        kit = "" if path.name == "wsgi.py" else "from .nocache import cacheable\n"
        future = "from __future__ import annotations\n"
        text = text.replace(future, future + IMPORTS + kit, 1)
    path.write_text(text, "utf-8", newline="\n")
    if own:
        project.run("ruff", "check", "--fix", str(path))
        project.run("ruff", "format", str(path))
    lines = path.read_text("utf-8").splitlines()
    (line,) = (n for n, text in enumerate(lines, 1) if text.startswith(mistake.place))
    return f"{path.relative_to(project.path.resolve()).as_posix()}:{line}"
