from __future__ import annotations

import functools
import re
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
import sentry_sdk
from apiflask import APIBlueprint
from apiflask import APIFlask
from conftest import ROOT
from flask import Flask
from flask import request
from flask import Response
from flask.views import MethodView
from flask_caching import Cache
from flask_compress import Compress
from flask_cors import CORS
from flask_limiter import Limiter
from flask_login import login_required
from flask_login import login_user
from flask_login import LoginManager
from flask_login import UserMixin
from flask_restful import Api as RestfulApi
from flask_restful import Resource as RestfulResource
from flask_restx import Api as RestxApi
from flask_restx import Resource as RestxResource
from flask_smorest import Api as SmorestApi
from flask_smorest import Blueprint as SmorestBlueprint
from flask_sock import Sock
from flask_socketio import SocketIO
from flask_talisman import Talisman
from nocache import ApiBlueprint
from nocache import audit_app
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from nocache import routes
from nocache.audit.wire import check_app
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.flask import FlaskIntegration
from sentry_sdk.transport import Transport
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.middleware.shared_data import SharedDataMiddleware
from whitenoise import WhiteNoise

from .conversations import SOCKETIO
from .conversations import talk
from .wsgi import App
from .wsgi import assert_not_stored
from .wsgi import CONDITIONS
from .wsgi import fetch
from .wsgi import leaks
from .wsgi import receive
from .wsgi import serve
from .wsgi import WireResponse

HOUR = cacheable(max_age=3600, public=True, reason="changes yearly; #412")
PRIVATE = cacheable(max_age=3600, reason="the client's own copy")
DOCS = ROOT / "docs"
TABLE = DOCS / "works-with.md"
LOCKED = ROOT / "requirements-dev.txt"
# packages that Flask requires have no line of their own there
WERKZEUG = {"proxyfix", "shareddatamiddleware"}

Build = Callable[[Flask], object]


def key(extension: str) -> str:
    return extension.lower().removeprefix("flask-").replace("-", "")


def extension_names() -> set[str]:
    names = (name.split("_")[1] for name in globals() if name.startswith("test_"))
    return set(names) - {"table"}


def test_table_has_a_row_for_each_tested_extension() -> None:
    rows = re.findall(r"^\| (\w[\w-]*) \|", TABLE.read_text("utf-8"), re.MULTILINE)
    rows.remove("extension")
    assert {key(row) for row in rows} == extension_names()
    locked = {key(n) for n in re.findall(r"(?m)^([\w-]+)==", LOCKED.read_text("utf-8"))}
    assert extension_names() - WERKZEUG <= locked


def unguarded(build: Build) -> Flask:
    return set_up(Flask(__name__), build)


def guarded(build: Build) -> NoCacheFlask:
    # a folder without source for the audit
    app = NoCacheFlask(__name__, root_path=str(DOCS))
    set_up(app, build)
    return app


def set_up(app: Flask, build: Build) -> Flask:
    app.config.update(PROPAGATE_EXCEPTIONS=False, SECRET_KEY="x")
    app.logger.disabled = True
    build(app)
    return app


