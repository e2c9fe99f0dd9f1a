"""Static files with a digest in their URL, compared with plain Flask."""

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

from .wsgi import assert_not_stored
from .wsgi import assert_stored
from .wsgi import CONDITIONS
from .wsgi import environ_of
from .wsgi import fetch
from .wsgi import guarded_app
from .wsgi import VALIDATORS
from .wsgi import WireResponse

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
    app = guarded_app(tmp_path)
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


def control(response: WireResponse) -> str | None:
    return response.get("Cache-Control")


def beside_caching(response: WireResponse) -> t.Any:
    ours = {"cache-control", "etag", "last-modified", "date"}
    return response.status, {
        (n, v) for n, v in response.headers if n.lower() not in ours
    }


# without a digest


@pytest.mark.parametrize("prefix", ["", "/plain"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"If-None-Match": "*"}, 304),
        ({"If-Modified-Since": CONDITIONS["If-Modified-Since"]}, 304),
        ({"Range": "bytes=0-3"}, 206),
    ],
)
def test_static_file_is_stored_and_revalidated(
    app: NoCacheFlask, prefix: str, headers: dict[str, str], status: int
) -> None:
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 43200
    folder = Path(app.root_path, "static")
    plain = Blueprint("plain", "kit_app", url_prefix="/plain", static_folder=folder)
    app.register_blueprint(plain)

    for method in ("GET", "HEAD"):
        response = fetch(app, f"{prefix}/static/page.css", method, headers=headers)
        assert response.status == status
        validators = VALIDATORS[:1] if status == 304 else VALIDATORS
        assert_stored(response, "no-cache", validators=validators)


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

    assert fetch(app, "/p/page").body.endswith(f"?v={digest_of(CSS)}".encode())


@pytest.mark.parametrize(
    "filename",
    ["gone.css", "", "../secret", "/etc/hostname", "a\0b", "sub", "pipe", "x/\udc80"],
)
def test_link_to_a_missing_file_is_the_same_as_in_flask(
    app: NoCacheFlask, plain: Flask, style: Path, filename: str
) -> None:
    (style.parent / "sub").mkdir()
    (style.parent.parent / "secret").write_text("x")
    os.mkfifo(style.parent / "pipe")  # opening it would block

    def link_or_error(app: Flask) -> str | type[Exception]:
        try:
            return link(app, filename=filename)
        except UnicodeEncodeError as error:
            return type(error)

    assert link_or_error(app) == link_or_error(plain)


@pytest.mark.parametrize(
    ("values", "query"),
    [({"v": "7"}, "?v=7"), ({"v": None}, ""), ({"lang": "de"}, "?lang=de&v={0}")],
)
def test_link_keeps_the_arguments_of_the_caller(
    app: NoCacheFlask, values: dict[str, t.Any], query: str
) -> None:
    assert link(app, **values) == STYLE + query.format(digest_of(CSS))


def test_link_keeps_url_defaults(app: NoCacheFlask) -> None:
    @app.url_defaults
    def by_release(endpoint: str, values: dict[str, t.Any]) -> None:
        values.setdefault("v", "release-7")

    assert link(app) == f"{STYLE}?v=release-7"


def test_link_to_a_folder_that_is_set_later_has_a_digest(
    app: NoCacheFlask, tmp_path: Path
) -> None:
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "page.css").write_text("b {}")
    app.static_folder = "later"

    assert link(app) == f"{STYLE}?v={digest_of(b'b {}')}"


def test_link_to_a_view_is_the_same_as_in_flask(app: NoCacheFlask) -> None:
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
    assert control(fetch(app, url)) == YEAR


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
        response = fetch(app, f"{url}?v={digest_of(CSS)}", headers=headers)
        assert response.status == status
        assert_not_stored(response)


# the response


