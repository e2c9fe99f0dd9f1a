"""Static files by the digest in their URL, beside plain Flask."""

from __future__ import annotations

import gc
import hashlib
import os
import time
import typing as t
from pathlib import Path

import pytest
from flask import Blueprint
from flask import Flask
from flask import request
from flask import Response
from flask import send_file
from flask import session
from flask import url_for
from nocache import ApiBlueprint
from nocache import audit_app
from nocache import nocache
from nocache import NoCacheFlask
from nocache import routes
from nocache import static
from nocache.audit.wire import drive
from nocache.audit.wire import storable
from werkzeug.wsgi import FileWrapper

from .wsgi import Answer
from .wsgi import answer
from .wsgi import assert_not_stored
from .wsgi import environ_of
from .wsgi import guarded

YEAR = "public, max-age=31536000, immutable"
PRIVATE_YEAR = "private, max-age=31536000, immutable"
CSS = b"p { color: red }"
STYLE = "/static/page.css"
PLACES = ["static", "assets.static", "outer.inner.static"]


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def with_folders(app: Flask, folder: Path) -> Flask:
    """Register static folders of a blueprint, of a nested one and of an API."""
    assets = Blueprint("assets", "x", static_folder=folder, url_prefix="/assets")
    outer = Blueprint("outer", "x", url_prefix="/outer")
    outer.register_blueprint(
        Blueprint("inner", "x", static_folder=folder, url_prefix="/inner")
    )
    app.register_blueprint(assets)
    app.register_blueprint(outer)
    return app


@pytest.fixture
def app(tmp_path: Path) -> NoCacheFlask:
    app = guarded(tmp_path)
    with_folders(app, tmp_path / "static")
    return app


@pytest.fixture
def plain(app: NoCacheFlask, tmp_path: Path) -> Flask:
    return with_folders(Flask("kit_app", root_path=str(tmp_path)), tmp_path / "static")


@pytest.fixture
def style(tmp_path: Path) -> Path:
    return tmp_path / "static" / "page.css"


def link(app: Flask, endpoint: str = "static", /, **values: t.Any) -> str:
    """Return the URL that a page of the app links."""
    with app.test_request_context():
        return url_for(endpoint, **{"filename": "page.css", **values})


def control(got: Answer) -> str | None:
    return got.get("Cache-Control")


def beside_caching(got: Answer) -> t.Any:
    ours = {"cache-control", "etag", "last-modified", "date"}
    return got.status, {(n, v) for n, v in got.headers if n.lower() not in ours}


# the URL


@pytest.mark.parametrize("endpoint", PLACES)
def test_link_carries_the_digest_of_the_content(
    app: NoCacheFlask, plain: Flask, endpoint: str
) -> None:
    assert link(app, endpoint) == f"{link(plain, endpoint)}?v={digest_of(CSS)}"


def test_link_outside_of_a_request_carries_the_digest(app: NoCacheFlask) -> None:
    app.config["SERVER_NAME"] = "example.com"
    with app.app_context():
        url = url_for("static", filename="page.css", _anchor="x")

    assert url == f"http://example.com{STYLE}?v={digest_of(CSS)}#x"


def test_link_beside_its_page_carries_the_digest(app: NoCacheFlask) -> None:
    pages = Blueprint("pages", "x", static_folder=Path(app.root_path, "static"))
    pages.get("/page")(lambda: url_for(".static", filename="page.css"))
    app.register_blueprint(pages, url_prefix="/p")

    assert answer(app, "/p/page").body.endswith(f"?v={digest_of(CSS)}".encode())


@pytest.mark.parametrize(
    "filename",
    ["gone.css", "", "../secret", "/etc/hostname", "a\0b", "sub", "pipe", "x/\udc80"],
)
def test_link_to_what_is_not_sent_is_that_of_flask(
    app: NoCacheFlask, plain: Flask, style: Path, filename: str
) -> None:
    (style.parent / "sub").mkdir()
    (style.parent.parent / "secret").write_text("x")
    os.mkfifo(style.parent / "pipe")  # opening it would wait for ever

    def linked(app: Flask) -> str | type[Exception]:
        try:
            return link(app, filename=filename)
        except UnicodeEncodeError as error:
            return type(error)

    assert linked(app) == linked(plain)


