from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer

import urllib3

from .processes import HOST

MARK = "X-Proof-Request"
# they are about one connection, RFC 9110 7.6.1
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}

Headers = list[tuple[str, str]]


class Counter:
    """A pass-through before the origin server that records requests.

    The record says whether a cache passed a request on; no clock decides.

    :param origin: the origin server's URL.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.pool = urllib3.PoolManager(maxsize=32, retries=False, timeout=60)
        # header fields of responses by mark, None where no response came
        self.responses: dict[str, Headers | None] = {}
        # method, path, status and header fields of each response, in order
        self.log: list[tuple[str, str, int, Headers]] = []
        self.port = 0

    @contextlib.contextmanager
    def serving(self) -> Iterator[Counter]:
        """Listen on a loopback port until the block ends."""
        handler = type("Handler", (Handler,), {"counter": self})
        with Server((HOST, 0), handler) as server:
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                self.pool.clear()

    def pass_on(
        self, method: str, path: str, headers: Headers, body: bytes
    ) -> tuple[urllib3.BaseHTTPResponse, Headers]:
        """Pass a request on to the origin server, and record its response."""
        mark = next((v for k, v in headers if k.lower() == MARK.lower()), "")
        self.responses[mark] = None
        response = self.pool.request(
            method,
            self.origin + path,
            headers=urllib3.HTTPHeaderDict(headers),
            body=body or None,
            redirect=False,
            decode_content=False,
        )
        fields = list(response.headers.iteritems())
        self.responses[mark] = fields
        self.log.append((method, path, response.status, fields))
        return response, fields


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        # without the base class's look-up of the host's name
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: a cache may close its connection at any time."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    counter: Counter

    def forward(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        headers = [
            (name, value)
            for name, value in self.headers.items()
            if name.lower() not in HOP_BY_HOP
        ]
        try:
            response, fields = self.counter.pass_on(
                self.command, self.path, headers, body
            )
        except urllib3.exceptions.HTTPError:
            # the client gets no response, as from the origin server itself
            self.close_connection = True
            return
        self.send_response_only(response.status, response.reason)
        for name, value in fields:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.data)

    do_GET = do_HEAD = do_OPTIONS = forward
    do_POST = do_PUT = do_PATCH = do_DELETE = forward

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the table has the results."""
