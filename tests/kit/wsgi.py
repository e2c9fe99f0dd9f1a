"""Requests to an app as a server makes them, and the arguments of start_response."""

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
# a 304 has no Last-Modified if it has an ETag, RFC 9110 15.4.5
VALIDATORS = ("ETag", "Last-Modified")
# conditions of a client whose stored response is from before the guard
CONDITIONS = {
    "If-None-Match": "*",
    "If-Modified-Since": "Fri, 31 Dec 2100 23:59:59 GMT",
}


class WireResponse(t.NamedTuple):
    """A response as the server gets it, or as it comes over a socket."""

    status: int
    headers: Headers
    body: bytes

    def get(self, name: str) -> str | None:
        """Return the value of the only header field of a name, None if there is none."""
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


def fetch(
    app: App, path: str = "/", method: str = "GET", /, **options: t.Any
) -> WireResponse:
    """Return the response of an app to a request.

    :param app: the WSGI callable.
    :param path: the path.
    :param method: the method.
    :param options: further arguments of EnvironBuilder.
    """
    return call_wsgi(app, environ_of(path, method, **options))


def call_wsgi(app: App, environ: dict[str, t.Any]) -> WireResponse:
    """Call an app as PEP 3333 says, and assert that it obeys PEP 3333 too."""
    starts: list[tuple[str, Headers]] = []
    chunks: list[bytes] = []

    def start_response(
        status: str, headers: Headers, exc_info: t.Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None and any(chunks):
            raise exc_info[1]
        assert exc_info is not None or not starts, "start_response called twice"
        assert type(headers) is list
        starts.append((status, headers))
        return chunks.append

    body = app(environ, start_response)
    try:
        for chunk in body:
            assert starts, "a byte before start_response"
            chunks.append(chunk)
    finally:
        if hasattr(body, "close"):
            body.close()
    status, headers = starts[-1]
    return WireResponse(int(status[:3]), [(n, v) for n, v in headers], b"".join(chunks))


def read_by_caches(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the fields that caches read, in the order of the response."""
    return [
        (name, value)
        for name, value in headers
        if (lower := name.strip().lower()) in READ_BY_CACHES
        or lower.endswith("-cache-control")
    ]


def assert_stored(
    response: WireResponse, policy: str, *, validators: tuple[str, ...] = ()
) -> None:
    """Assert that a response has the declared policy and no other field for caches."""
    fields = read_by_caches(response.headers)
    assert [v for n, v in fields if n.lower() == "cache-control"] == [policy]
    assert sorted(n for n, _ in fields) == sorted(["Cache-Control", *validators])


def assert_not_stored(
    response: WireResponse, *, beside: Iterable[tuple[str, str]] = ()
) -> None:
    """Assert that a response has the fields of no-store, each once, and no others.

    :param response: the response.
    :param beside: fields for caches that it has too.
    """
    assert response.status != 304
    assert sorted(read_by_caches(response.headers)) == sorted([*NO_STORE, *beside])


def leaks(response: WireResponse) -> bool:
    return "no-store" not in (response.get("Cache-Control") or "")


class _Wsgiref(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class _Werkzeug(WerkzeugRequestHandler):
    def log(self, *args: object) -> None:
        pass


@contextmanager
def serve(app: t.Any, server: str = "wsgiref") -> Iterator[HTTPConnection]:
    """Serve `app` on a free port of this machine, and connect to it.

    :param app: the WSGI callable.
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


def receive(
    connection: HTTPConnection, path: str = "/", method: str = "GET"
) -> WireResponse:
    """Return the response to a request over a socket."""
    connection.request(method, path)
    response = connection.getresponse()
    return WireResponse(response.status, response.getheaders(), response.read())


def put_inside(app: t.Any, application: t.Any) -> None:
    """Assign a WSGI callable to an app, as one does with middleware."""
    app.wsgi_app = application


def guarded_app(folder: Path) -> NoCacheFlask:
    """Return an app with a static file, whose exceptions become responses."""
    (folder / "static").mkdir()
    (folder / "static" / "page.css").write_text("p { color: red }")
    app = NoCacheFlask("kit_app", root_path=str(folder))
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.config["SECRET_KEY"] = "x"
    return app
