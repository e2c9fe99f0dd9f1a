"""No cache could store a response that is not declared cacheable, in random apps."""

from __future__ import annotations

import functools
import os
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from flask import abort
from flask import Blueprint
from flask import Flask
from flask import redirect
from flask import request
from flask import request_finished
from flask import Response
from flask import session
from hypothesis import event
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from nocache import ApiBlueprint
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from . import oracle
from .wsgi import fetch
from .wsgi import put_inside
from .wsgi import WireResponse

STACKS = 10_000 if os.environ.get("NIGHTLY") == "1" else 600

EXACT = "no-store, no-cache, must-revalidate, private, max-age=0"
DECLARED = {
    "minute": "private, max-age=60",
    "hour": "public, max-age=3600",
    "ask": "public, no-cache, max-age=0",
}


def wraps(view: t.Any) -> t.Any:
    return functools.wraps(view)(lambda: view())


def hides(view: t.Any) -> t.Any:
    return lambda: view()


DECORATORS: dict[str, Callable[[t.Any], t.Any]] = {
    "minute": cacheable(max_age=60, reason="x"),
    "hour": cacheable(max_age=3600, public=True, reason="x"),
    "ask": cacheable(max_age=0, public=True, reason="x"),
    "nocache": nocache,
    "etag": nocache(etag=True),
    "wraps": wraps,
    "hides": hides,
}
HEADERS = [
    ("Nocache-Permit", ""),
    ("Cache-Control", "public, max-age=600"),
    ("cache-control", "s-maxage=600"),
    ("Cache-Control ", "immutable"),
    ("Cache-Control", "must-understand, no-store"),
    ("CDN-Cache-Control", "max-age=600"),
    ("X-Any-cache-control", "public"),
    ("Surrogate-Control", "max-age=600"),
    ("EDGE-CONTROL", "max-age=600"),
    ("X-Accel-Expires", "600"),
    ("Expires", "Thu, 31 Dec 2099 23:59:59 GMT"),
    ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
    ("ETag", '"1"'),
    ("ETag", 'W/"1"'),
    ("Age", "1"),
    ("Pragma", "public"),
    ("Vary", "Cookie"),
    ("Set-Cookie", "a=1"),
    ("Nocache-Permit", "0123456789abcdef"),
    ("X-Y", "z"),
]
CONDITIONS = [
    *[("If-None-Match", "*")] * 4,
    ("If-None-Match", '"1"'),
    ("If-Modified-Since", "Fri, 31 Dec 2100 23:59:59 GMT"),
    ("If-Range", '"1"'),
    ("Range", "bytes=0-0"),
    ("If-Match", '"1"'),
    ("Authorization", "Basic eDp5"),
    ("Cookie", "session=x"),
]
STORABLE = {200, 203, 206, 304}
COPY = "the copy that a client or cache has"
ALLOWED_STORES = {
    DECLARED["minute"]: {"browser", COPY},
    DECLARED["hour"]: {"browser", "proxy", COPY},
    DECLARED["ask"]: {"browser", "proxy", COPY},
}


@dataclass(frozen=True)
class Stack:
    """A route, and everything that takes part in its response."""

    blueprints: tuple[str, ...]
    decorators: tuple[str, ...]
    exit: str
    status: int
    hooks: frozenset[str]
    fields: tuple[tuple[str, str], ...]
    writer: str
    middleware: frozenset[str]
    rule_methods: tuple[str, ...]
    method: str
    target: str
    conditions: frozenset[tuple[str, str]]
    cdn: bool


