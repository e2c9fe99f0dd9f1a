from __future__ import annotations

import re
import typing as t
from contextlib import suppress
from importlib import import_module
from secrets import token_hex
from time import sleep
from urllib.parse import urlsplit
from uuid import uuid4

from ..policy import SAFE
from ..policy import STORABLE
from .findings import Finding
from .findings import finding
from .routes import app_location
from .routes import Route
from .routes import routes
from .routes import rule_text
from .version import VERSION
from .wire import CONDITIONS
from .wire import NOWHERE
from .wire import storable
from .wire import url_of

if t.TYPE_CHECKING:
    from flask import Flask

READ_ONLY = ("GET", "HEAD", "OPTIONS")
INSTALL = "pip install 'urllib3>=2'"
# a cache may keep an answer only once all of it has passed, but some never end
BODY = 2**20

# fields, and what in them says that a cache has or had a copy; what is not here, such as
# MISS, BYPASS, DYNAMIC or CloudFront's "Error", says nothing of one
SIGNS = (
    # Varnish and Fastly say 0 of an answer just fetched, and of a copy a moment old
    ("age|x-cache-hits", r"[1-9]"),
    # this request, and the one that stored the answer
    ("x-varnish", r"\d\s+\d"),
    # RFC 9211: the cache had what it forwarded the request for
    ("cache-status", r"\bfwd=(partial|request)\b"),
    # the same, and X-Cache, X-Cache-Status, CF-Cache-Status, Akamai-Cache-Status, ...
    (
        r"([a-z]+-)*cache(-status|-lookup)?",
        r"(?<![a-z])((refresh)?hit|stale|updating|expired|revalidated?|stored"
        # Akamai: the copy was too old; Vercel: made ahead
        r"|refresh_miss|prerender)(?![a-z]|-for-|=\?0)",
    ),
)
PAUSE = 1.1  # seconds, after which a copy is of an age

Fields = list[tuple[str, str]]
Answer = tuple[int, Fields]


class Probe(t.NamedTuple):
    """One question to a deployed service.

    :param where: the file and the line of what should answer.
    :param policy: what is declared for it.
    :param method: the method.
    :param target: the path, from the root of the host.
    :param query: a query that no copy was made for, or none.
    :param headers: further fields.
    """

    where: tuple[str, int]
    policy: str
    method: str
    target: str
    query: str = ""
    headers: t.Mapping[str, str] = {}


class ProbeError(Exception):
    """Why a service cannot be probed."""


