from __future__ import annotations

import re
import socket
import sys
import threading
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from random import random
from socketserver import ThreadingMixIn
from wsgiref.simple_server import make_server
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.simple_server import WSGIServer

import pytest
import urllib3
from flask import Flask
from flask import redirect
from flask import request
from flask.testing import FlaskCliRunner
from nocache import ApiBlueprint
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from nocache.audit.client import Service
from nocache.audit.probe import plan
from nocache.audit.wire import check_app
from werkzeug.routing import BaseConverter
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Response

WSGI = Callable[..., t.Any]


class Threading(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def serve(app: WSGI) -> Iterator[str]:
    with make_server("127.0.0.1", 0, app, Threading, Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def cache(app: WSGI, fields: dict[str, str], with_query: bool = True) -> WSGI:
    """Store every response to GET and reuse it, despite its header fields."""
    store: dict[str, Response] = {}

    def pass_through(environ: dict[str, t.Any], start_response: WSGI) -> t.Any:
        query = environ["QUERY_STRING"] if with_query else ""
        key = f"{environ['PATH_INFO']}?{query}"
        if environ["REQUEST_METHOD"] == "GET" and key in store:
            response = deepcopy(store[key])
            response.headers.update(fields)
        else:
            chunks, status, headers = run_wsgi_app(app, environ)
            response = Response(b"".join(chunks), status, headers)
            if environ["REQUEST_METHOD"] == "GET":
                store[key] = deepcopy(response)
        return response(environ, start_response)

    return pass_through


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.chdir(tmp_path)
    app = NoCacheFlask("kit_app")
    add_routes(app)
    return app


def add_routes(app: Flask) -> None:
    api = ApiBlueprint("api", __name__, url_prefix="/api")
    app.extensions.setdefault("nocache", set())

    @api.route("/items", methods=["GET", "POST"])
    def items() -> dict[str, t.Any]:
        return {"items": []}

    @api.get("/items/<int:id>")
    def item(id: int) -> t.Any:
        return ({"id": id}, 200) if id < 9 else ({}, 404)

    app.register_blueprint(api)

    @app.get("/countries")
    @cacheable(max_age=60, public=True, reason="a test")
    def countries() -> str:
        return "countries"

    @app.get("/elsewhere")
    def elsewhere() -> t.Any:
        return redirect("http://127.0.0.1:9/nowhere")


@pytest.fixture
def arrivals(app: Flask) -> list[tuple[str, str, dict[str, str]]]:
    """The requests that reach the app: method, target and headers."""
    requests = []

    @app.before_request
    def record() -> None:
        target = request.full_path.rstrip("?")
        requests.append((request.method, target, dict(request.headers)))

    return requests


@pytest.fixture
def probe(runner: FlaskCliRunner) -> Callable[..., t.Any]:
    def probe(url: str, *options: str) -> t.Any:
        return runner.invoke(args=["nocache", "probe", url, *options])

    return probe


def test_guarded_app_has_no_findings(app: Flask, probe: t.Any) -> None:
    with serve(app) as url:
        result = probe(url)
    assert (result.exit_code, result.output) == (0, "")


def test_plain_app_has_a_finding_for_every_exit(probe: t.Any) -> None:
    plain = Flask("kit_app")
    add_routes(plain)
    with serve(plain) as url:
        result = probe(url)
    assert result.exit_code == 1
    for subject in (
        "GET /api/items",
        "HEAD /api/items",
        "OPTIONS /api/items",
        "GET /api/items/",
        "GET /api/items/1",
        "GET /api/no-such-path",
        "GET /no-such-path",
        "GET /elsewhere",
    ):
        fact = f"'{subject}' may be stored: Cache-Control is missing."
        assert fact in result.stdout, subject
    assert f"{Path(__file__).name}:" in result.stdout


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ({"Age": "1"}, "a cache kept a copy, Age is '1'"),
        ({"X-Cache": "HIT"}, "a cache kept a copy, X-Cache is 'HIT'"),
        ({"X-Cache": "RefreshHit from cloudfront"}, "X-Cache is 'RefreshHit"),
        ({"X-Cache": "TCP_HIT from a"}, "X-Cache is 'TCP_HIT"),
        ({"X-Cache-Hits": "0, 1"}, "X-Cache-Hits is '0, 1'"),
        ({"X-Cache-Status": "STALE"}, "X-Cache-Status is 'STALE'"),
        ({"CF-Cache-Status": "REVALIDATED"}, "CF-Cache-Status is 'REVALIDATED'"),
        ({"Cache-Status": "edge; hit; ttl=3"}, "Cache-Status is 'edge; hit; ttl=3'"),
        ({"Cache-Status": "edge; fwd=miss; stored"}, "Cache-Status is 'edge; fwd"),
        ({"X-Varnish": "32770 3"}, "X-Varnish is '32770 3'"),
        ({"X-Cache": "HIT", "Via": "1.1 edge"}, "'HIT', via '1.1 edge'"),
        ({"X-Cache": "HIT", "X-Served-By": "cache-1"}, "'HIT', via 'cache-1'"),
    ],
)
def test_copy_of_a_cache_is_a_finding(
    app: Flask, probe: t.Any, fields: dict[str, str], fact: str
) -> None:
    with serve(cache(app, fields)) as url:
        result = probe(url)
    assert result.exit_code == 1
    lines = [line for line in result.stdout.splitlines() if "NC008" in line]
    assert all(fact in line for line in lines), result.stdout
    subjects = {line.split("'")[1] for line in lines}
    assert subjects >= {"GET /api/items", "GET /api/items/1", "GET /api/no-such-path"}
    assert "GET /countries" not in subjects


