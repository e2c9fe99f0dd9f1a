"""The keys and texts in the dicts, lists of pairs and names of a source file."""

from __future__ import annotations

import ast
import typing as t

from .owners import Owners
from .scopes import Element
from .scopes import Value
from .vocabulary import COPIERS
from .vocabulary import FILLERS
from .vocabulary import SETTERS
from .vocabulary import TAKERS


class Pair(t.NamedTuple):
    """A key that an expression may contain, its node, and its value."""

    key: str
    place: t.Any
    value: ast.AST | None


class Contents:
    """The contents of the expressions in one file, as far as the file shows them."""

    def __init__(self, owners: Owners):
        self.owners = owners
        self.module = owners.module
        self._results: dict[t.Any, tuple[t.Any, list[t.Any]]] = {}

    def keywords(self, call: ast.Call) -> t.Iterator[Pair]:
        """Yield the keyword arguments of a call, also those of an unpacked dict."""
        for keyword in call.keywords:
            if keyword.arg is None:
                yield from self.pairs(keyword.value)
            else:
                yield Pair(keyword.arg, keyword, keyword.value)

    def pairs(self, node: Value | None) -> list[Pair]:
        """Return the pairs that a dict, a list of pairs or a Headers object may contain."""
        return self._once("pairs", node, self._pairs)

    def texts(self, node: Value | None) -> list[str]:
        """Return the strings that an expression may evaluate to."""
        return self._once("texts", node, self._texts)

    def _once(
        self, kind: str, node: t.Any, find: t.Callable[[t.Any], t.Iterator[t.Any]]
    ) -> list[t.Any]:
        key = kind, id(node)
        if key not in self._results:
            # empty first, for names bound to themselves; with the node, so that no other
            # node gets its id
            self._results[key] = node, []
            self._results[key] = node, list(dict.fromkeys(find(node)))
        return self._results[key][1]

    def _pairs(self, node: Value | None) -> t.Iterator[Pair]:
        for part in self._parts(node):
            yield from self.pairs(part)
        match node:
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    yield from self._keyed(key, key, value)
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                for part in parts:
                    match part:
                        case ast.Tuple(elts=[key, value]) | ast.List(elts=[key, value]):
                            yield from self._keyed(key, part, value)
            case ast.DictComp(key=key, value=value):
                yield from self._keyed(key, node, value)
            case ast.Call():
                if self.owners.function(node.func) is None and self._copies(node):
                    yield from self.keywords(node)
            case ast.Name():
                for change in self.module.changes_of(node):
                    yield from self._additions(change)

    def _parts(self, node: Value | None) -> t.Iterator[Value]:
        """Yield the parts of an expression whose pairs belong to it."""
        match node:
            case ast.Dict(keys=keys, values=values):
                yield from (v for k, v in zip(keys, values, strict=True) if k is None)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                yield from (part for part in parts if isinstance(part, ast.Starred))
            case ast.Call(func=func, args=args):
                if function := self.owners.function(func):
                    yield from self.module.returns[function]
                elif self._copies(node):
                    yield from [func.value] if isinstance(func, ast.Attribute) else []
                    yield from args
            case ast.BinOp(left=one, right=other) | ast.IfExp(body=one, orelse=other):
                yield from (one, other)
            case ast.BoolOp(values=parts):
                yield from parts
            case ast.NamedExpr(value=value) | ast.Starred(value=value):
                yield value
            case ast.AnnAssign(value=ast.expr() as value):
                yield value
            case ast.arg():
                yield from self.module.arguments(node)
            case ast.Attribute():
                yield from self.module.attribute(node)
            case ast.Name():
                yield from self.module.values(node) or ()

    def _copies(self, call: ast.Call) -> bool:
        return self.owners.callee(call.func) in COPIERS

    def _keyed(
        self, key: ast.AST | None, place: ast.AST | None, value: ast.AST | None
    ) -> t.Iterator[Pair]:
        yield from (Pair(text, place, value) for text in self.texts(key))

    def _additions(self, change: ast.AST) -> t.Iterator[Pair]:
        """Yield the pairs that a statement or a method call adds."""
        match change:
            case ast.Subscript(slice=key):
                yield from self._keyed(key, change, None)
            case ast.AugAssign(value=value):
                yield from self.pairs(value)
            case ast.Call(func=ast.Attribute(attr=name), args=args):
                if name in SETTERS and args:
                    yield from self._keyed(args[0], change, None)
                elif name in FILLERS and args:
                    yield from self.pairs(ast.List(elts=args[-1:]))
                elif name in TAKERS:
                    for arg in args:
                        yield from self.pairs(arg)
                    yield from self.keywords(change)

    def _texts(self, node: Value | None) -> t.Iterator[str]:
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.Name():
                for value in self.module.values(node) or ():
                    yield from self.texts(value)
            case ast.Attribute():
                for value in self.module.attribute(node):
                    yield from self.texts(value)
            case ast.AnnAssign(value=ast.expr() as value):
                yield from self.texts(value)
            case Element(whole=whole, number=number):
                if not number:
                    yield from (pair.key for pair in self.pairs(whole))
                for part in getattr(whole, "elts", ()):
                    yield from self.texts(part)
