"""Refuse answers that would give a broken service, all problems at once."""

from __future__ import annotations

import builtins
import json
import keyword
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

# on lines of their own, so that no answer can meet the quotes
ANSWERS = json.loads(r"""
{{ cookiecutter | tojson }}
""")
# Cookiecutter evaluates what the command line says: this is how it was typed
TYPED = json.loads(r"""
{{ _cookiecutter | default({}) | tojson }}
""")

# a problem is one line of a terminal
COLUMNS = 80
# answer: (most characters, an example)
ASKED = {
    "project_name": (80, "Saved Items"),
    "project_slug": (60, "saved-items"),
    "description": (200, "Saves items."),
    "author_name": (80, "Ada Lovelace"),
    "author_email": (254, "ada@example.com"),
    "api_prefix": (60, "/api/v1"),
}
CHOICES = {
    "license": ("MIT", "BSD-3-Clause", "Apache-2.0", "none"),
    "code_host": ("github", "gitlab", "none"),
    "deploy": ("compose", "kubernetes", "none"),
}
SHAPES = (
    (
        "project_slug",
        r"[a-z][a-z0-9]*(-[a-z0-9]+)*",
        "must be a-z, 0-9, inner hyphens",
    ),
    (
        "author_email",
        r"[\w%+'-]+(\.[\w%+'-]+)*@([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z]([a-zA-Z0-9-]*[a-zA-Z0-9])",
        "is no ASCII email address",
    ),
    (
        "api_prefix",
        r"(/[a-zA-Z0-9][\w.-]*)+",
        "must be /segments of a-z A-Z 0-9 . _ -",
    ),
    (
        "api_prefix",
        r"(?!/(static|healthz|readyz)(/|$)).*",
        "takes /static, /healthz or /readyz",
    ),
)
JINJA = re.compile(r"[{][\x7b%#]")
# control characters, line separators, bidi overrides, surrogates, noncharacters
UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
MARKDOWN = re.compile(r"[\\`*_~\[\]<>&#|$:@]|^[-+=]|(?<=[0-9])[.)]")
DEVICES = {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
DEVICES |= {"con", "prn", "aux", "nul"}
# what a Python from 3.11 to 3.15 has and another has not
PYTHONS = set(
    """
    aifc annotationlib asynchat asyncore audioop cgi cgitb chunk compression crypt
    distutils frozendict imghdr imp lazy lib2to3 mailcap msilib nis nntplib ossaudiodev
    pipes profiling sentinel smtpd sndhdr spwd sre_compile sre_constants sre_parse sunau
    telnetlib uu xdrlib xxlimited xxlimited_3_13
    """.split()
)
# folders and modules of the service, and what its tools skip or keep for themselves
SERVICE = set(
    """
    codeowners conftest default deploy dist docs instance kube_node_lease kube_public
    kube_system license makefile migrations nocache node_modules scratch test tests wsgi
    """.split()
)
# import names of what the service installs
DEPENDENCIES = set(
    """
    alembic annotated_types asgiref ast_serialize blinker boolean cachecontrol certifi
    cfgv charset_normalizer click colorama cyclonedx defusedxml distlib dotenv filelock
    flask flask_alembic flask_sqlalchemy_lite greenlet gunicorn gunicorn_stubs identify
    idna iniconfig itsdangerous jinja2 librt license_expression mako markdown_it
    markupsafe mdurl msgpack mypy mypy_extensions mypyc nodeenv packageurl packaging
    packaging_legacy_version pathspec pip pip_api pip_audit pip_requirements_parser
    pkg_resources platformdirs pluggy pre_commit pre_commit_hooks prometheus_client
    psycopg psycopg_binary py py_serializable pydantic pydantic_core pygments pyparsing
    pytest python_discovery pythonjsonlogger requests rich ruamel ruff setuptools
    sortedcontainers sqlalchemy tomli tomli_w typing_extensions typing_inspection tzdata
    urllib3 uv virtualenv werkzeug wheel yaml
    """.split()
)
TAKEN = {
    "is a name of Python's own": PYTHONS.union(
        keyword.kwlist, keyword.softkwlist, dir(builtins), sys.stdlib_module_names
    ),
    "is a name inside the service": SERVICE,
    "is a package the service needs": DEPENDENCIES,
    "is a device on Windows": DEVICES,
}


def faults(name: str, value: str) -> Iterator[str]:
    """Say what is wrong with one free answer."""
    most, _ = ASKED[name]
    if not value:
        yield "is empty"
        return
    if value != value.strip():
        yield "begins or ends with a blank"
    if len(value) > most:
        yield f"has more than {most} characters"
    if UNSAFE.search(value):
        yield "has a control character"
    if JINJA.search(value):
        yield "would be evaluated by Jinja"
    for answer, shape, fault in SHAPES:
        if answer == name and not re.fullmatch(shape, value, re.ASCII | re.DOTALL):
            yield fault
    if name == "project_slug":
        package = value.replace("-", "_")
        yield from (why for why in TAKEN if package in TAKEN[why])
        if package.startswith("test_"):
            yield "is a name for a test module"


def derived(answers: dict[str, str]) -> dict[str, str]:
    """Work out what a replay file or the command line can set against the answers."""
    slug = answers["project_slug"]
    names = {"__typed_slug": slug, "__package_name": slug.replace("-", "_")}
    for name in ("project_name", "description", "author_name", "author_email"):
        text = answers[name].replace("\\", r"\\").replace('"', r"\u0022")
        names[f"__{name}_str"] = f'"{text}"'
    for name in ("project_name", "description", "author_name"):
        names[f"__{name}_md"] = MARKDOWN.sub(r"\\\g<0>", answers[name])
    return names


def problems(
    answers: dict[str, str], typed: dict[str, object]
) -> list[tuple[str, str]]:
    """List every problem: its answer, and a line with the rule and an example.

    :param answers: what the service would be baked with.
    :param typed: the same before evaluation.
    """
    found = []
    for name, (_, example) in ASKED.items():
        before = str(typed.get(name, ""))
        # a slug's default is an expression; its shape says enough
        evaluated = name != "project_slug" and JINJA.search(before)
        value = before if evaluated else answers[name]
        for fault in faults(name, value):
            head, tail = f"error: {name} ", f" {fault}; e.g. {example}"
            # no letter takes more columns than bytes
            room, shown = COLUMNS - len(head) - len(tail), repr(value).encode()
            if len(shown) > room:
                shown = shown[: room - 4] + "…'".encode()
            found.append((name, head + shown.decode(errors="ignore") + tail))
    for name, choices in CHOICES.items():
        if answers[name] not in choices:
            found.append((name, f"error: {name} must be one of {', '.join(choices)}"))
    if not found:
        for name, value in derived(answers).items():
            if answers[name] != value:
                rule = "does not follow from the answers; leave it out"
                found.append((name, f"error: {name} {rule}"))
    return found


def command(answers: dict[str, str], bad: set[str]) -> str:
    """Return what asks again, with the good answers filled in."""
    good = {name: answers[name] for name in (*ASKED, *CHOICES) if name not in bad}
    words = ["cookiecutter", answers["_template"], *map("=".join, good.items())]
    folder = answers.get("_output_dir")
    if not folder:
        given = json.dumps(good, ensure_ascii=False)
        words = ["cruft", "create", answers["_template"], "--extra-context", given]
    elif folder != os.environ.get("PWD"):
        words += ["--output-dir", folder]
    if checkout := answers.get("_checkout"):
        words += ["--checkout", checkout]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


if __name__ == "__main__":
    # the folder has another name where no folder may have the one that was typed
    if ANSWERS["project_slug"] == "refused_slug":
        ANSWERS["project_slug"] = ANSWERS["__typed_slug"]
    if found := problems(ANSWERS, TYPED):
        names, lines = zip(*found, strict=True)
        raise SystemExit("\n".join([*lines, command(ANSWERS, {*names})]))