def naive(app: Flask) -> None:
    """Add the field by a hook, as an app without the kit would."""

    @app.after_request
    def no_store(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        return response


def raising(app: Flask) -> None:
    @app.after_request
    def fail(response: Response) -> Response:
        raise RuntimeError("hook")


def assert_leaks_only_unguarded(
    build: Build, *args: t.Any, **kwargs: t.Any
) -> WireResponse:
    """Assert that a response is storable without the guard, and not with it."""
    assert leaks(fetch(unguarded(build), *args, **kwargs))
    response = fetch(guarded(build), *args, **kwargs)
    assert_not_stored(response)
    return response


def policies(app: Flask) -> dict[str, str]:
    return {route.rule: route.policy for route in routes(app)}


def ids(app: Flask) -> set[tuple[str, str]]:
    """Return the ids and subjects of findings, without the policy file and the kit."""
    subjects = {(f.id, f.message.partition(" ")[0]) for f in audit_app(app)}
    return {(id, subject) for id, subject in subjects if id not in ("NC010", "NC011")}


class Items(RestxResource):  # type: ignore[misc]
    def get(self) -> dict[str, list[str]]:
        return {"items": []}


class RestfulItems(RestfulResource):  # type: ignore[misc]
    def get(self) -> dict[str, list[str]]:
        return {"items": []}


# Flask-RESTX replaces handle_exception: no hook runs after a hook that raises


def test_restx_response_to_a_raising_hook_is_no_store() -> None:
    def build(app: Flask) -> None:
        naive(app)
        raising(app)
        RestxApi(app).add_resource(Items, "/items")

    response = assert_leaks_only_unguarded(build, "/items")
    assert response.status == 500
    assert response.get("Content-Type") == "application/json"


@pytest.mark.parametrize("path", ["/api/items", "/api/", "/api/swagger.json", "/api/x"])
def test_restx_api_on_an_api_blueprint_is_declared(path: str) -> None:
    def build(app: Flask) -> None:
        bp = ApiBlueprint("api", __name__, url_prefix="/api")
        RestxApi(bp).add_resource(Items, "/items")
        app.register_blueprint(bp)

    app = guarded(build)
    assert_not_stored(fetch(app, path, headers=CONDITIONS))
    rules = policies(app)
    assert {rules[r] for r in rules if r.startswith("/api")} == {"no-store"}
    assert ids(app) == set()
    assert check_app(app) == []


def test_restx_api_on_an_app_is_declared_by_its_decorators() -> None:
    app = guarded(
        lambda app: RestxApi(app, decorators=[nocache]).add_resource(Items, "/items")
    )
    assert policies(app)["/items"] == "no-store"
    # its own two pages take no decorators
    assert ids(app) == {("NC001", "'doc'"), ("NC001", "'root'")}


def test_restx_resource_can_be_cacheable() -> None:
    app = guarded(
        lambda app: RestxApi(app, decorators=[HOUR]).add_resource(Items, "/items")
    )
    response = fetch(app, "/items")
    assert (
        response.get("Cache-Control")
        == policies(app)["/items"]
        == "public, max-age=3600"
    )
    assert_not_stored(fetch(app, "/items", "POST"))


# Flask-RESTful replaces handle_exception too


def test_restful_response_to_a_raising_hook_is_no_store() -> None:
    def build(app: Flask) -> None:
        naive(app)
        raising(app)
        RestfulApi(app).add_resource(RestfulItems, "/items")

    response = assert_leaks_only_unguarded(build, "/items")
    assert response.status == 500


def test_restful_api_on_an_api_blueprint_is_declared() -> None:
    def build(app: Flask) -> None:
        bp = ApiBlueprint("api", __name__, url_prefix="/api")
        RestfulApi(bp).add_resource(RestfulItems, "/items")
        app.register_blueprint(bp)

    app = guarded(build)
    assert policies(app)["/api/items"] == "no-store"
    assert ids(app) == set()
    assert check_app(app) == []


def test_restful_api_on_an_app_is_declared_by_its_decorators() -> None:
    app = guarded(
        lambda app: RestfulApi(app, decorators=[nocache]).add_resource(
            RestfulItems, "/items"
        )
    )
    assert ids(app) == set()
    assert check_app(app) == []


# flask-smorest sends a 304 itself where If-None-Match matches


class ApiBlueprintOfSmorest(ApiBlueprint, SmorestBlueprint):  # type: ignore[misc]
    pass


def smorest(app: Flask, blueprint: t.Any, *decorators: t.Any) -> None:
    class Item(MethodView):
        @blueprint.etag  # type: ignore[untyped-decorator]
        @blueprint.response(200)  # type: ignore[untyped-decorator]
        def get(self) -> dict[str, str]:
            blueprint.set_etag({"name": "a"})
            return {"name": "a"}

        @blueprint.etag  # type: ignore[untyped-decorator]
        @blueprint.response(200)  # type: ignore[untyped-decorator]
        def put(self) -> dict[str, str]:
            blueprint.check_etag({"name": "a"})
            return {"name": "b"}

    Item.decorators = list(decorators)
    blueprint.route("/item")(Item)
    app.config.update(API_TITLE="x", API_VERSION="1", OPENAPI_VERSION="3.0.2")
    SmorestApi(app).register_blueprint(blueprint)


def on_smorest(kind: type[SmorestBlueprint], *decorators: t.Any) -> Build:
    return lambda app: smorest(app, kind("items", __name__), *decorators)


def test_smorest_304_is_not_sent() -> None:
    etag = fetch(unguarded(on_smorest(SmorestBlueprint)), "/item").get("ETag")
    condition = {"If-None-Match": etag}
    control = fetch(unguarded(on_smorest(SmorestBlueprint)), "/item", headers=condition)
    assert control.status == 304
    response = fetch(
        guarded(on_smorest(ApiBlueprintOfSmorest)), "/item", headers=condition
    )
    assert response.status == 200
    assert_not_stored(response)


def test_smorest_blueprint_combined_with_an_api_blueprint_is_declared() -> None:
    app = guarded(on_smorest(ApiBlueprintOfSmorest))
    assert policies(app)["/item"] == "no-store"
    assert ids(app) == set()
    assert check_app(app) == []


def test_smorest_if_match_works_where_the_etag_is_kept() -> None:
    app = guarded(on_smorest(ApiBlueprintOfSmorest, nocache(etag=True)))
    response = fetch(app, "/item")
    etag = response.get("ETag")
    assert etag is not None
    assert_not_stored(response, beside=[("ETag", etag)])
    for match, status in (etag, 200), ('"x"', 412):
        response = fetch(app, "/item", "PUT", headers={"If-Match": match}, json={})
        assert response.status == status


# APIFlask is a subclass of Flask too


class GuardedAPIFlask(NoCacheFlask, APIFlask):
    pass


class ApiBlueprintOfAPIFlask(ApiBlueprint, APIBlueprint):
    pass


def apiflask(kind: type[APIFlask], blueprint: type[APIBlueprint]) -> APIFlask:
    app = kind(__name__, docs_path=None, root_path=str(DOCS))
    bp = blueprint("api", __name__, url_prefix="/api")

    @bp.get("/items")
    @bp.output({})
    def items() -> dict[str, str]:
        return {}

    app.register_blueprint(bp)
    return app


@pytest.mark.parametrize("path", ["/api/items", "/openapi.json", "/api/no-such-path"])
def test_apiflask_combined_with_the_guard_is_no_store(path: str) -> None:
    assert leaks(fetch(apiflask(APIFlask, APIBlueprint), path))
    app = apiflask(GuardedAPIFlask, ApiBlueprintOfAPIFlask)
    assert_not_stored(fetch(app, path, headers=CONDITIONS))


def test_apiflask_combined_with_the_guard_is_audited() -> None:
    app = apiflask(GuardedAPIFlask, ApiBlueprintOfAPIFlask)
    assert b'"/api/items"' in fetch(app, "/openapi.json").body
    assert policies(app)["/api/items"] == "no-store"
    assert ids(app) == {("NC001", "'openapi.spec'")}
    assert check_app(app) == []


# Flask-Caching stores responses in the server, where no field applies


def add_cached_view(app: Flask, *above: t.Any, below: t.Any = None) -> None:
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})

    def view() -> str:
        return request.headers["X-User"]

    for decorate in (below, cache.cached(timeout=60), *above):
        view = decorate(view) if decorate else view
    app.add_url_rule("/me", view_func=view, endpoint="me")


