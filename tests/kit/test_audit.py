from __future__ import annotations

import functools
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Blueprint
from flask import Flask
from flask.testing import FlaskCliRunner
from flask.views import MethodView
from nocache import ApiBlueprint
from nocache import audit_app
from nocache import cacheable
from nocache import nocache
from nocache import NoCacheFlask
from nocache import routes
from nocache.audit.findings import CATALOGUE
from nocache.audit.policy_file import policy_file_findings
from nocache.audit.policy_file import write_policy_file

HOUR = cacheable(max_age=3600, reason="changes yearly; #412")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # the project of an app without a module is the working directory
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def app(project: Path) -> NoCacheFlask:
    return NoCacheFlask("kit_app")


def ids(app: Flask) -> list[str]:
    """Accept the declared policies, and return the ids of the findings that stay."""
    write_policy_file(app)
    return [finding.id for finding in audit_app(app)]


def view() -> str:
    return "view"


def fresh() -> Callable[[], str]:
    """Return a new view, because a declaration marks the function."""
    return lambda: "fresh"


def unwrapped(view: Callable[[], str]) -> Callable[[], str]:
    return lambda: view()


def test_audit_of_a_sound_app_is_empty(app: NoCacheFlask) -> None:
    api = ApiBlueprint("api", __name__)
    api.get("/items", endpoint="items")(fresh())
    app.register_blueprint(api, url_prefix="/api")
    app.get("/", endpoint="page")(nocache(fresh()))
    app.get("/countries", endpoint="countries")(HOUR(fresh()))

    assert ids(app) == []


def test_nc001_undeclared(app: NoCacheFlask) -> None:
    app.get("/", endpoint="page")(view)

    assert ids(app) == ["NC001"]


def test_nc001_static_and_redirects_noop(app: NoCacheFlask) -> None:
    app.add_url_rule("/old", endpoint="old", redirect_to="/new")
    app.register_blueprint(
        Blueprint("assets", __name__, static_folder=".", url_prefix="/assets")
    )

    assert ids(app) == []


def test_nc002_plain_flask() -> None:
    assert ids(Flask("kit_app", static_folder=None)) == ["NC002"]


def test_nc003_cacheable_on_api(app: NoCacheFlask) -> None:
    api = ApiBlueprint("api", __name__)
    api.get("/items", endpoint="items")(HOUR(fresh()))
    app.register_blueprint(api, url_prefix="/api")

    assert ids(app) == ["NC003"]


def test_nc003_nested_below_api(app: NoCacheFlask) -> None:
    api = ApiBlueprint("api", __name__)
    child = Blueprint("child", __name__, url_prefix="/child")
    child.get("/items", endpoint="items")(HOUR(fresh()))
    api.register_blueprint(child)
    app.register_blueprint(api, url_prefix="/api")

    assert ids(app) == ["NC003"]


def test_nc003_static_on_api_noop(app: NoCacheFlask) -> None:
    api = ApiBlueprint("api", __name__, static_folder=".")
    app.register_blueprint(api, url_prefix="/api")

    assert ids(app) == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nc004_unsafe_method(app: NoCacheFlask, method: str) -> None:
    app.add_url_rule("/", "page", HOUR(fresh()), methods=["GET", method])

    assert ids(app) == ["NC004"]


def test_nc004_names_methods_sorted(app: NoCacheFlask) -> None:
    methods = ["PUT", "DELETE", "PATCH", "POST"]
    app.add_url_rule("/", "page", HOUR(fresh()), methods=methods)

    (finding,) = [f for f in audit_app(app) if f.id == "NC004"]

    assert "DELETE, PATCH, POST, PUT" in finding.message


def test_nc004_get_noop(app: NoCacheFlask) -> None:
    app.add_url_rule("/", "page", HOUR(fresh()), methods=["GET", "HEAD", "OPTIONS"])

    assert ids(app) == []


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/items", "/api/<name>"])
def test_nc005_below_the_prefix(app: NoCacheFlask, path: str) -> None:
    app.register_blueprint(ApiBlueprint("api", __name__), url_prefix="/api")
    app.add_url_rule(path, "page", nocache(fresh()))

    assert ids(app) == ["NC005"]


@pytest.mark.parametrize("path", ["/apis", "/", "/v1/api"])
def test_nc005_beside_the_prefix_noop(app: NoCacheFlask, path: str) -> None:
    app.register_blueprint(ApiBlueprint("api", __name__), url_prefix="/api")
    app.add_url_rule(path, "page", nocache(fresh()))

    assert ids(app) == []


def test_nc005_api_at_the_root_noop(app: NoCacheFlask) -> None:
    app.register_blueprint(ApiBlueprint("api", __name__))
    app.add_url_rule("/page", "page", nocache(fresh()))

    assert ids(app) == []


