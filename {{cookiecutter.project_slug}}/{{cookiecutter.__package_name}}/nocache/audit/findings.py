"""The catalogue of findings; an id never changes its meaning."""

from __future__ import annotations

import typing as t

# the line, subject and fact of a finding in a file
Spot = tuple[int, str, str]


class Kind(t.NamedTuple):
    """An entry of the catalogue; `message` has places for a subject and a fact."""

    name: str
    message: str
    hint: str


class Finding(t.NamedTuple):
    """A fault that the audit reports.

    :param path: the file, relative to the working directory where it lies below it.
    :param line: the line in the file, from 1.
    :param id: the id in the catalogue.
    :param name: the id's readable name.
    :param message: the fact.
    :param hint: the way to fix it.
    """

    path: str
    line: int
    id: str
    name: str
    message: str
    hint: str

    def __str__(self) -> str:
        return (
            f"{self.path}:{self.line}: {self.id} {self.name}: {self.message}"
            f"\n    hint: {self.hint}"
        )


CATALOGUE = {
    "NC001": Kind(
        "undeclared-route",
        "{subject} declares no cache policy.",
        "put @nocache on the view, or @cacheable(max_age=..., reason=...)"
        " if caches may store its responses.",
    ),
    "NC002": Kind(
        "guard-bypassed",
        "{subject} {fact}, so responses can leave without the headers.",
        "create the app with NoCacheFlask(__name__), and put middleware inside it:"
        " app.wsgi_app = Middleware(app.wsgi_app).",
    ),
    "NC003": Kind(
        "api-route-cacheable",
        "{subject} is declared cacheable, but it is on an ApiBlueprint.",
        "remove @cacheable, or move the route to a plain Blueprint outside the API.",
    ),
    "NC004": Kind(
        "unsafe-method-cacheable",
        "{subject} is declared cacheable, but it takes {fact}.",
        "split the view: @cacheable for GET, @nocache for the rest.",
    ),
    "NC005": Kind(
        "api-path-outside-api-blueprint",
        "{subject} lies below {fact}, but it is on no ApiBlueprint.",
        "register the route on the ApiBlueprint, or give it a path outside the API.",
    ),
    "NC006": Kind(
        "mark-without-effect",
        "{subject} {fact}.",
        "put it directly below the route decorator;"
        " for a view class list it in 'decorators'.",
    ),
    "NC007": Kind(
        "header-set-by-hand",
        "{subject} is set by hand, outside the policy of the route.",
        "remove it: the policy of the route, @nocache or @cacheable, writes the headers.",
    ),
    "NC008": Kind(
        "storable-response",
        "{subject} may be stored: {fact}.",
        "find what responds outside the guard, or declare the view.",
    ),
    "NC009": Kind(
        "server-side-cache",
        "{subject} is no-store, but {fact} stores its responses in the server.",
        "cache the data that the view reads, not the view.",
    ),
    "NC010": Kind(
        "policy-file-stale",
        "{subject} {fact}.",
        "run 'flask nocache accept' and have the difference reviewed.",
    ),
    "NC011": Kind(
        "kit-edited",
        "{subject} {fact}, so the kit differs from its version.",
        "revert it, 'cruft diff' shows the change, and change the template instead.",
    ),
    "NC012": Kind(
        "depends-on-unkeyed-input",
        "{subject} may be shared, but {fact}, which its Vary does not name.",
        "name the field in Vary, or declare the view @nocache; take the host of a URL"
        " from the configuration.",
    ),
    "NC013": Kind(
        "browser-keeps-a-copy",
        "{subject} {fact}, whatever the headers say.",
        "remove it, and let the browser send a plain request when it is used.",
    ),
    "NC014": Kind(
        "edge-ignores-headers",
        "{subject} lets {fact} store responses against their headers.",
        "remove it for the service's paths; docs/edge.md shows what to set instead.",
    ),
    "NC015": Kind(
        "cache-deception",
        "{subject} is stored under names like those of static files: {fact}.",
        "make each rule of the edge that goes by extension or directory obey the"
        " headers of the origin server.",
    ),
}


def finding(
    id: str, where: tuple[str, int], subject: object, fact: str = "", hint: str = ""
) -> Finding:
    """Return a finding, with the message of the catalogue.

    :param id: the id in the catalogue.
    :param where: the file and the line, from 1.
    :param subject: the subject of the message.
    :param fact: the rest of the message, if the catalogue has a place for it.
    :param hint: replaces the hint of the catalogue.
    :raises KeyError: if the catalogue does not have the id.
    """
    name, message, default = CATALOGUE[id]
    message = message.format(subject=subject, fact=fact)
    return Finding(*where, id, name, message, hint or default)