def test_caching_of_a_no_store_view_is_a_finding() -> None:
    app = guarded(lambda app: add_cached_view(app, nocache))
    assert ids(app) == {("NC009", "'me'")}
    # the header fields are right, but Bob gets the response for Alice
    fetch(app, "/me", headers={"X-User": "alice"})
    response = fetch(app, "/me", headers={"X-User": "bob"})
    assert response.body == b"alice"
    assert_not_stored(response)


def test_caching_below_cacheable_is_stored() -> None:
    app = guarded(lambda app: add_cached_view(app, HOUR))
    assert ids(app) == set()
    for _ in range(2):
        response = fetch(app, "/me", headers={"X-User": "alice"})
        assert response.get("Cache-Control") == "public, max-age=3600"


def test_caching_above_cacheable_does_not_replay_its_permit() -> None:
    app = guarded(lambda app: add_cached_view(app, below=HOUR))
    fetch(app, "/me", headers={"X-User": "alice"})
    assert_not_stored(fetch(app, "/me", headers={"X-User": "bob"}))


# Flask-Compress rewrites the ETag, and sends a 304 by a hook if configured


def compress(app: Flask, declare: t.Any = None) -> None:
    app.config.update(
        COMPRESS_MIN_SIZE=0,
        COMPRESS_MIMETYPES=["text/html"],
        COMPRESS_EVALUATE_CONDITIONAL_REQUEST=True,
    )
    Compress(app)

    def view() -> Response:
        response = Response("a" * 1000, mimetype="text/html")
        response.set_etag("v1")
        return response

    app.add_url_rule(
        "/", view_func=declare(view) if declare else view, endpoint="index"
    )


