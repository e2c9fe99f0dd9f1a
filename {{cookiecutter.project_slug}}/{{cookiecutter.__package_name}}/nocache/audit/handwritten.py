"""NC007: source code that sets header fields for caches itself."""

from __future__ import annotations

import ast
import re
import typing as t

from werkzeug import exceptions

from .contents import Contents
from .contents import Pair
from .etags import may_keep
from .owners import CONTROL
from .owners import HEADERS
from .owners import name_of
from .owners import Owners
from .owners import RESPONSE
from .scopes import Function
from .scopes import Module
from .scopes import Value
from .vocabulary import ATTRIBUTES
from .vocabulary import CHOOSERS
from .vocabulary import CONTROLS
from .vocabulary import ETAG_METHODS
from .vocabulary import HEADER_METHODS
from .vocabulary import MAX_AGES
from .vocabulary import PAGES
from .vocabulary import SENDERS
from .vocabulary import SETTERS
from .vocabulary import SETTING_SETTERS
from .vocabulary import SETTING_TAKERS
from .vocabulary import SETTINGS
from .vocabulary import TAKERS

FIELD = re.compile(
    r"expires|pragma|surrogate-control|edge-control|x-accel-expires|(.+-)?cache-control",
    re.IGNORECASE,
)
BASES = frozenset({"BaseResponse", "Response", "__init__", "response_class"})
EXCEPTIONS = frozenset(dir(exceptions))

# the name of a field, and the node that sets it
Settings = t.Iterator[tuple[str, t.Any]]


def spot(tree: ast.Module) -> list[tuple[int, str]]:
    """Return the lines in which a module sets such a field, with its name, sorted.

    :param tree: the module.
    """
    spotter = Spotter(Module(tree))
    pairs = [pair for node in spotter.module.nodes for pair in spotter.spot(node)]
    return sorted({(place.lineno, name) for name, place in pairs})