class Service:
    """A deployed service, asked over one connection where it allows that.

    :param url: where it answers, without credentials.
    :param headers: fields to send with every request, the only credentials there are.
    :param timeout: seconds to wait for a connection and for an answer.
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

    def ask(self, probe: Probe) -> Answer:
        """Return the status and the fields of an answer.

        :raises ProbeError: if none arrives.
        """
        url = f"{self.root}{probe.target}{probe.query}"
        headers = self.headers.copy()
        headers.update(probe.headers)
        # after what the user sends: one id for all would make each answer a copy
        headers["X-Request-ID"] = str(uuid4())
        try:
            answer = self.pool.request(
                probe.method,
                url,
                headers=headers,
                redirect=False,
                preload_content=False,
            )
        except (self.urllib3.exceptions.HTTPError, ValueError) as error:
            reason = str(getattr(error, "reason", None) or error)
            raise ProbeError(f"{self.root!r} cannot be reached: {reason}") from error
        with suppress(self.urllib3.exceptions.HTTPError):
            answer.read(BODY)
        answer.close()
        return answer.status, list(answer.headers.items())


def probe(
    service: Service,
    probes: t.Iterable[Probe],
    tell: t.Callable[[Probe], None] = lambda probe: None,
) -> list[Finding]:
    """Ask a service and return what a cache could keep, or has kept, of its answers.

    :param service: the service.
    :param probes: the questions, in this order.
    :param tell: called before each, but not as it is asked again.
    :raises ProbeError: if no answer arrives.
    """
    found: dict[tuple[tuple[str, int], str], Finding] = {}
    seen: set[str] = set()
    young: dict[tuple[str, ...], Probe] = {}
    for asked in _again(probes, tell, young):
        status, fields = service.ask(asked)
        if asked.method in SAFE and ("age", "0") in ((n.lower(), v) for n, v in fields):
            young.setdefault((asked.method, asked.target, asked.query), asked)
        # a cache that may keep an answer says its age, which the app itself never does
        sent = [field for field in fields if field[0].lower() != "age"]
        fact = kept(asked, status, fields, seen) or storable(
            asked.method, status, sent, asked.policy
        )
        seen |= request_ids(fields)
        if fact:
            # the same again, or with another query, is no other finding
            subject = f"'{asked.method} {asked.target}'"
            key = asked.where, subject
            found.setdefault(key, finding("NC008", asked.where, subject, fact))
    return sorted(found.values())


def _again(
    probes: t.Iterable[Probe],
    tell: t.Callable[[Probe], None],
    young: t.Mapping[t.Any, Probe],
) -> t.Iterator[Probe]:
    """Yield the questions, and later once more those whose answer was of age 0."""
    for asked in probes:
        tell(asked)
        yield asked
    if young:
        # an answer is of that age, and so is a copy, but not for longer than a second
        sleep(PAUSE)
        yield from tuple(young.values())


def request_ids(fields: Fields) -> set[str]:
    """Return the ids of the request that an answer was made for, if it says them."""
    return {value for name, value in fields if name.lower() == "x-request-id" and value}


def kept(probe: Probe, status: int, fields: Fields, seen: set[str]) -> str:
    """Return what says that a cache gave or kept an answer against its policy."""
    if (
        probe.policy not in {"no-store", "undeclared"}
        and probe.method in SAFE
        and str(status) in STORABLE
    ):
        return ""
    signs = [f"{name} is {value!r}" for name, value in fields if _says_so(name, value)]
    # no request is given the id of another, but Date may be the proxy's own
    if request_ids(fields) & seen:
        signs.append("X-Request-ID is that of an earlier answer")
    if not signs:
        return ""
    via = [v for n, v in fields if n.lower() in {"via", "x-served-by"}]
    through = f", via {', '.join(map(repr, via))}" if via else ""
    return f"a cache kept a copy, {signs[0]}{through}"


def _says_so(name: str, value: str) -> bool:
    return any(
        re.fullmatch(field, name, re.IGNORECASE)
        and re.search(sign, value, re.IGNORECASE)
        for field, sign in SIGNS
    )


def probes(
    app: Flask,
    service: Service,
    arguments: t.Mapping[str, str],
    unsafe: bool = False,
) -> list[Probe]:
    """Return the questions about every route of an app, and about paths it has not.

    :param app: the app that is deployed.
    :param service: where it is deployed.
    :param arguments: values for the arguments of rules.
    :param unsafe: whether to send POST, PUT, PATCH and DELETE as well.
    :raises ProbeError: if a rule has an argument that no value fits.
    """
    known = {(r.rule, r.endpoint): r for r in routes(app)}
    asked: list[Probe] = []
    for rule in app.url_map.iter_rules():
        route = known.get((rule_text(rule), rule.endpoint))
        # a rule of another host is not asked for here
        if route is None or rule.host or rule.subdomain:
            continue
        try:
            path = urlsplit(url_of(rule, arguments)).path
        except LookupError as error:
            fact = str(error).partition(" Pass")[0]
            raise ProbeError(f"{fact} Pass one: --arg name=value.") from error
        asked += _of_route(route, f"{service.path}{path}", service.marker, unsafe)
    where = app_location(app)
    for prefix in sorted({"", *app.extensions.get("nocache", ())}):
        target = f"{service.path}{prefix}/{NOWHERE}"
        asked += _twice(where, "no-store", target, service.marker)
    return asked


def _of_route(
    route: Route, target: str, marker: str, unsafe: bool
) -> t.Iterator[Probe]:
    where, policy = (route.file, route.line), route.policy
    yield from _twice(where, policy, target, marker)
    # what it does not take is answered 405, which caches may keep too
    for method in ("HEAD", "OPTIONS", *(route.methods if unsafe else ())):
        if method != "GET":
            yield Probe(where, policy, method, target)
    yield Probe(where, policy, "GET", target, headers=CONDITIONS)
    other = target[:-1] if target.endswith("/") else f"{target}/"
    if other:
        yield Probe(where, policy, "GET", other)


def _twice(
    where: tuple[str, int], policy: str, target: str, marker: str
) -> t.Iterator[Probe]:
    """Yield what shows a copy: the same again, by its path and by a query of its own."""
    for query in ("", "", f"?nocache-probe={marker}", f"?nocache-probe={marker}"):
        yield Probe(where, policy, "GET", target, query)
