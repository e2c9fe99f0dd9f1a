"""NC002 in the source: apps that are wrapped in middleware outside the guard."""

from __future__ import annotations

import ast
import re
import typing as t

from .findings import Spot
from .scopes import FUNCTIONS

NAMES = frozenset({"app", "application"})
FACTORY = re.compile(r"(create|make|build|get)_(\w+_)?app(lication)?|\w*Flask")
MIDDLEWARE = re.compile(
    r"\w*(Middleware|WhiteNoise|ProxyFix|DebuggedApplication|ReverseProxied"
    r"|Cascade|URLMap|Cling)"
)
# these serve several apps
MOUNTS = frozenset({"DispatcherMiddleware", "WSGIMiddleware"})
# these adapt an app to another kind of server, and change no response
ADAPTERS = frozenset({"WsgiToAsgi", "WSGIContainer"})
# files without a match need no parsing
WORTH_PARSING = re.compile(
    rf"{MIDDLEWARE.pattern[3:]}\(|\.graft\(|^[ \t]*app(lication)?\b[^=\n]*=.*[A-Z]\w*\(",
    re.MULTILINE,
)


def spot(tree: ast.Module) -> t.Iterator[Spot]:
    """Yield where a module wraps an app outside the guard.

    :param tree: the module.
    """
    yield from _Scope(tree).spot(tree)


class _Scope:
    """The names of apps in a module or a function.

    :param tree: its node.
    :param outer: the scope around it.
    """

    def __init__(self, tree: ast.AST, outer: _Scope | None = None):
        nodes = list(own_nodes(tree))
        self.parameters = {n.arg for n in nodes if isinstance(n, ast.arg)}
        names: t.Collection[str] = outer.apps if outer else NAMES
        self.apps: set[str] = set(names) - self.parameters
        # the names that are assigned to app.wsgi_app, which run inside the guard
        self.inner = set[str]()
        for node in nodes:
            targets, value = _assignment(node)
            for target in targets:
                if isinstance(target, ast.Name):
                    self._bind(target.id, value)
                elif _is_wsgi_app(target):
                    self.inner.add(last_name(value))
            if isinstance(node, ast.alias):
                name = node.asname or node.name
                self.apps |= {name} if name.endswith("_app") else set()

    def _bind(self, name: str, value: ast.AST) -> None:
        if self._is_app(value):
            self.apps.add(name)
        # app = FastAPI(), not app = configure(app)
        elif isinstance(value, ast.Call) and not any(
            map(self._is_app, _arguments(value))
        ):
            self.apps.discard(name)

    def spot(self, tree: ast.AST) -> t.Iterator[Spot]:
        for node in ast.iter_child_nodes(tree):
            targets, value = _assignment(node)
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if any(map(_is_wsgi_app, targets)) or self.inner.intersection(names):
                continue
            name = next(iter(NAMES.intersection(names)), "")
            if isinstance(node, FUNCTIONS):
                yield from _Scope(node, self).spot(node)
            elif isinstance(value, ast.Call) and self._wraps(value, bool(name)):
                wrapper = last_name(value.func)
                fact = f"wraps the app in {wrapper} from outside"
                yield value.lineno, f"'{name or wrapper}'", fact
            elif isinstance(node, ast.Call) and self._wraps(node, False):
                wrapper = last_name(node.func)
                fact = "wraps the app from outside"
                yield node.lineno, f"'{wrapper}'", fact
            else:
                yield from self.spot(node)

    def _wraps(self, call: ast.Call, is_entry: bool) -> bool:
        """Return whether a call wraps an app.

        :param is_entry: whether its result gets a name that servers look up.
        """
        name, values = last_name(call.func), list(_arguments(call))
        if name in MOUNTS:
            return not any(last_name(value) in self.parameters for value in values)
        if FACTORY.fullmatch(name) or name in ADAPTERS:
            return False
        if not any(map(self._is_app, values)):
            return False
        middleware = MIDDLEWARE.fullmatch(name) or name == "graft"
        return bool(middleware or (is_entry and name[:1].isupper()))

    def _is_app(self, node: ast.AST) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self.apps
            case ast.Attribute(value=value, attr="wsgi_app"):
                return self._is_app(value)
            case ast.Call(func=function):
                name = last_name(function)
                if MIDDLEWARE.fullmatch(name) or name in ADAPTERS:
                    return any(map(self._is_app, _arguments(node)))
                return bool(FACTORY.fullmatch(name))
        return False


def own_nodes(tree: ast.AST) -> t.Iterator[ast.AST]:
    """Yield the nodes of a function or module, without those of inner functions."""
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, FUNCTIONS):
            yield child
            yield from own_nodes(child)


def _assignment(node: ast.AST) -> tuple[list[ast.expr], ast.AST]:
    match node:
        case ast.Assign(targets=targets, value=value):
            return targets, value
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            return [target], value
    return [], node


def _is_wsgi_app(target: ast.AST) -> bool:
    return isinstance(target, ast.Attribute) and target.attr == "wsgi_app"


def _arguments(call: ast.Call) -> t.Iterator[ast.AST]:
    """Yield the arguments of a call, and the values of dicts among them."""
    for value in [*call.args, *(keyword.value for keyword in call.keywords)]:
        yield value
        if isinstance(value, ast.Dict):
            yield from value.values


def last_name(node: ast.AST) -> str:
    """Return the last part of a dotted name, such as `wsgi_app` in `app.wsgi_app`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
