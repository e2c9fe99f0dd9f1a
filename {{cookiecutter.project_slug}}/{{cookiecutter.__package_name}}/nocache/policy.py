from __future__ import annotations

import contextlib
import functools
import inspect
import typing as t
from copy import copy
from random import getrandbits

from blinker import signal
from flask import after_this_request
from flask import Blueprint
from flask import Request
from flask import request
from flask import Response
from flask.sansio.app import App
from flask.sansio.blueprints import BlueprintSetupState
from werkzeug.datastructures import Headers

if t.TYPE_CHECKING:
    from .guard import Exchange

P = t.ParamSpec("P")
R = t.TypeVar("R")
View = t.Callable[P, R]
Fields = t.Iterable[tuple[str, str]]

NO_STORE = (
    (
        "Cache-Control",
        # the one directive that forbids keeping a copy, RFC 9111 5.2.2.5
        "no-store, "
        # a cache told to override no-store still has to ask the origin first
        "no-cache, "
        # no stale copy while the origin is down; harmless only beside private
        "must-revalidate, "
        # what Fastly obeys, and a second lock where no-store is overridden
        "private, "
        # explicit, so that no cache falls back to a guess or to its default lifetime
        "max-age=0",
    ),
    # for HTTP/1.0: a real date, which 0 and -1 are not, and long past, as now is not
    ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    # browsers honour it where something on the way rewrote Cache-Control; RFC 6749 5.1
    ("Pragma", "no-cache"),
)
CDN = (
    # a cache ignores Cache-Control for the targeted field of its name, RFC 9213 2.2
    ("CDN-Cache-Control", "no-store"),
    ("Surrogate-Control", "no-store"),
    # nginx obeys it even under proxy_ignore_headers Cache-Control
    ("X-Accel-Expires", "0"),
)
STAMP = "Nocache-Stamp"
VALIDATORS = frozenset({"etag", "last-modified"})
REMOVED = VALIDATORS | {
    "age",
    "cache-control",  # and every targeted field, see FieldNames
    "edge-control",
    "expires",
    STAMP.lower(),
    "pragma",
    "surrogate-control",
    "warning",
    "x-accel-expires",
}
SAFE = frozenset({"GET", "HEAD"})
STORABLE = frozenset({"200", "203", "206", "304"})
REVALIDATE = "no-cache"
MAX_AGE = 2**31  # seconds; a cache need not count further, RFC 9111 1.2.2

# what keeps a client's old copy alive, RFC 9110 13.1
CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_RANGE")

# what Flask makes a new Response of, with status 200 and no validator
FRESH: frozenset[t.Any] = frozenset({dict, list, str})

# sent as the guard removes or replaces what the app had set on an answer: the sender is
# the app, `endpoint` the one that was asked for or None, `fields` the names of the fields
overridden = signal("nocache-overridden")

EXCHANGE = "nocache.exchange"
POLICY = "_nocache_policy"
TRACES = "_nocache_traces"


class FieldNames(dict[str, str]):
    """Field names as they are compared, worked out once for each spelling."""

    def __missing__(self, spelling: str) -> str:
        name = spelling.strip().lower()
        # targeted fields are read as Cache-Control is, RFC 9213 2.2
        if name.endswith("-cache-control"):
            name = "cache-control"
        if len(self) < 1000:  # an app may make names up
            self[spelling] = name
        return name


NAMES = FieldNames()


class Policy:
    """What one view is declared as; compared by identity, never by value."""

    __slots__ = ("fields", "harmless", "reason", "removes", "storable", "text")

    def __init__(self, text: str, reason: str = "", keeps: t.Iterable[str] = ()):
        self.text = text
        self.reason = reason
        self.storable = text != "no-store"
        self.fields = [("Cache-Control", text)] if self.storable else [*NO_STORE]
        self.removes = REMOVED.difference(VALIDATORS if self.storable else keeps)
        # spellings that were seen to stay
        self.harmless = set[str]()

    def apply(self, headers: Fields) -> list[tuple[str, str]]:
        """Return a new list in which this policy replaces all that a cache reads.

        :param headers: names and values as the app wrote them.
        """
        harmless = self.harmless
        for name, _ in headers:
            if name not in harmless:
                return self._replace(headers)
        return [*headers, *self.fields]

    def _replace(self, headers: Fields) -> list[tuple[str, str]]:
        kept = [field for field in headers if NAMES[field[0]] not in self.removes]
        # no more than the names that are kept, because an app may make some up
        self.harmless.update(name for name, _ in kept if name in NAMES)
        return [*kept, *self.fields]

    def admits(self, method: str, status: str, headers: Fields) -> bool:
        """Return whether this policy holds for an answer of its view.

        :param method: the request's method.
        :param status: the answer's status, beginning with the code.
        :param headers: names and values of the answer.
        """
        if not self.storable:
            return True
        if method not in SAFE or status[:3] not in STORABLE:
            return False
        for name, _ in headers:
            # no cookie is among the harmless: what has one is not admitted to apply()
            if name not in self.harmless and NAMES[name] == "set-cookie":
                return False
        return True

    def overrides(self, headers: Fields) -> list[str]:
        """Return the names of the fields that this policy removes or changes.

        :param headers: names and values as the app wrote them.
        """
        return [
            name
            for name, value in headers
            if NAMES[name] in self.removes
            and name != STAMP
            and (name, value) not in self.fields
        ]


