"""NC014: configurations that make a cache ignore or override the header fields."""

from __future__ import annotations

import re
import typing as t

from .edge_settings import HOSTS
from .edge_settings import Setting
from .edge_settings import SETTINGS
from .findings import Spot

CONFIGURATIONS = re.compile(
    r"\.(conf|cfg|config|vcl|tf|hcl|ya?ml|toml|jsonc?|bicep|template|tmpl|tpl|j2|nginx"
    r"|vhost|htaccess|[cm]?[jt]s)$|(^|/)(_headers|nginx|squid|haproxy|httpd)$"
    r"|(sites-(available|enabled)|conf\.d)/[^/]+$",
    re.IGNORECASE,
)
# files without a match need no parsing
WORTH_READING = re.compile(
    r"_ignore_headers|_cache_valid|_hide_header|\bexpires\s|beresp|refresh_pattern"
    r"|offline_mode|cache-?control|CacheStore|min_?ttl|override|cache_?(setting|behavior)"
    r"|status_code_ttl|cacheTtl|cacheEverything|MAX_AGE|FORCE_CACHE_ALL",
    re.IGNORECASE,
)
# a script without a match is no worker of a CDN
SCRIPT = re.compile(r"\.[cm]?[jt]s$", re.IGNORECASE)
WORKERS = re.compile(r"cacheTtl|cacheEverything|CDN-Cache-Control")
TEXT = r"(\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*')"
HASHES = re.compile(rf"{TEXT}|(?<!\S)#[^\n]*")
SLASHES = re.compile(rf"{TEXT}|(?<![:\w])//[^\n]*|/\*.*?\*/", re.DOTALL)
# the files in which a hash begins no comment, and in which two slashes do
NO_HASHES = re.compile(r"\.(jsonc?|bicep|[cm]?[jt]s)$", re.IGNORECASE)
SLASHED = re.compile(r"\.(vcl|tf|hcl|jsonc?|bicep|[cm]?[jt]s)$", re.IGNORECASE)
# the files in which the head of a block is one line; elsewhere it begins after a ;
LINED = re.compile(r"\.(tf|hcl|jsonc?|bicep|ya?ml|[cm]?[jt]s)$", re.IGNORECASE)
# folders of static files, below which the service has no routes
FOLDER = re.compile(
    r"(?:^|[\s\"'^/])(?:static|assets|images?|img|fonts?|media|_next|dist|css|js|icons?)\b"
    r"|backend_bucket",
    re.IGNORECASE,
)
FILES = re.compile(r"^(Files|Directory)", re.IGNORECASE)
PATH = re.compile(
    r"\b(?:source|path_?pattern|expression|condition|statement)\"?\s*[:=]\s*([^\n]*)",
    re.IGNORECASE,
)
BRACKET = re.compile(r"[{}]|^[ \t]*<(/?)(\w[^<>\n]*)>", re.MULTILINE)
ENTRY = re.compile(
    r"\"(key|value)\"\s*:\s*\"([^\"]*)\"\s*,\s*\"(?:key|value)\"\s*:\s*\"([^\"]*)\""
)
SOURCE = re.compile(r"\"(?:source|regex|glob)\"\s*:\s*\"([^\"]*)\"")
FIELD = re.compile(r"(?:.+-)?cache-control", re.IGNORECASE)
LASTING = re.compile(r"max-?age\s*=\s*[\"']?[1-9]|durable|immutable", re.IGNORECASE)
SHARED = re.compile(r"s-maxage|durable", re.IGNORECASE)
EVERYWHERE = frozenset({"*", "**", "/*", "/**", "(.*)", "/(.*)", "/:path*", "/.*"})


class Block(t.NamedTuple):
    """A text in brackets, in a section, or on one level of a YAML file.

    :param head: the text before the bracket, or the name of the section.
    :param start: the offset in the file at which it begins.
    :param end: the offset at which it ends.
    :param whole: the text, with inner blocks.
    :param own: the text without inner blocks.
    """

    head: str
    start: int
    end: int
    whole: str
    own: str


def spot(path: str, text: str, prefixes: t.Iterable[str] = ()) -> list[Spot]:
    """Return where a file has a setting of docs/edge.md, sorted; the fact is the product.

    :param path: the path of the file, which tells its format.
    :param text: the content of the file.
    :param prefixes: the prefixes of the API, for files that set header fields by path.
    """
    path = path.replace("\\", "/")
    worth = WORKERS if SCRIPT.search(path) else WORTH_READING
    if not CONFIGURATIONS.search(path) or not worth.search(text):
        return []
    code = text if NO_HASHES.search(path) else HASHES.sub(_blank, text)
    code = SLASHES.sub(_blank, code) if SLASHED.search(path) else code
    spots = set[Spot]()
    blocks: list[Block] = []
    for setting in SETTINGS:
        if re.search(setting.files, path, re.IGNORECASE):
            for match in re.finditer(
                setting.pattern, code, re.IGNORECASE | re.MULTILINE
            ):
                at = match.start() + len(match[0]) - len(match[0].lstrip())
                blocks = blocks or _blocks(path, code)
                outer = [b for b in blocks if b.start <= at < b.end]
                if re.search(r"\.ya?ml$", path):
                    outer = [*_levels(code, at), *outer]
                if _applies(setting, outer):
                    line = code.count("\n", 0, at) + 1
                    spots.add((line, f"'{setting.text}'", setting.product))
    name = path.rpartition("/")[2]
    if name in HOSTS:
        product, setting_text = HOSTS[name]
        entries = _entries(name, code, blocks or _blocks(path, code))
        for at, pattern, field, value in entries:
            if _overrides(product, pattern, field, value, tuple(prefixes)):
                spots.add((code.count("\n", 0, at) + 1, f"'{setting_text}'", product))
    return sorted(spots)