EXITS = ["text", "response", "stream", "condition", "shared", "redirect", "session"]
FAILURES = ["abort", "abort-response", "error", "none", "stream-error"]
HOOKS = ["responds", "aborts", "anew", "fails", "condition", "patched", "handler"]
WRITERS = ["view", "after_request", "request_finished", "wsgi_headers", "middleware"]
STACK = st.builds(
    Stack,
    blueprints=st.one_of(
        st.just(()),
        st.lists(st.sampled_from(["plain", "api"]), max_size=3).map(tuple),
    ),
    decorators=st.one_of(
        st.lists(st.sampled_from([*DECORATORS]), max_size=4).map(tuple),
        st.sampled_from([("minute",), ("hour",), ("ask",), ("wraps", "hour")]),
    ),
    exit=st.sampled_from([*EXITS * 2, *FAILURES]),
    status=st.sampled_from(
        [*[200] * 6, 203, 204, 206, 301, 302, 304, 308, 404, 410, 500]
    ),
    hooks=st.one_of(st.just([]), st.lists(st.sampled_from(HOOKS), max_size=2)).map(
        frozenset
    ),
    fields=st.lists(st.sampled_from(HEADERS), max_size=5).map(tuple),
    writer=st.sampled_from(WRITERS),
    middleware=st.lists(
        st.sampled_from(["copy", "drop", "mount", "proxy", "get"]), max_size=2
    ).map(frozenset),
    rule_methods=st.sampled_from(
        [("GET",)] * 8 + [("GET", "POST"), ("POST",), ("PUT",)]
    ),
    method=st.sampled_from(
        [*["GET"] * 12, *["HEAD"] * 2, "POST", "PUT", "OPTIONS", "BREW"]
    ),
    target=st.sampled_from([*["route"] * 15, "slash", "nowhere", "double"]),
    conditions=st.lists(st.sampled_from(CONDITIONS), max_size=3).map(frozenset),
    cdn=st.booleans(),
)


def allowed_policy(stack: Stack) -> str | None:
    """Return the most open policy that a response of a stack may have."""
    mark = None
    for name in reversed(stack.decorators):
        if name == "hides":
            mark = None  # a wrapper without functools.wraps loses the declaration below
        elif name in {"nocache", "etag"}:
            mark = "nocache"
        elif name in DECLARED:
            mark = mark or name
    if mark is None or mark == "nocache" or "api" in stack.blueprints:
        return None
    if stack.method not in {"GET", "HEAD"} or stack.target != "route":
        return None
    # a stream that fails is a 500; without a body it does not fail
    if stack.exit in {"redirect", *FAILURES} - {"stream-error"}:
        return None
    # with a cookie only a private cache may store the response
    if stack.exit == "session" and DECLARED[mark].startswith("public"):
        return None
    if stack.hooks & {"responds", "aborts", "anew", "fails"}:
        return None
    return DECLARED[mark]


def app_of(stack: Stack) -> t.Any:
    """Return the WSGI callable of a stack."""
    app = NoCacheFlask("stacked", static_folder=None)
    app.config.update(
        NOCACHE_CDN_HEADERS=stack.cdn, PROPAGATE_EXCEPTIONS=False, SECRET_KEY="x"
    )
    app.logger.disabled = True
    add_route(app, stack)
    add_hooks(app, stack)
    add_writer(app, stack)
    inner = app.wsgi_app
    if "copy" in stack.middleware:
        put_inside(app, lambda environ, start: inner({**environ}, start))
    if "drop" in stack.middleware:
        keep = {"wsgi.input", "wsgi.errors", "wsgi.url_scheme", "wsgi.version"}
        put_inside(
            app,
            lambda environ, start: inner(
                {k: v for k, v in environ.items() if k.isupper() or k in keep}, start
            ),
        )
    if "mount" in stack.middleware:
        put_inside(app, DispatcherMiddleware(app.wsgi_app))
    return app


def add_route(app: Flask, stack: Stack) -> None:
    shared = Response("shared", headers=[("ETag", '"1"')])
    view: t.Any = functools.partial(leave, stack, shared)
    for name in reversed(stack.decorators):
        view = DECORATORS[name](view)
    where: t.Any = app
    blueprints = [
        (ApiBlueprint if kind == "api" else Blueprint)(f"bp{n}", "stacked")
        for n, kind in enumerate(stack.blueprints)
    ]
    if blueprints:
        where = blueprints[-1]
    where.add_url_rule("/a/b", "view", view, methods=stack.rule_methods)
    for outer, inner in reversed([*zip(blueprints, blueprints[1:], strict=False)]):
        outer.register_blueprint(inner)
    if blueprints:
        app.register_blueprint(blueprints[0])


