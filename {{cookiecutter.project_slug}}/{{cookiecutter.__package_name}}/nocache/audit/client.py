"""The HTTP client of the probe."""

from __future__ import annotations

import re
import typing as t
from contextlib import suppress
from importlib import import_module
from secrets import token_hex
from urllib.parse import urlsplit
from uuid import uuid4

from .routes import Request
from .unkeyed import read
from .unkeyed import Response
from .version import VERSION

INSTALL = "pip install 'urllib3>=2'"
CHUNK = 2**16


class ProbeError(Exception):
    """Why a service cannot be probed."""


class Service:
    """A deployed service, requested over one connection where it allows that.

    :param url: where it is, without credentials.
    :param headers: fields to send with every request, the only credentials there are.
    :param timeout: seconds to wait for a connection and for a response.
    :raises ProbeError: if the URL will not do, or the HTTP client is not installed.
    """

    def __init__(self, url: str, headers: t.Iterable[str], timeout: float) -> None:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise ProbeError(
                "The URL holds credentials, which end up in logs."
                " Pass them as --header 'Authorization: ...'."
            )
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ProbeError(f"{url!r} is not an http or https URL.")
        if parts.query or parts.fragment:
            raise ProbeError(f"{url!r} holds more than a path.")
        try:
            # not among what the kit depends on; typed where it is installed only
            self.urllib3: t.Any = import_module("urllib3")
        except ImportError:
            raise ProbeError(f"urllib3 is not installed. Run: {INSTALL}") from None
        self.root = f"{parts.scheme}://{parts.netloc}"
        self.path = parts.path.rstrip("/")
        # in what no copy was made for yet: each query and each static-looking name
        self.marker = token_hex(4)
        self.headers = self.urllib3.HTTPHeaderDict(
            {"User-Agent": f"nocache-probe/{VERSION} ({self.marker})"}
        )
        for header in headers:
            name, colon, value = header.partition(":")
            if not colon or not re.fullmatch(r"[!#$%&'*+.^`|~\w-]+", name, re.ASCII):
                raise ProbeError(f"{header!r} is not a header, 'Name: value'.")
            self.headers[name] = value.strip()
        # verifies certificates; knows no proxy, no .netrc and no cookies
        self.pool = self.urllib3.PoolManager(retries=False, timeout=timeout)

    def send(self, request: Request) -> Response:
        """Return the response to a request.

        :raises ProbeError: if none arrives.
        """
        url = f"{self.root}{request.path}{request.query}"
        headers = self.headers.copy()
        headers.update(request.headers)
        # after what the user sends: one id for all would make each response a copy
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
        # a cache may keep a response only once all of it has passed
        with suppress(self.urllib3.exceptions.HTTPError):
            body = read(response.stream(CHUNK, decode_content=False))
        response.close()
        return Response(response.status, list(response.headers.items()), body)
