from __future__ import annotations

import typing as t
from itertools import chain

import flask

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class Whole(list[bytes]):
    """A body that is all there: reading it cannot fail."""

    __slots__ = ("close",)
    close: t.Callable[[], None]


class Begun(chain[bytes]):
    """A body whose first chunk has been read already."""

    __slots__ = ("close",)
    close: t.Callable[[], None]


def read_ahead(body: t.Iterable[bytes]) -> Begun:
    """Read a body up to its first byte, before which no header leaves a server."""
    chunks = iter(body)
    for chunk in chunks:
        if chunk:
            begun = Begun((chunk,), chunks)
            break
    else:
        begun = Begun()
    begun.close = closer(body)
    return begun


def closer(body: t.Iterable[bytes]) -> t.Callable[[], None]:
    """Return what closes a body, PEP 3333."""
    return getattr(body, "close", _nothing)


def _nothing() -> None: ...


class _AnyResponse(type):
    # Flask converts what is no instance of the app's class; its own need not change
    def __instancecheck__(cls, instance: object) -> bool:
        if cls is Response:
            return isinstance(instance, flask.Response)
        return super().__instancecheck__(instance)


class Response(flask.Response, metaclass=_AnyResponse):
    """A response that gives a server its body whole, where it has it whole."""

    def get_app_iter(self, environ: WSGIEnvironment) -> t.Iterable[bytes]:
        if (
            not isinstance(self.response, list)
            or environ["REQUEST_METHOD"] == "HEAD"
            or self.status_code in (204, 304)
        ):
            return super().get_app_iter(environ)
        body = Whole(self.iter_encoded())
        body.close = self.close
        return body
