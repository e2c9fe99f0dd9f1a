"""NC007: a corpus of harmful and harmless forms, and the names in the vocabulary."""

from __future__ import annotations

import ast
import inspect
import re
import typing as t
from datetime import datetime
from datetime import UTC
from types import ModuleType

import flask
import pytest
import werkzeug.exceptions
import werkzeug.middleware.shared_data
import werkzeug.utils
from conftest import ROOT
from flask import Response
from nocache.audit import source
from nocache.audit import vocabulary
from nocache.audit.handwritten import FIELD
from werkzeug.datastructures import Headers
from werkzeug.datastructures import ResponseCacheControl

CORPUS = ROOT / "tests" / "corpus"
SNIPPET = re.compile(r"^--- (.+)\n((?:(?!--- ).*\n?)*)", re.MULTILINE)
# the kinds of forms, as the corpus names them
HARMFUL = (
    "hook decorator helper maker tuple headers alias control attribute constant"
    " unpacked files setting conditions stream"
)
HARMLESS = "sent stored client model body read text files etag override"


def corpus(name: str) -> dict[str, str]:
    text = (CORPUS / f"{name}.txt").read_text("utf-8")
    snippets = SNIPPET.findall(text)
    assert len(dict(snippets)) == len(snippets), "two forms of one name"
    return dict(snippets)


def scan(snippet: str) -> list[tuple[int, str]]:
    return [
        (line, what)
        for line, id, what, _ in source.spot("views.py", snippet)
        if id == "NC007"
    ]


def kinds(snippets: t.Iterable[str]) -> set[str]:
    return {form.partition(":")[0] for form in snippets}