class Spotter:
    """Finds settings of fields, by the type of the object and not by names alone."""

    def __init__(self, module: Module):
        self.module = module
        self.owners = Owners(module)
        self.contents = Contents(self.owners)

    def spot(self, node: ast.AST) -> Settings:
        """Yield the fields that one node sets, each with the node to report."""
        match node:
            case ast.Call(func=func, args=args):
                yield from self._call(node, func, args)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield from self._assignment(node, target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield from self._assignment(node, target, value)
            case ast.AugAssign(target=target, value=value):
                if self.owners.kind(target) == HEADERS:
                    yield from self._fields(value)
                yield from self._assignment(node, target, value)
                yield from self._settings(self.contents.pairs(value))
            case ast.Delete(targets=targets):
                for target in targets:
                    yield from self._assignment(node, target, None)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from self._definition(node)

    def _assignment(
        self, node: ast.AST, to: ast.expr, value: ast.expr | None
    ) -> Settings:
        match to:
            case ast.Subscript(value=owner, slice=key):
                kind = self.owners.kind(owner)
                keys = [Pair(text, node, value) for text in self.contents.texts(key)]
                yield from self._settings(keys)
                if kind == HEADERS:
                    yield from _cache_fields(keys)
                elif kind == CONTROL:
                    yield CONTROL, node
            case ast.Attribute(value=owner, attr=attr):
                kind = self.owners.kind(owner)
                if kind == CONTROL or (kind == RESPONSE and attr == CONTROL):
                    yield CONTROL, node
                elif kind == RESPONSE and attr in ATTRIBUTES:
                    yield attr, node
                elif kind == RESPONSE and attr == HEADERS:
                    yield from self._fields(value)
                elif attr in CHOOSERS and not _is_none(value):
                    yield attr, node
            case ast.Name(id=name):
                yield from self._settings([Pair(name, node, value)])
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                parts = getattr(value, "elts", [None] * len(targets))
                for target, part in zip(targets, parts, strict=False):
                    yield from self._assignment(node, target, part)

    def _call(self, call: ast.Call, func: ast.expr, args: list[ast.expr]) -> Settings:
        if isinstance(func, ast.Name):
            # a variable with a method or a class
            for value in (self.module.values(func) or [])[:1]:
                func = value if isinstance(value, ast.Attribute | ast.Name) else func
        name = self.owners.callee(func)
        keywords = list(self.contents.keywords(call))
        if name == "partial" and args:
            yield from self._call(call, args[0], args[1:])
        elif name == "setattr" and len(args) == 3:
            for attr in self.contents.texts(args[1]):
                target = ast.Attribute(value=args[0], attr=attr)
                yield from self._assignment(call, target, args[2])
        if isinstance(func, ast.Attribute):
            yield from self._method(call, func, args, keywords)
        if self.owners.foreign(func) or self.owners.function(func):
            return
        if name in SENDERS:
            # the position counts all arguments, which is unknown after an unpacking
            index = SENDERS[name][self.owners.origin(func).startswith("werkzeug")]
            ages = [pair.value for pair in keywords if pair.key in MAX_AGES]
            if index and not any(isinstance(arg, ast.Starred) for arg in args):
                ages += args[index : index + 1]
            if not all(map(_is_none, ages)):
                yield f"{name}(max_age=...)", call
        elif name == "SharedDataMiddleware":
            if args[4:5] or any(pair.key == "cache_timeout" for pair in keywords):
                yield f"{name}(cache_timeout=...)", call
        elif name == "start_response":
            yield from self._fields(*args[1:2])
        elif name == "make_response":
            yield from self._tuple(args, view=True)
        constructs = self._constructs(func)
        if constructs or name in ("abort", "HTTPError", "make_response"):
            yield from self._fields(*(p.value for p in keywords if p.key == HEADERS))
        if constructs:
            for field, place in self._fields(*args[2:3]):
                # the third argument of a class of another file may be anything
                if "-" in field or name in BASES or self._inherits(func):
                    yield field, place

    def _method(
        self,
        call: ast.Call,
        func: ast.Attribute,
        args: list[ast.expr],
        keywords: list[Pair],
    ) -> Settings:
        owner, name = func.value, func.attr
        kind = ""
        if name in SETTERS | TAKERS | CONTROLS | ETAG_METHODS:
            kind = self.owners.kind(owner)
        if name in SETTERS:
            keys = [*args[:1], *(p.value for p in keywords if p.key in ("key", "_key"))]
            pairs = [
                Pair(x, call, None) for key in keys for x in self.contents.texts(key)
            ]
            if kind == HEADERS:
                yield from _cache_fields(pairs)
        if kind == HEADERS and name in TAKERS:
            yield from self._fields(*args)
            yield from _cache_fields(keywords)
        elif kind == CONTROL and name in CONTROLS:
            yield CONTROL, call
        elif kind == RESPONSE and name in ETAG_METHODS:
            if not may_keep(self.owners, call, owner):
                yield f"{name}()", call
        # an override calls the original
        elif name == "make_conditional" and name_of(owner) != "super":
            if not self.owners.foreign(owner):
                yield f"{name}()", call
        if name in SETTING_TAKERS:
            pairs = [pair for arg in args for pair in self.contents.pairs(arg)]
            yield from self._settings([*keywords, *pairs])
        elif name in SETTING_SETTERS and len(args) == 2:
            texts = self.contents.texts(args[0])
            yield from self._settings([Pair(text, call, args[1]) for text in texts])

    def _constructs(self, func: ast.expr) -> bool:
        """Return whether a call constructs a response, or the base of one."""
        if isinstance(func, ast.Attribute) and func.attr == "__init__":
            klass: Value | None = func.value
            if name_of(func.value) == "super":
                functions = list(self.module.functions(func))
                klass = self.module.klass(functions[-1]) if functions else None
            return klass is not None and self.owners.is_class(klass)
        return self.owners.is_class(func)

    def _inherits(self, func: ast.expr) -> bool:
        """Return whether a class of the file has the constructor of its base."""
        values = self.module.values(func) if isinstance(func, ast.Name) else None
        return any(
            isinstance(value, ast.ClassDef)
            and "__init__" not in (getattr(n, "name", "") for n in value.body)
            for value in values or ()
        )

    def _definition(self, function: Function) -> Settings:
        klass = self.module.klass(function)
        name = getattr(function, "name", "")
        results = self.module.returns[function]
        if klass is not None and name == "get_send_file_max_age":
            if not all(map(_is_none, results)):
                yield f"{name}()", function
        elif klass is not None and name in HEADER_METHODS:
            is_error = not EXCEPTIONS.isdisjoint(map(name_of, klass.bases))
            if is_error or self.owners.is_class(klass):
                yield from self._fields(*results)
        view = bool(results) and self.owners.is_view(function)
        for result in results:
            for value in self._tuples(result):
                yield from self._tuple(value.elts, view)

    def _tuples(self, node: Value) -> t.Iterator[ast.Tuple]:
        match node:
            case ast.Tuple():
                yield node
            case ast.IfExp(body=one, orelse=other):
                yield from self._tuples(one)
                yield from self._tuples(other)
            case ast.Name():
                for value in self.module.values(node) or ():
                    if not isinstance(value, ast.Name):
                        yield from self._tuples(value)

    def _tuple(self, parts: list[ast.expr], view: bool) -> Settings:
        """Yield the fields in `(body, status, headers)` or in `(body, headers)`."""
        match parts:
            case [ast.Starred(value=whole)] | [ast.Name() | ast.Tuple() as whole] if (
                view
            ):
                for inner in self._tuples(whole):
                    yield from self._tuple(inner.elts, view)
            case [body, headers]:
                page = isinstance(body, ast.Call) and name_of(body) in PAGES
                if view or page or self.owners.kind(body) == RESPONSE:
                    yield from self._fields(headers)
            case [_, status, headers]:
                if view or _is_status(status):
                    yield from self._fields(headers)

    def _fields(self, *nodes: Value | None) -> Settings:
        for node in nodes:
            yield from _cache_fields(self.contents.pairs(node))

    def _settings(self, pairs: t.Iterable[Pair]) -> Settings:
        for pair in pairs:
            if pair.key in SETTINGS and not _is_none(pair.value):
                yield pair.key, pair.place


def _cache_fields(pairs: t.Iterable[Pair]) -> Settings:
    for pair in pairs:
        if FIELD.fullmatch(pair.key.strip()):
            yield pair.key, pair.place


def _is_none(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_status(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=int()):
            return True
        case ast.Constant(value=str(text)):
            return text[:1].isdigit()
        case ast.Attribute() | ast.Name():
            return bool(re.search(r"status|code", ast.unparse(node), re.IGNORECASE))
    return False
