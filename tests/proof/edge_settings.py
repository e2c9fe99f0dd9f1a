from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import urllib3

from .nginx import nginx
from .processes import free_port
from .processes import HOST
from .processes import program
from .processes import ProofError
from .processes import running
from .report import Row
from .report import Tally
from .scenarios import ITEMS
from .service import Origin
from .service import Service

NGINX = """\
    proxy_cache_path {folder}/cache keys_zone=proof:4m;
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://{host}:{upstream};
            proxy_cache proof;
            proxy_cache_valid 200 1h;
            {setting}
        }}
    }}"""
VARNISH = """\
vcl 4.1;
backend default {{ .host = "{host}"; .port = "{upstream}"; }}
sub vcl_backend_response {{ {setting} }}
"""
SQUID = """\
http_port {host}:{port} accel no-vhost defaultsite={host}
cache_peer {host} parent {upstream} 0 no-query originserver
http_access allow all
cache_mem 16 MB
cache_log stdio:/dev/stderr
access_log none
pid_filename none
netdb_filename none
pinger_enable off
visible_hostname edge
coredump_dir {folder}
shutdown_lifetime 0 seconds
{setting}
"""
APACHE = """\
ServerRoot {folder}
PidFile {folder}/pid
ServerName edge
Listen {host}:{port}
ErrorLog /dev/stderr
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule headers_module {modules}/mod_headers.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
LoadModule cache_module {modules}/mod_cache.so
LoadModule cache_socache_module {modules}/mod_cache_socache.so
LoadModule socache_shmcb_module {modules}/mod_socache_shmcb.so
CacheSocache shmcb:{folder}/cache(1048576)
CacheEnable socache /
ProxyPass / http://{host}:{upstream}/
<Location />
{setting}
</Location>
"""
HAPROXY = """\
cache proof
    total-max-size 8
    max-age 3600
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend edge
    bind {host}:{port}
    http-request cache-use proof
    {setting}
    http-response cache-store proof
    default_backend service
backend service
    server service {host}:{upstream}
"""
MODULES = "/usr/lib/apache2/modules"


class Product(NamedTuple):
    """A cache, and a setting of docs/edge.md that overrides all header fields.

    :param configuration: text of its configuration file.
    :param setting: the setting.
    :param command: returns the command that starts it, None for nginx.
    """

    configuration: str
    setting: str
    command: Callable[[Path, int], list[str]] | None = None


def varnishd(path: Path, port: int) -> list[str]:
    folder = path.parent / "varnish"
    command = [program("varnishd"), "-F", "-j", "none", "-n", str(folder)]
    command += ["-a", f"{HOST}:{port}", "-f", str(path), "-T", "none"]
    return [*command, "-s", "malloc,32m", "-p", "vsl_space=1m"]


def squid(path: Path, port: int) -> list[str]:
    # Squids of one service name share memory, and another may run on this machine
    return [program("squid"), "-N", "-n", f"proof{port}", "-f", str(path)]


PRODUCTS = {
    "nginx": Product(NGINX, "proxy_ignore_headers Cache-Control Expires;"),
    "varnish": Product(
        VARNISH, "set beresp.ttl = 1h;\n    return (deliver);", varnishd
    ),
    "squid": Product(
        SQUID,
        "refresh_pattern . 60 100% 60 ignore-no-store ignore-private override-expire\n"
        "offline_mode on",
        squid,
    ),
    "apache": Product(
        APACHE,
        'Header set Cache-Control "max-age=3600"\n'
        "Header unset Expires\n"
        "Header unset Pragma",
        lambda path, port: [program("apache2"), "-X", "-f", str(path)],
    ),
    "haproxy": Product(
        HAPROXY,
        "http-response set-header Cache-Control max-age=3600\n"
        "    http-response del-header Pragma",
        lambda path, port: [program("haproxy"), "-db", "-f", str(path)],
    ),
}


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Show that a setting overrides the header fields, and that the probe finds it."""
    service.migrate()
    with Origin(service, "wsgi").serving() as origin:
        for name, product in PRODUCTS.items():
            setting = product.setting.split("\n")[0].rstrip(";")
            row = Row(name, setting[:42], checks=4, counted=False)
            row.service, clean = run_front(name, "", origin, scratch / name)
            row.control, findings = run_front(
                name, product.setting, origin, scratch / f"{name}-overridden"
            )
            judge(row, clean, findings)
            yield row


def judge(row: Row, clean: int, findings: int) -> None:
    assert row.service is not None and row.control is not None
    if row.service.stale:
        row.fail("the list is stale without the setting.")
    if clean:
        row.fail(f"the probe finds {clean} without the setting.")
    if not row.control.stale:
        row.fail("the list is not stale, so the setting proves nothing.")
    if not findings:
        row.fail("the probe does not find the setting.")
    row.figures.append(
        f"the probe finds {clean} without the setting, {findings} with it"
    )


def run_front(
    name: str, setting: str, origin: Origin, folder: Path
) -> tuple[Tally, int]:
    """Run a product before the service, and return its counts and those of the probe."""
    folder.mkdir()
    with front(PRODUCTS[name], setting, origin.port, folder) as url:
        return read_after_write(url, origin.url), len(probe(origin.service, url))


@contextlib.contextmanager
def front(product: Product, setting: str, upstream: int, folder: Path) -> Iterator[str]:
    """Run a product with a setting, and yield its URL."""
    port = free_port()
    text = product.configuration.format(
        folder=folder,
        host=HOST,
        port=port,
        upstream=upstream,
        setting=setting,
        modules=MODULES,
    )
    with contextlib.ExitStack() as stack:
        if product.command is None:
            stack.enter_context(nginx(folder, port, text))
        else:
            path = folder / "configuration"
            path.write_text(text, "utf-8")
            command = product.command(path, port)
            stack.enter_context(running(command, port, folder / "log"))
        yield f"http://{HOST}:{port}"


def read_after_write(front: str, origin: str) -> Tally:
    """Read the list, save an item past the cache, and read the list again."""
    pool = urllib3.PoolManager(retries=False, timeout=60)
    pool.request("GET", front + ITEMS)
    item = pool.request("POST", origin + ITEMS, json={"name": "Saved"}).json()
    items = pool.request("GET", front + ITEMS).json()["items"]
    return Tally(2, stale=int(item["id"] not in {each["id"] for each in items}))


def probe(service: Service, url: str, module: str = "wsgi") -> list[str]:
    """Return the ids of the findings of `flask nocache probe`."""
    flask = [service.python, "-m", "flask", "--app", module]
    process = subprocess.run(
        [*flask, "nocache", "probe", url, "--format", "json"],
        cwd=service.folder,
        env=service.environment(),
        capture_output=True,
        text=True,
    )
    if process.returncode not in {0, 1}:
        raise ProofError(f"The probe failed:\n{process.stderr[-2000:]}")
    ids = [finding["id"] for finding in json.loads(process.stdout)]
    if process.returncode != bool(ids):
        raise ProofError(
            f"The probe has {len(ids)} findings, but exits with {process.returncode}."
        )
    return ids
