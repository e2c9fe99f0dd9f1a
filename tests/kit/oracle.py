"""Which caches could store a response, RFC 9111 and RFC 9213.

It is written from the standards and uses nothing of the kit, to be compared with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping

Directives = dict[str, str | None]

# heuristically cacheable, RFC 9110 15.1
HEURISTIC = {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501}
# final status codes that a cache may understand, for must-understand
UNDERSTOOD = {*HEURISTIC, 302, 303, 304, 307, 400, 401, 403, 500, 502, 503}
# methods whose responses a cache may store, RFC 9110 9.2.3; POST if explicitly fresh
STORABLE_METHODS = {"GET", "HEAD", "POST"}

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
DIRECTIVE = re.compile(rf'\s*({TOKEN})\s*(?:=\s*({TOKEN}|"(?:[^"\\]|\\.)*"))?\s*')
# a member of a structured dictionary with a bare item, RFC 8941 3.2
MEMBER = re.compile(r'\s*([a-z*][a-z0-9_.*-]*)(?:=([^,"]*|"[^"]*"))?\s*')


def storing_caches(
    method: str,
    status: int,
    headers: Iterable[tuple[str, str]],
    *,
    authorized: bool = False,
) -> set[str]:
    """Return the caches that could store a response, or reuse a copy because of it.

    :param method: the method of the request.
    :param status: the status code of the response.
    :param headers: names and values of the response, in its order.
    :param authorized: whether the request had an Authorization field.
    """
    fields = _fields(headers)
    general = _directives(fields.get("cache-control", []))
    expires = "expires" in fields
    caches = set()
    if status == 304:
        caches.add("the copy that a client or cache has")  # RFC 9111 4.3.4
    if _storable(method, status, general, expires, shared=False):
        caches.add("browser")
    if _storable(method, status, general, expires, shared=True, authorized=authorized):
        caches.add("proxy")
    for name, values in fields.items():
        if name != "cache-control" and name.endswith(("-cache-control", "-control")):
            targeted = _dictionary(values)
            if targeted and _storable(method, status, targeted, False, shared=True):
                caches.add(name)
    # nginx obeys seconds, or a date after "@"; positive ones override Cache-Control
    if any(re.fullmatch(r"@?0*[1-9]\d*", v) for v in fields.get("x-accel-expires", [])):
        caches.add("x-accel-expires")
    return caches


def _storable(
    method: str,
    status: int,
    directives: Mapping[str, str | None],
    expires: bool,
    *,
    shared: bool,
    authorized: bool = False,
) -> bool:
    """Return whether a cache may store a response, RFC 9111 3."""
    if method not in STORABLE_METHODS or status < 200:
        return False
    if "must-understand" in directives:
        if status not in UNDERSTOOD:
            return False
    elif "no-store" in directives:
        return False
    # private="field" applies to that field only, RFC 9111 5.2.2.7
    if shared and "private" in directives and directives["private"] is None:
        return False
    explicit = {"max-age", "public"} | ({"s-maxage"} if shared else {"private"})
    if (
        authorized
        and shared
        and not {"public", "must-revalidate", "s-maxage"} & {*directives}
    ):
        return False
    if expires or explicit & {*directives}:
        return True
    return status in HEURISTIC and method != "POST"


def _fields(headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in headers:
        fields.setdefault(name.strip().lower(), []).append(value.strip())
    return fields


def _directives(lines: list[str]) -> Directives:
    """Parse the lines of Cache-Control as one list, names in any case, RFC 9111 5.2."""
    directives: Directives = {}
    text, at = ",".join(lines), 0
    while at < len(text):
        if match := DIRECTIVE.match(text, at):
            directives.setdefault(match[1].lower(), match[2])
            at = match.end()
        # an invalid directive ends at the next comma
        at = (text.find(",", at) + 1) or len(text)
    return directives


def _dictionary(lines: list[str]) -> Directives:
    """Parse a targeted field; an invalid one is ignored, RFC 9213 2.1."""
    directives: Directives = {}
    for part in ",".join(lines).split(","):
        match = MEMBER.fullmatch(part)
        if match is None:
            return {}
        directives[match[1]] = match[2]
    return directives
