"""The baked service, and what its logs and metrics cost."""

from __future__ import annotations

import atexit
import logging.config
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build" / "bench" / "service"
SERVICE = FOLDER / "saved-items"

WSGI = t.Callable[..., t.Any]


def bake() -> None:
    """Bake the service, and fill its database in a process of its own."""
    from cookiecutter.main import cookiecutter

    shutil.rmtree(FOLDER, ignore_errors=True)
    # Cookiecutter leaves files behind
    with tempfile.TemporaryDirectory() as tempfile.tempdir:
        cookiecutter(str(ROOT), no_input=True, output_dir=str(FOLDER))
    tempfile.tempdir = None
    subprocess.run([sys.executable, __file__], check=True)


def prepare() -> None:
    sys.path.insert(0, str(SERVICE))
    os.environ |= {
        "DATABASE_URL": f"sqlite:///{FOLDER / 'bench.sqlite3'}",
        "FLASK_SECRET_KEY": "0123456789abcdef",
    }


def service_app(*, logs: bool = False, metrics: bool = False) -> WSGI:
    """Return the baked service, with gunicorn's signals after each response.

    :param logs: whether it names requests and logs responses.
    :param metrics: whether it counts them as well.
    """
    prepare()
    if metrics:
        folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, folder)
        os.environ |= {"METRICS_PORT": "1", "PROMETHEUS_MULTIPROC_DIR": folder}
    config = runpy.run_path(str(SERVICE / "gunicorn.conf.py"))
    logging.config.dictConfig(config["logconfig_dict"])
    handler = t.cast("logging.StreamHandler[t.Any]", logging.getLogger().handlers[0])
    handler.setStream(open(os.devnull, "w"))
    from saved_items import create_app
    from saved_items import observability

    if not logs:
        observability.init_app = lambda app: None
    return as_gunicorn(create_app())


def as_gunicorn(app: WSGI) -> WSGI:
    from blinker import signal

    response_sent, over = signal("response-sent"), signal("request-over")

    def serve(environ: dict[str, t.Any], start_response: WSGI) -> list[bytes]:
        sent: dict[str, t.Any] = {}

        def start(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
            sent.update(status=status, headers=headers)
            return start_response(status, headers, exc_info)

        body = list(app(environ, start))
        response_sent.send(environ, seconds=0.001, **sent)
        over.send()
        return body

    return serve


if __name__ == "__main__":
    prepare()
    from saved_items import create_app
    from saved_items import storage

    app = create_app()
    assert app.test_cli_runner().invoke(args=["db", "upgrade"]).exit_code == 0
    with app.app_context():
        for name in ("first", "second"):
            storage.add_item(name)
