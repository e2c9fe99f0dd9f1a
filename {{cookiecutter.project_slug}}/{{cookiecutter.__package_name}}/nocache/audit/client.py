"""The HTTP client of the probe."""

from __future__ import annotations

import typing as t
from contextlib import suppress
from importlib import import_module
from secrets import token_hex
from urllib.parse import urlsplit
from uuid import uuid4

from ..arguments import TOKEN
from .routes import Request
from .unkeyed import read
from .unkeyed import Response
from .version import VERSION

INSTALL = "pip install 'urllib3>=2'"
CHUNK = 2**16


class ProbeError(Exception):
    """The probe cannot be run, for the reason in its message."""


class Service:
    """A deployed service, requested over one connection if it stays open.

    :param url: the URL, without credentials, query and fragment.
    :param headers: header fields for every request, as ``Name: value``.
    :param timeout: seconds to wait for a connection and for a response.
    :raises ProbeError: if the URL or a header field is invalid, or if urllib3 is not
        installed.
    """

    def __init__(self, url: str, headers: t.Iterable[str], timeout: float) -> None:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise ProbeError(
                "The URL has credentials, which end up in logs."
                " Pass them as --header 'Authorization: ...'."
            )
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ProbeError(f"{url!r} is not an http or https URL.")
        if parts.query or parts.fragment:
            raise ProbeError(f"{url!r} has a query or a fragment.")
        try:
            # no dependency of the kit, so its types may be missing
            self.urllib3: t.Any = import_module("urllib3")
        except ImportError:
            raise ProbeError(f"urllib3 is not installed. Run: {INSTALL}") from None
        self.root = f"{parts.scheme}://{parts.netloc}"
        self.path = parts.path.rstrip("/")
        # makes queries and file names new, so that no cache has a copy for them yet
        self.marker = token_hex(4)
        self.headers = self.urllib3.HTTPHeaderDict(
            {"User-Agent": f"nocache-probe/{VERSION} ({self.marker})"}
        )
        for header in headers:
            name, colon, value = header.partition(":")
            if not colon or not TOKEN.fullmatch(name):
                raise ProbeError(f"{header!r} is not a header field, 'Name: value'.")
            self.headers[name] = value.strip()
        # it verifies certificates, and uses no proxy, no .netrc and no cookies
        self.pool = self.urllib3.PoolManager(retries=False, timeout=timeout)

    def send(self, request: Request) -> Response:
        """Send a request and return its response.

        :param request: the request, whose path begins with that of the service.
        :raises ProbeError: if no response arrives in time.
        """
        url = f"{self.root}{request.path}{request.query}"
        headers = self.headers.copy()
        headers.update(request.headers)
        # replaces the user's: with one id for all, each response would look like a copy
        headers["X-Request-ID"] = str(uuid4())
        try:
            response = self.pool.request(
                request.method,
                url,
                headers=headers,
                redirect=False,
                preload_content=False,
            )
        except (self.urllib3.exceptions.HTTPError, ValueError) as error:
            reason = str(getattr(error, "reason", None) or error)
            raise ProbeError(f"{self.root!r} cannot be reached: {reason}") from error
        body = b""
        # many caches store a response only when it is complete
        with suppress(self.urllib3.exceptions.HTTPError):
            body = read(response.stream(CHUNK, decode_content=False))
        response.close()
        return Response(response.status, list(response.headers.items()), body)
