"""NC013: what in templates and scripts keeps a copy in the browser, past all headers."""

from __future__ import annotations

import re
import typing as t
from html.parser import HTMLParser

from .javascript import Token
from .javascript import tokens
from .urls import Urls

TEMPLATES = (".html", ".htm", ".jinja", ".jinja2", ".j2", ".svelte", ".vue")
SCRIPTS = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx")
# most files hold none of this
WORTH_READING = re.compile(r"preload|prefetch|<script|\bon\w+\s*=", re.IGNORECASE)
WORTH_TOKENS = re.compile(
    r"force-cache|only-if-cached|\bcaches\s*\.\s*open\b|CacheFirst|NetworkFirst"
    r"|StaleWhileRevalidate"
)
FORCED = frozenset({"force-cache", "only-if-cached"})
STORES = frozenset({"add", "addAll", "put"})
WORKBOX = frozenset({"CacheFirst", "NetworkFirst", "StaleWhileRevalidate"})
JINJA = re.compile(r"\{(?:#.*?#|\{.*?\}|%.*?%)\}", re.DOTALL)
FILES = re.compile(r"static|assets|\\\.")
# by what a script looks at an address
TESTS = (["endsWith"], ["includes"], ["indexOf"], ["match"], ["startsWith"])
GLOBALS = frozenset({"globalThis", "self", "window"})
# what is no element there, or does nothing
INERT = frozenset({"noscript", "template", "textarea", "title", "xmp"})
JAVASCRIPT = re.compile(r"|module|(text|application)/(java|ecma)script", re.IGNORECASE)

OPENING, CLOSING = {"(": ")", "[": "]", "{": "}"}, frozenset(")]}")

Spotted = tuple[int, str, str]


def spot(path: str, text: str, lead: Urls) -> list[Spotted]:
    """Return the line, subject and fact of what a template or script keeps copies by."""
    if path.endswith(SCRIPTS):
        script = _Script(text, 1, lead) if WORTH_TOKENS.search(text) else None
        return sorted(set(script.spot())) if script else []
    if not WORTH_READING.search(text):
        return []
    page = _Page(lead)
    page.feed(JINJA.sub(_quiet, text))
    page.close()
    return sorted(set(page.spotted))


def _quiet(jinja: re.Match[str]) -> str:
    """Return what is as long as a piece of Jinja, without what HTML would stumble over."""
    text = jinja[0]
    if text.startswith("{#"):
        return re.sub(r"[^\n]", " ", text)
    return re.sub("[\"']", "`", re.sub("[<>]", " ", text))


class _Page(HTMLParser):
    def __init__(self, urls: Urls) -> None:
        super().__init__()
        self.urls = urls
        self.spotted: list[Spotted] = []
        self._inert: list[str] = []
        self._script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in INERT:
            self._inert.append(tag)
        self._script = tag == "script" and bool(
            JAVASCRIPT.fullmatch(given.get("type", "").strip())
        )
        if self._inert:
            return
        line, _ = self.getpos()
        rel, href = given.get("rel", "").lower().split(), given.get("href", "").strip()
        if (
            tag == "link"
            and "preload" in rel
            and given.get("as", "").lower() == "fetch"
        ):
            if href and not self.urls.to_storable(href):
                what = '\'<link rel="preload" as="fetch">\''
                self.spotted.append((line, what, "gives the first fetch its own copy"))
        elif tag == "link" and "prefetch" in rel and self.urls.to_api(href):
            what = "'<link rel=\"prefetch\">'"
            self.spotted.append((line, what, "keeps a copy of an API address"))
        for name, value in given.items():
            if name.startswith("on") and WORTH_TOKENS.search(value):
                self.spotted += _Script(value, line, self.urls).spot()

    def handle_endtag(self, tag: str) -> None:
        self._script = False
        if tag in self._inert:
            self._inert.remove(tag)

    def handle_data(self, data: str) -> None:
        if self._script and not self._inert and WORTH_TOKENS.search(data):
            self.spotted += _Script(data, self.getpos()[0], self.urls).spot()


