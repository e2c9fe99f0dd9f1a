"""NC012: responses that depend on request fields that their Vary does not name."""

from __future__ import annotations

import itertools
import typing as t
from collections.abc import Callable

import pytest
from flask import Flask
from flask import redirect
from flask import request
from flask import Response
from flask import url_for
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from nocache.audit.unkeyed import changes
from nocache.audit.unkeyed import Response as Sent
from nocache.audit.wire import check_app
from werkzeug.middleware.proxy_fix import ProxyFix

from .wsgi import put_inside

View = Callable[[], t.Any]
PUBLIC: t.Any = cacheable(max_age=60, public=True, reason="x")


@pytest.fixture
def app() -> NoCacheFlask:
    return NoCacheFlask("kit_app", static_folder=None)


def audit(app: Flask, view: View, declare: t.Any = PUBLIC) -> list[str]:
    """Return the messages about a view, all of which have to be NC012."""
    # a new function, because @nocache marks it
    app.add_url_rule("/page", "page", declare(lambda: view()))
    findings = check_app(app)
    assert {f.id for f in findings} <= {"NC012"}
    return [f.message for f in findings]


def by_authorization() -> t.Any:
    return ("x", 401) if "Authorization" in request.headers else "x"


def by_user() -> str:
    return f"Hello {request.authorization and request.authorization.username}"


def by_cookie() -> str:
    return request.cookies.get("theme", "light")


def by_language() -> t.Any:
    return request.accept_languages.best_match(["en", "de"], "en")


def by_default_language() -> t.Any:
    return request.accept_languages.best_match(["de", "en"], "de")


def by_type() -> str:
    types = ["text/html", "application/json"]
    return str(request.accept_mimetypes.best_match(types, "text/html"))


def by_other_type() -> str:
    types = ["application/json", "text/html"]
    return str(request.accept_mimetypes.best_match(types, "application/json"))


def by_origin() -> str:
    return request.headers.get("Origin", "")


def by_host() -> str:
    return url_for("page", _external=True)


def by_scheme() -> str:
    return "secure" if request.headers.get("X-Forwarded-Proto") == "https" else "not"


def by_forwarded_host() -> str:
    return request.headers.get("X-Forwarded-Host", "")


def to_forwarded_host() -> t.Any:
    return redirect(f"//{request.headers.get('X-Forwarded-Host', 'a.example')}/x")


def to_login() -> t.Any:
    return redirect("/login") if "Cookie" in request.headers else "x"


DEPENDENT: dict[View, tuple[str, str]] = {
    by_authorization: ("status", "Authorization"),
    by_user: ("body", "Authorization"),
    by_cookie: ("body", "Cookie"),
    to_login: ("status", "Cookie"),
    by_language: ("body", "Accept-Language"),
    by_default_language: ("body", "Accept-Language"),
    by_type: ("body", "Accept"),
    by_other_type: ("body", "Accept"),
    by_origin: ("body", "Origin"),
    by_forwarded_host: ("body", "X-Forwarded-Host"),
    to_forwarded_host: ("Location", "X-Forwarded-Host"),
    by_scheme: ("body", "X-Forwarded-Proto"),
    by_host: ("body", "Host"),
}


@pytest.mark.parametrize("view", DEPENDENT, ids=lambda view: view.__name__)
def test_nc012_unkeyed(app: NoCacheFlask, view: View) -> None:
    what, field = DEPENDENT[view]

    assert audit(app, view) == [
        f"'GET /page' may be shared, but its {what} changes with {field}, which its"
        " Vary does not name."
    ]


@pytest.mark.parametrize("view", DEPENDENT, ids=lambda view: view.__name__)
@pytest.mark.parametrize("star", [False, True])
def test_nc012_keyed_noop(app: NoCacheFlask, view: View, star: bool) -> None:
    @app.after_request
    def vary(response: Response) -> Response:
        response.headers["Vary"] = "*" if star else f"X, {DEPENDENT[view][1].lower()}"
        return response

    app.add_url_rule("/page", "page", PUBLIC(view))

    assert "NC012" not in {f.id for f in check_app(app)}


@pytest.mark.parametrize("view", DEPENDENT, ids=lambda view: view.__name__)
@pytest.mark.parametrize(
    "declare", [nocache, cacheable(max_age=60, reason="x")], ids=["no-store", "private"]
)
def test_nc012_not_shared_noop(app: NoCacheFlask, view: View, declare: t.Any) -> None:
    assert audit(app, view, declare) == []


def test_nc012_lists_each_field(app: NoCacheFlask) -> None:
    def view() -> str:
        return f"{by_origin()} {by_forwarded_host()} {by_cookie()}"

    fields = [message.split(" with ")[1].split(",")[0] for message in audit(app, view)]

    assert fields == ["Cookie", "Origin", "X-Forwarded-Host"]


def test_nc012_behind_proxies(app: NoCacheFlask) -> None:
    put_inside(app, ProxyFix(app.wsgi_app, x_proto=1, x_host=1))

    messages = " ".join(audit(app, by_host))

    for field in ("Host", "X-Forwarded-Host", "X-Forwarded-Proto"):
        assert f"with {field}," in messages


@pytest.mark.parametrize("period", [1, 2, 3, 7])
def test_nc012_changes_by_itself_noop(app: NoCacheFlask, period: int) -> None:
    numbers = itertools.count()

    assert audit(app, lambda: f"{next(numbers) // period}") == []


def test_nc012_names_that_are_refused_noop(app: NoCacheFlask) -> None:
    app.config["TRUSTED_HOSTS"] = ["www.example.com"]

    assert audit(app, by_host) == []


def test_nc012_redirect_to_https_noop(app: NoCacheFlask) -> None:
    @app.before_request
    def secure() -> t.Any:
        if request.headers.get("X-Forwarded-Proto") != "https":
            return redirect(request.url.replace("http:", "https:"))
        return None

    assert [m for m in audit(app, lambda: "x") if "Proto" in m] == []


def test_nc012_response_that_no_cache_stores_noop(app: NoCacheFlask) -> None:
    app.add_url_rule("/page", "page", PUBLIC(lambda: (by_cookie(), 404)))

    assert check_app(app) == []


def test_nc012_sends_few_requests_for_each_route(app: NoCacheFlask) -> None:
    methods: list[str] = []

    @app.before_request
    def note() -> None:
        methods.append(request.method)

    audit(app, lambda: "x")

    assert len(methods) < 25


def test_changes_ignores_a_response_that_changes_by_itself() -> None:
    numbers = itertools.count()

    def send(headers: t.Mapping[str, str]) -> Sent:
        return Sent(200, [], b"%d" % next(numbers))

    assert list(changes(send, send({}))) == []
    assert next(numbers) == 2


def test_changes_of_a_response_that_is_stored_without_vary() -> None:
    """A cache reuses it for everybody, even if other responses have a Vary."""
    fields = [("Cache-Control", "public"), ("Vary", "Accept")]

    def send(headers: t.Mapping[str, str]) -> Sent:
        if "Accept" in headers:
            return Sent(200, [("Cache-Control", "public")], b"other")
        return Sent(200, fields, b"first")

    assert list(changes(send, send({}))) == ["its body changes with Accept"]