def test_nc006_above_the_route(app: NoCacheFlask) -> None:
    HOUR(app.get("/", endpoint="page")(fresh()))

    assert ids(app) == ["NC006"]


def test_nc006_lost_in_a_wrapper(app: NoCacheFlask) -> None:
    app.get("/", endpoint="page")(unwrapped(HOUR(fresh())))

    assert ids(app) == ["NC006"]


def test_nc006_beside_nocache(app: NoCacheFlask) -> None:
    app.get("/", endpoint="page")(nocache(HOUR(fresh())))

    assert ids(app) == ["NC006"]


@pytest.mark.parametrize("decorator", [HOUR, nocache])
def test_nc006_on_a_method_of_a_view_class(
    app: NoCacheFlask, decorator: Callable[[object], object]
) -> None:
    class Page(MethodView):
        get = decorator(lambda self: "page")

    app.add_url_rule("/", view_func=Page.as_view("page"))

    assert ids(app) == ["NC006"]


def test_nc006_decorators_of_a_view_class_noop(app: NoCacheFlask) -> None:
    class Page(MethodView):
        decorators = [HOUR]  # noqa: RUF012

        def get(self) -> str:
            return "page"

    app.add_url_rule("/", view_func=Page.as_view("page"))

    assert ids(app) == []


def test_nc006_kept_by_a_wrapper_noop(app: NoCacheFlask) -> None:
    inner = HOUR(fresh())
    app.get("/", endpoint="page")(functools.wraps(inner)(lambda: inner()))

    assert ids(app) == []


# test_handwritten.py tests what NC007 reports
def test_nc007_field_set_by_hand(app: NoCacheFlask, project: Path) -> None:
    (project / "views.py").write_text('\nmake_response("x").headers["Expires"] = "0"\n')

    (finding,) = [f for f in audit_app(app) if f.id != "NC010"]

    assert (finding.id, finding.path, finding.line) == ("NC007", "views.py", 2)


@pytest.mark.parametrize("folder", ["tests", ".venv", "node_modules", "env"])
def test_nc007_reads_only_the_code_of_the_service(
    app: NoCacheFlask, project: Path, folder: str
) -> None:
    (project / "env").mkdir()
    (project / "env" / "pyvenv.cfg").touch()
    (project / folder).mkdir(exist_ok=True)
    (project / folder / "x.py").write_text('response.headers["Expires"] = "0"\n')
    (project / "broken.py").write_text("max_age = = 1\n")

    assert ids(app) == []


def test_nc009_lru_cache(app: NoCacheFlask) -> None:
    app.get("/", endpoint="page")(nocache(functools.lru_cache(fresh())))

    assert ids(app) == ["NC009"]


def test_nc009_cacheable_noop(app: NoCacheFlask) -> None:
    app.get("/", endpoint="page")(HOUR(functools.lru_cache(fresh())))

    assert ids(app) == []


def test_policy_with_all_arguments_is_listed_and_accepted(
    app: NoCacheFlask, project: Path
) -> None:
    decorate = cacheable(
        max_age=60,
        public=True,
        shared_max_age=3600,
        immutable=True,
        vary=["Origin"],
        etag=lambda: "1",
        reason="tested",
    )
    app.get("/", endpoint="page")(decorate(fresh()))
    write_policy_file(app)

    text = "public, max-age=60, s-maxage=3600, immutable; Vary: Origin; ETag"
    accept = (project / "cache-policy.txt").read_text()
    assert f"page GET / -> {text}: tested\n" in accept
    table = app.test_cli_runner().invoke(
        args=["nocache", "routes"], env={"COLUMNS": "200"}
    )
    assert text in table.stdout


def test_nc010_missing_file(app: NoCacheFlask) -> None:
    assert [f.id for f in audit_app(app)] == ["NC010"]


def test_nc010_lists_each_difference(app: NoCacheFlask, project: Path) -> None:
    app.get("/", endpoint="page")(HOUR(fresh()))
    write_policy_file(app)
    path = project / "cache-policy.txt"
    path.write_text(path.read_text().replace("GET / ", "GET /old "))

    missing, stale = audit_app(app)

    line = "-> private, max-age=3600: changes yearly; #412'"
    assert (missing.id, missing.line) == ("NC010", 1)
    assert f"'page GET / {line} is not accepted" in missing.message
    assert (stale.id, stale.line) == ("NC010", 3)
    assert f"'page GET /old {line} is accepted, but not declared" in stale.message


def test_nc010_routes_that_no_cache_stores_noop(
    app: NoCacheFlask, project: Path
) -> None:
    """A route that no cache stores needs no line in the file."""
    write_policy_file(app)
    before = (project / "cache-policy.txt").read_text()
    api = ApiBlueprint("api", __name__)
    api.get("/items", endpoint="items")(fresh())
    app.register_blueprint(api, url_prefix="/api")
    app.get("/", endpoint="page")(nocache(fresh()))

    assert audit_app(app) == []
    write_policy_file(app)
    assert (project / "cache-policy.txt").read_text() == before


