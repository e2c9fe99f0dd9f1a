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
# they speak of one connection, RFC 9110 7.6.1
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}

Headers = list[tuple[str, str]]


class Counter:
    """A pass-through before the origin that knows which requests came by.

    It is the oracle: whether a cache asked is seen here, never told by a clock.

    :param origin: the origin's URL.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.pool = urllib3.PoolManager(maxsize=32, retries=False, timeout=60)
        # what the origin sent, None if it did not response
        self.seen: dict[str, Headers | None] = {}
        # method, path, status and what the origin sent, in order
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
        """Ask the origin, and note what it sent for the request's mark."""
        mark = next((v for k, v in headers if k.lower() == MARK.lower()), "")
        self.seen[mark] = None
        response = self.pool.request(
            method,
            self.origin + path,
            headers=urllib3.HTTPHeaderDict(headers),
            body=body or None,
            redirect=False,
            decode_content=False,
        )
        sent = list(response.headers.iteritems())
        self.seen[mark] = sent
        self.log.append((method, path, response.status, sent))
        return response, sent


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        # without the base class's look-up of the host's name
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a cache that hangs up is its own business."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    counter: Counter

    def forward(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        asked = [(k, v) for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP]
        try:
            response, sent = self.counter.pass_on(self.command, self.path, asked, body)
        except urllib3.exceptions.HTTPError:
            # as the origin would: no response
            self.close_connection = True
            return
        self.send_response_only(response.status, response.reason)
        for name, value in sent:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.data)

    do_GET = do_HEAD = do_OPTIONS = forward
    do_POST = do_PUT = do_PATCH = do_DELETE = forward

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the table tells."""
