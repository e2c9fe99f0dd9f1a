"""Static files, whose URLs carry a digest of their content so that caches may store them."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import stat
import time
import typing as t

from werkzeug.security import safe_join
from werkzeug.wsgi import ClosingIterator
from werkzeug.wsgi import FileWrapper

from .blueprint import lineage
from .blueprint import on_api
from .declare import declare_cacheable
from .declare import policy_of
from .guard import current
from .guard import Exchange
from .policy import Policy
from .policy import PRECONDITIONS
from .policy import REVALIDATE

if t.TYPE_CHECKING:
    from flask import Flask
    from flask import Response

Stamp = tuple[int, ...]

# the modules with Flask's views for static files
STATIC_VIEWS = frozenset({"flask.app", "flask.blueprints"})
DIGEST = "v"  # the argument in the query
IMMUTABLE = "public, max-age=31536000, immutable"
# both policies of a static route, as the route table shows them
STATIC_TEXT = f"{REVALIDATE}; {IMMUTABLE} with its digest"
STATIC = declare_cacheable(
    REVALIDATE,
    "Flask's static files",
    # beside a cookie or with credentials: only the client's own cache
    fallback=Policy("private, no-cache"),
)
FINGERPRINTED = Policy(
    IMMUTABLE, fallback=Policy(IMMUTABLE.replace("public", "private"))
)
# fields that the view must not see before the response has its ETag
LATER = ("HTTP_RANGE", "HTTP_IF_RANGE", *PRECONDITIONS)
# nanoseconds: two writes within a tick of the file system have the same time
SETTLING_TIME = 2_000_000_000
LIMIT = 10_000  # digests

_digests: dict[Stamp, str] = {}


def declare_static(view: t.Any) -> t.Any:
    """Return Flask's static view, declared.

    A file is ``no-cache``, or immutable if the request has its current digest.
    """
    declared = STATIC(view)

    @functools.wraps(declared)
    def serve(**arguments: t.Any) -> t.Any:
        exchange = current.get()
        request = exchange.request if exchange is not None else None
        if request is None or not request.environ.get("QUERY_STRING"):
            return declared(**arguments)
        if not (digest := request.args.get(DIGEST)):
            return declared(**arguments)
        serve_declared = functools.partial(declared, **arguments)
        return _serve(serve_declared, t.cast(Exchange, exchange), digest)

    return serve


def add_digest(app: Flask, endpoint: str, values: dict[str, t.Any]) -> None:
    """Add the digest of a static file to the arguments of ``url_for``, if it exists.

    :param values: the arguments, changed in place; an own ``v`` stays.
    """
    view: t.Any = app.view_functions.get(endpoint)
    policy = policy_of(view)
    if policy is None or policy.text != REVALIDATE:
        return
    if DIGEST in values or "filename" not in values:
        return
    if on_api(app, lineage(endpoint)):
        return
    folder = getattr(inspect.unwrap(view), "__self__", app).static_folder
    path = safe_join(folder, str(values["filename"])) if folder else None
    if path and (digest := _digest_at(os.path.join(app.root_path, path))):
        values[DIGEST] = digest


def _serve(view: t.Callable[[], Response], exchange: Exchange, digest: str) -> Response:
    files: list[t.Any] = []

    def wrap_file(file: t.Any, size: int = 8192) -> FileWrapper:
        files.append(file)
        return FileWrapper(file, size)

    environ = exchange.request.environ
    aside = {name: environ.pop(name) for name in LATER if name in environ}
    wrapper = environ.get("wsgi.file_wrapper")
    environ["wsgi.file_wrapper"] = wrap_file
    try:
        response = view()
    finally:
        environ.update(aside)
        if wrapper is None:
            del environ["wsgi.file_wrapper"]
        else:
            environ["wsgi.file_wrapper"] = wrapper
    stamp = None
    # of the open file, because the path may have another one by now
    if len(files) == 1 and exchange.return_value is response:
        stamp = _stamp_of(files[0], digest)
    if stamp is not None:
        exchange.policy = FINGERPRINTED
        # Flask's validators are of time and size, which two releases may share
        response.set_etag(digest)
        del response.headers["Last-Modified"]
    if aside:
        try:
            response.make_conditional(environ, True, response.content_length)
        except Exception:
            response.close()
            raise
    if stamp is not None:
        body: t.Any = response.response
        response.response = ClosingIterator(_watch(body, files[0], stamp), body.close)
    return response


def _watch(blocks: t.Iterable[bytes], file: t.Any, stamp: Stamp) -> t.Iterator[bytes]:
    """Yield the blocks of a file, the last one only if the file did not change.

    :raises RuntimeError: if it changed.
    """
    held = b""
    for block in blocks:
        if held:
            yield held
        held = block
    # without st_ctime, which a rename changes too, though not the content;
    # no cache stores a response that breaks off, RFC 9111 3.3
    if _stamp(os.fstat(file.fileno()))[:-1] != stamp[:-1]:
        raise RuntimeError(f"The static file {file.name!r} changed while it was sent.")
    if held:
        yield held


def _stamp_of(file: t.Any, digest: str) -> Stamp | None:
    """Return the stamp of an open file if it has the digest."""
    try:
        stamp = _stamp(os.fstat(file.fileno()))
        return stamp if _digest(file, stamp) == digest else None
    except (AttributeError, OSError):  # a file in memory
        return None


def _stamp(status: os.stat_result) -> Stamp:
    """Return the facts that change with a file's content; nobody can set the last one."""
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_dev, status.st_ino, status.st_size, *times


def _digest_at(path: str) -> str:
    """Return the digest of the file at a path, empty if it cannot be read."""
    try:
        status = os.stat(path)
        if (digest := _digests.get(_stamp(status))) is not None:
            return digest
        if not stat.S_ISREG(status.st_mode):
            return ""
        with open(path, "rb") as file:
            return _digest(file, _stamp(os.fstat(file.fileno())))
    except (OSError, ValueError):  # a null in the path
        return ""


def _digest(file: t.Any, stamp: Stamp) -> str:
    """Return the digest of an open file, empty if it changes meanwhile."""
    if (digest := _digests.get(stamp)) is not None:
        return digest
    digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    file.seek(0)
    if _stamp(os.fstat(file.fileno())) != stamp:
        return ""
    if time.time_ns() - stamp[-1] > SETTLING_TIME:
        if len(_digests) >= LIMIT:
            _digests.clear()
        _digests[stamp] = digest
    return digest
