"""The tokens of JavaScript, to tell code from comments, strings and patterns."""

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
    """Yield the tokens of a script without its comments, and strings without quotes.

    :param text: the script.
    :param line: the line in the file at which it begins, from 1.
    """
    at, depth, value = 0, 0, False
    substitutions: list[int] = []
    while at < len(text):
        match = CODE.match(text, at)
        assert match is not None
        kind, word = t.cast("str", match.lastgroup), match[0]
        if word == "/" and not value and (regex := REGEX.match(text, at)):
            match, kind = regex, "regex"
        elif word == "`" or (word == "}" and substitutions[-1:] == [depth]):
            if word == "}":
                substitutions.pop()
            match = TEMPLATE.match(text, at + 1)
            assert match is not None
            kind = "text"
            if match[1] == "${":
                substitutions.append(depth)
        elif kind == "mark":
            depth += (word == "{") - (word == "}")
        start, at = at, match.end()
        if kind == "text":
            inner = text[start + 1 : at]
            yield Token(kind, inner.removesuffix("${").rstrip("`\"'"), line)
        elif kind != "blank":
            yield Token(kind, match[0], line)
        if kind != "blank":
            value = word not in BEFORE_REGEX and (kind != "mark" or word in (")", "]"))
        line += text.count("\n", start, at)