@pytest.mark.parametrize("endpoint", PLACES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_file_by_its_digest_is_kept_for_a_year(
    app: NoCacheFlask, plain: Flask, endpoint: str, method: str
) -> None:
    url = link(app, endpoint)
    response = fetch(app, url, method)

    assert control(response) == YEAR
    assert response.get("ETag") == f'"{digest_of(CSS)}"'
    assert response.body == (CSS if method == "GET" else b"")
    assert beside_caching(response) == beside_caching(fetch(plain, url, method))


@pytest.mark.parametrize(
    "query", ["", "?v=", "?v={0}x", "?v=0123456789abcdef", "?w={0}"]
)
@pytest.mark.parametrize("range_", [{}, {"Range": "bytes=0-3"}])
def test_file_by_another_digest_has_to_be_revalidated(
    app: NoCacheFlask, plain: Flask, query: str, range_: dict[str, str]
) -> None:
    url = STYLE + query.format(digest_of(CSS))
    response, beside = (fetch(each, url, headers=range_) for each in (app, plain))

    assert control(response) == control(beside) == "no-cache"
    for name in ("ETag", "Last-Modified"):
        assert response.get(name) == beside.get(name)
    assert beside_caching(response) == beside_caching(beside)
    assert response.body == beside.body


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
def test_file_with_credentials_or_cookie_is_private(
    app: NoCacheFlask, beside: t.Callable[[Flask], dict[str, str]]
) -> None:
    url, headers = link(app), beside(app)
    unchanged = {**headers, "If-None-Match": f'"{digest_of(CSS)}"'}

    assert control(fetch(app, url, headers=headers)) == PRIVATE_YEAR
    assert control(fetch(app, STYLE, headers=headers)) == "private, no-cache"
    response = fetch(app, url, headers=unchanged)
    assert (response.status, control(response)) == (304, PRIVATE_YEAR)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_file_that_the_client_has_is_a_304(app: NoCacheFlask, method: str) -> None:
    headers = {"If-None-Match": f'"x", "{digest_of(CSS)}"'}
    response = fetch(app, link(app), method, headers=headers)

    assert (response.status, response.body, control(response)) == (304, b"", YEAR)


def test_copy_of_a_file_of_same_time_and_size_is_not_reused(
    app: NoCacheFlask, plain: Flask, style: Path
) -> None:
    # the files of an image may have one time, so Flask's ETags are equal
    os.utime(style, (1, 1))
    old = fetch(app, f"{STYLE}?v={digest_of(b'p { color: tan }')}")
    assert control(old) == "no-cache"
    style.write_bytes(b"p { color: tan }")
    os.utime(style, (1, 1))
    assert fetch(plain, STYLE).get("ETag") == old.get("ETag")

    url = link(app)
    for name, value in (
        ("If-None-Match", old.get("ETag")),
        ("If-Modified-Since", old.get("Last-Modified")),
    ):
        response = fetch(app, url, headers={name: value})
        assert (response.status, response.body) == (200, b"p { color: tan }")
    response = fetch(
        app, url, headers={"Range": "bytes=9-", "If-Range": old.get("ETag")}
    )
    assert response.status == 200


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
    response = fetch(app, link(app), headers=headers)

    assert (response.status, control(response)) == (status, YEAR)
    assert response.body == (CSS[4:9] if status == 206 else CSS)
    assert response.get("Content-Length") == str(len(response.body))
    assert response.get("ETag") == f'"{digest_of(CSS)}"'


@pytest.mark.parametrize("query", ["", f"?v={digest_of(CSS)}"])
@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("", "GET", {}, 404),
        ("gone.css", "GET", {}, 404),
        ("gone.css", "GET", CONDITIONS, 404),
        ("../secret", "GET", {}, 404),
        ("page.css", "GET", {"Range": "bytes=999-"}, 416),
        ("page.css", "GET", {"If-Match": '"x"'}, 412),
        ("page.css", "POST", {}, 405),
        ("page.css", "OPTIONS", {}, 200),
    ],
)
def test_file_that_is_not_sent_is_not_stored(
    app: NoCacheFlask,
    path: str,
    method: str,
    headers: dict[str, str],
    status: int,
    query: str,
) -> None:
    Path(app.root_path, "secret").write_bytes(CSS)
    response = fetch(app, f"/static/{path}{query}", method, headers=headers)
    gc.collect()  # a file that stays open is a warning, and so an error

    assert response.status == status
    assert_not_stored(response)


