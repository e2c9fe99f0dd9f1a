"""Findings that are silenced where they stand: # nocache: ignore NC007, the reason."""

from __future__ import annotations

import io
import re
import tokenize
import typing as t

from .findings import CATALOGUE
from .findings import Finding
from .findings import finding

MARK = "nocache: ignore"
NOTE = re.compile(rf"{MARK}(?![\w-])[ \t]*(?P<id>NC\d+)?[ \t,:]*(?P<reason>.*)")
# what begins a comment outside of Python, and what may end it
OPENING = re.compile(rf"(?:#|//|/\*|<!--|\{{#|;)[ \t]*{MARK}\b.*")
CLOSING = re.compile(r"\s*(?:-->|\*/|#\})[^\n]*$")
# these are about files that nobody writes by hand
NEVER = frozenset({"NC010", "NC011"})
BETWEEN = frozenset({tokenize.DEDENT, tokenize.INDENT, tokenize.NL})
HINT = "write '# nocache: ignore NC007, why it does no harm' on the line, or remove it."


class Note(t.NamedTuple):
    """A comment that silences a finding.

    :param path: the file.
    :param line: the line in it, from 1.
    :param lines: the lines of the statement: a formatter moves the end of a long one.
    :param id: the id of the finding, empty if none is named.
    :param reason: why it does no harm.
    """

    path: str
    line: int
    lines: range
    id: str
    reason: str


class Silenced(t.NamedTuple):
    """A finding that is silenced, and why."""

    finding: Finding
    reason: str

    def __str__(self) -> str:
        path, _, id, _, message, _ = self.finding
        subject = message.partition("'")[2].partition("'")[0]
        return f"{id} {path} '{subject}': {self.reason}"


def notes(path: str, text: str) -> t.Iterator[Note]:
    """Yield the comments of a file that silence findings.

    :param path: the path, as findings show it.
    :param text: what is in the file.
    """
    if MARK not in text:
        return
    for line, lines, comment in _comments(path, text):
        # one line may need two
        for part in re.split(rf"(?={MARK})", comment)[1:]:
            if note := NOTE.match(part.rstrip("# \t")):
                reason = " ".join(note["reason"].split())
                yield Note(path, line, lines, note["id"] or "", reason)


def sift(
    found: t.Iterable[Finding], written: t.Iterable[Note]
) -> tuple[list[Finding], list[Silenced]]:
    """Take the silenced findings out, and add one for each comment without effect.

    :param found: the findings.
    :param written: the comments.
    """
    kept, silenced = list(found), list[Silenced]()
    for note in written:
        where, subject = (note.path, note.line), f"'{MARK} {note.id}".rstrip() + "'"
        meant = [
            f
            for f in kept
            if f.path == note.path and f.line in note.lines and f.id == note.id
        ]
        if note.id not in CATALOGUE:
            fact = "names no finding"
        elif not meant or note.id in NEVER:
            fact = "silences nothing there"
        elif not note.reason:
            fact = "gives no reason"
        else:
            silenced += (Silenced(f, note.reason) for f in meant)
            kept = [f for f in kept if f not in meant]
            continue
        kept.append(finding("NC006", where, subject, fact, HINT))
    return kept, silenced


def _comments(path: str, text: str) -> t.Iterator[tuple[int, range, str]]:
    """Yield the line, the lines of the statement and the text of each comment."""
    if not path.endswith(".py"):
        for line, content in enumerate(text.splitlines(), 1):
            if found := OPENING.search(content):
                yield line, range(line, line + 1), CLOSING.sub("", found[0])
        return
    first, comments = 0, list[tuple[int, str]]()
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                comments.append((token.start[0], token.string))
            elif token.type == tokenize.NEWLINE or (
                token.type == tokenize.NL and not first
            ):
                for line, comment in comments:
                    yield line, range(first or line, token.start[0] + 1), comment
                first, comments = 0, []
            elif token.type not in BETWEEN:
                first = first or token.start[0]
    except (SyntaxError, tokenize.TokenError):
        return  # no part of an app that could be loaded