GZIP = {"Accept-Encoding": "gzip"}
HELD = {**GZIP, "If-None-Match": '"v1:gzip"'}


def test_compress_304_is_not_sent() -> None:
    assert fetch(unguarded(compress), headers=HELD).status == 304
    response = fetch(guarded(compress), headers=HELD)
    assert response.get("Content-Encoding") == "gzip"
    assert response.get("Vary") == "Accept-Encoding"
    assert_not_stored(response)


def test_compress_keeps_a_cacheable_response_valid() -> None:
    app = guarded(functools.partial(compress, declare=HOUR))
    response = fetch(app, headers=GZIP)
    assert response.get("Cache-Control") == "public, max-age=3600"
    assert response.get("ETag") == '"v1:gzip"'
    assert fetch(app, headers=HELD).status == 304


# Flask-CORS keeps its fields, on errors and preflights too


@pytest.mark.parametrize(
    ("path", "method"), [("/items", "GET"), ("/items", "OPTIONS"), ("/x", "GET")]
)
def test_cors_fields_stay_on_every_response(path: str, method: str) -> None:
    def build(app: Flask) -> None:
        CORS(app, origins=["http://a.example", "http://b.example"], max_age=600)
        app.add_url_rule("/items", view_func=lambda: {}, endpoint="items")

    origin = {"Origin": "http://a.example", "Access-Control-Request-Method": "GET"}
    response = assert_leaks_only_unguarded(build, path, method, headers=origin)
    assert response.get("Access-Control-Allow-Origin") == "http://a.example"
    assert response.get("Vary") == "Origin"


# Flask-Talisman sends a permanent redirect, which is heuristically cacheable


def test_talisman_permanent_redirect_is_no_store() -> None:
    def build(app: Flask) -> None:
        Talisman(app, force_https_permanent=True)
        app.add_url_rule("/", view_func=HOUR(lambda: "x"), endpoint="index")

    response = assert_leaks_only_unguarded(build, "/")
    assert response.status == 301
    assert response.get("Location") == "https://localhost/"


def test_talisman_fields_stay_and_a_cacheable_response_is_stored() -> None:
    def build(app: Flask) -> None:
        Talisman(app)
        app.add_url_rule("/", view_func=HOUR(lambda: "x"), endpoint="index")

    response = fetch(guarded(build), base_url="https://localhost")
    assert response.get("Cache-Control") == "public, max-age=3600"
    assert response.get("Strict-Transport-Security") is not None
    assert_not_stored(fetch(guarded(build), "/x", base_url="https://localhost"))


# Flask-Login responds in place of a cacheable view, with a 200 if configured


class User(UserMixin):  # type: ignore[misc]
    id = "1"


