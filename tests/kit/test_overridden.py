from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterator

import pytest
from flask import Flask
from flask import Response
from flask import send_file
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from nocache import overridden

from .wsgi import answer
from .wsgi import assert_not_stored
from .wsgi import NO_STORE

Heard = list[tuple[str | None, list[str]]]
View = Callable[[], Response]

hourly = cacheable(max_age=3600, reason="tested")
public = cacheable(max_age=3600, public=True, reason="tested")


@pytest.fixture
def heard(app: NoCacheFlask) -> Iterator[Heard]:
    heard: Heard = []

    def hear(sender: Flask, endpoint: str | None, fields: list[str]) -> None:
        assert sender is app
        heard.append((endpoint, fields))

    with overridden.connected_to(hear, app):
        yield heard


def expired(environ: t.Any, start_response: t.Any) -> list[bytes]:
    """Answer as middleware does, without a request."""
    start_response("200 OK", [("Expires", "0")])
    return [b"x"]


def with_fields(*fields: tuple[str, str]) -> View:
    return lambda: Response("x", headers=[*fields])


@pytest.mark.parametrize(
    ("decorate", "fields", "names"),
    [
        (None, [("Cache-Control", "public, max-age=60")], ["Cache-Control"]),
        (nocache, [("ETag", '"1"'), ("expires", "0")], ["ETag", "expires"]),
        (None, [("CDN-Cache-Control", "max-age=1")], ["CDN-Cache-Control"]),
        (hourly, [("Cache-Control", "public")], ["Cache-Control"]),
        (public, [("Set-Cookie", "a=b"), ("ETag", '"1"')], ["ETag"]),
    ],
)
def test_overridden_names_the_endpoint_and_the_fields(
    app: NoCacheFlask,
    heard: Heard,
    decorate: t.Any,
    fields: list[tuple[str, str]],
    names: list[str],
) -> None:
    view = with_fields(*fields)
    app.add_url_rule("/", "items", decorate(view) if decorate else view)
    for _ in range(2):  # what is known of a spelling must not silence the second
        answer(app)
    assert heard == [("items", names)] * 2


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
    app: NoCacheFlask, heard: Heard, decorate: t.Any, fields: list[tuple[str, str]]
) -> None:
    view = with_fields(*fields)
    app.add_url_rule("/", "items", decorate(view) if decorate else view)
    assert answer(app).status == 200
    assert answer(app, "/nowhere").status == 404
    assert heard == []


def test_overridden_is_not_sent_for_static_files(
    app: NoCacheFlask, heard: Heard, tmp_path: t.Any
) -> None:
    (tmp_path / "style.css").write_text("p {}")
    app.static_folder = str(tmp_path)
    app.add_url_rule("/file", "file", lambda: send_file(tmp_path / "style.css"))
    assert answer(app, "/static/style.css").get("ETag")
    assert heard == []
    answer(app, "/file")
    [(endpoint, fields)] = heard
    assert endpoint == "file"
    assert {*fields} == {"Cache-Control", "Last-Modified", "ETag"}


def test_overridden_has_no_endpoint_where_middleware_answers(
    app: NoCacheFlask, heard: Heard
) -> None:
    setattr(app, "wsgi_app", expired)  # noqa: B010
    assert_not_stored(answer(app))
    assert heard == [(None, ["Expires"])]


def test_overridden_has_no_endpoint_of_another_app(
    app: NoCacheFlask, heard: Heard
) -> None:
    setattr(app, "wsgi_app", expired)  # noqa: B010
    other = NoCacheFlask("other")
    other.get("/")(lambda: answer(app).body)
    assert answer(other).body == b"x"
    assert heard == [(None, ["Expires"])]


def test_overridden_receiver_that_fails_opens_nothing(
    app: NoCacheFlask,
) -> None:
    def fail(sender: Flask, **_: t.Any) -> None:
        raise ValueError

    app.get("/")(with_fields(("Cache-Control", "public")))
    with overridden.connected_to(fail, app):
        failed = answer(app)
    assert_not_stored(failed)
    assert failed.status == 500
