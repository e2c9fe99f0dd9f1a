from __future__ import annotations

import functools
import itertools
import re
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask import make_response
from flask import request
from flask import Response
from flask import send_file
from nocache import ApiBlueprint
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from nocache.audit import wire
from nocache.audit.wire import check_app
from nocache.audit.wire import storable
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from .wsgi import guarded_app
from .wsgi import NO_STORE
from .wsgi import put_inside

EXACT = dict(NO_STORE)
COOKIE = ("Set-Cookie", "a=1")
HOUR: t.Any = cacheable(max_age=3600, public=True, reason="x")
Change = Callable[[str, t.Any], t.Any]


@pytest.fixture
def app(tmp_path: Path) -> NoCacheFlask:
    app = guarded_app(tmp_path)
    api = ApiBlueprint("api", "kit_app", url_prefix="/api")
    api.add_url_rule("/items", "items", lambda: {})
    api.add_url_rule("/items/<int:id>", "item", lambda id: {}, methods=["GET", "PUT"])
    app.register_blueprint(api)
    decorate: t.Any = nocache
    tagged: t.Any = nocache(etag=True)
    app.add_url_rule("/hour", "hour", HOUR(lambda: "x"))
    app.add_url_rule("/file", "file", decorate(lambda: send_file("static/page.css")))
    app.add_url_rule("/tag", "tag", tagged(lambda: ("x", {"ETag": '"1"'})))
    return app


def facts(app: Flask, **arguments: t.Any) -> set[str]:
    """Return the messages of an app's findings, each of which has to be NC008."""
    findings = check_app(app, **arguments)
    assert {f.id for f in findings} <= {"NC008"}
    return {f.message for f in findings}


def test_check_app_finds_nothing_in_a_guarded_app(app: NoCacheFlask) -> None:
    assert check_app(app) == []


# entry points that change the responses of an app