@pytest.mark.parametrize(
    "fields",
    [
        {"X-Cache": "MISS from edge"},
        {"X-Cache": "whit"},
        {"X-Cache-Hits": "0"},
        {"CF-Cache-Status": "DYNAMIC"},
        {"Cache-Status": "edge; fwd=bypass"},
        {"X-Varnish": "32770"},
        {"Via": "1.1 edge", "X-Served-By": "cache-1"},
    ],
)
def test_cache_without_a_copy_is_no_finding(
    app: Flask, probe: t.Any, fields: dict[str, str]
) -> None:
    with serve(cache(app, fields)) as url:
        result = probe(url)
    assert (result.exit_code, result.output) == (0, "")


def test_copy_is_a_finding_where_the_cache_ignores_the_query(
    app: Flask, probe: t.Any, arrivals: list[t.Any]
) -> None:
    with serve(cache(app, {"Age": "1"}, with_query=False)) as url:
        assert probe(url).exit_code == 1
    assert len([h for h in arrivals if h[:2] == ("GET", "/api/items")]) == 1


def test_each_path_is_requested_twice_without_and_twice_with_a_marker(
    app: Flask, probe: t.Any, arrivals: list[t.Any]
) -> None:
    with serve(app) as url:
        probe(url)
        probe(url)
    plain = [h for h in arrivals if h[:2] == ("GET", "/api/items")]
    targets = [h[1] for h in arrivals if h[1].startswith("/api/items?nocache-probe=")]
    # twice each and the conditional one
    assert len(plain) == 2 * 3
    assert sorted(targets.count(target) for target in set(targets)) == [2, 2]


def test_only_reading_methods_are_sent(
    app: Flask, probe: t.Any, arrivals: list[t.Any]
) -> None:
    with serve(app) as url:
        probe(url)
    assert {method for method, *_ in arrivals} == {"GET", "HEAD", "OPTIONS"}


def test_unsafe_sends_the_methods_of_the_routes(
    app: Flask, probe: t.Any, arrivals: list[t.Any]
) -> None:
    with serve(app) as url:
        assert probe(url, "--unsafe").exit_code == 0
    posts = {h[1] for h in arrivals if h[0] == "POST"}
    # and one to a route without POST, because a 405 may be stored too
    assert {"/api/items", "/api/items/1", "/countries"} <= posts


