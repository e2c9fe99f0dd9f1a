from __future__ import annotations

import re
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask import send_file
from nocache import ApiBlueprint
from nocache import cacheable
from nocache import guard
from nocache import nocache
from nocache import NoCacheFlask
from nocache.audit.wire import drive
from nocache.audit.wire import storable
from nocache.policy import NOCACHE
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from .wsgi import guarded
from .wsgi import NO_STORE
from .wsgi import put_inside

EXACT = dict(NO_STORE)
Change = Callable[[str, t.Any], t.Any]


@pytest.fixture
def app(tmp_path: Path) -> NoCacheFlask:
    app = guarded(tmp_path)
    api = ApiBlueprint("api", "kit_app", url_prefix="/api")
    api.add_url_rule("/items", "items", lambda: {})
    api.add_url_rule("/items/<int:id>", "item", lambda id: {}, methods=["GET", "PUT"])
    app.register_blueprint(api)
    hour: t.Any = cacheable(max_age=3600, public=True, reason="x")
    declared: t.Any = nocache
    tagged: t.Any = nocache(etag=True)
    app.add_url_rule("/hour", "hour", hour(lambda: "x"))
    app.add_url_rule("/file", "file", declared(lambda: send_file("static/page.css")))
    app.add_url_rule("/tag", "tag", tagged(lambda: ("x", {"ETag": '"1"'})))
    return app


def facts(app: Flask, **arguments: t.Any) -> set[str]:
    """Return the messages of an app's findings, each of which has to be NC008."""
    found = drive(app, **arguments)
    assert {f.id for f in found} <= {"NC008"}
    return {f.message for f in found}


def test_drive_finds_nothing_in_a_guarded_app(app: NoCacheFlask) -> None:
    assert drive(app) == []


# faults planted into the guard


def mutate(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """Have the guard send `change(status, its own headers)`."""
    intact = NoCacheFlask.__call__

    def call(app: NoCacheFlask, environ: t.Any, start_response: t.Any) -> t.Any:
        def start(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
            return start_response(status, change(status, headers), exc_info)

        return intact(app, environ, start)

    monkeypatch.setattr(NoCacheFlask, "__call__", call)


def without(name: str, value: str | None = None) -> Change:
    """Return a change that leaves a field out, or sends another value."""

    def change(status: str, fields: t.Any) -> t.Any:
        if ("Cache-Control", EXACT["Cache-Control"]) not in fields:
            return fields
        kept = [field for field in fields if field[0] != name]
        return kept if value is None else [*kept, (name, value)]

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
        "'GET api/items' .* Cache-Control is missing",
    ),
    "missing-on-404": (
        on("404", without("Cache-Control")),
        "no-such-path' may be stored: Cache-Control is missing",
    ),
    "missing-on-405": (
        on("405", without("Cache-Control")),
        "'(POST|PUT) api/items' may be stored: Cache-Control is missing",
    ),
    "missing-on-500": (
        on("500", without("Cache-Control")),
        "'GET api/items' may be stored: Cache-Control is missing",
    ),
    "no-cache": (without("Cache-Control", "no-cache"), "Cache-Control is 'no-cache'"),
    "no-store-alone": (
        without("Cache-Control", "no-store"),
        "'POST hour' may be stored: Cache-Control is 'no-store'",
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
        "'GET api/items' may be stored: cache-control is 'public'",
    ),
    "surrogate": (
        beside(("Surrogate-Control", "max-age=9")),
        "'GET api/items' may be stored: Surrogate-Control is 'max-age=9'",
    ),
    "targeted": (
        beside(("Any-CDN-Cache-Control", "max-age=9")),
        "'GET api/items' may be stored: Any-CDN-Cache-Control is 'max-age=9'",
    ),
    "last-modified": (
        beside(("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")),
        "'GET api/items' may be stored: Last-Modified is",
    ),
}


