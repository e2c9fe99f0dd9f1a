from __future__ import annotations

import sys
import typing as t
from contextvars import ContextVar
from random import getrandbits

from blinker import signal

from .policy import CDN
from .policy import CONDITIONS
from .policy import Fields
from .policy import NOCACHE
from .policy import PERMIT
from .policy import Policy
from .policy import pop_conditions
from .policy import PRECONDITIONS
from .policy import refusal
from .policy import SAFE
from .policy import unchanged
from .policy import with_etag
from .policy import without_content
from .response import closer
from .response import CompleteBody
from .response import empty_body
from .response import read_ahead

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

ERROR = b"Internal Server Error\n"
ERROR_FIELDS = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(ERROR))),
]
# reading these cannot fail, and servers see their length
COMPLETE = frozenset({CompleteBody, list, tuple})

# sent when the guard removes or replaces a field that the app set, or sends the response
# of a declared view as no-store; the sender is the app, `endpoint` the request's or None,
# `fields` the names of the fields, `reason` why the declaration does not apply, or empty
overridden = signal("nocache-overridden")


class Exchange:
    """A request on its way through the guard, and its response.

    The app gets :meth:`start_response` instead of the server's, which is called once,
    when the first chunk of the body is there. A declared view finds the exchange in
    :data:`current` and leaves its policy there; if either is lost, the response is
    no-store.
    """

    # class attributes, because an __init__ would cost as much as the rest of the guard
    authorized = False
    bodiless = False
    conditions: dict[str, str] = {}
    # the declaration's ETag, and whether its 304 came in place of the view
    etag: str | None = None
    view_skipped = False
    # of the declared view that ran
    policy: Policy | None = None
    headers_sent = False
    # why the response of a declared view is no-store, unless its permit arrives
    loss = ""
    # of the @nocache that ran, after which no other policy gets a permit
    limit: Policy | None = None
    permit: str | None = None
    server_write: t.Callable[[bytes], object] | None = None
    status = ""
    # the first app inside the guard, its request, and the declared view's return value
    inner_app: t.Any = None
    request: t.Any = None
    return_value: object = None
    # the result of the server's file wrapper
    file: object = None

    app: t.Any
    headers: Fields
    # as the client sent it: middleware may override it
    method: str
    server: StartResponse | None

    def start_response(
        self, status: str, headers: Fields, exc_info: t.Any = None
    ) -> t.Callable[[bytes], None]:
        """Keep the status and headers of a response until its first chunk; PEP 3333.

        :param exc_info: the exception whose response replaces an earlier one.
        :raises Exception: the exception in `exc_info`, if the headers were sent.
        """
        if self.headers_sent:
            raise exc_info[1] if exc_info else AssertionError("the headers were sent")
        policy = NOCACHE
        if "304" <= status < "305" and not self.view_skipped:
            status, headers = self.refuse_304(headers)
        elif self.permit is not None:
            kept = [field for field in headers if field[1] != self.permit]
            if len(kept) < len(headers):
                policy = self.decide(status, kept)
                if self.etag is not None and policy.storable:
                    kept = with_etag(kept, self.etag)
            headers = kept
        lost = self.loss and not policy.storable
        for name, _ in headers:
            if name not in policy.harmless:
                fields = policy.replace(headers)
                lost = lost or len(fields) < len(headers) + len(policy.fields)
                break
        else:
            fields = [*headers, *policy.fields]
        if lost and overridden.receivers:
            self.report(policy, status, headers)
        if policy.storable and self.conditions and status[:3] == "200":
            if unchanged(self.conditions, fields):
                self.bodiless = True
                status, fields = "304 NOT MODIFIED", without_content(fields)
        if not policy.storable and self.app.config.get("NOCACHE_CDN_HEADERS"):
            fields += CDN
        self.status, self.headers = status, fields
        return self.write

    def remember(self, wrapper: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        """Return a file wrapper that keeps its result, for a server whose own is no class."""

        def wrap_file(*args: t.Any, **kwargs: t.Any) -> t.Any:
            self.file = wrapper(*args, **kwargs)
            return self.file

        return wrap_file

    def send_headers(self, exc_info: t.Any = None) -> t.Any:
        """Call the server's start_response and return its write(); PEP 3333.

        :param exc_info: the exception whose response replaces one that the server refused.
        :raises AssertionError: if the app did not call start_response.
        """
        if self.server is None or not self.status:
            raise AssertionError("start_response was not called, PEP 3333")
        self.headers_sent = True
        if exc_info is None:
            return self.server(self.status, self.headers)
        return self.server(self.status, self.headers, exc_info)

    def write(self, data: bytes) -> None:
        """Send bytes ahead of the body, as the write() of PEP 3333."""
        if not self.headers_sent:
            self.server_write = self.send_headers()
        if self.server_write is None:
            raise AssertionError("write() was called from the body, PEP 3333")
        if not self.bodiless:
            self.server_write(data)

    def forbid(self, policy: Policy) -> None:
        """Forbid storing the response, whatever else is declared: a @nocache ran.

        :param policy: of that @nocache.
        """
        if self.limit is not NOCACHE:
            self.limit = policy
        self.permit = self.return_value = None
        self.loss = ""

    def grant(self, policy: Policy, return_value: object) -> None:
        """Let the response that Flask makes of a view's return value have a permit."""
        if self.limit is None or self.limit is policy:
            self.policy, self.return_value = policy, return_value

    def new_permit(self) -> tuple[str, str]:
        """Return the header field of a permit, with another value for each request."""
        self.permit = f"{getrandbits(64)}"
        return PERMIT, self.permit

    def decide(self, status: str, headers: Fields) -> Policy:
        """Return the policy that applies to a response with a permit.

        :param headers: names and values of the response.
        """
        policy = t.cast(Policy, self.policy)
        if policy.storable and refusal(self.method, status):
            return NOCACHE
        # only a length or HTTP/1.1 tells a body that failed from a complete one
        if (
            policy.storable
            and not self.view_skipped
            and self.request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0"
            and "content-length" not in (name.lower() for name, _ in headers)
        ):
            self.loss = "unknown length"
            return NOCACHE
        if not policy.public:
            return policy
        disclosure = policy.disclosure(headers)
        if not (disclosure or self.authorized):
            return policy
        self.loss = disclosure or "Authorization"
        return policy.fallback or NOCACHE

    def refuse_304(self, headers: Fields) -> tuple[str, Fields]:
        """Return what replaces a 304 of the app, by which a client would reuse its copy.

        :raises RuntimeError: if the request had no condition.
        """
        environ = self.request.environ if self.request is not None else {}
        left = PRECONDITIONS if self.method in SAFE else (*PRECONDITIONS, *CONDITIONS)
        if not any(name in environ for name in left):
            raise RuntimeError(
                "The view made a 304, but the request had no condition: the guard"
                " compares the validators itself. Return the response with its ETag."
            )
        # the conditions that are left end in 412, RFC 9110 13.1
        self.bodiless = True
        return "412 PRECONDITION FAILED", [*headers, ("Content-Length", "0")]

    def report(self, policy: Policy, status: str, headers: Fields) -> None:
        """Send :data:`overridden` if the policy changes the response."""
        fields, reason = policy.overrides(headers), ""
        if self.loss and not policy.storable:
            reason = refusal(self.method, status) or self.loss
        if fields or reason:
            endpoint = self.request.endpoint if self.request is not None else None
            overridden.send(self.app, endpoint=endpoint, fields=fields, reason=reason)


# the innermost exchange in progress
current: ContextVar[Exchange | None] = ContextVar("nocache.exchange", default=None)


def guard(
    app: t.Any,
    application: WSGIApplication,
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> t.Iterable[bytes]:
    """Call a WSGI application and send its response as no-store, unless declared.

    :param app: the Flask app with the configuration and the logger.
    :param application: the WSGI callable inside the guard.
    :param environ: the request, from which the conditions that can end in a 304 are
        removed, RFC 9110 13.1.
    :param start_response: the server's.
    :raises Exception: of the application, in debug or testing mode, after ``write()``,
        or where the request asked to upgrade.
    """
    exchange = Exchange()
    exchange.app, exchange.server = app, start_response
    exchange.method = environ["REQUEST_METHOD"]
    if "HTTP_IF_NONE_MATCH" in environ or "HTTP_IF_MODIFIED_SINCE" in environ:
        exchange.conditions = pop_conditions(environ)
    if "HTTP_AUTHORIZATION" in environ:
        exchange.authorized = True
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is not None and not isinstance(wrapper, type):
        environ["wsgi.file_wrapper"] = exchange.remember(wrapper)
    body: t.Iterable[bytes] = ()
    response: t.Iterable[bytes]
    token = current.set(exchange)
    try:
        response = body = application(environ, exchange.start_response)
        # servers look for their own wrapper, to send the file without reading it
        if type(body) not in COMPLETE and not (
            type(body) is wrapper or body is exchange.file
        ):
            response = read_ahead(body)
        if exchange.bodiless:
            response = empty_body(body)
        # a view that took the socket over never called start_response
        if not exchange.headers_sent and (exchange.status or response):
            exchange.send_headers()
    except Exception:
        propagate = app.config["PROPAGATE_EXCEPTIONS"]
        if propagate is None:
            propagate = app.testing or app.debug
        # after write() no other response is possible
        if (
            propagate
            or exchange.server_write is not None
            or (not exchange.status and "HTTP_UPGRADE" in environ)
        ):
            closer(body)()
            raise
        path = environ.get("PATH_INFO")
        app.logger.error("Exception on %s [%s]", path, exchange.method, exc_info=True)
        response = error = empty_body(body)
        if exchange.method != "HEAD":
            error.append(ERROR)
        refused = sys.exc_info() if exchange.headers_sent else None
        exchange.headers_sent = False
        exchange.start_response("500 INTERNAL SERVER ERROR", ERROR_FIELDS)
        exchange.send_headers(refused)
    except BaseException:
        closer(body)()
        raise
    finally:
        current.reset(token)
        # no cycle between the server, its body and its start_response
        exchange.server = None
    return response