def _blank(match: re.Match[str]) -> str:
    return match[0] if match[1] else re.sub(r"[^\n]", " ", match[0])


def _applies(setting: Setting, outer: list[Block]) -> bool:
    """Return whether a setting applies to the routes of the service.

    :param outer: the blocks around the setting, the innermost first.
    """
    for block in outer:
        paths = (match[1] for match in PATH.finditer(block.own))
        if FILES.search(block.head) or any(map(FOLDER.search, (block.head, *paths))):
            return False
        if setting.unless and re.search(setting.unless, block.own, re.IGNORECASE):
            return False
    heads = [block.head for block in outer]
    owns = [block.own for block in outer]
    for pattern, texts in (
        (setting.inside, heads),
        (setting.beside, owns),
        (setting.below, [b.whole for b in outer[:1]]),
    ):
        if pattern and not any(re.search(pattern, x, re.IGNORECASE) for x in texts):
            return False
    return True


def _blocks(path: str, code: str) -> list[Block]:
    """Return the blocks of a file, the innermost first; the last is the file itself."""
    lined = bool(LINED.search(path))
    blocks: list[Block] = []
    stack: list[tuple[str, int, int, list[tuple[int, int]]]] = [("", 0, 0, [])]

    def close(end: int) -> None:
        head, before, start, inner = stack.pop()
        own, at = "", start
        for first, last in inner:
            own, at = own + code[at:first], last
        blocks.append(Block(head, start, end, code[start:end], own + code[at:end]))
        if stack:
            stack[-1][3].append((before, end))

    for match in BRACKET.finditer(code):
        at = match.start()
        if match[0] == "{":
            ends = "\n" if lined else ";{}"
            before = max(code.rfind(end, 0, at) for end in ends) + 1
            stack.append((code[before:at].strip(), at, match.end(), []))
        elif match[2] and not match[1] and not lined:
            stack.append((match[2], at, match.end(), []))
        elif (match[0] == "}" or match[1]) and len(stack) > 1:
            close(at)
    while stack:
        close(len(code))
    return sorted(blocks, key=lambda block: block.end - block.start)


def _levels(code: str, at: int) -> t.Iterator[Block]:
    """Yield the levels of a YAML file around an offset, the innermost first."""
    lines = code.splitlines()
    number = code.count("\n", 0, at)
    level = _indent(lines[number]) if number < len(lines) else 0
    while level > 0:
        first = number
        while first > 0 and (
            not lines[first - 1].strip() or _indent(lines[first - 1]) >= level
        ):
            first -= 1
        last = number
        while last + 1 < len(lines) and (
            not lines[last + 1].strip() or _indent(lines[last + 1]) >= level
        ):
            last += 1
        head = lines[first - 1].strip() if first else ""
        whole = lines[first : last + 1]
        own = "\n".join(line for line in whole if _indent(line) == level)
        yield Block(head, 0, 0, "\n".join(whole), own)
        number, level = first - 1, _indent(lines[first - 1]) if first else 0


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" -"))


def _entries(
    name: str, code: str, blocks: list[Block]
) -> t.Iterator[tuple[int, str, str, str]]:
    """Yield the header fields that a file of a host sets: offset, path, name and value."""
    if name.endswith(".json"):
        for match in ENTRY.finditer(code):
            outer = (b for b in blocks if b.start <= match.start() < b.end)
            sources = (SOURCE.search(block.own) for block in outer)
            path = next((source[1] for source in sources if source), "")
            one, other = match[2], match[3]
            yield (
                match.start(),
                path,
                *((one, other) if match[1] == "key" else (other, one)),
            )
        return
    path, at = "", 0
    for line in code.splitlines(keepends=True):
        field, separator, value = line.partition("=" if name.endswith(".toml") else ":")
        field, value = field.strip().strip("\"'"), value.strip().strip("\"'")
        if field == "for" or (name == "_headers" and line[:1].strip()):
            path = value if field == "for" else line.strip()
        elif separator:
            yield at, path, field, value
        at += len(line)


def _overrides(
    product: str, path: str, field: str, value: str, prefixes: tuple[str, ...]
) -> bool:
    """Return whether a header field lets a host store responses of the service."""
    if not FIELD.fullmatch(field) or "no-store" in value or not LASTING.search(value):
        return False
    if prefixes and path.startswith(prefixes):
        return True
    # Netlify applies Cache-Control to its own files only, and fields for CDNs to all
    shared = field.lower() != "cache-control" or bool(SHARED.search(value))
    return path in EVERYWHERE and (product != "Netlify" or shared)