def test_file_that_something_else_sends_is_no_cache(app: NoCacheFlask) -> None:
    # the server opens it later, when the file may be another one
    app.config["USE_X_SENDFILE"] = True
    assert control(fetch(app, link(app))) == "no-cache"


def test_view_of_the_app_ignores_a_digest(app: NoCacheFlask) -> None:
    decorate: t.Any = nocache
    app.get("/own")(decorate(lambda: send_file("static/page.css")))

    assert_not_stored(fetch(app, f"/own?v={digest_of(CSS)}"))


def test_file_after_a_nocache_is_not_stored(app: NoCacheFlask) -> None:
    decorate: t.Any = nocache
    app.before_request(decorate(lambda: None))

    assert_not_stored(fetch(app, link(app)))


def test_response_of_another_view_is_not_stored(app: NoCacheFlask) -> None:
    @app.before_request
    def sign_in() -> str | None:
        return None if request.path == "/" else "sign in"

    assert_not_stored(fetch(app, f"{STYLE}?v={digest_of(CSS)}"))


def test_file_wrapper_is_restored_after_the_view(app: NoCacheFlask) -> None:
    environs: list[dict[str, t.Any]] = []
    environ = environ_of(link(app), headers={"Range": "bytes=0-3"})
    app.teardown_request(lambda error: environs.append(dict(request.environ)))
    for key in (None, FileWrapper):
        environ_ = environ | ({"wsgi.file_wrapper": key} if key else {})
        body = t.cast(t.Any, app(environ_, lambda *args: print))
        b"".join(body)
        body.close()

    wrappers = [environ.get("wsgi.file_wrapper") for environ in environs]
    assert wrappers == [None, FileWrapper]
    assert {environ["HTTP_RANGE"] for environ in environs} == {"bytes=0-3"}


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
    assert control(fetch(app, old)) == YEAR

    change(style, content)

    assert link(app).endswith(digest_of(content))
    assert control(fetch(app, link(app))) == YEAR
    response = fetch(app, old)
    assert (control(response), response.body) == ("no-cache", content)