def leave(stack: Stack, shared: Response) -> t.Any:
    """Return or raise as the view of a stack does."""
    fields = list(stack.fields) if stack.writer == "view" else []
    whole = Response("x" if stack.status != 304 else "", stack.status, fields)
    match stack.exit:
        case "text":
            return "x", stack.status, fields
        case "response":
            return whole
        case "stream":
            return Response(iter(["", "x"]), stack.status, fields)
        case "condition":
            whole.add_etag()
            return whole.make_conditional(request, True, 1)
        case "shared":
            return shared
        case "redirect":
            return redirect("/elsewhere", 301)
        case "session":
            session["user"] = 1
            return whole
        case "abort":
            abort(404)
        case "abort-response":
            abort(whole)
        case "error":
            raise LookupError
        case "stream-error":
            return Response(broken(), stack.status, fields)
    return None


def conditional(response: Response) -> Response:
    response.add_etag()
    response.make_conditional(request)
    return response


def broken() -> Iterator[str]:
    yield from ()
    raise LookupError


def add_hooks(app: Flask, stack: Stack) -> None:
    other = Response("other", stack.status, list(stack.fields))
    after: dict[str, t.Any] = {
        "anew": lambda response: other,
        "fails": lambda response: 1 / 0,
        "condition": conditional,
    }
    for name, hook in after.items():
        if name in stack.hooks:
            app.after_request(hook)
    if "responds" in stack.hooks:
        app.before_request(lambda: other)
    if "aborts" in stack.hooks:
        app.url_value_preprocessor(lambda endpoint, values: abort(404))
    if "patched" in stack.hooks:
        app.handle_exception = lambda e: other  # type: ignore[method-assign]
    if "handler" in stack.hooks:
        app.register_error_handler(LookupError, lambda e: other)
        app.register_error_handler(404, lambda e: other)


def add_writer(app: Flask, stack: Stack) -> None:
    fields = list(stack.fields)
    if stack.writer == "after_request":

        @app.after_request
        def write(response: Response) -> Response:
            response.headers.extend(fields)
            return response

    elif stack.writer == "request_finished":

        def receive(sender: object, response: Response, **extra: object) -> None:
            response.headers.extend(fields)

        request_finished.connect(receive, app, weak=False)
    elif stack.writer == "wsgi_headers":

        class Writing(Response):
            def get_wsgi_headers(self, environ: t.Any) -> t.Any:
                headers = super().get_wsgi_headers(environ)
                headers.extend(fields)
                return headers

        app.response_class = Writing
    elif stack.writer == "middleware":
        inner = app.wsgi_app
        put_inside(
            app,
            lambda environ, start: inner(
                environ,
                lambda status, headers, *exc: start(status, headers + fields, *exc),
            ),
        )


def send_requests(stack: Stack) -> list[tuple[t.Any, WireResponse]]:
    """Return headers and response of a plain request, and of the stack's request."""
    app = app_of(stack)
    # __call__ has the middleware inside, wsgi_app has it outside
    if "proxy" in stack.middleware and type(app.wsgi_app).__name__ == "method":
        app = ProxyFix(app.wsgi_app)
    path = {"route": "/a/b", "slash": "/a/b/", "nowhere": "/n", "double": "/a//b"}
    headers: list[t.Any] = [[], list(stack.conditions)]
    return [
        (h, fetch(app, path[stack.target], stack.method, headers=h)) for h in headers
    ]


