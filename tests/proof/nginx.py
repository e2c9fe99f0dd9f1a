from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .processes import program
from .processes import running

MAIN = """\
daemon off;
pid {folder}/pid;
error_log stderr;
worker_processes 1;
{user}
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, port: int, http: str) -> Iterator[None]:
    """Run an nginx until the block ends.

    :param folder: a folder of its own.
    :param port: port on which its configuration makes it listen.
    :param http: directives of its http block.
    """
    # the workers of root run as another user, who may not enter the folder
    user = "user root;" if os.geteuid() == 0 else ""
    path = folder / "nginx.conf"
    path.write_text(MAIN.format(folder=folder, user=user, http=http), "utf-8")
    command = [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(path)]
    with running(command, port, folder / "log"):
        yield
