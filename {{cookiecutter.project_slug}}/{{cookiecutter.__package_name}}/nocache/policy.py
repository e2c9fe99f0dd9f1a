"""Header fields for caches and their directives, RFC 9110, 9111, 9213."""

from __future__ import annotations

import typing as t

from werkzeug.http import is_resource_modified

Fields = list[tuple[str, str]]

NO_STORE = (
    (
        "Cache-Control",
        # the one directive that forbids storing, RFC 9111 5.2.2.5
        "no-store, "
        # a cache configured to ignore no-store still has to revalidate
        "no-cache, "
        # no stale response while the origin is down; harmless only beside private
        "must-revalidate, "
        # Fastly obeys it, and it keeps shared caches out where no-store is ignored
        "private, "
        # explicit, so that no cache uses a heuristic or its default lifetime
        "max-age=0",
    ),
    # for HTTP/1.0: a valid date, unlike 0 and -1, and past for any clock
    ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    # browsers obey it where a proxy removed Cache-Control; RFC 6749 5.1 asks for it
    ("Pragma", "no-cache"),
)
CDN = (
    # a cache ignores Cache-Control for the targeted field of its name, RFC 9213 2.2
    ("CDN-Cache-Control", "no-store"),
    ("Surrogate-Control", "no-store"),
    # nginx obeys it even under proxy_ignore_headers Cache-Control
    ("X-Accel-Expires", "0"),
)
# on the response of a declared view, until the guard removes it
PERMIT = "Nocache-Permit"
VALIDATORS = frozenset({"etag", "last-modified"})
REMOVED = VALIDATORS | {
    "age",
    "cache-control",  # and every targeted field, see FieldNames
    "edge-control",
    "expires",
    PERMIT.lower(),
    "pragma",
    "surrogate-control",
    "warning",
    "x-accel-expires",
}
SAFE = frozenset({"GET", "HEAD"})
STORABLE = frozenset({"200", "203", "206", "304"})
# fields whose responses differ between users, and which several CDNs ignore in Vary
PERSONAL = frozenset({"authorization", "cookie", "*"})
# fields that can forbid a public response and so are read each time
EXAMINED = frozenset({"set-cookie", "vary"})
REVALIDATE = "no-cache"
MAX_AGE = 2**31  # seconds; no cache has to count further, RFC 9111 1.2.2

# the conditions that can end in a 304, RFC 9110 13.1.2, 13.1.3
CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE")
# the conditions that end in 412, RFC 9110 13.1.1, 13.1.4
PRECONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_UNMODIFIED_SINCE")
# fields about content, which Werkzeug removes from a 304 too, and those that send a file
CONTENT = frozenset(
    {
        "allow",
        "content-encoding",
        "content-language",
        "content-length",
        "content-md5",
        "content-range",
        "content-type",
        "last-modified",
        "x-accel-redirect",
        "x-sendfile",
    }
)


class FieldNames(dict[str, str]):
    """Field names in lower case, computed once for each spelling."""

    def __missing__(self, spelling: str) -> str:
        name = spelling.strip().lower()
        # targeted fields are read as Cache-Control is, RFC 9213 2.2
        if name.endswith("-cache-control"):
            name = "cache-control"
        if len(self) < 1000:  # an app may invent names
            self[spelling] = name
        return name


NAMES = FieldNames()


