from __future__ import annotations

import typing as t
from itertools import chain

import flask
from werkzeug.exceptions import HTTPException

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


# fields whose value Werkzeug turns into a URI
URI_FIELDS = frozenset({"location", "content-location"})


class CompleteBody(list[bytes]):
    """A body that is complete in memory, so that reading it cannot fail."""

    __slots__ = ("close",)
    close: t.Callable[[], None]


class StartedBody(chain[bytes]):
    """A body whose first chunk was read ahead."""

    __slots__ = ("close",)
    close: t.Callable[[], None]


def read_ahead(body: t.Iterable[bytes]) -> CompleteBody | StartedBody:
    """Read the first chunk of a body, before which servers send no headers.

    :param body: an iterable of bytes as PEP 3333 has it.
    """
    chunks = iter(body)
    for chunk in chunks:
        started = StartedBody((chunk,), chunks)
        started.close = closer(body)
        return started
    return empty_body(body)


def empty_body(body: t.Iterable[bytes]) -> CompleteBody:
    """Return an empty body that closes the given one."""
    empty = CompleteBody()
    empty.close = closer(body)
    return empty


def closer(body: t.Iterable[bytes]) -> t.Callable[[], None]:
    """Return the function that closes a body, PEP 3333."""
    return getattr(body, "close", _nothing)


def _nothing() -> None: ...


class _ResponseType(type):
    # Flask converts a response that is no instance of the app's class; that pays off for
    # a complete flask.Response, while a stream or an instance of a subclass keeps its class
    def __instancecheck__(cls, instance: object) -> bool:
        if cls is Response:
            return isinstance(instance, flask.Response) and not (
                type(instance) is flask.Response and isinstance(instance.response, list)
            )
        return super().__instancecheck__(instance)


class Response(flask.Response, metaclass=_ResponseType):
    """A response that passes a complete body to the server as a list."""

    @classmethod
    def force_type(
        cls, response: t.Any, environ: WSGIEnvironment | None = None
    ) -> t.Any:
        if isinstance(response, flask.Response):
            response.__class__ = cls
            return response
        # Werkzeug runs an exception as a WSGI app, which costs half a request
        if (
            isinstance(response, HTTPException)
            and response.response is None
            and type(response).get_response is HTTPException.get_response
            and environ is not None
            and environ["REQUEST_METHOD"] != "HEAD"
        ):
            response = response.get_response(environ)
            response.headers = response.get_wsgi_headers(environ)
        return super().force_type(response, environ)

    def get_wsgi_response(self, environ: WSGIEnvironment) -> t.Any:
        # Werkzeug copies the headers and checks each value again even where it has
        # nothing to correct
        names = {name.lower() for name, _ in self.headers}
        status = self.status_code
        if (
            type(self).get_wsgi_headers is not flask.Response.get_wsgi_headers
            or not URI_FIELDS.isdisjoint(names)
            or status < 200
            or status in (204, 304)
            or environ["REQUEST_METHOD"] == "HEAD"
        ):
            return super().get_wsgi_response(environ)
        body, headers = self.get_app_iter(environ), self.headers.to_wsgi_list()
        if (
            self.automatically_set_content_length
            and self.is_sequence
            and "content-length" not in names
        ):
            whole = body if type(body) is CompleteBody else self.iter_encoded()
            length = sum(map(len, whole))
            headers.append(("Content-Length", str(length)))
        return body, self.status, headers

    def get_app_iter(self, environ: WSGIEnvironment) -> t.Iterable[bytes]:
        if (
            not isinstance(self.response, list)
            or environ["REQUEST_METHOD"] == "HEAD"
            or self.status_code in (204, 304)
        ):
            return super().get_app_iter(environ)
        body = CompleteBody(self.iter_encoded())
        body.close = self.close
        return body
