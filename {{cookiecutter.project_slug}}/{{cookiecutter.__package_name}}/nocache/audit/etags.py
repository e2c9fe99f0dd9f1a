"""Whether the policy of a view keeps the ETag that its function sets."""

from __future__ import annotations

import ast

from .owners import name_of
from .owners import Owners
from .scopes import Function
from .scopes import Value


def may_keep(owners: Owners, call: ast.Call, owner: ast.expr) -> bool:
    """Return whether an ETag may be for a view whose policy keeps it.

    :param owners: the owners in the file.
    :param call: the call that sets the ETag.
    :param owner: the response on which it is set.
    """
    functions = list(owners.module.functions(call))
    if not functions or any(_keeps(owners, f) for f in functions):
        return bool(functions)
    function = functions[0]
    if owners.is_hook(function) or owners.is_view(function):
        return False
    values = owners.module.values(owner) if isinstance(owner, ast.Name) else ()
    if len(functions) > 1 or any(isinstance(value, ast.arg) for value in values or ()):
        return True  # a decorator or a helper, for any view
    callers = owners.module.calls[getattr(function, "name", None)]
    outer = (f for caller in callers for f in owners.module.functions(caller))
    return any(_keeps(owners, f) for f in outer)


def _keeps(owners: Owners, function: Function) -> bool:
    """Return whether a function may have a declaration that keeps its ETag."""
    decorators = list(getattr(function, "decorator_list", ()))
    klass = owners.module.klass(function)
    for statement in klass.body if klass else ():
        value = getattr(statement, "value", None)
        decorators += getattr(value, "elts", ())
    for call in owners.module.calls["add_url_rule"]:
        inner = list(ast.walk(call))
        names = (n for n in inner if isinstance(n, ast.Name))
        if any(function in (owners.module.values(name) or ()) for name in names):
            decorators += inner
    return any(_keeps_etag(owners, d) for d in decorators)


def _keeps_etag(owners: Owners, decorator: Value) -> bool:
    match decorator:
        case ast.Call(func=func, keywords=keywords):
            etag = any(k.arg == "etag" for k in keywords)
            return name_of(func) == "cacheable" or (name_of(func) == "nocache" and etag)
        case ast.Name():
            return any(
                _keeps_etag(owners, v) for v in owners.module.values(decorator) or ()
            )
        case ast.alias(name=name):
            # a decorator of another module may be a declaration in a variable
            is_own = owners.origin(decorator).startswith(".")
            return is_own and name not in ("cacheable", "nocache")
    return False