class Policy:
    """The cache policy of a view; compared by identity, never by value.

    :param text: ``no-store``, or the Cache-Control of the responses.
    :param reason: why a stored response does no harm.
    :param keeps: the validators that a no-store policy keeps.
    :param fallback: the policy that replaces it where a public response is not allowed.
    :param vary: names of the request fields that a response depends on, RFC 9110 12.5.5.
    :param etag: the function that returns the ETag before the view runs.
    """

    __slots__ = (
        "etag",
        "fallback",
        "fields",
        "harmless",
        "public",
        "reason",
        "removes",
        "storable",
        "text",
        "vary",
    )

    def __init__(
        self,
        text: str,
        reason: str = "",
        keeps: t.Iterable[str] = (),
        fallback: Policy | None = None,
        vary: t.Sequence[str] = (),
        etag: t.Callable[..., t.Any] | None = None,
    ):
        self.text = text
        self.reason = reason
        self.fallback = fallback
        self.storable = text != "no-store"
        self.public = self.storable and not text.startswith("private")
        self.vary = vary
        self.etag = etag
        self.fields = [("Cache-Control", text)] if self.storable else [*NO_STORE]
        if vary:
            self.fields.append(("Vary", ", ".join(vary)))
        self.removes = REMOVED.difference(VALIDATORS if self.storable else keeps)
        # spellings of field names that the policy keeps
        self.harmless = set[str]()

    def __str__(self) -> str:
        vary = f"; Vary: {', '.join(self.vary)}" if self.vary else ""
        return f"{self.text}{vary}{'; ETag' if self.etag else ''}"

    def replace(self, headers: Fields) -> Fields:
        """Return a new list in which the policy replaces all fields that caches read.

        :param headers: names and values of the app's response.
        """
        kept: Fields = []
        vary: list[str] = []
        examined = EXAMINED if self.public else ()
        for field in headers:
            name = field[0]
            if name not in self.harmless:
                if NAMES[name] in self.removes:
                    continue
                if self.vary and NAMES[name] == "vary":
                    vary.append(field[1])
                    continue
                # only names that NAMES keeps, because an app may invent more
                if name in NAMES and NAMES[name] not in examined:
                    self.harmless.add(name)
            kept.append(field)
        if vary:
            # in one line, because nginx before 1.23 obeys the last one only
            names = field_names(*vary, *self.vary)
            return [*kept, self.fields[0], ("Vary", ", ".join(names))]
        return [*kept, *self.fields]

    def disclosure(self, headers: Fields) -> str:
        """Return the field of a response that forbids ``public``, RFC 9111 3.5, 7.3.

        :param headers: names and values of the response.
        """
        for name, value in headers:
            if name in self.harmless:
                continue
            if NAMES[name] == "set-cookie":
                return "Set-Cookie"
            if NAMES[name] == "vary" and not PERSONAL.isdisjoint(
                part.strip().lower() for part in value.split(",")
            ):
                return "Vary"
        return ""

    def overrides(self, headers: Fields) -> list[str]:
        """Return the names of the fields that this policy removes or changes.

        :param headers: names and values of the app's response.
        """
        return [
            name
            for name, value in headers
            if NAMES[name] in self.removes
            and NAMES[name] != PERMIT.lower()
            and (name, value) not in self.fields
        ]


NOCACHE = Policy("no-store")
NOCACHE_ETAG = Policy("no-store", keeps={"etag"})


def field_names(*values: str) -> list[str]:
    """Return the names in values of Vary, each once, RFC 9110 12.5.5.

    :param values: comma-separated lists.
    """
    names: dict[str, str] = {}
    for value in values:
        for part in value.split(","):
            if name := part.strip():
                names.setdefault(name.lower(), name)
    return list(names.values())


def refusal(method: str, status: str) -> str:
    """Return why a response to this method with this status is no-store, or "".

    :param method: the method of the request.
    :param status: the status of the response, beginning with the code.
    """
    if method not in SAFE:
        return f"method {method}"
    if status[:3] not in STORABLE or status[3:4].strip():
        return f"status {status.partition(' ')[0]}"
    return ""


def pop_conditions(environ: dict[str, t.Any]) -> dict[str, str]:
    """Remove the conditions that can end in a 304 from a GET or HEAD and return them.

    Other methods keep theirs, which end in 412 and prevent lost updates, RFC 9110 13.1.
    ``If-Range`` stays too, because it ends in 200 or 206.

    :param environ: the WSGI environment, changed in place.
    """
    if environ["REQUEST_METHOD"] not in SAFE:
        return {}
    return {name: environ.pop(name) for name in CONDITIONS if name in environ}


def unchanged(conditions: dict[str, str], headers: Fields) -> bool:
    """Return whether the client has the current response, RFC 9110 13.2.2.

    :param conditions: from :func:`pop_conditions`.
    :param headers: names and values of the response, with its validators.
    """
    values = {NAMES[name]: value for name, value in headers}
    etag, last_modified = values.get("etag"), values.get("last-modified")
    return not is_resource_modified(conditions, etag, last_modified=last_modified)


def with_etag(headers: Fields, etag: str) -> Fields:
    """Return the fields of a response, with an ETag if they have none.

    :param headers: names and values of the response.
    :param etag: the ETag, with its quotes.
    """
    names = {NAMES[name] for name, _ in headers}
    if "etag" in names:
        return headers
    # a strong tag is for one content coding only, RFC 9110 8.8.3.3
    weak = "content-encoding" in names and etag.startswith('"')
    return [*headers, ("ETag", f"W/{etag}" if weak else etag)]


def without_content(headers: Fields) -> Fields:
    """Return the fields of a response that a 304 repeats, RFC 9110 15.4.5.

    :param headers: names and values of the response.
    """
    return [field for field in headers if NAMES[field[0]] not in CONTENT]
