"""Comments that silence a finding on their line, with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from nocache import audit_app
from nocache import NoCacheFlask
from nocache.audit.policy_file import write_policy_file
from nocache.audit.rules import silences

STAMP = 'make_response("x").headers["Expires"] = "0"'
WORKER = 'caches.open("v1").then((cache) => cache.put(url, response));'
IGNORE = "nocache: ignore"
Write = Callable[[str, str], object]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NoCacheFlask:
    # the project of an app without a module is the working directory
    monkeypatch.chdir(tmp_path)
    return NoCacheFlask("kit_app")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return lambda name, text: (tmp_path / name).write_text(f"\n{text}\n")


def audit(app: Flask) -> list[tuple[str, int, str]]:
    write_policy_file(app, silences(app))
    return [(f.id, f.line, f.message) for f in audit_app(app)]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("views.py", f"{STAMP}  # {IGNORE} NC007, the proxy asks for it"),
        ("views.py", f"{STAMP}  # noqa: X  # {IGNORE} NC007, the proxy asks for it"),
        ("views.py", f"{STAMP}  #{IGNORE}  NC007: the proxy  asks for it"),
        ("sw.js", f"{WORKER}  // {IGNORE} NC013, the proxy asks for it"),
        ("sw.js", f"{WORKER} /* {IGNORE} NC013, the proxy asks for it */"),
        (
            "page.html",
            '<link rel="preload" as="fetch" href="/list">'
            f"<!-- {IGNORE} NC013, the proxy asks for it -->",
        ),
        (
            "page.html",
            '<link rel="preload" as="fetch" href="/list">'
            f"{{# {IGNORE} NC013, the proxy asks for it #}}",
        ),
        (
            "nginx.conf",
            f"proxy_cache_valid any 1m; # {IGNORE} NC014, the proxy asks for it",
        ),
    ],
)
def test_silenced_finding_is_an_exception_with_its_reason(
    app: NoCacheFlask, write: Write, name: str, line: str
) -> None:
    write(name, line)

    assert audit(app) == []
    (exception,) = silences(app)
    assert exception.startswith(f"NC0{line.partition('NC0')[2][:2]} {name} '")
    assert exception.endswith("': the proxy asks for it")
    assert exception in Path("cache-policy.txt").read_text()


def test_route_can_be_silenced(app: NoCacheFlask, write: Write) -> None:
    write(
        "views.py", f"def page():  # {IGNORE} NC001, a page of a library\n    return ''"
    )
    names: dict[str, Callable[[], str]] = {}
    code = compile(
        Path("views.py").read_text(), str(Path("views.py").resolve()), "exec"
    )
    exec(code, names)
    app.get("/", endpoint="page")(names["page"])

    assert audit(app) == []
    assert silences(app) == ["NC001 views.py 'page': a page of a library"]


def test_every_finding_of_the_line_and_id_is_silenced(
    app: NoCacheFlask, write: Write
) -> None:
    write(
        "views.py",
        'make_response("x", 200, {"Expires": "0", "Pragma": "no-cache"})'
        f"  # {IGNORE} NC007, the proxy asks for it",
    )

    assert audit(app) == []
    assert len(silences(app)) == 2


def test_comment_silences_the_whole_statement(app: NoCacheFlask, write: Write) -> None:
    """A formatter moves the comment to the last line of the statement."""
    write(
        "views.py",
        "if True:\n    # why\n    page = make_response('x')\n"
        "    page.headers['Expires'] = (\n"
        f"        '0'  # {IGNORE} NC007, the proxy asks for it\n    )",
    )

    assert audit(app) == []


def test_another_line_is_not_silenced(app: NoCacheFlask, write: Write) -> None:
    write("views.py", f"{STAMP}  # {IGNORE} NC007, the proxy\n{STAMP}")

    assert [f[:2] for f in audit(app)] == [("NC007", 3)]


@pytest.mark.parametrize(
    ("comment", "fact", "others"),
    [
        (f"{IGNORE} NC007", "gives no reason", ["NC007"]),
        (f"{IGNORE} NC007,", "gives no reason", ["NC007"]),
        (f"{IGNORE} NC009, fine", "silences nothing there", ["NC007"]),
        (f"{IGNORE} NC999, fine", "names no finding", ["NC007"]),
        (f"{IGNORE}, fine", "names no finding", ["NC007"]),
    ],
)
def test_comment_without_effect_is_a_finding(
    app: NoCacheFlask, write: Write, comment: str, fact: str, others: list[str]
) -> None:
    write("views.py", f"{STAMP}  # {comment}")

    findings = audit(app)

    assert sorted(id for id, *_ in findings) == ["NC006", *others]
    assert any(message.endswith(f"{fact}.") for _, _, message in findings)
    assert silences(app) == []


def test_comment_where_nothing_is_wrong_is_a_finding(
    app: NoCacheFlask, write: Write
) -> None:
    write("views.py", f"x = 1  # {IGNORE} NC007, long gone")

    assert audit(app) == [
        ("NC006", 2, "'nocache: ignore NC007' silences nothing there.")
    ]


@pytest.mark.parametrize(
    "line",
    [
        f"x = '# {IGNORE} NC007'",
        f'"""{IGNORE} NC007, why"""',
        f"# see {IGNORE}d",
        "x = 1  # nocache",
    ],
)
def test_string_is_no_comment(app: NoCacheFlask, write: Write, line: str) -> None:
    write("views.py", line)

    assert audit(app) == []


def test_policy_file_itself_cannot_be_silenced(app: NoCacheFlask, write: Write) -> None:
    write("views.py", f"x = 1  # {IGNORE} NC010, no file")

    assert sorted(f.id for f in audit_app(app)) == ["NC006", "NC010"]


def test_reason_that_is_not_accepted_is_a_finding(
    app: NoCacheFlask, write: Write
) -> None:
    write("views.py", f"{STAMP}  # {IGNORE} NC007, one reason")
    write_policy_file(app, silences(app))
    write("views.py", f"{STAMP}  # {IGNORE} NC007, another")

    assert [f.id for f in audit_app(app)] == ["NC010", "NC010"]


def test_accept_writes_silenced_findings(app: NoCacheFlask, write: Write) -> None:
    write("views.py", f"{STAMP}  # {IGNORE} NC007, one reason")
    runner: FlaskCliRunner = app.test_cli_runner()

    assert runner.invoke(args=["nocache", "accept"]).exit_code == 0
    assert runner.invoke(args=["nocache", "audit"]).output == ""
