"""Which URLs in templates and scripts are of the API, and which may be stored."""

from __future__ import annotations

import re
import typing as t

from werkzeug.exceptions import HTTPException

from ..blueprint import lineage
from ..blueprint import on_api
from ..declare import policy_of

if t.TYPE_CHECKING:
    from flask import Flask

URL_FOR = re.compile(r"\{\{\s*url_for\(\s*[`'\"]([\w.-]+)[`'\"]")
ELSEWHERE = re.compile(r"(\w+:)?//|(blob|data):", re.IGNORECASE)

Predicate = t.Callable[[str], bool]


class Urls(t.NamedTuple):
    """Tests of the URLs in a file.

    :param is_api: whether a URL is one of the API.
    :param is_storable: whether the response to a URL may be stored.
    """

    is_api: Predicate
    is_storable: Predicate


def _is_file(url: str) -> bool:
    return bool(ELSEWHERE.match(url)) or url.startswith(
        ("/static/", "{{ url_for(`static`")
    )


# for files that are read without an app
UNKNOWN = Urls(lambda url: url.startswith("/api/"), _is_file)


def urls(app: Flask) -> Urls:
    """Return the tests for the URLs of an app."""
    routing = app.url_map.bind("localhost")
    prefixes = [f"{prefix}/" for prefix in app.extensions.get("nocache", ()) if prefix]

    def endpoint(url: str) -> str:
        if match := URL_FOR.match(url):
            return match[1]
        try:
            return str(routing.match(re.split("[?#]", url)[0])[0])
        except HTTPException:
            return ""

    def on_blueprint(name: str) -> bool:
        return on_api(app, lineage(name))

    def is_api(url: str) -> bool:
        return f"{url}/".startswith(tuple(prefixes)) or on_blueprint(endpoint(url))

    def is_storable(url: str) -> bool:
        if ELSEWHERE.match(url) or (url.startswith("{") and not URL_FOR.match(url)):
            return True  # another host's, or too dynamic to know
        name = endpoint(url)
        policy = policy_of(app.view_functions.get(name))
        return policy is not None and policy.storable and not on_blueprint(name)

    return Urls(is_api, is_storable)
