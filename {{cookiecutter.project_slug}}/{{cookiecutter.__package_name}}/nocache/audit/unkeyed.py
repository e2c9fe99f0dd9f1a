"""NC012: responses that depend on request fields that are not in the cache key.

The cache key is the URL of the request, RFC 9111 2, and the request fields that the
response names in Vary, RFC 9111 4.1.
"""

from __future__ import annotations

import typing as t

Fields = list[tuple[str, str]]

# in bytes, because some responses never end
BODY_LIMIT = 2**20
OTHER = "nocache.example"
LANGUAGES = "de fr es it pt nl pl ru tr ar ja ko zh sv da en".split()
TYPES = """application/json text/html application/xml text/csv text/plain
application/ld+json application/vnd.api+json application/problem+json""".split()
# common names of cookies on which pages depend
COOKIES = """session lang locale language theme currency country region timezone user
username user_id uid token cart variant ab""".split()


class Response(t.NamedTuple):
    status: int
    headers: Fields
    body: bytes = b""


Send = t.Callable[[t.Mapping[str, str]], Response]


def _preferences(values: list[str]) -> str:
    """Return the value of an Accept field, with the preferred values first."""
    step = 1 / len(values)
    return ", ".join(f"{v};q={1 - n * step:.2f}" for n, v in enumerate(values))


# fields of clients; lists in both orders, because one may begin with the app's default
CLIENT_FIELDS: dict[str, list[str]] = {
    "Authorization": ["Basic bm9jYWNoZTpub2NhY2hl", "Bearer nocache"],
    "Cookie": ["; ".join(f"{name}=nocache" for name in COOKIES)],
    "Accept-Language": [_preferences(LANGUAGES), _preferences(LANGUAGES[::-1])],
    "Accept": [_preferences(TYPES), _preferences(TYPES[::-1])],
    "Origin": [f"https://{OTHER}"],
}
# fields that name the service, which only an attacker forges
HOST_FIELDS: dict[str, list[str]] = {
    "X-Forwarded-Host": [OTHER],
    "X-Forwarded-Proto": ["https", "http"],
    "Host": [OTHER],
}


def changes(send: Send, first: Response) -> t.Iterator[str]:
    """Yield the changes of a response with request fields that its Vary does not name.

    A response that changes without them yields nothing.

    :param send: requests the response again, with more header fields.
    :param first: the response without them.
    """
    if first.status >= 400 or _difference(first, send({})):
        return
    for field, values in (CLIENT_FIELDS | HOST_FIELDS).items():
        for value in values:
            other = send({field: value})
            change = _difference(first, other)
            if not change or _is_keyed(field, first, other):
                continue
            # no cache stores a refusal, and an edge may respond to a host of its own
            if field in HOST_FIELDS and not _alike(first, other):
                continue
            # the change may be by time: both responses have to come again
            if _difference(first, send({})):
                return
            if not _difference(other, send({field: value})):
                yield f"{change} changes with {field}"
                break


def read(chunks: t.Iterable[bytes]) -> bytes:
    """Return the first bytes of a body, BODY_LIMIT at most."""
    body = b""
    for chunk in chunks:
        body += chunk
        if len(body) >= BODY_LIMIT:
            break
    return body[:BODY_LIMIT]


def members(headers: Fields, name: str) -> set[str]:
    """Return the members of a list-based field in lower case, RFC 9110 5.6.1."""
    values = ",".join(_values(headers, name)).split(",")
    return {value.strip().lower() for value in values} - {""}


def _values(headers: Fields, name: str) -> list[str]:
    return [value for other, value in headers if other.strip().lower() == name]


def _difference(one: Response, other: Response) -> str:
    if one.status != other.status:
        return "its status"
    if _values(one.headers, "location") != _values(other.headers, "location"):
        return "its Location"
    return "its body" if one.body != other.body else ""


def _is_keyed(field: str, first: Response, other: Response) -> bool:
    responses = [first]
    if "no-store" not in members(other.headers, "cache-control"):
        responses.append(other)
    return all({field.lower(), "*"} & members(r.headers, "vary") for r in responses)


def _alike(one: Response, other: Response) -> bool:
    return one.status == other.status and members(
        one.headers, "cache-control"
    ) == members(other.headers, "cache-control")
