"""NC002: the server gets the guard, with no middleware or app outside it."""

from __future__ import annotations

import ast
import sys
import typing as t
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from nocache import audit_app
from nocache import NoCacheFlask
from nocache.audit import entry
from nocache.audit.policy_file import write_policy_file
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

Serve = Callable[..., None]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # the project of an app without a module is the working directory
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def app(project: Path) -> NoCacheFlask:
    app = NoCacheFlask("kit_app", static_folder=None)
    write_policy_file(app)
    return app


# in the source

HARMFUL = {
    "assigned": "app = create_app()\napp = ProxyFix(app)",
    "other name": "application = DispatcherMiddleware(app, {'/legacy': legacy})",
    "wsgi_app": "app = ProxyFix(app.wsgi_app)",
    "dotted": "app = middleware.WhiteNoise(create_app())",
    "unknown wrapper": "from shop import app\napplication = Metered(app)",
    "second argument": "application = DispatcherMiddleware(front, {'/api': create_app()})",
    "dummy": "app = create_app()\nx = DispatcherMiddleware(Flask('d'), {'/p': app})",
    "annotated": "app = create_app()\napplication: App = WhiteNoise(app, root='static')",
    "in a call": "app = create_app()\nrun_simple('', 1, DispatcherMiddleware(app, {}))",
    "served": "from shop import app\nserve(WhiteNoise(app), port=1)",
    "returned": "def make():\n    shop = create_app()\n    return WhiteNoise(shop)",
    "returned at once": "def make():\n    return WhiteNoise(create_app())",
    "in a factory": "def f():\n    app = Flask('x')\n    app = WhiteNoise(app)\n    return app",
    "two steps": "flask_app = create_app()\napp = WhiteNoise(flask_app)",
    "two names": "flask_app = create_app()\nsite = flask_app\nserver = WhiteNoise(site)",
    "imported": "from shop import flask_app\nserver = ProxyFix(flask_app)",
    "nested": "server = ProxyFix(WhiteNoise(create_app()))",
    "keyword": "server = SessionMiddleware(app=create_app(), key='x')",
    "mounted in FastAPI": "site = FastAPI()\nsite.mount('/old', WSGIMiddleware(app))",
    "mounted in Starlette": "routes = [Mount('/', app=WSGIMiddleware(shop_app))]",
    "mounted in CherryPy": "app = create_app()\ncherrypy.tree.graft(app, '/')",
    "ASGI": "server = SentryAsgiMiddleware(WsgiToAsgi(create_app()))",
    "class": "app = NoCacheFlask(__name__)\nserver = DebuggedApplication(app)",
}
HARMLESS = {
    "inside": "app.wsgi_app = ProxyFix(app.wsgi_app)",
    "inside, nested": "app.wsgi_app = A(WhiteNoise(ProxyFix(app.wsgi_app)))",
    "inside, beside": "app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {'/m': m})",
    "inside, two steps": "inner = ProxyFix(app.wsgi_app)\napp.wsgi_app = inner",
    "inside, annotated": "app.wsgi_app: t.Any = ProxyFix(app.wsgi_app)",
    "inside, of self": "class C:\n    def f(self, app):\n        app.wsgi_app = WhiteNoise(app.wsgi_app)",
    "factory": "app = create_app()",
    "class": "app = NoCacheFlask(__name__)",
    "alias": "application = app",
    "extension": "celery = Celery(app)",
    "extension, returned": "def init(app):\n    return Limiter(app=app)",
    "extension, made here": "def init():\n    app = create_app()\n    return SocketIO(app)",
    "configured": "app = with_settings(app)",
    "a helper": "def wrap(app):\n    return ProxyFix(app.wsgi_app)\napp.wsgi_app = wrap(app)",
    "a server": "app = create_app()\nWSGIServer(('', 5000), app).serve_forever()",
    "an adapter": "asgi = WsgiToAsgi(app)",
    "an adapter, served": "app = create_app()\napp = WSGIContainer(app)",
    "of another framework": "app = FastAPI()\napp = CORSMiddleware(app)",
    "a class": "class M:\n    def __init__(self, app):\n        self.app = app",
    "registered": "app.add_middleware(SomeMiddleware)",
    "a text": "'app = WhiteNoise(app)'",
    "a run": "app = create_app()\nrun_simple('localhost', 5000, app)",
}


def spot_lines(text: str) -> list[int]:
    return [line for line, *_ in entry.spot(ast.parse(text))]


