"""What the names of a source file stand for, as far as the file itself says."""

from __future__ import annotations

import ast
import collections
import typing as t

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
SCOPES = (ast.Module, ast.ClassDef, *FUNCTIONS)

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Place = tuple[int, int]
Suite = tuple[ast.AST, str] | None


class Element(t.NamedTuple):
    """What a loop or an unpacking takes out of something, by its number if it has one."""

    whole: ast.expr
    number: int | None


# what a name is bound to: an expression, a definition, a parameter, an import
Value = ast.AST | Element


class Bound(t.NamedTuple):
    value: Value
    place: Place
    suite: Suite


class Module:
    """The scopes of one file, what its names are bound to and what is called in it."""

    def __init__(self, tree: ast.Module):
        self.nodes = list(ast.walk(tree))
        self.returns = _lists()
        self.changes = _lists()
        self.calls = _lists()
        self._bound: dict[t.Any, list[Bound]] = collections.defaultdict(list)
        self._parents: dict[ast.AST, ast.AST] = {}
        self._scopes: dict[ast.AST, ast.AST] = {}
        self._suites: dict[ast.AST, Suite] = {}
        for node in self.nodes:
            for field, value in ast.iter_fields(node):
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        self._parents[child] = node
                        if isinstance(child, ast.stmt):
                            self._suites[child] = node, field
        for node in self.nodes:
            self._read(node)

    def scope(self, node: ast.AST) -> ast.AST:
        """Return the module, class or function in which a node is evaluated."""
        if node not in self._scopes:
            self._scopes[node] = self._scope(node)
        return self._scopes[node]

    def _scope(self, node: ast.AST) -> ast.AST:
        for inner, outer in self.around(node):
            if isinstance(outer, ast.Module):
                return outer
            # decorators, defaults and bases are evaluated outside
            if isinstance(outer, ast.Lambda) and inner is outer.body:
                return outer
            if isinstance(outer, SCOPES) and isinstance(inner, ast.stmt):
                return outer
        return self.nodes[0]

    def around(self, node: ast.AST) -> t.Iterator[tuple[ast.AST, ast.AST]]:
        """Yield a node with its parent, that with its own, up to the module."""
        while (outer := self._parents.get(node)) is not None:
            yield node, outer
            node = outer

    def functions(self, node: ast.AST) -> t.Iterator[Function]:
        """Yield the functions around a node, the innermost first."""
        scope = self.scope(node)
        while not isinstance(scope, ast.Module):
            if isinstance(scope, FUNCTIONS):
                yield scope
            scope = self.scope(scope)

    def owner(self, parameter: ast.arg) -> Function:
        """Return the function that takes a parameter."""
        return t.cast("Function", self._parents[self._parents[parameter]])

    def klass(self, function: ast.AST) -> ast.ClassDef | None:
        """Return the class of which a function is a method."""
        scope = self.scope(function)
        return scope if isinstance(scope, ast.ClassDef) else None

    def values(self, name: ast.Name) -> list[Value] | None:
        """Return what a name may be bound to where it is used, None if to nothing here."""
        reached = self._reach(name)
        return None if reached is None else [bound.value for bound in reached[0]]

    def changes_of(self, name: ast.Name) -> t.Iterator[ast.AST]:
        """Yield what is done to the object behind a name before it is used there."""
        reached = self._reach(name)
        if reached is not None:
            _, scope, since = reached
            local = scope is self.scope(name)
            for change in self.changes[scope, name.id]:
                if not local or since <= _place(change) < _place(name):
                    yield change

    def attribute(self, node: ast.Attribute) -> list[Value]:
        """Return what is assigned to `self.name`, or to the name in a class of the file."""
        found: ast.AST | None = None
        if isinstance(node.value, ast.Name):
            if node.value.id in ("self", "cls"):
                methods = [f for f in self.functions(node) if self.klass(f)]
                found = self.klass(methods[-1]) if methods else None
            else:
                values = self.values(node.value) or []
                found = next((v for v in values if isinstance(v, ast.ClassDef)), None)
        return [bound.value for bound in self._bound.get((found, node.attr), ())]

    def arguments(self, parameter: ast.arg) -> t.Iterator[ast.expr]:
        """Yield what the file itself gives for a parameter: its default and arguments."""
        function = self.owner(parameter)
        args = function.args
        positional = [*args.posonlyargs, *args.args]
        pairs = zip(reversed(positional), reversed(args.defaults), strict=False)
        for arg, default in [
            *pairs,
            *zip(args.kwonlyargs, args.kw_defaults, strict=True),
        ]:
            if arg is parameter and default is not None:
                yield default
        for call in self.calls[getattr(function, "name", None)]:
            if isinstance(call.func, ast.Name):
                index = 0
            elif getattr(call.func.value, "id", "") in ("self", "cls"):
                index = 1
            else:
                continue
            given = dict(zip(positional[index:], call.args, strict=False))
            given |= {k.arg: k.value for k in call.keywords}
            for key in (parameter, parameter.arg):
                if key in given:
                    yield given[key]

    def _read(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._bind(target, value, _end(node), self._suites[node])
            case ast.AnnAssign(target=target):
                self._bind(target, node, _end(node), self._suites[node])
            case ast.NamedExpr(target=target, value=value):
                self._bind(target, value, _end(node), None)
            case (
                ast.For(target=target, iter=whole)
                | ast.AsyncFor(target=target, iter=whole)
            ):
                self._bind(target, Element(whole, None), _end(target), (node, "body"))
            case ast.comprehension(target=target, iter=whole):
                self._bind(target, Element(whole, None), (0, 0), None)
            case ast.withitem(optional_vars=ast.expr() as target, context_expr=value):
                suite = self._suites[self._parents[node]]
                self._bind(target, value, _end(target), suite)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self._add(node, name, node, (0, 0), None)
            case ast.ClassDef(name=name):
                self._add(node, name, node, (0, 0), None)
            case ast.alias(name=name, asname=other):
                self._add(node, other or name.partition(".")[0], node, (0, 0), None)
            case ast.arg(arg=name):
                function = self.owner(node)
                bound = Bound(node, (0, 0), (function, "body"))
                self._bound[function, name].append(bound)
            case ast.Return(value=ast.expr() as value):
                self.returns[self.scope(node)].append(value)
            case ast.Lambda(body=value):
                self.returns[node].append(value)
            case ast.Call(func=ast.Name(id=name)):
                self.calls[name].append(node)
            case ast.Call(func=ast.Attribute(value=owner, attr=name)):
                self.calls[name].append(node)
                self._change(owner, node)
            case ast.Subscript(value=owner, ctx=ast.Store()):
                self._change(owner, node)
            case ast.AugAssign(target=owner):
                self._change(owner, node)

    def _bind(self, target: ast.AST, value: Value, place: Place, suite: Suite) -> None:
        match target:
            case ast.Name(id=name):
                self._add(target, name, value, place, suite)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                for function in self.functions(target):
                    if klass := self.klass(function):
                        self._bound[klass, name].append(Bound(value, place, suite))
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                parts = getattr(value, "elts", ())
                for index, part in enumerate(targets):
                    if len(parts) == len(targets):
                        taken: Value = parts[index]
                    elif isinstance(value, Element):
                        taken = Element(value.whole, index)
                    else:
                        taken = Element(t.cast("ast.expr", value), None)
                    self._bind(part, taken, place, suite)

    def _add(
        self, node: ast.AST, name: str, value: Value, place: Place, suite: Suite
    ) -> None:
        self._bound[self.scope(node), name].append(Bound(value, place, suite))

    def _change(self, owner: ast.AST, change: ast.AST) -> None:
        if isinstance(owner, ast.Name):
            self.changes[self.scope(change), owner.id].append(change)

    def _reach(self, name: ast.Name) -> tuple[list[Bound], ast.AST, Place] | None:
        """Return the bindings that reach a name, their scope, and where the first is."""
        scope = use = self.scope(name)
        while (scope, name.id) not in self._bound or (
            scope is not use and isinstance(scope, ast.ClassDef)
        ):
            if isinstance(scope, ast.Module):
                return None
            scope = self.scope(scope)
        bound = self._bound[scope, name.id]
        if scope is not use:
            return bound, scope, (0, 0)
        suites = {self._suites[n] for n, _ in self.around(name) if n in self._suites}
        reaching: list[Bound] = []
        for one in sorted(bound, key=lambda b: b.place, reverse=True):
            if one.place <= _place(name):
                reaching.append(one)
                # nothing gets past a binding that is always made
                if one.suite in suites:
                    return reaching, scope, one.place
        return reaching, scope, (0, 0)


def _lists() -> dict[t.Any, list[t.Any]]:
    return collections.defaultdict(list)


def _place(node: t.Any) -> Place:
    return node.lineno, node.col_offset


def _end(node: t.Any) -> Place:
    return node.end_lineno, node.end_col_offset