@pytest.mark.parametrize(
    ("values", "query"),
    [({"v": "7"}, "?v=7"), ({"v": None}, ""), ({"lang": "de"}, "?lang=de&v={0}")],
)
def test_link_keeps_the_arguments_of_the_caller(
    app: NoCacheFlask, values: dict[str, t.Any], query: str
) -> None:
    assert link(app, **values) == STYLE + query.format(digest_of(CSS))


def test_link_keeps_what_the_app_adds(app: NoCacheFlask) -> None:
    @app.url_defaults
    def by_release(endpoint: str, values: dict[str, t.Any]) -> None:
        values.setdefault("v", "release-7")

    assert link(app) == f"{STYLE}?v=release-7"


def test_link_to_a_folder_that_was_set_later_has_its_digest(
    app: NoCacheFlask, tmp_path: Path
) -> None:
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "page.css").write_text("b {}")
    app.static_folder = "later"

    assert link(app) == f"{STYLE}?v={digest_of(b'b {}')}"


def test_link_to_a_view_of_the_app_is_that_of_flask(app: NoCacheFlask) -> None:
    app.add_url_rule("/own/<path:filename>", "own", lambda filename: filename)

    assert link(app, "own") == "/own/page.css"


def test_link_follows_a_symlink(app: NoCacheFlask, style: Path) -> None:
    (style.parent / "new.css").write_text("b {}")
    (style.parent / "now.css").symlink_to("page.css")
    assert link(app, filename="now.css").endswith(digest_of(CSS))

    (style.parent / "now.css").unlink()
    (style.parent / "now.css").symlink_to("new.css")

    url = link(app, filename="now.css")
    assert url.endswith(digest_of(b"b {}"))
    assert control(answer(app, url)) == YEAR


@pytest.mark.parametrize("nested", [False, True])
def test_api_stays_no_store(app: NoCacheFlask, style: Path, nested: bool) -> None:
    folder = Blueprint("docs", "x", static_folder=style.parent)
    if nested:
        api = ApiBlueprint("api", "x", url_prefix="/api")
        api.register_blueprint(folder, url_prefix="/docs")
    else:
        api = ApiBlueprint("api", "x", static_folder=style.parent, url_prefix="/api")
    app.register_blueprint(api)
    url = link(app, "api.docs.static" if nested else "api.static")

    assert "?" not in url
    for headers, status in (({}, 200), ({"Range": "bytes=0-3"}, 206)):
        got = answer(app, f"{url}?v={digest_of(CSS)}", headers=headers)
        assert got.status == status
        assert_not_stored(got)


# the response


