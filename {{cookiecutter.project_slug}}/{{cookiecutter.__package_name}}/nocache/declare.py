from __future__ import annotations

import contextlib
import functools
import inspect
import typing as t
from copy import copy

from flask import after_this_request
from flask import Request
from flask import request
from flask import Response
from werkzeug.datastructures import Headers

from .arguments import cache_control
from .arguments import require_names
from .arguments import require_seconds
from .blueprint import on_api
from .conditional import may_store
from .conditional import not_modified
from .conditional import TagFunction
from .guard import current
from .guard import Exchange
from .policy import field_names
from .policy import NOCACHE
from .policy import NOCACHE_ETAG
from .policy import Policy
from .policy import pop_conditions
from .policy import SAFE

P = t.ParamSpec("P")
R = t.TypeVar("R")
View = t.Callable[P, R]
# keeps the type, also of `app.view_functions[endpoint]`, which is a union
V = t.TypeVar("V", bound=t.Callable[..., t.Any])

MISSING: t.Any = object()
POLICY = "_nocache_policy"
TRACES = "_nocache_traces"


@t.overload
def nocache(view: V, /) -> V: ...


@t.overload
def nocache(*, etag: bool = False) -> t.Callable[[View[P, R]], View[P, R]]: ...


def nocache(view: t.Any = MISSING, /, *, etag: bool = False) -> t.Any:
    """Declare that no cache may store a response of a view.

    In a guarded app the guard sets the headers, whatever else is declared. In any other
    Flask app the decorator sets them, on responses of ``abort()`` and of exceptions too.

    :param etag: keep the view's ETag, so that clients can send it in ``If-Match``,
        RFC 9110 13.1.1.
    :raises TypeError: if put on something that is not a view.
    """
    if view is MISSING:
        return functools.partial(_declare_no_store, NOCACHE_ETAG if etag else NOCACHE)
    return _declare_no_store(NOCACHE, view)


def cacheable(
    *,
    max_age: int,
    public: bool = False,
    shared_max_age: int | None = None,
    immutable: bool = False,
    vary: t.Sequence[str] = (),
    etag: TagFunction | None = None,
    reason: str,
) -> t.Callable[[View[P, R]], View[P, R]]:
    """Declare that caches may store the responses of a view.

    This holds for responses that the view itself returns to GET or HEAD with status 200,
    203, 206 or 304; for a public one only without credentials and cookies. A declaration
    may be kept in a variable and put on several views.

    :param max_age: seconds for which a stored response is fresh, RFC 9111 5.2.2.1; 0
        means that it has to be revalidated each time, RFC 9111 5.2.2.4.
    :param public: whether shared caches may store it too, RFC 9111 5.2.2.9.
    :param shared_max_age: seconds for which it is fresh in shared caches, instead of
        `max_age`, RFC 9111 5.2.2.10.
    :param immutable: whether clients need not revalidate it on a reload while it is
        fresh, RFC 8246.
    :param vary: names of the request fields that the response depends on, added to the
        Vary that the view sets, RFC 9110 12.5.5.
    :param etag: a function, possibly async, that is called with the view's arguments
        before the view and returns an ETag, weak as ``W/"..."``, or None. If the client
        has that ETag the response is a 304 and the view does not run, RFC 9110 13.1.2.
    :param reason: why a stored response does no harm, for the reviewer.
    :raises TypeError: if an argument has the wrong type, or if put on something that is
        not a view.
    :raises ValueError: if an argument is out of range, contradicts another one, or the
        reason is blank.
    """
    require_seconds("max_age", max_age)
    for name, value in (("public", public), ("immutable", immutable)):
        if not isinstance(value, bool):
            raise TypeError(f"cacheable: {name} must be a bool, got {value!r}.")
    if shared_max_age is not None:
        require_seconds("shared_max_age", shared_max_age)
        if not public:
            raise ValueError("cacheable: shared_max_age needs public=True.")
    if immutable and not max_age:
        raise ValueError("cacheable: immutable needs a max_age above 0.")
    require_names(vary, public)
    if etag is not None and not callable(etag):
        raise TypeError(f"cacheable: etag must be a function, got {etag!r}.")
    if not isinstance(reason, str):
        raise TypeError(f"cacheable: reason must be a str, got {reason!r}.")
    if not reason.strip():
        raise ValueError("cacheable: reason must not be blank.")
    return declare_cacheable(
        cache_control(max_age, public, shared_max_age, immutable),
        " ".join(reason.split()),
        vary=field_names(*vary),
        etag=etag,
    )


