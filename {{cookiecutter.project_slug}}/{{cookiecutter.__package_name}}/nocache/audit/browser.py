"""NC013: templates and scripts that make the browser keep copies, despite the headers."""

from __future__ import annotations

import re
import typing as t
from html.parser import HTMLParser

from .findings import Spot
from .javascript import Token
from .javascript import tokens
from .urls import Urls

TEMPLATES = (".html", ".htm", ".jinja", ".jinja2", ".j2", ".svelte", ".vue")
SCRIPTS = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx")
# files without a match need no parsing
WORTH_READING = re.compile(r"preload|prefetch|<script|\bon\w+\s*=", re.IGNORECASE)
WORTH_TOKENS = re.compile(
    r"force-cache|only-if-cached|\bcaches\s*\.\s*open\b|CacheFirst|NetworkFirst"
    r"|StaleWhileRevalidate"
)
# cache modes of fetch() that reuse a stored response, fresh or stale
CACHE_MODES = frozenset({"force-cache", "only-if-cached"})
# the methods of the Cache API that store
STORE_METHODS = frozenset({"add", "addAll", "put"})
WORKBOX = frozenset({"CacheFirst", "NetworkFirst", "StaleWhileRevalidate"})
JINJA = re.compile(r"\{(?:#.*?#|\{.*?\}|%.*?%)\}", re.DOTALL)
FILES = re.compile(r"static|assets|\\\.")
# the methods by which a script examines a URL
URL_TESTS = (["endsWith"], ["includes"], ["indexOf"], ["match"], ["startsWith"])
GLOBALS = frozenset({"globalThis", "self", "window"})
# elements whose content is text, or does nothing
INERT_ELEMENTS = frozenset({"noscript", "template", "textarea", "title", "xmp"})
JAVASCRIPT = re.compile(r"|module|(text|application)/(java|ecma)script", re.IGNORECASE)

OPENING, CLOSING = {"(": ")", "[": "]", "{": "}"}, frozenset(")]}")


def spot(path: str, text: str, urls: Urls) -> list[Spot]:
    """Return where a template or script makes the browser keep copies, sorted.

    :param path: the path, whose suffix tells a script from a template.
    :param text: the content of the file.
    :param urls: how to classify its URLs.
    """
    if path.endswith(SCRIPTS):
        script = _Script(text, 1, urls) if WORTH_TOKENS.search(text) else None
        return sorted(set(script.spot())) if script else []
    if not WORTH_READING.search(text):
        return []
    page = _Page(urls)
    page.feed(JINJA.sub(_mask, text))
    page.close()
    return sorted(set(page.spots))


def _mask(jinja: re.Match[str]) -> str:
    """Return text as long as a piece of Jinja, that does not break the HTML around it."""
    text = jinja[0]
    if text.startswith("{#"):
        return re.sub(r"[^\n]", " ", text)
    return re.sub("[\"']", "`", re.sub("[<>]", " ", text))


class _Page(HTMLParser):
    def __init__(self, urls: Urls) -> None:
        super().__init__()
        self.urls = urls
        self.spots: list[Spot] = []
        self._inert: list[str] = []
        self._script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag in INERT_ELEMENTS:
            self._inert.append(tag)
        self._script = tag == "script" and bool(
            JAVASCRIPT.fullmatch(attributes.get("type", "").strip())
        )
        if self._inert:
            return
        line, _ = self.getpos()
        rel = attributes.get("rel", "").lower().split()
        href = attributes.get("href", "").strip()
        if (
            tag == "link"
            and "preload" in rel
            and attributes.get("as", "").lower() == "fetch"
        ):
            if href and not self.urls.is_storable(href):
                subject = '\'<link rel="preload" as="fetch">\''
                fact = "gives the first fetch() its copy"
                self.spots.append((line, subject, fact))
        elif tag == "link" and "prefetch" in rel and self.urls.is_api(href):
            subject = "'<link rel=\"prefetch\">'"
            fact = "keeps a copy of an API response"
            self.spots.append((line, subject, fact))
        for name, value in attributes.items():
            if name.startswith("on") and WORTH_TOKENS.search(value):
                self.spots += _Script(value, line, self.urls).spot()

    def handle_endtag(self, tag: str) -> None:
        self._script = False
        if tag in self._inert:
            self._inert.remove(tag)

    def handle_data(self, data: str) -> None:
        if self._script and not self._inert and WORTH_TOKENS.search(data):
            self.spots += _Script(data, self.getpos()[0], self.urls).spot()


