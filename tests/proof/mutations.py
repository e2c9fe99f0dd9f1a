"""Mistakes in a baked service, each of which a part of the proof must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .processes import ProofError

KIT = "saved_items/nocache"
GUARD = f"{KIT}/guard.py"
EDGE = "deploy/nginx.conf"
STORAGE = "saved_items/storage.py"
SECURITY = "saved_items/security.py"
PAGE = "saved_items/templates/index.html"
SCRIPT = "saved_items/static/items.js"
# every response passes through this line of the guard
APPLY = "self.status, self.headers = status, fields"
# correct for one process, which drops its lists when it writes
LISTS = """\
from sqlalchemy import Engine

lists: Any = {}
query_items = list_items


def list_items(limit: int, before: int = MAX_ID) -> Sequence[ItemRow]:
    if (limit, before) not in lists:
        lists[limit, before] = query_items(limit, before)
    return lists[limit, before]


@event.listens_for(Engine, "commit")
def forget(connection: object) -> None:
    lists.clear()


"""


@dataclass(frozen=True)
class Mutation:
    """A mistake.

    :param part: part of the proof that must fail.
    :param path: file to edit.
    :param old: text to replace.
    :param new: its replacement.
    """

    part: str
    path: str
    old: str
    new: str

    def make(self, folder: Path) -> None:
        path = folder / self.path
        source = path.read_text("utf-8")
        if source.count(self.old) != 1:
            raise ProofError(f"{self.path} has no single {self.old!r} to mutate.")
        path.write_text(source.replace(self.old, self.new), "utf-8")


MUTATIONS = {
    "no-guard": Mutation("caches", GUARD, APPLY, f"fields = list(headers); {APPLY}"),
    "bare-404": Mutation(
        "caches",
        GUARD,
        APPLY,
        f"fields = list(headers) if status[:3] == '404' else fields; {APPLY}",
    ),
    "no-cache": Mutation(
        "caches",
        GUARD,
        APPLY,
        "fields = [(n, 'no-cache' if n == 'Cache-Control' else v)"
        f" for n, v in fields]; {APPLY}",
    ),
    "mixed-case": Mutation(
        "caches",
        GUARD,
        APPLY,
        "fields = [(n, v.replace('no-store', 'No-Store'))"
        f" for n, v in fields]; {APPLY}",
    ),
    "surrogate": Mutation(
        "caches",
        GUARD,
        APPLY,
        f"fields = [*fields, ('Surrogate-Control', 'max-age=600')]; {APPLY}",
    ),
    "shared-age": Mutation(
        "declarations",
        f"{KIT}/arguments.py",
        'directives.append(f"s-maxage={shared_max_age}")',
        "pass",
    ),
    "vary-lost": Mutation(
        "declarations",
        f"{KIT}/policy.py",
        'self.fields.append(("Vary", ", ".join(vary)))',
        "pass",
    ),
    "view-not-spared": Mutation(
        "declarations",
        f"{KIT}/conditional.py",
        "exchange.view_skipped = True",
        "return None",
    ),
    "shared-beside-cookie": Mutation(
        "declarations", f"{KIT}/static.py", '.replace("public", "private")', ""
    ),
    "stateful": Mutation("replicas", STORAGE, "def add_item", f"{LISTS}def add_item"),
    "lost-write": Mutation(
        "replicas",
        STORAGE,
        "db.engine.begin() as connection:\n        return connection.execute(query).one()",
        "db.engine.connect() as connection:\n        return connection.execute(query).one()",
    ),
    "ungraceful": Mutation(
        "replicas",
        "gunicorn.conf.py",
        'wsgi_app = "wsgi:app"',
        'wsgi_app = "wsgi:app"\ngraceful_timeout = 0',
    ),
    "sticky": Mutation("replicas", EDGE, "zone web 64k;", "ip_hash;"),
    "marked-down": Mutation("replicas", EDGE, "max_fails=0", "max_fails=1"),
    "no-scheme": Mutation(
        "replicas", EDGE, "proxy_set_header X-Forwarded-Proto $scheme;", ""
    ),
    "any-origin": Mutation(
        "cross_origin", SECURITY, "app.before_request(refuse_other_origins)", "pass"
    ),
    "framed": Mutation(
        "cross_origin", SECURITY, "frame-ancestors 'none'", "frame-ancestors *"
    ),
    "loose-policy": Mutation(
        "cross_origin", SECURITY, "default-src 'none'", "default-src * 'unsafe-inline'"
    ),
    "error-as-empty": Mutation("page", SCRIPT, "Not loaded", "Nothing saved yet"),
    "loading-for-ever": Mutation("page", PAGE, ">—<", ">Loading…<"),
    "no-timeout": Mutation("page", SCRIPT, "AbortSignal.timeout(TIMEOUT)", "null"),
}


if __name__ == "__main__":
    print(*MUTATIONS)
