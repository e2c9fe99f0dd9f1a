"""Requests every route of a foreign application and prints the figures as JSON.

The Python of the environment with the application runs it:
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

from .oracle import storing_caches
from .wsgi import App
from .wsgi import assert_not_stored
from .wsgi import CONDITIONS
from .wsgi import fetch
from .wsgi import WireResponse

# the second is sent with credentials or a cookie
REVALIDATED = {"no-cache", "private, no-cache"}


class Foreign(t.NamedTuple):
    """An application.

    :param make: makes it, with its files in a folder.
    :param enter: returns the header fields of a user with all rights.
    :param paths: paths to request besides its routes.
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
    # the page makes the project, and logs in to it
    cookie = fetch(app, "/demo").get("Set-Cookie") or ""
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
    credentials = {"username": "admin", "password": "secret"}
    response = json.loads(fetch(app, "/auth", "POST", json=credentials).body)
    return {"Authorization": response["result"]["value"]["token"]}


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


def record(
    app: App, extra: dict[str, str], records: list[tuple[str, WireResponse]]
) -> App:
    """Return a WSGI callable that records the responses of another one.

    :param app: the WSGI callable.
    :param extra: header fields to add to each request.
    :param records: the list for the requests and their responses.
    """
    fields = {f"HTTP_{name.upper()}": value for name, value in extra.items()}

    def entry(environ: dict[str, t.Any], start_response: t.Any) -> Iterable[bytes]:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"

        def start(status: str, headers: t.Any, *exc_info: t.Any) -> t.Any:
            records.append((request, WireResponse(int(status[:3]), headers, b"")))
            return start_response(status, headers, *exc_info)

        return app({**environ, **fields}, start)

    return entry


def is_static_file(request: str, response: WireResponse) -> bool:
    """Return whether a response is a static file that has to be revalidated."""
    values = [
        v for n, v in response.headers if n in ("Cache-Control", "Expires", "Pragma")
    ]
    return (
        " /static/" in request
        and response.status in (200, 304)
        and len(values) == 1
        and values[0] in REVALIDATED
    )


def is_inexact(response: WireResponse) -> bool:
    try:
        assert_not_stored(response)
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
    records: list[tuple[str, WireResponse]] = []
    extra = foreign.enter(entry)
    entry = record(entry, extra, records)
    for path in foreign.paths:
        fetch(entry, path, headers=CONDITIONS)
    wire = check_app(app, entry, **foreign.arguments)
    options = {"authorized": "Authorization" in extra}
    dynamic = [
        (r, response) for r, response in records if not is_static_file(r, response)
    ]
    return {
        "routes": len(routes(app)),
        "responses": len(records),
        "statuses": Counter(str(response.status) for _, response in records),
        "storable": sum(
            bool(
                storing_caches(
                    r.partition(" ")[0], response.status, response.headers, **options
                )
            )
            for r, response in dynamic
        ),
        "inexact": [
            f"{r} {response.status}" for r, response in dynamic if is_inexact(response)
        ],
        "wire": [str(finding) for finding in wire],
        # NC011 is about the kit, not about the application
        "findings": Counter(f.id for f in audit_app(app) if f.id != "NC011"),
    }


def refuse(*args: object) -> t.NoReturn:
    raise OSError("The network is out of bounds here.")


def main(name: str, kind: str, folder: str) -> None:
    socket.socket.connect = refuse  # type: ignore[method-assign]
    # the application imports these classes, and stays unchanged
    if kind in ("guarded", "adopted"):
        flask.Flask = NoCacheFlask  # type: ignore[misc]
    if kind == "adopted":
        flask.Blueprint = ApiBlueprint  # type: ignore[misc]
    print(json.dumps(measure(APPS[name], kind == "mounted", Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
