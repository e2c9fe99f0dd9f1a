"""Refuse answers that would make a broken service, and list all problems at once."""

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

# on a line of its own, so that no quote in an answer ends the string
ANSWERS = json.loads(r"""
{{ cookiecutter | tojson }}
""")
# before Cookiecutter evaluates expressions in what the command line sets
RAW_ANSWERS = json.loads(r"""
{{ _cookiecutter | default({}) | tojson }}
""")

# a problem is one line of a terminal
COLUMNS = 80
# name: (greatest length, example)
FREE_TEXT = {
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
PATTERNS = (
    (
        "project_slug",
        r"[a-z][a-z0-9]*(-[a-z0-9]+)*",
        "must be a-z, 0-9 and inner hyphens",
    ),
    (
        "author_email",
        r"[\w%+'-]+(\.[\w%+'-]+)*@([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z]([a-zA-Z0-9-]*[a-zA-Z0-9])",
        "is not an ASCII email address",
    ),
    (
        "api_prefix",
        r"(/[a-zA-Z0-9][\w.-]*)+",
        "must be /segments of a-z A-Z 0-9 . _ -",
    ),
    (
        "api_prefix",
        r"(?!/(static|healthz|readyz)(/|$)).*",
        "overlaps /static, /healthz or /readyz",
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
# modules that some of Python 3.11 to 3.15 have and others do not
PYTHON_MODULES = set(
    """
    aifc annotationlib asynchat asyncore audioop cgi cgitb chunk compression crypt
    distutils frozendict imghdr imp lazy lib2to3 mailcap msilib nis nntplib ossaudiodev
    pipes profiling sentinel smtpd sndhdr spwd sre_compile sre_constants sre_parse sunau
    telnetlib uu xdrlib xxlimited xxlimited_3_13
    """.split()
)
# folders and modules of the service, and names that its tools skip or reserve
SERVICE_NAMES = set(
    """
    codeowners conftest default deploy dist docs instance kube_node_lease kube_public
    kube_system license makefile migrations nocache node_modules scratch test tests wsgi
    """.split()
)
# import names of the packages that the service installs
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
RESERVED_NAMES = {
    "is a name that Python uses": PYTHON_MODULES.union(
        keyword.kwlist, keyword.softkwlist, dir(builtins), sys.stdlib_module_names
    ),
    "is a name that the service uses": SERVICE_NAMES,
    "is a package the service needs": DEPENDENCIES,
    "is a device name on Windows": DEVICES,
}


def find_faults(name: str, value: str) -> Iterator[str]:
    """Yield what is wrong with a free-text answer.

    :param name: the name of the answer.
    :param value: the answer.
    """
    limit, _ = FREE_TEXT[name]
    if not value:
        yield "is empty"
        return
    if value != value.strip():
        yield "begins or ends with white space"
    if len(value) > limit:
        yield f"has more than {limit} characters"
    if UNSAFE.search(value):
        yield "has a control character"
    if JINJA.search(value):
        yield "would be evaluated by Jinja"
    for answer, pattern, fault in PATTERNS:
        if answer == name and not re.fullmatch(pattern, value, re.ASCII | re.DOTALL):
            yield fault
    if name == "project_slug":
        package = value.replace("-", "_")
        yield from (
            fault for fault in RESERVED_NAMES if package in RESERVED_NAMES[fault]
        )
        if package.startswith("test_"):
            yield "is a name of a test module"


def derive(answers: dict[str, str]) -> dict[str, str]:
    """Return the private names that follow from the answers.

    A replay file or the command line can set them to something else.

    :param answers: the answers by name.
    """
    slug = answers["project_slug"]
    names = {"__typed_slug": slug, "__package_name": slug.replace("-", "_")}
    for name in ("project_name", "description", "author_name", "author_email"):
        text = answers[name].replace("\\", r"\\").replace('"', r"\u0022")
        names[f"__{name}_str"] = f'"{text}"'
    for name in ("project_name", "description", "author_name"):
        names[f"__{name}_md"] = MARKDOWN.sub(r"\\\g<0>", answers[name])
    return names


def find_problems(
    answers: dict[str, str], raw_answers: dict[str, object]
) -> list[tuple[str, str]]:
    """Return the name of each bad answer with a line that has the rule and an example.

    :param answers: the answers that the service would be baked with.
    :param raw_answers: the same before evaluation.
    """
    refusals = []
    for name, (_, example) in FREE_TEXT.items():
        raw = str(raw_answers.get(name, ""))
        # the default of the slug is an expression; the pattern covers the slug
        evaluated = name != "project_slug" and JINJA.search(raw)
        value = raw if evaluated else answers[name]
        for fault in find_faults(name, value):
            head, tail = f"error: {name} ", f" {fault}; e.g. {example}"
            # no character has more columns than bytes
            width, text = COLUMNS - len(head) - len(tail), repr(value).encode()
            if len(text) > width:
                text = text[: width - 4] + "…'".encode()
            refusals.append((name, head + text.decode(errors="ignore") + tail))
    for name, choices in CHOICES.items():
        if answers[name] not in choices:
            line = f"error: {name} must be one of {', '.join(choices)}"
            refusals.append((name, line))
    if not refusals:
        for name, value in derive(answers).items():
            if answers[name] != value:
                rule = "does not follow from the answers; leave it out"
                refusals.append((name, f"error: {name} {rule}"))
    return refusals


def build_command(answers: dict[str, str], bad_names: set[str]) -> str:
    """Return the command that repeats the questions, with the good answers set.

    :param answers: the answers by name.
    :param bad_names: the names of those that are refused.
    """
    names = (*FREE_TEXT, *CHOICES)
    good = {name: answers[name] for name in names if name not in bad_names}
    words = ["cookiecutter", answers["_template"], *map("=".join, good.items())]
    folder = answers.get("_output_dir")
    # cruft sets no folder
    if not folder:
        context = json.dumps(good, ensure_ascii=False)
        words = ["cruft", "create", answers["_template"], "--extra-context", context]
    elif folder != os.environ.get("PWD"):
        words += ["--output-dir", folder]
    if checkout := answers.get("_checkout"):
        words += ["--checkout", checkout]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


if __name__ == "__main__":
    # cookiecutter.json replaces a slug that cannot name a folder
    if ANSWERS["project_slug"] == "refused_slug":
        ANSWERS["project_slug"] = ANSWERS["__typed_slug"]
    if refusals := find_problems(ANSWERS, RAW_ANSWERS):
        names, lines = zip(*refusals, strict=True)
        raise SystemExit("\n".join([*lines, build_command(ANSWERS, {*names})]))