NOCACHE = Policy("no-store")
NOCACHE_ETAG = Policy("no-store", keeps={"etag"})


class ApiBlueprint(Blueprint):
    """A blueprint whose answers no cache may store, whatever its views declare."""

    def register(self, app: App, options: dict[str, t.Any]) -> None:
        """Register as any blueprint does.

        :raises RuntimeError: if no guard would enforce the promise on `app`.
        """
        if "nocache" not in app.extensions:
            raise RuntimeError(
                f"ApiBlueprint {self.name!r} cannot be registered on {app.name!r}:"
                " nothing would enforce no-store there. Create the app with"
                " NoCacheFlask(__name__) instead of Flask(__name__)."
            )
        super().register(app, options)

    def make_setup_state(
        self, app: App, options: dict[str, t.Any], first_registration: bool = False
    ) -> BlueprintSetupState:
        state = super().make_setup_state(app, options, first_registration)
        app.extensions["nocache"].add((state.url_prefix or "").rstrip("/"))
        return state


@t.overload
def nocache(view: View[P, R], /) -> View[P, R]: ...


@t.overload
def nocache(*, etag: bool = False) -> t.Callable[[View[P, R]], View[P, R]]: ...


def nocache(view: View[P, R] | None = None, /, *, etag: bool = False) -> t.Any:
    """Declare that no cache may store an answer of a view.

    A guarded app needs no more than the mark; on any other Flask app the answers to
    the request get the headers here, those of ``abort()`` and of exceptions too.

    :param etag: keep the view's ETag, so that clients can send it in If-Match.
    :raises TypeError: if put on something that is not a view.
    """
    policy = NOCACHE_ETAG if etag else NOCACHE

    def declare(view: View[P, R]) -> View[P, R]:
        _require_view("nocache", view)
        wrapper = _wrap(view, functools.partial(_protect, policy))
        for target in (view, wrapper):
            with contextlib.suppress(AttributeError):
                setattr(target, POLICY, policy)
        return wrapper

    return declare if view is None else declare(view)


def cacheable(
    *, max_age: int, public: bool = False, reason: str
) -> t.Callable[[View[P, R]], View[P, R]]:
    """Declare that caches may store the answers of a view.

    Only what the view itself returned to GET or HEAD is stored, with status 200, 203,
    206 or 304 and without Set-Cookie.

    :param max_age: seconds for which a stored answer is fresh; 0 means that it has to
        be revalidated each time, RFC 9111 5.2.2.4.
    :param public: whether shared caches may store it, not only the client's own.
    :param reason: why a stale answer does no harm, for the reviewer.
    :raises TypeError: if an argument or what is decorated has the wrong type.
    :raises ValueError: if an argument is out of range or the reason blank.
    """
    if not isinstance(max_age, int) or isinstance(max_age, bool):
        raise TypeError(f"cacheable: max_age must be an int, got {max_age!r}.")
    if not 0 <= max_age <= MAX_AGE:
        raise ValueError(f"cacheable: max_age must be 0 to {MAX_AGE}, got {max_age}.")
    if not isinstance(public, bool):
        raise TypeError(f"cacheable: public must be a bool, got {public!r}.")
    if not isinstance(reason, str):
        raise TypeError(f"cacheable: reason must be a str, got {reason!r}.")
    if not reason.strip():
        raise ValueError("cacheable: reason must not be blank.")
    scope = "public" if public else "private"
    fresh = f"max-age={max_age}" if max_age else "no-cache, max-age=0"
    return _opener(f"{scope}, {fresh}", " ".join(reason.split()))


def withhold(environ: dict[str, t.Any]) -> dict[str, t.Any]:
    """Take the conditions that can end in a 304 out of a request and return them.

    Those of a write stay: they end in 412, and keep it from overwriting,
    RFC 9110 13.1.2.

    :param environ: the WSGI environment, changed in place.
    """
    if environ["REQUEST_METHOD"] not in SAFE:
        return {}
    withheld = {name: environ.pop(name) for name in CONDITIONS if name in environ}
    # without its If-Range a Range would turn a whole answer into a part of another
    if "HTTP_IF_RANGE" in withheld and "HTTP_RANGE" in environ:
        withheld["HTTP_RANGE"] = environ.pop("HTTP_RANGE")
    return withheld


def policy_of(view: object) -> Policy | None:
    """Return what a registered view is declared as, None if it is not."""
    return getattr(view, POLICY, None)


def on_api(app: App, blueprints: t.Iterable[str]) -> bool:
    """Return whether one of the blueprints of an endpoint is an ApiBlueprint."""
    return any(isinstance(app.blueprints.get(b), ApiBlueprint) for b in blueprints)


