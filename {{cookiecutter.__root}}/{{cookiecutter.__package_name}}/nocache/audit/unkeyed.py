"""Whether a response that may be shared depends on what no cache keys it by.

A cache finds a stored response by the request's URL, and by the fields that the
response names in Vary: RFC 9111 4.1.
"""

from __future__ import annotations

import typing as t

Fields = list[tuple[str, str]]

# some responses never end
BODY = 2**20
OTHER = "nocache.example"
LANGUAGES = "de fr es it pt nl pl ru tr ar ja ko zh sv da en".split()
TYPES = """application/json text/html application/xml text/csv text/plain
application/ld+json application/vnd.api+json application/problem+json""".split()
# names under which applications keep what they show by
COOKIES = """session lang locale language theme currency country region timezone user
username user_id uid token cart variant ab""".split()


class Response(t.NamedTuple):
    status: int
    headers: Fields
    body: bytes = b""


Send = t.Callable[[t.Mapping[str, str]], Response]


def _preferences(values: list[str]) -> str:
    """Return the values of an Accept field, each less wanted than the one before."""
    step = 1 / len(values)
    return ", ".join(f"{v};q={1 - n * step:.2f}" for n, v in enumerate(values))


# both ways round, because one of them may be what the app shows by itself
OWN: dict[str, list[str]] = {
    "Authorization": ["Basic bm9jYWNoZTpub2NhY2hl", "Bearer nocache"],
    "Cookie": ["; ".join(f"{name}=nocache" for name in COOKIES)],
    "Accept-Language": [_preferences(LANGUAGES), _preferences(LANGUAGES[::-1])],
    "Accept": [_preferences(TYPES), _preferences(TYPES[::-1])],
    "Origin": [f"https://{OTHER}"],
}
# what names the service: no client sends another than its own, but an attacker
NAMES: dict[str, list[str]] = {
    "X-Forwarded-Host": [OTHER],
    "X-Forwarded-Proto": ["https", "http"],
    "Host": [OTHER],
}


def changes(send: Send, first: Response) -> t.Iterator[str]:
    """Yield what changes in a response with a field that its Vary does not name.

    A response that differs from itself yields nothing.

    :param send: requests the response again, with further fields.
    :param first: the response without any.
    """
    if first.status >= 400 or _difference(first, send({})):
        return
    for field, values in (OWN | NAMES).items():
        for value in values:
            other = send({field: value})
            what = _difference(first, other)
            if not what or _keyed(field, first, other):
                continue
            # a refusal is not stored, and an edge may respond for a host of its own
            if field in NAMES and not _alike(first, other):
                continue
            # time may have passed since: both have to be the same again
            if _difference(first, send({})):
                return
            if not _difference(other, send({field: value})):
                yield f"{what} changes with {field}"
                break


def read(chunks: t.Iterable[bytes]) -> bytes:
    """Return a body, or as much of it as is worth comparing."""
    body = b""
    for chunk in chunks:
        body += chunk
        if len(body) >= BODY:
            break
    return body[:BODY]


def tokens(headers: Fields, name: str) -> set[str]:
    """Return the members of a list field in lower case."""
    members = ",".join(_values(headers, name)).split(",")
    return {member.strip().lower() for member in members} - {""}


def _values(headers: Fields, name: str) -> list[str]:
    return [value for other, value in headers if other.strip().lower() == name]


def _difference(one: Response, other: Response) -> str:
    if one.status != other.status:
        return "its status"
    if _values(one.headers, "location") != _values(other.headers, "location"):
        return "its Location"
    return "its body" if one.body != other.body else ""


def _keyed(field: str, first: Response, other: Response) -> bool:
    copies = [first]
    if "no-store" not in tokens(other.headers, "cache-control"):
        copies.append(other)
    return all({field.lower(), "*"} & tokens(r.headers, "vary") for r in copies)


def _alike(one: Response, other: Response) -> bool:
    return one.status == other.status and tokens(
        one.headers, "cache-control"
    ) == tokens(other.headers, "cache-control")
