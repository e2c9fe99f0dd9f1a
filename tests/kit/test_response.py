from __future__ import annotations

import gc
import typing as t
import weakref
from collections.abc import Callable

import flask
import pytest
from flask import jsonify
from nocache import NoCacheFlask
from werkzeug.wrappers import Response as WerkzeugResponse

from .wsgi import assert_not_stored
from .wsgi import environ_of
from .wsgi import fetch
from .wsgi import read_by_caches


class Own(flask.Response):
    pass


def body_of(app: NoCacheFlask, method: str = "GET") -> t.Any:
    return app(environ_of("/", method), ignore_start)


def ignore_start(*args: t.Any) -> t.Any:
    """Act as the start_response of a server."""


@pytest.mark.parametrize(
    "view",
    [
        lambda: "x",
        lambda: {"x": 1},
        lambda: jsonify([1]),
        lambda: flask.make_response("x", 201),
        lambda: flask.redirect("/elsewhere"),
        lambda: ("x", 404),
    ],
    ids=["text", "json", "jsonify", "created", "redirect", "error"],
)
def test_complete_body_is_one_chunk(
    app: NoCacheFlask, view: Callable[[], t.Any]
) -> None:
    app.add_url_rule("/", "page", view)

    body = body_of(app)

    assert isinstance(body, list)
    assert [type(chunk) for chunk in body] == [bytes]
    assert fetch(app).body == b"".join(body)


@pytest.mark.parametrize(
    ("view", "method"),
    [
        (lambda: iter(["x"]), "GET"),
        (lambda: "x", "HEAD"),
        (lambda: ("x", 204), "GET"),
        (lambda: Own("x"), "GET"),
    ],
    ids=["stream", "head", "no-content", "own-class"],
)
def test_other_body_is_the_same_as_in_flask(
    app: NoCacheFlask, view: Callable[[], t.Any], method: str
) -> None:
    plain = flask.Flask("plain")
    for each in (plain, app):
        each.add_url_rule("/", "page", view)

    # the server gets the list itself
    assert body_of(app, method) == [] or not isinstance(body_of(app, method), list)
    guarded, bare = fetch(app, "/", method), fetch(plain, "/", method)
    assert (guarded.status, guarded.body) == (bare.status, bare.body)
    assert_not_stored(guarded)


@pytest.mark.parametrize(
    "make",
    [lambda: Own("x"), lambda: flask.Response(iter(["x"]))],
    ids=["own-class", "stream"],
)
def test_response_of_a_view_keeps_its_class(
    app: NoCacheFlask, make: Callable[[], flask.Response]
) -> None:
    shared = make()
    kind = type(shared)
    classes: list[type] = []
    app.add_url_rule("/", "page", lambda: shared)
    app.after_request(lambda response: classes.append(type(response)) or response)  # type: ignore[func-returns-value]

    assert fetch(app).body == b"x"
    assert classes == [kind]
    assert type(shared) is kind


def form(**options: t.Any) -> Callable[[], flask.Response]:
    return lambda: flask.Response(**options)


def without_length() -> flask.Response:
    response = flask.Response("x")
    response.automatically_set_content_length = False
    return response


FORMS: dict[str, Callable[[], t.Any]] = {
    "text": form(response="x\u00e9"),
    "list": form(response=["x", b"y"]),
    "tuple": form(response=("x", b"y")),
    "stream": lambda: flask.Response(iter(["x", "y"])),
    "empty": form(),
    "no-content": form(status=204),
    "redirect": form(status=302, headers={"Location": "/th\u00e9"}),
    "content-location": form(response="x", headers={"Content-Location": "/\u00e9"}),
    "own-length": form(response="x", headers={"content-length": "1"}),
    "without-length": without_length,
    "informational": form(status=199),
    "not-found": lambda: flask.abort(404),
    "gone": lambda: flask.abort(410, "since \u00e9"),
    "unauthorized": lambda: flask.abort(401, www_authenticate="Basic"),
    "error": lambda: 1 / 0,
    "dict": lambda: {"a": 1},
    "file": lambda: flask.send_file(__file__),
}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("form", FORMS)
def test_response_is_the_same_as_from_flask(
    app: NoCacheFlask, monkeypatch: pytest.MonkeyPatch, form: str, method: str
) -> None:
    plain = flask.Flask("plain")
    plain.config["PROPAGATE_EXCEPTIONS"] = False
    responses = []
    for each in (plain, app):
        monkeypatch.setattr(each.logger, "disabled", True)
        each.add_url_rule("/", "page", FORMS[form], methods=["GET"])
        response = fetch(each, "/", method)
        caching = {*read_by_caches(response.headers)}
        headers = [f for f in response.headers if f not in caching and f[0] != "Date"]
        responses.append((response.status, headers, response.body))

    assert responses[0] == responses[1]


def test_response_class_of_another_flask_stays() -> None:
    class Theirs(flask.Flask):
        response_class = Own

    class App(NoCacheFlask, Theirs):
        pass

    app = App("app")
    app.add_url_rule("/", "page", lambda: "x")

    assert app.response_class is Own
    assert_not_stored(fetch(app))


def test_response_class_below_the_apps_converts_as_in_flask(app: NoCacheFlask) -> None:
    class Below(app.response_class):  # type: ignore[name-defined, misc]
        pass

    app.response_class = Below
    classes: list[type] = []
    app.after_request(lambda r: classes.append(type(r)) or r)  # type: ignore[func-returns-value]
    app.add_url_rule("/", "page", lambda: flask.Response("x"))

    assert fetch(app).body == b"x"
    assert classes == [Below]


def test_response_of_werkzeug_becomes_one_of_flask(app: NoCacheFlask) -> None:
    app.add_url_rule("/", "page", lambda: WerkzeugResponse("x"))
    kinds: list[bool] = []
    app.after_request(
        lambda r: kinds.append(isinstance(r, flask.Response)) or r  # type: ignore[func-returns-value]
    )

    assert fetch(app).body == b"x"
    assert kinds == [True]


def test_whole_body_is_closed_once(app: NoCacheFlask) -> None:
    closings: list[str] = []

    def view() -> flask.Response:
        response = jsonify({})
        response.call_on_close(lambda: closings.append("x"))
        return response

    app.add_url_rule("/", "page", view)

    body = body_of(app)
    assert closings == []
    body.close()
    assert closings == ["x"]


def test_text_that_cannot_be_sent_is_a_500(app: NoCacheFlask) -> None:
    app.add_url_rule("/", "page", lambda: app.response_class(["\ud800"]))

    response = fetch(app)

    assert response.status == 500
    assert_not_stored(response)


def test_request_is_forgotten_without_the_garbage_collector(app: NoCacheFlask) -> None:
    # a server's start_response may hold the environ, as waitress's does
    class Input:
        pass

    def ask() -> weakref.ref[Input]:
        environ = environ_of() | {"server.input": Input()}

        def start_response(*args: t.Any) -> t.Any:
            environ.get("server.input")

        body: t.Any = app(environ, start_response)
        body.close()
        return weakref.ref(environ["server.input"])

    app.add_url_rule("/", "page", lambda: "x")
    ask()
    gc.disable()
    try:
        assert ask()() is None
    finally:
        gc.enable()