@pytest.mark.parametrize("form", HARMFUL)
def test_nc002_in_the_source(app: NoCacheFlask, project: Path, form: str) -> None:
    text = f"\n{HARMFUL[form]}\n"
    (project / "wsgi.py").write_text(text)
    (line,) = spot_lines(text)

    (finding,) = audit_app(app)

    assert (finding.id, finding.path, finding.line) == ("NC002", "wsgi.py", line)


@pytest.mark.parametrize("form", HARMLESS)
def test_nc002_in_the_source_noop(app: NoCacheFlask, project: Path, form: str) -> None:
    (project / "wsgi.py").write_text(f"{HARMLESS[form]}\n")

    assert spot_lines(HARMLESS[form]) == []
    assert audit_app(app) == []


# the class of the app


class Passing(NoCacheFlask):
    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        environ["seen"] = True
        return super().__call__(environ, start_response)


class Counting(NoCacheFlask):
    def __call__(self, *args: t.Any) -> t.Any:
        try:
            response = super().__call__(*args)
        finally:
            self.config["SEEN"] = True
        return response


class Streaming(NoCacheFlask):
    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        yield from super().__call__(environ, start_response)


class Nesting(NoCacheFlask):
    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        async def count() -> int:
            return 1

        def seen() -> bool:
            return True

        self.config["SEEN"] = count, seen
        return super().__call__(environ, start_response)


class Wsgi(NoCacheFlask):
    # the guard calls it
    def wsgi_app(self, environ: t.Any, start_response: t.Any) -> t.Any:
        return super().wsgi_app(environ, start_response)


class Mixin:
    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        return super().__call__(environ, start_response)  # type: ignore[misc]


class Mixed(Mixin, NoCacheFlask):
    pass


class Theirs(Flask):
    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        return [b"unguarded"]


class Below(NoCacheFlask, Theirs):
    pass


@pytest.mark.parametrize(
    "cls",
    [Passing, Counting, Streaming, Nesting, Wsgi, Mixed, Below],
    ids=lambda c: c.__name__,
)
def test_nc002_call_that_returns_the_base_result_noop(
    app: NoCacheFlask, cls: t.Any
) -> None:
    assert audit_app(cls("kit_app", static_folder=None)) == []


