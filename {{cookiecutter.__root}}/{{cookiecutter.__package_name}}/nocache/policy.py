from __future__ import annotations

import typing as t

from blinker import signal

Fields = t.Iterable[tuple[str, str]]

NO_STORE = (
    (
        "Cache-Control",
        # the one directive that forbids keeping a copy, RFC 9111 5.2.2.5
        "no-store, "
        # a cache told to override no-store still has to ask the origin first
        "no-cache, "
        # no stale copy while the origin is down; harmless only beside private
        "must-revalidate, "
        # what Fastly obeys, and a second lock where no-store is overridden
        "private, "
        # explicit, so that no cache falls back to a guess or to its default lifetime
        "max-age=0",
    ),
    # for HTTP/1.0: a real date, which 0 and -1 are not, and long past, as now is not
    ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    # browsers honour it where something on the way rewrote Cache-Control; RFC 6749 5.1
    ("Pragma", "no-cache"),
)
CDN = (
    # a cache ignores Cache-Control for the targeted field of its name, RFC 9213 2.2
    ("CDN-Cache-Control", "no-store"),
    ("Surrogate-Control", "no-store"),
    # nginx obeys it even under proxy_ignore_headers Cache-Control
    ("X-Accel-Expires", "0"),
)
STAMP = "Nocache-Stamp"
VALIDATORS = frozenset({"etag", "last-modified"})
REMOVED = VALIDATORS | {
    "age",
    "cache-control",  # and every targeted field, see FieldNames
    "edge-control",
    "expires",
    STAMP.lower(),
    "pragma",
    "surrogate-control",
    "warning",
    "x-accel-expires",
}
SAFE = frozenset({"GET", "HEAD"})
STORABLE = frozenset({"200", "203", "206", "304"})
REVALIDATE = "no-cache"
MAX_AGE = 2**31  # seconds; a cache need not count further, RFC 9111 1.2.2

# what keeps a client's old copy alive, RFC 9110 13.1
CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_RANGE")

# sent as the guard removes or replaces what the app had set on an answer: the sender is
# the app, `endpoint` the one that was asked for or None, `fields` the names of the fields
overridden = signal("nocache-overridden")

EXCHANGE = "nocache.exchange"


class FieldNames(dict[str, str]):
    """Field names as they are compared, worked out once for each spelling."""

    def __missing__(self, spelling: str) -> str:
        name = spelling.strip().lower()
        # targeted fields are read as Cache-Control is, RFC 9213 2.2
        if name.endswith("-cache-control"):
            name = "cache-control"
        if len(self) < 1000:  # an app may make names up
            self[spelling] = name
        return name


NAMES = FieldNames()


class Policy:
    """What one view is declared as; compared by identity, never by value."""

    __slots__ = ("fields", "harmless", "reason", "removes", "storable", "text")

    def __init__(self, text: str, reason: str = "", keeps: t.Iterable[str] = ()):
        self.text = text
        self.reason = reason
        self.storable = text != "no-store"
        self.fields = [("Cache-Control", text)] if self.storable else [*NO_STORE]
        self.removes = REMOVED.difference(VALIDATORS if self.storable else keeps)
        # spellings that were seen to stay
        self.harmless = set[str]()

    def apply(self, headers: Fields) -> list[tuple[str, str]]:
        """Return a new list in which this policy replaces all that a cache reads.

        :param headers: names and values as the app wrote them.
        """
        harmless = self.harmless
        for name, _ in headers:
            if name not in harmless:
                return self._replace(headers)
        return [*headers, *self.fields]

    def _replace(self, headers: Fields) -> list[tuple[str, str]]:
        kept = [field for field in headers if NAMES[field[0]] not in self.removes]
        # no more than the names that are kept, because an app may make some up
        self.harmless.update(name for name, _ in kept if name in NAMES)
        return [*kept, *self.fields]

    def admits(self, method: str, status: str, headers: Fields) -> bool:
        """Return whether this policy holds for an answer of its view.

        :param method: the request's method.
        :param status: the answer's status, beginning with the code.
        :param headers: names and values of the answer.
        """
        if not self.storable:
            return True
        if method not in SAFE or status[:3] not in STORABLE:
            return False
        for name, _ in headers:
            # no cookie is among the harmless: what has one is not admitted to apply()
            if name not in self.harmless and NAMES[name] == "set-cookie":
                return False
        return True

    def overrides(self, headers: Fields) -> list[str]:
        """Return the names of the fields that this policy removes or changes.

        :param headers: names and values as the app wrote them.
        """
        return [
            name
            for name, value in headers
            if NAMES[name] in self.removes
            and name != STAMP
            and (name, value) not in self.fields
        ]


NOCACHE = Policy("no-store")
NOCACHE_ETAG = Policy("no-store", keeps={"etag"})


def withhold(environ: dict[str, t.Any]) -> dict[str, t.Any]:
    """Take the conditions that can end in a 304 out of a request and return them.

    Those of a write stay: they end in 412, and keep it from overwriting,
    RFC 9110 13.1.2.

    :param environ: the WSGI environment, changed in place.
    """
    if environ["REQUEST_METHOD"] not in SAFE:
        return {}
    withheld = {name: environ.pop(name) for name in CONDITIONS if name in environ}
    # without its If-Range a Range would turn a whole answer into a part of another
    if "HTTP_IF_RANGE" in withheld and "HTTP_RANGE" in environ:
        withheld["HTTP_RANGE"] = environ.pop("HTTP_RANGE")
    return withheld