class _Script:
    def __init__(self, text: str, line: int, urls: Urls) -> None:
        self.tokens = list(tokens(text, line))
        self.words = [token.text for token in self.tokens]
        self.urls = urls
        self.pairs: dict[int, int] = {}
        opened: list[int] = []
        for index, (kind, word, _) in enumerate(self.tokens):
            if kind == "mark" and word in OPENING:
                opened.append(index)
            elif kind == "mark" and word in CLOSING and opened:
                self.pairs[opened.pop()] = index

    def spot(self) -> t.Iterator[Spotted]:
        for index, token in enumerate(self.tokens):
            if token.kind == "text" and token.text in FORCED and self._forces(index):
                yield (
                    token.line,
                    f"'cache: \"{token.text}\"'",
                    "takes the browser's copy",
                )
            elif token.kind == "word" and token.text in STORES and self._stores(index):
                yield token.line, f"'cache.{token.text}()'", "stores what it is given"
            elif token.kind == "word" and token.text in WORKBOX:
                first = index
                while self.words[first - 1 : first] == ["."]:
                    first -= 2
                if self.words[first - 1 : first] == ["new"] and not self._filtered(
                    index
                ):
                    yield token.line, f"'{token.text}'", "stores what it fetches"

    def _words(self, index: int, step: int, count: int) -> list[str]:
        """Return the next words before or after a place, the nearest first."""
        found = range(index + step, index + step * (count + 1), step)
        return [self.words[i] for i in found if 0 <= i < len(self.words)]

    def _outside(self, index: int) -> t.Iterator[int]:
        """Yield the brackets around a place, the innermost first."""
        around = (o for o, closed in self.pairs.items() if o < index < closed)
        return iter(sorted(around, reverse=True))

    # fetch(url, {cache: "force-cache"})

    def _forces(self, index: int) -> bool:
        """Return whether the text at a place is the cache mode of a request."""
        if self._words(index, -1, 3) == ["=", "cache", "."]:
            return self._requested_with(self.words[index - 4])
        # not a type, as in TypeScript: cache: "force-cache" | "no-store"
        if self._words(index, -1, 2) != [":", "cache"] or self._words(index, 1, 1) == [
            "|"
        ]:
            return False
        for opened in self._outside(index):
            before = self._words(opened, -1, 3)
            if self.words[opened] == "(" and self._requests(opened):
                return not self._spared(opened + 1)
            if self.words[opened] == "{":
                if before[:1] == ["="] and len(before) > 1:
                    return self._requested_with(before[1])
                if before[:1] in ([")"], ["=>"], [";"], ["else"]):
                    return False
        return False

    def _requests(self, opened: int) -> bool:
        """Return whether a bracket holds what fetch is called with, or a function by it."""
        called, before, owner = (*self._words(opened, -1, 3), "", "", "")[:3]
        if called in ("fetch", "Request"):
            return before != "function" and (before != "." or owner in GLOBALS)
        own = any(
            self.words[i : i + 2] == ["function", called]
            for i in range(len(self.words))
        )
        return own and "fetch" in self.words

    def _requested_with(self, name: str) -> bool:
        """Return whether fetch is called with what has a name."""
        return any(
            self._requests(opened)
            and name in self.words[opened:closed]
            and not self._spared(opened + 1)
            for opened, closed in self.pairs.items()
            if self.words[opened] == "("
        )

    def _spared(self, index: int) -> bool:
        """Return whether a text is the address of what may be stored anyway."""
        kind, text, _ = self.tokens[index]
        return kind == "text" and self.urls.to_storable(text)

    # caches.open(name).then((cache) => cache.put(url, response))

    def _stores(self, index: int) -> bool:
        """Return whether a method is one of the Cache API that is given what is no-store."""
        called, owner = self._words(index, 1, 1), self._words(index, -1, 2)
        if called != ["("] or owner[:1] not in (["."], ["?."]) or len(owner) < 2:
            return False
        if owner[1] == ")":
            around = (o for o, closed in self.pairs.items() if closed == index - 2)
            is_cache = "caches" in self.words[next(around, index) : index]
        else:
            is_cache = owner[1] in self._caches()
        if not is_cache or self._filtered(index):
            return False
        inside = slice(index + 2, self.pairs.get(index + 1))
        if self.words[index] == "put":
            return not self._spared(index + 2)
        given = self.tokens[inside]
        if len(given) == 1 and given[0].kind == "word":
            given = self._listed(given[0].text)
        texts = [token.text for token in given if token.kind == "text"]
        return not all(map(self.urls.to_storable, texts))

    def _caches(self) -> set[str]:
        """Return the names by which a script has what caches.open() gives."""
        names = set()
        for index, word in enumerate(self.words):
            if word != "caches" or self._words(index, 1, 2) != [".", "open"]:
                continue
            before = [w for w in self._words(index, -1, 3) if w != "await"]
            if before[:1] == ["="]:
                names.add(before[1])
            after = self.words[self.pairs.get(index + 3, index) + 1 :][:8]
            if after[:3] == [".", "then", "("]:
                skipped = ("async", "function", "(")
                names.update([w for w in after[3:] if w not in skipped][:1])
        return names

    def _listed(self, name: str) -> list[Token]:
        for index, word in enumerate(self.words):
            if word == name and self._words(index, 1, 2) == ["=", "["]:
                return self.tokens[index + 2 : self.pairs.get(index + 2)]
        return []

    def _filtered(self, index: int) -> bool:
        """Return whether a script tells by the address what it stores."""
        around = (
            o for o in self._outside(index) if self.words[o - 1] == "registerRoute"
        )
        opened = next(around, None)
        near = self.tokens if opened is None else self.tokens[opened:index]
        if opened is not None and self._words(opened, 1, 2)[1:] == [","]:
            if self.tokens[opened + 1].kind == "word":
                return True  # by a function with a name, which may look at anything
        for place, (kind, text, _) in enumerate(near):
            routed = opened is not None or self._words(place, -1, 2)[1:] in TESTS
            if kind == "word" and text == "destination":
                return True
            if kind == "text" and routed and self._to_files(text):
                return True
            if kind == "regex" and routed and FILES.search(text) and "api" not in text:
                return True
        return False

    def _to_files(self, text: str) -> bool:
        """Return whether a text is the ending of files, or the folder they are in."""
        inside = f"{text.rstrip('/')}/x"
        return text[:1] == "." or (text[:1] == "/" and self.urls.to_storable(inside))