class _Script:
    def __init__(self, text: str, line: int, urls: Urls) -> None:
        self.tokens = list(tokens(text, line))
        self.words = [token.text for token in self.tokens]
        self.urls = urls
        self.pairs: dict[int, int] = {}
        stack: list[int] = []
        for index, (kind, word, _) in enumerate(self.tokens):
            if kind == "mark" and word in OPENING:
                stack.append(index)
            elif kind == "mark" and word in CLOSING and stack:
                self.pairs[stack.pop()] = index

    def spot(self) -> t.Iterator[Spot]:
        for index, token in enumerate(self.tokens):
            if (
                token.kind == "text"
                and token.text in CACHE_MODES
                and self._forces(index)
            ):
                subject = f"'cache: \"{token.text}\"'"
                yield token.line, subject, "reuses the browser's copy"
            elif (
                token.kind == "word"
                and token.text in STORE_METHODS
                and self._stores(index)
            ):
                yield token.line, f"'cache.{token.text}()'", "stores responses"
            elif token.kind == "word" and token.text in WORKBOX:
                first = index
                while self.words[first - 1 : first] == ["."]:
                    first -= 2
                if self.words[first - 1 : first] == ["new"] and not self._has_filter(
                    index
                ):
                    yield token.line, f"'{token.text}'", "stores responses"

    def _words(self, index: int, step: int, count: int) -> list[str]:
        """Return the words before or after an index, the nearest first."""
        indexes = range(index + step, index + step * (count + 1), step)
        return [self.words[i] for i in indexes if 0 <= i < len(self.words)]

    def _brackets(self, index: int) -> t.Iterator[int]:
        """Yield the opening brackets around an index, the innermost first."""
        brackets = (start for start, end in self.pairs.items() if start < index < end)
        return iter(sorted(brackets, reverse=True))

    # fetch(url, {cache: "force-cache"})

    def _forces(self, index: int) -> bool:
        """Return whether the text at an index is the cache mode of a request."""
        if self._words(index, -1, 3) == ["=", "cache", "."]:
            return self._fetches_with(self.words[index - 4])
        # not a type, as in TypeScript: cache: "force-cache" | "no-store"
        if self._words(index, -1, 2) != [":", "cache"] or self._words(index, 1, 1) == [
            "|"
        ]:
            return False
        for start in self._brackets(index):
            before = self._words(start, -1, 3)
            if self.words[start] == "(" and self._is_fetch(start):
                return not self._is_storable(start + 1)
            if self.words[start] == "{":
                if before[:1] == ["="] and len(before) > 1:
                    return self._fetches_with(before[1])
                if before[:1] in ([")"], ["=>"], [";"], ["else"]):
                    return False
        return False

    def _is_fetch(self, start: int) -> bool:
        """Return whether a bracket has the arguments of fetch() or of its wrapper."""
        name, before, owner = (*self._words(start, -1, 3), "", "", "")[:3]
        if name in ("fetch", "Request"):
            return before != "function" and (before != "." or owner in GLOBALS)
        is_own = any(
            self.words[i : i + 2] == ["function", name] for i in range(len(self.words))
        )
        return is_own and "fetch" in self.words

    def _fetches_with(self, name: str) -> bool:
        """Return whether a name is an argument of fetch()."""
        return any(
            self._is_fetch(start)
            and name in self.words[start:end]
            and not self._is_storable(start + 1)
            for start, end in self.pairs.items()
            if self.words[start] == "("
        )

    def _is_storable(self, index: int) -> bool:
        """Return whether a text is the URL of a response that may be stored."""
        if index == len(self.tokens):
            return False
        kind, text, _ = self.tokens[index]
        return kind == "text" and self.urls.is_storable(text)

    # caches.open(name).then((cache) => cache.put(url, response))

    def _stores(self, index: int) -> bool:
        """Return whether a method of the Cache API stores responses that are no-store."""
        bracket, owner = self._words(index, 1, 1), self._words(index, -1, 2)
        if bracket != ["("] or owner[:1] not in (["."], ["?."]) or len(owner) < 2:
            return False
        if owner[1] == ")":
            starts = (start for start, end in self.pairs.items() if end == index - 2)
            is_cache = "caches" in self.words[next(starts, index) : index]
        else:
            is_cache = owner[1] in self._cache_names()
        if not is_cache or self._has_filter(index):
            return False
        inside = slice(index + 2, self.pairs.get(index + 1))
        if self.words[index] == "put":
            return not self._is_storable(index + 2)
        arguments = self.tokens[inside]
        if len(arguments) == 1 and arguments[0].kind == "word":
            arguments = self._list_items(arguments[0].text)
        texts = [token.text for token in arguments if token.kind == "text"]
        return not all(map(self.urls.is_storable, texts))

    def _cache_names(self) -> set[str]:
        """Return the variables that hold the result of caches.open()."""
        names = set()
        for index, word in enumerate(self.words):
            if word != "caches" or self._words(index, 1, 2) != [".", "open"]:
                continue
            before = [w for w in self._words(index, -1, 3) if w != "await"]
            if before[:1] == ["="]:
                names.add(before[1])
            after = self.words[self.pairs.get(index + 3, index) + 1 :][:8]
            if after[:3] == [".", "then", "("]:
                keywords = ("async", "function", "(")
                names.update([w for w in after[3:] if w not in keywords][:1])
        return names

    def _list_items(self, name: str) -> list[Token]:
        for index, word in enumerate(self.words):
            if word == name and self._words(index, 1, 2) == ["=", "["]:
                return self.tokens[index + 2 : self.pairs.get(index + 2)]
        return []

    def _has_filter(self, index: int) -> bool:
        """Return whether a script decides by the URL which responses it stores."""
        routes = (
            i for i in self._brackets(index) if self.words[i - 1] == "registerRoute"
        )
        start = next(routes, None)
        near = self.tokens if start is None else self.tokens[start:index]
        if start is not None and self._words(start, 1, 2)[1:] == [","]:
            if self.tokens[start + 1].kind == "word":
                return True  # a named function may examine anything
        for place, (kind, text, _) in enumerate(near):
            is_test = start is not None or self._words(place, -1, 2)[1:] in URL_TESTS
            if kind == "word" and text == "destination":
                return True
            if kind == "text" and is_test and self._is_of_files(text):
                return True
            if kind == "regex" and is_test and FILES.search(text) and "api" not in text:
                return True
        return False

    def _is_of_files(self, text: str) -> bool:
        """Return whether a text is a file extension, or a folder of static files."""
        url = f"{text.rstrip('/')}/x"
        return text[:1] == "." or (text[:1] == "/" and self.urls.is_storable(url))
