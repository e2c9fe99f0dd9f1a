"""The tokens of JavaScript, so that comments, texts and patterns are no code."""

from __future__ import annotations

import re
import typing as t

CODE = re.compile(
    r"(?P<blank>\s+|//[^\n]*|/\*.*?(?:\*/|\Z)|<!--[^\n]*)"
    r"|(?P<text>\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?)"
    r"|(?P<word>[\w$]+)|(?P<mark>=>|\.\.\.|\?\.|.)",
    re.DOTALL,
)
REGEX = re.compile(r"/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+/\w*")
TEMPLATE = re.compile(r"(?:\\.|\$(?!\{)|[^\\`$])*(`|\$\{|\Z)", re.DOTALL)
# after these a slash begins a regular expression
BEFORE_REGEX = frozenset(
    """await case delete do else in instanceof new of return throw typeof void
    yield""".split()
)


class Token(t.NamedTuple):
    kind: str
    text: str
    line: int


def tokens(text: str, line: int) -> t.Iterator[Token]:
    """Yield the tokens of a script without comments; texts come without their quotes.

    :param text: the script.
    :param line: the line on which it begins.
    """
    at, depth, value = 0, 0, False
    substitutions: list[int] = []
    while at < len(text):
        found = CODE.match(text, at)
        assert found is not None
        kind, word = t.cast("str", found.lastgroup), found[0]
        if word == "/" and not value and (regex := REGEX.match(text, at)):
            found, kind = regex, "regex"
        elif word == "`" or (word == "}" and substitutions[-1:] == [depth]):
            if word == "}":
                substitutions.pop()
            found = TEMPLATE.match(text, at + 1)
            assert found is not None
            kind = "text"
            if found[1] == "${":
                substitutions.append(depth)
        elif kind == "mark":
            depth += (word == "{") - (word == "}")
        start, at = at, found.end()
        if kind == "text":
            inner = text[start + 1 : at]
            yield Token(kind, inner.removesuffix("${").rstrip("`\"'"), line)
        elif kind != "blank":
            yield Token(kind, found[0], line)
        if kind != "blank":
            value = word not in BEFORE_REGEX and (kind != "mark" or word in (")", "]"))
        line += text.count("\n", start, at)
