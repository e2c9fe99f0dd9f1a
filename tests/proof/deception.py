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

# what is stored by its name: as nginx reads it, and as it was sent
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
    """Show who is given whose page under a name like that of a static file."""
    service.migrate()
    with Origin(service, "guarded").serving() as origin:
        for rule, configuration in RULES.items():
            row = Row("nginx", f"deception {rule}", checks=4)
            folder = scratch / rule.replace(" ", "-")
            row.guarded, without = seen(configuration, "", origin, folder / "as-it-is")
            row.control, ids = seen(
                configuration, SETTING, origin, folder / "overridden"
            )
            judge(row, without, ids)
            yield row


def judge(row: Row, without: list[str], ids: list[str]) -> None:
    assert row.guarded is not None and row.control is not None
    if row.guarded.leaked:
        row.fail("a name has a copy without the setting.")
    if without:
        row.fail(f"the probe finds {len(without)} without the setting.")
    if not row.control.reused:
        row.fail("no name has a copy, so the setting shows nothing.")
    if "NC015" not in ids:
        row.fail("the probe does not see the names.")
    row.measured.append(
        f"{row.guarded.reused} of {len(NAMES)} names have a copy without the setting,"
        f" {row.control.reused} with it"
    )


def seen(
    configuration: str, setting: str, origin: Origin, folder: Path
) -> tuple[Tally, list[str]]:
    """Put nginx before the service, and return who saw what and what is found."""
    folder.mkdir(parents=True)
    port = free_port()
    text = (CACHE + configuration).format(
        folder=folder, host=HOST, port=port, upstream=origin.port, setting=setting
    )
    with nginx(folder, port, text):
        url = f"http://{HOST}:{port}"
        return read_as_two(url), probe(origin.service, url, "guarded")


def read_as_two(front: str) -> Tally:
    """Read each name as one user and then as another."""
    pool = urllib3.PoolManager(retries=False, timeout=60)
    tally = Tally()
    for name in NAMES:
        first, second = (
            pool.request("GET", front + name, headers={"X-Forwarded-User": user})
            for user in ("alice", "mallory")
        )
        tally.requests += 2
        # each response has the id of its request, unless nginx itself responds
        id = second.headers.get("X-Request-ID")
        tally.reused += id is not None and id == first.headers.get("X-Request-ID")
        tally.stale += b'"alice"' in second.data
    return tally