def login(app: Flask, *, page: bool = False, view: str | None = None) -> None:
    manager = LoginManager(app)
    manager.login_view = view
    manager.user_loader(lambda id: User())
    if page:
        manager.unauthorized_handler(lambda: "please log in")

    @app.get("/report")
    @login_required  # type: ignore[untyped-decorator]
    @HOUR
    def report() -> str:
        return "report"

    @app.get("/own-report")
    @login_required  # type: ignore[untyped-decorator]
    @PRIVATE
    def own_report() -> str:
        return "report"

    @app.get("/login")
    def sign_in() -> str:
        login_user(User(), remember=True)
        return "welcome"


@pytest.mark.parametrize(
    ("options", "status"),
    [({}, 401), ({"view": "sign_in"}, 302), ({"page": True}, 200)],
)
def test_login_refusal_for_a_cacheable_view_is_no_store(
    options: dict[str, t.Any], status: int
) -> None:
    build = functools.partial(login, **options)
    assert assert_leaks_only_unguarded(build, "/report").status == status


# Flask-Login 0.6.3 calls a function that is deprecated since Python 3.12
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_login_cookie_makes_no_response_storable() -> None:
    app = guarded(login)
    response = fetch(app, "/login")
    assert response.body == b"welcome"
    assert_not_stored(response)
    cookies = [v.partition(";")[0] for n, v in response.headers if n == "Set-Cookie"]
    assert len(cookies) == 2
    # the remember cookie alone: this response sets a new session cookie
    remember = next(c for c in cookies if c.startswith("remember_token"))
    for cookie in "; ".join(cookies), remember:
        response = fetch(app, "/report", headers={"Cookie": cookie})
        assert response.body == b"report"
        # it depends on the user, so it varies by the cookie
        assert_not_stored(response)
        response = fetch(app, "/own-report", headers={"Cookie": cookie})
        assert response.get("Cache-Control") == "private, max-age=3600"


# Flask-Limiter sends a 429 in place of a cacheable view


def add_limiter(app: Flask, **options: t.Any) -> None:
    Limiter(
        lambda: "all",
        app=app,
        storage_uri="memory://",
        default_limits=["1/day"],
        headers_enabled=True,
        **options,
    )
    app.add_url_rule("/", view_func=HOUR(lambda: "x"), endpoint="index")


def second(app: Flask) -> WireResponse:
    assert fetch(app).body == b"x"
    return fetch(app)


def test_limiter_429_for_a_cacheable_view_is_no_store() -> None:
    assert leaks(second(unguarded(add_limiter)))
    response = second(guarded(add_limiter))
    assert response.status == 429
    assert response.get("Retry-After") is not None
    assert_not_stored(response)


def test_limiter_response_of_its_own_is_no_store() -> None:
    build = functools.partial(add_limiter, on_breach=lambda _: Response("slow down"))
    response = second(guarded(build))
    assert (response.status, response.body) == (200, b"slow down")
    assert_not_stored(response)


def test_limiter_does_not_change_a_cacheable_response() -> None:
    response = fetch(guarded(add_limiter))
    assert response.get("Cache-Control") == "public, max-age=3600"
    assert response.get("X-RateLimit-Remaining") == "0"


# Flask-SocketIO responds to polling outside Flask, in wsgi_app


def poll(app: Flask, method: str = "GET", /, **options: t.Any) -> WireResponse:
    query = {"EIO": "4", "transport": "polling", **options.pop("query", {})}
    return fetch(app, "/socket.io/", method, query_string=query, **options)


def test_socketio_polling_is_no_store() -> None:
    def build(app: Flask) -> None:
        SocketIO(app, async_mode="threading")

    assert leaks(poll(unguarded(build)))
    app = guarded(build)
    response = poll(app, headers=CONDITIONS)
    assert_not_stored(response)
    sid = re.findall(rb'"sid":"([^"]+)"', response.body)[0].decode()
    for method, data in ("POST", "40"), ("GET", None):
        response = poll(app, method, query={"sid": sid}, data=data)
        assert response.status == 200
        assert_not_stored(response)


