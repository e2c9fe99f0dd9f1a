"""Which expressions of a source file are responses of this service, and their headers."""

from __future__ import annotations

import ast
import re

from .scopes import Element
from .scopes import Function
from .scopes import FUNCTIONS
from .scopes import Module
from .scopes import Value
from .vocabulary import HOOKS
from .vocabulary import MAKERS
from .vocabulary import METHODS
from .vocabulary import NAMES
from .vocabulary import OVERRIDES
from .vocabulary import ROUTES
from .vocabulary import SENDS
from .vocabulary import SIGNALS
from .vocabulary import STRANGERS

RESPONSE, HEADERS, CONTROL = "response", "headers", "cache_control"


class Owners:
    """The types and origins of the expressions in one file."""

    def __init__(self, module: Module):
        self.module = module
        self._kinds: dict[int, tuple[Value, str]] = {}
        self._roles: dict[tuple[Function, frozenset[str]], bool] = {}
        imports = [f"{source}." for source in map(self._source, module.nodes) if source]
        self._flask = any(
            name.startswith(("flask", "quart", "werkzeug")) for name in imports
        )
        self._strange = any(name.startswith(STRANGERS) for name in imports)

    def kind(self, node: Value | None) -> str:
        """Return ``response``, ``headers`` or ``cache_control`` for such an expression.

        Any other expression returns an empty string.
        """
        if node is None:
            return ""
        if id(node) not in self._kinds:
            # empty first, for names bound to themselves; with the node, so that no other
            # node gets its id
            self._kinds[id(node)] = node, ""
            self._kinds[id(node)] = node, self._kind(node)
        return self._kinds[id(node)][1]

    def _kind(self, node: Value) -> str:
        match node:
            case ast.Name(id=name):
                values = self.module.values(node)
                if values is None:
                    return RESPONSE if name in NAMES and not self._alien() else ""
                kinds = (self.kind(value) for value in values)
                return next(filter(None, kinds), "") or self._kind_by_use(node, values)
            case ast.Attribute(value=owner, attr="headers" | "cache_control" as attr):
                return attr if self.kind(owner) == RESPONSE else ""
            case ast.Attribute():
                kinds = (self.kind(value) for value in self.module.attribute(node))
                return next(filter(None, kinds), "")
            case ast.Call():
                return self._kind_of_call(node)
            case ast.IfExp(body=one, orelse=other):
                return self.kind(one) or self.kind(other)
            case ast.BoolOp(values=parts):
                return next(filter(None, map(self.kind, parts)), "")
            case ast.NamedExpr(value=value) | ast.Await(value=value):
                return self.kind(value)
            case ast.AnnAssign(annotation=annotation, value=value):
                return RESPONSE if self._is_annotation(annotation) else self.kind(value)
            case ast.arg():
                return self._kind_of_parameter(node)
        return ""

    def is_class(self, node: Value) -> bool:
        """Return whether an expression is a class of responses."""
        match node:
            case ast.ClassDef(bases=bases):
                return any(self.is_class(base) for base in bases)
            case ast.Name():
                for value in self.module.values(node) or ():
                    if isinstance(value, ast.ClassDef | ast.Attribute | ast.Name):
                        return value is not node and self.is_class(value)
                    if not isinstance(value, ast.alias):
                        return False
                origin = self.origin(node)
            case ast.Attribute(attr="response_class"):
                return True
            case ast.Attribute():
                origin = self.origin(node)
            case _:
                return False
        name = origin.rpartition(".")[2]
        is_response = name.endswith("Response") and name[:1].isupper()
        return is_response and not self.foreign(node)

    def foreign(self, node: Value) -> bool:
        """Return whether an expression comes from an HTTP client or another framework."""
        origin = re.sub(r"[()\[\]]", "", self.origin(node)) + "."
        return origin.startswith(STRANGERS) or ".test_client." in origin

    def callee(self, func: ast.expr) -> str:
        """Return the original name of a called function, despite aliases."""
        return self.origin(func).rpartition(".")[2].lstrip("?") or name_of(func)

    def origin(self, node: Value, depth: int = 8) -> str:
        """Return where an expression comes from, for example `flask.make_response()`.

        :param depth: the number of names to follow.
        """
        if not depth:
            return ""
        match node:
            case ast.Name(id=name):
                values = self.module.values(node)
                if values is None:
                    return name
                return self.origin(values[0], depth - 1) if values else ""
            case ast.Attribute(value=owner, attr=attr):
                return f"{self.origin(owner, depth - 1)}.{attr}"
            case ast.Call(func=func):
                return f"{self.origin(func, depth - 1)}()"
            case ast.Await(value=value) | ast.NamedExpr(value=value):
                return self.origin(value, depth - 1)
            case ast.Subscript(value=owner) | Element(whole=owner):
                return f"{self.origin(owner, depth - 1)}[]"
            case ast.AnnAssign(value=ast.expr() as value):
                return self.origin(value, depth - 1)
            case ast.arg(arg=name):
                return f"?{name}"
            case ast.alias(name=name):
                source = self._source(node)
                # "import a.b" binds a
                short = source == name and not node.asname
                return source.partition(".")[0] if short else source
        return ""

    def function(self, func: ast.expr) -> Function | None:
        """Return the function that a call runs, None if the file does not have it."""
        values: list[Value] = []
        if isinstance(func, ast.Name):
            values = self.module.values(func) or []
        elif isinstance(func, ast.Attribute):
            values = self.module.attribute(func)
        return next((v for v in values if isinstance(v, FUNCTIONS)), None)

    def is_view(self, function: Function) -> bool:
        """Return whether a function is a view."""
        klass = self.module.klass(function)
        bases = [name_of(base) for base in klass.bases] if klass else []
        if any(base.endswith(("View", "Resource")) for base in bases):
            return getattr(function, "name", "") in METHODS
        return self._is_registered(function, ROUTES)

    def is_hook(self, function: Function) -> bool:
        """Return whether a function is a hook that gets responses."""
        return self._is_registered(function, HOOKS)

    def _is_registered(self, function: Function, by: frozenset[str]) -> bool:
        if (function, by) not in self._roles:
            self._roles[function, by] = self._registered(function, by)
        return self._roles[function, by]

    def _registered(self, function: Function, by: frozenset[str]) -> bool:
        decorators = getattr(function, "decorator_list", [])
        for decorator in decorators:
            func = decorator.func if isinstance(decorator, ast.Call) else decorator
            name = name_of(func)
            if name in by and (isinstance(func, ast.Attribute) or by is HOOKS):
                if not self.foreign(func) and self.origin(func) != "mock.patch":
                    return True
        for name in by - {"get", "post", "put", "patch", "delete"}:
            for call in self.module.calls[name]:
                for part in ast.walk(call):
                    if part is function or self._leads_to(part, function):
                        return True
        return False

    def _leads_to(self, node: ast.AST, function: Function) -> bool:
        if isinstance(node, ast.Name):
            return function in (self.module.values(node) or ())
        return isinstance(node, ast.Attribute) and function in self.module.attribute(
            node
        )

    def _kind_of_call(self, call: ast.Call) -> str:
        func, callee = call.func, self.callee(call.func)
        function = self.function(func)
        if function is not None:
            if self._is_annotation(getattr(function, "returns", None)):
                return RESPONSE
            kinds = (self.kind(value) for value in self.module.returns[function])
            return next(filter(None, kinds), "")
        if callee == "get_wsgi_headers":
            return HEADERS
        if self.is_class(func):
            return RESPONSE
        return RESPONSE if callee in MAKERS and not self.foreign(func) else ""

    def _kind_of_parameter(self, parameter: ast.arg) -> str:
        """Return the kind of a parameter, by its annotation, arguments or name."""
        if parameter.annotation is not None:
            return RESPONSE if self._is_annotation(parameter.annotation) else ""
        function = self.module.owner(parameter)
        args = [*function.args.posonlyargs, *function.args.args]
        klass = self.module.klass(function)
        is_method = klass is not None and not self._static(function)
        if is_method and args[:1] == [parameter]:
            return RESPONSE if klass is not None and self.is_class(klass) else ""
        if self.is_hook(function) and parameter is args[int(is_method)]:
            return RESPONSE
        kinds = (self.kind(value) for value in self.module.arguments(parameter))
        if kind := next(filter(None, kinds), ""):
            return kind
        if parameter.arg not in NAMES or self._alien():
            return ""
        if self._is_registered(function, SIGNALS):
            return RESPONSE
        if klass is not None:
            # such methods of other frameworks get the request too
            requests = {"req", "request", "spider"}.intersection(a.arg for a in args)
            override = getattr(function, "name", "") in OVERRIDES
            return RESPONSE if override and not requests else ""
        variable = function.args.vararg or function.args.kwarg
        return "" if variable and self._strange else RESPONSE

    def _kind_by_use(self, name: ast.Name, values: list[Value]) -> str:
        """Return the kind of a variable that a call sets, by what the function returns."""
        for value in values:
            if not isinstance(value, ast.Call) or self.function(value.func):
                continue
            function = next(self.module.functions(name), None)
            results = [
                part.id
                for result in self.module.returns[function]
                for part in (result, *getattr(result, "elts", ())[:1])
                if isinstance(part, ast.Name)
            ]
            if name.id not in results or self.foreign(value):
                continue
            if function is not None and self.is_view(function):
                return RESPONSE
            # a decorator calls the view that is its parameter
            is_parameter = self.origin(value.func).startswith("?")
            if is_parameter and isinstance(value.func, ast.Name) and not self._alien():
                return RESPONSE
            if not self._strange and name.id in NAMES:
                is_super = self.origin(value.func).startswith("super()")
                if name_of(value.func) not in SENDS and not is_super:
                    return RESPONSE
        return ""

    def _alien(self) -> bool:
        return self._strange and not self._flask

    def _is_annotation(self, annotation: ast.expr | None) -> bool:
        if annotation is None:
            return False
        for part in ast.walk(annotation):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                return part.value.rpartition(".")[2].endswith("Response")
            if isinstance(part, ast.Name | ast.Attribute) and self.is_class(part):
                return True
        return False

    def _static(self, function: Function) -> bool:
        decorators = getattr(function, "decorator_list", [])
        return "staticmethod" in map(name_of, decorators)

    def _source(self, node: ast.AST) -> str:
        """Return the dotted name that an import binds, empty for any other node."""
        if not isinstance(node, ast.alias):
            return ""
        _, statement = next(self.module.ancestors(node))
        if isinstance(statement, ast.ImportFrom):
            return f"{'.' * statement.level}{statement.module or ''}.{node.name}"
        return node.name


def name_of(node: ast.AST) -> str:
    """Return the last part of a dotted name, such as `headers` in `response.headers`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=func):
            return name_of(func)
    return ""