@pytest.mark.parametrize("endpoint", PLACES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_file_by_its_digest_is_kept_for_a_year(
    app: NoCacheFlask, plain: Flask, endpoint: str, method: str
) -> None:
    url = link(app, endpoint)
    got = answer(app, url, method)

    assert control(got) == YEAR
    assert got.get("ETag") == f'"{digest_of(CSS)}"'
    assert got.body == (CSS if method == "GET" else b"")
    assert beside_caching(got) == beside_caching(answer(plain, url, method))


@pytest.mark.parametrize(
    "query", ["", "?v=", "?v={0}x", "?v=0123456789abcdef", "?w={0}"]
)
@pytest.mark.parametrize("range_", [{}, {"Range": "bytes=0-3"}])
def test_file_by_another_digest_is_what_it_was(
    app: NoCacheFlask, plain: Flask, query: str, range_: dict[str, str]
) -> None:
    url = STYLE + query.format(digest_of(CSS))
    got, beside = (answer(each, url, headers=range_) for each in (app, plain))

    assert control(got) == control(beside) == "no-cache"
    for name in ("ETag", "Last-Modified"):
        assert got.get(name) == beside.get(name)
    assert beside_caching(got) == beside_caching(beside)
    assert got.body == beside.body


def permanent_session(app: Flask) -> dict[str, str]:
    @app.before_request
    def visit() -> None:
        session.permanent = True
        session["id"] = 1

    return {}


def varies_by_cookie(app: Flask) -> dict[str, str]:
    @app.after_request
    def vary(response: Response) -> Response:
        response.vary.add("Cookie")
        return response

    return {}


def credentials(app: Flask) -> dict[str, str]:
    return {"Authorization": "Bearer x"}


@pytest.mark.parametrize("beside", [permanent_session, varies_by_cookie, credentials])
def test_file_beside_what_is_personal_is_private(
    app: NoCacheFlask, beside: t.Callable[[Flask], dict[str, str]]
) -> None:
    url, headers = link(app), beside(app)
    unchanged = {**headers, "If-None-Match": f'"{digest_of(CSS)}"'}

    assert control(answer(app, url, headers=headers)) == PRIVATE_YEAR
    assert control(answer(app, STYLE, headers=headers)) == "private, no-cache"
    got = answer(app, url, headers=unchanged)
    assert (got.status, control(got)) == (304, PRIVATE_YEAR)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_file_that_the_client_has_is_unchanged(app: NoCacheFlask, method: str) -> None:
    headers = {"If-None-Match": f'"x", "{digest_of(CSS)}"'}
    got = answer(app, link(app), method, headers=headers)

    assert (got.status, got.body, control(got)) == (304, b"", YEAR)


def test_copy_of_a_file_of_same_time_and_size_is_not_kept_alive(
    app: NoCacheFlask, plain: Flask, style: Path
) -> None:
    # of the old instance, in images whose files all have one time: Flask's ETag is equal
    os.utime(style, (1, 1))
    old = answer(app, f"{STYLE}?v={digest_of(b'p { color: tan }')}")
    assert control(old) == "no-cache"
    style.write_bytes(b"p { color: tan }")
    os.utime(style, (1, 1))
    assert answer(plain, STYLE).get("ETag") == old.get("ETag")

    url = link(app)
    for name, value in (
        ("If-None-Match", old.get("ETag")),
        ("If-Modified-Since", old.get("Last-Modified")),
    ):
        got = answer(app, url, headers={name: value})
        assert (got.status, got.body) == (200, b"p { color: tan }")
    got = answer(app, url, headers={"Range": "bytes=9-", "If-Range": old.get("ETag")})
    assert got.status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=4-8"}, 206),
        ({"Range": "bytes=4-8", "If-Range": f'"{digest_of(CSS)}"'}, 206),
        ({"Range": "bytes=4-8", "If-Range": '"x"'}, 200),
        ({"If-Match": f'"{digest_of(CSS)}"'}, 200),
    ],
)
def test_part_of_a_file_is_kept_with_its_digest(
    app: NoCacheFlask, headers: dict[str, str], status: int
) -> None:
    got = answer(app, link(app), headers=headers)

    assert (got.status, control(got)) == (status, YEAR)
    assert got.body == (CSS[4:9] if status == 206 else CSS)
    assert got.get("Content-Length") == str(len(got.body))
    assert got.get("ETag") == f'"{digest_of(CSS)}"'


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("gone.css", "GET", {}, 404),
        ("../secret", "GET", {}, 404),
        ("page.css", "GET", {"Range": "bytes=999-"}, 416),
        ("page.css", "GET", {"If-Match": '"x"'}, 412),
        ("page.css", "POST", {}, 405),
        ("page.css", "OPTIONS", {}, 200),
    ],
)
def test_file_that_is_not_sent_is_not_stored(
    app: NoCacheFlask, path: str, method: str, headers: dict[str, str], status: int
) -> None:
    Path(app.root_path, "secret").write_bytes(CSS)
    url = f"/static/{path}?v={digest_of(CSS)}"
    got = answer(app, url, method, headers=headers)
    gc.collect()  # a file left open is a warning, and so an error

    assert got.status == status
    assert_not_stored(got)


def test_file_that_something_else_sends_is_no_cache(app: NoCacheFlask) -> None:
    # the server opens it later, and another may lie there by then
    app.config["USE_X_SENDFILE"] = True
    assert control(answer(app, link(app))) == "no-cache"


def test_view_of_the_app_is_not_opened_by_a_digest(app: NoCacheFlask) -> None:
    declared: t.Any = nocache
    app.get("/own")(declared(lambda: send_file("static/page.css")))

    assert_not_stored(answer(app, f"/own?v={digest_of(CSS)}"))