def test_socketio_websocket_closes_as_on_plain_flask(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def build(app: Flask) -> None:
        socketio = SocketIO(app, async_mode="threading")
        socketio.on("message")(socketio.send)

    path = "/socket.io/?EIO=4&transport=websocket"
    for app in unguarded(build), guarded(build):
        app.logger.disabled = False
        with serve(app, "werkzeug") as connection:
            assert talk(connection.port, path, SOCKETIO, closes=True) == b""
            response = receive(connection, "/x")
        assert response.status == 404
        assert leaks(response) != isinstance(app, NoCacheFlask)
        assert capfd.readouterr() == ("", "")


# flask-sock has views without a response; test_sockets.py closes sockets


def test_sock_is_declared_like_a_view() -> None:
    def build(app: Flask) -> None:
        bp = ApiBlueprint("api", __name__, url_prefix="/api")
        sock = Sock(app)
        sock.route("/echo", bp)(lambda socket: None)
        sock.route("/echo", endpoint="declared")(nocache(lambda socket: None))
        sock.route("/other", endpoint="undeclared")(lambda socket: None)
        app.register_blueprint(bp)

    app = guarded(build)
    assert policies(app)["/api/echo"] == policies(app)["/echo"] == "no-store"
    assert ids(app) == {("NC001", "'undeclared'")}
    assert check_app(app) == []
    # a request without an upgrade
    for path in "/api/echo", "/echo", "/other":
        response = fetch(app, path)
        assert response.status == 400
        assert_not_stored(response)


# sentry-sdk patches Flask.__call__, once in a process


class Recording(Transport):
    """Record the events instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[t.Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.events += [item.payload.json for item in envelope.items]


def observe(transport: Transport) -> t.Any:
    """Start Sentry for Flask alone, and without threads."""
    return sentry_sdk.init(
        dsn="https://key@sentry.invalid/1",
        transport=transport,
        traces_sample_rate=1,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[FlaskIntegration()],
        auto_session_tracking=False,
        enable_backpressure_handling=False,
        send_client_reports=False,
    )


@pytest.fixture(scope="session")
def patched_call() -> t.Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flask, "__call__", Flask.__call__)
        observe(Recording())
        return Flask.__call__


@pytest.fixture
def sentry(monkeypatch: pytest.MonkeyPatch, patched_call: t.Any) -> Iterator[Recording]:
    monkeypatch.setattr(Flask, "__call__", patched_call)
    transport = Recording()
    observe(transport)
    with sentry_sdk.isolation_scope():
        yield transport
    sentry_sdk.get_global_scope().set_client(None)


class Tagging(Flask):
    """A subclass of Flask from elsewhere, which sets a tag in both entry points."""

    def __call__(self, *args: t.Any) -> t.Any:
        sentry_sdk.set_tag("called", "yes")
        return super().__call__(*args)

    def wsgi_app(self, *args: t.Any) -> t.Any:
        sentry_sdk.set_tag("entered", "yes")
        return super().wsgi_app(*args)


class GuardedTagging(NoCacheFlask, Tagging):
    pass


def sentry_events(app: Flask, transport: Recording) -> list[t.Any]:
    """Return the events of some requests in Sentry: name, status and tags of each."""

    @app.get("/a/<int:id>")
    def a(id: int) -> str:
        sentry_sdk.set_tag("user", "alice")
        sentry_sdk.capture_message("a")
        return "a"

    @app.get("/b")
    @HOUR
    def b() -> str:
        sentry_sdk.capture_message("b")
        return "b"

    @app.get("/fail")
    def fail() -> str:
        raise RuntimeError("view")

    @app.get("/stream")
    def stream() -> Response:
        sentry_sdk.set_tag("kind", "stream")
        return Response(iter(["a", "b"]))

    set_up(app, lambda app: None)
    transport.events.clear()
    statuses = [
        fetch(app, path).status
        for path in ("/a/1", "/b", "/fail", "/stream", "/x", "/b")
    ]
    assert statuses == [200, 200, 500, 200, 404, 200]
    return [
        (
            event.get("type", event.get("message")),
            event["transaction"],
            event["contexts"]["trace"].get("status"),
            [e["value"] for e in event.get("exception", {}).get("values", [])],
            event.get("tags"),
        )
        for event in transport.events
    ]


@pytest.mark.parametrize(
    ("plain", "guarded"),
    [(Flask, NoCacheFlask), (Tagging, GuardedTagging)],
)
def test_sentrysdk_gets_the_same_events_as_from_plain_flask(
    sentry: Recording, plain: type[Flask], guarded: type[NoCacheFlask]
) -> None:
    expected = sentry_events(plain(__name__), sentry)
    names = [e[1] for e in expected if e[0] == "transaction"]
    assert names == ["a", "b", "fail", "stream", "generic WSGI request", "b"]
    # the tags of the view before are gone
    theirs = {"called": "yes", "entered": "yes"} if plain is Tagging else None
    assert [e[-1] for e in expected if e[0] == "b"] == [theirs, theirs]
    assert sentry_events(guarded(__name__), sentry) == expected


def test_sentrysdk_is_no_finding(sentry: Recording) -> None:
    app = guarded(lambda app: None)
    assert ids(app) == set()
    assert_not_stored(fetch(app, "/x"))
    assert [event["type"] for event in sentry.events] == ["transaction"]


# WhiteNoise and SharedDataMiddleware send files with a lifetime, outside Flask


def whitenoise(app: App, folder: Path) -> App:
    noise: App = WhiteNoise(app, root=str(folder), max_age=3600)
    return noise


def shared_data(app: App, folder: Path) -> App:
    return SharedDataMiddleware(app, {"/": str(folder)}, cache_timeout=3600)


def assert_files_are_no_store(wrap: Callable[[App, Path], App], folder: Path) -> None:
    (folder / "a.txt").write_text("a")

    def build(app: Flask) -> None:
        app.wsgi_app = wrap(app.wsgi_app, folder)  # type: ignore[method-assign]

    modified = {"If-Modified-Since": CONDITIONS["If-Modified-Since"]}
    control = fetch(unguarded(build), "/a.txt")
    assert control.get("Cache-Control") == "max-age=3600, public"
    assert fetch(unguarded(build), "/a.txt", headers=modified).status == 304
    response = fetch(guarded(build), "/a.txt", headers=modified)
    assert (response.status, response.body) == (200, b"a")
    assert_not_stored(response)
    # around the app it is outside the guard, which NC002 reports
    assert leaks(fetch(wrap(guarded(lambda app: None), folder), "/a.txt"))


def test_whitenoise_inside_the_guard_is_no_store(tmp_path: Path) -> None:
    assert_files_are_no_store(whitenoise, tmp_path)


def test_shareddatamiddleware_inside_the_guard_is_no_store(tmp_path: Path) -> None:
    assert_files_are_no_store(shared_data, tmp_path)


# ProxyFix can be put in three places, one of which bypasses __call__


def around_wsgi_app(app: Flask) -> App:
    return ProxyFix(app.wsgi_app, x_host=1)


def around_app(app: Flask) -> App:
    return ProxyFix(app, x_host=1)


def inside_app(app: Flask) -> App:
    app.wsgi_app = ProxyFix(app.wsgi_app, x_host=1)  # type: ignore[method-assign]
    return app


@pytest.mark.parametrize("wrap", [around_wsgi_app, around_app, inside_app])
def test_proxyfix_wherever_it_stands_is_guarded(wrap: Callable[[Flask], App]) -> None:
    def build(app: Flask) -> None:
        app.add_url_rule("/folder/", view_func=lambda: "x", endpoint="folder")

    forwarded = {"X-Forwarded-Host": "a.example", "X-Forwarded-Proto": "https"}
    options = {"headers": {**forwarded, **CONDITIONS}}
    assert leaks(fetch(wrap(unguarded(build)), "/folder", **options))
    response = fetch(wrap(guarded(build)), "/folder", **options)
    assert response.get("Location") == "https://a.example/folder/"
    assert_not_stored(response)
