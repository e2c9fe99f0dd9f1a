from __future__ import annotations

import functools
import typing as t
from collections.abc import Callable
from collections.abc import Iterator

import pytest
from flask import abort
from flask import Flask
from flask import request
from flask import Response
from flask import send_file
from nocache import ApiBlueprint
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from nocache import overridden

from .wsgi import assert_not_stored
from .wsgi import fetch
from .wsgi import NO_STORE

Signals = list[tuple[str | None, list[str], str]]
View = Callable[[], Response]

hourly = cacheable(max_age=3600, reason="tested")
public = cacheable(max_age=3600, public=True, reason="tested")


@pytest.fixture
def signals(app: NoCacheFlask) -> Iterator[Signals]:
    signals: Signals = []

    def record(
        sender: Flask, endpoint: str | None, fields: list[str], reason: str
    ) -> None:
        assert sender is app
        signals.append((endpoint, fields, reason))

    with overridden.connected_to(record, app):
        yield signals


def expired(environ: t.Any, start_response: t.Any) -> list[bytes]:
    """Respond as middleware does, without a request of Flask."""
    start_response("200 OK", [("Expires", "0")])
    return [b"x"]


def with_fields(*fields: tuple[str, str]) -> View:
    return lambda: Response("x", headers=[*fields])


@pytest.mark.parametrize(
    ("decorate", "fields", "names", "reason"),
    [
        (None, [("Cache-Control", "public, max-age=60")], ["Cache-Control"], ""),
        (nocache, [("ETag", '"1"'), ("expires", "0")], ["ETag", "expires"], ""),
        (None, [("CDN-Cache-Control", "max-age=1")], ["CDN-Cache-Control"], ""),
        (hourly, [("Cache-Control", "public")], ["Cache-Control"], ""),
        (public, [("Set-Cookie", "a=b"), ("ETag", '"1"')], ["ETag"], "Set-Cookie"),
    ],
)
def test_overridden_names_the_endpoint_and_the_fields(
    app: NoCacheFlask,
    signals: Signals,
    decorate: t.Any,
    fields: list[tuple[str, str]],
    names: list[str],
    reason: str,
) -> None:
    view = with_fields(*fields)
    app.add_url_rule("/", "items", decorate(view) if decorate else view)
    for _ in range(2):  # a known spelling is reported too
        fetch(app)
    assert signals == [("items", names, reason)] * 2


@pytest.mark.parametrize(
    ("decorate", "fields"),
    [
        (None, []),
        (None, [("X-Own", "1"), ("Vary", "Cookie")]),
        (None, NO_STORE),
        (None, [("Nocache-Permit", "1")]),
        (nocache(etag=True), [("ETag", '"1"')]),
        (hourly, [("ETag", '"1"'), ("Cache-Control", "private, max-age=3600")]),
    ],
)
def test_overridden_is_not_sent_where_nothing_changes(
    app: NoCacheFlask, signals: Signals, decorate: t.Any, fields: list[tuple[str, str]]
) -> None:
    view = with_fields(*fields)
    app.add_url_rule("/", "items", decorate(view) if decorate else view)
    assert fetch(app).status == 200
    assert fetch(app, "/nowhere").status == 404
    assert signals == []


def test_overridden_is_not_sent_for_static_files(
    app: NoCacheFlask, signals: Signals, tmp_path: t.Any
) -> None:
    (tmp_path / "style.css").write_text("p {}")
    app.static_folder = str(tmp_path)
    app.add_url_rule("/file", "file", lambda: send_file(tmp_path / "style.css"))
    assert fetch(app, "/static/style.css").get("ETag")
    assert signals == []
    fetch(app, "/file")
    [(endpoint, fields, reason)] = signals
    assert reason == ""
    assert endpoint == "file"
    assert {*fields} == {"Cache-Control", "Last-Modified", "ETag"}


def test_overridden_has_no_endpoint_where_middleware_responds(
    app: NoCacheFlask, signals: Signals
) -> None:
    setattr(app, "wsgi_app", expired)  # noqa: B010
    assert_not_stored(fetch(app))
    assert signals == [(None, ["Expires"], "")]