def test_path_of_the_url_precedes_every_route(
    app: Flask, probe: t.Any, arrivals: list[t.Any]
) -> None:
    with serve(app) as url:
        probe(f"{url}/shop/")
    assert arrivals
    assert all(target.startswith("/shop/") for _, target, _ in arrivals)


def test_arguments_fill_the_rules(
    app: Flask, probe: t.Any, arrivals: list[t.Any]
) -> None:
    with serve(app) as url:
        assert probe(url, "--arg", "id=42").exit_code == 0
    assert any(target == "/api/items/42" for _, target, _ in arrivals)


def test_argument_that_no_sample_fits_is_named(app: Flask, probe: t.Any) -> None:
    app.url_map.converters["odd"] = type("Odd", (BaseConverter,), {"regex": "[.]{3}"})
    app.add_url_rule("/odd/<odd:dots>", "odd", lambda dots: "x")
    with serve(app) as url:
        result = probe(url)
        assert result.exit_code == 2
        assert "No sample fits 'dots' of the rule '/odd/<odd:dots>'." in result.stderr
        assert "or --arg dots=... to the probe." in result.stderr
        assert probe(url, "--arg", "dots=...").exit_code == 0


def test_redirects_are_not_followed(
    app: Flask, probe: t.Any, arrivals: list[t.Any]
) -> None:
    # no server listens at its target
    with serve(app) as url:
        assert probe(url).exit_code == 0
    assert any(target == "/elsewhere" for _, target, _ in arrivals)


