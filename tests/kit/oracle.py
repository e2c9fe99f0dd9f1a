"""Which caches could keep an answer: RFC 9111 and RFC 9213, read off the wire.

Nothing here is the kit's: it was written from the standards, to be held against it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping

Directives = dict[str, str | None]

# cacheable without a word about it, RFC 9110 15.1
HEURISTIC = {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501}
# final codes that a cache may be taken to understand, for must-understand
UNDERSTOOD = {*HEURISTIC, 302, 303, 304, 307, 400, 401, 403, 500, 502, 503}
# methods whose answers a cache keeps, RFC 9110 9.3; POST with explicit freshness only
KEPT = {"GET", "HEAD", "POST"}

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
DIRECTIVE = re.compile(rf'\s*({TOKEN})\s*(?:=\s*({TOKEN}|"(?:[^"\\]|\\.)*"))?\s*')
# a key of a structured dictionary, RFC 8941 3.2; bare items are all that is used here
MEMBER = re.compile(r'\s*([a-z*][a-z0-9_.*-]*)(?:=([^,"]*|"[^"]*"))?\s*')


def keepers(
    method: str,
    status: int,
    headers: Iterable[tuple[str, str]],
    *,
    authorized: bool = False,
) -> set[str]:
    """Return the caches that could keep an answer, or a copy of it alive.

    :param method: the request's method.
    :param status: the answer's status code.
    :param headers: names and values, in the order they were sent.
    :param authorized: whether the request had an Authorization field.
    """
    fields = _collected(headers)
    general = _directives(fields.get("cache-control", []))
    expires = "expires" in fields
    found = set()
    if status == 304:
        found.add("the copy that a client or cache has")  # RFC 9111 4.3.4
    if _storable(method, status, general, expires, shared=False):
        found.add("browser")
    if _storable(method, status, general, expires, shared=True, authorized=authorized):
        found.add("proxy")
    for name, values in fields.items():
        if name != "cache-control" and name.endswith(("-cache-control", "-control")):
            targeted = _dictionary(values)
            if targeted and _storable(method, status, targeted, False, shared=True):
                found.add(name)
    # nginx: a time to live, in seconds or as "@" and a date; positive ones overrule
    if any(re.fullmatch(r"@?0*[1-9]\d*", v) for v in fields.get("x-accel-expires", [])):
        found.add("x-accel-expires")
    return found


def _storable(
    method: str,
    status: int,
    said: Mapping[str, str | None],
    expires: bool,
    *,
    shared: bool,
    authorized: bool = False,
) -> bool:
    """Return whether RFC 9111 section 3 lets a cache store an answer."""
    if method not in KEPT or status < 200:
        return False
    if "must-understand" in said:
        if status not in UNDERSTOOD:
            return False
    elif "no-store" in said:
        return False
    # private="field" keeps back the field alone, RFC 9111 5.2.2.7
    if shared and "private" in said and said["private"] is None:
        return False
    explicit = {"max-age", "public"} | ({"s-maxage"} if shared else {"private"})
    if (
        authorized
        and shared
        and not {"public", "must-revalidate", "s-maxage"} & {*said}
    ):
        return False
    if expires or explicit & {*said}:
        return True
    return status in HEURISTIC and method != "POST"


def _collected(headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in headers:
        fields.setdefault(name.strip().lower(), []).append(value.strip())
    return fields


def _directives(lines: list[str]) -> Directives:
    """Parse Cache-Control: all lines are one list, names in any case, RFC 9111 5.2."""
    found: Directives = {}
    text, at = ",".join(lines), 0
    while at < len(text):
        if match := DIRECTIVE.match(text, at):
            found.setdefault(match[1].lower(), match[2])
            at = match.end()
        # what cannot be parsed ends at the next comma
        at = (text.find(",", at) + 1) or len(text)
    return found


def _dictionary(lines: list[str]) -> Directives:
    """Parse a targeted field; one mistake and it is as if absent, RFC 9213 2.1."""
    found: Directives = {}
    for part in ",".join(lines).split(","):
        match = MEMBER.fullmatch(part)
        if match is None:
            return {}
        found[match[1]] = match[2]
    return found
