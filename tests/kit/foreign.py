"""Drives a foreign application and prints what was measured as JSON.

Run by the Python of the environment in which the application is installed:
``python -m kit.foreign NAME KIND FOLDER``.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import typing as t
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import flask
from nocache import ApiBlueprint
from nocache import audit_app
from nocache import NoCacheFlask
from nocache import routes
from nocache.audit.wire import check_app

from .oracle import keepers
from .wsgi import Answer
from .wsgi import answer
from .wsgi import App
from .wsgi import assert_not_stored
from .wsgi import CONDITIONS

REVALIDATED = [("Cache-Control", "no-cache")]


class Foreign(t.NamedTuple):
    """An application.

    :param make: makes it, with its files in a folder.
    :param enter: returns what the requests of somebody who may do all of it carry.
    :param paths: what is asked for beside every route.
    :param arguments: values for the arguments of its rules.
    """

    make: Callable[[Path], flask.Flask]
    enter: Callable[[App], dict[str, str]]
    paths: list[str]
    arguments: dict[str, str]


def httpbin(folder: Path) -> flask.Flask:
    app: flask.Flask = import_module("httpbin").app
    return app


def ihatemoney(folder: Path) -> flask.Flask:
    class Configuration:
        SECRET_KEY = "x"
        SQLALCHEMY_DATABASE_URI = f"sqlite:///{folder}/budget.db"

    create_app = import_module("ihatemoney.run").create_app
    app: flask.Flask = create_app(Configuration, instance_path=str(folder))
    return app


def enter_ihatemoney(app: App) -> dict[str, str]:
    # makes the project, and logs in to it
    cookie = answer(app, "/demo").get("Set-Cookie") or ""
    basic = base64.b64encode(b"demo:demo").decode()
    return {"Cookie": cookie.partition(";")[0], "Authorization": f"Basic {basic}"}


def privacyidea(folder: Path) -> flask.Flask:
    (folder / "enckey").write_bytes(os.urandom(96))
    (folder / "pi.cfg").write_text(
        f"SECRET_KEY = PI_PEPPER = 'x'\n"
        f"SQLALCHEMY_DATABASE_URI = 'sqlite:///{folder}/pi.db'\n"
        f"PI_ENCFILE = '{folder}/enckey'\n"
        f"PI_LOGFILE = '{folder}/pi.log'\n"
        f"PI_AUDIT_NO_SIGN = PI_NO_RESPONSE_SIGN = True\n"
    )
    module = import_module("privacyidea.app")
    app: flask.Flask = module.create_app("production", f"{folder}/pi.cfg", silent=True)
    with app.app_context():
        import_module("privacyidea.models").db.create_all()
        create_admin = import_module("privacyidea.lib.auth").create_db_admin
        create_admin("admin", "admin@mail.example.org", "secret")
    return app


def enter_privacyidea(app: App) -> dict[str, str]:
    sent = {"username": "admin", "password": "secret"}
    got = json.loads(answer(app, "/auth", "POST", json=sent).body)
    return {"Authorization": got["result"]["value"]["token"]}


APPS = {
    "httpbin": Foreign(
        httpbin,
        lambda app: {},
        [
            "/response-headers?Cache-Control=public&CDN-Cache-Control=max-age=60&Age=1",
            "/status/304",
            "/cache",
            "/etag/x",
        ],
        {"codes": "200", "delay": "0"},
    ),
    "ihatemoney": Foreign(
        ihatemoney,
        enter_ihatemoney,
        ["/static/css/main.css"],
        {"project_id": "demo", "file": "bills", "format": "json"},
    ),
    "privacyidea": Foreign(
        privacyidea, enter_privacyidea, ["/static/no-such-path"], {}
    ),
}


def recording(
    app: App, extra: dict[str, str], recorded: list[tuple[str, Answer]]
) -> App:
    """Return `app` with a note of each answer as a server gets it.

    :param app: what a server is given.
    :param extra: headers that each request gets.
    :param recorded: where the answers are noted.
    """
    added = {f"HTTP_{name.upper()}": value for name, value in extra.items()}

    def entry(environ: dict[str, t.Any], start_response: t.Any) -> Iterable[bytes]:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"

        def start(status: str, headers: t.Any, *exc_info: t.Any) -> t.Any:
            recorded.append((request, Answer(int(status[:3]), headers, b"")))
            return start_response(status, headers, *exc_info)

        return app({**environ, **added}, start)

    return entry


def static(request: str, got: Answer) -> bool:
    """Return whether an answer is one of Flask's static files, to be revalidated."""
    sent = [f for f in got.headers if f[0] in ("Cache-Control", "Expires", "Pragma")]
    return " /static/" in request and got.status in (200, 304) and sent == REVALIDATED


def inexact(got: Answer) -> bool:
    try:
        assert_not_stored(got)
    except AssertionError:
        return True
    return False


def measure(foreign: Foreign, mounted: bool, folder: Path) -> dict[str, t.Any]:
    app = foreign.make(folder)
    app.logger.disabled = True
    entry: App = app
    if mounted:
        entry = guard = NoCacheFlask("guard")
        guard.wsgi_app = app  # type: ignore[method-assign]
    recorded: list[tuple[str, Answer]] = []
    extra = foreign.enter(entry)
    entry = recording(entry, extra, recorded)
    for path in foreign.paths:
        answer(entry, path, headers=CONDITIONS)
    wire = check_app(app, entry, **foreign.arguments)
    kept = {"authorized": "Authorization" in extra}
    dynamic = [(r, got) for r, got in recorded if not static(r, got)]
    return {
        "routes": len(routes(app)),
        "answers": len(recorded),
        "statuses": Counter(str(got.status) for _, got in recorded),
        "storable": sum(
            bool(keepers(r.partition(" ")[0], got.status, got.headers, **kept))
            for r, got in dynamic
        ),
        "inexact": [f"{r} {got.status}" for r, got in dynamic if inexact(got)],
        "wire": [str(finding) for finding in wire],
        # NC011 is about the kit, not about the application
        "findings": Counter(f.id for f in audit_app(app) if f.id != "NC011"),
    }


def refuse(*args: object) -> t.NoReturn:
    raise OSError("The network is out of bounds here.")


def main(name: str, kind: str, folder: str) -> None:
    socket.socket.connect = refuse  # type: ignore[method-assign]
    # the application imports these, and is itself unchanged
    if kind in ("guarded", "adopted"):
        flask.Flask = NoCacheFlask  # type: ignore[misc]
    if kind == "adopted":
        flask.Blueprint = ApiBlueprint  # type: ignore[misc]
    print(json.dumps(measure(APPS[name], kind == "mounted", Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