@pytest.mark.parametrize("name", ["harmful", "harmless"])
def test_corpus_is_large_and_is_python(name: str) -> None:
    snippets = corpus(name)

    assert len(snippets) >= 60
    for snippet in snippets.values():
        compile(snippet, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_corpus_has_every_kind() -> None:
    assert kinds(corpus("harmful")) >= set(HARMFUL.split())
    assert kinds(corpus("harmless")) >= set(HARMLESS.split())


@pytest.mark.parametrize("form", corpus("harmful"))
def test_harmful_form_is_a_finding(form: str) -> None:
    assert scan(corpus("harmful")[form])


@pytest.mark.parametrize("form", corpus("harmless"))
def test_harmless_form_is_no_finding(form: str) -> None:
    assert scan(corpus("harmless")[form]) == []


def test_precision_and_recall() -> None:
    misses = [form for form, text in corpus("harmful").items() if not scan(text)]
    false = {form: f for form, text in corpus("harmless").items() if (f := scan(text))}
    hits = len(corpus("harmful")) - len(misses)

    assert hits / (hits + len(false)) >= 0.99, false
    assert hits / len(corpus("harmful")) >= 0.95, misses


@pytest.mark.parametrize(
    ("snippet", "lines"),
    [
        ("x = 1\nmake_response('x').headers['Expires'] = '0'\n", [2]),
        (
            "Response(\n    'x',\n    headers={\n        'Expires': '0',\n    },\n)\n",
            [4],
        ),
        ("H = {'Expires': '0'}\nResponse(headers=H)\nResponse(headers=H)\n", [1]),
        ("r = make_response('x')\nr.headers.set(\n    'Expires', '0'\n)\n", [2]),
    ],
)
def test_finding_has_the_line_that_sets_the_field(
    snippet: str, lines: list[int]
) -> None:
    assert [line for line, _ in scan(snippet)] == lines


# the vocabulary, compared with the libraries


def changes(owner: t.Any, name: str, calls: t.Iterable[tuple[t.Any, ...]]) -> bool:
    for arguments in calls:
        thing = owner()
        before = list(thing.items())
        try:
            getattr(thing, name)(*arguments)
        except Exception:
            continue
        if list(thing.items()) != before:
            return True
    return False


def public(cls: type) -> list[str]:
    special = ("__delitem__", "__ior__", "__setitem__")
    return [n for n in dir(cls) if n in special or not n.startswith("_")]


def test_vocabulary_has_every_method_that_changes_headers() -> None:
    pair = ("Cache-Control", "x")
    calls = [(), pair[:1], pair, ("Pragma", ["x"]), ({"Pragma": "x"},), ([pair],)]

    def headers() -> Headers:
        return Headers([("Cache-Control", "old"), ("Vary", "x")])

    changing = {name for name in public(Headers) if changes(headers, name, calls)}
    also = {"setdefault", "setlistdefault"}  # change a missing field only
    whole = {"clear", "popitem"}  # name no field

    assert changing | also == vocabulary.SETTERS | vocabulary.TAKERS | whole
    assert all(name in public(Headers) for name in also)


def test_vocabulary_has_every_method_that_changes_cache_control() -> None:
    calls = [(), ("public",), ("private", None), ({"private": None},)]

    def control() -> ResponseCacheControl:
        return ResponseCacheControl({"public": None})

    names = public(ResponseCacheControl)
    changing = {name for name in names if changes(control, name, calls)}

    assert changing == vocabulary.CONTROLS


def changed_fields(change: t.Callable[[Response], object]) -> set[str]:
    response = Response("x")
    before = list(response.headers)
    try:
        change(response)
    except Exception:
        return set()
    return {name.lower() for name, _ in response.headers if (name, _) not in before}


def test_vocabulary_has_every_attribute_and_method_of_a_response() -> None:
    values = [5, "x", datetime(2030, 1, 1, tzinfo=UTC), Headers({"Expires": "x"})]
    attributes, methods = set(), set()
    for name in public(Response):
        for value in values:
            for field in changed_fields(lambda r, n=name, v=value: setattr(r, n, v)):  # type: ignore[misc]
                attributes |= (
                    {name} if FIELD.fullmatch(field) or field == "age" else set()
                )
            if "etag" in changed_fields(lambda r, n=name, v=value: getattr(r, n)(v)):  # type: ignore[misc]
                methods.add(name)
        if "etag" in changed_fields(lambda r, n=name: getattr(r, n)()):  # type: ignore[misc]
            methods.add(name)

    assert attributes == vocabulary.ATTRIBUTES
    assert methods == vocabulary.ETAG_METHODS


def returning_responses(holder: ModuleType | type) -> set[str]:
    names = set()
    for name in vars(holder) if isinstance(holder, type) else dir(holder):
        function = getattr(holder, name)
        if name.startswith("_") or not inspect.isroutine(function):
            continue
        annotation = str(getattr(function, "__annotations__", {}).get("return", ""))
        if re.search(r"Response\b(?!Return)", annotation):
            names.add(name)
    return names


def test_vocabulary_has_every_function_that_makes_a_response() -> None:
    holders: list[ModuleType | type] = [
        flask,
        flask.Flask,
        flask.Blueprint,
        Response,
        werkzeug.Response,
        werkzeug.utils,
        werkzeug.exceptions.HTTPException,
    ]
    makers = set().union(*map(returning_responses, holders))

    # one returns its own object, the other is the class that the rest construct
    assert makers - {"make_conditional"} | {"response_class"} == vocabulary.MAKERS


def position(function: t.Callable[..., object], name: str) -> int | None:
    names = list(inspect.signature(function).parameters)
    return names.index(name) if name in names else None


def test_vocabulary_has_the_position_of_max_age() -> None:
    for name, places in vocabulary.SENDERS.items():
        functions = getattr(flask, name), getattr(werkzeug.utils, name)
        assert tuple(position(f, "max_age") for f in functions) == places
    middleware = werkzeug.middleware.shared_data.SharedDataMiddleware
    assert position(middleware, "cache_timeout") == 4


def test_settings_and_hooks_of_the_vocabulary_exist() -> None:
    (setting,) = (n for n in vocabulary.SETTINGS if not n.startswith("FLASK_"))

    assert [n for n in flask.Flask.default_config if "MAX_AGE" in n] == [setting]
    assert hasattr(flask.Flask, "get_send_file_max_age")
    for hook in vocabulary.HOOKS:
        assert any(hasattr(h, hook) for h in (flask, flask.Flask, flask.Blueprint))
    for route in vocabulary.ROUTES:
        assert hasattr(flask.Blueprint, route)
    for name in vocabulary.HEADER_METHODS:
        assert any(
            hasattr(h, name) for h in (Response, werkzeug.exceptions.HTTPException)
        )


def test_etag_of_the_documentation_is_no_finding() -> None:
    """The ETag of docs/caching.md is no finding."""
    text = (
        "@bp.get('/')\n@cacheable(max_age=0, reason='x')\ndef view():\n"
        "    page = make_response('x')\n    page.{}\n    return page\n"
    )

    assert scan(text.format("add_etag()")) == scan(text.format("set_etag('1')")) == []
    undeclared = text.replace("@cacheable(max_age=0, reason='x')\n", "")
    assert scan(undeclared.format("add_etag()")) == [(4, "'add_etag()'")]
    assert scan(undeclared.format("set_etag('1')")) == [(4, "'set_etag()'")]