def check(stack: Stack) -> set[str]:
    """Assert the invariant for the responses of a stack, and return the outcomes."""
    outcomes = set()
    for headers, response in send_requests(stack):
        stores = set()
        for authorized in {False, "Authorization" in dict(stack.conditions)}:
            stores |= oracle.storing_caches(
                stack.method, response.status, response.headers, authorized=authorized
            )
        # one line from every exit, because two could be read either way
        control = response.get("Cache-Control")
        assert response.get("Nocache-Permit") is None
        if control == EXACT:
            outcomes.add(f"closed {response.status}")
            assert stores == set()
        else:
            outcomes.add(f"open {response.status}")
            assert control == allowed_policy(stack)
            assert control is not None
            assert response.status in STORABLE
            assert stores <= ALLOWED_STORES[control]
            if control.startswith("public"):
                assert response.get("Set-Cookie") is None
                assert "Cookie" not in (response.get("Vary") or "")
                assert "Authorization" not in dict(headers)
    return outcomes


def test_undeclared_response_is_not_storable() -> None:
    outcomes: set[str] = set()

    @settings(max_examples=STACKS, derandomize=True, deadline=None, database=None)
    @given(STACK)
    def check_all(stack: Stack) -> None:
        for outcome in check(stack):
            event(outcome)
            outcomes.add(outcome)

    check_all()
    # the stacks reach all outcomes
    assert outcomes >= {
        "open 200",
        "open 304",
        "closed 200",
        "closed 404",
        "closed 500",
    }


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, "", "browser proxy"),
        (404, "", "browser proxy"),
        (201, "", ""),
        (201, "Expires: 0", "browser proxy"),
        (500, "Cache-Control: max-age=0", "browser proxy"),
        (200, "Cache-Control: no-store", ""),
        (200, "Cache-Control: NO-STORE", ""),
        (200, "cache-control: public\nCache-Control: x, no-store", ""),
        (200, 'Cache-Control: x="a, no-store"', "browser proxy"),
        (200, "Cache-Control: no-store, must-understand", "browser proxy"),
        (418, "Cache-Control: no-store, must-understand, max-age=1", ""),
        (200, "Cache-Control: no-cache", "browser proxy"),
        (200, "Cache-Control: private", "browser"),
        (200, 'Cache-Control: private="x"', "browser proxy"),
        (418, "Cache-Control: private", "browser"),
        (418, "Cache-Control: s-maxage=9", "proxy"),
        (200, "Cache-Control: no-store\nCDN-Cache-Control: max-age=9", "cdn-cache-control"),
        (200, "Cache-Control: no-store\nCDN-Cache-Control: no-store", ""),
        (200, "Cache-Control: no-store\nCDN-Cache-Control: MAX-AGE=9", ""),
        (200, "Cache-Control: no-store\nSurrogate-Control: max-age=9", "surrogate-control"),
        (200, "Cache-Control: no-store\nX-Accel-Expires: 9", "x-accel-expires"),
        (200, "Cache-Control: no-store\nX-Accel-Expires: 0", ""),
    ],
    ids=str,
)  # fmt: skip
def test_oracle_follows_the_standards(status: int, headers: str, expected: str) -> None:
    lines = [line.partition(": ") for line in headers.splitlines()]
    fields = [(name, value) for name, _, value in lines]

    assert oracle.storing_caches("GET", status, fields) == set(expected.split())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("", "browser"),
        ("max-age=9", "browser"),
        ("max-age=9, must-revalidate", "browser proxy"),
        ("public", "browser proxy"),
        ("s-maxage=9", "browser proxy"),
    ],
)
def test_oracle_knows_authorized_requests(headers: str, expected: str) -> None:
    fields = [("Cache-Control", headers)]

    stores = oracle.storing_caches("GET", 200, fields, authorized=True)

    assert stores == set(expected.split())


def test_oracle_knows_that_a_304_keeps_a_copy() -> None:
    assert oracle.storing_caches("GET", 304, [("Cache-Control", EXACT)])


def test_oracle_knows_methods() -> None:
    assert not oracle.storing_caches("PUT", 200, [("Cache-Control", "public")])
    assert not oracle.storing_caches("POST", 200, [])
    assert oracle.storing_caches("POST", 200, [("Cache-Control", "max-age=9")])
