from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import urllib3

from .edge_settings import probe
from .nginx import nginx
from .processes import free_port
from .processes import HOST
from .report import Row
from .report import Tally
from .service import Origin
from .service import Service

# nginx chooses what to store by the normalized path, or by the raw request target
BY_EXTENSION = """\
    server {{
        listen {host}:{port};
        location / {{ proxy_pass http://{host}:{upstream}; }}
        location ~* \\.(css|js|json)$ {{
            proxy_pass http://{host}:{upstream};
            proxy_cache proof;
            proxy_cache_valid any 1h;
            {setting}
        }}
    }}"""
BY_DIRECTORY = """\
    map $request_uri $dynamic {{ default 1; ~^/static/ 0; }}
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://{host}:{upstream};
            proxy_cache proof;
            proxy_cache_valid any 1h;
            proxy_cache_bypass $dynamic;
            proxy_no_cache $dynamic;
            {setting}
        }}
    }}"""
RULES = {"by extension": BY_EXTENSION, "by directory": BY_DIRECTORY}
CACHE = "    proxy_cache_path {folder}/cache keys_zone=proof:4m;\n"
SETTING = "proxy_ignore_headers Cache-Control Expires;"
PATHS = ["/api/items", "/whoami", "/users/alice"]
ENDS = ["/", ";", "%3b", "%2f", "%00", "%23", "%3f"]
NAMES = [
    *(f"{path}{end}x.css" for path in PATHS for end in ENDS),
    *(f"/static/..%2f{path[1:]}" for path in PATHS),
    *(f"/users/alice.{extension}" for extension in ("css", "js", "json")),
]


def prove(service: Service, scratch: Path, rounds: int) -> Iterator[Row]:
    """Show whose page a user gets under a name like that of a static file."""
    service.migrate()
    with Origin(service, "guarded").serving() as origin:
        for rule, configuration in RULES.items():
            row = Row("nginx", f"deception {rule}", checks=4)
            folder = scratch / rule.replace(" ", "-")
            row.service, clean = run_front(
                configuration, "", origin, folder / "as-it-is"
            )
            row.control, findings = run_front(
                configuration, SETTING, origin, folder / "overridden"
            )
            judge(row, clean, findings)
            yield row


def judge(row: Row, clean: list[str], findings: list[str]) -> None:
    assert row.service is not None and row.control is not None
    if row.service.leaked:
        row.fail("nginx reuses a response without the setting.")
    if clean:
        row.fail(f"the probe finds {len(clean)} without the setting.")
    if not row.control.reused:
        row.fail("nginx reuses no response, so the setting proves nothing.")
    if "NC015" not in findings:
        row.fail("the probe does not find the names.")
    row.figures.append(
        f"{row.service.reused} of {len(NAMES)} names have a copy without the setting,"
        f" {row.control.reused} with it"
    )


def run_front(
    configuration: str, setting: str, origin: Origin, folder: Path
) -> tuple[Tally, list[str]]:
    """Run nginx before the service, and return its counts and the findings."""
    folder.mkdir(parents=True)
    port = free_port()
    text = (CACHE + configuration).format(
        folder=folder, host=HOST, port=port, upstream=origin.port, setting=setting
    )
    with nginx(folder, port, text):
        url = f"http://{HOST}:{port}"
        return read_as_two(url), probe(origin.service, url, "guarded")


def read_as_two(front: str) -> Tally:
    """Request each name as one user and then as another."""
    pool = urllib3.PoolManager(retries=False, timeout=60)
    tally = Tally()
    for name in NAMES:
        first, second = (
            pool.request("GET", front + name, headers={"X-Forwarded-User": user})
            for user in ("alice", "mallory")
        )
        tally.requests += 2
        # the service sends the id of a request with the response, nginx itself none
        id = second.headers.get("X-Request-ID")
        tally.reused += id is not None and id == first.headers.get("X-Request-ID")
        tally.stale += b'"alice"' in second.data
    return tally