def change_responses(app: Flask, change: Change) -> t.Any:
    """Return an entry point that changes status and headers of each response."""

    def entry(environ: t.Any, start_response: t.Any) -> t.Any:
        def start(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
            return start_response(status, change(status, headers), exc_info)

        return app(environ, start)

    return entry


def without(name: str, value: str | None = None) -> Change:
    """Return a change that removes a field, or replaces its value."""

    def change(status: str, fields: t.Any) -> t.Any:
        if ("Cache-Control", EXACT["Cache-Control"]) not in fields:
            return fields
        rest = [field for field in fields if field[0] != name]
        return rest if value is None else [*rest, (name, value)]

    return change


def on(code: str, change: Change) -> Change:
    return lambda status, fields: (
        change(status, fields) if status.startswith(code) else fields
    )


def beside(*extra: tuple[str, str]) -> Change:
    return lambda status, fields: [*fields, *extra]


MUTATIONS: dict[str, tuple[t.Any, str]] = {
    "missing": (
        without("Cache-Control"),
        "'GET /api/items' .* Cache-Control is missing",
    ),
    "missing-on-404": (
        on("404", without("Cache-Control")),
        "no-such-path' may be stored: Cache-Control is missing",
    ),
    "missing-on-405": (
        on("405", without("Cache-Control")),
        "'(POST|PUT) /api/items' may be stored: Cache-Control is missing",
    ),
    "missing-on-500": (
        on("500", without("Cache-Control")),
        "'GET /api/items' may be stored: Cache-Control is missing",
    ),
    "no-cache": (without("Cache-Control", "no-cache"), "Cache-Control is 'no-cache'"),
    "no-store-alone": (
        without("Cache-Control", "no-store"),
        "'POST /hour' may be stored: Cache-Control is 'no-store'",
    ),
    "mixed-case": (
        without("Cache-Control", EXACT["Cache-Control"].title()),
        "Cache-Control is 'No-Store",
    ),
    "no-blanks": (
        without("Cache-Control", EXACT["Cache-Control"].replace(" ", "")),
        "Cache-Control is 'no-store,no-cache",
    ),
    "no-expires": (without("Expires"), "Expires is missing"),
    "expires-0": (without("Expires", "0"), "Expires is '0'"),
    "no-pragma": (without("Pragma"), "Pragma is missing"),
    "twice": (
        beside(("cache-control", "public")),
        "'GET /api/items' may be stored: cache-control is 'public'",
    ),
    "surrogate": (
        beside(("Surrogate-Control", "max-age=9")),
        "'GET /api/items' may be stored: Surrogate-Control is 'max-age=9'",
    ),
    "targeted": (
        beside(("Any-CDN-Cache-Control", "max-age=9")),
        "'GET /api/items' may be stored: Any-CDN-Cache-Control is 'max-age=9'",
    ),
    "last-modified": (
        beside(("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")),
        "'GET /api/items' may be stored: Last-Modified is",
    ),
}


@pytest.mark.parametrize("fault", MUTATIONS)
def test_fault_on_the_wire_is_a_finding(app: NoCacheFlask, fault: str) -> None:
    change, message = MUTATIONS[fault]

    assert_matches(facts(app, entry=change_responses(app, change)), message)


def assert_matches(messages: set[str], pattern: str) -> None:
    assert any(re.search(pattern, message) for message in messages), messages


def test_missing_guard_is_a_finding(app: NoCacheFlask) -> None:
    bare = change_responses(
        app, lambda status, headers: [("Content-Type", "text/plain")]
    )

    messages = facts(app, entry=bare)

    for subject in ("GET /api/items", "PUT /api/items/1", "HEAD /hour", "GET /file"):
        assert_matches(messages, f"'{subject}' may be stored: .* is missing")
    assert_matches(messages, "'GET /api/no-such-path' may be stored")
    assert_matches(messages, "'GET /no-such-path' may be stored")


def test_304_is_a_finding(app: NoCacheFlask) -> None:
    def entry(environ: t.Any, start_response: t.Any) -> t.Any:
        if "HTTP_IF_NONE_MATCH" in environ:
            start_response("304 NOT MODIFIED", NO_STORE)
            return []
        return app(environ, start_response)

    assert_matches(
        facts(app, entry=entry),
        "'GET /file' may be stored: a 304 lets a client reuse its copy",
    )


def test_304_of_a_middleware_inside_the_guard_is_no_finding(app: NoCacheFlask) -> None:
    # the guard replaces it by a 500 or 412 that is no-store
    def application(environ: t.Any, start_response: t.Any) -> list[bytes]:
        start_response("304 NOT MODIFIED", [])
        return []

    put_inside(app, application)

    assert check_app(app) == []


@pytest.mark.parametrize(
    ("rv", "methods", "message"),
    [
        (("x", 404), ["GET"], "'GET /page' may be stored"),
        (("x", 301), ["GET"], "'GET /page' may be stored"),
        ("x", ["PUT"], "'PUT /page' may be stored"),
    ],
    ids=["404", "301", "put"],
)
def test_policy_on_a_404_301_or_put_is_a_finding(
    app: NoCacheFlask, rv: t.Any, methods: list[str], message: str
) -> None:
    minute: t.Any = cacheable(max_age=60, reason="x")
    app.add_url_rule("/page", "page", minute(lambda: rv), methods=methods)
    fields = [("Cache-Control", "private, max-age=60")]

    messages = facts(app, entry=change_responses(app, lambda status, headers: fields))

    assert_matches(messages, message)


# apps without the guard


def test_plain_app_has_a_finding_for_every_exit() -> None:
    app = Flask("plain", static_folder=None)
    app.add_url_rule("/a/", "a", lambda: "x", methods=["GET", "POST"])

    subjects = {message.split("'")[1] for message in facts(app)}

    assert subjects == {
        "GET /a/",
        "POST /a/",
        "HEAD /a/",
        "OPTIONS /a/",
        "PUT /a/",
        "GET /a",
        "GET /no-such-path",
    }


def test_entry_that_wraps_the_app_is_requested(app: NoCacheFlask) -> None:
    def public(environ: t.Any, start_response: t.Any) -> t.Any:
        def start(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
            return start_response(status, [*headers, ("Age", "9")], exc_info)

        return app(environ, start)

    assert check_app(app, DispatcherMiddleware(app)) == []
    assert_matches(facts(app, entry=public), "'GET /api/items' .*: Age is '9'")


def test_findings_have_the_line_of_the_view(app: NoCacheFlask) -> None:
    plain = Flask("plain", static_folder=None)

    def view() -> str:
        return "x"

    plain.add_url_rule("/", "view", view)

    lines = {f.line for f in check_app(plain) if "no-such" not in f.message}
    assert lines == {view.__code__.co_firstlineno}


# the rules of an app


@pytest.mark.parametrize(
    "rule",
    [
        "/<x>",
        "/<int:x>",
        "/<float:x>",
        "/<uuid:x>",
        "/<path:x>/end",
        "/<any(up, down):x>",
        "/<string(length=2):x>",
        "/a/<int:x>/<int:y>/",
    ],
)
def test_check_app_has_a_sample_for_every_converter(
    app: NoCacheFlask, rule: str
) -> None:
    calls: list[t.Any] = []

    def view(**arguments: object) -> str:
        calls.append(arguments)
        return "x"

    app.add_url_rule(rule, "view", view)

    assert check_app(app, x="zz") == []
    assert calls


def test_check_app_names_the_argument_that_nothing_fits(app: NoCacheFlask) -> None:
    app.add_url_rule("/<string(length=9):word>", "page", lambda word: word)

    with pytest.raises(LookupError, match=r"'word' .*check_app\(app, word="):
        check_app(app)

    assert check_app(app, word="nine-long") == []


@pytest.mark.parametrize(
    "options",
    [
        {"defaults": {"n": 1}},
        {"subdomain": "www"},
        {"strict_slashes": False},
        {"redirect_to": "/elsewhere"},
        {"methods": ["OPTIONS"]},
        {"methods": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
        {"build_only": True},
    ],
    ids=str,
)
def test_check_app_requests_rules_of_every_kind(
    app: NoCacheFlask, options: t.Any
) -> None:
    app.config["SERVER_NAME"] = "localhost"
    app.add_url_rule("/kind", "kind", lambda **arguments: "x", **options)

    assert check_app(app) == []


def test_check_app_does_not_change_the_app(app: NoCacheFlask) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.logger.disabled = False
    app.add_url_rule("/none", "none")
    before = dict(app.view_functions)

    check_app(app)

    assert app.view_functions == before
    assert app.config["PROPAGATE_EXCEPTIONS"] is True
    assert app.logger.disabled is False


def test_check_app_turns_exceptions_into_responses(app: NoCacheFlask) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.add_url_rule("/fails", "fails", lambda: 1 / 0)

    assert check_app(app) == []


@pytest.mark.parametrize("hosts", [["www.example.com"], [".example.com", "b.example"]])
def test_check_app_uses_a_host_that_the_app_trusts(
    app: NoCacheFlask, hosts: list[str]
) -> None:
    app.config["TRUSTED_HOSTS"] = hosts
    statuses = set()

    @app.after_request
    def note(response: Response) -> Response:
        statuses.add(response.status_code)
        return response

    assert check_app(app) == []
    assert 200 in statuses


@pytest.mark.parametrize("subdomain", ["www", "<name>"])
def test_check_app_requests_subdomains(subdomain: str) -> None:
    app = NoCacheFlask("kit_app", static_folder=None, subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.com"
    hosts = []

    def view(name: str = "") -> str:
        hosts.append(request.host)
        return "x"

    app.add_url_rule("/", view_func=view, subdomain=subdomain)

    assert check_app(app, name="www") == []
    assert set(hosts) == {"www.example.com"}


def test_drive_is_the_old_name_of_check_app(app: NoCacheFlask) -> None:
    assert wire.drive is check_app


# a declaration without effect


def rebuild(view: t.Any) -> t.Any:
    @functools.wraps(view)
    def wrapper(*args: t.Any, **kwargs: t.Any) -> Response:
        return Response(make_response(view(*args, **kwargs)).get_data())

    return wrapper


def messages_of(app: Flask) -> list[str]:
    findings = check_app(app)
    assert {f.id for f in findings} <= {"NC006"}
    return [f.message for f in findings]


def test_response_replaced_by_a_decorator_is_a_finding(app: NoCacheFlask) -> None:
    day: t.Any = cacheable(max_age=86400, reason="x")
    app.add_url_rule("/frame", "frame", rebuild(day(lambda: "frame")))

    assert messages_of(app) == [
        "'frame' is declared 'private, max-age=86400', but is sent as no-store:"
        " a decorator above @cacheable, or a hook, replaces the response."
    ]


def test_declaration_above_the_decorator_is_no_finding(app: NoCacheFlask) -> None:
    """The hint says so."""
    day: t.Any = cacheable(max_age=86400, reason="x")
    app.add_url_rule("/frame", "frame", day(rebuild(lambda: "frame")))

    assert messages_of(app) == []


def test_response_replaced_by_a_hook_is_a_finding() -> None:
    app = NoCacheFlask("kit_app", static_folder=None)
    app.add_url_rule("/hour", "hour", HOUR(lambda: "x"))
    app.after_request(lambda response: Response("x", response.status_code))

    (message,) = messages_of(app)

    assert message.startswith(
        "'hour' is declared 'public, max-age=3600', but is sent as"
    )


def test_cookie_on_a_public_response_is_a_finding(app: NoCacheFlask) -> None:
    app.add_url_rule("/c", "c", HOUR(lambda: ("x", {"Set-Cookie": "a=1"})))

    (message,) = messages_of(app)

    assert message.startswith("'c' is declared 'public, max-age=3600'")
    assert message.endswith("it may be shared, but sets a cookie.")


@pytest.mark.parametrize("status", [404, 500])
def test_errors_of_a_cacheable_view_are_no_finding(
    app: NoCacheFlask, status: int
) -> None:
    app.add_url_rule("/gone", "gone", HOUR(lambda: ("x", status)))

    assert messages_of(app) == []


def test_one_response_as_declared_is_no_finding(app: NoCacheFlask) -> None:
    visits = itertools.count()

    def view() -> t.Any:
        return "x", {} if next(visits) else {"Set-Cookie": "a=1"}

    app.add_url_rule("/first", "first", HOUR(view))

    assert messages_of(app) == []


# storable() on one response


@pytest.mark.parametrize(
    ("method", "status", "policy", "headers", "fact"),
    [
        ("GET", 200, "no-store", NO_STORE, ""),
        ("PUT", 201, "no-store", NO_STORE, ""),
        ("GET", 404, "private, max-age=9", NO_STORE, ""),
        ("GET", 200, "no-store", [*NO_STORE, ("ETag", '"1"')], ""),
        ("GET", 200, "no-store", [*NO_STORE, ("CDN-Cache-Control", "no-store")], ""),
        ("GET", 200, "no-store", [*NO_STORE, ("X-Accel-Expires", "0")], ""),
        ("GET", 200, "no-store", [], "Cache-Control is missing"),
        ("GET", 200, "no-store", NO_STORE * 2, "Cache-Control is "),
        ("GET", 200, "no-store", [*NO_STORE, ("Age", "1")], "Age is '1'"),
        ("GET", 200, "no-store", [*NO_STORE, ("X-Accel-Expires", "9")], "X-Accel-Ex"),
        ("GET", 304, "no-store", NO_STORE, "a 304"),
        ("GET", 304, "a", [("Cache-Control", "a")], ""),
        ("HEAD", 206, "a", [("cache-control", "a")], ""),
        # with a cookie, only a private cache stores the response
        ("GET", 200, "private", [("Cache-Control", "private"), COOKIE], ""),
        ("GET", 200, "a", [("Cache-Control", "private, a"), COOKIE], ""),
        ("GET", 200, "a", [("Cache-Control", "b")], "Cache-Control is 'b'"),
        ("GET", 200, "a", [("Cache-Control", "a")] * 2, "Cache-Control is 'a', 'a'"),
        ("GET", 404, "a", [("Cache-Control", "a")], "Cache-Control is 'a'"),
        ("POST", 200, "a", [("Cache-Control", "a")], "Cache-Control is 'a'"),
    ],
    ids=str,
)
def test_storable_returns_the_reason(
    method: str, status: int, policy: str, headers: t.Any, fact: str
) -> None:
    reason = storable(method, status, headers, policy)

    assert reason.startswith(fact) if fact else reason == ""


@pytest.mark.parametrize(
    ("policy", "headers"),
    [
        ("no-store", [("Cache-Control", "no-store")]),
        (
            "no-store",
            [("Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=9")],
        ),
        (
            "private, max-age=9",
            [("Cache-Control", "private, max-age=9"), ("Surrogate-Control", "x")],
        ),
        (
            "private, max-age=9",
            [("Cache-Control", "private, max-age=9"), ("Expires", "x")],
        ),
        (
            "public, max-age=9",
            [("Cache-Control", "public, max-age=9"), ("Set-Cookie", "a=1")],
        ),
        (
            "public, max-age=9",
            [("Cache-Control", "public, max-age=9"), ("Vary", "Accept, Cookie")],
        ),
    ],
    ids=["no-store-alone", "targeted", "surrogate", "expires", "cookie", "vary"],
)
def test_storable_reads_the_fields_after_the_declared_policy(
    policy: str, headers: t.Any
) -> None:
    assert storable("GET", 200, headers, policy)
