"""Comments that silence a finding on their line: # nocache: ignore NC007, the reason."""

from __future__ import annotations

import io
import re
import tokenize
import typing as t

from .findings import CATALOGUE
from .findings import Finding
from .findings import finding

MARK = "nocache: ignore"
IGNORE = re.compile(rf"{MARK}(?![\w-])[ \t]*(?P<id>NC\d+)?[ \t,:]*(?P<reason>.*)")
# the beginning and the end of a comment in files other than Python
OPENING = re.compile(rf"(?:#|//|/\*|<!--|\{{#|;)[ \t]*{MARK}\b.*")
CLOSING = re.compile(r"\s*(?:-->|\*/|#\})[^\n]*$")
# findings about files that nobody writes by hand cannot be silenced
PERMANENT = frozenset({"NC010", "NC011"})
BETWEEN = frozenset({tokenize.DEDENT, tokenize.INDENT, tokenize.NL})
HINT = "write '# nocache: ignore NC007, why it does no harm' on the line, or remove it."


class Comment(t.NamedTuple):
    """A comment that silences a finding.

    :param path: the file.
    :param line: the line in it, from 1.
    :param lines: the lines of its statement, because a formatter may move the comment.
    :param id: the id of the finding, empty if there is none.
    :param reason: why the finding does no harm.
    """

    path: str
    line: int
    lines: range
    id: str
    reason: str


class Silence(t.NamedTuple):
    """A silenced finding, and the reason."""

    finding: Finding
    reason: str

    def __str__(self) -> str:
        path, _, id, _, message, _ = self.finding
        subject = message.partition("'")[2].partition("'")[0]
        return f"{id} {path} '{subject}': {self.reason}"


def comments(path: str, text: str) -> t.Iterator[Comment]:
    """Yield the comments of a file that silence findings.

    :param path: the path, as in findings.
    :param text: the content of the file.
    """
    if MARK not in text:
        return
    for line, lines, comment in _comments(path, text):
        # a line may have two findings
        for part in re.split(rf"(?={MARK})", comment)[1:]:
            if match := IGNORE.match(part.rstrip("# \t")):
                reason = " ".join(match["reason"].split())
                yield Comment(path, line, lines, match["id"] or "", reason)


def sift(
    findings: t.Iterable[Finding], comments: t.Iterable[Comment]
) -> tuple[list[Finding], list[Silence]]:
    """Return the findings that stay and the silenced ones.

    A comment without effect is added as a finding.

    :param findings: all findings.
    :param comments: the comments.
    """
    rest, silences = list(findings), list[Silence]()
    for comment in comments:
        path, line, lines, id, reason = comment
        subject = f"'{MARK} {id}".rstrip() + "'"
        targets = [f for f in rest if f.path == path and f.line in lines and f.id == id]
        if id not in CATALOGUE:
            fact = "names no finding"
        elif not targets or id in PERMANENT:
            fact = "silences nothing there"
        elif not reason:
            fact = "gives no reason"
        else:
            silences += (Silence(f, reason) for f in targets)
            rest = [f for f in rest if f not in targets]
            continue
        rest.append(finding("NC006", (path, line), subject, fact, HINT))
    return rest, silences


def _comments(path: str, text: str) -> t.Iterator[tuple[int, range, str]]:
    """Yield the line, the lines of the statement and the text of each comment."""
    if not path.endswith(".py"):
        for line, content in enumerate(text.splitlines(), 1):
            if match := OPENING.search(content):
                yield line, range(line, line + 1), CLOSING.sub("", match[0])
        return
    first, texts = 0, list[tuple[int, str]]()
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                texts.append((token.start[0], token.string))
            elif token.type == tokenize.NEWLINE or (
                token.type == tokenize.NL and not first
            ):
                for line, comment in texts:
                    yield line, range(first or line, token.start[0] + 1), comment
                first, texts = 0, []
            elif token.type not in BETWEEN:
                first = first or token.start[0]
    except (SyntaxError, tokenize.TokenError):
        return  # an app with this file would not start
