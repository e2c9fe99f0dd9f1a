"""Time the audit over ever more routes, and the source scan over real packages."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
import typing as t
from pathlib import Path
from statistics import median

from contestants import load_kit
from flask import Blueprint
from flask import Flask

SIZES = (10, 100, 1_000, 10_000)
VIEWS_A_FILE = 50
VIEW = "def view_{0}(id):\n    return {{'id': id}}\n\n\n"


def views(count: int) -> t.Iterator[t.Any]:
    """Yield functions that have a file and a line, as those of a real app."""
    for first in range(0, count, VIEWS_A_FILE):
        numbers = range(first, min(first + VIEWS_A_FILE, count))
        code = "".join(VIEW.format(n) for n in numbers)
        names: dict[str, t.Any] = {}
        exec(compile(code, os.path.abspath(f"views_{first}.py"), "exec"), names)
        yield from (names[f"view_{n}"] for n in numbers)


def app_of(count: int) -> Flask:
    """Build an app with half of its routes on an API and a fifth of the rest cacheable."""
    kit = load_kit()
    app: Flask = kit.NoCacheFlask("audited", root_path=os.getcwd())
    api = kit.ApiBlueprint("api", "audited", url_prefix="/api")
    pages = Blueprint("pages", "audited")
    cacheable = kit.cacheable(max_age=60, reason="measured")
    for number, view in enumerate(views(count)):
        if number % 2:
            api.add_url_rule(f"/r{number}/<int:id>", view_func=view)
        else:
            declare = kit.nocache if number % 5 else cacheable
            pages.add_url_rule(f"/r{number}/<int:id>", view_func=declare(view))
    app.register_blueprint(api)
    app.register_blueprint(pages)
    return app


def seconds(call: t.Callable[[], object], rounds: int = 5) -> float:
    taken = []
    for _ in range(rounds):
        gc.collect()
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return median(taken)


def audit_rows() -> t.Iterator[tuple[str, ...]]:
    kit = load_kit()
    for count in SIZES:
        app = app_of(count)
        kit.audit.policy_file.write_policy_file(app)
        assert kit.audit_app(app) == []
        total = len(kit.routes(app))
        for name, call in (("routes", kit.routes), ("audit", kit.audit_app)):
            taken = seconds(lambda call=call, app=app: call(app))
            yield (
                f"{name}, {count:,} routes",
                f"{taken * 1e3:.2f} ms",
                f"{taken / total * 1e6:.1f} us a route",
            )


def scan_rows() -> t.Iterator[tuple[str, ...]]:
    source = load_kit().audit.source
    for package in ("django", "flask", "werkzeug"):
        __import__(package)
        folder = Path(t.cast("str", sys.modules[package].__file__)).parent
        paths = [str(path) for path in sorted(folder.rglob("*.py"))]
        lines = sum(Path(p).read_bytes().count(b"\n") for p in paths)
        taken = seconds(lambda paths=paths: list(source.scan(paths)), 3)
        yield (
            f"source scan, {package}, {lines:,} lines",
            f"{taken * 1e3:.0f} ms",
            f"{lines / taken:,.0f} lines/s",
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("audited.py").write_text("import flask\n", encoding="utf-8")
        sys.path.insert(0, folder)
        __import__("audited")
        rows = [("Over", "time", "each"), *audit_rows(), *scan_rows()]
        os.chdir("/")
    for row in rows:
        print(*row, sep="\t")
