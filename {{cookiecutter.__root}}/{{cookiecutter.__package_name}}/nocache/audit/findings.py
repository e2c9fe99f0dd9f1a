"""The catalogue of findings: an id, once given, keeps its meaning for good."""

from __future__ import annotations

import typing as t


class Kind(t.NamedTuple):
    name: str
    message: str
    hint: str


class Finding(t.NamedTuple):
    """One thing the audit has found.

    :param path: the file, relative to the working directory where it lies below it.
    :param line: the line in the file, from 1.
    :param id: the id in the catalogue.
    :param name: the id's readable name.
    :param message: the fact.
    :param hint: the move that mends it.
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
        "put it below the route, on what makes the response;"
        " for a view class list it in 'decorators'.",
    ),
    "NC007": Kind(
        "header-set-by-hand",
        "{subject} is written by hand, past the policy of the route.",
        "remove it: the policy of the route, @nocache or @cacheable, writes the headers.",
    ),
    "NC008": Kind(
        "storable-response",
        "{subject} may be stored: {fact}.",
        "see what responded past the guard, or declare the view.",
    ),
    "NC009": Kind(
        "server-side-cache",
        "{subject} is no-store, but {fact} keeps its responses in the server.",
        "cache the data that the view reads, not the view.",
    ),
    "NC010": Kind(
        "policy-file-stale",
        "{subject} {fact}.",
        "run 'flask nocache accept' and have the difference reviewed.",
    ),
    "NC011": Kind(
        "kit-edited",
        "{subject} {fact}, so the kit is not what its version says.",
        "undo it, 'cruft diff' shows how: the next update replaces the kit.",
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
        "let the browser fetch it plainly, when it is used.",
    ),
    "NC014": Kind(
        "edge-ignores-headers",
        "{subject} lets {fact} keep responses against their headers.",
        "remove it for the service's paths; docs/edge.md has what to set instead.",
    ),
    "NC015": Kind(
        "cache-deception",
        "{subject} is stored under names like those of static files: {fact}.",
        "have each rule of the edge that goes by extension or directory heed the"
        " origin's headers.",
    ),
}


def finding(
    id: str, where: tuple[str, int], subject: object, fact: str = "", hint: str = ""
) -> Finding:
    """Return the finding that the catalogue words for `subject`.

    :param id: the id in the catalogue.
    :param where: the file and the line.
    :param subject: what it is about.
    :param fact: what the wording still needs.
    :param hint: another move than the catalogue's, where that one does not help.
    """
    name, message, move = CATALOGUE[id]
    message = message.format(subject=subject, fact=fact)
    return Finding(*where, id, name, message, hint or move)