def test_file_after_a_nocache_is_not_stored(app: NoCacheFlask) -> None:
    declared: t.Any = nocache
    app.before_request(declared(lambda: None))

    assert_not_stored(answer(app, link(app)))


def test_response_of_another_view_is_not_stored(app: NoCacheFlask) -> None:
    @app.before_request
    def sign_in() -> str | None:
        return None if request.path == "/" else "sign in"

    assert_not_stored(answer(app, f"{STYLE}?v={digest_of(CSS)}"))


def test_server_wrapper_is_back_after_the_view(app: NoCacheFlask) -> None:
    seen: list[dict[str, t.Any]] = []
    environ = environ_of(link(app), headers={"Range": "bytes=0-3"})
    app.teardown_request(lambda error: seen.append(dict(request.environ)))
    for key in (None, FileWrapper):
        given = environ | ({"wsgi.file_wrapper": key} if key else {})
        body = t.cast(t.Any, app(given, lambda *args: print))
        b"".join(body)
        body.close()

    wrappers = [environ.get("wsgi.file_wrapper") for environ in seen]
    assert wrappers == [None, FileWrapper]
    assert {environ["HTTP_RANGE"] for environ in seen} == {"bytes=0-3"}


# a file that changes


def replace(style: Path, content: bytes) -> None:
    new = style.with_name("new")
    new.write_bytes(content)
    new.replace(style)


def rewrite(style: Path, content: bytes) -> None:
    """Write into the file itself, and set its time back."""
    was = style.stat()
    style.write_bytes(content)
    os.utime(style, ns=(was.st_atime_ns, was.st_mtime_ns))


@pytest.mark.parametrize("change", [replace, rewrite])
@pytest.mark.parametrize("content", [b"b {}", b"p { color: tan }"])
def test_changed_file_has_another_link_at_once(
    app: NoCacheFlask,
    style: Path,
    change: t.Callable[[Path, bytes], None],
    content: bytes,
) -> None:
    old = link(app)
    assert control(answer(app, old)) == YEAR

    change(style, content)

    assert link(app).endswith(digest_of(content))
    assert control(answer(app, link(app))) == YEAR
    got = answer(app, old)
    assert (control(got), got.body) == ("no-cache", content)


