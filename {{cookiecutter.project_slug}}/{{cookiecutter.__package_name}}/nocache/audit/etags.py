"""Whether a view keeps the ETag that its function sets: then it is not by hand."""

from __future__ import annotations

import ast

from .owners import name_of
from .owners import Owners
from .scopes import Function
from .scopes import Value


def may_keep(owners: Owners, call: ast.Call, owner: ast.expr) -> bool:
    """Return whether an ETag may be that of a view whose policy keeps it."""
    functions = list(owners.module.functions(call))
    if not functions or any(_keeps(owners, f) for f in functions):
        return bool(functions)
    function = functions[0]
    if owners.is_hook(function) or owners.is_view(function):
        return False
    values = owners.module.values(owner) if isinstance(owner, ast.Name) else ()
    if len(functions) > 1 or any(isinstance(value, ast.arg) for value in values or ()):
        return True  # a decorator or a helper, for whichever view
    callers = owners.module.calls[getattr(function, "name", None)]
    around = (f for caller in callers for f in owners.module.functions(caller))
    return any(_keeps(owners, f) for f in around)


def _keeps(owners: Owners, function: Function) -> bool:
    """Return whether a function may be declared so that its ETag stays."""
    decorators = list(getattr(function, "decorator_list", ()))
    klass = owners.module.klass(function)
    for statement in klass.body if klass else ():
        listed = getattr(statement, "value", None)
        decorators += getattr(listed, "elts", ())
    for call in owners.module.calls["add_url_rule"]:
        inner = list(ast.walk(call))
        named = (n for n in inner if isinstance(n, ast.Name))
        if any(function in (owners.module.values(name) or ()) for name in named):
            decorators += inner
    return any(_keeping(owners, d) for d in decorators)


def _keeping(owners: Owners, decorator: Value) -> bool:
    match decorator:
        case ast.Call(func=func, keywords=keywords):
            etag = any(k.arg == "etag" for k in keywords)
            return name_of(func) == "cacheable" or (name_of(func) == "nocache" and etag)
        case ast.Name():
            return any(
                _keeping(owners, v) for v in owners.module.values(decorator) or ()
            )
        case ast.alias(name=name):
            # another of the service's own may be one of them
            own = owners.origin(decorator).startswith(".")
            return own and name not in ("cacheable", "nocache")
    return False