def test_nc010_file_of_1_0_names_the_command(app: NoCacheFlask, project: Path) -> None:
    app.get("/", endpoint="page")(nocache(fresh()))
    write_policy_file(app)
    path = project / "cache-policy.txt"
    with path.open("a") as file:
        file.write("api.items GET /api/items -> no-store\npage GET / -> no-store\n")

    (finding,) = audit_app(app)

    assert (finding.id, finding.line) == ("NC010", 4)
    assert finding.message == (
        "'cache-policy.txt' lists 2 routes that no cache stores, as it did up to 1.0."
    )
    assert finding.hint.startswith("run 'flask nocache accept'")
    write_policy_file(app)
    assert audit_app(app) == []


def test_policy_file_lists_silenced_findings(app: NoCacheFlask, project: Path) -> None:
    line = "views.py NC007: a request we send"
    write_policy_file(app, [line])
    table = routes(app)

    assert line in (project / "cache-policy.txt").read_text().splitlines()
    assert [*policy_file_findings(app, table, set(), [line])] == []
    (finding,) = policy_file_findings(app, table, set())
    assert f"'{line}' is accepted, but not declared" in finding.message


def test_accept_makes_the_audit_silent(app: NoCacheFlask, project: Path) -> None:
    app.get("/", endpoint="page")(HOUR(fresh()))
    runner: FlaskCliRunner = app.test_cli_runner()

    assert runner.invoke(args=["nocache", "audit"]).exit_code == 1
    accept = runner.invoke(args=["nocache", "accept"])
    audit = runner.invoke(args=["nocache", "audit"])

    assert (accept.exit_code, audit.exit_code, audit.output) == (0, 0, "")
    assert [p.name for p in project.iterdir()] == ["cache-policy.txt"]


def test_finding_has_location_fact_and_hint(app: NoCacheFlask) -> None:
    app.get("/", endpoint="page")(view)
    write_policy_file(app)

    (finding,) = audit_app(app)

    assert finding.path.endswith("test_audit.py")
    assert finding.line == view.__code__.co_firstlineno
    assert str(finding) == (
        f"{finding.path}:{finding.line}: NC001 undeclared-route: 'page' declares no cache"
        " policy.\n    hint: put @nocache on the view, or @cacheable(max_age=...,"
        " reason=...) if caches may store its responses."
    )


def test_catalogue_keeps_every_id() -> None:
    assert {id: kind.name for id, kind in CATALOGUE.items()} == {
        "NC001": "undeclared-route",
        "NC002": "guard-bypassed",
        "NC003": "api-route-cacheable",
        "NC004": "unsafe-method-cacheable",
        "NC005": "api-path-outside-api-blueprint",
        "NC006": "mark-without-effect",
        "NC007": "header-set-by-hand",
        "NC008": "storable-response",
        "NC009": "server-side-cache",
        "NC010": "policy-file-stale",
        "NC011": "kit-edited",
        "NC012": "depends-on-unkeyed-input",
        "NC013": "browser-keeps-a-copy",
        "NC014": "edge-ignores-headers",
        "NC015": "cache-deception",
    }


def test_routes_have_policy_reason_and_place(app: NoCacheFlask) -> None:
    posted = fresh()
    app.get("/b", endpoint="b")(HOUR(fresh()))
    app.add_url_rule("/a", "a", nocache(posted), methods=["POST"])

    a, b, static = routes(app)

    assert a[:5] == ("/a", "a", ("POST",), "no-store", "")
    assert a.line == posted.__code__.co_firstlineno
    assert Path(a.file).name == "test_audit.py"
    assert b[3:5] == ("private, max-age=3600", "changes yearly; #412")
    assert static.policy.startswith("no-cache; public, max-age=31536000, immutable")


def test_audit_never_calls_a_view(app: NoCacheFlask) -> None:
    def explode() -> str:
        raise AssertionError

    app.get("/", endpoint="page")(nocache(explode))
    app.before_request(explode)

    assert ids(app) == []


def without_wrapped() -> t.Any:
    view: t.Any = nocache(fresh())
    del view.__wrapped__
    return view


@pytest.mark.parametrize(
    ("view", "findings"),
    [(HOUR, ["NC001"]), (nocache, ["NC001"]), (without_wrapped(), [])],
)
def test_function_of_the_kit_as_a_view_is_read(
    app: NoCacheFlask, view: t.Any, findings: list[str]
) -> None:
    app.add_url_rule("/", "page", view)

    assert ids(app) == findings
