"""Mistakes in what enforces, each of which a test of the kit must notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import clean_environ
from conftest import KIT
from conftest import ROOT

TESTS = (
    "declaration",
    "invisible",
    "response",
    "cacheable",
    "guard",
    "policy",
    "overridden",
    "static",
)
# these failures are none to keep
PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:failures"]
# the file, what stands in it once, and the mistake
MUTATIONS = {
    "unclosed": ("guard", "    except BaseException:\n        closer(body)()\n", "    except ZeroDivisionError:\n"),
    "three-arguments": ("guard", "        if exc_info is None:\n", "        if False:\n"),
    "file-read": ("guard", "body is exchange.file", "False"),
    "upgrade-gets-a-response": ("guard", 'and "HTTP_UPGRADE" in environ', "and False"),
    "empty-body-gets-a-response": ("guard", "(exchange.status or response)", "True"),
    "authorization": ("guard", "exchange.authorized = True", "pass"),
    "conditions-stay": ("guard", "pop_conditions(environ)", "{}"),
    "304-as-200": ("guard", 'and status[:3] == "200"', 'and status[:3] == "0"'),
    "304-with-body": ("guard", "        if exchange.bodiless:\n", "        if False:\n"),
    "304-let-out": ("guard", 'if "304" <= status < "305"', "if False"),
    "412-stored": ("guard", "if not any(name in environ for name in left)", "if True"),
    "any-permit": ("guard", "if len(kept) < len(headers)", "if True"),
    "permit-left": ("guard", "            headers = kept\n", ""),
    "old-http": ("guard", '== "HTTP/1.0"', '== "HTTP/0.9"'),
    "public-with-credentials": ("guard", "if not policy.public:", "if True:"),
    "reopened": ("guard", "        if self.limit is None or self.limit is policy:\n", "        if True:\n"),
    "kept-open": ("guard", "        self.permit = self.return_value = None\n", "        pass\n"),
    "headers-late": ("response", "    for chunk in chunks:\n", "    for chunk in filter(None, chunks):\n"),
    "list-read": ("guard", "frozenset({CompleteBody, list, tuple})", "frozenset({CompleteBody})"),
    "long-status": ("policy", " or status[3:4].strip()", ""),
    "any-status": ("policy", "if status[:3] not in STORABLE", "if False"),
    "any-method": ("policy", "if method not in SAFE:\n        return f", "if False:\n        return f"),
    "cookie": ("policy", 'if NAMES[name] == "set-cookie"', "if False"),
    "vary": ("policy", 'if NAMES[name] == "vary"', "if False"),
    "vary-seen": ("policy", "NAMES[name] not in examined", "True"),
    "inner-request": ("declare", "exchange.request is not here", "False"),
    "any-view": ("declare", "rule is None or policy_of(app.view_functions.get(rule.endpoint)) is not policy", "rule is None"),
    "on-the-api": ("declare", "on_api(app, here.blueprints)", "False"),
    "every-attribute": ("declare", "policy if isinstance(policy, Policy) else None", "policy"),
    "entry-by-name": ("app", "guard(self, super().__call__,", "guard(self, self.wsgi_app,"),
    "inner-by-name": ("app", "return super().wsgi_app(", "return Flask.wsgi_app(self, "),
    "unentered": ("app", "exchange.inner_app = self", "pass"),
    "made-twice": ("app", "response = super().make_response(rv)", "response = super().make_response(super().make_response(rv))"),
    "shared": ("app", "response = copy(response)", "pass"),
    "any-digest": ("static", "if _digest(file, stamp) == digest", "if True"),
    "digest-of-the-path": ("static", "if len(files) == 1 and exchange.return_value is response", "if True"),
    "digest-kept-too-early": ("static", "if time.time_ns() - stamp[-1] > SETTLING_TIME", "if True"),
    "time-of-release": ("static", "        response.set_etag(digest)\n", ""),
    "date-of-release": ("static", '        del response.headers["Last-Modified"]\n', ""),
    "range-early": ("static", '("HTTP_RANGE", "HTTP_IF_RANGE", *PRECONDITIONS)', "()"),
    "unwatched": ("static", "[:-1] != stamp[:-1]", "is None"),
    "watched-too-closely": ("static", "[:-1] != stamp[:-1]", " != stamp"),
    "left-open": ("static", "            response.close()\n", ""),
    "range-lost": ("static", "        environ.update(aside)\n", "        pass\n"),
    "public-year": ("static", 'fallback=Policy(IMMUTABLE.replace("public", "private"))', "fallback=None"),
    "api-linked": ("static", "if on_api(app,", "if False and on_api(app,"),
    "spared-refused": ("guard", "and not self.view_skipped:\n            status", "and True:\n            status"),
    "spared-unknown-length": ("guard", "not self.view_skipped\n            and self.request", "True\n            and self.request"),
    "tag-not-sent": ("guard", "kept = with_etag(kept, self.etag)", "pass"),
    "tag-on-no-store": ("guard", "self.etag is not None and policy.storable", "self.etag is not None"),
    "silent-loss": ("guard", "lost = self.loss and not policy.storable", "lost = False"),
    "loss-of-what-is-stored": ("guard", "if self.loss and not policy.storable:", "if self.loss:"),
    "no-status-named": ("guard", "reason = refusal(self.method, status) or self.loss", "reason = self.loss"),
    "length-unnamed": ("guard", 'self.loss = "unknown length"', "pass"),
    "disclosure-unnamed": ("guard", 'self.loss = disclosure or "Authorization"', "pass"),
    "closing-is-a-loss": ("guard", '        self.loss = ""\n', ""),
    "closed-is-a-loss": ("declare", "        if exchange.limit is None:\n", "        if True:\n"),
    "tag-over-the-view's": ("policy", 'if "etag" in names:', "if False:"),
    "strong-tag-encoded": ("policy", '"content-encoding" in names and', "False and"),
    "vary-replaced": ("policy", "field_names(*vary, *self.vary)", "field_names(*self.vary)"),
    "vary-doubled": ("policy", "names.setdefault(name.lower(), name)", "names.setdefault(name, name)"),
    "etag-though-closed": ("conditional", "exchange is not None and exchange.limit is None", "exchange is not None"),
    "etag-before-if-match": ("conditional", "any(name in exchange.request.environ for name in PRECONDITIONS)", "False"),
    "any-tag": ("conditional", "if not ENTITY_TAG.fullmatch(etag):", "if False:"),
    "personal-vary": ("arguments", "if public and name.lower() in PERSONAL:", "if False:"),
    "shared-and-private": ("arguments", 'if shared_max_age:\n', "if False:\n"),
    "private-shared": ("declare", "        if not public:\n", "        if False:\n"),
    "immutable-and-stale": ("declare", "if immutable and not max_age:", "if False:"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_mistake_can_be_made(name: str) -> None:
    module, right, _ = MUTATIONS[name]
    source = (KIT / f"{module}.py").read_text("utf-8")

    assert source.count(right) == 1, f"{module}.py has no single {right!r}"


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_mistake_in_the_guard_is_noticed(name: str, tmp_path: Path) -> None:
    module, right, wrong = MUTATIONS[name]
    kit = tmp_path / "nocache"
    shutil.copytree(KIT, kit)
    path = kit / f"{module}.py"
    source = path.read_text("utf-8").replace(right, wrong)
    path.write_text(source, "utf-8", newline="\n")

    tests = [ROOT / "tests" / "kit" / f"test_{test}.py" for test in TESTS]
    ran = subprocess.run(
        [*PYTEST, *map(os.fspath, tests)],
        cwd=ROOT,
        env=clean_environ() | {"KIT": str(kit)},
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 1, ran.stdout