def _opener(text: str, reason: str) -> t.Callable[[View[P, R]], View[P, R]]:
    def declare(view: View[P, R]) -> View[P, R]:
        _require_view("cacheable", view)
        policy = Policy(text, reason)
        wrapper = _wrap(view, functools.partial(_open, policy))
        # on the wrapper alone: on the function it would open every route of the function
        if policy_of(wrapper) is None:
            setattr(wrapper, POLICY, policy)
        # what was declared here, for the audit to see where it came to nothing
        with contextlib.suppress(AttributeError):
            setattr(view, TRACES, (*getattr(view, TRACES, ()), policy))
        return wrapper

    return declare


# what Flask serves from static folders: stored, but never used without asking
STATIC = _opener(REVALIDATE, "Flask's static files")


def _require_view(decorator: str, view: object) -> None:
    if inspect.isclass(view):
        raise TypeError(
            f"{decorator}: {view.__name__!r} is a class."
            " List the decorator in the 'decorators' of the view class."
        )
    if not callable(view):
        raise TypeError(f"{decorator}: expected a view function, got {view!r}.")


def _wrap(view: View[P, R], enter: t.Callable[[], Exchange | None]) -> View[P, R]:
    """Wrap a view; its answer is stamped in the exchange that `enter` returns."""
    if inspect.iscoroutinefunction(view):

        @functools.wraps(view)
        async def awaiting(*args: P.args, **kwargs: P.kwargs) -> t.Any:
            exchange = enter()
            try:
                rv = await view(*args, **kwargs)
            except Exception:
                _shut(exchange)
                raise
            return rv if exchange is None else _stamp(exchange, rv)

        return t.cast("View[P, R]", awaiting)

    @functools.wraps(view)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        exchange = enter()
        try:
            rv = view(*args, **kwargs)
        except Exception:
            _shut(exchange)
            raise
        return rv if exchange is None else _stamp(exchange, rv)

    return wrapper


def _asked() -> Request | None:
    # the request itself, because each access through its proxy is a look-up
    proxy: t.Any = request
    try:
        asked: Request = proxy._get_current_object()
    except RuntimeError:
        return None
    return asked


def _protect(policy: Policy) -> Exchange | None:
    asked = _asked()
    if asked is None:
        return None
    exchange: Exchange | None = asked.environ.get(EXCHANGE)
    if exchange is None:
        withhold(asked.environ)
        _forget_conditions(asked)
        after_this_request(functools.partial(_harden, policy))
        return None
    # what is declared no-store further out or in stays so
    exchange.policy = None
    if policy is NOCACHE or policy is not exchange.declared(asked):
        return None
    exchange.policy = policy
    return exchange


def _harden(policy: Policy, response: Response) -> Response:
    answer = _own(response)
    answer.headers = Headers(policy.apply(response.headers))
    return answer


def _open(policy: Policy) -> Exchange | None:
    asked = _asked()
    if asked is None:
        return None
    exchange: Exchange | None = asked.environ.get(EXCHANGE)
    if (
        exchange is None
        or asked.method not in SAFE
        or policy is not exchange.declared(asked)
    ):
        return None
    exchange.policy = policy
    if exchange.withheld:
        asked.environ.update(exchange.withheld)
        _forget_conditions(asked)
    return exchange


def _shut(exchange: Exchange | None) -> None:
    """Withhold the conditions again: what answers now is not the declared view."""
    if exchange is not None:
        exchange.policy = None
        withhold(request.environ)
        _forget_conditions(_asked())


def _forget_conditions(asked: Request | None) -> None:
    for name in ("if_none_match", "if_modified_since", "if_range", "range"):
        vars(asked).pop(name, None)


def _own(response: Response) -> Response:
    """Return a copy, because a view may return one object to several requests."""
    answer: Response = object.__new__(type(response))
    vars(answer).update(vars(response))
    answer.headers = headers = object.__new__(type(response.headers))
    # what Headers.copy() would do, without looking at each value again
    for name, value in vars(response.headers).items():
        setattr(headers, name, copy(value))
    return answer


def _stamp(exchange: Exchange, rv: R) -> R:
    policy, app = exchange.policy, exchange.entered
    if policy is None or app is None:
        return rv
    answer = app.make_response(t.cast("t.Any", rv))
    # Flask makes a new one for each static file too, and asks the conditions itself
    if type(rv) not in FRESH and policy.text != REVALIDATE:
        answer = _own(answer)
        if policy.storable and not _conclude(exchange, answer):
            return t.cast("R", answer)
    # unlike any other, so that no answer kept from another request can carry it
    exchange.stamp = STAMP, f"{getrandbits(64)}"
    answer.headers.add(*exchange.stamp)
    return t.cast("R", answer)


def _conclude(exchange: Exchange, answer: Response) -> bool:
    """Return whether an answer may be stored; where it is the client's, make it a 304."""
    if answer.status[:3] not in STORABLE:
        _shut(exchange)
        return False
    if exchange.withheld and answer.status_code == 200:
        if not VALIDATORS.isdisjoint(NAMES[name] for name, _ in answer.headers):
            answer.make_conditional(request.environ)
    return True