def test_digest_is_worked_out_once(
    app: NoCacheFlask, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    intact, later = hashlib.file_digest, time.time_ns() + 60_000_000_000

    def count(file: t.Any, name: str) -> t.Any:
        read.append(file.name)
        return intact(file, name)

    monkeypatch.setattr(hashlib, "file_digest", count)
    link(app), link(app)
    # it was written a moment ago: a second write could have the same time
    assert len(read) == 2

    monkeypatch.setattr(time, "time_ns", lambda: later)
    for _ in range(3):
        assert control(answer(app, link(app))) == YEAR
    assert len(read) == 3

    replace(style, b"b {}")
    assert link(app).endswith(digest_of(b"b {}"))
    assert len(read) == 4


def test_digests_that_are_kept_are_limited(
    app: NoCacheFlask, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.time_ns() + 60_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    monkeypatch.setattr(static, "LIMIT", 3)
    for number in range(10):
        (style.parent / f"{number}.css").write_text(f"{number}")
        assert link(app, filename=f"{number}.css").endswith(digest_of(b"%d" % number))

    assert len(static._digests) <= 3


def test_file_that_changes_under_the_digest_has_none(
    app: NoCacheFlask, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    intact, url = hashlib.file_digest, link(app)

    def write_meanwhile(file: t.Any, name: str) -> t.Any:
        digest = intact(file, name)
        style.write_bytes(b"b {}")
        return digest

    monkeypatch.setattr(hashlib, "file_digest", write_meanwhile)

    assert link(app) == STYLE
    rewrite(style, CSS)
    assert control(answer(app, url)) == "no-cache"


def test_file_replaced_before_it_is_opened_is_no_cache(
    app: NoCacheFlask, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = link(app)
    app.before_request(lambda: replace(style, b"b {}"))

    got = answer(app, url)

    assert (control(got), got.body) == ("no-cache", b"b {}")


def test_file_replaced_after_it_was_opened_is_sent_as_it_was(
    app: NoCacheFlask, style: Path
) -> None:
    url = link(app)

    @app.after_request
    def deploy(response: Response) -> Response:
        replace(style, b"b {}")
        return response

    got = answer(app, url)

    assert (control(got), got.body) == (YEAR, CSS)


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=10-299999"}])
def test_file_rewritten_while_it_is_sent_breaks_off(
    app: NoCacheFlask, style: Path, headers: dict[str, str]
) -> None:
    style.write_bytes(b"a" * 300_000)
    started: list[t.Any] = []

    def start_response(*arguments: t.Any) -> t.Any:
        started.append(arguments)

    body = app(environ_of(link(app), headers=headers), start_response)
    chunks = iter(body)
    sent = len(next(chunks))
    assert dict(started[0][1])["Cache-Control"] == YEAR

    style.write_bytes(b"b" * 300_000)

    with pytest.raises(RuntimeError, match=r"page\.css' changed while it was sent"):
        for chunk in chunks:
            sent += len(chunk)
    t.cast(t.Any, body).close()
    # so that no cache takes it for complete
    assert sent < int(dict(started[0][1])["Content-Length"])


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 300_000])
def test_file_of_any_size_is_sent_whole(
    app: NoCacheFlask, style: Path, size: int
) -> None:
    content = os.urandom(size)
    style.write_bytes(content)

    got = answer(app, link(app))

    assert (control(got), got.body) == (YEAR, content)
    gc.collect()


def test_instances_of_two_releases_keep_nothing_wrong(tmp_path: Path) -> None:
    contents = {"old": CSS, "new": b"p { color: tan }"}
    apps: dict[str, NoCacheFlask] = {}
    for name, content in contents.items():
        (tmp_path / name).mkdir()
        apps[name] = guarded(tmp_path / name)
        style = tmp_path / name / "static" / "page.css"
        style.write_bytes(content)
        os.utime(style, (1, 1))

    for linked, other in (("old", "new"), ("new", "old")):
        url = link(apps[linked])
        right, wrong = answer(apps[linked], url), answer(apps[other], url)
        assert (control(right), right.body) == (YEAR, contents[linked])
        assert (control(wrong), wrong.body) == ("no-cache", contents[other])
        # what was kept of either is never taken for the other
        for app, kept, status in (
            (apps[linked], wrong, 200),
            (apps[other], right, 200),
            (apps[linked], right, 304),
        ):
            headers = {"If-None-Match": kept.get("ETag")}
            assert answer(app, url, headers=headers).status == status


# the audit


def test_routes_show_both_policies(app: NoCacheFlask) -> None:
    shown = {r.endpoint: str(r) for r in routes(app)}

    assert shown["static"] == (
        "static GET /static/<path:filename>"
        f" -> no-cache; {YEAR} with its digest: Flask's static files"
    )
    assert audit_ids(app) == {"NC010"}
    assert drive(app) == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("no-cache", True),
        ("private, no-cache", True),
        (YEAR, True),
        (PRIVATE_YEAR, True),
        ("public, max-age=60", False),
        ("public", False),
        ("max-age=31536000, immutable", False),
    ],
)
def test_storable_accepts_both_policies(
    app: NoCacheFlask, sent: str, kept: bool
) -> None:
    policy = next(r.policy for r in routes(app) if r.endpoint == "static")
    headers = [("Cache-Control", sent), ("ETag", '"x"')]

    assert bool(storable("GET", 200, headers, policy)) != kept
    assert storable("POST", 200, headers, policy)
    cookie = [*headers, ("Set-Cookie", "a=1")]
    assert bool(storable("GET", 200, cookie, policy)) != sent.startswith("private, ")


def audit_ids(app: Flask) -> set[str]:
    return {f.id for f in audit_app(app)}


@pytest.mark.parametrize("value", [0, 43200])
def test_maximum_age_of_the_configuration_is_found(
    app: NoCacheFlask, value: int
) -> None:
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = value

    (found,) = (f for f in audit_app(app) if f.id == "NC007")

    assert "'SEND_FILE_MAX_AGE_DEFAULT'" in found.message
    assert found.hint == (
        "remove it, and link static files with url_for('static', filename=...):"
        " such a URL has a digest, and browsers store the file for a year."
    )