def test_overridden_has_no_endpoint_of_another_app(
    app: NoCacheFlask, signals: Signals
) -> None:
    setattr(app, "wsgi_app", expired)  # noqa: B010
    other = NoCacheFlask("other")
    other.get("/")(lambda: fetch(app).body)
    assert fetch(other).body == b"x"
    assert signals == [(None, ["Expires"], "")]


def test_overridden_receiver_that_fails_makes_nothing_storable(
    app: NoCacheFlask,
) -> None:
    def fail(sender: Flask, **_: t.Any) -> None:
        raise ValueError

    app.get("/")(with_fields(("Cache-Control", "public")))
    with overridden.connected_to(fail, app):
        response = fetch(app)
    assert_not_stored(response)
    assert response.status == 500


# the reasons why a declared response is no-store


@nocache
def nothing() -> None: ...


def with_nothing() -> Response:
    nothing()
    return Response("x")


def fail_in_stream() -> Response:
    abort(404)


def streamed() -> Response:
    return Response(iter(["x"]))


def rebuild(view: View) -> View:
    @functools.wraps(view)
    def wrapper() -> Response:
        return Response(view().get_data())

    return wrapper


@pytest.mark.parametrize(
    ("view", "request_", "reason"),
    [
        (public(with_fields()), {"method": "POST"}, "method POST"),
        (public(lambda: Response(status=404)), {}, "status 404"),
        (public(lambda: Response(status="299 Made up")), {}, "status 299"),
        (public(fail_in_stream), {}, "status 404"),
        (public(lambda: Response(f"{1 / 0}")), {}, "status 500"),
        (public(with_fields(("Set-Cookie", "a=b"))), {}, "Set-Cookie"),
        (public(with_fields(("Vary", "Accept, cookie"))), {}, "Vary"),
        (public(with_fields()), {"headers": {"Authorization": "x"}}, "Authorization"),
        (rebuild(public(with_fields())), {}, "lost permit"),
        (
            hourly(streamed),
            {"environ_overrides": {"SERVER_PROTOCOL": "HTTP/1.0"}},
            "unknown length",
        ),
    ],
    ids=[
        "method",
        "status",
        "own-status",
        "abort",
        "error",
        "cookie",
        "vary",
        "credentials",
        "permit",
        "length",
    ],
)
def test_overridden_has_the_reason_why_a_declared_response_is_no_store(
    app: NoCacheFlask, signals: Signals, view: View, request_: t.Any, reason: str
) -> None:
    app.add_url_rule("/", "items", view, methods=["GET", "POST"])
    method = request_.get("method", "GET")
    options = {name: request_[name] for name in request_ if name != "method"}
    for _ in range(2):
        assert_not_stored(fetch(app, "/", method, **options))
    assert signals == [("items", [], reason)] * 2


def test_overridden_is_not_sent_without_a_declaration(
    app: NoCacheFlask, signals: Signals
) -> None:
    app.before_request(lambda: nothing() if request.path == "/closed" else None)
    app.add_url_rule("/closed", "closed", public(with_fields()))
    app.add_url_rule("/nocache", "nocache", public(nocache(with_fields())))
    api = ApiBlueprint("api", "api", url_prefix="/api")
    api.add_url_rule("/", "items", public(with_fields()))
    app.register_blueprint(api)
    app.add_url_rule("/inside", "inside", public(with_nothing))
    for path in ("/closed", "/nocache", "/inside", "/api/"):
        assert_not_stored(fetch(app, path))
    app.before_request_funcs.setdefault(None, []).append(lambda: ("no", 401))
    assert fetch(app, "/closed").status == 401
    assert signals == []


def test_overridden_is_not_sent_for_storable_responses(
    app: NoCacheFlask, signals: Signals
) -> None:
    app.add_url_rule("/", "items", hourly(with_fields(("Set-Cookie", "a=b"))))
    for method in ("GET", "HEAD"):
        assert fetch(app, "/", method).get("Cache-Control") == "private, max-age=3600"
    assert signals == []


def test_overridden_does_not_name_the_etag_that_the_guard_would_add(
    app: NoCacheFlask, signals: Signals
) -> None:
    tagged: t.Any = cacheable(max_age=1, public=True, etag=lambda: "1", reason="tested")
    app.add_url_rule("/", "items", tagged(with_fields(("Set-Cookie", "a=b"))))
    assert_not_stored(fetch(app))
    assert signals == [("items", [], "Set-Cookie")]