class Around(NoCacheFlask):
    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        def start(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
            return start_response(status, [("Cache-Control", "public")], exc_info)

        return super().__call__(environ, start)


class Renamed(NoCacheFlask):
    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        start_response = self.config["STARTER"]
        return super().__call__(environ, start_response)


class Sometimes(NoCacheFlask):
    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        if environ["PATH_INFO"] == "/ping":
            start_response("200 OK", [])
            return [b"pong"]
        return super().__call__(environ, start_response)


class PastIt(NoCacheFlask):
    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        return Flask.__call__(self, environ, start_response)


class Lower(NoCacheFlask):
    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        return super().wsgi_app(environ, start_response)


class Above(Theirs, NoCacheFlask):
    pass


@pytest.mark.parametrize(
    "cls",
    [Around, Renamed, Sometimes, PastIt, Lower, Above],
    ids=lambda c: c.__name__,
)
def test_nc002_call_that_replaces_the_guard(app: NoCacheFlask, cls: t.Any) -> None:
    (finding,) = audit_app(cls("kit_app", static_folder=None))

    owner = Theirs if cls is Above else cls
    call = owner.__call__
    assert (finding.id, finding.line) == ("NC002", call.__code__.co_firstlineno)
    assert finding.message.startswith(f"'{owner.__name__}.__call__' replaces the guard")


# the object that the server gets


@pytest.fixture
def serve(project: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Make a module of the project, whose values are not in its source."""

    def serve(module: str, **values: t.Any) -> None:
        module_ = ModuleType(module)
        module_.__file__ = str(project / f"{module}.py")
        lines = (f"{name} = values[{name!r}]\n" for name in values)
        (project / f"{module}.py").write_text("\n" + "".join(lines))
        vars(module_).update(values)
        monkeypatch.setitem(sys.modules, module, module_)

    return serve


class WsgiToAsgi:
    """A copy of the class in asgiref."""

    def __init__(self, wsgi_application: t.Any) -> None:
        self.wsgi_application = wsgi_application

    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None: ...


def middleware(environ: t.Any, start_response: t.Any) -> t.Any:
    return []


@pytest.mark.parametrize(
    ("wrap", "kind"),
    [
        (lambda app: ProxyFix(app), "ProxyFix"),
        (lambda app: DispatcherMiddleware(app), "DispatcherMiddleware"),
        (lambda app: Flask("kit_app"), "Flask"),
        (lambda app: Flask("kit_app").wsgi_app, "Flask"),
        (lambda app: middleware, "function"),
        (lambda app: WsgiToAsgi(ProxyFix(app)), "ProxyFix"),
    ],
    ids=["ProxyFix", "Dispatcher", "Flask", "wsgi_app", "function", "adapter"],
)
@pytest.mark.parametrize("name", ["app", "application"])
def test_nc002_in_the_entry_point(
    app: NoCacheFlask, serve: Serve, wrap: t.Any, kind: str, name: str
) -> None:
    serve("wsgi", **{name: wrap(app)})

    (finding,) = audit_app(app)

    assert (finding.id, finding.path, finding.line) == ("NC002", "wsgi.py", 2)
    assert finding.message.startswith(
        f"'wsgi:{name}' is a {kind} and not the guarded app, so responses"
    )


@pytest.mark.parametrize(
    "wrap",
    [
        WsgiToAsgi,
        lambda app: app,
        lambda app: NoCacheFlask("another"),
        lambda app: Passing("another"),
        lambda app: app.wsgi_app,
        lambda app: None,
    ],
    ids=["adapter", "itself", "another", "class", "wsgi_app", "none"],
)
def test_nc002_in_the_module_that_is_served_noop(
    app: NoCacheFlask, serve: Serve, wrap: t.Any
) -> None:
    serve("wsgi", app=wrap(app), helper=middleware)

    assert audit_app(app) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("gunicorn.conf.py", 'wsgi_app = "server:main"\n'),
        ("Procfile", "web: gunicorn --bind 0.0.0.0:$PORT --workers 2 server:main\n"),
        ("Procfile", "release: flask db upgrade\nweb: waitress-serve server:main\n"),
        ("pyproject.toml", '[tool.x]\nserve = "gunicorn server:main"\n'),
    ],
    ids=["gunicorn.conf", "gunicorn", "waitress", "pyproject"],
)
def test_nc002_in_the_configuration_of_a_server(
    app: NoCacheFlask, project: Path, serve: Serve, file: str, text: str
) -> None:
    serve("server", main=ProxyFix(app), app=app)
    assert audit_app(app) == []

    (project / file).write_text(text)

    (finding,) = audit_app(app)
    assert finding.message.startswith("'server:main' is a ProxyFix")


def test_nc002_in_a_module_outside_the_project_noop(
    app: NoCacheFlask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module is of another project, or of an installed package."""
    module_ = ModuleType("wsgi")
    module_.__file__ = __file__
    vars(module_)["app"] = Flask("x")
    monkeypatch.setitem(sys.modules, "wsgi", module_)

    assert audit_app(app) == []


def test_nc002_in_source_and_object_is_one_finding(
    app: NoCacheFlask, project: Path, serve: Serve
) -> None:
    serve("wsgi", app=ProxyFix(app))
    (project / "wsgi.py").write_text("from x import app\napp = ProxyFix(app)\n")

    (finding,) = audit_app(app)

    assert (finding.id, finding.line) == ("NC002", 2)


def test_audit_command_imports_the_entry_point(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(project)
    (project / "gunicorn.conf.py").write_text('wsgi_app = "served_here:site"\n')
    (project / "served_here.py").write_text(
        "from flask import Flask as Site\n\nsite = Site('x')\n"
    )
    app = NoCacheFlask("kit_app", static_folder=None)
    write_policy_file(app)
    runner: FlaskCliRunner = app.test_cli_runner()

    result = runner.invoke(args=["nocache", "audit"])

    sys.modules.pop("served_here")
    assert result.exit_code == 1
    assert "served_here.py:3: NC002 guard-bypassed: 'served_here:site' is a Flask" in (
        result.output
    )


@pytest.mark.parametrize("text", ["1 / 0", "raise SystemExit('no key')", "def"])
def test_audit_command_ignores_an_entry_point_that_raises(
    project: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.syspath_prepend(project)
    (project / "gunicorn.conf.py").write_text('wsgi_app = "served_badly:app"\n')
    (project / "served_badly.py").write_text(f"{text}\n")
    app = NoCacheFlask("kit_app", static_folder=None)
    write_policy_file(app)

    result = app.test_cli_runner().invoke(args=["nocache", "audit"])

    assert (result.exit_code, result.output) == (0, "")
