"""The scopes of a source file, and the values to which its names are bound."""

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
    """An element that a loop or an unpacking takes from `whole`, with its index if any."""

    whole: ast.expr
    number: int | None


# the value of a name: an expression, a definition, a parameter or an import
Value = ast.AST | Element


class Binding(t.NamedTuple):
    value: Value
    place: Place
    suite: Suite


class Module:
    """The scopes, bindings, calls and return values of one file."""

    def __init__(self, tree: ast.Module):
        self.nodes = list(ast.walk(tree))
        self.returns = _lists()
        self.changes = _lists()
        self.calls = _lists()
        self._bindings: dict[t.Any, list[Binding]] = collections.defaultdict(list)
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
        for inner, outer in self.ancestors(node):
            if isinstance(outer, ast.Module):
                return outer
            # decorators, defaults and bases are evaluated outside
            if isinstance(outer, ast.Lambda) and inner is outer.body:
                return outer
            if isinstance(outer, SCOPES) and isinstance(inner, ast.stmt):
                return outer
        return self.nodes[0]

    def ancestors(self, node: ast.AST) -> t.Iterator[tuple[ast.AST, ast.AST]]:
        """Yield each node and its parent, from a node up to the module."""
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
        """Return the class of a method, None for any other function."""
        scope = self.scope(function)
        return scope if isinstance(scope, ast.ClassDef) else None

    def values(self, name: ast.Name) -> list[Value] | None:
        """Return the values that a name may have where it is used, None if it has none."""
        result = self._reach(name)
        return None if result is None else [binding.value for binding in result[0]]

    def changes_of(self, name: ast.Name) -> t.Iterator[ast.AST]:
        """Yield the nodes that may change the object of a name before it is used."""
        result = self._reach(name)
        if result is not None:
            _, scope, since = result
            local = scope is self.scope(name)
            for change in self.changes[scope, name.id]:
                if not local or since <= _place(change) < _place(name):
                    yield change

    def attribute(self, node: ast.Attribute) -> list[Value]:
        """Return the values of `self.name`, or of a name in a class of the file."""
        klass: ast.AST | None = None
        if isinstance(node.value, ast.Name):
            if node.value.id in ("self", "cls"):
                methods = [f for f in self.functions(node) if self.klass(f)]
                klass = self.klass(methods[-1]) if methods else None
            else:
                values = self.values(node.value) or []
                klass = next((v for v in values if isinstance(v, ast.ClassDef)), None)
        return [binding.value for binding in self._bindings.get((klass, node.attr), ())]

    def arguments(self, parameter: ast.arg) -> t.Iterator[ast.expr]:
        """Yield the default of a parameter, and its arguments in calls of the file."""
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
            values = dict(zip(positional[index:], call.args, strict=False))
            values |= {k.arg: k.value for k in call.keywords}
            for key in (parameter, parameter.arg):
                if key in values:
                    yield values[key]

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
                binding = Binding(node, (0, 0), (function, "body"))
                self._bindings[function, name].append(binding)
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
                        self._bindings[klass, name].append(Binding(value, place, suite))
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                parts = getattr(value, "elts", ())
                for index, part in enumerate(targets):
                    if len(parts) == len(targets):
                        element: Value = parts[index]
                    elif isinstance(value, Element):
                        element = Element(value.whole, index)
                    else:
                        element = Element(t.cast("ast.expr", value), None)
                    self._bind(part, element, place, suite)

    def _add(
        self, node: ast.AST, name: str, value: Value, place: Place, suite: Suite
    ) -> None:
        self._bindings[self.scope(node), name].append(Binding(value, place, suite))

    def _change(self, owner: ast.AST, change: ast.AST) -> None:
        if isinstance(owner, ast.Name):
            self.changes[self.scope(change), owner.id].append(change)

    def _reach(self, name: ast.Name) -> tuple[list[Binding], ast.AST, Place] | None:
        """Return the bindings that may apply to a name, their scope and the first place."""
        scope = use = self.scope(name)
        while (scope, name.id) not in self._bindings or (
            scope is not use and isinstance(scope, ast.ClassDef)
        ):
            if isinstance(scope, ast.Module):
                return None
            scope = self.scope(scope)
        bindings = self._bindings[scope, name.id]
        if scope is not use:
            return bindings, scope, (0, 0)
        suites = {self._suites[n] for n, _ in self.ancestors(name) if n in self._suites}
        reaching: list[Binding] = []
        for binding in sorted(bindings, key=lambda b: b.place, reverse=True):
            if binding.place <= _place(name):
                reaching.append(binding)
                # a binding that always runs replaces all before it
                if binding.suite in suites:
                    return reaching, scope, binding.place
        return reaching, scope, (0, 0)


def _lists() -> dict[t.Any, list[t.Any]]:
    return collections.defaultdict(list)


def _place(node: t.Any) -> Place:
    return node.lineno, node.col_offset


def _end(node: t.Any) -> Place:
    return node.end_lineno, node.end_col_offset
