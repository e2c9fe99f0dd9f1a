from __future__ import annotations

import contextlib
import functools
import inspect
import typing as t
from copy import copy
from random import getrandbits

from flask import after_this_request
from flask import Blueprint
from flask import Request
from flask import request
from flask import Response
from flask.sansio.app import App
from flask.sansio.blueprints import BlueprintSetupState
from werkzeug.datastructures import Headers

from .policy import EXCHANGE
from .policy import MAX_AGE
from .policy import NAMES
from .policy import NOCACHE
from .policy import NOCACHE_ETAG
from .policy import Policy
from .policy import REVALIDATE
from .policy import SAFE
from .policy import STAMP
from .policy import STORABLE
from .policy import VALIDATORS
from .policy import withhold

if t.TYPE_CHECKING:
    from .guard import Exchange

P = t.ParamSpec("P")
R = t.TypeVar("R")
View = t.Callable[P, R]

# what Flask makes a new Response of, with status 200 and no validator
FRESH: frozenset[t.Any] = frozenset({dict, list, str})

POLICY = "_nocache_policy"
TRACES = "_nocache_traces"


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
