"""Refuse answers that would give a broken service, all problems at once."""

from __future__ import annotations

import builtins
import json
import keyword
import re
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

# answer: (most characters, an example)
ASKED = {
    "project_name": (80, "Saved Items"),
    "project_slug": (60, "saved-items"),
    "description": (200, "Keeps what readers save."),
    "author_name": (80, "Ada Lovelace"),
    "author_email": (254, "ada@example.com"),
    "api_prefix": (60, "/api/v1"),
}
CHOICES = {
    "license": ("MIT", "BSD-3-Clause", "Apache-2.0", "none"),
    "code_host": ("github", "gitlab", "none"),
}
SHAPES = {
    "project_slug": (
        r"[a-z][a-z0-9]*(-[a-z0-9]+)*",
        "must be lower-case words of ASCII letters and digits, a letter first, joined by single hyphens",
    ),
    "author_email": (
        r"[\w%+'-]+(\.[\w%+'-]+)*@([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z]([a-zA-Z0-9-]*[a-zA-Z0-9])",
        "must be an email address of ASCII characters",
    ),
    "api_prefix": (
        r"(?!/(static|healthz|readyz)(/|$))(/[a-zA-Z0-9][\w.-]*)+",
        "must be segments of ASCII letters, digits, '.', '_' and '-', each after a slash, the first not static, healthz or readyz",
    ),
}
JINJA = re.compile(r"[{][\x7b%#]")
# control characters, line separators, bidi overrides, surrogates, noncharacters
UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
DEVICES = {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
DEVICES |= {"con", "prn", "aux", "nul"}
FOLDERS = set("deploy docs instance migrations nocache test tests wsgi".split())
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
    "is a Python keyword": {*keyword.kwlist, *keyword.softkwlist},
    "is a Python builtin": set(dir(builtins)),
    "is a module of Python": set(sys.stdlib_module_names),
    "is a name inside the service": FOLDERS,
    "is a package the service needs": DEPENDENCIES,
    "is a device on Windows": DEVICES,
}


def faults(name: str, value: str) -> Iterator[str]:
    """Say what is wrong with one free answer."""
    most, _ = ASKED[name]
    if not value or value != value.strip():
        yield "must not be empty, nor start or end with blanks"
    if len(value) > most:
        yield f"must have at most {most} characters"
    if UNSAFE.search(value):
        yield "must be one line without control characters"
    if JINJA.search(value):
        yield "must not hold a brace before a brace, '%' or '#': Jinja would evaluate it"
    shape, rule = SHAPES.get(name, (".*", ""))
    if value and not re.fullmatch(shape, value, re.ASCII | re.DOTALL):
        yield rule
    if name == "project_slug":
        package = value.replace("-", "_")
        yield from (
            f"must not name {package!r}, which {why}"
            for why in TAKEN
            if package in TAKEN[why]
        )


def problems(answers: dict[str, str], typed: dict[str, object]) -> list[str]:
    """List every problem: its answer, the rule and a valid example.

    :param answers: what the service would be baked with.
    :param typed: the same before evaluation.
    """
    found = []
    # the folder has a safe name meanwhile
    answers = answers | {"project_slug": answers["__typed_slug"]}
    for name, (_, example) in ASKED.items():
        before = str(typed.get(name, ""))
        # a slug's default is an expression; its shape says enough
        evaluated = name not in SHAPES and JINJA.search(before)
        value = before if evaluated else answers[name]
        shown = repr(value if len(value) <= 60 else f"{value[:60]}…")
        for fault in faults(name, value):
            found.append(f"{name}: {shown} {fault}; for example {example!r}")
    for name, choices in CHOICES.items():
        if answers[name] not in choices:
            rule = f"must be one of {', '.join(choices)}"
            found.append(
                f"{name}: {answers[name]!r} {rule}; for example {choices[0]!r}"
            )
    return found


if __name__ == "__main__":
    lines = [f"error: {problem}" for problem in problems(ANSWERS, TYPED)]
    if lines:
        raise SystemExit("\n".join(lines))
