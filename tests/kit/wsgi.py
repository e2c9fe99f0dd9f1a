"""Asking an app as a server does: everything is read from what start_response got."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from wsgiref.simple_server import make_server
from wsgiref.simple_server import WSGIRequestHandler

from nocache import NoCacheFlask
from werkzeug.serving import make_server as make_werkzeug_server
from werkzeug.serving import WSGIRequestHandler as WerkzeugRequestHandler
from werkzeug.test import EnvironBuilder

Headers = list[tuple[str, str]]
App = Callable[..., Iterable[bytes]]

NO_STORE = [
    ("Cache-Control", "no-store, no-cache, must-revalidate, private, max-age=0"),
    ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("Pragma", "no-cache"),
]
READ_BY_CACHES = {
    "age",
    "cache-control",
    "edge-control",
    "etag",
    "expires",
    "last-modified",
    "nocache-permit",
    "pragma",
    "surrogate-control",
    "warning",
    "x-accel-expires",
}
# of a client whose copy dates from before the headers were there
CONDITIONS = {
    "If-None-Match": "*",
    "If-Modified-Since": "Fri, 31 Dec 2100 23:59:59 GMT",
}


class Answer(t.NamedTuple):
    status: int
    headers: Headers
    body: bytes

    def get(self, name: str) -> str | None:
        """Return the value of the only header of that name, None if there is none."""
        values = [v for n, v in self.headers if n.lower() == name.lower()]
        assert len(values) < 2, f"{name} is sent {len(values)} times"
        return values[0] if values else None


def environ_of(
    path: str = "/", method: str = "GET", /, **options: t.Any
) -> dict[str, t.Any]:
    """Return the WSGI environment of a request; `options` go to EnvironBuilder."""
    builder = EnvironBuilder(path, method=method, **options)
    try:
        return builder.get_environ()
    finally:
        builder.close()


def answer(
    app: App, path: str = "/", method: str = "GET", /, **options: t.Any
) -> Answer:
    """Return what `app` hands to the server's start_response, and the body."""
    return exchange(app, environ_of(path, method, **options))


def exchange(app: App, environ: dict[str, t.Any]) -> Answer:
    """Call `app` as PEP 3333 says, and hold it to it."""
    started: list[tuple[str, Headers]] = []
    written: list[bytes] = []

    def start_response(
        status: str, headers: Headers, exc_info: t.Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None and any(written):
            raise exc_info[1]
        assert exc_info is not None or not started, "start_response called twice"
        assert type(headers) is list
        started.append((status, headers))
        return written.append

    body = app(environ, start_response)
    try:
        for chunk in body:
            assert started, "a byte before start_response"
            written.append(chunk)
    finally:
        if hasattr(body, "close"):
            body.close()
    status, headers = started[-1]
    return Answer(int(status[:3]), [(n, v) for n, v in headers], b"".join(written))


def read_by_caches(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the fields that tell a cache what to do, in the order they are sent."""
    return [
        (name, value)
        for name, value in headers
        if (lower := name.strip().lower()) in READ_BY_CACHES
        or lower.endswith("-cache-control")
    ]


def assert_not_stored(got: Answer, *, beside: Iterable[tuple[str, str]] = ()) -> None:
    """Assert that an answer has the exact fields, each once, and no other.

    :param got: the answer.
    :param beside: what it may have as well.
    """
    assert got.status != 304
    assert sorted(read_by_caches(got.headers)) == sorted([*NO_STORE, *beside])


def leaks(got: Answer) -> bool:
    return "no-store" not in (got.get("Cache-Control") or "")


class _Wsgiref(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class _Werkzeug(WerkzeugRequestHandler):
    def log(self, *args: object) -> None:
        pass


@contextmanager
def served(app: t.Any, server: str = "wsgiref") -> Iterator[HTTPConnection]:
    """Serve `app` on a free port of this machine, and connect to it.

    :param app: what a server is given.
    :param server: ``wsgiref`` or ``werkzeug``.
    """
    host = ("127.0.0.1", 0)
    httpd: t.Any
    if server == "wsgiref":
        httpd = make_server(*host, app, handler_class=_Wsgiref)
    else:
        httpd = make_werkzeug_server(*host, app, request_handler=_Werkzeug)
    thread = Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    connection = HTTPConnection("127.0.0.1", httpd.server_port, timeout=10)
    try:
        yield connection
    finally:
        connection.close()
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def fetch(connection: HTTPConnection, path: str = "/", method: str = "GET") -> Answer:
    """Return an answer as it came over a socket."""
    connection.request(method, path)
    response = connection.getresponse()
    return Answer(response.status, response.getheaders(), response.read())


def put_inside(app: t.Any, application: t.Any) -> None:
    """Assign a WSGI callable to an app, as is done with middleware."""
    app.wsgi_app = application


def guarded(folder: Path) -> NoCacheFlask:
    """Return an app with a static file whose exceptions become answers."""
    (folder / "static").mkdir()
    (folder / "static" / "page.css").write_text("p { color: red }")
    app = NoCacheFlask("kit_app", root_path=str(folder))
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.config["SECRET_KEY"] = "x"
    return app
