"""NC009: caching decorators on a view, recognized by what each leaves on it."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import re
import textwrap
import typing as t
from types import FunctionType
from types import MethodType

from .. import declare

# the package of the code or type that a decorator returns, the name of the library, and
# a pattern of the modules and names in it that are caching decorators
LIBRARIES = {
    "aiocache": ("aiocache", r"\.decorators:"),
    "async_lru": ("async_lru", ""),
    "beaker": ("Beaker", r"\.cache:"),
    "boltons": ("boltons", r"\.cacheutils:"),
    "cacheout": ("cacheout", ""),
    "cachetools": ("cachetools", ""),
    "cachier": ("cachier", ""),
    "cytoolz": ("toolz", ".*memo"),
    "diskcache": ("diskcache", ".*memo"),
    "dogpile": ("dogpile.cache", r"\.cache\b"),
    "flask_cache": ("Flask-Cache", ""),
    "flask_caching": ("Flask-Caching", ""),
    "functools": ("functools.cache", r":(_lru_cache_wrapper|lru_cache|cache)\b"),
    "joblib": ("joblib", r"\.memory:"),
    "memoization": ("memoization", ""),
    "percache": ("percache", ""),
    "redis_cache": ("redis_cache", ""),
    "theine": ("theine", ""),
    "toolz": ("toolz", ".*memo"),
    "walrus": ("walrus", r"\.cache:"),
    # ring uses it too
    "wirerope": ("methodtools", ""),
}
# the attributes that dogpile.cache sets on a function
DOGPILE = ("invalidate", "refresh", "set")
# modules of caches in which the service's own decorator may store responses
STORES = re.compile(
    r"(cachelib|cachetools|cachier|diskcache|dogpile|expiringdict|flask_cach(e|ing)|pylibmc"
    r"|pymemcache|redis|werkzeug\.contrib\.cache)\b"
)
WRAPS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def server_caches(view: t.Any, methods: t.Iterable[str] = ()) -> list[str]:
    """Return the libraries that store the responses of a view in the server, sorted.

    :param view: the view, as registered for a route.
    :param methods: the methods of the route, to find those of a view class.
    """
    views = [view]
    if (view_class := getattr(view, "view_class", None)) is not None:
        names = ["dispatch_request", *(method.lower() for method in methods)]
        views += (inspect.getattr_static(view_class, name, None) for name in names)
        views += _method_decorators(view_class, methods)
    return sorted({name for each in views for name in _libraries(each)})


def is_plain(view: t.Any) -> bool:
    """Return whether a view is a function with no decorator but @nocache.

    @nocache marks the view as well; @cacheable leaves traces, which have to be examined.
    """
    if isinstance(view, FunctionType) and view.__globals__ is vars(declare):
        view = vars(view).get("__wrapped__")
    return (
        isinstance(view, FunctionType)
        and not view.__closure__
        and (not view.__dict__ or view.__dict__.keys() == {declare.POLICY})
    )


def _method_decorators(view_class: type, methods: t.Iterable[str]) -> t.Iterator[t.Any]:
    """Yield the decorators that Flask-RESTX and Flask-RESTful apply to each method."""
    decorators = getattr(view_class, "method_decorators", ())
    if isinstance(decorators, dict):
        for method in methods:
            yield from decorators.get(method.lower(), ())
    elif isinstance(decorators, list | tuple):
        yield from decorators


def _libraries(view: t.Any) -> t.Iterator[str]:
    for function in layers(view, wrappers=True):
        inner = function.__func__ if isinstance(function, MethodType) else function
        code = inner.__code__ if isinstance(inner, FunctionType) else None
        module = (
            inner.__globals__.get("__name__", "") if code else type(inner).__module__
        )
        package, _, rest = module.partition(".")
        if package in LIBRARIES:
            library, pattern = LIBRARIES[package]
            name = code.co_qualname if code else type(inner).__qualname__
            if re.match(pattern, f".{rest}:{name}" if rest else f":{name}"):
                yield library
        elif hasattr(function, DOGPILE[0]) and all(
            hasattr(function, mark) for mark in DOGPILE
        ):
            yield "dogpile.cache"
        elif code and "get" in code.co_names and _wraps(inner):
            if library := _store(inner, _sources(code)):
                yield library


def layers(view: t.Any, wrappers: bool = False) -> t.Iterator[t.Any]:
    """Yield a view and the functions that it wraps, also those in its closures.

    :param view: the view.
    :param wrappers: whether to search only the closures of functions that pass their
        arguments on, because a view may read cached data from its closure.
    """
    ids: set[int] = set()
    todo = [view]
    while todo and len(ids) < 20:
        function = todo.pop()
        if not callable(function) or id(function) in ids:
            continue
        ids.add(id(function))
        yield function
        if (inner := getattr(function, "__wrapped__", None)) is not None:
            todo.append(inner)
            continue
        for cell in getattr(function, "__closure__", None) or ():
            with contextlib.suppress(ValueError):  # an empty cell
                inner = cell.cell_contents
                if _wraps(function) if wrappers else inspect.isfunction(inner):
                    todo.append(inner)


def _wraps(function: t.Any) -> bool:
    """Return whether a function passes all of its arguments on."""
    code = getattr(function, "__code__", None)
    is_wrapper = hasattr(function, "__wrapped__")
    return is_wrapper or (code is not None and bool(code.co_flags & WRAPS))


@functools.lru_cache(maxsize=1024)
def _sources(code: t.Any) -> tuple[str, ...]:
    """Return the names on which a function calls get() for the values it returns."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, SyntaxError, TypeError):
        return ()
    stores: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call)
                | ast.NamedExpr(target=ast.Name(id=name), value=ast.Call() as call)
            ):
                match call.func:
                    case ast.Attribute(value=ast.Name(id=store), attr="get"):
                        stores[name] = store
    results = (n.value for n in ast.walk(tree) if isinstance(n, ast.Return))
    names = (value.id for value in results if isinstance(value, ast.Name))
    return tuple(stores[name] for name in names if name in stores)


def _store(function: t.Any, names: tuple[str, ...]) -> str:
    """Return the library of the first cache among names of a function, empty if none."""
    variables = inspect.getclosurevars(function)
    for name in names:
        store = {**variables.globals, **variables.nonlocals}.get(name)
        if match := STORES.match(type(store).__module__):
            return match[1]
    return ""