def test_digest_is_computed_once(
    app: NoCacheFlask, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    intact, later = hashlib.file_digest, time.time_ns() + 60_000_000_000

    def count(file: t.Any, name: str) -> t.Any:
        read.append(file.name)
        return intact(file, name)

    monkeypatch.setattr(hashlib, "file_digest", count)
    link(app), link(app)
    # a second write in the same moment could have the same time
    assert len(read) == 2

    monkeypatch.setattr(time, "time_ns", lambda: later)
    for _ in range(3):
        assert control(fetch(app, link(app))) == YEAR
    assert len(read) == 3

    replace(style, b"b {}")
    assert link(app).endswith(digest_of(b"b {}"))
    assert len(read) == 4


def test_number_of_digests_in_memory_is_limited(
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
    assert control(fetch(app, url)) == "no-cache"


def test_file_replaced_before_it_is_opened_is_no_cache(
    app: NoCacheFlask, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = link(app)
    app.before_request(lambda: replace(style, b"b {}"))

    response = fetch(app, url)

    assert (control(response), response.body) == ("no-cache", b"b {}")


def test_file_replaced_after_it_was_opened_is_sent_as_it_was(
    app: NoCacheFlask, style: Path
) -> None:
    url = link(app)

    @app.after_request
    def deploy(response: Response) -> Response:
        replace(style, b"b {}")
        return response

    response = fetch(app, url)

    assert (control(response), response.body) == (YEAR, CSS)


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=10-299999"}])
def test_file_rewritten_while_it_is_sent_aborts_the_response(
    app: NoCacheFlask, style: Path, headers: dict[str, str]
) -> None:
    style.write_bytes(b"a" * 300_000)
    starts: list[t.Any] = []

    def start_response(*arguments: t.Any) -> t.Any:
        starts.append(arguments)

    body = app(environ_of(link(app), headers=headers), start_response)
    chunks = iter(body)
    text = len(next(chunks))
    assert dict(starts[0][1])["Cache-Control"] == YEAR

    style.write_bytes(b"b" * 300_000)

    with pytest.raises(RuntimeError, match=r"page\.css' changed while it was sent"):
        for chunk in chunks:
            text += len(chunk)
    t.cast(t.Any, body).close()
    # shorter, so that no cache takes it for complete
    assert text < int(dict(starts[0][1])["Content-Length"])


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 300_000])
def test_file_of_any_size_is_sent_whole(
    app: NoCacheFlask, style: Path, size: int
) -> None:
    content = os.urandom(size)
    style.write_bytes(content)

    response = fetch(app, link(app))

    assert (control(response), response.body) == (YEAR, content)
    gc.collect()


def test_instances_of_two_releases_do_not_mix_their_files(tmp_path: Path) -> None:
    contents = {"old": CSS, "new": b"p { color: tan }"}
    apps: dict[str, NoCacheFlask] = {}
    for name, content in contents.items():
        (tmp_path / name).mkdir()
        apps[name] = guarded_app(tmp_path / name)
        style = tmp_path / name / "static" / "page.css"
        style.write_bytes(content)
        os.utime(style, (1, 1))

    for link_or_error, other in (("old", "new"), ("new", "old")):
        url = link(apps[link_or_error])
        right, wrong = fetch(apps[link_or_error], url), fetch(apps[other], url)
        assert (control(right), right.body) == (YEAR, contents[link_or_error])
        assert (control(wrong), wrong.body) == ("no-cache", contents[other])
        # a stored file of one release is never reused for the other
        for app, storable_, status in (
            (apps[link_or_error], wrong, 200),
            (apps[other], right, 200),
            (apps[link_or_error], right, 304),
        ):
            headers = {"If-None-Match": storable_.get("ETag")}
            assert fetch(app, url, headers=headers).status == status


# the audit


def test_routes_list_both_policies(app: NoCacheFlask) -> None:
    policies = {r.endpoint: str(r) for r in routes(app)}

    assert policies["static"] == (
        "static GET /static/<path:filename>"
        f" -> no-cache; {YEAR} with its digest: Flask's static files"
    )
    assert audit_ids(app) == {"NC010"}
    assert drive(app) == []


@pytest.mark.parametrize(
    ("text", "is_policy"),
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
    app: NoCacheFlask, text: str, is_policy: bool
) -> None:
    policy = next(r.policy for r in routes(app) if r.endpoint == "static")
    headers = [("Cache-Control", text), ("ETag", '"x"')]

    assert bool(storable("GET", 200, headers, policy)) != is_policy
    assert storable("POST", 200, headers, policy)
    cookie = [*headers, ("Set-Cookie", "a=1")]
    assert bool(storable("GET", 200, cookie, policy)) != text.startswith("private, ")


def audit_ids(app: Flask) -> set[str]:
    return {f.id for f in audit_app(app)}


@pytest.mark.parametrize("value", [0, 43200])
def test_maximum_age_of_the_configuration_is_a_finding(
    app: NoCacheFlask, value: int
) -> None:
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = value

    (finding,) = (f for f in audit_app(app) if f.id == "NC007")

    assert "'SEND_FILE_MAX_AGE_DEFAULT'" in finding.message
    assert finding.hint == (
        "remove it, and link static files with url_for('static', filename=...):"
        " such a URL has a digest, and browsers store the file for a year."
    )
