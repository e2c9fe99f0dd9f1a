"""Print what the guard keeps allocated, for an app and for requests."""

from __future__ import annotations

import gc
import tracemalloc
import typing as t

from contestants import bare_app
from contestants import CONTESTS
from contestants import environ_of
from contestants import guarded_app
from contestants import load_kit
from contestants import serve

APPS = 20
REQUESTS = 1000


def kept(call: t.Callable[[], object]) -> float:
    """Return the bytes that `call` leaves allocated."""
    gc.collect()
    tracemalloc.start()
    result = call()
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return size


def of_requests(app: t.Any) -> float:
    environ = environ_of(CONTESTS["small JSON"])
    serve(app, environ, REQUESTS)
    return kept(lambda: serve(app, environ, REQUESTS)) / REQUESTS


if __name__ == "__main__":
    bare_app()
    kit = kept(load_kit)
    guarded_app()
    bare, guarded = (
        kept(lambda build=build: [build() for _ in range(APPS)]) / APPS
        for build in (bare_app, guarded_app)
    )
    print("What", "bytes", sep="\t")
    print("the kit, imported once", f"{kit:,.0f}", sep="\t")
    print("an app, bare", f"{bare:,.0f}", sep="\t")
    print("an app, guarded", f"{guarded:,.0f}", sep="\t")
    for name, app in (("bare", bare_app()), ("guarded", guarded_app())):
        print(f"left by a request, {name}", f"{of_requests(app):,.1f}", sep="\t")