def test_only_the_headers_of_the_user_are_sent(
    app: Flask,
    probe: t.Any,
    arrivals: list[t.Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serve(app) as url:
        assert probe(url).exit_code == 0
        # storable responses are requested with forged fields too
        assert {
            target.partition("?")[0]
            for _, target, headers in arrivals
            if "Authorization" in headers
        } == {"/countries"}
        assert all(
            headers["User-Agent"].startswith("nocache-probe/")
            for *_, headers in arrivals
        )
        arrivals.clear()
        probe(url, "--header", "authorization: Bearer x", "--header", "User-Agent: me")
    credentials = {
        h["Authorization"] for _, target, h in arrivals if "/countries" not in target
    }
    assert credentials == {"Bearer x"}
    assert {headers["User-Agent"] for *_, headers in arrivals} == {"me"}


@pytest.mark.parametrize(
    ("url", "fact"),
    [
        ("http://me:secret@127.0.0.1:9", "The URL has credentials"),
        ("http://me@127.0.0.1:9", "The URL has credentials"),
        ("ftp://127.0.0.1", "'ftp://127.0.0.1' is not an http or https URL."),
        ("127.0.0.1:9", "'127.0.0.1:9' is not an http or https URL."),
        ("http://127.0.0.1:9/?a=b", "has a query or a fragment."),
    ],
)
def test_unfit_urls_are_refused(probe: t.Any, url: str, fact: str) -> None:
    result = probe(url)
    assert result.exit_code == 2
    assert fact in result.stderr
    assert "secret" not in result.stderr


@pytest.mark.parametrize("header", ["nothing", "a b: c", ": c"])
def test_unfit_headers_are_refused(probe: t.Any, header: str) -> None:
    result = probe("http://127.0.0.1:9", "--header", header)
    assert result.exit_code == 2
    assert f"{header!r} is not a header" in result.stderr


def test_unreachable_host_exits_2(probe: t.Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        result = probe(url)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: '{url}' cannot be reached: ")
    assert "Connection refused" in result.stderr


def test_silent_host_exits_2_after_the_timeout(probe: t.Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = probe(url, "--timeout", "0.1")
    assert result.exit_code == 2
    assert "timed out" in result.stderr


def test_endless_body_does_not_stop_the_probe(app: Flask, probe: t.Any) -> None:
    stop = threading.Event()

    @app.get("/endless")
    def endless() -> t.Any:
        def body() -> Iterator[bytes]:
            yield b"x"
            stop.wait(10)

        return body()

    with serve(app) as url:
        result = probe(url, "--timeout", "0.2")
        stop.set()
    assert (result.exit_code, result.output) == (0, "")


def test_missing_urllib3_is_an_error_with_the_command(
    probe: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "urllib3", None)
    result = probe("http://127.0.0.1:9")
    assert result.exit_code == 2
    assert "urllib3 is not installed. Run: pip install 'urllib3>=2'" in result.stderr


def test_formats_and_output_are_the_same_as_in_the_audit(
    app: Flask, probe: t.Any, tmp_path: Path
) -> None:
    with serve(cache(app, {"Age": "1"})) as url:
        result = probe(url, "--format", "github", "--output", "findings.txt")
    assert (result.exit_code, result.output) == (1, "")
    assert "title=NC008 storable-response::" in (tmp_path / "findings.txt").read_text()


# the requests that the wire test sends


def test_plan_has_every_request_of_the_wire_test(
    app: Flask, arrivals: list[t.Any]
) -> None:
    check_app(app)
    # the wire test also makes views raise, which a probe cannot
    of_wire_test = {
        (method, target.partition("?")[0]) for method, target, _ in arrivals
    }
    service = Service("http://127.0.0.1:9", [], 1)
    planned = plan(app, service, {}, unsafe=True)

    assert of_wire_test <= {(request.method, request.path) for request in planned}


# responses that shared caches may store


def public_page(app: Flask, view: Callable[[], t.Any]) -> None:
    declare: t.Any = cacheable(max_age=60, public=True, reason="a test")
    app.add_url_rule("/page", "page", declare(view))


def test_nc012_unkeyed(app: Flask, probe: t.Any) -> None:
    public_page(app, lambda: request.headers.get("X-Forwarded-Host", "none"))
    with serve(app) as url:
        result = probe(url)
    assert result.exit_code == 1
    assert (
        "NC012 depends-on-unkeyed-input: 'GET /page' may be shared, but its body"
        " changes with X-Forwarded-Host, which its Vary does not name."
    ) in result.stdout
    assert result.stdout.count("hint:") == 1


def test_nc012_in_a_page_that_shows_its_address(app: Flask, probe: t.Any) -> None:
    """The query of the probe is no change."""
    app.config["TRUSTED_HOSTS"] = ["127.0.0.1"]
    public_page(app, lambda: f"{request.url} {request.headers.get('Origin')}")
    with serve(app) as url:
        result = probe(url)
    assert "changes with Origin" in result.stdout
    assert result.stdout.count("NC0") == 1


def test_nc012_behind_a_cache_that_keys_by_the_url(app: Flask, probe: t.Any) -> None:
    """No copy hides the change, and the probe adds none to those of the service."""
    public_page(app, lambda: request.headers.get("X-Forwarded-Host", "none"))
    with serve(cache(app, {})) as url:
        result = probe(url)
        page = urllib3.request("GET", f"{url}/page", headers={})
    assert "changes with X-Forwarded-Host" in result.stdout
    assert page.data == b"none"


@pytest.mark.parametrize(
    "view",
    [
        lambda: str(random()),
        # shows the query of the probe
        lambda: request.url,
        lambda: "the same",
    ],
    ids=["random", "query", "constant"],
)
def test_nc012_noop(app: Flask, probe: t.Any, view: t.Any) -> None:
    app.config["TRUSTED_HOSTS"] = ["127.0.0.1"]
    public_page(app, view)
    with serve(app) as url:
        result = probe(url)
    assert (result.exit_code, result.output) == (0, "")


def test_nc012_of_the_edge_noop(app: Flask, probe: t.Any) -> None:
    """The edge responds itself to a host that it does not know."""
    public_page(app, lambda: "page")

    def edge(environ: dict[str, t.Any], start_response: WSGI) -> t.Any:
        if not environ["HTTP_HOST"].startswith("127.0.0.1"):
            response = Response("not here", 200, {"Cache-Control": "public"})
            return response(environ, start_response)
        return app(environ, start_response)

    with serve(edge) as url:
        result = probe(url)
    assert (result.exit_code, result.output) == (0, "")


def test_copy_of_a_private_response_is_a_finding(app: Flask, probe: t.Any) -> None:
    declare: t.Any = cacheable(max_age=60, reason="a test")
    app.add_url_rule("/mine", "mine", declare(lambda: "mine"))
    with serve(cache(app, {"X-Cache": "HIT"})) as url:
        result = probe(url)
    assert "'GET /mine' may be stored: a cache kept a copy" in result.stdout


# names like those of static files


def by_name(app: WSGI, looks_static: str) -> WSGI:
    """Store responses by their names, despite their header fields."""
    stores = cache(app, {"X-Cache": "HIT"})

    def edge(environ: dict[str, t.Any], start_response: WSGI) -> t.Any:
        target = environ["REQUEST_URI"] if "REQUEST_URI" in environ else ""
        path = target or environ["PATH_INFO"]
        chosen = stores if re.search(looks_static, path) else app
        return chosen(environ, start_response)

    return edge


def nc015(output: str) -> dict[str, str]:
    """Return the names in each NC015, by its route."""
    lines = re.findall(r"NC015 cache-deception: '(.+?)' .*?: (.+?) \(a cache", output)
    assert output.count("NC0") == len(lines), output
    return dict(lines)


def test_nc015_by_extension(app: Flask, probe: t.Any) -> None:
    app.add_url_rule("/users/<name>", "user", nocache(lambda name: name))
    with serve(by_name(app, r"\.css$")) as url:
        result = probe(url, "--arg", "name=alice")
    names = nc015(result.stdout)
    ends = "/x.css, ;x.css, %3bx.css, %2fx.css, %00x.css, %23x.css, %3fx.css"
    assert names["GET /api/items"] == ends
    assert names["GET /users/<name>"] == f"{ends}, alice.css"


@pytest.mark.parametrize("extension", ["css", "js", "json"])
def test_nc015_by_the_extension_of_an_argument(
    app: Flask, probe: t.Any, extension: str
) -> None:
    app.add_url_rule("/users/<name>", "user", nocache(lambda name: name))
    with serve(by_name(app, rf"/users/\w+\.{extension}$")) as url:
        result = probe(url, "--arg", "name=alice")
    assert nc015(result.stdout) == {"GET /users/<name>": f"alice.{extension}"}


def test_nc015_by_directory(app: Flask, probe: t.Any) -> None:
    with serve(by_name(app, r"^/static/\.\.")) as url:
        result = probe(url)
    assert set(nc015(result.stdout).values()) == {"/static/..%2f"}


def test_nc015_cache_without_a_sign(app: Flask, probe: t.Any) -> None:
    @app.after_request
    def send_id(response: t.Any) -> t.Any:
        response.headers["X-Request-ID"] = request.headers["X-Request-ID"]
        return response

    with serve(cache(app, {})) as url:
        result = probe(url)
    assert "NC015 cache-deception: 'GET /api/items'" in result.stdout


def test_nc015_public_response_noop(app: Flask, probe: t.Any) -> None:
    declare: t.Any = cacheable(max_age=60, public=True, reason="a test")
    app.add_url_rule("/files/<path:name>", "file", declare(lambda name: name))
    with serve(by_name(app, "^/files/")) as url:
        result = probe(url)
    assert (result.exit_code, result.output) == (0, "")


def test_nc015_names_are_new_each_time(
    app: Flask, probe: t.Any, arrivals: list[t.Any]
) -> None:
    with serve(app) as url:
        probe(url)
        probe(url)
    names = re.findall(r"/api/items/(\w+)\.css", " ".join(h[1] for h in arrivals))
    assert len(set(names)) == 2
    assert names.count(names[0]) > 1