def declare_cacheable(
    text: str,
    reason: str,
    fallback: Policy | None = None,
    vary: t.Sequence[str] = (),
    etag: TagFunction | None = None,
) -> t.Callable[[View[P, R]], View[P, R]]:
    """Return a decorator that gives each view a policy of its own.

    :param text: the Cache-Control.
    :param reason: why a stored response does no harm.
    :param fallback: the policy that replaces it where a public response is not allowed.
    :param vary: names of the request fields that the response depends on.
    :param etag: the function that returns the ETag before the view runs.
    """

    def declare(view: View[P, R]) -> View[P, R]:
        _require_view("cacheable", view)
        policy = Policy(text, reason, fallback=fallback, vary=vary, etag=etag)
        wrapper = _wrap(view, functools.partial(_enter, policy), policy)
        # on the wrapper alone: on the function it would open every route of the function
        if policy_of(wrapper) is None:
            setattr(wrapper, POLICY, policy)
        # for the audit, which reports a declaration that was lost
        with contextlib.suppress(AttributeError):
            setattr(view, TRACES, (*getattr(view, TRACES, ()), policy))
        return wrapper

    return declare


def policy_of(view: object) -> Policy | None:
    """Return the policy that a registered view is declared with, or None."""
    policy = getattr(view, POLICY, None)
    # a proxy or a mock has any attribute
    return policy if isinstance(policy, Policy) else None


def _require_view(decorator: str, view: object) -> None:
    if inspect.isclass(view):
        raise TypeError(
            f"{decorator}: {view.__name__!r} is a class."
            " List the decorator in the 'decorators' of the view class."
        )
    if not callable(view):
        raise TypeError(f"{decorator}: expected a view function, got {view!r}.")


def _declare_no_store(policy: Policy, view: View[P, R]) -> View[P, R]:
    _require_view("nocache", view)
    wrapper = _wrap(view, functools.partial(_protect, policy), policy)
    for target in (view, wrapper):
        with contextlib.suppress(AttributeError):
            setattr(target, POLICY, policy)
    return wrapper


def _wrap(
    view: View[P, R], enter: t.Callable[[], Exchange | None], policy: Policy
) -> View[P, R]:
    """Wrap a view so that the exchange which `enter` returns gets its return value."""
    etag_function = policy.etag
    is_async = inspect.iscoroutinefunction(etag_function)
    if inspect.iscoroutinefunction(view):

        @functools.wraps(view)
        async def async_wrapper(*args: P.args, **kwargs: P.kwargs) -> t.Any:
            exchange, value = enter(), None
            if etag_function is not None and may_store(exchange):
                result = etag_function(*args, **kwargs)
                if inspect.isawaitable(result):
                    result = await result
                value = not_modified(exchange, result)
            if value is None:
                value = await view(*args, **kwargs)
            if exchange is not None:
                exchange.grant(policy, value)
            return value

        return t.cast("View[P, R]", async_wrapper)

    @functools.wraps(view)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        exchange, value = enter(), None
        if etag_function is not None and may_store(exchange):
            call = etag_function
            if is_async:
                call = exchange.inner_app.ensure_sync(call)
            value = not_modified(exchange, call(*args, **kwargs))
        if value is None:
            value = view(*args, **kwargs)
        if exchange is not None:
            exchange.grant(policy, value)
        return value

    return wrapper


def _enter(policy: Policy) -> Exchange | None:
    """Return the current exchange if its request is for the view with this policy."""
    exchange, here = current.get(), _current_request()
    # an app may make further requests itself, with the environ or a copy of it
    if exchange is None or here is None or exchange.request is not here:
        return None
    app, rule = exchange.inner_app, here.url_rule
    if rule is None or policy_of(app.view_functions.get(rule.endpoint)) is not policy:
        return None
    if policy.storable:
        if "." in rule.endpoint and on_api(app, here.blueprints):
            return None
        # a @nocache that ran before is no loss
        if exchange.limit is None:
            exchange.loss = "lost permit"
        if here.method not in SAFE:
            return None
    return exchange


def _protect(policy: Policy) -> Exchange | None:
    exchange = current.get()
    if exchange is not None and policy is NOCACHE:
        exchange.forbid(policy)
        return None
    if exchange is not None:
        own = _enter(policy)
        exchange.forbid(policy if own else exchange.limit or NOCACHE)
        return own
    here = _current_request()
    if here is not None:
        pop_conditions(here.environ)
        for name in ("if_none_match", "if_modified_since"):
            vars(here).pop(name, None)
        after_this_request(functools.partial(_harden, policy))
    return None


def _current_request() -> Request | None:
    # not the proxy, which looks the request up at each access
    proxy: t.Any = request
    try:
        return t.cast(Request, proxy._get_current_object())
    except RuntimeError:
        return None


def _harden(policy: Policy, response: Response) -> Response:
    # a view may return the same object again
    response = copy(response)
    response.headers = Headers(policy.replace(list(response.headers)))
    return response