@pytest.mark.parametrize("fault", MUTATIONS)
def test_fault_in_the_guard_is_found(
    app: NoCacheFlask, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    change, message = MUTATIONS[fault]
    mutate(monkeypatch, change)

    assert_matches(facts(app), message)


def assert_matches(found: set[str], message: str) -> None:
    assert any(re.search(message, fact) for fact in found), found


def test_absent_guard_is_found(
    app: NoCacheFlask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NoCacheFlask, "__call__", Flask.__call__)
    monkeypatch.setattr(NoCacheFlask, "wsgi_app", Flask.wsgi_app)

    found = facts(app)

    for subject in ("GET api/items", "PUT api/items/1", "HEAD hour", "GET file"):
        assert_matches(found, f"'{subject}' may be stored: .* is (missing|'no-cache')")
    assert_matches(found, "'GET api/no-such-path' may be stored")
    assert_matches(found, "'GET no-such-path' may be stored")


def test_304_let_through_is_found(
    app: NoCacheFlask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "withhold", lambda environ: {})
    monkeypatch.setattr(NOCACHE, "storable", True)

    assert_matches(
        facts(app), "'GET file' may be stored: a 304 keeps the copy of a client alive"
    )


def test_304_made_by_a_middleware_is_found_as_nothing_worse(app: NoCacheFlask) -> None:
    # the guard answers it with a 500 that has the headers
    def application(environ: t.Any, start_response: t.Any) -> list[bytes]:
        start_response("304 NOT MODIFIED", [])
        return []

    put_inside(app, application)

    assert drive(app) == []


def test_stamp_that_leaves_the_app_is_found(
    app: NoCacheFlask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NOCACHE, "removes", NOCACHE.removes - {"nocache-permit"})
    app.add_url_rule("/s", "s", lambda: ("x", {"Nocache-Permit": "1"}))

    assert_matches(facts(app), "'GET s' may be stored: Nocache-Permit is '1'")


def opened(app: NoCacheFlask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the policy of the cacheable view honoured whatever it answers."""
    monkeypatch.setattr(
        type(NOCACHE), "admits", lambda self, method, status, headers: True
    )


@pytest.mark.parametrize(
    ("rv", "methods", "message"),
    [
        (("x", 404), ["GET"], "'GET page' may be stored"),
        (("x", 301), ["GET"], "'GET page' may be stored"),
        ("x", ["PUT"], "'PUT page' may be stored"),
    ],
    ids=["404", "301", "put"],
)
def test_policy_on_an_answer_that_is_not_to_be_stored_is_found(
    app: NoCacheFlask,
    monkeypatch: pytest.MonkeyPatch,
    rv: t.Any,
    methods: list[str],
    message: str,
) -> None:
    opened(app, monkeypatch)
    monkeypatch.setattr("nocache.policy.SAFE", {"GET", "HEAD", "PUT"})
    monkeypatch.setattr("nocache.policy.STORABLE", {"200", "301", "404"})
    minute: t.Any = cacheable(max_age=60, reason="x")
    app.add_url_rule("/page", "page", minute(lambda: rv), methods=methods)

    assert_matches(facts(app), message)


# apps that nothing guards


def test_plain_app_is_found_by_every_exit() -> None:
    app = Flask("plain", static_folder=None)
    app.add_url_rule("/a/", "a", lambda: "x", methods=["GET", "POST"])

    requests = {message.split("'")[1] for message in facts(app)}

    assert requests == {
        "GET a/",
        "POST a/",
        "HEAD a/",
        "OPTIONS a/",
        "PUT a/",
        "GET a",
        "GET no-such-path",
    }


def test_entry_that_wraps_the_app_is_driven(app: NoCacheFlask) -> None:
    def public(environ: t.Any, start_response: t.Any) -> t.Any:
        def start(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
            return start_response(status, [*headers, ("Age", "9")], exc_info)

        return app(environ, start)

    assert drive(app, DispatcherMiddleware(app)) == []
    assert_matches(facts(app, entry=public), "'GET api/items' .*: Age is '9'")


def test_findings_name_the_view(app: NoCacheFlask) -> None:
    plain = Flask("plain", static_folder=None)

    def view() -> str:
        return "x"

    plain.add_url_rule("/", "view", view)

    lines = {f.line for f in drive(plain) if "no-such" not in f.message}
    assert lines == {view.__code__.co_firstlineno}


# the rules that have to be requested


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
def test_drive_finds_arguments_for_every_converter(
    app: NoCacheFlask, rule: str
) -> None:
    seen: list[t.Any] = []

    def view(**arguments: object) -> str:
        seen.append(arguments)
        return "x"

    app.add_url_rule(rule, "seen", view)

    assert drive(app, x="zz") == []
    assert seen


def test_drive_names_the_argument_that_nothing_fits(app: NoCacheFlask) -> None:
    app.add_url_rule("/<string(length=9):word>", "page", lambda word: word)

    with pytest.raises(LookupError, match=r"'word' .*drive\(\): word="):
        drive(app)

    assert drive(app, word="nine-long") == []


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
def test_drive_requests_rules_of_every_kind(app: NoCacheFlask, options: t.Any) -> None:
    app.config["SERVER_NAME"] = "localhost"
    app.add_url_rule("/kind", "kind", lambda **arguments: "x", **options)

    assert drive(app) == []


def test_drive_leaves_the_app_as_it_was(app: NoCacheFlask) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.add_url_rule("/none", "none")
    before = dict(app.view_functions)

    drive(app)

    assert app.view_functions == before
    assert app.config["PROPAGATE_EXCEPTIONS"] is True
    assert app.logger.disabled is False


def test_drive_reports_failures_as_answers(app: NoCacheFlask) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.add_url_rule("/fails", "fails", lambda: 1 / 0)

    assert drive(app) == []


# reading an answer


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
        ("GET", 200, "a", [("Cache-Control", "b")], "Cache-Control is 'b'"),
        ("GET", 200, "a", [("Cache-Control", "a")] * 2, "Cache-Control is 'a', 'a'"),
        ("GET", 404, "a", [("Cache-Control", "a")], "Cache-Control is 'a'"),
        ("POST", 200, "a", [("Cache-Control", "a")], "Cache-Control is 'a'"),
    ],
    ids=str,
)
def test_storable_says_why(
    method: str, status: int, policy: str, headers: t.Any, fact: str
) -> None:
    found = storable(method, status, headers, policy)

    assert found.startswith(fact) if fact else found == ""


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
            "private, max-age=9",
            [("Cache-Control", "private, max-age=9"), ("Set-Cookie", "a=1")],
        ),
    ],
    ids=["no-store-alone", "targeted", "surrogate", "expires", "cookie"],
)
def test_storable_reads_on_behind_the_declared_policy(
    policy: str, headers: t.Any
) -> None:
    assert storable("GET", 200, headers, policy)
