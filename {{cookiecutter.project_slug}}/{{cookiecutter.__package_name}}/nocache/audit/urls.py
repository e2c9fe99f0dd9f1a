"""Where the addresses in templates and scripts lead."""

from __future__ import annotations

import re
import typing as t

from werkzeug.exceptions import HTTPException

from ..blueprint import on_api
from ..declare import policy_of

if t.TYPE_CHECKING:
    from flask import Flask

URL_FOR = re.compile(r"\{\{\s*url_for\(\s*[`'\"]([\w.-]+)[`'\"]")
ELSEWHERE = re.compile(r"(\w+:)?//|(blob|data):", re.IGNORECASE)

Leads = t.Callable[[str], bool]


class Urls(t.NamedTuple):
    """Where the addresses in a file lead: to the API, or to what may be stored."""

    to_api: Leads
    to_storable: Leads


def _to_files(url: str) -> bool:
    return bool(ELSEWHERE.match(url)) or url.startswith(
        ("/static/", "{{ url_for(`static`")
    )


# where there is no app to ask
UNKNOWN = Urls(lambda url: url.startswith("/api/"), _to_files)


def urls(app: Flask) -> Urls:
    """Return how to tell the addresses of an app apart."""
    routing = app.url_map.bind("localhost")
    prefixes = [f"{prefix}/" for prefix in app.extensions.get("nocache", ()) if prefix]

    def endpoint(url: str) -> str:
        if found := URL_FOR.match(url):
            return found[1]
        try:
            return str(routing.match(re.split("[?#]", url)[0])[0])
        except HTTPException:
            return ""

    def on_blueprint(name: str) -> bool:
        parts = name.split(".")[:-1]
        return on_api(app, (".".join(parts[: n + 1]) for n in range(len(parts))))

    def to_api(url: str) -> bool:
        return f"{url}/".startswith(tuple(prefixes)) or on_blueprint(endpoint(url))

    def to_storable(url: str) -> bool:
        if ELSEWHERE.match(url) or (url.startswith("{") and not URL_FOR.match(url)):
            return True  # not ours, or nothing that can be told
        name = endpoint(url)
        policy = policy_of(app.view_functions.get(name))
        return policy is not None and policy.storable and not on_blueprint(name)

    return Urls(to_api, to_storable)
